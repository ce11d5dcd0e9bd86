package config

import (
	"errors"
	"fmt"
	"time"
)

// ErrUsage marks configuration that cannot be used (exit code 2).
var ErrUsage = errors.New("configuration")

// Position is a place in an input, for messages: "mmoci.yaml:12", "--package".
type Position struct {
	File string
	Line int // 0: not a file
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Plan is everything that a command may need to know, its paths made
// absolute or relative to the working directory, its values validated.
type Plan struct {
	File     string // the mmoci.yaml it came from, "" if from flags alone
	Ref      string // reference, as written
	Sign     *Sign  // nil: unsigned
	Trust    []string
	Archives []Archive
	Serve    Serve
	// Recommends are part of the closure.
	Recommends bool
	ValidFor   time.Duration // valid-until = date input + ValidFor; 0: none
}

// Sign says how the site signs.
type Sign struct {
	Key            string   // file
	PassphraseFile string   // file; else the environment's MMOCI_SIGN_PASSPHRASE
	PassphraseCmd  []string // prints the passphrase
	Command        []string // signs in place of Key: an agent, an HSM
}

// Archive is one archive to be frozen.
type Archive struct {
	Position      Position
	Prefix        string
	Verbatim      bool
	URLs          []string // in order of preference; a directory is a file path. Empty for debs
	Suites        []string // a flat one ends in "/"
	Components    []string
	Architectures []string
	SignedBy      string // keyring file
	SignedByURL   string // a key from the network, pinned by fingerprint in the lock
	Debs          string // directory of own .debs (class site)
	// Exactly one of these three says what is selected from a curated archive.
	Packages []Query // the queries, of packages: and packages-from:
	None     bool    // only what the closure draws
	All      bool    // packages: all

	CheckValidUntil bool // default true
	Languages       []string
	Drop            []string // optional targets left out of a verbatim archive, by name: contents, dep11, translation, ...
	WithSources     bool
	Origin, Label   string // override
	CAFile          string
	ClientCert      string // PEM with certificate and key
	AuthFile        string // netrc / apt auth.conf syntax
}

// Query is a package query where it was written.
type Query struct {
	Text string
	Position
}

// Serve is the serve: section.
type Serve struct {
	Listen []string
	Policy string
	State  string
}

// Load reads mmoci.yaml. Unknown keys, missing keys, nulls and empty lists are
// errors (ErrUsage) with file, line and what to write instead.
func Load(path string) (*Plan, error) { panic("contract") }

// Find returns the mmoci.yaml to use when none is named: of the working
// directory, else of /etc/mmoci; "" if there is none.
func Find() string { panic("contract") }

// Validate holds for a plan from flags what Load holds for a file: prefixes
// valid, not reserved, not twice; each archive complete. file is for messages.
func (p *Plan) Validate() error { panic("contract") }

// LoadSources reads a mini-mirror sources/ tree: PREFIX/NAME/{source.txt,packages.txt}.
func LoadSources(dir string) (*Plan, error) { panic("contract") }

// Lock is a selection resolved to exact versions and digests (SPEC section 6).
type Lock struct {
	Date     time.Time
	Archives []LockArchive
}

// LockArchive is an archive's share of a lock.
type LockArchive struct {
	Prefix, Mode, Class string
	KeyURLs             []LockKey
	Releases            []LockRelease
	Indices             []LockIndex
	Packages            []LockPackage
}

type LockKey struct{ Fingerprint, URL string }

type LockRelease struct {
	Suite, Digest string
	Date          time.Time
}

type LockIndex struct{ Suite, Path, Digest string }

type LockPackage struct {
	Suite, Component, Name, Version, Architecture, Digest string
	Size                                                  int64
	Reason                                                string
}

// ParseLock reads a lock with comments and in any order; name is for messages.
func ParseLock(name string, data []byte) (*Lock, error) { panic("contract") }

// Encode is the canonical form, which is hashed into a snapshot.
func (l *Lock) Encode() []byte { panic("contract") }

// Format is the form for people: canonical, with comments and a heading.
func (l *Lock) Format() []byte { panic("contract") }
