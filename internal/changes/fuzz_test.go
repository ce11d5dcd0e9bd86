package changes

import (
	"slices"
	"strings"
	"testing"
	"unicode"
)

// FuzzChangelog: whatever a package has in its changelog, what is shown of it is bounded and has nothing that controls a
// terminal, and the CVE numbers in it are in order, each once.
func FuzzChangelog(f *testing.F) {
	f.Add(helloLog, "1:1.9-1")
	f.Add("hello (2) a; urgency=low\n\n  * CVE-2026-99999, CVE-2026-1000.\n", "1")
	f.Add("CVE-2026-1234CVE-2026-12345\x1b[2J\n\t\u202e", "")
	f.Add(strings.Repeat("x (9) a b; c\n", 300), "~")
	f.Fuzz(func(t *testing.T, text, old string) {
		shown := newerEntries(text, old)
		for _, r := range shown {
			if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control)) {
				t.Fatalf("%q has %q", shown, r)
			}
		}
		if n := strings.Count(cut(shown), "\n"); n > maxChangelogLines {
			t.Fatalf("%d lines", n)
		}
		cves := CVEs(shown)
		if !slices.IsSortedFunc(cves, compareCVEs) || len(slices.Compact(slices.Clone(cves))) != len(cves) {
			t.Fatalf("%q", cves)
		}
		for _, cve := range cves {
			if !strings.Contains(text, cve) && !strings.ContainsFunc(text, func(r rune) bool {
				return r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control)
			}) {
				t.Fatalf("%s is not in the text", cve)
			}
		}
	})
}
