package resolve

import (
	"runtime"
	"slices"
	"strings"
	"sync"

	"example.org/mmoci/pkg/deb"
)

// members are the packages of an archive that is taken as a whole. Nearly every
// clause of theirs is met by another member: that is found out from the records
// alone, and only the rest makes slots, versions and candidates.
type members struct {
	*session
	ids   []int32           // in order of the records
	is    []membership      // of each record
	drawn map[*version]bool // what was added for their sake
}

// membership is what a record is to its archive.
type membership uint8

const (
	memberNot   membership = iota
	memberPlain            // stands for its version alone, and its relations can be read
	memberFault            // its relations cannot be read: it satisfies nobody
	memberTwin             // its version is in another archive or a better suite too, and may be represented by that record
	memberAgain            // its version is in another suite of the archive too, which came first
)

// claim is a clause of a member that has to be looked at closely.
type claim struct {
	member int32
	clause int // or everyClause
}

// everyClause claims all clauses of a member.
const everyClause = -1

func newMembers(s *session, archive string) *members {
	m := &members{session: s, is: make([]membership, len(s.u.records)), drawn: map[*version]bool{}}
	for i := range s.u.records {
		if id := int32(i); s.archive(id) == archive && s.hasPlace(id) {
			m.ids = append(m.ids, id)
			m.is[id] = memberPlain
		}
	}
	for _, id := range m.ids {
		m.is[id] = m.standing(id, archive)
	}
	return m
}

// hasPlace tells whether versionOf gives a version for the record.
func (s *session) hasPlace(id int32) bool {
	if s.host != nil || len(s.pins) > 0 || s.u.pin(id) < 0 {
		return s.versionOf(id) != nil
	}
	return slices.Contains(s.arches, s.placeOf(id))
}

// placeOf is the architecture of the record's slot.
func (s *session) placeOf(id int32) string {
	if arch := s.u.archOf(id); arch != "all" {
		return arch
	}
	return s.native
}

// standing tells what a member is beside others of its name.
func (m *members) standing(id int32, archive string) membership {
	is := memberPlain
	if m.u.pin(id) < 0 {
		is = memberTwin
	}
	for _, other := range m.u.table.named(m.u.name(id)) {
		if other == id || m.u.records[other].arch != m.u.records[id].arch || m.u.version(other) != m.u.version(id) {
			continue
		}
		switch {
		case m.is[other] != memberNot && other < id:
			return memberAgain
		case m.archive(other) != archive:
			is = memberTwin
		}
	}
	return is
}

// look makes the packages of all members and, with relations, finds the claims
// of theirs, in order.
func (m *members) look(relations bool) []claim {
	claims, faults := m.inParts(relations)
	if len(faults) == 0 {
		return claims
	}
	for _, id := range faults {
		m.is[id] = memberFault
	}
	claims, _ = m.inParts(relations)
	return claims
}

// inParts divides the members among goroutines.
func (m *members) inParts(relations bool) (claims []claim, faults []int32) {
	parts := make([]clauseCheck, min(runtime.GOMAXPROCS(0), maxParts))
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() {
			c := &parts[i]
			c.members = m
			for _, id := range m.ids[len(m.ids)*i/len(parts) : len(m.ids)*(i+1)/len(parts)] {
				m.u.pkg(id)
				if relations {
					c.member(id)
				}
			}
		})
	}
	wg.Wait()
	for i := range parts {
		claims, faults = append(claims, parts[i].claims...), append(faults, parts[i].faults...)
	}
	return claims, faults
}

// clauseCheck looks at the clauses of some members.
type clauseCheck struct {
	*members
	claims []claim
	faults []int32

	// Of the member that is looked at:
	id    int32
	from  string // its architecture on the machine
	count int    // clauses before the field that is looked at
	group int    // clause that is looked at, -1: none
	met   bool
}

// member finds the claims of one member.
func (c *clauseCheck) member(id int32) {
	switch c.is[id] {
	case memberAgain:
		return
	case memberTwin, memberFault:
		c.claims = append(c.claims, claim{id, everyClause})
		return
	}
	c.id, c.from, c.count = id, c.placeOf(id), 0
	alternative := c.alternative // made once: a method value is allocated
	var v [6]string
	c.u.relationLines(id).Values(v[:], fieldPreDepends, fieldDepends, fieldRecommends, fieldConflicts, fieldBreaks, "Provides")
	for i, value := range v {
		c.group = -1
		visit := alternative
		if i > 2 || i == 2 && !c.recommends {
			visit = overlook
		}
		if err := deb.EachRelation(value, c.u.archOf(id), visit); err != nil {
			c.faults = append(c.faults, id)
			return
		}
		c.end()
	}
}

// overlook is for fields that must be readable, no more.
func overlook(int, deb.Relation) {}

// alternative takes the next alternative of a field.
func (c *clauseCheck) alternative(group int, r deb.Relation) {
	if group != c.group {
		c.end()
		c.group, c.met = group, false
	}
	c.met = c.met || c.meets(&r)
}

// end claims the clause that is looked at if no member meets it.
func (c *clauseCheck) end() {
	if c.group < 0 {
		return
	}
	if !c.met {
		c.claims = append(c.claims, claim{c.id, c.count})
	}
	c.count++
}

// meets tells whether a member surely fulfils a relation; what it denies may
// still be so.
func (c *clauseCheck) meets(r *deb.Relation) bool {
	for _, id := range c.u.table.named(r.Name) {
		if c.is[id] == memberPlain && c.fits(c.placeOf(id), c.u.records[id].multi, r, c.from) && r.Satisfied(c.u.version(id)) {
			return true
		}
	}
	if r.Op != deb.Any {
		return false
	}
	for _, id := range c.u.table.provided(r.Name) {
		if c.is[id] == memberPlain && c.fits(c.placeOf(id), c.u.records[id].multi, r, c.from) && !strings.ContainsAny(c.u.provides(id), "[<|") {
			return true
		}
	}
	return false
}

// have tells whether a version is a member's or was drawn.
func (m *members) have(v *version) bool {
	if m.drawn[v] {
		return true
	}
	for _, id := range m.u.table.named(v.slot.name) {
		if m.is[id] != memberNot && m.u.archOf(id) == v.arch && m.u.version(id) == v.version {
			return v.id >= 0
		}
	}
	return false
}
