// Package config turns mmoci.yaml into one [Plan], and reads and writes the lock. Bad input is an error with file and
// line; nothing is read from a network. Rooms below read other inputs.
package config

import (
	"path/filepath"
	"time"

	"example.org/mmoci/internal/config/document"
)

// Plan is everything that a command may need to know, its paths made
// absolute or relative to the working directory, its values validated.
type Plan struct {
	File  string // the mmoci.yaml it came from, "" if from flags alone
	Ref   string // reference, as written
	Sign  *Sign  // nil: unsigned
	Trust []string
	// Builders are whose builds of sources count, Sources the places where builds are looked for.
	Builders Builders
	Sources  []string
	Lock     string // file that every push obeys; "": none
	// Packages are asked for over all archives, as apt would choose among them;
	// an archive's own list is asked of that archive alone.
	Packages []Query
	// CommonList is where such a list is written, for messages.
	CommonList string
	Archives   []Archive
	Others     []Other `json:",omitempty"` // the archives that are no Debian archives
	// Images are container images that travel with the snapshots, ImagesTo the repository
	// below which they are put at a registry; "": REF's own, and "/images".
	Images         []Image  `json:",omitempty"`
	ImagesTo       string   `json:",omitempty"`
	ImagePlatforms []string `json:",omitempty"` // of images that name none
	Serve          Serve
	// Bundle are architectures whose static mmoci goes into the snapshot, with bootstrap.sh.
	Bundle []string
	// Bundled are the files of Bundle, found by the program.
	Bundled []Bundled `json:",omitempty"`
	// Recommends are part of the closure.
	Recommends bool
	ValidFor   time.Duration // valid-until = date input + ValidFor; 0: none
}

// Bundled is a file that a snapshot bundles for hosts that have nothing.
type Bundled struct {
	Name   string // architecture, or bootstrap.sh
	File   string // where it is; "" if it is part of the program
	Digest string // sha256:HEX
	Size   int64
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
	Position      document.Position
	Prefix        string
	Verbatim      bool
	URLs          []string // in order of preference; a directory is a file path. Empty for debs
	Mirrors       []string `json:",omitempty"` // those of URLs that are mirrors of the others
	Suites        []string // a flat one ends in "/"
	Components    []string
	Architectures []string
	SignedBy      string // keyring file
	SignedByURL   string // a key from the network, pinned by fingerprint in mmoci.keys
	Debs          string // directory of own .debs (class site)
	// Files are .debs by their URL, of class site as those of Debs; who pushes puts them into a directory.
	Files []File `json:",omitempty"`
	// Sources are builds, of class site as Debs: identities, or directories with a pkg.yaml. Who pushes puts them into the directory
	// Debs, and what is known of each .deb by its SHA256 into BuiltOf.
	Sources []Query           `json:",omitempty"`
	BuiltOf map[string]string `json:",omitempty"`
	// Dated is the timestamp of an archive as a service keeps it, "" for any other. Nothing is taken of it
	// but the files that Packages name.
	Dated string `json:",omitempty"`
	// Exactly one of these three says what is selected from a curated archive.
	Packages []Query // the queries, of packages: and packages-from:
	None     bool    // only what others need of it
	All      bool    // packages: all

	CheckValidUntil bool // default true
	// UnnamedRelease takes a Release that names neither Suite nor Codename, as apt
	// does with a warning; "unnamed-release: yes".
	UnnamedRelease bool
	// SkipPhased leaves out versions that upstream still holds back from some
	// hosts (Phased-Update-Percentage below 100); "phased: no".
	SkipPhased  bool
	Languages   []string
	Drop        []string // optional targets left out of a verbatim archive, by name: contents, dep11, translation, ...
	WithSources bool
	// BuildDepends are sources, NAME or NAME (= VERSION), of which all is taken that their builds need.
	BuildDepends []Query `json:",omitempty"`
	// BuiltSources takes these sources, and no others unless WithSources is set; "with-sources: built".
	BuiltSources  bool   `json:",omitempty"`
	Origin, Label string // override
	Codename      string // override, of the mini-mirror YAML form
	CAFile        string
	ClientCert    string // PEM with certificate and key
	AuthFile      string // netrc / apt auth.conf syntax

	upstreams []string // those of URLs that are no mirrors, or would be by another strategy
}

// NeedsSources tells whether the archive's Sources indices are read.
func (a *Archive) NeedsSources() bool { return a.TakesSources() || len(a.BuildDepends) > 0 }

// TakesSources tells whether a snapshot gets sources of the archive.
func (a *Archive) TakesSources() bool { return a.WithSources || a.BuiltSources }

// Query is a package query where it was written.
type Query struct {
	Text string
	document.Position
	// Exact is what a list of exact versions says; nil of a query.
	Exact *Exact `json:",omitempty"`
}

// Exact is a package as a list of exact versions names it.
type Exact struct {
	Name, Version string
	Pool          string // path of its file in the archive; "": any
	URL           string // as the list has it; "": none
}

// File is a .deb that a list names by its URL.
type File struct {
	document.Position
	Name, Version string
	URL           string   // as the list has it
	URLs          []string // it and its mirrors, in order of preference; the last parts are the same

	upstreams, mirrors []string
}

// Serve is the serve: section.
type Serve struct {
	Listen  []string
	Policy  string
	Mirrors string // file of the mirrors that clients are sent to
	State   string
	// Registry: images and snapshots are answered for at /v2/, too.
	Registry bool
	// FreshFor is up to which age pages show a snapshot or suite as fresh, StaleAfter from which one as too old; 0: the server's own.
	FreshFor, StaleAfter time.Duration
}

// KeyPinsFile is the name of the file of pinned keys, beside the configuration.
const KeyPinsFile = "mmoci.keys"

// KeyPinsPath is where the pins of keys from the network are kept: beside the
// configuration, or beside a tree of sources; in the working directory if there is neither.
func (p *Plan) KeyPinsPath() string {
	if p.File == "" {
		return KeyPinsFile
	}
	return filepath.Join(filepath.Dir(filepath.Clean(p.File)), KeyPinsFile)
}
