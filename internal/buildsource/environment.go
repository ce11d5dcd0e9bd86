package buildsource

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Package is a line of an environment's text.
type Package struct {
	Name, Version, Architecture string
	Digest                      snapshot.Digest
}

func (p Package) String() string { return p.Name + " " + p.Version + " " + p.Architecture }

// ParseEnvironment reads the text of an environment: NAME VERSION ARCHITECTURE sha256:HEX, sorted.
//
// Errors: outcome.ErrIntegrity for any other text.
func ParseEnvironment(text []byte) ([]Package, error) {
	var out []Package
	was := ""
	for i, line := range lines(text) {
		bad := func() error {
			return fmt.Errorf("%w: environment, line %d: %.120q is not NAME VERSION ARCHITECTURE sha256:HEX, or stands where it should not", outcome.ErrIntegrity, i+1, line)
		}
		f := strings.Split(line, " ")
		if len(f) != 4 || line <= was || !deb.ValidName(f[0]) || deb.ValidVersion(f[1]) != nil || !deb.ValidArchitecture(f[2]) {
			return nil, bad()
		}
		p := Package{Name: f[0], Version: f[1], Architecture: f[2]}
		var err error
		if p.Digest, err = snapshot.ParseDigest(f[3]); err != nil || p.Digest.String() != f[3] {
			return nil, bad()
		}
		was = line
		out = append(out, p)
	}
	return out, nil
}

// PackagesDiffer are the packages that two environments do not have alike, a line each, by name: "package NAME VERSION ARCHITECTURE ->
// VERSION ARCHITECTURE", with the digests where only the bytes are others; with - or + in front what one of them has alone.
func PackagesDiffer(old, now []byte) ([]string, error) {
	was, err := ParseEnvironment(old)
	if err != nil {
		return nil, err
	}
	is, err := ParseEnvironment(now)
	if err != nil {
		return nil, err
	}
	type line struct{ name, text string }
	var out []line
	pair := func(alike func(a, b Package) bool) {
		was = slices.DeleteFunc(was, func(a Package) bool {
			i := slices.IndexFunc(is, func(b Package) bool { return alike(a, b) })
			if i < 0 {
				return false
			}
			b := is[i]
			is = slices.Delete(is, i, i+1)
			switch {
			case a == b:
			case a.Version == b.Version && a.Architecture == b.Architecture:
				out = append(out, line{a.Name, fmt.Sprintf("package %s %s -> %s %s %s", a, a.Digest, b.Version, b.Architecture, b.Digest)})
			default:
				out = append(out, line{a.Name, fmt.Sprintf("package %s -> %s %s", a, b.Version, b.Architecture)})
			}
			return true
		})
	}
	pair(func(a, b Package) bool { return a == b })
	pair(func(a, b Package) bool { return a.Name == b.Name && a.Architecture == b.Architecture })
	pair(func(a, b Package) bool { return a.Name == b.Name })
	for _, p := range was {
		out = append(out, line{p.Name, "-package " + p.String()})
	}
	for _, p := range is {
		out = append(out, line{p.Name, "+package " + p.String()})
	}
	slices.SortFunc(out, func(a, b line) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.text, b.text)) })
	var texts []string
	for _, l := range out {
		texts = append(texts, l.text)
	}
	return texts, nil
}
