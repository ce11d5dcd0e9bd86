package deb

// Op is a comparison in a relation.
type Op uint8

const (
	Any Op = iota // no version asked for
	LT            // <<
	LE            // <=, and the obsolete <
	EQ            // =
	GE            // >=, and the obsolete >
	GT            // >>
)

// String is the operator as it is written today; "" for Any.
func (o Op) String() string {
	switch o {
	case LT:
		return "<<"
	case LE:
		return "<="
	case EQ:
		return "="
	case GE:
		return ">="
	case GT:
		return ">>"
	}
	return ""
}

// Relation is one alternative of a dependency: a name, perhaps with an
// architecture qualifier ("any", "native", an architecture) and a version.
type Relation struct {
	Name, Qualifier string
	Op              Op
	Version         string
}

// String is the relation as it is written in a control file: "libc6:any (>= 2.36)".
func (r Relation) String() string {
	s := r.Name
	if r.Qualifier != "" {
		s += ":" + r.Qualifier
	}
	if r.Op != Any {
		s += " (" + r.Op.String() + " " + r.Version + ")"
	}
	return s
}

// Satisfied tells whether version v fulfils the relation's version condition.
func (r Relation) Satisfied(v string) bool {
	if r.Op == Any {
		return true
	}
	c := Compare(v, r.Version)
	switch r.Op {
	case LT:
		return c < 0
	case LE:
		return c <= 0
	case EQ:
		return c == 0
	case GE:
		return c >= 0
	case GT:
		return c > 0
	}
	return false
}
