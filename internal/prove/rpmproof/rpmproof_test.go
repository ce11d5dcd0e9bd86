package rpmproof

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove/byformat"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

var day = time.Date(2026, 1, 5, 3, 0, 0, 0, time.UTC)

// repository is a repository of one package that is made wrong in one thing.
type repository struct {
	date   time.Time // of repomd.xml
	said   time.Time // in the statement
	signed time.Time // zero: not at all
	key    *testarchive.Key
	sum    string // of the package in the list; "": as it is
	kind   string // of checksum
	repomd string // what is signed in place of repomd.xml; "": that
	lost   bool   // the package is not there
	more   bool   // a package is there that the list does not have
}

func (r repository) take(t *testing.T) *snapshot.Snapshot {
	t.Helper()
	site, err := pgp.ReadSigner(testarchive.SiteKey().Private(), nil)
	if err != nil {
		t.Fatal(err)
	}
	frozen := snapshot.Frozen{Date: day, Encoder: 1, Lock: []byte("mmoci-lock-v1\n"), Signer: site}
	suite := snapshot.Suite{Name: "./"}
	add := func(path, data string, p snapshot.Package) snapshot.Blob {
		frozen.Small = append(frozen.Small, []byte(data))
		b := snapshot.BlobOf([]byte(data))
		frozen.Files = append(frozen.Files, snapshot.Row{Path: path, Size: b.Size, Digest: b.Digest, Package: p})
		return b
	}
	role := func(role snapshot.Role, data string) {
		path := snapshot.RolePath("up", "./", role)
		suite.Files = append(suite.Files, snapshot.SuiteFile{Role: role, Blob: add(path, data, snapshot.Package{}), Date: r.said, Path: path})
	}
	const body = "a package"
	sum := r.sum
	if sum == "" {
		sum = snapshot.Sum([]byte(body)).Hex()
	}
	primary := fmt.Sprintf(`<metadata xmlns="http://linux.duke.edu/metadata/common"><package type="rpm"><name>a</name><arch>noarch</arch><version ver="1" rel="1"/>`+
		`<checksum type="%s">%s</checksum><size package="%d"/><location href="a.rpm"/></package></metadata>`, r.kind, sum, len(body))
	repomd := fmt.Sprintf(`<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary"><checksum type="sha256">%s</checksum>`+
		`<location href="repodata/one.xml"/><timestamp>%d</timestamp></data></repomd>`, snapshot.Sum([]byte(primary)).Hex(), r.date.Unix())
	role(snapshot.Repomd, repomd)
	if !r.signed.IsZero() {
		text := r.repomd
		if text == "" {
			text = repomd
		}
		role(snapshot.RepomdAsc, string(r.key.Detach(t, []byte(text), r.signed)))
	}
	add("up/repodata/one.xml", primary, snapshot.Package{})
	pkg := snapshot.Package{Name: "a", Version: "1-1", Architecture: "noarch", Source: "a"}
	if !r.lost {
		add("up/a.rpm", body, pkg)
	}
	if r.more {
		pkg.Name = "thief"
		add("up/thief.rpm", "another", pkg)
	}
	frozen.Archives = []snapshot.Archive{{
		Prefix: "up", Mode: snapshot.Verbatim, Class: snapshot.Upstream, Format: snapshot.FormatRPM,
		UpstreamKeys: []string{testarchive.DebianKey().Fingerprint()}, Suites: []snapshot.Suite{suite},
	}}
	s, err := snapshot.Take(frozen)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestProofs: each forgery that keeps the snapshot whole in itself is found by upstream's key, whatever the statement says; what
// is ahead of the clock counts where nobody but upstream says that it is good.
func TestProofs(t *testing.T) {
	t.Parallel()
	year := day.AddDate(1, 0, 0)
	for name, c := range map[string]struct {
		change   func(*repository)
		want     string // under upstream's key alone; "": proved
		believed string // with a statement that is believed
	}{
		"good":                       {change: func(*repository) {}},
		"by SHA-1":                   {change: func(r *repository) { r.kind, r.sum = "sha", "6a6e2e1d3ba1d2e3b0a5b76c1b8de0bd0a9fd8ba" }, want: "it is not sha1:", believed: "it is not sha1:"},
		"under another key":          {change: func(r *repository) { r.key = testarchive.DockerKey() }, want: "not a trusted key", believed: "not a trusted key"},
		"of another text":            {change: func(r *repository) { r.repomd = "<repomd/>" }, want: "is bad", believed: "is bad"},
		"a package of other bytes":   {change: func(r *repository) { r.sum = strings.Repeat("1", 64) }},
		"a package that is no one's": {change: func(r *repository) { r.more = true }},
		"a package that is gone":     {change: func(r *repository) { r.lost = true }},
		"another date in the statement": {
			change: func(r *repository) { r.said = day.Add(time.Second) }, want: "the statement says 2026-01-05T03:00:01Z", believed: "the statement says 2026-01-05T03:00:01Z",
		},
		"signed long before":     {change: func(r *repository) { r.signed = day.Add(-25 * time.Hour) }, want: "before the date of the text", believed: "before the date of the text"},
		"an hour ahead":          {change: func(r *repository) { r.date = day.Add(time.Hour); r.said, r.signed = r.date, r.date }},
		"a year ahead":           {change: func(r *repository) { r.date, r.said, r.signed = year, year, year }, want: "is of 2027-01-05T03:00:00Z, and it is 2026-01-05T03:00:00Z"},
		"a year ahead, and days": {change: func(r *repository) { r.date, r.said, r.signed = year.Add(time.Hour), year.Add(time.Hour), year }, want: "nothing that upstream publishes until then would be newer"},
	} {
		r := repository{date: day, said: day, signed: day, key: testarchive.DebianKey(), kind: "sha256"}
		c.change(&r)
		s := r.take(t)
		ring, err := pgp.ReadKeyring(testarchive.DebianKey().Public())
		if err != nil {
			t.Fatal(err)
		}
		for believed, want := range map[bool]string{false: c.want, true: c.believed} {
			res, err := Prove(t.Context(), byformat.Input{Snapshot: s, Archive: s.Statement.Archives[0], Believed: believed, Upstream: ring, Now: day})
			switch {
			case want == "" && err != nil, want != "" && (!errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), want)):
				t.Errorf("%s: believed %t: %v, want %q", name, believed, err, want)
			case want == "":
				if err := agrees(s, res); (err == nil) != (name == "good" || name == "an hour ahead" || name[0:6] == "a year") {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

// agrees does what internal/prove does with a result: the table must have just these files.
func agrees(s *snapshot.Snapshot, res byformat.Result) error {
	for _, row := range res.Files {
		if was, ok := s.Table.Find(row.Path); !ok || was.Blob() != row.Blob() || was.Package != row.Package {
			return fmt.Errorf("%+v is not %+v", was, row)
		}
	}
	if s.Table.Len() != len(res.Files) {
		return fmt.Errorf("%d rows are named, of %d", len(res.Files), s.Table.Len())
	}
	return nil
}
