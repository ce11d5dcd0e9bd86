package suites

import (
	"strings"
	"testing"
)

// However the text is cut into pieces, "512:" is found in it if it is there.
func TestFinder(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": false, "512:": true, "SHA512: x": true, "51512:": true, "5 1 2:": false, "xx51": false, "5122:x": false, "SHA256: 512\n:": false} {
		for a := range len(text) + 1 {
			for b := a; b <= len(text); b++ {
				var f finder
				for piece := range strings.SplitSeq(text[:a]+"|"+text[a:b]+"|"+text[b:], "|") {
					if n, err := f.Write([]byte(piece)); n != len(piece) || err != nil {
						t.Fatal(n, err)
					}
				}
				var each finder
				for i := range len(text) {
					_, _ = each.Write([]byte(text[i : i+1]))
				}
				if f.found != want || each.found != want {
					t.Fatalf("%q, cut at %d and %d: %t, %t byte by byte, want %t", text, a, b, f.found, each.found, want)
				}
			}
		}
	}
}
