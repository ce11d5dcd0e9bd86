package fileproof

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove/byformat"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/archive/sums"
	"example.org/mmoci/pkg/snapshot"
)

var (
	day  = time.Date(2026, 1, 5, 3, 0, 0, 0, time.UTC)
	date = time.Date(2026, 1, 6, 0, 0, 0, 0, time.UTC)
)

// files is an archive that is made wrong in one thing.
type files struct {
	content  map[string]string // by path
	site     string            // SHA256SUMS; "": as it should be
	siteKey  *testarchive.Key
	listed   map[string]string // what upstream's list is made of; nil: a.iso alone
	listKey  *testarchive.Key
	detached string // what the signature of b.tgz is over
}

func list(content map[string]string) []byte {
	var lines []sums.Line
	for name, data := range content {
		lines = append(lines, sums.Line{Name: name, Digest: snapshot.Sum([]byte(data))})
	}
	return sums.Format(lines)
}

// take makes the snapshot: a.iso is in upstream's list, b.tgz has a signature of its own.
func (f files) take(t *testing.T) *snapshot.Snapshot {
	t.Helper()
	frozen := snapshot.Frozen{Date: date, Encoder: 1, Lock: []byte("mmoci-lock-v1\n"), Signer: signer(t)}
	suite := snapshot.Suite{Name: "./"}
	add := func(path, data string) snapshot.Blob {
		frozen.Small = append(frozen.Small, []byte(data))
		b := snapshot.BlobOf([]byte(data))
		frozen.Files = append(frozen.Files, snapshot.Row{Path: path, Size: b.Size, Digest: b.Digest})
		return b
	}
	role := func(role snapshot.Role, date time.Time, data []byte) {
		path := snapshot.RolePath("iso", "./", role)
		suite.Files = append(suite.Files, snapshot.SuiteFile{Role: role, Blob: add(path, string(data)), Date: date, Path: path})
	}
	for path, data := range f.content {
		add("iso/"+path, data)
	}
	text := f.site
	if text == "" {
		text = string(list(f.content))
	}
	role(snapshot.Sums, date, []byte(text))
	role(snapshot.SumsSig, date, f.siteKey.Detach(t, []byte(text), date))
	upstreams := list(f.listed)
	role(snapshot.UpstreamSums, day, upstreams)
	role(snapshot.UpstreamSumsSig, day, f.listKey.Detach(t, upstreams, day))
	if f.detached != "" {
		add("upstream/iso/b.tgz.asc", string(testarchive.DebianKey().Detach(t, []byte(f.detached), day)))
	}
	frozen.Archives = []snapshot.Archive{{
		Prefix: "iso", Mode: snapshot.Curated, Class: snapshot.Upstream, Format: snapshot.FormatFiles,
		UpstreamKeys: []string{testarchive.DebianKey().Fingerprint()}, Suites: []snapshot.Suite{suite},
	}}
	s, err := snapshot.Take(frozen)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestProofs: each forgery that keeps the snapshot whole in itself is found by the keys.
func TestProofs(t *testing.T) {
	t.Parallel()
	good := func() files {
		return files{
			content: map[string]string{"a.iso": "installer", "b.tgz": "tarball"}, siteKey: testarchive.SiteKey(),
			listed: map[string]string{"a.iso": "installer", "c.iso": "not taken"}, listKey: testarchive.DebianKey(), detached: "tarball",
		}
	}
	for name, c := range map[string]struct {
		change func(*files)
		want   string // with both keys; "": proved
		bare   bool   // without upstream's key it is proved: nothing of it contradicts the statement
	}{
		"good":                                    {func(*files) {}, "", true},
		"a file that nobody signed":               {func(f *files) { f.content["d"] = "thief's" }, "no list of upstream's names it", false},
		"another file than upstream's":            {func(f *files) { f.content["a.iso"] = "thief's" }, "upstream's list says", false},
		"a list under another key":                {func(f *files) { f.listKey = testarchive.DockerKey() }, "not a trusted key", true},
		"a signature over another file":           {func(f *files) { f.detached = "another" }, "is bad", true},
		"no signature":                            {func(f *files) { f.detached = "" }, "no list of upstream's names it", false},
		"the site's list under another key":       {func(f *files) { f.siteKey = testarchive.DockerKey() }, "not a trusted key", false},
		"the site's list in another order":        {func(f *files) { f.site = reversed(string(list(f.content))) }, "not as it is made", false},
		"the site's list names what is not there": {func(f *files) { f.site = string(list(map[string]string{"x": "y"})) }, "not in the snapshot", false},
		"the site's list is none":                 {func(f *files) { f.site = "x\n" }, "malformed", false},
	} {
		f := good()
		c.change(&f)
		s := f.take(t)
		in := byformat.Input{Snapshot: s, Archive: s.Statement.Archives[0], Believed: true, Site: ring(t, testarchive.SiteKey()), Upstream: ring(t, testarchive.DebianKey())}
		res, err := Prove(t.Context(), in)
		switch {
		case c.want == "" && err != nil, c.want != "" && (!errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		case c.want == "":
			if len(res.Files) != s.Table.Len() || res.Packages != 2 || len(res.Signed) != 2 || len(res.Read) != 1 {
				t.Errorf("%s: %+v of %d rows", name, res, s.Table.Len())
			}
		}
		in.Upstream = nil
		if _, err := Prove(t.Context(), in); (err == nil) != c.bare {
			t.Errorf("%s: without upstream's key: %v", name, err)
		}
	}
}

func reversed(text string) string {
	a, b, _ := strings.Cut(text, "\n")
	return b + a + "\n"
}

func ring(t *testing.T, k *testarchive.Key) *pgp.Keyring {
	t.Helper()
	r, err := pgp.ReadKeyring(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func signer(t *testing.T) pgp.Signer {
	t.Helper()
	s, err := pgp.ReadSigner(testarchive.SiteKey().Private(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
