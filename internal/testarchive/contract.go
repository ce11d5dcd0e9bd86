package testarchive

import (
	"net/http/httptest"
	"testing"
	"time"
)

// Package is a binary package; its .deb is made from it.
type Package struct {
	Name, Version, Architecture string
	Source                      string            // "" is Name
	Component                   string            // "" is main
	Fields                      [][2]string       // Depends and its like, in order
	Content                     map[string]string // files in data.tar, path to content; nil: one file under usr/share/doc
	Compression                 string            // of control and data: xz (default), gz, zst, none
	Size                        int               // pads the content with incompressible bytes to about this size
}

// Suite is a suite of an archive.
type Suite struct {
	Dir                                     string // under dists/; ends in "/" for a flat archive
	Suite, Codename, Origin, Label, Version string // "" of Suite and Codename: Dir
	Date, ValidUntil                        time.Time
	NotAutomatic, ButAutomaticUpgrades      bool
	Components, Architectures               []string // default main, amd64
	Packages                                []Package
	Translations, Contents                  bool     // optional targets are made
	Compressions                            []string // of indices that exist: default xz, gz; plain ones are listed but absent, as in Debian
	NoInRelease                             bool     // Release and Release.gpg only
	ByHash                                  bool
	SHA512                                  bool // lists and stanzas carry SHA512 instead of SHA256
}

// Archive is a value; Build makes its files.
type Archive struct {
	Suites []Suite
	Keys   []*Key // all sign
}

// Key is an OpenPGP signing key.
type Key struct{ key }
type key struct{}

// NewKey makes a key deterministically from its name, so that digests of tests are stable.
func NewKey(name string) *Key { panic("contract") }

// Public is the armoured public half, Private the armoured secret one.
func (k *Key) Public() []byte  { panic("contract") }
func (k *Key) Private() []byte { panic("contract") }

// Fingerprint of the primary key, 40 upper-case hex digits.
func (k *Key) Fingerprint() string { panic("contract") }

// Files is an archive laid out: path relative to the archive root, to bytes.
type Files map[string][]byte

// Build lays the archive out. The same value gives the same bytes.
func (a Archive) Build(t testing.TB) Files { panic("contract") }

// Write writes the files under dir.
func (f Files) Write(t testing.TB, dir string) { panic("contract") }

// Deb makes the bytes of the package's .deb.
func (p Package) Deb(t testing.TB) []byte { panic("contract") }

// Docker is a small archive like docker's own: docker-ce, docker-ce-cli,
// containerd.io in component stable, suite bookworm, needing libc6, libseccomp2, iptables from Debian.
func Docker() Archive { panic("contract") }

// Debian is a small archive with what docker needs, and more: suites bookworm
// and bookworm-updates, loops (libc6 and libgcc-s1), Provides, alternatives, versions with epoch, + and ~.
func Debian() Archive { panic("contract") }

// DockerKey and DebianKey sign the two.
func DockerKey() *Key { panic("contract") }
func DebianKey() *Key { panic("contract") }

// SiteKey is the site's.
func SiteKey() *Key { panic("contract") }

// Server serves files over HTTP on loopback, with faults, and counts.
type Server struct {
	*httptest.Server
	server
}
type server struct{}

// Serve starts a server that ends with the test.
func Serve(t testing.TB, f Files) *Server { panic("contract") }

// Replace exchanges all files at once (upstream moves).
func (s *Server) Replace(f Files) { panic("contract") }

// Requests lists "METHOD path status" in order since the last call.
func (s *Server) Requests() []string { panic("contract") }

// Fault is called before each request; it may return a Broken to misbehave.
func (s *Server) Fault(f func(path string, n int) Broken) { panic("contract") }

// Broken is a way for a response to go wrong; the zero value is none.
type Broken struct {
	Status     int           // answer this instead
	RetryAfter string        // header with it
	CutAfter   int           // close the connection after so many body bytes, if > 0
	Stall      time.Duration // pause before the body
	Flip       bool          // flip a bit in the body
}
