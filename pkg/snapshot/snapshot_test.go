package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	. "example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

var date = time.Date(2026, 11, 21, 9, 13, 40, 0, time.UTC)

func newSigner(t testing.TB, user string) pgp.Signer {
	t.Helper()
	private, _, err := pgp.NewKey(user, date.AddDate(-1, 0, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := pgp.ReadSigner(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// noise is n bytes that do not repeat.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// world is a snapshot's files and what to take it from.
type world struct {
	files  map[string][]byte
	frozen Frozen
}

// newWorld has a verbatim archive, a curated one with provenance, one of a site, and files of all sizes around HoldBack.
func newWorld(signer pgp.Signer) world {
	w := world{files: map[string][]byte{
		"debian/dists/bookworm/InRelease":                             []byte("InRelease of debian\n"),
		"debian/dists/bookworm/main/Contents-amd64.gz":                noise(3 * HoldBack),
		"debian/dists/bookworm/main/binary-amd64/Packages.xz":         noise(HoldBack + 1),
		"debian/dists/bookworm/main/binary-all/Packages":              nil,
		"debian/pool/main/b/bash/bash_5.2-1_amd64.deb":                noise(HoldBack),
		"debian/pool/main/d/dash/dash_0.5.12-2_amd64.deb":             noise(HoldBack - 1),
		"debian/pool/main/d/dash/dash_0.5.12-2_arm64.deb":             noise(300_000),
		"docker/dists/bookworm/Release":                               []byte("Release of docker, curated\n"),
		"docker/dists/bookworm/stable/binary-amd64/Packages.gz":       []byte("Packages of docker, curated\n"),
		"docker/pool/stable/docker-ce_27.0-1_amd64.deb":               []byte("docker-ce"),
		"upstream/docker/dists/bookworm/InRelease":                    []byte("InRelease of docker\n"),
		"upstream/docker/dists/bookworm/stable/binary-amd64/Packages": []byte("Packages of docker\n"),
		"own/dists/own/Release":                                       []byte("Release of own\n"),
		"own/pool/main/t/tool/tool_1_all.deb":                         []byte("tool"),
		"own/pool/main/t/tool/same_1_all.deb":                         []byte("docker-ce"), // the same content twice
	}}
	file := func(prefix, suite string, role Role, d time.Time) SuiteFile {
		path := RolePath(prefix, suite, role)
		if w.files[path] == nil {
			w.files[path] = []byte(path)
		}
		return SuiteFile{Role: role, Blob: BlobOf(w.files[path]), Date: d, Path: path}
	}
	curated := func(prefix, suite string) []SuiteFile {
		files := []SuiteFile{file(prefix, suite, Release, date)}
		if signer != nil {
			files = append(files, file(prefix, suite, ReleaseGPG, date), file(prefix, suite, InRelease, date))
		}
		return files
	}
	day := date.Add(-time.Hour)
	w.frozen = Frozen{
		Date: date, ValidUntil: date.AddDate(0, 1, 0), Encoder: archive.EncoderGeneration, Lock: []byte("mmoci-lock-v1\n"), Signer: signer,
		Archives: []Archive{ // in no order
			{Prefix: "own", Mode: Curated, Class: Site, Format: FormatDeb, Suites: []Suite{{Name: "own", Files: curated("own", "own")}}},
			{Prefix: "docker", Mode: Curated, Class: Upstream, Format: FormatDeb, UpstreamKeys: []string{strings.Repeat("B", 40), strings.Repeat("A", 40)},
				Suites: []Suite{{Name: "bookworm", Files: append(curated("docker", "bookworm"), file("docker", "bookworm", UpstreamInRelease, day))}}},
			{Prefix: "debian", Mode: Verbatim, Class: Upstream, Format: FormatDeb,
				Suites: []Suite{{Name: "bookworm", Files: []SuiteFile{file("debian", "bookworm", InRelease, day)}}}},
		},
	}
	var rest [][]byte
	for path, data := range w.files {
		row := Row{Path: path, Size: int64(len(data)), Digest: Sum(data)}
		if base, ok := strings.CutSuffix(filepath.Base(path), ".deb"); ok {
			f := strings.Split(base, "_")
			row.Package = Package{Name: f[0], Version: f[1], Architecture: f[2], Source: f[0]}
			rest = append(rest, data)
		} else if len(data) < HoldBack {
			w.frozen.Small = append(w.frozen.Small, data)
		} else {
			rest = append(rest, data)
		}
		w.frozen.Files = append(w.frozen.Files, row)
	}
	w.frozen.Blobs = snapshottest.Memory(rest...)
	return w
}

func take(t testing.TB, f Frozen) *Snapshot {
	t.Helper()
	s, err := Take(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// seal is what a reader of the packed snapshot gets.
func seal(s *Snapshot) *Sealed {
	return &Sealed{
		Root: Sum([]byte("root")), Statement: s.StatementBytes, Signed: s.Signed,
		Date: s.Statement.Date, Encoder: s.Statement.Encoder, Needs: s.Statement.Needs, Table: s.Table.Bytes(), Lock: s.Statement.Lock,
		Release: s.Statement.ReleaseBlobs(), Blobs: s.Blobs(),
	}
}

// Images are files of the snapshot that the statement names: their rows and the statement must fit.
func TestImagesOfSnapshot(t *testing.T) {
	t.Parallel()
	document, layer := []byte("an image's manifest"), []byte("an image's layer")
	row := func(data []byte) Row {
		return Row{Path: ImageBlobPath(Sum(data)), Size: int64(len(data)), Digest: Sum(data)}
	}
	world := func() world {
		w := newWorld(nil)
		for _, data := range [][]byte{document, layer} {
			w.files[ImageBlobPath(Sum(data))] = data
			w.frozen.Files = append(w.frozen.Files, row(data))
			w.frozen.Small = append(w.frozen.Small, data)
		}
		w.frozen.Images = []Image{{Name: "registry.example.org/app:1", Blob: BlobOf(document)}}
		return w
	}
	w := world()
	s := take(t, w.frozen)
	if s.Statement.Needs != "0.2" || !bytes.HasPrefix(s.StatementBytes, []byte("mmoci-statement-v2\nneeds 0.2\ndate ")) {
		t.Errorf("%.60q", s.StatementBytes)
	}
	snapshottest.Test(t, s, w.files)
	opened, err := seal(s).Unseal(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := snapshottest.Equal(t.Context(), s, opened); err != nil {
		t.Error(err)
	}
	other := seal(s)
	other.Needs = ""
	if _, err := other.Unseal(nil); !errors.Is(err, ErrIntegrity) {
		t.Errorf("a config that does not say what is needed: %v", err)
	}
	for name, edit := range map[string]func(f *Frozen){
		"no row":          func(f *Frozen) { f.Images[0].Blob = BlobOf([]byte("elsewhere")) },
		"other size":      func(f *Frozen) { f.Images[0].Size++ },
		"no referrer":     func(f *Frozen) { f.Images[0].Referrers = []Blob{BlobOf([]byte("elsewhere"))} },
		"no image":        func(f *Frozen) { f.Images = nil },
		"other name":      func(f *Frozen) { f.Files[len(f.Files)-1].Path = "v2/blobs/sha256/" + Sum(document).Hex()[1:] + "0" },
		"other directory": func(f *Frozen) { f.Files[len(f.Files)-1].Path = "v2/" + Sum(layer).Hex() },
	} {
		f := world().frozen
		edit(&f)
		if _, err := Take(f); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, signer := range map[string]pgp.Signer{"signed": newSigner(t, "site"), "unsigned": nil} {
		w := newWorld(signer)
		taken := take(t, w.frozen)
		t.Run(name+" taken", func(t *testing.T) { snapshottest.Test(t, taken, w.files) })
		var keyring *pgp.Keyring
		if signer != nil {
			keyring = signer.Public()
		}
		opened, err := seal(taken).Unseal(keyring)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name+" unsealed", func(t *testing.T) { snapshottest.Test(t, opened, w.files) })
		if err := snapshottest.Equal(t.Context(), taken, opened); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConformanceDir(t *testing.T) {
	t.Parallel()
	w := newWorld(nil)
	dir := t.TempDir()
	for _, data := range w.files {
		if err := os.WriteFile(filepath.Join(dir, Sum(data).Hex()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.frozen.Small, w.frozen.Blobs = nil, snapshottest.Dir(dir)
	s := take(t, w.frozen)
	snapshottest.Test(t, s, w.files)

	const path = "debian/pool/main/d/dash/dash_0.5.12-2_arm64.deb"
	f, err := s.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Seeker.(*os.File); !ok {
		t.Errorf("Seeker is %T, which cannot be sent by sendfile", f.Seeker)
	}
	if f.Path != path || f.Size != 300_000 || f.Name != "dash" {
		t.Errorf("row %+v", f.Row)
	}
	if err := errors.Join(f.Close(), os.Truncate(filepath.Join(dir, f.Digest.Hex()), 299_999)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), path); !errors.Is(err, ErrIntegrity) || !strings.Contains(err.Error(), path) {
		t.Errorf("hashed file of another size: %v", err)
	}
}

// TestConformanceSees makes sure that Equal and Lying see what they are there for.
func TestConformanceSees(t *testing.T) {
	t.Parallel()
	w := newWorld(nil)
	s := take(t, w.frozen)
	other := newWorld(nil)
	other.frozen.Lock = []byte("mmoci-lock-v1\n#\n")
	if snapshottest.Equal(t.Context(), s, take(t, other.frozen)) == nil {
		t.Error("another lock is equal")
	}
	other = newWorld(nil)
	other.frozen.Files = slices.DeleteFunc(other.frozen.Files, func(r Row) bool { return r.Name == "tool" })
	other.frozen.Small = nil
	if snapshottest.Equal(t.Context(), s, take(t, other.frozen)) == nil {
		t.Error("a file less is equal")
	}
	liar := s.WithBlobs(func(b Blobs) Blobs {
		return snapshottest.Lying(b, func(data []byte) []byte { data[0]++; return data })
	})
	if err := snapshottest.Equal(t.Context(), s, liar); !errors.Is(err, ErrIntegrity) {
		t.Errorf("a liar is equal: %v", err)
	}
	a, b := *s, *s
	a.Root, b.Root = Sum([]byte("a")), Sum([]byte("b"))
	if snapshottest.Equal(t.Context(), &a, &b) == nil {
		t.Error("another root is equal")
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(nil)
	s := take(t, w.frozen)
	for served, listed := range map[string]string{
		"upstream/debian/dists/bookworm/InRelease":               "debian/dists/bookworm/InRelease",
		"upstream/docker/pool/stable/docker-ce_27.0-1_amd64.deb": "docker/pool/stable/docker-ce_27.0-1_amd64.deb",
	} {
		f, err := s.Open(t.Context(), served)
		if err != nil {
			t.Error(err)
			continue
		}
		data, err := io.ReadAll(f)
		if err != nil || f.Path != listed || !bytes.Equal(data, w.files[listed]) {
			t.Errorf("%s is %s, %q, %v", served, f.Path, data, err)
		}
	}
	// What Take was given in memory, and what is empty, needs no hashing.
	for _, path := range []string{"own/dists/own/Release", "debian/dists/bookworm/main/binary-all/Packages"} {
		f, err := s.Open(t.Context(), path)
		if err != nil || f.Seeker == nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	small := BlobOf(w.files["own/dists/own/Release"])
	small.Size++
	if _, err := s.OpenBlob(t.Context(), small); !errors.Is(err, ErrIntegrity) {
		t.Errorf("wrong size of a file in memory: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cancelled := s.WithBlobs(func(Blobs) Blobs {
		return BlobsFunc(func(ctx context.Context, _ Blob) (*Content, error) { return nil, ctx.Err() })
	})
	if _, err := cancelled.Open(ctx, "own/dists/own/Release"); !errors.Is(err, context.Canceled) {
		t.Errorf("the context does not arrive: %v", err)
	}
}

func TestTake(t *testing.T) {
	t.Parallel()
	signer := newSigner(t, "site")
	a, b := newWorld(signer), newWorld(signer)
	slices.Reverse(b.frozen.Archives)
	b.frozen.Files = append(b.frozen.Files, b.frozen.Files...)
	b.frozen.Date = b.frozen.Date.In(time.FixedZone("CET", 3600))
	s := take(t, a.frozen)
	if again := take(t, b.frozen); !bytes.Equal(s.StatementBytes, again.StatementBytes) || !bytes.Equal(s.Table.Bytes(), again.Table.Bytes()) {
		t.Errorf("the order or the zone of the input is seen:\n%s\n%s", s.StatementBytes, again.StatementBytes)
	}
	if a.frozen.Archives[0].Prefix != "own" || a.frozen.Archives[1].UpstreamKeys[0][0] != 'B' {
		t.Error("Take changed its input")
	}
	text, how, err := pgp.VerifyClearsigned(s.StatementBytes, pgp.Trust{Keyring: signer.Public()})
	if err != nil || how.Kind != pgp.Signed || !how.Time.Equal(date) {
		t.Errorf("signature: %+v, %v", how, err)
	}
	if want, _ := s.Statement.Encode(); !bytes.Equal(text, want) {
		t.Errorf("signed text\n%s\nwant\n%s", text, want)
	}
}

func TestTakeRefuses(t *testing.T) {
	t.Parallel()
	signer := newSigner(t, "site")
	row := func(path, data string) Row { return Row{Path: path, Size: int64(len(data)), Digest: Sum([]byte(data))} }
	for name, c := range map[string]struct {
		change func(*Frozen)
		want   string
	}{
		"date":              {func(f *Frozen) { f.Date = time.Time{} }, "date"},
		"valid-until":       {func(f *Frozen) { f.ValidUntil = f.Date }, "valid-until"},
		"encoder":           {func(f *Frozen) { f.Encoder = 0 }, "encoder"},
		"no lock":           {func(f *Frozen) { f.Lock = nil }, "lock"},
		"prefix twice":      {func(f *Frozen) { f.Archives[1].Prefix = "own" }, "own"},
		"two digests":       {func(f *Frozen) { f.Files = append(f.Files, row("own/pool/main/t/tool/tool_1_all.deb", "x")) }, "twice"},
		"path":              {func(f *Frozen) { f.Files = append(f.Files, row("own/../x", "x")) }, "part"},
		"two sizes":         {func(f *Frozen) { f.Files = append(f.Files, Row{Path: "own/x", Size: 99, Digest: Sum([]byte("tool"))}) }, "two sizes"},
		"no archive":        {func(f *Frozen) { f.Files = append(f.Files, row("other/x", "x")) }, "belongs to no archive"},
		"no archive above":  {func(f *Frozen) { f.Files = append(f.Files, row("upstream/x", "x")) }, "belongs to no archive"},
		"provenance, site":  {func(f *Frozen) { f.Files = append(f.Files, row("upstream/own/dists/own/x", "x")) }, "provenance"},
		"provenance, verb.": {func(f *Frozen) { f.Files = append(f.Files, row("upstream/debian/dists/x", "x")) }, "provenance"},
		"derived pool":      {func(f *Frozen) { f.Files = append(f.Files, row("upstream/docker/pool/x", "x")) }, "derived"},
		"derived by-hash": {func(f *Frozen) {
			f.Files = append(f.Files, row("own/dists/own/by-hash/SHA256/"+Sum([]byte("x")).Hex(), "x"))
		}, "derived"},
		"file missing": {func(f *Frozen) {
			f.Files = slices.DeleteFunc(f.Files, func(r Row) bool { return r.Path == "own/dists/own/Release" })
		}, "not in the table"},
		"file differs": {func(f *Frozen) {
			i := slices.IndexFunc(f.Files, func(r Row) bool { return r.Path == "own/dists/own/Release" })
			f.Files[i] = row("own/dists/own/Release", "another")
		}, "in the table"},
		"small of nobody": {func(f *Frozen) { f.Small = append(f.Small, []byte("stray")) }, "not the content of any file"},
		"unsigned":        {func(f *Frozen) { f.Signer = nil }, "the statement is not signed"},
		"signer fails":    {func(f *Frozen) { f.Signer = badSigner{signer, nil, errors.New("card removed")} }, "card removed"},
		"signer lies":     {func(f *Frozen) { f.Signer = badSigner{signer, []byte("other text\n"), nil} }, "not the text"},
		"other key":       {func(f *Frozen) { f.Signer = otherPublic{signer, newSigner(t, "other")} }, "just signed"},
	} {
		w := newWorld(signer)
		c.change(&w.frozen)
		if _, err := Take(w.frozen); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	w := newWorld(nil)
	w.frozen.Signer = signer
	if _, err := Take(w.frozen); err == nil || !strings.Contains(err.Error(), "but the statement is signed") {
		t.Errorf("signed statement of unsigned suites: %v", err)
	}
}

// badSigner signs another text, or fails.
type badSigner struct {
	pgp.Signer
	text []byte
	err  error
}

func (s badSigner) Clearsign(_ []byte, at time.Time) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Signer.Clearsign(s.text, at)
}

// otherPublic shows another key than it signs with.
type otherPublic struct {
	pgp.Signer
	other pgp.Signer
}

func (s otherPublic) Public() *pgp.Keyring { return s.other.Public() }

// TestUnsealTrust is the table in the comment of Unseal.
func TestUnsealTrust(t *testing.T) {
	t.Parallel()
	signer, other := newSigner(t, "site"), newSigner(t, "other")
	both := pgp.JoinKeyrings(other.Public(), signer.Public())
	signed, unsigned := take(t, newWorld(signer).frozen), take(t, newWorld(nil).frozen)
	const refused = pgp.Kind(99)
	for _, c := range []struct {
		name            string
		keyring         *pgp.Keyring
		snapshot        *Snapshot
		byTag, byDigest pgp.Kind
	}{
		{"no key, unsigned", nil, unsigned, pgp.Unverified, pgp.Pinned},
		{"no key, signed", nil, signed, pgp.Unverified, pgp.Pinned},
		{"key, signed", signer.Public(), signed, pgp.Signed, pgp.Signed},
		{"one of two keys, signed", both, signed, pgp.Signed, pgp.Signed},
		{"key, foreign", other.Public(), signed, refused, refused},
		{"key, unsigned", signer.Public(), unsigned, refused, pgp.Pinned},
	} {
		for _, pinned := range []bool{false, true} {
			want := c.byTag
			if pinned {
				want = c.byDigest
			}
			sealed := seal(c.snapshot)
			sealed.Pinned = pinned
			s, err := sealed.Unseal(c.keyring)
			switch {
			case want == refused:
				if !errors.Is(err, ErrIntegrity) {
					t.Errorf("%s, pinned %t: %v", c.name, pinned, err)
				}
			case err != nil:
				t.Errorf("%s, pinned %t: %v", c.name, pinned, err)
			case s.Statement.How.Kind != want || s.Root != sealed.Root || s.Signed != c.snapshot.Signed:
				t.Errorf("%s, pinned %t: %+v", c.name, pinned, s.Statement.How)
			case want == pgp.Signed && s.Statement.How.Signer != signer.Public().Fingerprints()[0]:
				t.Errorf("%s, pinned %t: signer %s", c.name, pinned, s.Statement.How.Signer)
			}
		}
	}
}

// TestUnsealBinds changes one thing that the statement, truly signed, speaks of.
func TestUnsealBinds(t *testing.T) {
	t.Parallel()
	signer := newSigner(t, "site")
	s, unsigned := take(t, newWorld(signer).frozen), take(t, newWorld(nil).frozen)
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		change func(*Sealed)
		want   string
	}{
		"config's date":      {func(x *Sealed) { x.Date = x.Date.Add(time.Second) }, "config: date"},
		"config's encoder":   {func(x *Sealed) { x.Encoder++ }, "config: encoder"},
		"table":              {func(x *Sealed) { x.Table = flip(x.Table, 100) }, "table: sha256"},
		"another table":      {func(x *Sealed) { x.Table = unsigned.Table.Bytes() }, "table: sha256"},
		"lock":               {func(x *Sealed) { x.Lock.Digest[0] ^= 1 }, "lock: sha256"},
		"longer lock":        {func(x *Sealed) { x.Lock.Size++ }, "lock: sha256"},
		"Release less":       {func(x *Sealed) { x.Release = x.Release[:len(x.Release)-1] }, "core: 7 signature files"},
		"Release more":       {func(x *Sealed) { x.Release = append(x.Release, BlobOf([]byte("x"))) }, "no signature file"},
		"Release exchanged":  {func(x *Sealed) { x.Release[1] = BlobOf([]byte("x")) }, "no signature file"},
		"Release's size":     {func(x *Sealed) { x.Release[1].Size++ }, "no signature file"},
		"Release twice":      {func(x *Sealed) { x.Release = append(x.Release, x.Release[0]) }, "core: 9 signature files"},
		"Releases' order":    {func(x *Sealed) { x.Release[0], x.Release[1] = x.Release[1], x.Release[0] }, "not in order"},
		"text in front":      {func(x *Sealed) { x.Statement = append([]byte("x\n"), x.Statement...) }, "statement"},
		"text behind":        {func(x *Sealed) { x.Statement = append(bytes.Clone(x.Statement), "x\n"...) }, "statement"},
		"statement's text":   {func(x *Sealed) { x.Statement = bytes.Replace(x.Statement, []byte("encoder 1"), []byte("encoder 2"), 1) }, "statement"},
		"media type":         {func(x *Sealed) { x.Signed = false }, "not signed"},
		"other statement":    {func(x *Sealed) { x.Statement = unsigned.StatementBytes }, "statement"},
		"statement too long": {func(x *Sealed) { x.Statement = append(x.Statement, make([]byte, MaxStatement)...) }, "more than"},
	} {
		sealed := seal(s)
		c.change(sealed)
		if _, err := sealed.Unseal(signer.Public()); !errors.Is(err, ErrIntegrity) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestUnsealForged has statements that bind what they should not: made by
// someone who may sign, or read without any key.
func TestUnsealForged(t *testing.T) {
	t.Parallel()
	signer := newSigner(t, "site")
	resigned := func(st *Statement) []byte {
		text, err := st.Encode()
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Clearsign(text, date)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	s := take(t, newWorld(signer).frozen)
	for name, c := range map[string]struct {
		change func(x *Sealed, st *Statement)
		want   string
	}{
		"table without a signature file": {func(x *Sealed, st *Statement) {
			rows := slices.DeleteFunc(slices.Collect(s.Table.Rows()), func(r Row) bool { return r.Path == "own/dists/own/Release" })
			x.Table = tableBytes(t, rows)
			st.Table = BlobOf(x.Table)
		}, "not in the table"},
		"table with another one": {func(x *Sealed, st *Statement) {
			rows := slices.Collect(s.Table.Rows())
			for i := range rows {
				if rows[i].Path == "own/dists/own/Release" {
					rows[i].Digest = Sum([]byte("x"))
				}
			}
			x.Table = tableBytes(t, rows)
			st.Table = BlobOf(x.Table)
		}, "in the table"},
		"no table at all": {func(x *Sealed, st *Statement) {
			x.Table = []byte("table")
			st.Table = BlobOf(x.Table)
		}, "table:"},
	} {
		sealed, st := seal(s), *s.Statement
		c.change(sealed, &st)
		sealed.Statement = resigned(&st)
		if _, err := sealed.Unseal(signer.Public()); !errors.Is(err, ErrIntegrity) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// A signed statement over unsigned suites, and the reverse.
	unsigned := take(t, newWorld(nil).frozen)
	sealed := seal(unsigned)
	sealed.Statement, sealed.Signed = resigned(unsigned.Statement), true
	if _, err := sealed.Unseal(signer.Public()); !errors.Is(err, ErrIntegrity) || !strings.Contains(err.Error(), "but the statement is signed") {
		t.Errorf("unsigned suites: %v", err)
	}
	sealed = seal(s)
	sealed.Statement, _ = s.Statement.Encode()
	sealed.Signed, sealed.Pinned = false, true
	if _, err := sealed.Unseal(nil); !errors.Is(err, ErrIntegrity) || !strings.Contains(err.Error(), "is not signed") {
		t.Errorf("signed suites: %v", err)
	}
}

func tableBytes(t *testing.T, rows []Row) []byte {
	t.Helper()
	table, err := NewTable(rows)
	if err != nil {
		t.Fatal(err)
	}
	return table.Bytes()
}
