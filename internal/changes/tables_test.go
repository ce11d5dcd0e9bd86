package changes

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

func TestTables(t *testing.T) {
	t.Parallel()
	pkg := func(path, data string, epoch string) snapshot.Row {
		f := strings.Split(strings.TrimSuffix(filepath.Base(path), ".deb"), "_")
		return snapshot.Row{Path: path, Size: int64(len(data)), Digest: snapshot.Sum([]byte(data)), Package: snapshot.Package{Name: f[0], Version: epoch + f[1], Architecture: f[2], Source: f[0]}}
	}
	table := func(rows ...snapshot.Row) *snapshot.Table {
		table, err := snapshot.NewTable(rows)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	old := table(
		pkg("a/pool/same_1_all.deb", "same", ""), pkg("a/pool/up_1_all.deb", "up", ""), pkg("a/pool/gone_1_all.deb", "gone", ""),
		pkg("a/pool/two_1_all.deb", "two1", ""), pkg("a/pool/two_2_all.deb", "two2", ""),
		pkg("a/pool/re_1_all.deb", "re", ""), pkg("a/pool/moved_1_all.deb", "moved", ""),
		pkg("a/pool/arch_1_amd64.deb", "arch", ""), pkg("b/pool/up_1_all.deb", "b", ""),
		snapshot.Row{Path: "a/dists/x", Size: 1, Digest: snapshot.Sum([]byte("x"))},
	)
	now := table(
		pkg("a/pool/same_1_all.deb", "same", ""), pkg("a/pool/up_0_all.deb", "up2", "1:"), pkg("a/pool/new_1_all.deb", "new", ""),
		pkg("a/pool/two_2_all.deb", "two2", ""), pkg("a/pool/two_3_all.deb", "two3", ""), pkg("a/pool/two_4_all.deb", "two4", ""),
		pkg("a/pool/re_1_all.deb", "rebuilt", ""), pkg("a/elsewhere/moved_1_all.deb", "moved", ""),
		pkg("a/pool/arch_1_arm64.deb", "arm", ""), pkg("b/pool/up_1_all.deb", "b", ""),
		snapshot.Row{Path: "a/dists/x", Size: 1, Digest: snapshot.Sum([]byte("y"))},
	)
	list := func(old, now *snapshot.Table) (got []string) {
		for c := range Tables(old, now) {
			got = append(got, strings.Join([]string{c.Archive, c.Name, c.Architecture, c.Old.Version, c.New.Version}, " "))
		}
		return got
	}
	want := []string{
		"a arch amd64 1 ", "a arch arm64  1", "a gone all 1 ", "a new all  1", "a re all 1 1", "a two all 1 3", "a two all  4", "a up all 1 1:0",
	}
	if got := list(old, now); !slices.Equal(got, want) {
		t.Errorf("changes\n%q\nwant\n%q", got, want)
	}
	if got := list(old, old); got != nil {
		t.Errorf("nothing changed, but %q", got)
	}
	if got := list(table(), old); len(got) != 9 {
		t.Errorf("all added: %q", got)
	}
	for range Tables(old, now) {
		break
	}
}
