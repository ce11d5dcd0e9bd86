package rpm

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
)

// Checksum is a checksum as metadata has it. The zero value is none.
type Checksum struct {
	Type string // "sha1", "sha224", "sha256", "sha384" or "sha512"
	Hex  string // lower case
}

// SHA256 is the type of checksum that is the name of a blob at the same time.
const SHA256 = "sha256"

// ParseChecksum reads a checksum by the names of createrepo_c, where "sha" is SHA-1. MD5 is refused: bytes to a given MD5
// can be made, so it is none.
func ParseChecksum(kind, text string) (Checksum, error) {
	if kind == "sha" {
		kind = "sha1"
	}
	c := Checksum{kind, text}
	h := c.New()
	if h == nil {
		return Checksum{}, fmt.Errorf("%w: a checksum of type %q, which proves nothing or is not known", ErrMalformed, shorten(kind))
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != h.Size() {
		return Checksum{}, fmt.Errorf("%w: %q is no %s", ErrMalformed, shorten(text), kind)
	}
	c.Hex = hex.EncodeToString(b)
	return c, nil
}

// New is a hash of the checksum's type; nil of the zero value.
func (c Checksum) New() hash.Hash {
	switch c.Type {
	case "sha1":
		return sha1.New()
	case "sha224":
		return sha256.New224()
	case SHA256:
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// Is tells whether h, which comes of New and has read all bytes, has this sum.
func (c Checksum) Is(h hash.Hash) bool { return hex.EncodeToString(h.Sum(nil)) == c.Hex }

// String is "sha256:HEX".
func (c Checksum) String() string { return c.Type + ":" + c.Hex }
