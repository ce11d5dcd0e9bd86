package snapshot

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxPath is the length limit of a path, in bytes (SPEC section 3).
const MaxPath = 1024

// maxPrefix is the length limit of a prefix, in bytes.
const maxPrefix = 64

// Reasons why a path is refused. They are values, so that a table with many
// bad rows costs nothing to refuse.
var (
	errPathEmpty   = errors.New("empty")
	errPathLong    = fmt.Errorf("longer than %d bytes", MaxPath)
	errPathPart    = errors.New(`has an empty, "." or ".." part`)
	errPathControl = errors.New("has a control character")
	errPathUTF8    = errors.New("not valid UTF-8")
)

// ValidPath tells why p is no path of a snapshot (SPEC section 3): relative,
// separated by slashes, valid UTF-8, at most [MaxPath] bytes, without empty, "." or
// ".." parts and control characters. nil if it is one.
func ValidPath(p string) error {
	if err := checkPath(p, 0); err != nil {
		return fmt.Errorf("path %.200q: %w", p, err)
	}
	return nil
}

// checkPath is ValidPath for the parts of p that begin at from and later. It
// returns constant errors and looks at each byte once.
func checkPath[T string | []byte](p T, from int) error {
	if len(p) == 0 {
		return errPathEmpty
	}
	if len(p) > MaxPath {
		return errPathLong
	}
	ascii, part := true, from
	for i := from; i < len(p); i++ {
		switch c := p[i]; {
		case c == '/':
			if badPart(p, part, i) {
				return errPathPart
			}
			part = i + 1
		case c < 0x20 || c == 0x7f:
			return errPathControl
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if badPart(p, part, len(p)) {
		return errPathPart
	}
	if !ascii && !utf8.ValidString(string(p[from:])) {
		return errPathUTF8
	}
	return nil
}

func badPart[T string | []byte](p T, from, to int) bool {
	switch to - from {
	case 0:
		return true
	case 1:
		return p[from] == '.'
	case 2:
		return p[from] == '.' && p[from+1] == '.'
	}
	return false
}

// upstreamView is the first part of the paths of provenance and of the upstream view.
const upstreamView = "upstream"

// reservedPrefix tells the names that the server uses for itself.
func reservedPrefix(p string) bool {
	switch p {
	case "snapshot", upstreamView, "setup", "healthz", "readyz", "metrics", "mmoci", "v2":
		return true
	}
	return false
}

// ValidPrefix tells why p cannot be the prefix of an archive (SPEC section 3):
// [a-z0-9][a-z0-9.+-]{0,63} and not reserved. nil if it can.
func ValidPrefix(p string) error {
	if p == "" || len(p) > maxPrefix {
		return fmt.Errorf("prefix %.80q: not 1 to %d bytes long", p, maxPrefix)
	}
	for i := range len(p) {
		alnum := 'a' <= p[i] && p[i] <= 'z' || '0' <= p[i] && p[i] <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune(".+-", rune(p[i]))) {
			return fmt.Errorf("prefix %q: not of the form [a-z0-9][a-z0-9.+-]*", p)
		}
	}
	if reservedPrefix(p) {
		return fmt.Errorf("prefix %q: reserved", p)
	}
	return nil
}

// IsFlat tells a flat archive's suite: its name ends with a slash.
func IsFlat(suite string) bool { return strings.HasSuffix(suite, "/") }

// SuiteDir is the directory of a suite's Release below its archive's prefix, without a
// final slash: PREFIX/dists/SUITE, or PREFIX/PATH of a flat one ("./" is PREFIX itself).
func SuiteDir(prefix, suite string) string {
	if !IsFlat(suite) {
		return prefix + "/dists/" + suite
	}
	if suite == "./" {
		return prefix
	}
	return prefix + "/" + strings.TrimSuffix(suite, "/")
}

// validSuite tells why name cannot be the name of a suite: it has to be a path
// of section 3 with the final slash of a flat one removed, and one field of a line.
func validSuite(name string) error {
	if name == "./" {
		return nil
	}
	if strings.Contains(name, " ") {
		return fmt.Errorf("suite %.80q: has a blank", name)
	}
	if err := checkPath(strings.TrimSuffix(name, "/"), 0); err != nil {
		return fmt.Errorf("suite %.80q: %w", name, err)
	}
	return nil
}
