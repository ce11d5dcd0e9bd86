package changes

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// snap is a snapshot of packages "ARCHIVE NAME VERSION [FILE]", each of source "src" and architecture amd64; an archive
// ARCHIVE has the suite that suites names.
func snap(t *testing.T, suites map[string]string, packages ...string) *snapshot.Snapshot {
	t.Helper()
	var rows []snapshot.Row
	for _, text := range packages {
		f := strings.Fields(text)
		data := strings.Join(f[1:], " ") // one version is one file, wherever it lies, unless FILE says otherwise
		rows = append(rows, snapshot.Row{
			Path: f[0] + "/pool/" + f[1] + "_" + f[2] + "_amd64.deb", Size: int64(len(data)), Digest: snapshot.Sum([]byte(data)),
			Package: snapshot.Package{Name: f[1], Version: f[2], Architecture: "amd64", Source: "src"},
		})
	}
	table, err := snapshot.NewTable(rows)
	if err != nil {
		t.Fatal(err)
	}
	st := &snapshot.Statement{}
	for prefix, suite := range suites {
		st.Archives = append(st.Archives, snapshot.Archive{Prefix: prefix, Suites: []snapshot.Suite{{Name: suite}}})
	}
	return &snapshot.Snapshot{Statement: st, Table: table}
}

// Versions are paired over archives as a host sees them.
func TestPairs(t *testing.T) {
	t.Parallel()
	suites := map[string]string{"main": "bookworm", "sec": "bookworm-security", "next": "trixie", "own": "own"}
	for _, c := range []struct {
		what           string
		old, now, want []string
	}{
		{"a curated fix from another archive", []string{"main x 1"}, []string{"sec x 2"}, []string{"~ x amd64 1 -> 2 (main -> sec, security)"}},
		{"a fix beside a whole archive, whose version stays", []string{"main x 1"}, []string{"main x 1", "sec x 2"}, []string{"~ x amd64 1 -> 2 (main -> sec, security)"}},
		{"the next fix", []string{"main x 1", "sec x 2"}, []string{"main x 1", "sec x 3"}, []string{"~ x amd64 2 -> 3 (sec, security)"}},
		{"a fix that went into the release", []string{"main x 1", "sec x 2"}, []string{"main x 2"},
			[]string{"- x amd64 1 (main, other versions stay)", "~ x amd64 2 (sec -> main, moved)"}},
		{"and another fix on the same day", []string{"main x 1", "sec x 2"}, []string{"main x 2", "sec x 3"},
			[]string{"- x amd64 1 (main, other versions stay)", "~ x amd64 2 (sec -> main, moved)", "~ x amd64 2 -> 3 (sec, security)"}},
		{"another release has it, too", []string{"main x 1"}, []string{"main x 1", "next x 5"}, []string{"+ x amd64 5 (next)"}},
		{"two releases go on", []string{"main x 1", "next x 5"}, []string{"main x 1", "next x 6", "sec x 2"},
			[]string{"~ x amd64 5 -> 6 (next)", "~ x amd64 1 -> 2 (main -> sec, security)"}},
		{"the site's own build", []string{"main x 1"}, []string{"own x 1+site"}, []string{"~ x amd64 1 -> 1+site (main -> own)"}},
		{"a fix is withdrawn", []string{"sec x 2"}, []string{"main x 1"}, []string{"~ x amd64 2 -> 1 (sec -> main, downgraded)"}},
		{"an archive with a history", []string{"main x 1", "main x 2"}, []string{"main x 2", "main x 3"},
			[]string{"- x amd64 1 (main, other versions stay)", "~ x amd64 2 -> 3 (main)"}},
		{"other bytes", []string{"main x 1"}, []string{"main x 1 again"}, []string{"~ x amd64 1 -> 1 (main, rebuilt)"}},
		{"a release in place of another", []string{"main x 1"}, []string{"next x 5"}, []string{"~ x amd64 1 -> 5 (main -> next)"}},
		{"nothing", []string{"main x 1"}, []string{"main x 1"}, nil},
		{"gone", []string{"main x 1"}, nil, []string{"- x amd64 1 (main)"}},
		{"come", nil, []string{"main x 1"}, []string{"+ x amd64 1 (main)"}},
	} {
		now := snap(t, suites, c.now...)
		got, err := Between(t.Context(), snap(t, suites, c.old...), now)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, change := range got {
			lines = append(lines, change.Line())
		}
		slices.Sort(lines)
		slices.Sort(c.want)
		if !slices.Equal(lines, c.want) {
			t.Errorf("%s:\n%q\nwant\n%q", c.what, lines, c.want)
		}
	}
	if got, err := Between(t.Context(), nil, snap(t, suites, "main x 1", "sec y 2")); err != nil || len(got) != 2 || got[0].Kind != "added" {
		t.Errorf("against nothing: %v %v", got, err)
	}
}

// What is printed is grouped by source, security first, and its numbers are singular and plural.
func TestTotals(t *testing.T) {
	t.Parallel()
	for want, list := range map[string][]Change{
		"0 packages differ": nil,
		"1 package of 1 source differs: 1 added; 0 from a security archive": {{Name: "a", Source: "a", Kind: "added"}},
		"1 image differs": {{Image: true, Name: "r/a:1", Kind: "added"}},
		"3 packages of 2 sources differ: 2 upgraded, 1 removed; 1 from a security archive; their changelogs name CVE-2025-9999, CVE-2025-10000; 2 images differ": {
			{Name: "a", Source: "s", Kind: "upgraded", CVEs: []string{"CVE-2025-10000"}}, {Name: "b", Source: "s", Kind: "upgraded", Security: true, CVEs: []string{"CVE-2025-9999", "CVE-2025-10000"}},
			{Name: "c", Source: "t", Kind: "removed"}, {Image: true, Name: "r/a:1", Kind: "added"}, {Image: true, Name: "r/b:1", Kind: "removed"},
		},
	} {
		if got := Totals(list); got != want {
			t.Errorf("%q\nwant\n%q", got, want)
		}
	}
	var many []Change
	for i := range 25 {
		many = append(many, Change{Name: "a", Source: "s", Kind: "upgraded", CVEs: []string{fmt.Sprintf("CVE-2025-1%04d", i)}})
	}
	if got := Totals(many); !strings.HasSuffix(got, "; their changelogs name 25 CVEs") {
		t.Errorf("%s", got)
	}
	groups := Groups([]Change{{Name: "z", Source: "z"}, {Name: "a", Source: "a"}, {Image: true, Name: "i"}, {Name: "y", Source: "y", Security: true}, {Name: "a2", Source: "a"}})
	var order []string
	for _, g := range groups {
		order = append(order, g.Source)
	}
	if !slices.Equal(order, []string{"y", "a", "z", ""}) || len(groups[1].Changes) != 2 {
		t.Errorf("%q", order)
	}
}

func TestCVEs(t *testing.T) {
	t.Parallel()
	got := CVEs("(CVE-2024-10001) CVE-2024-9999,CVE-2023-0001. CVE-2024-9999 XCVE-2024-1111 CVE-2024-12345678 CVE-24-1234 cve-2024-1234")
	if want := []string{"CVE-2023-0001", "CVE-2024-9999", "CVE-2024-10001"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
