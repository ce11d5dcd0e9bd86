package deb

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Version is a parsed version, [epoch:]upstream[-revision] (deb-version(7)).
type Version struct {
	Epoch              uint32
	Upstream, Revision string
}

// What dpkg refuses in a version; everything else it only warns of.
var (
	errVersionEmpty    = errors.New("empty version")
	errVersionBlank    = errors.New("blank or control character inside")
	errEpochNumber     = errors.New("epoch is no number")
	errEpochNegative   = errors.New("negative epoch")
	errEpochBig        = errors.New("epoch over 2147483647")
	errUpstreamEmpty   = errors.New("no upstream version")
	errRevisionMissing = errors.New("empty revision")
)

// maxEpoch is the largest epoch that dpkg takes (INT_MAX).
const maxEpoch = math.MaxInt32

// ParseVersion reads a version as leniently as dpkg does ("v1.2.3" is odd but
// taken; "", "1.0-", a negative or huge epoch are errors). Blanks around it are
// dropped. Unlike dpkg, which warns, it refuses control characters. The parts
// share the memory of s.
func ParseVersion(s string) (Version, error) {
	v, err := splitVersion(s)
	if err != nil {
		return Version{}, fmt.Errorf("version %q: %w", s, err)
	}
	return v, nil
}

// ValidVersion tells whether s may be the version of a package: one that dpkg neither
// refuses nor warns of for a character, that is letters, digits and . + ~ : - alone,
// without blanks around it. ParseVersion is for what need only be compared.
func ValidVersion(s string) error {
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && !isLetter(c) && strings.IndexByte(".+~:-", c) < 0 {
			return fmt.Errorf("version %.80q: character %q, which dpkg allows in none", s, s[i:i+1])
		}
	}
	_, err := ParseVersion(s)
	return err
}

// splitVersion is ParseVersion without context and without allocation. Beside
// an error it gives the parts that Compare orders such a string by.
func splitVersion(s string) (Version, error) {
	s = trimBlanks(s)
	var v Version
	var bad error
	rest := s
	if i := strings.IndexByte(s, ':'); i >= 0 {
		epoch, err := parseEpoch(s[:i])
		if err == nil {
			v.Epoch, rest = epoch, s[i+1:]
		}
		bad = err
	}
	v.Upstream = rest
	if i := strings.LastIndexByte(rest, '-'); i >= 0 {
		v.Upstream, v.Revision = rest[:i], rest[i+1:]
		if v.Revision == "" && bad == nil {
			bad = errRevisionMissing
		}
	}
	switch {
	case s == "":
		bad = errVersionEmpty
	case bad == nil && v.Upstream == "":
		bad = errUpstreamEmpty
	case bad == nil && hasControl(s):
		bad = errVersionBlank
	}
	return v, bad
}

// parseEpoch reads what stands before the colon by the rules of strtol(3),
// which dpkg uses: a sign is allowed, "-0" is zero.
func parseEpoch(s string) (uint32, error) {
	digits := strings.TrimPrefix(s, "+")
	negative := false
	if len(digits) == len(s) {
		digits = strings.TrimPrefix(s, "-")
		negative = len(digits) < len(s)
	}
	if digits == "" {
		return 0, errEpochNumber
	}
	var n uint64
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return 0, errEpochNumber
		}
		n = min(n*10+uint64(digits[i]-'0'), maxEpoch+1)
	}
	switch {
	case negative && n > 0:
		return 0, errEpochNegative
	case n > maxEpoch:
		return 0, errEpochBig
	}
	return uint32(n), nil
}

// Compare orders two parsed versions like the function Compare.
func (v Version) Compare(w Version) int {
	if c := cmp.Compare(v.Epoch, w.Epoch); c != 0 {
		return c
	}
	if c := comparePart(v.Upstream, w.Upstream); c != 0 {
		return c
	}
	return comparePart(v.Revision, w.Revision)
}

// Compare orders two version strings by deb-version(7): -1, 0 or +1. It does
// not allocate. Strings that do not parse are compared by the same algorithm:
// an epoch that is not a number belongs to the upstream part. Equal does not
// mean the same spelling: 1.0, 0:1.0, 1.00 and 1.0-0 are equal.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	v, _ := splitVersion(a) // the parts are there whatever the error
	w, _ := splitVersion(b)
	return v.Compare(w)
}

// comparePart orders upstream parts or revisions: runs of non-digits by
// order, runs of digits by number, in turn.
func comparePart(a, b string) int {
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		for i < len(a) && !isDigit(a[i]) || j < len(b) && !isDigit(b[j]) {
			x, y := orderAt(a, i), orderAt(b, j)
			if x != y {
				return cmp.Compare(x, y)
			}
			i++
			j++
		}
		for i < len(a) && a[i] == '0' {
			i++
		}
		for j < len(b) && b[j] == '0' {
			j++
		}
		first := 0
		for i < len(a) && isDigit(a[i]) && j < len(b) && isDigit(b[j]) {
			if first == 0 {
				first = cmp.Compare(a[i], b[j])
			}
			i++
			j++
		}
		switch {
		case i < len(a) && isDigit(a[i]): // the longer number is the larger
			return 1
		case j < len(b) && isDigit(b[j]):
			return -1
		case first != 0:
			return first
		}
	}
	return 0
}

// orderAt ranks the byte at i among non-digits: '~' before the end, the end
// (or a digit) before letters, letters before the rest.
func orderAt(s string, i int) int {
	if i >= len(s) {
		return 0
	}
	switch c := s[i]; {
	case isDigit(c):
		return 0
	case isLetter(c):
		return int(c)
	case c == '~':
		return -1
	default:
		return int(c) + 256
	}
}

func isDigit(c byte) bool  { return c-'0' < 10 }
func isLetter(c byte) bool { return c|0x20-'a' < 26 }
func isBlank(c byte) bool  { return c == ' ' || c == '\t' }

// isSpace is C's isspace in the C locale, by which dpkg and apt skip.
func isSpace(c byte) bool { return c == ' ' || c-'\t' < 5 }

// trimBlanks drops blanks and tabs at both ends.
func trimBlanks(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	for s != "" && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// hasControl finds bytes that are ASCII control characters or blank.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}
