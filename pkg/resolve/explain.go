package resolve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/pkg/resolve/candidate"
)

// Limits of messages.
const (
	maxSeen     = 5  // versions or names listed
	maxVersions = 20 // versions listed for a root that is not there
	maxChain    = 12 // links of a chain
	maxDistance = 2  // letters that differ in a near name
)

// rejectionKind is why an option was not taken.
type rejectionKind uint8

const (
	rejectedBad      rejectionKind = iota // something it needs cannot be had
	rejectedFault                         // its relations cannot be read
	rejectedSlot                          // another version was chosen
	rejectedHold                          // the host holds another version
	rejectedConflict                      // a conflict with something chosen
	rejectedSteps                         // the search was given up
)

// rejection is an option that was not taken.
type rejection struct {
	v       *version
	kind    rejectionKind
	by      *version   // rejectedSlot, rejectedConflict
	because *failure   // rejectedBad
	causes  []*version // chosen versions that had a part in it
}

// failure is a target or a clause that nothing could satisfy.
type failure struct {
	target  *target
	owner   *version
	clause  *candidate.Clause
	text    string // if neither says it
	rejects []rejection
}

// explain makes sentences of a failure, from what was asked for to what is missing.
func (s *session) explain(f *failure) []string {
	var lines []string
	for range maxChain {
		last := f.deepest()
		if f.owner == nil && last != nil {
			f = last // the target itself says nothing new
			continue
		}
		line := s.subject(f)
		if last == nil {
			return append(lines, line+s.ending(f))
		}
		lines = append(lines, line)
		f = last
	}
	return append(lines, "and so on")
}

// deepest is the failure of the first option that fails by what it needs.
func (f *failure) deepest() *failure {
	for i := range f.rejects {
		if f.rejects[i].because != nil {
			return f.rejects[i].because
		}
	}
	return nil
}

// subject is "docker-ce (archive docker) needs libseccomp2 (>= 2.3)".
func (s *session) subject(f *failure) string {
	switch {
	case f.owner == nil:
		return f.target.text
	case f.clause == nil:
		return f.text
	}
	return s.title(f.owner) + " needs " + f.clause.String()
}

// title is a package with the archive it comes from.
func (s *session) title(v *version) string {
	p := s.control(v).Pkg
	if v == v.slot.installed {
		return fmt.Sprintf("%s (installed, %s)", p.Name, p.Version)
	}
	if p.Archive == "" { // built of a source
		return p.Name + " " + p.Version
	}
	return fmt.Sprintf("%s (archive %s)", p.Name, p.Archive)
}

// ending tells why there is no option: none at all, or what stands against each.
func (s *session) ending(f *failure) string {
	if len(f.rejects) == 0 {
		if f.clause == nil {
			return "; there is none newer"
		}
		return "; seen: " + s.seen(f.clause.Alternatives[0].Name)
	}
	var parts []string
	for i := range f.rejects {
		if part := s.rejected(&f.rejects[i]); !slices.Contains(parts, part) && len(parts) < maxSeen {
			parts = append(parts, part)
		}
	}
	return "; " + strings.Join(parts, "; ")
}

func (s *session) rejected(r *rejection) string {
	if r.kind == rejectedSteps {
		return "given up after too many attempts"
	}
	who := fmt.Sprintf("%s %s", r.v.slot.name, r.v.number)
	switch r.kind {
	case rejectedFault:
		return fmt.Sprintf("%s cannot be read: %v", who, s.control(r.v).Fault)
	case rejectedHold:
		return fmt.Sprintf("%s is held at %s", r.v.slot.name, r.v.slot.installed.number)
	case rejectedSlot:
		return fmt.Sprintf("%s is chosen instead of %s", r.by.number, who)
	case rejectedConflict:
		return fmt.Sprintf("%s conflicts with %s %s", who, r.by.slot.name, r.by.number)
	}
	return who + " cannot be installed"
}

// seen lists the versions there are of a name, and who provides it.
func (s *session) seen(name string) string {
	var parts []string
	for _, p := range s.u.Versions(name) {
		parts = append(parts, fmt.Sprintf("%s in %s/%s", p.Version, p.Archive, p.Suite))
	}
	for _, p := range s.u.looked(s.u.providing(name)) {
		parts = append(parts, fmt.Sprintf("%s (provided by %s %s)", providedVersion(candidate.Read(p), name), p.Name, p.Version))
	}
	parts = slices.Compact(parts)
	if len(parts) > maxSeen {
		parts = append(parts[:maxSeen:maxSeen], fmt.Sprintf("and %d more", len(parts)-maxSeen))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// providedVersion is the version under which a package provides a name.
func providedVersion(c *candidate.Control, name string) string {
	for _, p := range c.Provides {
		if p.Name == name {
			return cmp.Or(p.Version, "no version")
		}
	}
	return "no version"
}

// near lists names that a person may have meant.
func (u *Universe) near(name string) []string {
	type scored struct {
		name  string
		score int
	}
	var all []scored
	for n, candidate := range u.names {
		if len(u.owners.of(nameID(n))) == 0 {
			continue
		}
		score := distance(name, candidate, maxDistance)
		if score > maxDistance && strings.HasPrefix(candidate, name) && len(name) >= 3 {
			score = maxDistance + 1 + len(candidate) - len(name)
		}
		if score <= maxDistance || strings.HasPrefix(candidate, name) && len(name) >= 3 {
			all = append(all, scored{candidate, score})
		}
	}
	slices.SortFunc(all, func(a, b scored) int { return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.name, b.name)) })
	var names []string
	for _, s := range all[:min(len(all), maxSeen)] {
		names = append(names, s.name)
	}
	return names
}

// distance is the Levenshtein distance of two names, or more than limit.
func distance(a, b string, limit int) int {
	if max(len(a), len(b))-min(len(a), len(b)) > limit || len(a) > 64 {
		return limit + 1
	}
	var row [65 + maxDistance]int
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// suiteNames lists the suites of an archive, "" meaning any, each with its other
// names. has tells whether one of them is called name.
func (u *Universe) suiteNames(name, archive string) (list string, has bool) {
	var all []string
	for _, in := range u.listings {
		if archive != "" && in.Archive != archive {
			continue
		}
		has = has || slices.Contains(in.suites, name)
		text := in.Archive + "/" + in.Suite
		var others []string
		for _, other := range in.suites[1:] {
			if other != "" && other != in.Suite && !slices.Contains(others, other) {
				others = append(others, other)
			}
		}
		if len(others) > 0 {
			text += " (" + strings.Join(others, ", ") + ")"
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, ", "), has
}

// notFound tells that a root selects nothing, and what there is instead.
func (u *Universe) notFound(r *Root, h *Host) string {
	text := r.Query.String()
	where := "the archives"
	if r.Archive != "" {
		where = "archive " + r.Archive
	}
	name := r.Query.PackageName()
	if name == "" {
		return fmt.Sprintf("%s: selects nothing in %s", text, where)
	}
	if suite := r.Query.Suite(); suite != "" {
		if there, ok := u.suiteNames(suite, r.Archive); !ok {
			return fmt.Sprintf("%s: no suite %s in %s; there are %s", text, suite, where, there)
		}
	}
	var seen []string
	if h != nil {
		if v := h.Installed(name, ""); v != "" {
			seen = append(seen, v+" installed, which is not downgraded")
		}
	}
	for _, p := range u.Versions(name) {
		seen = append(seen, fmt.Sprintf("%s (%s) in %s/%s", p.Version, p.Architecture, p.Archive, p.Suite))
	}
	switch {
	case len(seen) > maxVersions:
		seen = append(seen[:maxVersions:maxVersions], fmt.Sprintf("and %d more", len(seen)-maxVersions))
		fallthrough
	case len(seen) > 0:
		return fmt.Sprintf("%s: not in %s; seen: %s", text, where, strings.Join(seen, ", "))
	}
	if near := u.near(name); len(near) > 0 {
		return fmt.Sprintf("%s: not in %s; seen: none; near: %s", text, where, strings.Join(near, ", "))
	}
	return fmt.Sprintf("%s: not in %s; seen: none", text, where)
}
