package testarchive

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Suite is a suite of an archive.
type Suite struct {
	Dir                                     string // under dists/; ends in "/" for a flat archive ("./" is its root)
	Suite, Codename, Origin, Label, Version string // "" of Suite and Codename: Dir
	Date, ValidUntil                        time.Time
	NotAutomatic, ButAutomaticUpgrades      bool
	Components, Architectures               []string // default main, amd64
	ComponentPrefix                         string   // "updates/" in Debian's security archive: in the Components field only, never in a path
	Packages                                []Package
	Translations, Contents                  bool     // optional targets are made
	Compressions                            []string // of indices that exist: xz, gz, bz2 is not made, plain; default xz, gz. The plain name is always listed, as in Debian
	NoInRelease                             bool     // Release and Release.gpg only
	ByHash                                  bool
	SHA512                                  bool // lists and stanzas carry SHA512 instead of SHA256

	// AsDebian adds what Debian's own suites list besides: "all" in
	// Architectures with its own index (No-Support-for-Architecture-all), a
	// stub Release beside each index, Sources, a Packages.diff/Index, and
	// installer checksums, udebs and bz2 indices that are listed but absent.
	AsDebian bool

	// Sources is the Sources index of a flat archive; "" is none. The files it names are the caller's.
	Sources string

	// Pool is the directory of the pool files; "" is Debian's layout,
	// pool/COMPONENT/s/SOURCE/. Otherwise they lie in POOL/COMPONENT/ARCHITECTURE/,
	// as docker's do under dists/SUITE/pool/.
	Pool string

	// The edits make a hostile archive whose digests and signatures are right
	// nevertheless; nil is none. EditIndex gets the plain bytes of each index
	// before it is compressed and listed, path relative to the suite;
	// EditRelease the text of Release before it is signed; EditSigned the
	// finished InRelease.
	EditIndex   func(path string, data []byte) []byte
	EditRelease func(text []byte) []byte
	EditSigned  func(inRelease []byte) []byte

	// Sign replaces the signature of InRelease; nil is the usual one.
	Sign func(t testing.TB, text []byte, at time.Time) []byte
}

// Archive is a value; Build makes its files.
type Archive struct {
	Suites []Suite
	Keys   []*Key // all sign; none: the archive is unsigned, Release only
}

// Files is an archive laid out: path relative to the archive root, to bytes.
type Files map[string][]byte

// DefaultDate is the Date of a Suite that has none.
func DefaultDate() time.Time { return time.Date(2026, 1, 10, 8, 0, 0, 0, time.UTC) }

// Build lays the archive out. The same value gives the same bytes.
func (a Archive) Build(t testing.TB) Files {
	t.Helper()
	f, made := Files{}, map[string]Package{}
	for _, s := range a.Suites {
		b := builder{t: t, suite: s.withDefaults(), keys: a.Keys, files: f, made: made}
		b.build()
	}
	return f
}

// Suite returns the suite in the directory dir, to be changed in place.
func (a Archive) Suite(t testing.TB, dir string) *Suite {
	t.Helper()
	for i := range a.Suites {
		if a.Suites[i].Dir == dir {
			return &a.Suites[i]
		}
	}
	t.Fatalf("testarchive: no suite %s", dir)
	return nil
}

// Package returns the first package of that name, to be changed in place.
func (s *Suite) Package(t testing.TB, name string) *Package {
	t.Helper()
	for i := range s.Packages {
		if s.Packages[i].Name == name {
			return &s.Packages[i]
		}
	}
	t.Fatalf("testarchive: no package %s in %s", name, s.Dir)
	return nil
}

// Clone is a copy whose suites and packages can be changed without changing a.
func (a Archive) Clone() Archive {
	a.Suites = slices.Clone(a.Suites)
	for i := range a.Suites {
		a.Suites[i].Packages = slices.Clone(a.Suites[i].Packages)
	}
	a.Keys = slices.Clone(a.Keys)
	return a
}

// Write writes the files under dir.
func (f Files) Write(t testing.TB, dir string) {
	t.Helper()
	for _, path := range f.Paths() {
		name := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f[path], 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Paths lists the paths in order.
func (f Files) Paths() []string {
	paths := make([]string, 0, len(f))
	for p := range f {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// Clone is a copy; the bytes are shared and must not be written to.
func (f Files) Clone() Files {
	c := make(Files, len(f))
	for p, b := range f {
		c[p] = b
	}
	return c
}

// Add puts all files of g below prefix ("" or ending in "/") and returns f.
func (f Files) Add(prefix string, g Files) Files {
	for p, b := range g {
		f[prefix+p] = b
	}
	return f
}

// Flip returns the files with one bit changed in the middle of path.
func (f Files) Flip(t testing.TB, path string) Files {
	t.Helper()
	b, ok := f[path]
	if !ok || len(b) == 0 {
		t.Fatalf("testarchive: nothing to flip in %s", path)
	}
	c := f.Clone()
	c[path] = Flipped(b, len(b)/2)
	return c
}

func Flipped(b []byte, at int) []byte {
	c := slices.Clone(b)
	c[at] ^= 1
	return c
}
