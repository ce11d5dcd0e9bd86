package changes

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/snapshot"
)

const helloLog = `hello (1:2.0-2) bookworm-security; urgency=high

  * Fix an overflow` + "\x1b[2J\u202e" + ` in the greeting.

 -- Test <test@example.org>  Thu, 01 Jan 2026 00:00:00 +0000

hello (1:2.0-1) unstable; urgency=medium

  * New upstream release (closes: #12).

 -- Test <test@example.org>  Wed, 31 Dec 2025 00:00:00 +0000

hello (1:1.9-1) unstable; urgency=medium

  * Old.
`

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The entries between the versions are read from the .deb that was upgraded, once for a source; a package without a
// changelog, and a file that is no .deb, are passed over; wrong bytes are not.
func TestChangelogs(t *testing.T) {
	t.Parallel()
	files := map[snapshot.Digest][]byte{}
	change := func(name, old, kind string, data []byte) Change {
		b := snapshot.BlobOf(data)
		files[b.Digest] = data
		return Change{Archive: "debian", Name: name, Source: "hello", Old: old, New: "1:2.0-2", Kind: kind, blob: b}
	}
	make := func(name, file string) []byte {
		return testarchive.Package{Name: name, Version: "1:2.0-2", Architecture: "amd64", Content: map[string]string{
			"usr/share/doc/" + name + "/" + file: zipped(t, helloLog),
		}}.Deb(t)
	}
	changes := []Change{
		change("hello", "1:1.9-1+b3", "upgraded", make("hello", "changelog.Debian.gz")),
		change("hello-data", "1:1.9-1+b3", "upgraded", make("hello-data", "changelog.Debian.gz")), // the same source
		change("native", "1:2.0-1", "upgraded", make("native", "changelog.gz")),
		change("silent", "1", "upgraded", make("silent", "copyright.gz")),
		change("added", "", "added", make("added", "changelog.gz")),
		change("broken", "1:0", "upgraded", []byte("no .deb")),
	}
	changes[3].Source, changes[5].Source = "silent", "broken"
	s := (&snapshot.Snapshot{}).WithBlobs(func(snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			return &snapshot.Content{R: io.NopCloser(bytes.NewReader(files[b.Digest]))}, nil
		})
	})
	if err := Changelogs(t.Context(), changes, s); err != nil {
		t.Fatal(err)
	}
	both := "hello (1:2.0-2) bookworm-security; urgency=high\n\n  * Fix an overflow[2J in the greeting.\n\n -- Test <test@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n\n" +
		"hello (1:2.0-1) unstable; urgency=medium\n\n  * New upstream release (closes: #12).\n\n -- Test <test@example.org>  Wed, 31 Dec 2025 00:00:00 +0000"
	one, _, _ := strings.Cut(both, "\n\nhello (1:2.0-1)")
	for i, want := range []string{both, "", one, "", "", ""} {
		if changes[i].Changelog != want {
			t.Errorf("%s: %q, want %q", changes[i].Name, changes[i].Changelog, want)
		}
	}
	if text := Text(changes[2:3]); !strings.Contains(text, "\n    hello (1:2.0-2)") || strings.HasSuffix(text, "\n\n") {
		t.Errorf("%q", text)
	}
	if text := Markdown(changes); strings.Count(text, "\n### hello 1:") != 2 || !strings.Contains(text, "\n      * New upstream release") {
		t.Errorf("%s", text)
	}

	files[changes[0].blob.Digest] = append(bytes.Clone(files[changes[0].blob.Digest][:200]), files[changes[0].blob.Digest][201:]...)
	if err := Changelogs(t.Context(), changes, s); err == nil {
		t.Error("wrong bytes, and no error")
	}
}

// A long history is cut and counted.
func TestChangelogIsCut(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "hello (%d) unstable; urgency=low\n\n  * Change.\n\n", 200-i)
	}
	got := cut(newerEntries(b.String(), "1"))
	if n := strings.Count(got, "\n"); n != maxChangelogLines-1 || !strings.HasSuffix(got, "\n(199 lines more)") {
		t.Errorf("%d lines: ...%s", n, got[len(got)-40:])
	}
}
