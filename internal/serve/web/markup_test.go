package web

import (
	"html/template"
	"testing"
)

// Words are escaped as html/template escapes them, in text and in addresses.
func TestMarkup(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain", `<script>alert("1")</script>`, `a'b&c`, "\x00", "é<ü>", "\xff\"", `"`, "><", "a&amp;b"} {
		var m markup
		m.link(s, s)
		want := template.HTMLEscapeString(s)
		if s != "" {
			want = `<a href="` + want + `">` + want + `</a>`
		}
		if got := m.String(); got != want {
			t.Errorf("%q: %s, not %s", s, got, want)
		}
	}
}
