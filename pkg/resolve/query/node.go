package query

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// node is a part of a parsed query.
type node interface {
	// match tells whether a package is selected.
	match(p *Package) bool
}

// The inner nodes. orNode and andNode have two or more members, none of their own kind.
type (
	orNode  []node
	andNode []node
	notNode struct{ of node }
)

// fieldNode asks for the value of a field. op opNone: for it being there.
type fieldNode struct {
	name string // as written, "$Source" or "Section"
	cond condition
}

// dependencyNode asks for a package name, or one that is provided.
type dependencyNode struct {
	name string
	arch string // "" any
	// suite is the suite that must list the package, whose own name it must be; "": any.
	suite string
	cond  condition
}

// exactNode is name_version_arch.
type exactNode struct{ name, version, arch string }

// setNode is "@essential" and its like.
type setNode string

// operator of a condition.
type operator uint8

const (
	opNone operator = iota
	opLT
	opLE
	opEQ
	opGE
	opGT
	opGlob
	opRegexp
)

func (o operator) String() string {
	return [...]string{"", "<<", "<=", "=", ">=", ">>", "%", "~"}[o]
}

// relation is the comparison of versions that o asks for.
func (o operator) relation() deb.Op {
	switch o {
	case opLT:
		return deb.LT
	case opLE:
		return deb.LE
	case opEQ:
		return deb.EQ
	case opGE:
		return deb.GE
	case opGT:
		return deb.GT
	}
	return deb.Any
}

// condition is an operator with its value.
type condition struct {
	op    operator
	value string
	re    *regexp.Regexp // of opRegexp
}

// version tells whether v fulfils the condition as a version.
func (c condition) version(v string) bool {
	switch c.op {
	case opGlob, opRegexp:
		return c.pattern(v)
	}
	return deb.Relation{Op: c.op.relation(), Version: c.value}.Satisfied(v)
}

// text tells whether v fulfils the condition as text. Two whole numbers are
// ordered as numbers, everything else byte by byte.
func (c condition) text(v string) bool {
	switch c.op {
	case opNone:
		return v != ""
	case opGlob, opRegexp:
		return c.pattern(v)
	case opEQ:
		return v == c.value
	}
	order := strings.Compare(v, c.value)
	if isNumber(v) && isNumber(c.value) {
		order = deb.Compare(v, c.value)
	}
	switch c.op {
	case opLT:
		return order < 0
	case opLE:
		return order <= 0
	case opGE:
		return order >= 0
	}
	return order > 0
}

func (c condition) pattern(v string) bool {
	if c.op == opRegexp {
		return c.re.MatchString(v)
	}
	ok, _ := path.Match(c.value, v) // the pattern was tried when it was read
	return ok
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return s != ""
}

func (n orNode) match(p *Package) bool {
	for _, m := range n {
		if m.match(p) {
			return true
		}
	}
	return false
}

func (n andNode) match(p *Package) bool {
	for _, m := range n {
		if !m.match(p) {
			return false
		}
	}
	return true
}

func (n notNode) match(p *Package) bool { return !n.of.match(p) }

func (n exactNode) match(p *Package) bool {
	return p.Name == n.name && p.Version == n.version && p.Architecture == n.arch
}

func (n dependencyNode) match(p *Package) bool {
	if n.arch != "" && !hasArchitecture(p.Architecture, n.arch) {
		return false
	}
	if p.Name == n.name {
		return (n.suite == "" || slices.Contains(p.Suites, n.suite)) && (n.cond.op == opNone || n.cond.version(p.Version))
	}
	return n.suite == "" && n.provided(p)
}

// provided tells whether a package provides what is asked for. An unversioned
// Provides has no version that a condition could hold for (deb-control(5)).
func (n dependencyNode) provided(p *Package) bool {
	field := p.Stanza.Get("Provides")
	if !strings.Contains(field, n.name) {
		return false
	}
	provides, err := deb.ParseRelations(field, p.Architecture)
	if err != nil {
		return false
	}
	for _, alternatives := range provides {
		for _, r := range alternatives {
			if r.Name == n.name && (n.cond.op == opNone || r.Op == deb.EQ && n.cond.version(r.Version)) {
				return true
			}
		}
	}
	return false
}

// hasArchitecture tells whether a package of architecture have is one for
// want: "all" is for every binary architecture.
func hasArchitecture(have, want string) bool {
	return have == want || have == "all" && want != "source"
}

// isSpecial knows the fields that are no fields of the stanza.
func isSpecial(name string) bool {
	switch name {
	case "$Source", "$SourceVersion", "$Architecture", "$Version", "$PackageType":
		return true
	}
	return false
}

func (n fieldNode) match(p *Package) bool {
	switch n.name {
	case "$Version", "Version":
		return n.ofVersion(p.Version)
	case "$SourceVersion":
		_, version := p.Stanza.Source()
		return n.ofVersion(version)
	case "$Source":
		source, _ := p.Stanza.Source()
		return n.cond.text(source)
	case "$Architecture":
		if n.cond.op == opEQ {
			return hasArchitecture(p.Architecture, n.cond.value)
		}
		return n.cond.text(p.Architecture)
	case "$PackageType":
		return n.cond.text(packageType(p.Stanza))
	case "Name":
		return n.cond.text(p.Name)
	case "Architecture":
		return n.cond.text(p.Architecture)
	}
	return n.cond.text(p.Stanza.Get(n.name))
}

func (n fieldNode) ofVersion(v string) bool {
	return v != "" && (n.cond.op == opNone || n.cond.version(v))
}

// packageType is "udeb" for packages of the installer.
func packageType(s deb.Stanza) string {
	if strings.HasSuffix(s.Get("Filename"), ".udeb") {
		return "udeb"
	}
	return "deb"
}

func (n setNode) known() bool {
	switch n {
	case "@essential", "@required", "@important", "@standard":
		return true
	}
	return false
}

func (n setNode) match(p *Package) bool {
	if n == "@essential" {
		return p.Stanza.Get("Essential") == "yes"
	}
	switch p.Stanza.Get("Priority") {
	case "required":
		return true
	case "important":
		return n != "@required"
	case "standard":
		return n == "@standard"
	}
	return false
}

// level is how tight an expression binds.
type level uint8

const (
	levelOr level = iota
	levelAnd
	levelNot
)

// spell writes a node canonically, in parentheses where its surroundings bind
// tighter. An "and" inside an "or" gets them too, though it needs none: people
// read "a | b, c" both ways.
func spell(n node, around level) string {
	switch n := n.(type) {
	case orNode:
		s := spellAll(n, " | ", levelAnd)
		if around > levelOr {
			return "(" + s + ")"
		}
		return s
	case andNode:
		s := spellAll(n, ", ", levelNot)
		if around > levelOr {
			return "(" + s + ")"
		}
		return s
	case notNode:
		return "!" + spell(n.of, levelNot)
	case fieldNode:
		return n.name + n.cond.String()
	case dependencyNode:
		s := n.name
		if n.suite != "" {
			s += "/" + n.suite
		}
		s += n.cond.String()
		if n.arch != "" {
			s += " {" + n.arch + "}"
		}
		return s
	case exactNode:
		return quote(n.name + "_" + n.version + "_" + n.arch)
	case setNode:
		return string(n)
	}
	return ""
}

func spellAll(ns []node, sep string, around level) string {
	parts := make([]string, len(ns))
	for i, n := range ns {
		parts[i] = spell(n, around)
	}
	return strings.Join(parts, sep)
}

// String is " (>= 1.0)", or "" for no condition.
func (c condition) String() string {
	if c.op == opNone {
		return ""
	}
	return " (" + c.op.String() + " " + quote(c.value) + ")"
}

// quote puts a value in quotes if it would not be read back as it is.
func quote(s string) string {
	if s != "" && !strings.ContainsAny(s, signs+" \t\r\n\f\v\"'\\") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
