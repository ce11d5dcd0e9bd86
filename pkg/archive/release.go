// Package archive reads, verifies and builds the metadata of Debian archives:
// Release, indices, pool files, .sources. Signatures are made and verified by
// package pgp. Bytes go in, values come out; it opens no file and no connection.
//
// Nothing parsed from a signed file exists without [pgp.How] it was verified.
package archive

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
)

var (
	// ErrIntegrity is [pgp.ErrIntegrity]: what a signature or digest says of bytes is not so.
	ErrIntegrity = pgp.ErrIntegrity
	// ErrExpired is [pgp.ErrExpired]: genuine, and no longer good.
	ErrExpired = pgp.ErrExpired
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

// onlyStanza takes the one stanza that text must consist of.
func onlyStanza(text []byte) (deb.Stanza, error) {
	var only deb.Stanza
	for s, err := range deb.Stanzas(text) {
		if err != nil {
			return nil, err
		}
		if only != nil {
			return nil, errors.New("a second stanza")
		}
		only = s
	}
	if only == nil {
		return nil, errors.New("no stanza")
	}
	return only, nil
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

// fileLists gathers the checksum lists of a Release.
type fileLists struct {
	files        map[string]ReleaseFile
	strong, weak bool // fields seen: SHA256 or SHA512; MD5Sum or SHA1
}

func newFileLists() *fileLists { return &fileLists{files: map[string]ReleaseFile{}} }

// read takes a field in, if it is a checksum list. The weak lists are passed
// over: nothing can be verified by them, so what only they list is not listed.
func (l *fileLists) read(name, value string) (isList bool, err error) {
	var digest func(*ReleaseFile) *string
	switch strings.ToLower(name) {
	case "md5sum", "sha1":
		l.weak = true
		return true, nil
	case "sha256":
		digest = func(f *ReleaseFile) *string { return &f.SHA256 }
	case "sha512":
		digest = func(f *ReleaseFile) *string { return &f.SHA512 }
	default:
		return false, nil
	}
	l.strong = true
	for line := range strings.SplitSeq(value, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := l.add(line, digest); err != nil {
			return true, err
		}
	}
	return true, nil
}

// add reads a line "DIGEST SIZE PATH" for the digest field that is asked for.
func (l *fileLists) add(line string, digest func(*ReleaseFile) *string) error {
	words := strings.Fields(line)
	if len(words) != 3 {
		return fmt.Errorf("line %.80q: not digest, size, path", line)
	}
	size, err := parseSize(words[1])
	if err != nil {
		return fmt.Errorf("line %.80q: %w", line, err)
	}
	path := strings.TrimPrefix(words[2], "./")
	if err := ValidPath(path); err != nil {
		return err
	}
	f := ReleaseFile{Path: path, Size: size}
	*digest(&f) = strings.ToLower(words[0])
	if !isDigest(f.SHA256, 32) || !isDigest(f.SHA512, 64) {
		return fmt.Errorf("digest %.140q of %s", words[0], path)
	}
	old, ok := l.files[path]
	if !ok {
		l.files[path] = f
		return nil
	}
	was, is := digest(&old), *digest(&f)
	if old.Size != size || *was != "" && *was != is {
		return fmt.Errorf("%s is listed twice, differently", path)
	}
	*was = is
	l.files[path] = old
	return nil
}

// merged gives the files in path order.
func (l *fileLists) merged() ([]ReleaseFile, error) {
	switch {
	case !l.strong && l.weak:
		return nil, errors.New("lists its files by MD5 or SHA1 only, which are too weak")
	case !l.strong:
		return nil, errors.New("lists no file: no SHA256 field")
	}
	byPath := func(a, b ReleaseFile) int { return cmp.Compare(a.Path, b.Path) }
	files := slices.SortedFunc(maps.Values(l.files), byPath)
	for _, f := range files {
		if f.SHA256 == "" {
			return nil, fmt.Errorf("%s has no SHA256: %w", f.Path, ErrSHA512Alone)
		}
	}
	return files, nil
}

// isDigest tells whether s is lower-case hex of n bytes, or "".
func isDigest(s string, n int) bool {
	if s == "" {
		return true
	}
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == n && s == strings.ToLower(s)
}

// parseSize reads a size in bytes: digits only, so no sign and no hexadecimal.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > math.MaxInt64 || s[0] == '+' {
		return 0, fmt.Errorf("size %.40q", s)
	}
	return int64(n), nil
}

// dateLayout writes Date and Valid-Until as dak and apt-ftparchive do.
const dateLayout = "Mon, 02 Jan 2006 15:04:05 UTC"

// parseDate reads Date and Valid-Until of a Release: RFC 1123 as written by
// all tools ("Sat, 11 Jul 2026 09:13:40 UTC"), the other two forms of HTTP
// (RFC 9110 section 5.6.7) that apt takes, and numeric zones.
func parseDate(s string) (time.Time, error) {
	words := strings.Fields(s)
	if t, err := time.Parse("Mon Jan 2 15:04:05 2006", strings.Join(words, " ")); err == nil {
		return t, nil // asctime, which has no zone
	}
	if len(words) < 2 {
		return time.Time{}, fmt.Errorf("date %q: unknown form", s)
	}
	zone := words[len(words)-1]
	switch strings.ToUpper(zone) {
	case "UTC", "GMT", "UT", "Z":
		zone = "+0000"
	}
	text := strings.Join(words[:len(words)-1], " ") + " " + zone
	for _, layout := range []string{
		"Mon, 2 Jan 2006 15:04:05 -0700",
		"2 Jan 2006 15:04:05 -0700",
		"Monday, 02-Jan-06 15:04:05 -0700",
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("date %q: unknown form", s)
}
