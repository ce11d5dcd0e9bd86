package serve

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// validators are what a client may name a file by. Conditions hold on equality
// only: a later date is no sign of a newer file, for the client may have the file of this URL from
// another server. So http.ServeContent, which compares, is not used.
type validators struct {
	etag     string // the digest, quoted
	modified string // in the form of the header
}

func validatorsOf(d snapshot.Digest, modified time.Time) validators {
	return validators{`"` + d.String() + `"`, modified.UTC().Format(http.TimeFormat)}
}

// modified is the Last-Modified of a file. A file that another snapshot may have
// with other content has the snapshot's date, which grows along a tag, for clients
// that compare; a pool file has a constant of its digest.
func (h *served) modified(row snapshot.Row) time.Time {
	if h.changes(row) {
		return h.Statement.Date
	}
	return snapshot.ModTime(row.Digest)
}

// changes tells whether a file is anything but a pool file: below dists/, of a
// flat suite, or a program for hosts. A .deb is a pool file wherever it lies.
func (h *served) changes(row snapshot.Row) bool {
	if row.IsPackage() {
		return false
	}
	p := strings.TrimPrefix(row.Path, "upstream/")
	prefix, rest, _ := strings.Cut(p, "/")
	a := h.archive(prefix)
	if a == nil || strings.HasPrefix(rest, "dists/") {
		return true
	}
	return slices.ContainsFunc(a.Suites, func(s snapshot.Suite) bool {
		return snapshot.IsFlat(s.Name) && strings.HasPrefix(p, snapshot.SuiteDir(prefix, s.Name)+"/")
	})
}

// failed tells whether If-Match or If-Unmodified-Since forbid an answer.
func (v validators) failed(h http.Header) bool {
	if m := h.Get("If-Match"); m != "" {
		return !hasTag(m, v.etag, true)
	}
	if t := h.Get("If-Unmodified-Since"); t != "" {
		return !v.sameTime(t)
	}
	return false
}

// unchanged tells whether the client has exactly this file.
func (v validators) unchanged(h http.Header) bool {
	if m := h.Get("If-None-Match"); m != "" {
		return hasTag(m, v.etag, false)
	}
	if t := h.Get("If-Modified-Since"); t != "" {
		return v.sameTime(t)
	}
	return false
}

// ranged tells whether If-Range, if given, names exactly this file.
func (v validators) ranged(h http.Header) bool {
	t := strings.TrimSpace(h.Get("If-Range"))
	return t == "" || t == v.etag || v.sameTime(t)
}

func (v validators) sameTime(t string) bool {
	t = strings.TrimSpace(t)
	if t == v.modified {
		return true
	}
	parsed, err := http.ParseTime(t)
	return err == nil && parsed.UTC().Format(http.TimeFormat) == v.modified
}

// hasTag tells whether a list of entity tags (RFC 9110 section 8.8.3) has tag,
// or is "*". A weak tag is equal only if the comparison need not be strong.
func hasTag(list, tag string, strong bool) bool {
	for {
		list = strings.TrimLeft(list, " \t,")
		if list == "" {
			return false
		}
		if list[0] == '*' {
			return true
		}
		weak := strings.HasPrefix(list, "W/")
		list = strings.TrimPrefix(list, "W/")
		if list == "" || list[0] != '"' {
			return false
		}
		end := strings.IndexByte(list[1:], '"')
		if end < 0 {
			return false
		}
		if list[:end+2] == tag && !(weak && strong) {
			return true
		}
		list = list[end+2:]
	}
}

// section is a part of a file.
type section struct{ start, length int64 }

// rangeKind is what a Range header asks for.
type rangeKind uint8

const (
	wholeFile     rangeKind = iota // none, or one that may be ignored: other unit, malformed, several
	partOfFile                     //
	unsatisfiable                  // begins behind the end
)

// parseRange reads a Range header (RFC 9110 section 14.2) for a file of size bytes.
func parseRange(header string, size int64) (section, rangeKind) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return section{}, wholeFile
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return section{}, wholeFile
	}
	if first == "" {
		return suffix(last, size)
	}
	start, ok := position(first)
	if !ok {
		return section{}, wholeFile
	}
	end := size - 1
	if last != "" {
		e, ok := position(last)
		if !ok || e < start {
			return section{}, wholeFile
		}
		end = min(end, e)
	}
	if start >= size {
		return section{}, unsatisfiable
	}
	return section{start, end - start + 1}, partOfFile
}

// suffix is the last n bytes.
func suffix(digits string, size int64) (section, rangeKind) {
	n, ok := position(digits)
	switch {
	case !ok:
		return section{}, wholeFile
	case n == 0 || size == 0:
		return section{}, unsatisfiable
	}
	n = min(n, size)
	return section{size - n, n}, partOfFile
}

// position reads digits and nothing else. A number beyond 63 bits is behind any end.
func position(digits string) (int64, bool) {
	if digits == "" {
		return 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 1<<63 - 1, true
	}
	return n, true
}
