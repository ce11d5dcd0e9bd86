package query

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"example.org/mmoci/pkg/deb"
)

// Limits of a query.
const (
	MaxLength = 64 << 10 // bytes
	maxDepth  = 200      // parentheses and "!" inside each other
)

// Parse reads one query in the language of aptly's package queries:
//
//	query     = and { "|" and }
//	and       = not { "," not }
//	not       = [ "!" ] ( "(" query ")" | leaf )
//	leaf      = FIELD [ condition ]                   a word that begins with "$", or with a capital and has no "_"
//	          | NAME_VERSION_ARCH                     exactly that package: two or more "_" and no condition
//	          | NAME [ condition ] [ "{" ARCH "}" ]   the package, or what provides it
//	          | NAME/SUITE [ condition ] [ "{" ARCH "}" ]   the package itself, as that suite lists it
//	          | "@essential" | "@required" | "@important" | "@standard"
//	condition = "(" [ << | < | <= | > | >> | >= | = | % | ~ ] VALUE ")"
//
// "!" binds tighter than "," and that tighter than "|". "<" and ">" mean "or
// equal", as in old control files; no operator means "=". "%" is a shell
// pattern (path.Match), "~" an unanchored regular expression (RE2). A value
// may stand in single or double quotes, in which "\" keeps the next character.
//
// Fields: $Source and $SourceVersion (fall back to the package's own),
// $Architecture (with "=", "all" packages are of every architecture),
// $Version, $PackageType (deb or udeb), and each field of the stanza by its
// name. Version, $Version and $SourceVersion compare as versions, whole
// numbers as numbers, other fields as text. A field without condition asks for
// one that is not empty.
//
// A name with a version matches a Provides that has a version (deb-control(5)),
// never one without. NAME:ARCH is taken for NAME {ARCH}.
//
// NAME/SUITE is apt's (apt-get(8), install), not aptly's: the package as it is
// listed by the suite of that name, which may be its directory under dists/, or
// the Suite or Codename of its Release.
//
// The sets: @essential is Essential: yes; @required, @important and @standard
// are the packages of that Priority or a higher one, as debootstrap counts.
//
// Errors are *Error, wrapping ErrInvalid.
func Parse(s string) (*Query, error) {
	if len(s) > MaxLength {
		return nil, fmt.Errorf("%w: %d bytes, over the limit of %d", ErrInvalid, len(s), MaxLength)
	}
	if i := invalidAt(s); i >= 0 {
		return nil, errorAt(s, i, "not UTF-8, or a NUL")
	}
	p := &parser{lex: lexer{text: s}}
	if err := p.advance(false); err != nil {
		return nil, err
	}
	if p.tok.kind == tokenEnd {
		return nil, errorAt(s, len(s), "empty query")
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokenEnd {
		return nil, p.unexpected("\"|\", \",\" or the end")
	}
	return &Query{root: root, warnings: p.warnings}, nil
}

// invalidAt is the offset of the first byte that no query has, or -1.
func invalidAt(s string) int {
	for i, r := range s {
		if r == 0 || r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return i
		}
	}
	return -1
}

// parser is a recursive-descent parser with one token of look-ahead.
type parser struct {
	lex      lexer
	tok      token
	depth    int
	warnings []string
}

func (p *parser) advance(operators bool) (err error) {
	p.tok, err = p.lex.next(operators)
	return err
}

func (p *parser) sign(c string) bool { return p.tok.kind == tokenSign && p.tok.text == c }

func (p *parser) unexpected(want string) error {
	have := "end of query"
	if p.tok.kind != tokenEnd {
		have = fmt.Sprintf("%q", p.tok.text)
	}
	return errorAt(p.lex.text, p.tok.at, "%s where %s was expected", have, want)
}

func (p *parser) or() (node, error) {
	var all orNode
	start, mixed := p.tok.at, false
	for {
		n, bare, err := p.and()
		if err != nil {
			return nil, err
		}
		mixed = mixed || bare
		if o, ok := n.(orNode); ok {
			all = append(all, o...)
		} else {
			all = append(all, n)
		}
		if !p.sign("|") {
			break
		}
		if err := p.advance(false); err != nil {
			return nil, err
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	if mixed {
		p.warnings = append(p.warnings, fmt.Sprintf("column %d: \",\" binds tighter than \"|\": this reads as %s; write the parentheses",
			utf8.RuneCountInString(p.lex.text[:start])+1, spell(all, levelOr)))
	}
	return all, nil
}

// and reads members joined by ","; bare tells that there are several.
func (p *parser) and() (n node, bare bool, err error) {
	var all andNode
	for {
		n, err := p.not()
		if err != nil {
			return nil, false, err
		}
		if a, ok := n.(andNode); ok {
			all = append(all, a...)
		} else {
			all = append(all, n)
		}
		if !p.sign(",") {
			break
		}
		bare = true
		if err := p.advance(false); err != nil {
			return nil, false, err
		}
	}
	if len(all) == 1 {
		return all[0], false, nil
	}
	return all, bare, nil
}

func (p *parser) not() (node, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxDepth {
		return nil, errorAt(p.lex.text, p.tok.at, "nesting over %d levels", maxDepth)
	}
	switch {
	case p.sign("!"):
		if err := p.advance(false); err != nil {
			return nil, err
		}
		n, err := p.not()
		if err != nil {
			return nil, err
		}
		if twice, ok := n.(notNode); ok {
			return twice.of, nil
		}
		return notNode{n}, nil
	case p.sign("("):
		if err := p.advance(false); err != nil {
			return nil, err
		}
		n, err := p.or()
		if err != nil {
			return nil, err
		}
		if !p.sign(")") {
			return nil, p.unexpected("\")\"")
		}
		return n, p.advance(false)
	case p.tok.kind == tokenString:
		return p.leaf()
	}
	return nil, p.unexpected("a package or a field")
}

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
	case underscores >= 2 && !p.sign("(") && !strings.Contains(word.text, "/"):
		return p.exact(word)
	}
	return p.dependency(word)
}

func (p *parser) set(word token) (node, error) {
	if s := setNode(word.text); s.known() {
		return s, nil
	}
	return nil, errorAt(p.lex.text, word.at, "no set %q; there are @essential, @required, @important, @standard", word.text)
}

func (p *parser) field(word token) (node, error) {
	name := word.text
	if name[0] == '$' && !isSpecial(name) {
		return nil, errorAt(p.lex.text, word.at, "no field %q; there are $Source, $SourceVersion, $Architecture, $Version, $PackageType", name)
	}
	if !deb.ValidArchitecture(strings.TrimPrefix(name, "$")) { // letters, digits and "-"
		return nil, errorAt(p.lex.text, word.at, "field name %q", name)
	}
	cond, err := p.condition()
	if err != nil {
		return nil, err
	}
	if p.sign("{") {
		return nil, errorAt(p.lex.text, p.tok.at, "an architecture may follow a package name only; write %s, $Architecture (= ...)", name)
	}
	return fieldNode{name, cond}, nil
}

func (p *parser) exact(word token) (node, error) {
	i, j := strings.IndexByte(word.text, '_'), strings.LastIndexByte(word.text, '_')
	e := exactNode{word.text[:i], word.text[i+1 : j], word.text[j+1:]}
	if !deb.ValidName(e.name) || e.version == "" || !deb.ValidArchitecture(e.arch) {
		return nil, errorAt(p.lex.text, word.at, "%q is no NAME_VERSION_ARCHITECTURE", word.text)
	}
	return e, nil
}

func (p *parser) dependency(word token) (node, error) {
	of, suite, suited := strings.Cut(word.text, "/")
	name, arch, qualified := strings.Cut(of, ":")
	if suited && !validSuite(suite) {
		return nil, errorAt(p.lex.text, word.at, "suite %q; write NAME/SUITE", suite)
	}
	if !deb.ValidName(name) || qualified && !deb.ValidArchitecture(arch) {
		return nil, errorAt(p.lex.text, word.at, "package name %q%s", word.text, nameHint(word.text))
	}
	cond, err := p.condition()
	if err != nil {
		return nil, err
	}
	d := dependencyNode{name: name, arch: arch, suite: suite, cond: cond}
	if !p.sign("{") {
		return d, nil
	}
	if qualified {
		return nil, errorAt(p.lex.text, p.tok.at, "a second architecture")
	}
	if err := p.advance(false); err != nil {
		return nil, err
	}
	if p.tok.kind != tokenString || !deb.ValidArchitecture(p.tok.text) {
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

// validSuite tells whether s may name a suite. A flat one ends in a slash.
func validSuite(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-+._~/") == ""
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
			return c, errorAt(p.lex.text, value.at, "shell pattern %q: %v", c.value, err)
		}
	case opRegexp:
		if c.re, err = regexp.Compile(c.value); err != nil {
			return c, errorAt(p.lex.text, value.at, "regular expression: %v", err)
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

// tokenKind is what a token of a query is.
type tokenKind uint8

const (
	tokenEnd      tokenKind = iota
	tokenSign               // one of ( ) | , ! { }
	tokenOperator           // one of << < <= > >> >= = % ~
	tokenString             // anything else, quoted or not
)

// token is one word of a query.
type token struct {
	kind   tokenKind
	text   string // without quotes
	quoted bool
	at     int // byte offset
}

// signs end an unquoted string. aptly's lexer forgets the opening
// parenthesis, so that "nginx(>= 1.0)" is no condition there.
const signs = "(){}|,!"

// lexer cuts a query into tokens.
type lexer struct {
	text string
	pos  int
}

// next reads a token; in a condition, operators are told from strings.
func (l *lexer) next(operators bool) (token, error) {
	l.pos += len(l.text[l.pos:]) - len(strings.TrimLeft(l.text[l.pos:], " \t\r\n\f\v"))
	at := l.pos
	if at == len(l.text) {
		return token{kind: tokenEnd, at: at}, nil
	}
	c := l.text[at]
	switch {
	case strings.IndexByte(signs, c) >= 0:
		l.pos++
		return token{kind: tokenSign, text: l.text[at:l.pos], at: at}, nil
	case operators && strings.IndexByte("<>=%~", c) >= 0:
		l.pos++
		if l.pos < len(l.text) && (c == '<' || c == '>') && (l.text[l.pos] == c || l.text[l.pos] == '=') {
			l.pos++
		}
		return token{kind: tokenOperator, text: l.text[at:l.pos], at: at}, nil
	case c == '"' || c == '\'':
		return l.quoted(c)
	}
	for l.pos < len(l.text) {
		r, n := utf8.DecodeRuneInString(l.text[l.pos:])
		if strings.ContainsRune(" \t\r\n\f\v"+signs, r) {
			break
		}
		l.pos += n
	}
	return token{kind: tokenString, text: l.text[at:l.pos], at: at}, nil
}

// quoted reads a string in quotes; a backslash takes the next character as it is.
func (l *lexer) quoted(quote byte) (token, error) {
	at := l.pos
	var b strings.Builder
	for i := at + 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == quote:
			l.pos = i + 1
			return token{kind: tokenString, text: b.String(), quoted: true, at: at}, nil
		case c == '\\' && i+1 < len(l.text):
			i++
			b.WriteByte(l.text[i])
		default:
			b.WriteByte(c)
		}
	}
	return token{}, errorAt(l.text, at, "quote that is not closed")
}
