package archive

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
)

// Release is a parsed Release file. It can only be had with How it was verified.
type Release struct {
	How pgp.How

	Origin, Label, Suite, Codename, Version, Description string
	Date                                                 time.Time // zero: not given
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
	SHA256 string // 64 lower-case hex
	SHA512 string // 128 lower-case hex, or ""
}

// File finds a listed file by path.
func (r *Release) File(path string) (ReleaseFile, bool) {
	i, ok := slices.BinarySearchFunc(r.Files, path, func(f ReleaseFile, p string) int { return cmp.Compare(f.Path, p) })
	if !ok {
		return ReleaseFile{}, false
	}
	return r.Files[i], true
}

// Field returns the value of a field that is not a checksum list, its name in
// any letter case; "" if there is none.
func (r *Release) Field(name string) string {
	for _, f := range r.Fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// OpenInRelease verifies and parses an InRelease.
func OpenInRelease(data []byte, t pgp.Trust) (*Release, error) {
	text, how, err := pgp.VerifyClearsigned(data, t)
	if err != nil {
		return nil, err
	}
	return parseRelease(text, how)
}

// OpenRelease verifies and parses a Release with its Release.gpg; sig may be
// nil (a How that is Unverified, or Pinned).
func OpenRelease(text, sig []byte, t pgp.Trust) (*Release, error) {
	how, err := pgp.VerifyDetached(text, sig, t)
	if err != nil {
		return nil, err
	}
	return parseRelease(bytes.Clone(text), how) // the caller may go on using text, r has views of it
}

// parseRelease reads the one stanza that a Release is (the fields are those of
// apt's debReleaseIndex::Load). What it refuses it refuses as ErrIntegrity: under a
// good signature there is no innocent explanation for it.
func parseRelease(text []byte, how pgp.How) (*Release, error) {
	r := &Release{How: how}
	if err := r.parse(text); err != nil {
		return nil, fmt.Errorf("%w: Release: %w", ErrIntegrity, err)
	}
	if err := how.CheckDated(r.Date); err != nil {
		return nil, fmt.Errorf("Release: %w", err)
	}
	return r, nil
}

func (r *Release) parse(text []byte) error {
	if err := noControl(text); err != nil {
		return err
	}
	s, err := onlyStanza(text)
	if err != nil {
		return err
	}
	return r.read(s)
}

// noControl refuses the control characters that no Release has reason to hold.
func noControl(text []byte) error {
	for _, c := range text {
		if c < 0x20 && c != '\n' && c != '\t' && c != '\r' || c == 0x7f {
			return fmt.Errorf("control character 0x%02x", c)
		}
	}
	return nil
}

// read fills r from the fields of the stanza.
func (r *Release) read(s deb.Stanza) error {
	lists := newFileLists()
	for name, value := range s.Fields() {
		isList, err := lists.read(name, value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if isList {
			continue
		}
		r.Fields = append(r.Fields, Field{name, value})
		if err := r.set(name, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	var err error
	r.Files, err = lists.merged()
	return err
}

// set takes over a field that the program knows.
func (r *Release) set(name, value string) (err error) {
	switch strings.ToLower(name) {
	case "origin":
		r.Origin = value
	case "label":
		r.Label = value
	case "suite":
		r.Suite = value
	case "codename":
		r.Codename = value
	case "version":
		r.Version = value
	case "description":
		r.Description = value
	case "components":
		r.Components = strings.Fields(value)
	case "architectures":
		r.Architectures = strings.Fields(value)
	case "date":
		r.Date, err = parseDate(value)
	case "valid-until":
		r.ValidUntil, err = parseDate(value)
	case "notautomatic":
		r.NotAutomatic = isYes(value)
	case "butautomaticupgrades":
		r.ButAutomaticUpgrades = isYes(value)
	case "acquire-by-hash":
		r.AcquireByHash = isYes(value)
	case "no-support-for-architecture-all":
		r.NoSupportForAll = slices.Contains(strings.Fields(value), "Packages")
	}
	return err
}

// isYes reads a truth value as apt's StringToBool does.
func isYes(s string) bool {
	switch strings.ToLower(s) {
	case "yes", "true", "with", "on", "enable", "1":
		return true
	}
	return false
}

// CheckSuite tells whether Suite or Codename is the directory under dists/
// that the file was found in; an error wrapping ErrIntegrity if neither is.
// "./"-style flat archives pass. Like apt, it takes "buster" for the directory
// "buster/updates" of older security archives.
func (r *Release) CheckSuite(dir string) error {
	if dir == "" || strings.HasSuffix(dir, "/") || dir == "." {
		return nil
	}
	for _, name := range []string{r.Suite, r.Codename} {
		if name != "" && (name == dir || name+"/updates" == dir) {
			return nil
		}
	}
	if r.Unnamed() {
		return fmt.Errorf("%w: the Release names neither Suite nor Codename, so its signer does not say that it is of %q", ErrIntegrity, dir)
	}
	return fmt.Errorf("%w: Release of suite %q, codename %q where %q was asked for", ErrIntegrity, r.Suite, r.Codename, dir)
}

// Unnamed tells whether the Release has neither Suite nor Codename. Under one
// key, such Releases of two suites cannot be told apart by what is signed.
func (r *Release) Unnamed() bool { return r.Suite == "" && r.Codename == "" }

// maxClockSkew is how far a Release may be ahead of the clock, as with apt.
const maxClockSkew = 10 * time.Second

// CheckDate refuses a Release from the future (more than ten seconds, as apt
// does) and, if checkValidUntil, one past its Valid-Until or past the expiry
// of its signature. The former is an ErrIntegrity, the latter two are ErrExpired.
func (r *Release) CheckDate(now time.Time, checkValidUntil bool) error {
	if ahead := r.Date.Sub(now); ahead > maxClockSkew {
		return fmt.Errorf("%w: the Release is of %s, %s in the future: the clock of this host is at %s; set it",
			ErrIntegrity, r.Date.Format(dateLayout), ahead.Truncate(time.Second), now.UTC().Format(dateLayout))
	}
	if !checkValidUntil {
		return nil
	}
	if !r.ValidUntil.IsZero() && now.After(r.ValidUntil) {
		return fmt.Errorf("%w: Release was valid until %s only", ErrExpired, r.ValidUntil.Format(dateLayout))
	}
	if t := r.How.Expires; !t.IsZero() && now.After(t) {
		return fmt.Errorf("%w: signature of the Release expired %s", ErrExpired, t.Format(dateLayout))
	}
	return nil
}
