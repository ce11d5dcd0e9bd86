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
	body, err := p.List(View{Root: "../", Base: "http://site.example.org"}, [][]Listed{{{"20240102T000000Z-b", false}, {"20240101T000000Z-a", true}}, {{"20240101T000000Z-c", false}}})
	list := string(body)
	if err != nil || strings.Count(list, "<li>") != 3 || strings.Count(list, "</a> (current)") != 1 || !strings.Contains(list, "20240101T000000Z-a</a> (current)") {
		t.Errorf("%v\n%s", err, list)
	}
}
