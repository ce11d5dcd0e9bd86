package snapshot

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
)

// withFormats has an archive of each mode, class and format that version 1 cannot say.
func withFormats() *Statement {
	st := fullStatement()
	st.Needs = "0.3"
	day := testDate.Add(-24 * time.Hour)
	st.Archives = append(st.Archives,
		Archive{Prefix: "all", Mode: Curated, Class: Merged, Format: "deb", Merge: []string{"docker", "own"}, Suites: []Suite{
			{"all", []SuiteFile{suiteFile("all", "all", InRelease, testDate), suiteFile("all", "all", Release, testDate), suiteFile("all", "all", ReleaseGPG, testDate)}},
		}},
		Archive{Prefix: "iso", Mode: Curated, Class: Upstream, Format: "files", UpstreamKeys: []string{strings.Repeat("9", 40)}, Suites: []Suite{
			{"./", []SuiteFile{suiteFile("iso", "./", Sums, testDate), suiteFile("iso", "./", SumsSig, testDate)}},
			{"12.5/", []SuiteFile{suiteFile("iso", "12.5/", UpstreamSums, day), suiteFile("iso", "12.5/", UpstreamSumsSig, day)}},
		}},
		Archive{Prefix: "myrpms", Mode: Curated, Class: Site, Format: "rpm", Suites: []Suite{
			{"./", []SuiteFile{suiteFile("myrpms", "./", Repomd, testDate), suiteFile("myrpms", "./", RepomdAsc, testDate)}},
		}},
		Archive{Prefix: "rocky", Mode: Verbatim, Class: Upstream, Format: "rpm", UpstreamKeys: []string{strings.Repeat("9", 40)}, Suites: []Suite{
			{"AppStream/", []SuiteFile{suiteFile("rocky", "AppStream/", Repomd, day), suiteFile("rocky", "AppStream/", RepomdAsc, day)}},
		}},
		Archive{Prefix: "unsigned", Mode: Verbatim, Class: Site, Format: "rpm", Suites: []Suite{
			{"./", []SuiteFile{suiteFile("unsigned", "./", Repomd, day)}},
		}},
	)
	s := st.sorted()
	return &s
}

func TestFormatsRoundTrip(t *testing.T) {
	t.Parallel()
	st := withFormats()
	text, err := st.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"mmoci-statement-v2\nneeds 0.3\n", "\nformats files rpm\narchive", "\narchive all curated merged deb\nmerge docker own\nsuite all\n",
		" iso/SHA256SUMS.asc\n", " upstream/iso/12.5/SHA256SUMS\n", " rocky/AppStream/repodata/repomd.xml.asc\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	got, err := ParseStatement(text, pgp.How{})
	if err != nil || !reflect.DeepEqual(got, st) {
		t.Errorf("parsed: %v, %v", got, err)
	}
	if err := st.checkSigned(true); err != nil {
		t.Error(err)
	}
	if err := st.checkSigned(false); err == nil {
		t.Error("signed lists under a statement that is not signed")
	}
	// It makes its need by itself; with merged alone there is no line of formats.
	st.Needs = ""
	if s := st.sorted(); s.Needs != "0.3" {
		t.Errorf("needs %q", s.Needs)
	}
	st.Archives = slices.DeleteFunc(st.Archives, func(a Archive) bool { return a.Format != FormatDeb })
	if s := st.sorted(); s.Needs != "0.3" || strings.Contains(string(s.text()), "formats") {
		t.Errorf("merged alone:\n%s", s.text())
	}
}

// What breaks a rule of SPEC section 4 about formats and merged archives is refused, in memory and as text.
func TestFormatsOfStatement(t *testing.T) {
	t.Parallel()
	of := func(prefix string, edit func(a *Archive)) func(*Statement) {
		return func(st *Statement) { edit(st.Archive(prefix)) }
	}
	drop := func(role Role) func(*Archive) {
		return func(a *Archive) {
			for i := range a.Suites {
				a.Suites[i].Files = slices.DeleteFunc(a.Suites[i].Files, func(f SuiteFile) bool { return f.Role == role })
			}
		}
	}
	for name, edit := range map[string]func(st *Statement){
		"merged rpm":            of("rocky", func(a *Archive) { a.Class = Merged }),
		"merged verbatim":       of("all", func(a *Archive) { a.Mode = Verbatim }),
		"merged of nothing":     of("all", func(a *Archive) { a.Merge = nil }),
		"merged of one":         of("all", func(a *Archive) { a.Merge = a.Merge[:1] }),
		"merged order":          of("all", func(a *Archive) { slices.Reverse(a.Merge) }),
		"merged twice":          of("all", func(a *Archive) { a.Merge[1] = a.Merge[0] }),
		"merged of itself":      of("all", func(a *Archive) { a.Merge[0] = "all" }),
		"merged of rpm":         of("all", func(a *Archive) { a.Merge[1] = "rocky" }),
		"merged of the absent":  of("all", func(a *Archive) { a.Merge[1] = "nobody" }),
		"merge of another":      of("own", func(a *Archive) { a.Merge = []string{"docker", "flat"} }),
		"key of a merged":       of("all", func(a *Archive) { a.UpstreamKeys = []string{strings.Repeat("9", 40)} }),
		"verbatim files":        of("iso", func(a *Archive) { a.Mode = Verbatim }),
		"curated rpm, upstream": of("rocky", func(a *Archive) { a.Mode = Curated }),
		"no sums":               of("iso", drop(Sums)),
		"no upstream-sums":      of("iso", drop(UpstreamSums)),
		"no repomd":             of("rocky", drop(Repomd)),
		"no repomd-asc":         of("rocky", drop(RepomdAsc)),
		"sums below": of("iso", func(a *Archive) {
			a.Suites[1].Files = append(a.Suites[1].Files, suiteFile("iso", "12.5/", Sums, testDate))
		}),
		"role of deb":  of("rocky", func(a *Archive) { a.Suites[0].Files[0] = suiteFile("rocky", "AppStream/", Release, testDate) }),
		"role of rpm":  of("own", func(a *Archive) { a.Suites[0].Files[0].Role = Repomd }),
		"suite of deb": of("rocky", func(a *Archive) { a.Suites[0].Name = "AppStream" }),
		"date":         of("myrpms", func(a *Archive) { a.Suites[0].Files[0].Date = testDate.Add(time.Second) }),
		"no need":      func(st *Statement) { st.Needs = "" },
	} {
		st := withFormats()
		edit(st)
		if text, err := st.Encode(); err == nil {
			t.Errorf("%s: encoded as %.300s", name, text)
		}
		if got, err := ParseStatement(st.text(), pgp.How{}); got != nil || !errors.Is(err, ErrIntegrity) {
			t.Errorf("%s: parsed as %v, %v", name, got, err)
		}
	}
	good, err := withFormats().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		old, new string
		newer    bool
	}{
		"no formats":       {"formats files rpm\n", "", false},
		"formats, another": {"formats files rpm\n", "formats files\n", false},
		"formats twice":    {"formats files rpm\n", "formats files rpm\nformats files rpm\n", false},
		"formats below":    {"suite ./\n", "formats files rpm\nsuite ./\n", false},
		"a later format":   {"formats files rpm\n", "formats files ipk rpm\n", true},
		"in version 1":     {"mmoci-statement-v2\nneeds 0.3\n", "mmoci-statement-v1\n", false},
	} {
		text := strings.Replace(string(good), c.old, c.new, 1)
		st, err := ParseStatement([]byte(text), pgp.How{})
		if text == string(good) || st != nil || errors.Is(err, ErrNewer) != c.newer || errors.Is(err, ErrIntegrity) == c.newer {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}

// Archives of other formats have no by-hash names; of class upstream their files are below upstream/, too.
func TestPlacesOfFormats(t *testing.T) {
	t.Parallel()
	st := withFormats()
	for path, ok := range map[string]bool{
		"iso/12.5/netinst.iso":                      true,
		"upstream/iso/12.5/netinst.iso.asc":         true,
		"upstream/rocky/x":                          false,
		"upstream/myrpms/x":                         false,
		"upstream/all/dists/all/InRelease":          false,
		"all/pool/main/x.deb":                       true,
		"rocky/AppStream/Packages/a/a-1.noarch.rpm": true,
	} {
		if err := st.checkPlace(path); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
	var rows []Row
	for _, p := range []string{"iso/12.5/netinst.iso", "iso/SHA256SUMS", "iso/dists/a", "rocky/AppStream/repodata/primary.xml.gz", "upstream/iso/12.5/SHA256SUMS"} {
		b := BlobOf([]byte(p))
		rows = append(rows, Row{Path: p, Size: b.Size, Digest: b.Digest})
	}
	table, err := NewTable(rows)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"upstream/iso/12.5/netinst.iso":                                          "iso/12.5/netinst.iso",
		"upstream/iso/12.5/SHA256SUMS":                                           "upstream/iso/12.5/SHA256SUMS",
		"upstream/iso/SHA256SUMS":                                                "",
		"upstream/rocky/AppStream/repodata/primary.xml.gz":                       "rocky/AppStream/repodata/primary.xml.gz",
		"iso/dists/by-hash/SHA256/" + BlobOf([]byte("iso/dists/a")).Digest.Hex(): "",
	} {
		if r, ok := table.Resolve(st, path); r.Path != want || ok != (want != "") {
			t.Errorf("%s: %s, want %q", path, r.Path, want)
		}
	}
}
