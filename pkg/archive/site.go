package archive

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// SiteStanza makes the stanza of a package of class site: the lines of its
// control file as they stand, then Filename, Size, SHA256. Fields of these
// names and other digests that the control file brings along are dropped. The
// result is read back and validated with [ParsePackageFile].
func SiteStanza(control deb.Stanza, filename string, size int64, sha256 string) (deb.Stanza, error) {
	var b bytes.Buffer
	drop := false
	for line := range bytes.Lines(control) {
		if line[0] != ' ' && line[0] != '\t' { // else a continuation, which goes with its field
			name, _, _ := bytes.Cut(line, []byte(":"))
			drop = isFileField(string(bytes.TrimSpace(name)))
		}
		if !drop {
			b.Write(bytes.TrimRight(line, "\r\n"))
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, "Filename: %s\nSize: %d\nSHA256: %s\n", filename, size, strings.ToLower(sha256))
	s, err := onlyStanza(b.Bytes())
	if err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	f, err := ParsePackageFile(s)
	if err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	if f.Filename != filename {
		return nil, fmt.Errorf("package %s: Filename %q is not clean", f.Name, filename)
	}
	return s, nil
}

// isFileField tells of fields that describe the file a stanza stands for, or
// its state on a host.
func isFileField(name string) bool {
	switch strings.ToLower(name) {
	case "filename", "size", "md5sum", "sha1", "sha256", "sha512", "status":
		return true
	}
	return false
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
