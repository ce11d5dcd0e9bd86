package sources

import (
	"slices"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// TestWords: file names of a snapshot go into .sources as words, or not at all.
func TestWords(t *testing.T) {
	var rows []snapshot.Row
	for _, name := range []string{
		"main/binary-amd64/Packages.gz", "updates/main/binary-arm64/Packages.gz", "main/i18n/Translation-sr@latin.gz",
		"main evil/binary-amd64/Packages.gz", "main/binary-amd64 trusted=yes/Packages.gz", "main/i18n/Translation-en none.gz", "a\u00a0b/source/Sources.gz",
	} {
		rows = append(rows, snapshot.Row{Path: "debian/dists/bookworm/" + name, Size: 1, Digest: snapshot.Sum([]byte(name))})
	}
	table, err := snapshot.NewTable(rows)
	if err != nil {
		t.Fatal(err)
	}
	got := contentsOf(table, "debian", "bookworm")
	for _, c := range []struct {
		what      string
		got, want []string
	}{
		{"components", got.components, []string{"main", "updates/main"}},
		{"architectures", got.architectures, []string{"amd64", "arm64"}},
		{"languages", got.languages, []string{"sr@latin"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
}
