package resolve

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a query.
const (
	MaxQuery      = 64 << 10 // bytes
	maxQueryDepth = 200      // parentheses and "!" inside each other
)

// ParseQuery reads one query in the language of aptly's package queries:
//
//	query     = and { "|" and }
//	and       = not { "," not }
//	not       = [ "!" ] ( "(" query ")" | leaf )
//	leaf      = FIELD [ condition ]                   a word that begins with "$", or with a capital and has no "_"
//	          | NAME_VERSION_ARCH                     exactly that package: two or more "_" and no condition
//	          | NAME [ condition ] [ "{" ARCH "}" ]   the package, or what provides it
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
// The sets: @essential is Essential: yes; @required, @important and @standard
// are the packages of that Priority or a higher one, as debootstrap counts.
//
// Errors are *QueryError, wrapping ErrQuery.
func ParseQuery(s string) (*Query, error) {
	if len(s) > MaxQuery {
		return nil, fmt.Errorf("%w: %d bytes, over the limit of %d", ErrQuery, len(s), MaxQuery)
	}
	if i := invalidAt(s); i >= 0 {
		return nil, queryError(s, i, "not UTF-8, or a NUL")
	}
	p := &parser{lex: lexer{text: s}}
	if err := p.advance(false); err != nil {
		return nil, err
	}
	if p.tok.kind == tokenEnd {
		return nil, queryError(s, len(s), "empty query")
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokenEnd {
		return nil, p.unexpected("\"|\", \",\" or the end")
	}
	return &Query{query{text: s, root: root, warnings: p.warnings}}, nil
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
	return queryError(p.lex.text, p.tok.at, "%s where %s was expected", have, want)
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
	if p.depth > maxQueryDepth {
		return nil, queryError(p.lex.text, p.tok.at, "nesting over %d levels", maxQueryDepth)
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
