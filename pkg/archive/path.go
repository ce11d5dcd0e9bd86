package archive

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// MaxPath bounds the length of a path in an archive, in bytes.
const MaxPath = 1024

// ValidPath tells whether p may be the path of a file in an archive: relative,
// no "..", no ".", no empty part, no control character, valid UTF-8, at most
// MaxPath bytes. Everything else could climb out of a directory, or be read
// differently by the next program.
func ValidPath(p string) error {
	switch {
	case p == "":
		return errors.New("empty path")
	case len(p) > MaxPath:
		return fmt.Errorf("path of %d bytes, over the limit of %d", len(p), MaxPath)
	case !utf8.ValidString(p):
		return fmt.Errorf("path %q: not UTF-8", p)
	}
	if i := strings.IndexFunc(p, isControl); i >= 0 {
		return fmt.Errorf("path %q: control character", p)
	}
	if strings.HasPrefix(p, "/") {
		return fmt.Errorf("path %q: absolute", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		switch part {
		case "":
			return fmt.Errorf("path %q: empty part", p)
		case ".", "..":
			return fmt.Errorf("path %q: part %q", p, part)
		}
	}
	return nil
}

// isControl recognises C0, DEL and C1, which a terminal, a log or a C string may
// misread.
func isControl(r rune) bool { return r < 0x20 || 0x7f <= r && r < 0xa0 }

// cleanPath makes "./x.deb" and "pool//x.deb" what they mean, and refuses what
// climbs, even where climbing would cancel out.
func cleanPath(p string) (string, error) {
	if strings.HasPrefix(p, "/") {
		return "", fmt.Errorf("path %q: absolute", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return "", fmt.Errorf("path %q: part %q", p, part)
		}
	}
	if strings.HasSuffix(p, "/") {
		return "", fmt.Errorf("path %q: a directory", p)
	}
	c := path.Clean(p)
	return c, ValidPath(c)
}
