package resolve

import (
	"strings"

	"example.org/mmoci/pkg/deb"
)

// row is what queries look at: a stanza with the values that most of them want.
type row struct {
	name, version, arch string
	provides            string // value of the field
	stanza              deb.Stanza
}

func (n orNode) match(r *row) bool {
	for _, m := range n {
		if m.match(r) {
			return true
		}
	}
	return false
}

func (n andNode) match(r *row) bool {
	for _, m := range n {
		if !m.match(r) {
			return false
		}
	}
	return true
}

func (n notNode) match(r *row) bool { return !n.of.match(r) }

func (n exactNode) match(r *row) bool {
	return r.name == n.name && r.version == n.version && r.arch == n.arch
}

func (n dependencyNode) match(r *row) bool {
	if n.arch != "" && !hasArchitecture(r.arch, n.arch) {
		return false
	}
	if r.name == n.name {
		return n.cond.op == opNone || n.cond.version(r.version)
	}
	return n.provided(r)
}

// provided tells whether a package provides what is asked for. An unversioned
// Provides has no version that a condition could hold for (deb-control(5)).
func (n dependencyNode) provided(r *row) bool {
	if !strings.Contains(r.provides, n.name) {
		return false
	}
	provides, err := deb.ParseRelations(r.provides, r.arch)
	if err != nil {
		return false
	}
	for _, alternatives := range provides {
		for _, p := range alternatives {
			if p.Name == n.name && (n.cond.op == opNone || p.Op == deb.EQ && n.cond.version(p.Version)) {
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

func (n fieldNode) match(r *row) bool {
	switch n.name {
	case "$Version", "Version":
		return n.ofVersion(r.version)
	case "$SourceVersion":
		_, version := r.stanza.Source()
		return n.ofVersion(version)
	case "$Source":
		source, _ := r.stanza.Source()
		return n.cond.text(source)
	case "$Architecture":
		if n.cond.op == opEQ {
			return hasArchitecture(r.arch, n.cond.value)
		}
		return n.cond.text(r.arch)
	case "$PackageType":
		return n.cond.text(packageType(r.stanza))
	case "Name":
		return n.cond.text(r.name)
	case "Architecture":
		return n.cond.text(r.arch)
	}
	return n.cond.text(r.stanza.Get(n.name))
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

func (n setNode) match(r *row) bool {
	if n == "@essential" {
		return r.stanza.Get("Essential") == "yes"
	}
	switch readPriority(r.stanza.Get("Priority")) {
	case priorityRequired:
		return true
	case priorityImportant:
		return n != "@required"
	case priorityStandard:
		return n == "@standard"
	}
	return false
}

// priority is the Priority of a package in apt's order; what has none comes first there.
type priority uint8

const (
	priorityNone priority = iota
	priorityRequired
	priorityImportant
	priorityStandard
	priorityOptional
	priorityExtra
)

func readPriority(s string) priority {
	switch s {
	case "required":
		return priorityRequired
	case "important":
		return priorityImportant
	case "standard":
		return priorityStandard
	case "optional":
		return priorityOptional
	case "extra":
		return priorityExtra
	}
	return priorityNone
}
