package mirror

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/pkg/resolve"
)

// lacks says that a snapshot has nothing for an architecture, and what it has;
// nil if there are indices of it: then its absence is not what is wrong.
func (c *chain) lacks(ctx context.Context, arch string, read []resolve.Index) error {
	if slices.ContainsFunc(read, func(ix resolve.Index) bool { return ix.Architecture == arch || ix.Architecture == "" }) {
		return nil
	}
	var has []string
	for _, a := range c.s.Statement.Archives {
		v, _ := c.bestView(a)
		suites, err := c.suites(ctx, a, v)
		if err != nil {
			return nil // said when they were read
		}
		for _, p := range suites {
			found, err := c.indices(p)
			if err != nil {
				return nil
			}
			for _, ix := range found {
				if ix.arch != "source" && ix.arch != "" && !c.namesNothing(ix) {
					has = append(has, ix.arch)
				}
			}
		}
	}
	slices.Sort(has)
	if has = slices.Compact(has); len(has) == 0 {
		return nil
	}
	return fmt.Errorf("%w: architecture %s: the snapshot has packages for %s", ErrNotFound, arch, strings.Join(has, ", "))
}

// namesNothing tells an index that is empty when it is decompressed.
func (c *chain) namesNothing(ix provenIndex) bool {
	plain, ok := ix.suite.release.File(plainName(ix.path))
	return ok && plain.Size == 0
}
