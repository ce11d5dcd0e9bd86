package resolve

import (
	"cmp"
	"slices"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve/candidate"
	"example.org/mmoci/pkg/resolve/query"
)

// targetsOf makes targets of a root. known tells that the root selects
// something, be it something that is installed already.
func (s *session) targetsOf(r *Root) (targets []target, known bool) {
	reason := Reason{Root: r}
	if _, _, ok := r.Query.Dependency(); ok {
		options, installed := s.dependencyTarget(r)
		if installed || len(options) == 0 {
			return nil, installed
		}
		return []target{{options: options, reason: reason, text: r.Query.String()}}, true
	}
	best := map[*slot]*version{}
	var order []*slot
	for _, p := range s.u.selected(r.Query, r.Archive) {
		v := s.versionOf(p)
		if v == nil {
			known = known || s.isInstalled(s.u.look(p))
			continue
		}
		b := best[v.slot]
		if b == nil {
			order = append(order, v.slot)
		}
		if b == nil || slices.Index(v.slot.versions, v) < slices.Index(v.slot.versions, b) {
			best[v.slot] = v
			s.prefer(v, s.u.look(p), r)
		}
	}
	for _, sl := range order {
		if s.host != nil && sl.arch != s.Native && best[s.slot(sl.name, s.Native)] != nil {
			continue // the native one will do
		}
		targets = append(targets, target{options: []*version{best[sl]}, reason: reason, text: r.Query.String()})
	}
	return targets, known || len(targets) > 0
}

// isInstalled tells whether the host has this package in its version.
func (s *session) isInstalled(p *Package) bool {
	return slices.ContainsFunc(s.hosts[p.Name], func(c *candidate.Control) bool {
		return c.Pkg.Name == p.Name && c.Pkg.Architecture == p.Architecture && deb.Compare(c.Pkg.Version, p.Version) == 0
	})
}

// dependencyTarget is what a plain dependency query takes on this machine: one
// version of the name, else what provides it, in order of preference.
func (s *session) dependencyTarget(r *Root) (options []*version, installed bool) {
	name, want, _ := r.Query.Dependency()
	if want == "all" {
		want = ""
	}
	ids, _ := s.u.likely(r.Query)
	if r.Query.Suite() != "" {
		return s.ofSuite(r, ids, want)
	}
	likely := s.u.looked(ids)
	for _, arch := range s.Arches {
		if want != "" && want != arch {
			continue
		}
		if s.isMet(r.Query, name, arch) {
			return nil, true
		}
		for _, v := range s.slot(name, arch).versions {
			for _, p := range likely {
				if p.Name == name && v.is(p.Version, p.Architecture) && (r.Archive == "" || p.Archive == r.Archive) && s.u.matches(r.Query, p) {
					s.prefer(v, p, r)
					return []*version{v}, false
				}
			}
		}
	}
	for i, p := range likely {
		v := s.versionOf(ids[i])
		if v == nil || slices.Contains(options, v) || r.Archive != "" && p.Archive != r.Archive {
			continue
		}
		if v.candidate && (want == "" || v.slot.arch == want) && s.u.matches(r.Query, p) {
			s.prefer(v, p, r)
			options = append(options, v)
		}
	}
	s.sortByPreference(options, name)
	return options, false
}

// isMet tells whether something that is installed is what a dependency query
// asks for.
func (s *session) isMet(q *query.Query, name, arch string) bool {
	return slices.ContainsFunc(s.hosts[name], func(c *candidate.Control) bool { return s.ArchOf(c.Pkg) == arch && s.u.matches(q, c.Pkg) })
}

// ofSuite is what NAME/SUITE takes on this machine: the highest version that the
// suite lists, as apt does whatever the pins are, and never a package that provides the name.
func (s *session) ofSuite(r *Root, likely []id, want string) (options []*version, installed bool) {
	listed := slices.DeleteFunc(slices.Clone(likely), func(p id) bool {
		return r.Archive != "" && s.u.listingOf(p).Archive != r.Archive || !s.u.matches(r.Query, s.u.look(p))
	})
	slices.SortStableFunc(listed, func(a, b id) int { return deb.Compare(s.u.version(b), s.u.version(a)) })
	for _, arch := range s.Arches {
		for _, p := range listed {
			if want != "" && want != arch || s.OnMachine(s.u.architecture(p)) != arch {
				continue
			}
			if s.isInstalled(s.u.look(p)) {
				return nil, true
			}
			if v := s.versionOf(p); v != nil {
				s.prefer(v, s.u.look(p), r)
				return []*version{v}, false
			}
		}
	}
	return nil, false
}

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
	several := slices.ContainsFunc(u.listings, func(l *listing) bool { return l.Archive != u.listings[0].Archive })
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
			targets, _ := s.targetsOf(&Root{Query: r.Query})
			for _, t := range targets {
				best := s.pkg(t.options[0])
				had := newest(taken[place{r.Archive, best.Name}], s.Native)
				if had != nil && deb.Compare(best.Version, had.Version) > 0 && !u.gives(r.Archive, best) {
					out = append(out, Newer{r, had, best})
				}
			}
		}
		slices.SortFunc(out[first:], func(a, b Newer) int {
			return cmp.Or(candidate.Compare(a.Newer, b.Newer), candidate.Compare(a.Taken, b.Taken))
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
	return slices.ContainsFunc(u.named(p.Name), func(o id) bool {
		return u.listingOf(o).Archive == archive && u.version(o) == p.Version && u.architecture(o) == p.Architecture
	})
}
