package document

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

// Node is a value of a YAML document with its place.
type Node struct {
	File string
	Key  string // what it is the value of, for messages
	N    ast.Node
}

// ReadFile reads a file of at most limit bytes; the byte order mark and CR of CRLF are removed.
func ReadFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, Errorf(Position{File: name}, "%w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, Errorf(Position{File: name}, "%w", err)
	}
	if int64(len(data)) > limit {
		return nil, Errorf(Position{File: name}, "larger than %d bytes", limit)
	}
	return Normalise(data), nil
}

func Normalise(data []byte) []byte {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	return bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
}

// Parse gives the documents of a stream that are not empty.
func Parse(file string, data []byte) ([]Node, error) {
	if !utf8.Valid(data) {
		return nil, Errorf(Position{file, 1}, "not UTF-8 text")
	}
	if line := tooDeep(data); line > 0 {
		return nil, Errorf(Position{file, line}, "nested more than %d deep", maxNesting)
	}
	// Keys that stand twice are reported by us, with both lines.
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var ye yaml.Error
		if errors.As(err, &ye) && ye.GetToken() != nil {
			// Never its text: it quotes the file, credentials included.
			return nil, Errorf(Position{file, ye.GetToken().Position.Line}, "YAML: %s", OneLine(ye.GetMessage()))
		}
		return nil, Errorf(Position{file, 1}, "not YAML")
	}
	var docs []Node
	for _, d := range f.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentGroupType || d.Body.Type() == ast.DirectiveType {
			continue
		}
		docs = append(docs, Node{File: file, N: d.Body})
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

func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (n Node) At() Position {
	p := Position{File: n.File, Line: 1}
	if tk := n.N.GetToken(); tk != nil && tk.Position != nil && tk.Position.Line > 0 {
		p.Line = tk.Position.Line
	}
	return p
}

func (n Node) Errorf(format string, args ...any) error {
	if n.Key != "" {
		format = n.Key + ": " + format
	}
	return Errorf(n.At(), format, args...)
}

// Fields says what is done with the value of each key of a mapping.
type Fields map[string]func(Node) error

// Mapping hands the value of each key to its function, in the order of the
// file. Unknown and repeated keys are errors. All that is wrong is told, in that order.
func (n Node) Mapping(known Fields) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	if len(pairs) == 0 {
		return n.Errorf("empty; it knows the keys %s", strings.Join(SortedKeys(known), ", "))
	}
	var faults Faults
	for _, p := range pairs {
		if known[p.Key] == nil {
			faults.Add(p.unknown(SortedKeys(known)))
			continue
		}
		faults.Add(known[p.Key](p.Node))
	}
	return faults.Err()
}

// Lacks are those of the wanted keys that a mapping has not, and that none of its unknown keys was probably meant for.
func (n Node) Lacks(known Fields, wanted ...string) []string {
	pairs, err := n.Pairs()
	if err != nil {
		return nil
	}
	there := map[string]bool{}
	for _, p := range pairs {
		there[p.Key] = true
		if known[p.Key] == nil {
			there[Nearest(p.Key, SortedKeys(known))] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(key string) bool { return there[key] })
}

// TextAt is where the text of a scalar begins: for a block (| or >) the line after its sign.
func (n Node) TextAt() Position {
	at := n.At()
	if _, ok := n.N.(*ast.LiteralNode); ok {
		at.Line++
	}
	return at
}

// Pair is a key with its value.
type Pair struct {
	Key string
	Node
	keyAt Position
}

// KeyAt is where the key stands.
func (p Pair) KeyAt() Position { return p.keyAt }

func (p Pair) unknown(known []string) error {
	key := fmt.Sprintf("%.60s", OneLine(p.Key))
	if s := Nearest(p.Key, known); s != "" {
		return Errorf(p.keyAt, "unknown key %q; did you mean %q?", key, s)
	}
	return Errorf(p.keyAt, "unknown key %q; known are %s", key, strings.Join(known, ", "))
}

// Pairs are the keys and values of a mapping, each key once.
func (n Node) Pairs() ([]Pair, error) {
	var values []*ast.MappingValueNode
	switch m := n.N.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return nil, n.WrongType("keys with values")
	}
	var out []Pair
	var faults Faults
	lines := map[string]int{}
	for _, v := range values {
		k := Node{File: n.File, N: v.Key}
		if _, ok := v.Key.(*ast.MergeKeyNode); ok {
			faults.Add(k.Errorf("merge keys (<<) are not understood here; write the keys out"))
			continue
		}
		key, ok := k.Scalar()
		if !ok {
			faults.Add(k.Errorf("a key must be a plain word"))
			continue
		}
		at := k.At()
		if first, twice := lines[key]; twice {
			faults.Add(Errorf(at, "key %q stands twice, first in line %d; keep one", fmt.Sprintf("%.60s", OneLine(key)), first))
			continue
		}
		lines[key] = at.Line
		out = append(out, Pair{key, Node{n.File, key, v.Value}, at})
	}
	return out, faults.Err()
}

// Scalar is the text of a scalar that is not null, as it was written.
func (n Node) Scalar() (string, bool) {
	switch v := n.N.(type) {
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

func (n Node) IsNull() bool {
	_, ok := n.N.(*ast.NullNode)
	return ok || n.N == nil
}

// IsMapping tells keys with values, be they right or wrong.
func (n Node) IsMapping() bool {
	switch n.N.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// IsEmptyList tells a list without items.
func (n Node) IsEmptyList() bool {
	s, ok := n.N.(*ast.SequenceNode)
	return ok && len(s.Values) == 0
}

// WrongType says what a value is, and what it should be.
func (n Node) WrongType(want string) error {
	var is string
	switch n.N.(type) {
	case *ast.NullNode:
		return n.Errorf("has no value; give it %s, or leave the key out", want)
	case *ast.SequenceNode:
		is = "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		is = "keys with values"
	case *ast.AnchorNode, *ast.AliasNode:
		return n.Errorf("anchors and aliases (&, *) are not understood here; write the value out")
	case *ast.TagNode:
		return n.Errorf("tags (!) are not understood here; write the value alone")
	default:
		is = "a single value"
	}
	return n.Errorf("is %s, should be %s", is, want)
}

// Text is the value of a scalar: not empty, without control characters, blanks around it removed.
func (n Node) Text() (string, error) {
	s, ok := n.Scalar()
	if !ok {
		return "", n.WrongType("a single value")
	}
	s = strings.TrimSpace(s)
	if s == "" {
		return "", n.Errorf("is empty; give it a value, or leave the key out")
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", n.Errorf("holds a control character or more than one line")
	}
	return s, nil
}

// Items are the nodes of a list that is not empty.
func (n Node) Items() ([]Node, error) {
	s, ok := n.N.(*ast.SequenceNode)
	if !ok {
		if v, ok := n.Scalar(); ok {
			return nil, n.Errorf("is a single value, should be a list; write %s: [%s]", n.Key, OneLine(v))
		}
		return nil, n.WrongType("a list")
	}
	if len(s.Values) == 0 {
		return nil, n.Errorf("is an empty list; name at least one, or leave the key out")
	}
	out := make([]Node, len(s.Values))
	for i, v := range s.Values {
		out[i] = Node{n.File, n.Key, v}
	}
	return out, nil
}

// Each reads the items of a list that is not empty, and tells the faults of all together.
func (n Node) Each(read func(item Node) error) error {
	items, err := n.Items()
	if err != nil {
		return err
	}
	var faults Faults
	for _, item := range items {
		faults.Add(read(item))
	}
	return faults.Err()
}

// Texts are the values of a list of scalars, each once.
func (n Node) Texts() (out []string, err error) {
	err = n.Each(func(item Node) error {
		s, err := item.Text()
		if err == nil && slices.Contains(out, s) {
			err = item.Errorf("%s stands twice in the list", s)
		}
		out = append(out, s)
		return err
	})
	return out, err
}

// Flag is the value of a yes or no.
func (n Node) Flag() (bool, error) {
	s, err := n.Text()
	if err != nil {
		return false, err
	}
	switch strings.ToLower(s) {
	case "yes", "true", "on":
		return true, nil
	case "no", "false", "off":
		return false, nil
	}
	return false, n.Errorf("is %q, should be yes or no", s)
}

func SortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
