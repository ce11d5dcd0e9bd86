package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Limits of an input file.
const (
	MaxYAML = 1 << 20  // bytes of an mmoci.yaml or mini-mirror YAML
	MaxList = 16 << 20 // bytes of a list of packages
	// maxNesting bounds flow collections and "- - -" in each other: the parser's cost grows with the square of it.
	maxNesting = 64
)

// node is a value of a YAML document with its place.
type node struct {
	file string
	key  string // what it is the value of, for messages
	n    ast.Node
}

// readFile reads a file of at most limit bytes; the byte order mark and CR of CRLF are removed.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, usage(Position{File: name}, "%w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, usage(Position{File: name}, "%w", err)
	}
	if int64(len(data)) > limit {
		return nil, usage(Position{File: name}, "larger than %d bytes", limit)
	}
	return normalise(data), nil
}

func normalise(data []byte) []byte {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	return bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
}

// parseYAML gives the documents of a stream that are not empty.
func parseYAML(file string, data []byte) ([]node, error) {
	if !utf8.Valid(data) {
		return nil, usage(Position{file, 1}, "not UTF-8 text")
	}
	if line := tooDeep(data); line > 0 {
		return nil, usage(Position{file, line}, "nested more than %d deep", maxNesting)
	}
	// Keys that stand twice are reported by us, with both lines.
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var ye yaml.Error
		if errors.As(err, &ye) && ye.GetToken() != nil {
			// Never its text: it quotes the file, credentials included.
			return nil, usage(Position{file, ye.GetToken().Position.Line}, "YAML: %s", oneLine(ye.GetMessage()))
		}
		return nil, usage(Position{file, 1}, "not YAML")
	}
	var docs []node
	for _, d := range f.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentGroupType || d.Body.Type() == ast.DirectiveType {
			continue
		}
		docs = append(docs, node{file: file, n: d.Body})
	}
	return docs, nil
}

// tooDeep is the line in which collections are nested deeper than maxNesting, 0 if none is.
func tooDeep(data []byte) int {
	depth, line, dashes := 0, 1, 0
	for i, c := range data {
		switch c {
		case '\n':
			line, dashes = line+1, 0
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		case '-', '?':
			if i+1 < len(data) && (data[i+1] == ' ' || data[i+1] == '\t') && (i == 0 || data[i-1] == ' ' || data[i-1] == '\n') {
				dashes++
			}
		}
		if depth > maxNesting || dashes > maxNesting {
			return line
		}
	}
	return 0
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (n node) at() Position {
	p := Position{File: n.file, Line: 1}
	if tk := n.n.GetToken(); tk != nil && tk.Position != nil && tk.Position.Line > 0 {
		p.Line = tk.Position.Line
	}
	return p
}

func (n node) errorf(format string, args ...any) error {
	if n.key != "" {
		format = n.key + ": " + format
	}
	return usage(n.at(), format, args...)
}

// fields says what is done with the value of each key of a mapping.
type fields map[string]func(node) error

// mapping hands the value of each key to its function, in the order of the
// file. Unknown and repeated keys and null values are errors, and come first.
func (n node) mapping(known fields) error {
	pairs, err := n.pairs()
	if err != nil {
		return err
	}
	if len(pairs) == 0 {
		return n.errorf("empty; it knows the keys %s", strings.Join(sortedKeys(known), ", "))
	}
	for _, p := range pairs {
		if known[p.key] == nil {
			return p.unknown(sortedKeys(known))
		}
	}
	for _, p := range pairs {
		if err := known[p.key](p.node); err != nil {
			return err
		}
	}
	return nil
}

type pair struct {
	key string
	node
	keyAt Position
}

func (p pair) unknown(known []string) error {
	key := fmt.Sprintf("%.60s", oneLine(p.key))
	if s := nearest(p.key, known); s != "" {
		return usage(p.keyAt, "unknown key %q; did you mean %q?", key, s)
	}
	return usage(p.keyAt, "unknown key %q; known are %s", key, strings.Join(known, ", "))
}

// pairs are the keys and values of a mapping, each key once.
func (n node) pairs() ([]pair, error) {
	var values []*ast.MappingValueNode
	switch m := n.n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return nil, n.wrongType("keys with values")
	}
	var out []pair
	lines := map[string]int{}
	for _, v := range values {
		k := node{file: n.file, n: v.Key}
		if _, ok := v.Key.(*ast.MergeKeyNode); ok {
			return nil, k.errorf("merge keys (<<) are not understood here; write the keys out")
		}
		key, ok := k.scalar()
		if !ok {
			return nil, k.errorf("a key must be a plain word")
		}
		at := k.at()
		if first, twice := lines[key]; twice {
			return nil, usage(at, "key %q stands twice, first in line %d; keep one", fmt.Sprintf("%.60s", oneLine(key)), first)
		}
		lines[key] = at.Line
		out = append(out, pair{key, node{n.file, key, v.Value}, at})
	}
	return out, nil
}

// scalar is the text of a scalar that is not null, as it was written.
func (n node) scalar() (string, bool) {
	switch v := n.n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		// The token holds what was written: a version 1.10 is not 1.1.
		return v.GetToken().Value, true
	}
	return "", false
}

func (n node) isNull() bool {
	_, ok := n.n.(*ast.NullNode)
	return ok || n.n == nil
}

func (n node) wrongType(want string) error {
	var is string
	switch n.n.(type) {
	case *ast.NullNode:
		return n.errorf("has no value; give it %s, or leave the key out", want)
	case *ast.SequenceNode:
		is = "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		is = "keys with values"
	case *ast.AnchorNode, *ast.AliasNode:
		return n.errorf("anchors and aliases (&, *) are not understood here; write the value out")
	case *ast.TagNode:
		return n.errorf("tags (!) are not understood here; write the value alone")
	default:
		is = "a single value"
	}
	return n.errorf("is %s, should be %s", is, want)
}

// text is the value of a scalar: not empty, without control characters, blanks around it removed.
func (n node) text() (string, error) {
	s, ok := n.scalar()
	if !ok {
		return "", n.wrongType("a single value")
	}
	s = strings.TrimSpace(s)
	if s == "" {
		return "", n.errorf("is empty; give it a value, or leave the key out")
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", n.errorf("holds a control character or more than one line")
	}
	return s, nil
}

// items are the nodes of a list that is not empty.
func (n node) items() ([]node, error) {
	s, ok := n.n.(*ast.SequenceNode)
	if !ok {
		if v, ok := n.scalar(); ok {
			return nil, n.errorf("is a single value, should be a list; write %s: [%s]", n.key, oneLine(v))
		}
		return nil, n.wrongType("a list")
	}
	if len(s.Values) == 0 {
		return nil, n.errorf("is an empty list; name at least one, or leave the key out")
	}
	out := make([]node, len(s.Values))
	for i, v := range s.Values {
		out[i] = node{n.file, n.key, v}
	}
	return out, nil
}

// texts are the values of a list of scalars, each once.
func (n node) texts() ([]string, error) {
	items, err := n.items()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(items))
	for i, item := range items {
		if out[i], err = item.text(); err != nil {
			return nil, err
		}
		if slices.Contains(out[:i], out[i]) {
			return nil, item.errorf("%s stands twice in the list", out[i])
		}
	}
	return out, nil
}

// flag is the value of a yes or no.
func (n node) flag() (bool, error) {
	s, err := n.text()
	if err != nil {
		return false, err
	}
	switch strings.ToLower(s) {
	case "yes", "true", "on":
		return true, nil
	case "no", "false", "off":
		return false, nil
	}
	return false, n.errorf("is %q, should be yes or no", s)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
