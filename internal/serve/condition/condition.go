// Package condition reads what the header of a request asks of a file: the
// conditions and the range of RFC 9110.
package condition

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// Validators are what a client may name a file by. Conditions hold on equality
// only: a later date is no sign of a newer file, for the client may have the file
// of this URL from another server. So http.ServeContent, which compares, is not used.
type Validators struct {
	Etag     string // the digest, quoted
	Modified string // in the form of the header
}

// New returns the validators of a file.
func New(d snapshot.Digest, modified time.Time) Validators {
	return Validators{`"` + d.String() + `"`, modified.UTC().Format(http.TimeFormat)}
}

// Any tells whether the header of a request asks for anything but the whole file, whatever the client has.
func Any(h http.Header) bool {
	for _, name := range []string{"Range", "If-None-Match", "If-Modified-Since", "If-Range", "If-Match", "If-Unmodified-Since"} {
		if len(h[name]) > 0 {
			return true
		}
	}
	return false
}

// Failed tells whether If-Match or If-Unmodified-Since forbid an answer.
func (v Validators) Failed(h http.Header) bool {
	if m := h.Get("If-Match"); m != "" {
		return !hasTag(m, v.Etag, true)
	}
	if t := h.Get("If-Unmodified-Since"); t != "" {
		return !v.sameTime(t)
	}
	return false
}

// Unchanged tells whether the client has exactly this file.
func (v Validators) Unchanged(h http.Header) bool {
	if m := h.Get("If-None-Match"); m != "" {
		return hasTag(m, v.Etag, false)
	}
	if t := h.Get("If-Modified-Since"); t != "" {
		return v.sameTime(t)
	}
	return false
}

// Ranged tells whether If-Range, if given, names exactly this file.
func (v Validators) Ranged(h http.Header) bool {
	t := strings.TrimSpace(h.Get("If-Range"))
	return t == "" || t == v.Etag || v.sameTime(t)
}

func (v Validators) sameTime(t string) bool {
	t = strings.TrimSpace(t)
	if t == v.Modified {
		return true
	}
	parsed, err := http.ParseTime(t)
	return err == nil && parsed.UTC().Format(http.TimeFormat) == v.Modified
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

// Section is a part of a file.
type Section struct{ Start, Length int64 }

// RangeKind is what a Range header asks for.
type RangeKind uint8

const (
	WholeFile     RangeKind = iota // none, or one that may be ignored: other unit, malformed, several
	PartOfFile                     //
	Unsatisfiable                  // begins behind the end
)

// ParseRange reads a Range header (RFC 9110 section 14.2) for a file of size bytes.
func ParseRange(header string, size int64) (Section, RangeKind) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return Section{}, WholeFile
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return Section{}, WholeFile
	}
	if first == "" {
		return suffix(last, size)
	}
	start, ok := position(first)
	if !ok {
		return Section{}, WholeFile
	}
	end := size - 1
	if last != "" {
		e, ok := position(last)
		if !ok || e < start {
			return Section{}, WholeFile
		}
		end = min(end, e)
	}
	if start >= size {
		return Section{}, Unsatisfiable
	}
	return Section{start, end - start + 1}, PartOfFile
}

// suffix is the last n bytes.
func suffix(digits string, size int64) (Section, RangeKind) {
	n, ok := position(digits)
	switch {
	case !ok:
		return Section{}, WholeFile
	case n == 0 || size == 0:
		return Section{}, Unsatisfiable
	}
	n = min(n, size)
	return Section{size - n, n}, PartOfFile
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
