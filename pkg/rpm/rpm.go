// Package rpm reads the metadata of RPM repositories: repomd.xml, primary.xml and metalinks. Bytes go in, values come
// out; it opens no file and no connection, and chooses nothing.
//
// There is no standard. What createrepo_c writes and librepo and libsolv read is what counts: createrepo_c
// (src/xml_dump_repomd.c, xml_dump_primary.c), librepo (librepo/repomd.c, metalink.c), libsolv (ext/repo_rpmmd.c).
//
// The XML is read as a stream. Whatever it claims, it takes a fixed amount of memory: document type definitions, and with
// them entities, are refused, as are elements nested deeper than [MaxDepth], one token of more than [MaxToken] bytes, and
// more than [MaxElements] elements.
package rpm

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

// ErrMalformed marks metadata that no program could have made for others to read, or that means to do harm.
var ErrMalformed = errors.New("malformed metadata of an RPM repository")

// Limits of what is read.
const (
	MaxRepomd   = 10_000_000 // bytes of a repomd.xml; large ones have 10 kB
	MaxMetalink = 4 << 20    // bytes of a metalink; Fedora's have 30 kB
	MaxPrimary  = 4 << 30    // bytes of a primary.xml, decompressed; Fedora's largest has 300 MB
	MaxPackages = 1_300_000  // of a repository: what a snapshot can hold
	MaxData     = 1000       // entries of a repomd.xml
	MaxElements = 10_000_000
	MaxDepth    = 32
	MaxToken    = 1 << 20 // bytes of a tag or of a text between two tags
	maxText     = 4096    // bytes of a text that is used
)

// Repodata is the directory of the metadata, below that of the repository; Repomd and its detached signature lie in it.
const (
	Repodata  = "repodata/"
	Repomd    = Repodata + "repomd.xml"
	RepomdAsc = Repomd + ".asc"
)

// Location is the path that an href names, below the repository: relative, decoded, without "." and ".." in it. Clients put
// the href behind the URL of the repository as it is, so what is decoded here is what their server decodes.
func Location(href string) (string, error) {
	switch {
	case href == "":
		return "", fmt.Errorf("%w: a location without href", ErrMalformed)
	case strings.ContainsAny(href, "?#\\"):
		return "", fmt.Errorf("%w: location %q is not a path", ErrMalformed, shorten(href))
	}
	p, err := url.PathUnescape(href)
	if err != nil {
		return "", fmt.Errorf("%w: location %q: %w", ErrMalformed, shorten(href), err)
	}
	for strings.HasPrefix(p, "./") {
		p = strings.TrimLeft(p[2:], "/")
	}
	if p == "" || strings.HasPrefix(p, "/") || path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../") {
		return "", fmt.Errorf("%w: location %q is not below the repository", ErrMalformed, shorten(href))
	}
	if i := strings.Index(p, "://"); i >= 0 {
		return "", fmt.Errorf("%w: location %q is elsewhere", ErrMalformed, shorten(href))
	}
	if !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("%w: location %q has bytes that no path has", ErrMalformed, shorten(href))
	}
	return p, nil
}

// shorten bounds what a message quotes.
func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + ".."
	}
	return s
}
