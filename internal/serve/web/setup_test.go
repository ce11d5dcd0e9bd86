package web

import (
	"testing"

	"github.com/goccy/go-yaml"

	"example.org/mmoci/internal/chain"
)

func TestQuoting(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"http://h:8000/a_b": "http://h:8000/a_b", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "a\nb": "'a\nb'"} {
		if got := chain.Quote(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
	for _, in := range []string{`a"b`, "a: b", "<&>", "a\nb", "{{"} {
		q, err := quoteYAML(in)
		var out string
		if err != nil || yaml.Unmarshal([]byte(q), &out) != nil || out != in {
			t.Errorf("%q: %s, %q", in, q, out)
		}
	}
}
