package main

import (
	"fmt"
	"strings"
)

// asked is a query with what it is there to show.
type asked struct {
	class string // "operator >=", "field Section", "precedence ! before ,"
	query string
	leaf  *leaf // if it is a single one
}

// leaf is a query of one field or name.
type leaf struct {
	subject, op, value, arch string
	field                    bool
}

func (l leaf) String() string {
	s := l.subject
	switch {
	case l.value == "":
	case l.op == "":
		s += " (" + l.value + ")"
	default:
		s += " (" + l.op + " " + l.value + ")"
	}
	if l.arch != "" {
		s += " {" + l.arch + "}"
	}
	return s
}

// operators are all there are; "" is a value without one.
var operators = []string{"", "=", "<<", "<", "<=", ">", ">=", ">>", "%", "~"}

// operand is what a subject is compared with.
type operand struct{ subject, value, glob, regexp string }

// fields are all that are documented, with a value that some package has.
var fields = []operand{
	{"Name", "libc6-dev", "libc6*", "^nginx-(light|doc)$"},
	{"Version", "2.36-9", "2.3?-*", "'[+]deb12u[0-9]'"},
	{"Architecture", "i386", "a*", "^a.."},
	{"Source", "glibc", "'*n*'", "^e"},
	{"Depends", "'libc6 (= 2.36-9)'", "*libc6*", "net-tools"},
	{"Pre-Depends", "'dpkg (>= 1.17)'", "dpkg*", "libc6"},
	{"Recommends", "nginx-doc", "ca-*", "^n"},
	{"Suggests", "fcgiwrap", "*synaptic", "aptitude"},
	{"Provides", "libc-dev", "*transport-agent*", "'smtp|httpd'"},
	{"Section", "libs", "lib*", "'^(mail|text)$'"},
	{"Priority", "optional", "?equired", "^(extra|important)$"},
	{"Essential", "yes", "y*", "s$"},
	{"Maintainer", "'Web Team <web@example.org>'", "'* Team <*'", "'Team <(py|web)@'"},
	{"Homepage", "https://example.org", "https:*", "//example"},
	{"Task", "server", "mini*", "er$"},
	{"Tag", "role::program", "*server", "web"},
	{"Multi-Arch", "same", "a*", "'same|allowed'"},
	{"Installed-Size", "100", "9*", "0$"},
	{"Build-Depends", "debhelper", "deb*", "helper"},
	{"Build-Depends-Indep", "debhelper", "deb*", "helper"},
	{"$Source", "nginx", "g*", "-12$"},
	{"$SourceVersion", "1.22.1-8", "1.22*", "'^[12]:'"},
	{"$Architecture", "i386", "a??", "^i"},
	{"$Version", "2.36-10", "2.*", "~rc1"},
	{"$PackageType", "udeb", "?deb", "^d"},
}

// names are what dependency queries ask for.
var names = []operand{
	{"nginx", "1.0", "1.2*", "-6$"},
	{"libc6-dev", "2.36-10", "2.36*", "rc"},
	{"dpkg", "1.21", "1.21*", "'~'"},
	{"epoch", "2:1.0-1", "'*:1*'", "^2:"},
	{"exim4", "4.96-15", "4*", "15$"},
	{"smtp", "5", "5", "5"},
	{"mail-transport-agent", "9", "9", "9"},
	{"libc-dev", "2.36-10", "2.36*", "rc"},
	{"nosuch", "1", "1", "1"},
}

// architectures are names with an architecture.
var architectures = []leaf{
	{subject: "nginx-doc", arch: "amd64"},
	{subject: "nginx", arch: "amd64"},
	{subject: "nginx", arch: "i386"},
	{subject: "nginx", arch: "source"},
	{subject: "nginx-doc", arch: "source"},
	{subject: "libc6", op: ">=", value: "2.36", arch: "i386"},
	{subject: "tzdata", arch: "all"},
	{subject: "libc6", arch: "armhf"},
}

// others show what is neither an operator nor a field.
var others = []asked{
	{class: "exact", query: "libc6-dev_2.36-10_amd64"},
	{class: "exact", query: "libc6_2.36-9_i386"},
	{class: "exact", query: "libc6_2.36-9_armhf"},
	{class: "exact", query: "epoch_2:1.0-1_all"},
	{class: "exact", query: "nginx-doc_1.22.1-9_amd64"},
	{class: "quotes", query: `Section (= "libs")`},
	{class: "quotes", query: `Name (~ "^(apt|less)$")`},
	{class: "quotes", query: `Maintainer (% 'Python\ Team*')`},
	{class: "blanks", query: "  libc6-dev\t( >=2.36-10 ) "},
	{class: "blanks", query: "libc6-dev,Section (libdevel)|tar"},
	{class: "blanks", query: "libc6-dev(>= 2.36-10)"},
	{class: "blanks", query: "Section(libs)"},
	{class: "precedence | joins", query: "tar | less"},
	{class: "precedence | joins", query: "tar | less | apt | nosuch"},
	{class: "precedence , narrows", query: "Section (admin), Essential"},
	{class: "precedence , narrows", query: "Section (libdevel), Version (>= 2.36-10), Name (% libc*)"},
	{class: "precedence , before |", query: "tar | Section (admin), Essential"},
	{class: "precedence , before |", query: "Section (admin), Essential | tar"},
	{class: "precedence , before |", query: "Section (admin), Essential | Section (libs), Multi-Arch"},
	{class: "precedence parentheses", query: "(tar | Section (admin)), Essential"},
	{class: "precedence parentheses", query: "Section (admin), (Essential | Recommends)"},
	{class: "precedence parentheses", query: "((tar))"},
	{class: "precedence parentheses", query: "(Section (admin), (Essential | (Recommends, Suggests))) | less"},
	{class: "precedence ! before ,", query: "!Essential, Section (admin)"},
	{class: "precedence ! before ,", query: "Section (libdevel), !Version (<< 2.36-10), !Name (nosuch)"},
	{class: "precedence ! before |", query: "!Section (~ .) | tar"},
	{class: "precedence ! before |", query: "tar | !Section (~ ^[^u])"},
	{class: "precedence ! of parentheses", query: "!(Section (~ '^[^a]') | Essential)"},
	{class: "precedence ! of parentheses", query: "!(Section (admin), Essential), Priority (~ 'required|important')"},
	{class: "precedence !!", query: "!!tar"},
	{class: "precedence !!", query: "!(!tar)"},
	{class: "precedence ! of a name", query: "!nosuch, Section (libs)"},
	{class: "refused", query: "nginx (>= 1.0"},
	{class: "refused", query: "nginx (>= )"},
	{class: "refused", query: "nginx |"},
	{class: "refused", query: "(nginx"},
	{class: "refused", query: "nginx, , tar"},
	{class: "refused", query: "nginx)"},
	{class: "refused", query: "nginx tar"},
	{class: "refused", query: "!"},
	{class: "refused", query: "nginx {"},
	{class: "refused", query: "Section (= 'libs)"},
	{class: "refused", query: "Name (~ '[')"},
	{class: "refused", query: "Name (% '[')"},
	{class: "refused", query: "$Nosuch (= 1)"},
	{class: "refused", query: "Section {amd64}"},
}

// queries are every operator on every field and name, and the others.
func queries() []asked {
	var all []asked
	put := func(class string, l leaf) { all = append(all, asked{class, l.String(), &l}) }
	for kind, operands := range [][]operand{fields, names} {
		for _, o := range operands {
			class := "name " + o.subject
			if kind == 0 {
				class = "field " + o.subject
			}
			put(class, leaf{subject: o.subject, field: kind == 0})
			for _, op := range operators {
				l := leaf{subject: o.subject, op: op, value: o.value, field: kind == 0}
				switch op {
				case "%":
					l.value = o.glob
				case "~":
					l.value = quoted(o.regexp)
				}
				put(fmt.Sprintf("%s operator %q", class, op), l)
			}
		}
	}
	for _, l := range architectures {
		put("{arch}", l)
	}
	return append(all, others...)
}

// quoted puts quotes around what has signs of the language in it.
func quoted(s string) string {
	if s[0] != '\'' && strings.ContainsAny(s, "()|,!{} ") {
		return "'" + s + "'"
	}
	return s
}
