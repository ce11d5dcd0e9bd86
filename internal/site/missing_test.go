package site

import (
	"fmt"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	const older, newer = "noble-20260101T000000Z-0123456789ab", "noble-20260102T000000Z-0123456789ab"
	for _, c := range []struct {
		wanted, names, want string
	}{
		{"nobel", "bookworm noble " + older + " " + newer, "noble, bookworm, " + newer + ", " + older},
		{"noble-20260102T000000Z-ffffffffffff", "bookworm noble " + older + " " + newer, newer + ", " + older},
		{"x", "sha256-0123 mmoci-doctor", "no tags"},
		{"x", "", "no tags"},
		{"a", "b c d e f g h i", "b, c, d, e, f, g and 2 more"},
	} {
		got := nearest(c.wanted, strings.Fields(c.names))
		if got != c.want && !strings.HasPrefix(got, c.want+", ") {
			t.Errorf("%s of %s: %s", c.wanted, c.names, got)
		}
	}
	var many []string
	for i := range 10_000 {
		many = append(many, fmt.Sprintf("t%d", i))
	}
	if got := nearest("t9", many); len(got) > 200 || !strings.HasPrefix(got, "t9, ") {
		t.Errorf("of many: %s", got)
	}
}
