package resolve

// Reason tells why a package was chosen.
type Reason struct {
	Root   *Root    // asked for directly, or
	Parent *Package // because this one
	Field  string   // "Depends", "Pre-Depends", "Recommends"
	Clause string   // needs this: "libc6 (>= 2.36)"
	Whole  string   // or as part of this archive, which was asked for as a whole
}

// String: "asked for: docker-ce" or "docker.io Depends: containerd (>= 1.4~)". It holds no file positions.
func (r Reason) String() string {
	switch {
	case r.Root != nil:
		return "asked for: " + r.Root.Query.String()
	case r.Whole != "":
		return "asked for: all of " + r.Whole
	case r.Parent == nil:
		return ""
	}
	return r.Parent.Name + " " + r.Field + ": " + r.Clause
}

// String is the clause as a control file has it.
func (c *clause) String() string {
	s := ""
	for i, r := range c.alternatives {
		if i > 0 {
			s += " | "
		}
		s += r.String()
	}
	return s
}
