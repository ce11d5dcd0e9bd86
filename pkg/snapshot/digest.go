package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot/verified"
)

// ErrIntegrity marks bytes that are not what their digest or their signature
// says. It is [archive.ErrIntegrity], so that a caller asks once.
var ErrIntegrity = archive.ErrIntegrity

// ErrNotExist marks a path or digest that a snapshot does not hold, or a blob that the place it should be read from has lost.
var ErrNotExist = errors.New("not in the snapshot")

// Digest is the SHA-256 of a file's bytes. Its zero value is no digest: it says
// that there is none, and no parser gives it for one.
type Digest [sha256.Size]byte

// emptyDigest is the digest of the empty string, which every row of size 0 has.
var emptyDigest = Digest(sha256.Sum256(nil))

const digestScheme = "sha256:"

// ErrPlaceholder marks 64 zeros, which templates and tests write where a digest is to
// be filled in. Taken for a digest they would mean that there is none.
var ErrPlaceholder = errors.New("64 zeros: a placeholder was not filled in")

// ParseDigest reads "sha256:" and 64 lower-case hex digits, not all of them zero;
// anything else is an error. What it gives without error is never the zero value.
func ParseDigest(s string) (Digest, error) {
	digits, ok := strings.CutPrefix(s, digestScheme)
	if !ok {
		return Digest{}, fmt.Errorf("digest %.80q: does not begin with %q", s, digestScheme)
	}
	d, ok := parseHex(digits)
	if !ok {
		return Digest{}, fmt.Errorf("digest %.80q: not 64 lower-case hexadecimal digits", s)
	}
	if d.IsZero() {
		return Digest{}, fmt.Errorf("digest %s...: %w", s[:len(digestScheme)+8], ErrPlaceholder)
	}
	return d, nil
}

// parseHex reads 64 lower-case hex digits.
func parseHex(digits string) (Digest, bool) {
	var d Digest
	if len(digits) != 2*len(d) {
		return Digest{}, false
	}
	for i := range len(digits) {
		c := digits[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return Digest{}, false
		}
		d[i/2] = d[i/2]<<4 | c
	}
	return d, true
}

// String is "sha256:" and [Digest.Hex].
func (d Digest) String() string { return digestScheme + d.Hex() }

// Hex is the digest as 64 lower-case hexadecimal digits.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// IsZero tells the zero value, that is, that there is no digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// Sum is the digest of b.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

// Blob is a digest with its size.
type Blob struct {
	Digest Digest
	Size   int64 // bytes
}

// BlobOf is digest and size of b.
func BlobOf(b []byte) Blob { return Blob{Digest: Sum(b), Size: int64(len(b))} }

// ParseBlob reads what [Blob.String] writes, its two words.
func ParseBlob(digest, size string) (Blob, error) {
	d, err := ParseDigest(digest)
	if err != nil {
		return Blob{}, err
	}
	n, err := parseNumber(size)
	return Blob{Digest: d, Size: n}, err
}

// ListedDigest reads the SHA256 field of a Release or stanza, whose form was
// validated when that was read. A placeholder is an integrity error.
func ListedDigest(hex string) (Digest, error) {
	d, err := ParseDigest(digestScheme + hex)
	if err != nil {
		return d, fmt.Errorf("%w: %w", ErrIntegrity, err)
	}
	return d, nil
}

// ListedBlob is the blob that a Release lists.
func ListedBlob(f archive.ReleaseFile) (Blob, error) {
	d, err := ListedDigest(f.SHA256)
	return Blob{Digest: d, Size: f.Size}, err
}

// SourceRows are the files of a source stanza, their paths relative to the archive.
func SourceRows(st deb.Stanza) ([]Row, error) {
	files, err := archive.SourceFiles(st)
	if err != nil {
		return nil, err
	}
	var out []Row
	for _, f := range files {
		b, err := ListedBlob(f)
		if err != nil {
			return nil, err
		}
		out = append(out, Row{Path: f.Path, Size: b.Size, Digest: b.Digest})
	}
	return out, nil
}

// String is "sha256:<hex> SIZE", as in a statement.
func (b Blob) String() string { return fmt.Sprintf("%s %d", b.Digest, b.Size) }

// check tells why b cannot be a blob.
func (b Blob) check() error { return verified.Check(b.Digest, b.Size) }
