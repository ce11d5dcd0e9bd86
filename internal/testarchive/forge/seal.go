package forge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Making is who seals a forgery, and how.
type Making string

// The makings: the first three need no key of the site's.
const (
	Kept     Making = "kept"     // the site's own statement stays, although it names another table
	Unsigned Making = "unsigned" // a new statement without signature; curated suites lose theirs
	Foreign  Making = "foreign"  // a new statement and curated suites signed by a key of the opponent's
	Resigned Making = "resigned" // a new statement and curated suites signed by the site's key
)

// Makings lists them all.
func Makings() []Making { return []Making{Kept, Unsigned, Foreign, Resigned} }

// Seal makes a snapshot of the draft, whose curated suites are signed anew
// where their Release has changed. Statement and table follow from it, no matter what rule that breaks.
func (d *Draft) Seal(m Making) *snapshot.Snapshot {
	d.t.Helper()
	c := d.Clone()
	c.sign(m)
	table, err := snapshot.NewTable(slices.Collect(maps.Values(c.Rows)))
	if err != nil {
		d.t.Fatalf("forge: %v", err)
	}
	st := snapshot.Statement{
		Date: c.Date, ValidUntil: c.Valid, Encoder: c.Encoder, Images: c.Images, Archives: c.Archives,
		Table: snapshot.BlobOf(table.Bytes()), Lock: snapshot.BlobOf(c.Lock),
	}
	slices.SortFunc(st.Archives, func(a, b snapshot.Archive) int { return cmp.Compare(a.Prefix, b.Prefix) })
	if len(c.Images) > 0 {
		st.Needs = needed
	}
	if slices.ContainsFunc(d.Archives, func(a snapshot.Archive) bool { return a.Class == snapshot.Merged }) {
		st.Needs = neededOfMerged
	}
	c.blobs[st.Lock.Digest] = c.Lock
	s := &snapshot.Snapshot{Statement: &st, StatementBytes: encode(&st), Table: table}
	switch m {
	case Kept:
		s.StatementBytes, s.Signed = c.original, c.signed
	case Foreign, Resigned:
		s.StatementBytes, s.Signed = c.key(m).Clearsign(d.t, s.StatementBytes, c.Date), true
	}
	return s.WithBlobs(func(snapshot.Blobs) snapshot.Blobs { return snapshot.BlobsFunc(c.blobReader) })
}

func (d *Draft) key(m Making) *testarchive.Key {
	if m == Resigned {
		return testarchive.SiteKey()
	}
	if d.Signer != nil {
		return d.Signer
	}
	return Mallory()
}

// sign brings the curated suites into the form that the making allows.
func (d *Draft) sign(m Making) {
	for i := range d.Archives {
		a := &d.Archives[i]
		if a.Mode != snapshot.Curated {
			continue
		}
		for j := range a.Suites {
			s := &a.Suites[j]
			if s.File(snapshot.Release) == nil {
				continue
			}
			dir := strings.TrimSuffix(s.File(snapshot.Release).Path, "Release")
			if m == Unsigned {
				s.Files = slices.DeleteFunc(s.Files, func(f snapshot.SuiteFile) bool {
					return f.Role == snapshot.InRelease || f.Role == snapshot.ReleaseGPG
				})
				d.Remove(dir + "InRelease")
				d.Remove(dir + "Release.gpg")
				continue
			}
			if !d.Odd[dir] {
				d.resign(dir, d.key(m), m == Kept)
			}
		}
	}
}

// resign signs the Release in dir, unless the site's signature still fits it.
func (d *Draft) resign(dir string, key *testarchive.Key, kept bool) {
	ring, err := pgp.ReadKeyring(testarchive.SiteKey().Public())
	if err != nil {
		d.t.Fatal(err)
	}
	text := d.releaseText(dir)
	signed, _, err := pgp.VerifyClearsigned(d.Read(dir+"InRelease"), pgp.Trust{Keyring: ring})
	if err == nil && string(signed) == text && (kept || key.Fingerprint() == testarchive.SiteKey().Fingerprint()) {
		return
	}
	d.SetRelease(dir, text, key)
}

// needed is the version of mmoci that a statement with images asks for (SPEC section 13).
const needed = "0.2"

// neededOfMerged is the one that a statement with merged archives asks for.
const neededOfMerged = "0.3"

// encode writes a statement by SPEC section 4, whatever it says.
func encode(st *snapshot.Statement) []byte {
	var b strings.Builder
	line := func(words ...any) { b.WriteString(strings.TrimSuffix(fmt.Sprintln(words...), "\n") + "\n") }
	if st.Needs == "" {
		line("mmoci-statement-v1")
	} else {
		line("mmoci-statement-v2")
		line("needs", st.Needs)
	}
	line("date", stamp(st.Date))
	if !st.ValidUntil.IsZero() {
		line("valid-until", stamp(st.ValidUntil))
	}
	line("encoder", st.Encoder)
	line("table", st.Table)
	line("lock", st.Lock)
	for _, m := range st.Images {
		line("image", m.Name, m.Blob)
		for _, r := range m.Referrers {
			line("referrer", r)
		}
	}
	for _, a := range st.Archives {
		line("archive", a.Prefix, a.Mode, a.Class, a.Format)
		if len(a.Merge) > 0 {
			line("merge", strings.Join(a.Merge, " "))
		}
		for _, k := range a.UpstreamKeys {
			line("upstream-key", k)
		}
		for _, s := range a.Suites {
			line("suite", s.Name)
			for _, f := range s.Files {
				line("file", f.Role, f.Blob, stamp(f.Date), f.Path)
			}
		}
	}
	return []byte(b.String())
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
