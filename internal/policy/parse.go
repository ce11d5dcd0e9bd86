package policy

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"example.org/mmoci/pkg/deb"
)

// Limits of a rules file.
const (
	MaxBytes = 1 << 20 // of the file
	MaxRules = 10_000
	maxText  = 300 // bytes of a name or reason
)

// Parse reads rules:
//
//	default: allow              # or deny; allow if it is not said
//	rules:
//	- name: no-telnet           # "rule 1" if it is not said
//	  deny: [telnetd, "telnet*"]
//	  reason: use ssh
//	- deny: "*"                 # of these sources, architectures, archives:
//	  source: openssl
//	  version: "<< 3.0.15-1~deb12u1"
//	  reason: CVE-2024-5535
//	- allow: "*"
//	  archive: docker
//	  reason: asked for by platform
//	- deny: "*"                 # of these container images:
//	  image: ["registry.example.org/legacy/*", "*:latest"]
//	  reason: not maintained
//
// Each rule has either deny or allow with package names or globs (path.Match), and
// a reason. version (conditions that must all hold; one without operator means
// "="), architecture, source and archive (globs) narrow it. A rule with image is about container
// images, by HOST/REPO:TAG or HOST/REPO, where a * also matches slashes; a rule without it is about
// packages. The first rule that matches decides. Errors begin with name and line.
func Parse(name string, data []byte) (*Policy, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%s: more than %d bytes", name, MaxBytes)
	}
	// The library reads a NUL as the end; rules behind it would have no effect.
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return nil, fmt.Errorf("%s:%d: a NUL byte", name, 1+bytes.Count(data[:i], []byte("\n")))
	}
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntaxError(name, err)
	}
	d := decoder{name: name}
	switch {
	case len(f.Docs) > 1:
		return nil, d.errorf(f.Docs[1].Body, "a second document")
	case len(f.Docs) == 0 || f.Docs[0].Body == nil:
		return nil, fmt.Errorf("%s: empty; write default: allow", name)
	}
	return d.policy(f.Docs[0].Body)
}

// syntaxError gives the line and one line of words, without the library's drawing.
func syntaxError(name string, err error) error {
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", name, e.GetToken().Position.Line, e.GetMessage())
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("%s: %s", name, first)
}

// decoder makes values of YAML nodes.
type decoder struct{ name string }

func (d decoder) errorf(n ast.Node, format string, args ...any) error {
	line := 0
	if t := tokenOf(n); t != nil && t.Position != nil {
		line = t.Position.Line
	}
	return fmt.Errorf("%s:%d: %w", d.name, line, fmt.Errorf(format, args...))
}

// tokenOf is where a node begins; a mapping's own token is its first colon.
func tokenOf(n ast.Node) *token.Token {
	switch n := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if len(n.Values) > 0 {
			return tokenOf(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return tokenOf(n.Key)
	}
	return n.GetToken()
}

// fields calls the function of each key of a mapping. Unknown keys and keys given twice are errors.
func (d decoder) fields(n ast.Node, what string, known map[string]func(ast.Node) error) error {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		return d.errorf(n, "%s: not a mapping", what)
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		key, err := d.text(p.Key)
		if err != nil {
			return err
		}
		set, ok := known[key]
		if !ok {
			return d.errorf(p, "%s: unknown key %q", what, key)
		}
		if seen[key] {
			return d.errorf(p, "%s: %s given twice", what, key)
		}
		seen[key] = true
		if err := set(p.Value); err != nil {
			return err
		}
	}
	return nil
}

func (d decoder) policy(n ast.Node) (*Policy, error) {
	p := &Policy{allow: true}
	err := d.fields(n, "policy", map[string]func(ast.Node) error{
		"default": func(n ast.Node) error {
			s, err := d.text(n)
			if err != nil {
				return err
			}
			if s != "allow" && s != "deny" {
				return d.errorf(n, "default: %q is neither allow nor deny", s)
			}
			p.allow = s == "allow"
			return nil
		},
		"rules": func(n ast.Node) error { return d.rules(n, p) },
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (d decoder) rules(n ast.Node, p *Policy) error {
	if _, null := n.(*ast.NullNode); null {
		return d.errorf(n, "rules: null; write [] for none")
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return d.errorf(n, "rules: not a list")
	}
	if len(seq.Values) > MaxRules {
		return d.errorf(n, "rules: more than %d", MaxRules)
	}
	names := map[string]bool{defaultRule: true}
	for i, item := range seq.Values {
		r, err := d.rule(item, fmt.Sprintf("rule %d", i+1))
		if err != nil {
			return err
		}
		if names[r.name] {
			return d.errorf(item, "a second rule is called %q", r.name)
		}
		names[r.name] = true
		p.rules = append(p.rules, r)
	}
	return nil
}

func (d decoder) rule(n ast.Node, name string) (rule, error) {
	r := rule{name: name}
	verbs := 0
	names := func(allow bool) func(ast.Node) error {
		return func(n ast.Node) (err error) {
			verbs++
			r.allow = allow
			r.packages, err = d.globs(n)
			return err
		}
	}
	globs := func(into *[]glob) func(ast.Node) error {
		return func(n ast.Node) (err error) { *into, err = d.globs(n); return err }
	}
	narrows := false // by what an image does not have
	narrow := func(set func(ast.Node) error) func(ast.Node) error {
		return func(n ast.Node) error { narrows = true; return set(n) }
	}
	words := func(into *string) func(ast.Node) error {
		return func(n ast.Node) (err error) { *into, err = d.words(n); return err }
	}
	err := d.fields(n, name, map[string]func(ast.Node) error{
		"allow": names(true), "deny": names(false),
		"name": words(&r.name), "reason": words(&r.reason),
		"architecture": narrow(globs(&r.architectures)), "source": narrow(globs(&r.sources)), "archive": narrow(globs(&r.archives)),
		"version": narrow(func(n ast.Node) (err error) { r.versions, err = d.versions(n); return err }),
		"image":   func(n ast.Node) (err error) { r.images, err = d.images(n); return err },
	})
	switch {
	case err != nil:
		return rule{}, err
	case verbs != 1:
		return rule{}, d.errorf(n, "%s: neither allow nor deny, or both", r.name)
	case len(r.images) > 0 && narrows:
		return rule{}, d.errorf(n, "%s: image: beside version, architecture, source or archive, which an image does not have; write two rules", r.name)
	case len(r.images) > 0 && (len(r.packages) != 1 || r.packages[0].kind != everything):
		return rule{}, d.errorf(n, "%s: package names beside image:; write \"*\" there, or two rules", r.name)
	case r.reason == "":
		return rule{}, d.errorf(n, "%s: no reason; it is what people will read", r.name)
	}
	return r, nil
}

// text reads a single value as it is written.
func (d decoder) text(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.NullNode, nil:
		return "", d.errorf(n, "no value")
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case ast.ScalarNode:
		return n.GetToken().Value, nil
	}
	return "", d.errorf(n, "not a single value")
}

// words reads a line for people. It goes into a status line and a log.
func (d decoder) words(n ast.Node) (string, error) {
	s, err := d.text(n)
	if err != nil {
		return "", err
	}
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return "", d.errorf(n, "no words")
	case len(s) > maxText:
		return "", d.errorf(n, "more than %d bytes", maxText)
	case strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "", d.errorf(n, "more than one line, or a control character")
	}
	return s, nil
}

// list reads one value or several.
func (d decoder) list(n ast.Node) ([]ast.Node, error) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return []ast.Node{n}, nil
	}
	if len(seq.Values) == 0 {
		return nil, d.errorf(n, "an empty list matches nothing")
	}
	return seq.Values, nil
}

func (d decoder) globs(n ast.Node) ([]glob, error) {
	items, err := d.list(n)
	if err != nil {
		return nil, err
	}
	var globs []glob
	for _, item := range items {
		s, err := d.words(item)
		if err != nil {
			return nil, err
		}
		if _, err := path.Match(s, ""); err != nil {
			return nil, d.errorf(item, "%q: %w", s, err)
		}
		globs = append(globs, newGlob(s))
	}
	return globs, nil
}

// images reads globs of image names, in which a * matches slashes too.
func (d decoder) images(n ast.Node) ([]glob, error) {
	globs, err := d.globs(n)
	for i, g := range globs {
		globs[i] = newGlob(strings.ReplaceAll(g.pattern, "/", slashAs))
	}
	return globs, err
}

// versions reads conditions like ">= 1.0, << 2", written as in Depends without the name.
func (d decoder) versions(n ast.Node) ([]deb.Relation, error) {
	items, err := d.list(n)
	if err != nil {
		return nil, err
	}
	var all []deb.Relation
	for _, item := range items {
		s, err := d.words(item)
		if err != nil {
			return nil, err
		}
		for condition := range strings.SplitSeq(s, ",") {
			condition = strings.Trim(strings.TrimSpace(condition), "()")
			groups, err := deb.ParseRelations("x ("+condition+")", "")
			if err != nil || len(groups) != 1 || len(groups[0]) != 1 || groups[0][0].Op == deb.Any {
				return nil, d.errorf(item, "%q is no condition on a version, like \"<< 1.2-3\"", condition)
			}
			rel := groups[0][0]
			if _, err := deb.ParseVersion(rel.Version); err != nil {
				return nil, d.errorf(item, "version: %w", err)
			}
			all = append(all, rel)
		}
	}
	return all, nil
}
