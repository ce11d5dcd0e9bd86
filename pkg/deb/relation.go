package deb

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

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

// What is wrong with a relation.
var (
	errNameMissing      = errors.New("package name missing")
	errNameCharacter    = errors.New("character not allowed in a package name")
	errQualifier        = errors.New("no architecture after the colon")
	errOperator         = errors.New("unknown operator")
	errParenthesis      = errors.New("version not closed by a parenthesis")
	errArchitectureList = errors.New("malformed architecture list")
	errProfileList      = errors.New("malformed build profile list")
	errTrailing         = errors.New("unexpected text after it")
)

// prealloc bounds what is allocated on the mere count of separators.
const prealloc = 1 << 12

// ParseRelations reads the value of Depends and its like (deb-control(5)): the
// outer slice is joined by AND, the inner by OR. Architecture lists and build
// profiles are evaluated for arch (they occur in Build-Depends only), profiles
// as if none were active; what they exclude is left out.
//
// It takes what dpkg takes, obsolete operators, a missing one ("=" is meant)
// and white space anywhere included, and like apt one comma at the end. Package
// names keep their letter case. "!=" and "==" are errors: dpkg reads them as a
// part of the version, apt each in its own way. An empty value is no relation.
// The error quotes the alternative that is malformed. The strings share the
// memory of value.
func ParseRelations(value, arch string) ([][]Relation, error) {
	p := relationParser{s: value, arch: arch}
	return p.parse()
}

// ParseBuildRelations reads Build-Depends, Build-Conflicts and their like as
// [ParseRelations] does, with build profiles evaluated for those that are active.
// arch is the host architecture: the one that is built for.
func ParseBuildRelations(value, arch string, profiles []string) ([][]Relation, error) {
	p := relationParser{s: value, arch: arch, active: profiles}
	return p.parse()
}

// BuildProfiles are the build profiles that the restrictions of a relation field name, in
// their order, perhaps more than once. Errors are those of [ParseBuildRelations].
func BuildProfiles(value string) ([]string, error) {
	p := relationParser{s: value, collect: true}
	_, err := p.parse()
	return p.named, err
}

func (p *relationParser) parse() ([][]Relation, error) {
	value := p.s
	commas := strings.Count(value, ",")
	groups := make([][]Relation, 0, min(1+commas, prealloc))
	all := make([]Relation, 0, min(1+commas+strings.Count(value, "|"), prealloc))
	p.space()
	for ; !p.end(); p.skip(',') {
		first := len(all)
		for more := true; more; more = p.skip('|') {
			start := p.i
			rel, concerned, err := p.alternative()
			if err != nil {
				return nil, fmt.Errorf("relation %q: %w", p.excerpt(start), err)
			}
			if concerned {
				all = append(all, rel)
			}
		}
		if len(all) > first {
			groups = append(groups, all[first:len(all):len(all)])
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	return groups, nil
}

// relationParser walks over the value of a relation field.
type relationParser struct {
	s      string
	i      int
	arch   string
	active []string // build profiles

	collect bool     // the names of build profiles
	named   []string // in their order
}

func (p *relationParser) end() bool { return p.i >= len(p.s) }

// at tells whether the next byte is c.
func (p *relationParser) at(c byte) bool { return p.i < len(p.s) && p.s[p.i] == c }

func (p *relationParser) space() {
	for p.i < len(p.s) && isSpace(p.s[p.i]) {
		p.i++
	}
}

// skip goes past c and the white space behind it, if c comes next.
func (p *relationParser) skip(c byte) bool {
	if !p.at(c) {
		return false
	}
	p.i++
	p.space()
	return true
}

// alternative reads one relation up to the separator behind it, and tells
// whether the build for p.arch is concerned by it.
func (p *relationParser) alternative() (rel Relation, concerned bool, err error) {
	if rel.Name, err = p.name(); err != nil {
		return rel, false, err
	}
	if p.at(':') {
		p.i++
		start := p.i
		for p.i < len(p.s) && (isLetter(p.s[p.i]) || isDigit(p.s[p.i]) || p.s[p.i] == '-') {
			p.i++
		}
		rel.Qualifier = p.s[start:p.i]
		if rel.Qualifier == "" || rel.Qualifier[0] == '-' {
			return rel, false, errQualifier
		}
	}
	p.space()
	if p.skip('(') {
		if err = p.condition(&rel); err != nil {
			return rel, false, err
		}
	}
	concerned = true
	if p.skip('[') {
		if concerned, err = p.architectures(); err != nil {
			return rel, false, err
		}
	}
	if p.at('<') {
		built, err := p.profiles()
		if err != nil {
			return rel, false, err
		}
		concerned = concerned && built
	}
	if !p.end() && !p.at(',') && !p.at('|') {
		return rel, false, errTrailing
	}
	return rel, concerned, nil
}

// name reads a package name by dpkg's rule: letters, digits and -+._ after a
// letter or digit.
func (p *relationParser) name() (string, error) {
	start := p.i
loop:
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case isLetter(c), isDigit(c):
		case c == '-', c == '+', c == '.', c == '_':
			if p.i == start {
				return "", errNameCharacter
			}
		case isSpace(c), strings.IndexByte(":(),|[]<>", c) >= 0:
			break loop
		default:
			return "", errNameCharacter
		}
	}
	if p.i == start {
		return "", errNameMissing
	}
	return p.s[start:p.i], nil
}

// condition reads operator and version up to and with the parenthesis.
func (p *relationParser) condition(rel *Relation) error {
	rel.Op = p.operator()
	if p.i < len(p.s) && strings.IndexByte("<>=!", p.s[p.i]) >= 0 {
		return errOperator
	}
	p.space()
	start := p.i
	for p.i < len(p.s) && !isSpace(p.s[p.i]) && p.s[p.i] != ')' && p.s[p.i] != '(' {
		p.i++
	}
	rel.Version = p.s[start:p.i]
	p.space()
	if !p.skip(')') {
		return errParenthesis
	}
	_, err := splitVersion(rel.Version)
	return err
}

// operator reads an operator; none at all means "=", as in dpkg.
func (p *relationParser) operator() Op {
	var one, two, orEqual Op
	switch {
	case p.at('<'):
		one, two, orEqual = LE, LT, LE
	case p.at('>'):
		one, two, orEqual = GE, GT, GE
	case p.at('='):
		p.i++
		return EQ
	default:
		return EQ
	}
	c := p.s[p.i]
	p.i++
	switch {
	case p.at(c):
		p.i++
		return two
	case p.at('='):
		p.i++
		return orEqual
	}
	return one
}

// architectures evaluates a list up to its "]" by the rule of dpkg: the first
// entry that names the architecture decides; else a negated one includes it.
func (p *relationParser) architectures() (bool, error) {
	concerned, decided, n := false, false, 0
	for !p.skip(']') {
		negated := p.at('!')
		if negated {
			p.i++
		}
		word := p.word()
		if word == "" {
			return false, errArchitectureList
		}
		n++
		switch match := MatchArchitecture(word, p.arch); {
		case decided:
		case match:
			concerned, decided = !negated, true
		case negated:
			concerned = true
		}
	}
	if n == 0 {
		return false, errArchitectureList
	}
	return concerned, nil
}

// profiles evaluates restriction lists, "<a !b> <c>": one of them has to hold,
// every term of it.
func (p *relationParser) profiles() (bool, error) {
	built := false
	for p.skip('<') {
		holds, n := true, 0
		for !p.skip('>') {
			negated := p.at('!')
			if negated {
				p.i++
			}
			word := p.word()
			if word == "" {
				return false, errProfileList
			}
			if p.collect {
				p.named = append(p.named, word)
			}
			n++
			holds = holds && negated != slices.Contains(p.active, word)
		}
		if n == 0 {
			return false, errProfileList
		}
		built = built || holds
	}
	return built, nil
}

// word reads an architecture or profile and the white space behind it.
func (p *relationParser) word() string {
	start := p.i
	for p.i < len(p.s) {
		c := p.s[p.i]
		if !isLetter(c) && !isDigit(c) && strings.IndexByte("-+._", c) < 0 {
			break
		}
		p.i++
	}
	word := p.s[start:p.i]
	p.space()
	return word
}

// maxExcerpt bounds what an error quotes.
const maxExcerpt = 80

// excerpt is the alternative that begins at start, for an error.
func (p *relationParser) excerpt(start int) string {
	text := p.s[start:]
	if i := strings.IndexAny(text[min(p.i-start, len(text)):], ",|"); i >= 0 {
		text = text[:p.i-start+i]
	}
	text = strings.TrimSpace(text)
	if len(text) > maxExcerpt {
		text = text[:maxExcerpt] + "..."
	}
	return text
}
