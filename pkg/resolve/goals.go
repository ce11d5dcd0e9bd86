package resolve

import (
	"slices"

	"example.org/mmoci/pkg/deb"
)

// goalsOf makes goals of a root. known tells that the root selects something,
// be it something that is installed already.
func (s *session) goalsOf(r *Root) (goals []goal, known bool) {
	reason := Reason{Root: r}
	if d, ok := r.Query.root.(dependencyNode); ok {
		options, installed := s.dependencyGoal(d, r)
		if installed || len(options) == 0 {
			return nil, installed
		}
		return []goal{{options: options, reason: reason, text: r.Query.String()}}, true
	}
	best := map[*slot]*version{}
	var order []*slot
	for _, id := range s.u.selected(r.Query.root, r.Archive) {
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
func (s *session) dependencyGoal(d dependencyNode, r *Root) (options []*version, installed bool) {
	var providers []*version
	ids, _ := s.u.shortlist(d)
	for _, arch := range s.arches {
		if d.arch != "" && d.arch != "all" && d.arch != arch {
			continue
		}
		if c := s.installedMatch(d, arch); c {
			return nil, true
		}
		sl := s.slot(d.name, arch)
		for _, v := range sl.versions {
			if id, ok := s.recordOf(v, d, r.Archive, ids); ok {
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
		if at := s.u.row(id); v.candidate && d.match(&at) && (d.arch == "" || d.arch == "all" || v.slot.arch == d.arch) {
			s.prefer(v, id, r)
			providers = append(providers, v)
		}
	}
	s.sortByPreference(providers, d.name)
	for i, end := 0, 0; i < len(providers); i = end {
		for end = i + 1; end < len(providers) && s.comparePreference(providers[i], providers[end], d.name) == 0; {
			end++
		}
		s.sortByMention(providers[i:end])
	}
	return providers, false
}

// recordOf finds the record of a version that matches in an archive.
func (s *session) recordOf(v *version, d dependencyNode, archive string, ids []int32) (int32, bool) {
	for _, id := range ids {
		if s.u.name(id) != v.slot.name || s.u.version(id) != v.version || s.u.archOf(id) != v.arch {
			continue
		}
		if r := s.u.row(id); (archive == "" || s.archive(id) == archive) && d.match(&r) {
			return id, true
		}
	}
	return 0, false
}

// installedMatch tells whether the host has what is asked for.
func (s *session) installedMatch(d dependencyNode, arch string) bool {
	for _, c := range s.hosts[d.name] {
		if s.archOf(c) != arch {
			continue
		}
		r := row{name: c.pkg.Name, version: c.pkg.Version, arch: c.pkg.Architecture, provides: c.pkg.Stanza.Get("Provides"), stanza: c.pkg.Stanza}
		if d.match(&r) {
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
