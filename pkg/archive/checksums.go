package archive

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

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

// isDigest tells whether s is lower-case hex of n bytes; "" is none and passes.
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
