package resolve

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// leaf reads a field, an exact package, a set or a dependency.
func (p *parser) leaf() (node, error) {
	word := p.tok
	if err := p.advance(false); err != nil {
		return nil, err
	}
	first := word.text + "\x00"
	underscores := strings.Count(word.text, "_")
	switch {
	case first[0] == '@':
		return p.set(word)
	case first[0] == '$', 'A' <= first[0] && first[0] <= 'Z' && underscores == 0:
		return p.field(word)
	case underscores >= 2 && !p.sign("("):
		return p.exact(word)
	}
	return p.dependency(word)
}

func (p *parser) set(word token) (node, error) {
	if s := setNode(word.text); s.known() {
		return s, nil
	}
	return nil, queryError(p.lex.text, word.at, "no set %q; there are @essential, @required, @important, @standard", word.text)
}

func (p *parser) field(word token) (node, error) {
	name := word.text
	if name[0] == '$' && !isSpecial(name) {
		return nil, queryError(p.lex.text, word.at, "no field %q; there are $Source, $SourceVersion, $Architecture, $Version, $PackageType", name)
	}
	if !isArchitecture(strings.TrimPrefix(name, "$")) { // letters, digits and "-"
		return nil, queryError(p.lex.text, word.at, "field name %q", name)
	}
	cond, err := p.condition()
	if err != nil {
		return nil, err
	}
	if p.sign("{") {
		return nil, queryError(p.lex.text, p.tok.at, "an architecture may follow a package name only; write %s, $Architecture (= ...)", name)
	}
	return fieldNode{name, cond}, nil
}

func (p *parser) exact(word token) (node, error) {
	i, j := strings.IndexByte(word.text, '_'), strings.LastIndexByte(word.text, '_')
	e := exactNode{word.text[:i], word.text[i+1 : j], word.text[j+1:]}
	if !isPackageName(e.name) || e.version == "" || !isArchitecture(e.arch) {
		return nil, queryError(p.lex.text, word.at, "%q is no NAME_VERSION_ARCHITECTURE", word.text)
	}
	return e, nil
}

func (p *parser) dependency(word token) (node, error) {
	name, arch, qualified := strings.Cut(word.text, ":")
	if !isPackageName(name) || qualified && !isArchitecture(arch) {
		return nil, queryError(p.lex.text, word.at, "package name %q%s", word.text, nameHint(word.text))
	}
	cond, err := p.condition()
	if err != nil {
		return nil, err
	}
	d := dependencyNode{name: name, arch: arch, cond: cond}
	if !p.sign("{") {
		return d, nil
	}
	if qualified {
		return nil, queryError(p.lex.text, p.tok.at, "a second architecture")
	}
	if err := p.advance(false); err != nil {
		return nil, err
	}
	if p.tok.kind != tokenString || !isArchitecture(p.tok.text) {
		return nil, p.unexpected("an architecture")
	}
	d.arch = p.tok.text
	if err := p.advance(false); err != nil {
		return nil, err
	}
	if !p.sign("}") {
		return nil, p.unexpected("\"}\"")
	}
	return d, p.advance(false)
}

// nameHint tells what was probably meant by a word that is no package name.
func nameHint(word string) string {
	switch i := strings.IndexAny(word, "*?[<>="); {
	case i < 0:
		return ""
	case strings.IndexByte("<>=", word[i]) >= 0:
		return fmt.Sprintf("; write %s (%s)", word[:i], strings.TrimSpace(word[i:]))
	}
	return fmt.Sprintf("; a name has no wildcards, write Name (%% %s)", word)
}

// condition reads "(operator value)" if there is one.
func (p *parser) condition() (c condition, err error) {
	if !p.sign("(") {
		return c, nil
	}
	if err := p.advance(true); err != nil {
		return c, err
	}
	c.op = opEQ
	if p.tok.kind == tokenOperator {
		c.op = readOperator(p.tok.text)
		if err := p.advance(false); err != nil {
			return c, err
		}
	}
	if p.tok.kind != tokenString {
		return c, p.unexpected("a value (one with signs in it goes into quotes)")
	}
	value := p.tok
	c.value = value.text
	switch c.op {
	case opGlob:
		if _, err := path.Match(c.value, ""); err != nil {
			return c, queryError(p.lex.text, value.at, "shell pattern %q: %v", c.value, err)
		}
	case opRegexp:
		if c.re, err = regexp.Compile(c.value); err != nil {
			return c, queryError(p.lex.text, value.at, "regular expression: %v", err)
		}
	}
	if err := p.advance(false); err != nil {
		return c, err
	}
	if !p.sign(")") {
		return c, p.unexpected("\")\"")
	}
	return c, p.advance(false)
}

// readOperator knows the obsolete "<" and ">".
func readOperator(s string) operator {
	switch s {
	case "<<":
		return opLT
	case "<", "<=":
		return opLE
	case ">", ">=":
		return opGE
	case ">>":
		return opGT
	case "%":
		return opGlob
	case "~":
		return opRegexp
	}
	return opEQ
}

// isPackageName is dpkg's rule (pkg_name_is_illegal), which is laxer than policy.
func isPackageName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && (i == 0 || strings.IndexByte("+-._", c) < 0) {
			return false
		}
	}
	return s != ""
}

// isArchitecture is dpkg's rule (dpkg_arch_name_is_illegal).
func isArchitecture(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && (i == 0 || c != '-') {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool { return c|0x20-'a' < 26 || c-'0' < 10 }
