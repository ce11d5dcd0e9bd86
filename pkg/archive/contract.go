package archive

import (
	"errors"
	"time"

	"example.org/mmoci/pkg/deb"
)

// ErrIntegrity marks bytes that contradict what a signature or digest says of
// them: a bad, missing or foreign signature, a mismatching index. The program
// ends with exit code 3 on it.
var ErrIntegrity = errors.New("integrity")

// Kind is how firmly something is believed.
type Kind uint8

const (
	Unverified Kind = iota // not at all: may be served, never written to a host
	Pinned                 // its digest was given by someone trusted (a reference by digest, a verified statement)
	Signed                 // a signature by a trusted key was verified over it
)

// How says how signed text was verified. The zero value is "not at all".
type How struct {
	Kind   Kind
	Signer string    // Signed: fingerprint of the primary key, 40 upper-case hex digits
	Time   time.Time // Signed: creation time of the signature, UTC
	Detail string    // why not, or remarks ("2 of 3 signatures by unknown keys"); for people
}

// Keyring is a set of OpenPGP public keys. Immutable; safe for concurrent use.
type Keyring struct{ keyring }

type keyring struct{} // entities etc.

// ReadKeyring reads one or several public keys, binary or armoured (.gpg,
// .asc; several armoured blocks in one file are taken together).
func ReadKeyring(data []byte) (*Keyring, error) { panic("contract") }

// JoinKeyrings is the union of several keyrings.
func JoinKeyrings(ks ...*Keyring) *Keyring { panic("contract") }

// Fingerprints lists the primary keys, 40 upper-case hex digits, sorted.
func (k *Keyring) Fingerprints() []string { panic("contract") }

// KeyInfo is what a report says of a key.
type KeyInfo struct {
	Fingerprint string
	UserID      string
	Created     time.Time
	Expires     time.Time // zero: never
	Revoked     bool
	// AptRefuses says why apt's gpgv/sqv policy would refuse signatures of this
	// key at the given time ("expired 2026-01-01", "rsa1024"), "" if it would not.
	AptRefuses string
}

// Info describes the key with this primary fingerprint as of time now.
func (k *Keyring) Info(fingerprint string, now time.Time) (KeyInfo, bool) { panic("contract") }

// Armor gives the public keys in ASCII armour, deterministically.
func (k *Keyring) Armor() ([]byte, error) { panic("contract") }

// Trust says by what a signed text may be believed. With neither Keyring nor
// Digest the text comes back Unverified: callers decide what may be done with that.
type Trust struct {
	Keyring *Keyring // any one good signature by one of these keys suffices, every signature is tried
	Digest  string   // "sha256:<hex>" of the whole file (InRelease), believed as given
}

// VerifyClearsigned verifies a clear-signed text (RFC 9580 section 7) and
// returns the text that was signed. The file must begin with the BEGIN line
// and end with the signature: anything before, between or after is an error
// wrapping ErrIntegrity, whatever the trust. With Trust.Keyring == nil the
// signature is not verified (Unverified, or Pinned).
func VerifyClearsigned(data []byte, t Trust) (text []byte, how How, err error) { panic("contract") }

// VerifyDetached is the same for a text with a detached, ASCII-armoured
// signature (Release and Release.gpg). Trust.Digest is the digest of text.
func VerifyDetached(text, sig []byte, t Trust) (How, error) { panic("contract") }

// Release is a parsed Release file. It can only be had with How it was verified.
type Release struct {
	How How

	Origin, Label, Suite, Codename, Version, Description string
	Date                                                 time.Time
	ValidUntil                                           time.Time // zero: not given
	Components, Architectures                            []string
	NotAutomatic, ButAutomaticUpgrades, AcquireByHash    bool
	NoSupportForAll                                      bool // No-Support-for-Architecture-all: Packages

	// Files are the listed files in path order, each once, merged over the
	// checksum fields. "Listed" is not "present".
	Files []ReleaseFile
	// Fields are all fields but the checksum lists, in order.
	Fields []Field
}

// Field is a name and value of a stanza.
type Field struct{ Name, Value string }

// ReleaseFile is one entry of the checksum lists of a Release.
type ReleaseFile struct {
	Path   string // relative to the directory of the Release; validated: no "..", not absolute, no NUL, no empty part
	Size   int64
	SHA256 string // 64 lower-case hex, or ""
	SHA512 string // 128 lower-case hex, or ""
}

// File finds a listed file by path.
func (r *Release) File(path string) (ReleaseFile, bool) { panic("contract") }

// OpenInRelease verifies and parses an InRelease.
func OpenInRelease(data []byte, t Trust) (*Release, error) { panic("contract") }

// OpenRelease verifies and parses a Release with its Release.gpg; sig may be
// nil (a How that is Unverified, or Pinned).
func OpenRelease(text, sig []byte, t Trust) (*Release, error) { panic("contract") }

// CheckSuite tells whether Suite or Codename is the directory under dists/
// that the file was found in; an error wrapping ErrIntegrity if neither is.
// "./"-style flat archives pass.
func (r *Release) CheckSuite(dir string) error { panic("contract") }

// CheckDate refuses a Release from the future (more than ten seconds, as apt
// does) and, if checkValidUntil, one past its Valid-Until. Errors wrap ErrIntegrity.
func (r *Release) CheckDate(now time.Time, checkValidUntil bool) error { panic("contract") }

// PackageFile is what a stanza of a Packages index says of its pool file.
type PackageFile struct {
	Name, Version, Architecture, Source string
	Filename                            string // relative to the archive root, cleaned ("./x.deb" is "x.deb"), validated like ReleaseFile.Path
	Size                                int64
	SHA256, SHA512                      string // lower-case hex, or ""
}

// ParsePackageFile reads and validates these fields of a stanza. Source is
// without version and falls back to Name.
func ParsePackageFile(s deb.Stanza) (PackageFile, error) { panic("contract") }

// Decompress returns the decompressed bytes of an index, by the ending of
// name: .xz, .gz, .bz2, .lzma, .zst, none. More than limit bytes is an error.
func Decompress(name string, data []byte, limit int64) ([]byte, error) { panic("contract") }

// EncoderGeneration numbers which encoder and level made the compressed
// indices of curated archives. It rises whenever their bytes would change.
const EncoderGeneration = 1

// Curated is what the Release of a curated suite is built from.
type Curated struct {
	Upstream      *Release // nil for class site
	Prefix, Suite string
	Date          time.Time
	ValidUntil    time.Time // zero: none
	Components    []string
	Architectures []string
	Origin, Label string // override; "" keeps upstream's (for class site: "mmoci", prefix)
	// Stanzas by component and architecture, in final order; an "all" package
	// is given in each architecture.
	Stanzas map[ComponentArch][]deb.Stanza
}

// ComponentArch names an index: component and architecture ("source" for Sources).
type ComponentArch struct{ Component, Architecture string }

// BuiltFile is a file of a curated suite, relative to dists/SUITE.
type BuiltFile struct {
	Path string
	Data []byte
}

// Build makes the indices (Packages.gz; Sources.gz) and the Release text of
// a curated suite. Deterministic: the same input gives the same bytes. The
// Release lists the plain name of each index as well, though it is not stored
// (apt sees no package otherwise), gz, and Acquire-By-Hash: yes.
func Build(c Curated) (files []BuiltFile, release []byte, err error) { panic("contract") }

// Less orders stanzas of a curated index: name, version, architecture.
func Less(a, b PackageFile) int { panic("contract") }

// Signer signs with the site's keys. Safe for concurrent use.
type Signer interface {
	// Clearsign returns the clear-signed text, signature time t. Equal input gives equal bytes.
	Clearsign(text []byte, t time.Time) ([]byte, error)
	// Detach returns an ASCII-armoured detached signature.
	Detach(text []byte, t time.Time) ([]byte, error)
	// Public is the public half.
	Public() *Keyring
}

// NewKey makes an Ed25519 (EdDSA, algorithm 22) signing key, v4, dated created.
func NewKey(userID string, created time.Time, passphrase []byte) (private, public []byte, err error) {
	panic("contract")
}

// ReadSigner reads an armoured or binary secret key; passphrase is asked for
// only when it is locked. Several secret keys in one file all sign.
func ReadSigner(data []byte, passphrase func() ([]byte, error)) (Signer, error) { panic("contract") }
