package web

import (
	"strings"
	"testing"
)

// Of all snapshots the current one of each reference is marked.
func TestList(t *testing.T) {
	t.Parallel()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	body, err := p.List(View{Root: "../", Base: "http://site.example.org"}, [][]Listed{{{ID: "20240102T000000Z-b"}, {ID: "20240101T000000Z-a", Current: true}}, {{ID: "20240101T000000Z-c"}}})
	list := string(body)
	if err != nil || strings.Count(list, "<option") != 6 || strings.Count(list, "</a> <strong>current") != 1 || !strings.Contains(list, "20240101T000000Z-a</a> <strong>current") {
		t.Errorf("%v\n%s", err, list)
	}
}
