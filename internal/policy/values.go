package policy

import (
	"path"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"example.org/mmoci/pkg/deb"
)

// text is a single value as it is written.
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

// words is a line for people. It goes into a status line and a log.
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

// list is one value or several.
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
