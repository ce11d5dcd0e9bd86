package resolve

import "strings"

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
		if n.arch != "" {
			return n.name + n.cond.String() + " {" + n.arch + "}"
		}
		return n.name + n.cond.String()
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
