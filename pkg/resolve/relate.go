package resolve

import "example.org/mmoci/pkg/deb"

// machine is where packages are to be installed together: its native
// architecture counts for packages of architecture "all" (multiarch
// specification; dpkg(1) --add-architecture).
type machine struct {
	native string
	arches []string // native first
}

// archOf is the architecture that a package has on the machine.
func (m *machine) archOf(c *candidate) string {
	if c.pkg.Architecture == "all" {
		return m.native
	}
	return c.pkg.Architecture
}

// satisfies tells whether package c fulfils a relation of a package whose
// architecture on the machine is from.
//
// The version of a Provides counts, never the package's own for a provided
// name: an unversioned Provides fulfils no versioned relation (deb-control(5)).
func (m *machine) satisfies(c *candidate, r *deb.Relation, from string) bool {
	return m.archFits(c, r, from) && names(c, r)
}

// hits is the same for Conflicts and Breaks: without qualifier they concern
// every architecture. With ":any" they concern, for apt, Multi-Arch: allowed only.
func (m *machine) hits(c *candidate, r *deb.Relation) bool {
	switch r.Qualifier {
	case "":
	case "any":
		if c.multi != multiAllowed {
			return false
		}
	case "native":
		if m.archOf(c) != m.native {
			return false
		}
	default:
		if m.archOf(c) != r.Qualifier {
			return false
		}
	}
	return names(c, r)
}

// names tells whether a package has, or provides, what a relation names.
func names(c *candidate, r *deb.Relation) bool {
	if c.pkg.Name == r.Name && r.Satisfied(c.pkg.Version) {
		return true
	}
	for i := range c.provides {
		p := &c.provides[i]
		if p.Name == r.Name && (r.Op == deb.Any || p.Op == deb.EQ && r.Satisfied(p.Version)) {
			return true
		}
	}
	return false
}

// archFits applies Multi-Arch.
func (m *machine) archFits(c *candidate, r *deb.Relation, from string) bool {
	return m.fits(m.archOf(c), c.multi, r, from)
}

// fits tells whether a package of an architecture can be what a relation asks
// for: an unqualified dependency wants its own architecture or Multi-Arch:
// foreign, ":any" wants Multi-Arch: allowed.
func (m *machine) fits(arch string, multi multiArch, r *deb.Relation, from string) bool {
	switch r.Qualifier {
	case "":
		return arch == from || multi == multiForeign
	case "any":
		return multi == multiAllowed
	case "native":
		return arch == m.native
	}
	return arch == r.Qualifier
}
