package lock

import (
	"fmt"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
)

// Why follows the reasons of a lock from a package down to what was asked for,
// one line a step. An unknown package is ErrNotFound.
func Why(l *config.Lock, name string) ([]string, error) {
	byName := map[string]config.LockPackage{}
	for _, a := range l.Archives {
		for _, p := range a.Packages {
			byName[p.Name] = p
		}
	}
	if _, ok := byName[name]; !ok {
		return nil, fmt.Errorf("%w: package %s is not in the snapshot's lock (%d packages are)", outcome.ErrNotFound, name, len(byName))
	}
	var steps []string
	for seen := map[string]bool{}; name != "" && !seen[name]; {
		seen[name] = true
		p, ok := byName[name]
		if !ok {
			break
		}
		steps = append(steps, fmt.Sprintf("%s %s %s: %s", p.Name, p.Version, p.Architecture, p.Reason))
		parent, _, dep := strings.Cut(p.Reason, " ")
		if !dep || strings.HasSuffix(parent, ":") || strings.HasPrefix(p.Reason, "asked for") {
			break
		}
		name = parent
	}
	return steps, nil
}
