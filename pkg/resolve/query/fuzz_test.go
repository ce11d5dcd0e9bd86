package query

import (
	"errors"
	"testing"
)

// What reads is spelled so that it reads the same.
func FuzzQuery(f *testing.F) {
	for _, tt := range queryTests {
		f.Add(tt.query)
	}
	for _, s := range []string{"a | b, c", `Name (~ "a\"b")`, "a:b {c}", "((((", "!!!", "a_b_c_d", "@standard | $Source", "é", "nginx/bookworm-backports", "nginx:amd64/a_b_c (>= 1)", "a/updates/./ {b}", "a/", "/", "a/b:c", `"a/b c"`} {
		f.Add(s)
	}
	packages := stanzas(f, queryArchive)
	f.Fuzz(func(t *testing.T, s string) {
		q, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := Parse(q.String())
		if err != nil {
			t.Fatalf("%q is spelled %q: %v", s, q, err)
		}
		if again.String() != q.String() {
			t.Fatalf("%q is spelled %q and then %q", s, q, again)
		}
		if len(again.Warnings()) > 0 {
			t.Fatalf("%q is spelled %q, which warns: %q", s, q, again.Warnings())
		}
		if a, b := selected(t, q, packages), selected(t, again, packages); a != b {
			t.Fatalf("%q selects %s, spelled %q %s", s, a, q, b)
		}
	})
}
