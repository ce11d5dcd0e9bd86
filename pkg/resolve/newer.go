package resolve

import (
	"cmp"
	"slices"

	"example.org/mmoci/pkg/deb"
)

// Newer is a package that a root takes from its own archive, and the newer
// version that another archive would give if the root asked over all of them.
type Newer struct {
	Root  *Root
	Taken *Package
	Newer *Package
}

// Newer compares what roots of one archive took with what the same queries
// would take of all archives by apt's choice (best pin, then highest version).
// chosen are the packages that were taken, of this universe or of a part of it.
// The answer is in the order of the roots, then of the packages' names.
func (u *Universe) Newer(req Request, chosen []Chosen) []Newer {
	bound := slices.ContainsFunc(req.Roots, func(r Root) bool { return r.Archive != "" && r.Query != nil })
	several := slices.ContainsFunc(u.indices, func(x Index) bool { return x.Archive != u.indices[0].Archive })
	if !bound || !several {
		return nil
	}
	type place struct{ archive, name string }
	taken := map[place][]*Package{}
	for _, c := range chosen {
		at := place{c.Archive, c.Name}
		taken[at] = append(taken[at], c.Package)
	}
	var sessions []*session
	for _, arch := range req.Architectures {
		sessions = append(sessions, newSession(u, &Request{}, []string{arch}))
	}
	var out []Newer
	for i := range req.Roots {
		r := &req.Roots[i]
		if r.Archive == "" || r.Query == nil {
			continue
		}
		first := len(out)
		for _, s := range sessions {
			goals, _ := s.goalsOf(&Root{Query: r.Query})
			for _, g := range goals {
				best := u.pkg(g.options[0].id)
				had := newest(taken[place{r.Archive, best.Name}], s.native)
				if had != nil && deb.Compare(best.Version, had.Version) > 0 && !u.gives(r.Archive, best) {
					out = append(out, Newer{r, had, best})
				}
			}
		}
		slices.SortFunc(out[first:], func(a, b Newer) int {
			return cmp.Or(comparePackages(a.Newer, b.Newer), comparePackages(a.Taken, b.Taken))
		})
	}
	return slices.Compact(out)
}

// newest is the highest version of a name that can be installed on an architecture; nil if none is.
func newest(of []*Package, arch string) *Package {
	var best *Package
	for _, p := range of {
		fits := p.Architecture == arch || p.Architecture == "all"
		if fits && (best == nil || deb.Compare(p.Version, best.Version) > 0) {
			best = p
		}
	}
	return best
}

// gives tells whether an archive has that version of a package, too.
func (u *Universe) gives(archive string, p *Package) bool {
	return slices.ContainsFunc(u.table.named(p.Name), func(id int32) bool {
		return u.indices[u.records[id].index].Archive == archive && u.version(id) == p.Version && u.archOf(id) == p.Architecture
	})
}
