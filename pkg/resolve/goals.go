package resolve

import (
	"slices"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve/query"
)

// goalsOf makes goals of a root. known tells that the root selects something,
// be it something that is installed already.
func (s *session) goalsOf(r *Root) (goals []goal, known bool) {
	reason := Reason{Root: r}
	if _, _, ok := r.Query.Dependency(); ok {
		options, installed := s.dependencyGoal(r)
		if installed || len(options) == 0 {
			return nil, installed
		}
		return []goal{{options: options, reason: reason, text: r.Query.String()}}, true
	}
	best := map[*slot]*version{}
	var order []*slot
	for _, id := range s.u.selected(r.Query, r.Archive) {
		v := s.versionOf(id)
		if v == nil {
			known = known || s.isInstalled(id)
			continue
		}
		b := best[v.slot]
		if b == nil {
			order = append(order, v.slot)
		}
		if b == nil || slices.Index(v.slot.versions, v) < slices.Index(v.slot.versions, b) {
			best[v.slot] = v
			s.prefer(v, id, r)
		}
	}
	for _, sl := range order {
		if s.host != nil && sl.arch != s.native && s.hasNative(best, sl) {
			continue
		}
		v := best[sl]
		goals = append(goals, goal{options: []*version{v}, reason: reason, text: r.Query.String()})
	}
	return goals, known || len(goals) > 0
}

// hasNative tells whether the same name was selected in the native architecture.
func (s *session) hasNative(best map[*slot]*version, sl *slot) bool {
	return best[s.slot(sl.name, s.native)] != nil
}

// isInstalled tells whether the host has this record's package in its version.
func (s *session) isInstalled(id int32) bool {
	for _, c := range s.hosts[s.u.name(id)] {
		if c.pkg.Name == s.u.name(id) && c.pkg.Architecture == s.u.archOf(id) && deb.Compare(c.pkg.Version, s.u.version(id)) == 0 {
			return true
		}
	}
	return false
}

// dependencyGoal is what a plain dependency query takes on this machine.
func (s *session) dependencyGoal(r *Root) (options []*version, installed bool) {
	var providers []*version
	name, want, _ := r.Query.Dependency()
	ids, _ := s.u.shortlist(r.Query)
	for _, arch := range s.arches {
		if want != "" && want != "all" && want != arch {
			continue
		}
		if c := s.installedMatch(r.Query, name, arch); c {
			return nil, true
		}
		sl := s.slot(name, arch)
		for _, v := range sl.versions {
			if id, ok := s.recordOf(v, r, ids); ok {
				s.prefer(v, id, r)
				return []*version{v}, false
			}
		}
	}
	for _, id := range ids {
		v := s.versionOf(id)
		if v == nil || slices.Contains(providers, v) || r.Archive != "" && s.archive(id) != r.Archive {
			continue
		}
		if v.candidate && s.u.matches(r.Query, id) && (want == "" || want == "all" || v.slot.arch == want) {
			s.prefer(v, id, r)
			providers = append(providers, v)
		}
	}
	s.sortByPreference(providers, name)
	for i, end := 0, 0; i < len(providers); i = end {
		for end = i + 1; end < len(providers) && s.comparePreference(providers[i], providers[end], name) == 0; {
			end++
		}
		s.sortByMention(providers[i:end])
	}
	return providers, false
}

// recordOf finds the record of a version that matches in an archive.
func (s *session) recordOf(v *version, r *Root, ids []int32) (int32, bool) {
	for _, id := range ids {
		if s.u.name(id) != v.slot.name || s.u.version(id) != v.version || s.u.archOf(id) != v.arch {
			continue
		}
		if (r.Archive == "" || s.archive(id) == r.Archive) && s.u.matches(r.Query, id) {
			return id, true
		}
	}
	return 0, false
}

// installedMatch tells whether the host has what is asked for.
func (s *session) installedMatch(q *query.Query, name, arch string) bool {
	for _, c := range s.hosts[name] {
		if s.archOf(c) != arch {
			continue
		}
		if q.Match(&query.Package{Name: c.pkg.Name, Version: c.pkg.Version, Architecture: c.pkg.Architecture, Stanza: c.pkg.Stanza}) {
			return true
		}
	}
	return false
}

func (s *session) archive(id int32) string { return s.u.indices[s.u.records[id].index].Archive }

// twin is a record equal to a version's that was asked for from its own archive.
type twin struct {
	id   int32
	root *Root
}

// prefer lets a version be the record of the archive it was asked from, if
// equal ones are in several. Asked for from several, it is taken from each.
func (s *session) prefer(v *version, id int32, r *Root) {
	other := s.archive(id) != s.archive(v.id)
	switch {
	case other && r.Archive != "" && s.asked[v]:
		s.twins[v] = append(s.twins[v], twin{id, r})
	case other && r.Archive != "":
		v.id, v.parsed = id, nil
	}
	if r.Archive != "" {
		s.asked[v] = true
	}
}
