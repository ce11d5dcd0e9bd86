package serve

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// day is in the past, whatever clock the machine has.
func day(n int) time.Time { return time.Date(2024, 11, n, 9, 13, 40, 0, time.UTC) }

// bytesOf are incompressible bytes that differ by seed.
func bytesOf(seed string, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(b)
	return b
}

// memoryBlobs holds content by digest and counts what is opened. Not hashed
// beforehand, like a registry's.
type memoryBlobs struct {
	mu     sync.Mutex
	blobs  map[snapshot.Digest][]byte
	opened int
	fault  func(b snapshot.Blob, data []byte) (io.Reader, error) // nil: none
}

func newMemoryBlobs() *memoryBlobs { return &memoryBlobs{blobs: map[snapshot.Digest][]byte{}} }

func (m *memoryBlobs) put(data []byte) snapshot.Blob {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := snapshot.BlobOf(data)
	m.blobs[b.Digest] = data
	return b
}

func (m *memoryBlobs) Open(_ context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened++
	data, ok := m.blobs[b.Digest]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, snapshot.ErrNotExist)
	}
	var r io.Reader = bytes.NewReader(data)
	if m.fault != nil {
		var err error
		if r, err = m.fault(b, data); err != nil {
			return nil, err
		}
	}
	return (&snapshot.Content{R: io.NopCloser(r)}).At(offset)
}

// fileBlobs serves blobs as files that are verified already.
func fileBlobs(t testing.TB, m *memoryBlobs) snapshot.Blobs {
	dir := t.TempDir()
	for d, data := range m.blobs {
		if err := os.WriteFile(filepath.Join(dir, d.Hex()), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return snapshot.BlobsFunc(func(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
		f, err := os.Open(filepath.Join(dir, b.Digest.Hex()))
		if err != nil {
			return nil, err
		}
		return &snapshot.Content{R: f, File: f}, nil
	})
}

// spec says what a synthetic snapshot is made of.
type spec struct {
	date     time.Time
	upstream time.Time         // Date of upstream's Release; zero: date
	files    map[string][]byte // beside the ones every snapshot has
	debs     map[string][]byte // path to content; package fields from the file name
	prefix   string            // "" is docker
	suite    string            // "" is bookworm
	verbatim bool
	release  []byte   // upstream's InRelease; nil: one of date upstream
	keys     []string // fingerprints that it is signed with
	unused   string   // a suite that nothing was drawn from: its InRelease alone
	signer   pgp.Signer
	images   []snapshot.Image // their blobs are among files; see carry
	packed   bool             // its root is that of the artifact's documents, and not any
	claimed  time.Time        // what Release and upstream's say of their date if the statement lies; zero: what it says
}

// releaseText is a Release that lists the files.
func releaseText(suite string, date time.Time, description string, files map[string]snapshot.Blob) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "Origin: Example\nLabel: Example\nSuite: %s\nCodename: %s\nDate: %s\n", suite, suite, date.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"))
	fmt.Fprintf(&b, "Architectures: amd64\nComponents: main\nDescription: %s\nAcquire-By-Hash: yes\nSHA256:\n", description)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, " %s %d %s\n", files[name].Digest.Hex(), files[name].Size, name)
	}
	return []byte(b.String())
}

// upstreamsKey is a key that signs InReleases of upstream's, and the site's in some tests.
var upstreamsKey = sync.OnceValue(func() pgp.Signer {
	private, _, err := pgp.NewKey("test", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), nil)
	if err != nil {
		panic(err)
	}
	signer, err := pgp.ReadSigner(private, nil)
	if err != nil {
		panic(err)
	}
	return signer
})

func clearsigned(t testing.TB, text []byte, date time.Time) []byte {
	t.Helper()
	signed, err := upstreamsKey().Clearsign(text, date)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// take makes a snapshot with one suite whose Release,
// Packages.gz and provenance differ by date and debs; unsigned without signer.
func (s spec) take(t testing.TB, m *memoryBlobs) *snapshot.Snapshot {
	t.Helper()
	prefix, name := cmp.Or(s.prefix, "docker"), cmp.Or(s.suite, "bookworm")
	s.upstream = cmp.Or(s.upstream, s.date)
	var rows []snapshot.Row
	add := func(path string, data []byte, p snapshot.Package) snapshot.Blob {
		b := m.put(data)
		rows = append(rows, snapshot.Row{Path: path, Size: b.Size, Digest: b.Digest, Package: p})
		return b
	}
	var names []string
	for path, data := range s.debs {
		add(path, data, packageOfName(path))
		names = append(names, path)
	}
	for path, data := range s.files {
		add(path, data, snapshot.Package{})
	}
	slices.Sort(names)
	text := fmt.Sprint(s.date, names)
	dists := prefix + "/dists/" + name + "/"
	says := func(date time.Time) time.Time { return cmp.Or(s.claimed, date) }
	index := add(dists+"main/binary-amd64/Packages.gz", []byte("packages "+text), snapshot.Package{})
	ownDate := s.date
	if s.verbatim {
		ownDate = s.upstream
	}
	ownText := releaseText(name, says(ownDate), "release "+text, map[string]snapshot.Blob{"main/binary-amd64/Packages.gz": index})
	release := add(dists+"Release", ownText, snapshot.Package{})
	a := snapshot.Archive{Prefix: prefix, Mode: snapshot.Curated, Class: snapshot.Upstream, Format: "deb", Suites: []snapshot.Suite{{
		Name:  name,
		Files: []snapshot.SuiteFile{{Role: snapshot.Release, Blob: release, Date: ownDate, Path: dists + "Release"}},
	}}}
	signature := func(suite *snapshot.Suite, dir string, text []byte, date time.Time) {
		if s.signer == nil {
			return
		}
		in := add(dir+"InRelease", clearsigned(t, text, date), snapshot.Package{})
		gpg := add(dir+"Release.gpg", []byte("detached "+date.String()), snapshot.Package{})
		suite.Files = append(suite.Files, snapshot.SuiteFile{Role: snapshot.InRelease, Blob: in, Date: date, Path: dir + "InRelease"},
			snapshot.SuiteFile{Role: snapshot.ReleaseGPG, Blob: gpg, Date: date, Path: dir + "Release.gpg"})
	}
	signature(&a.Suites[0], dists, ownText, ownDate)
	provenance := func(dir, suite, description string, files map[string]snapshot.Blob) snapshot.SuiteFile {
		signed := s.release
		if signed == nil {
			signed = clearsigned(t, releaseText(suite, says(s.upstream), description, files), says(s.upstream))
		}
		up := add(dir+"InRelease", signed, snapshot.Package{})
		return snapshot.SuiteFile{Role: snapshot.UpstreamInRelease, Blob: up, Date: s.upstream, Path: dir + "InRelease"}
	}
	if s.verbatim {
		a.Mode = snapshot.Verbatim
	} else {
		up := add("upstream/"+dists+"main/binary-amd64/Packages.gz", []byte("upstream packages "+text), snapshot.Package{})
		a.UpstreamKeys = s.keys
		a.Suites[0].Files = append(a.Suites[0].Files, provenance("upstream/"+dists, name, text, map[string]snapshot.Blob{"main/binary-amd64/Packages.gz": up}))
	}
	if s.unused != "" {
		own := prefix + "/dists/" + s.unused + "/"
		text := releaseText(s.unused, says(s.date), "unused", nil)
		suite := snapshot.Suite{Name: s.unused, Files: []snapshot.SuiteFile{
			{Role: snapshot.Release, Blob: add(own+"Release", text, snapshot.Package{}), Date: s.date, Path: own + "Release"},
			provenance("upstream/"+own, s.unused, "unused", nil),
		}}
		signature(&suite, own, text, s.date)
		a.Suites = append(a.Suites, suite)
	}
	sn, err := snapshot.Take(snapshot.Frozen{
		Date: s.date, Encoder: 1, Archives: []snapshot.Archive{a}, Images: s.images, Files: rows, Lock: []byte("mmoci-lock-v1\n"), Blobs: m, Signer: s.signer,
	})
	if err != nil {
		t.Fatal(err)
	}
	sn.Root = snapshot.Sum(sn.StatementBytes)
	if s.packed {
		p, err := artifact.Pack(sn)
		if err != nil {
			t.Fatal(err)
		}
		sn.Root = p.Root()
	}
	return sn
}

func packageOfName(path string) snapshot.Package {
	parts := strings.Split(strings.TrimSuffix(filepath.Base(path), ".deb"), "_")
	if len(parts) != 3 {
		return snapshot.Package{}
	}
	return snapshot.Package{Name: parts[0], Version: parts[1], Architecture: parts[2], Source: filepath.Base(filepath.Dir(path))}
}

// tag is a Source whose tag tests move.
type tag struct {
	name string
	mu   sync.Mutex
	now  *snapshot.Snapshot
	held map[string]*snapshot.Snapshot // by digest and DATE-HEX12
	err  error
	asks int
}

func newTag(sns ...*snapshot.Snapshot) *tag {
	g := &tag{name: "registry.example.org/site/mirror:noble", held: map[string]*snapshot.Snapshot{}}
	for _, sn := range sns {
		g.move(sn)
	}
	return g
}

func (g *tag) move(sn *snapshot.Snapshot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now = sn
	g.held[sn.Root.String()] = sn
	g.held[newServed(sn).name] = sn
}

func (g *tag) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

func (g *tag) asked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asks
}

func (g *tag) Name() string { return g.name }

func (g *tag) Pinned() bool { return strings.Contains(g.name, "@") }

func (g *tag) Resolve(context.Context) (snapshot.Digest, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asks++
	if g.err != nil {
		return snapshot.Digest{}, g.err
	}
	return g.now.Root, nil
}

func (g *tag) Open(_ context.Context, id string) (*snapshot.Snapshot, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return nil, g.err
	}
	if sn, ok := g.held[id]; ok {
		return sn, nil
	}
	return nil, snapshot.ErrNotExist
}

func (g *tag) IDs(context.Context) ([]string, error)             { return nil, nil }
func (g *tag) Tags(context.Context) (map[string][]string, error) { return nil, nil }

// run serves on loopback until the test ends, through the server's own
// listener. Run, which follows, is started too if following.
func run(t testing.TB, o Options, following bool) (*Server, string) {
	t.Helper()
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	addr := make(chan string, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.ListenAndServe(ctx, []string{"127.0.0.1:0"}, func(a []string) { addr <- a[0] }); err != nil {
			t.Error(err)
			close(addr)
		}
	})
	if following {
		wg.Go(func() { s.Run(ctx) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s, "http://" + <-addr
}

// answer is a response, read to its end.
type answer struct {
	status int
	phrase string // of the status line
	header http.Header
	body   []byte
	err    error // of reading the body
}

// ask asks without the client's own ideas about paths: the target goes out as it is written.
func ask(t testing.TB, base, method, target string, header ...string) answer {
	t.Helper()
	c, err := net.Dial("tcp", base[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return exchangeOn(t, c, method, target, append(header, "Connection", "close")...)
}

func prefixes(ps ...string) (list []netip.Prefix) {
	for _, p := range ps {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}
