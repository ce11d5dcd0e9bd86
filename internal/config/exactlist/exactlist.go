// Package exactlist reads lists of exact versions as build trees keep them: "NAME VERSION [URL]" a line. A
// line says one package in one version; whatever says less, or more, is an error with file, line and what to write.
package exactlist

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/deb"
)

// maxLine is how long a line may be, in bytes. The longest of real lists have some 300.
const maxLine = 4096

// Line is one package of a list.
type Line struct {
	document.Position
	Name, Version string
	URL           *url.URL // of its .deb; nil: of the archive that the list is read for
}

// Query is the line as a package query.
func (l Line) Query() string { return fmt.Sprintf("%s (= %s)", l.Name, l.Version) }

// Dated is the place of a file at a service that keeps the archives of every day.
type Dated struct {
	Base      string // URL of the archive as it was then, without a final slash
	Archive   string // its name, such as debian-security
	Timestamp string // 20060102T150405Z
	Path      string // of the file, below Base
}

// Dated tells whether the line names a file of a dated archive: .../archive/NAME/TIMESTAMP/pool/...
func (l Line) Dated() (d Dated, ok bool) {
	if l.URL == nil {
		return d, false
	}
	parts := strings.Split(strings.TrimPrefix(l.URL.Path, "/"), "/")
	for i := 2; i+1 < len(parts); i++ {
		if parts[i-2] != "archive" || !timestamp.MatchString(parts[i]) || parts[i+1] != "pool" {
			continue
		}
		base := *l.URL
		base.Path, base.RawPath = "/"+strings.Join(parts[:i+1], "/"), ""
		return Dated{base.String(), parts[i-1], parts[i], strings.Join(parts[i+1:], "/")}, true
	}
	return d, false
}

// Below is the path of the line's file below the URL of an archive; ok is false if it is not there.
func (l Line) Below(archive string) (file string, ok bool) {
	base, err := url.Parse(archive)
	if l.URL == nil || err != nil || !strings.EqualFold(base.Host, l.URL.Host) || base.Scheme != l.URL.Scheme {
		return "", false
	}
	return strings.CutPrefix(l.URL.Path, strings.TrimRight(base.Path, "/")+"/")
}

var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	timestamp   = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z$`)
	fileName    = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]+)_([^_]+)_[a-z0-9-]+\.deb$`)
)

// Parse reads the text of a list. "#" begins a comment, at the begin of a line or after a blank; blank lines do not
// count, and a line that stands twice counts once. All faults are told at once; with them come the lines that could be read.
func Parse(name string, data []byte) ([]Line, error) {
	if !utf8.Valid(data) {
		return nil, document.Errorf(document.At(name, 1), "not UTF-8 text; write the list as plain text, NAME VERSION [URL] a line")
	}
	var out []Line
	var faults document.Faults
	first := map[string]Line{} // by name
	n := 0
	for text := range strings.Lines(string(document.Normalise(data))) {
		n++
		at := document.At(name, n)
		l, err := parseLine(text)
		if err != nil {
			faults.Add(document.Errorf(at, "%w", err))
			continue
		}
		if l == nil {
			continue
		}
		l.Position = at
		was, again := first[l.Name]
		switch {
		case !again:
			first[l.Name] = *l
			out = append(out, *l)
		case was.Version != l.Version:
			faults.Add(document.Errorf(at, "%s %s stands on line %d with version %s; keep the line that is right, or write a list for each version", l.Name, l.Version, was.Line, was.Version))
		case l.URL != nil && was.URL != nil && l.URL.String() != was.URL.String():
			faults.Add(document.Errorf(at, "%s %s stands on line %d with another URL; keep the line that is right", l.Name, l.Version, was.Line))
		case l.URL != nil && was.URL == nil:
			for i := range out { // the line with the URL says more
				if out[i].Name == l.Name {
					out[i] = *l
				}
			}
			first[l.Name] = *l
		}
	}
	if len(out) == 0 && faults.Err() == nil {
		faults.Add(document.Errorf(document.At(name, 1), "no package in the list; write NAME VERSION [URL], a line for each"))
	}
	return out, faults.Err()
}

// parseLine reads one line; nil if it holds no package.
func parseLine(text string) (*Line, error) {
	if len(text) > maxLine {
		return nil, fmt.Errorf("a line of %d bytes; write NAME VERSION [URL], at most %d bytes", len(text), maxLine)
	}
	text = strings.TrimSpace(text)
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		return nil, fmt.Errorf("holds a control character; write the line anew, NAME VERSION [URL]")
	}
	f := strings.Fields(text)
	for i, word := range f {
		if strings.HasPrefix(word, "#") {
			f = f[:i]
			break
		}
	}
	if len(f) == 0 {
		return nil, nil
	}
	if err := otherForm(text, f); err != nil {
		return nil, err
	}
	l := &Line{Name: f[0]}
	switch {
	case !packageName.MatchString(l.Name):
		return nil, badName(l.Name)
	case len(f) == 1:
		return nil, fmt.Errorf("%s without a version; write %s VERSION, as `apt-cache policy %s` shows it", l.Name, l.Name, l.Name)
	case strings.Contains(f[1], "://"):
		return nil, fmt.Errorf("%s with a URL in place of its version; write %s VERSION %.200s", l.Name, l.Name, f[1])
	case len(f) > 3:
		return nil, fmt.Errorf("%d fields, %.80q after the third; write NAME VERSION [URL], and # before a comment", len(f), f[3])
	}
	l.Version = f[1]
	if err := checkVersion(l.Name, l.Version); err != nil {
		return nil, err
	}
	if len(f) == 3 {
		u, err := parseURL(l, f[2])
		if err != nil {
			return nil, err
		}
		l.URL = u
	}
	return l, nil
}

// otherForm refuses lines that are written in another language, with the same wish in this one.
func otherForm(text string, f []string) error {
	name := f[0]
	switch {
	case strings.Count(name, "#") >= 2:
		return fmt.Errorf("a line of a list of tarballs (fields between #); this is a list of packages, remove the line")
	case strings.HasPrefix(name, "!"):
		return fmt.Errorf("begins with !; write NAME VERSION [URL]: a package is taken as it is listed, or not at all")
	case name == "-" || name == "*":
		return fmt.Errorf("begins with %q; write NAME VERSION [URL] without it", name)
	case strings.HasSuffix(name, ".rpm") || strings.Contains(name, ".rpm#"):
		return fmt.Errorf("%.80s is an RPM; this is a list of Debian packages, remove the line", name)
	case name == "deb" || name == "deb-src":
		if len(f) > 2 && strings.Contains(text, "://") {
			return fmt.Errorf("a line of sources.list; write the archive under archives:, and here NAME VERSION [URL]")
		}
	case strings.Contains(name, "://"):
		if m := fileName.FindStringSubmatch(path.Base(name)); m != nil {
			return fmt.Errorf("a URL alone; write %s %s %.200s", m[1], unescape(m[2]), name)
		}
		return fmt.Errorf("a URL alone; write NAME VERSION before it")
	case strings.HasSuffix(name, ".deb"):
		if m := fileName.FindStringSubmatch(name); m != nil {
			return fmt.Errorf("%.80s is the name of a file; write %s %s (with its epoch, which no file name has)", name, m[1], unescape(m[2]))
		}
		return fmt.Errorf("%.80s is the name of a file; write NAME VERSION [URL]", name)
	case strings.Contains(text, "|"):
		return fmt.Errorf("alternatives; a list of exact versions has one package a line: write NAME VERSION")
	}
	if len(f) > 1 && strings.HasPrefix(f[1], "(") || strings.Contains(name, "(") {
		if m := queryForm.FindStringSubmatch(text); m != nil && (m[2] == "=" || m[2] == "") {
			return fmt.Errorf("a query; write %s %s", m[1], m[3])
		}
		return fmt.Errorf("a query; an exact list has one version: write %s VERSION, or leave list: out and all lines be queries", strings.TrimRight(strings.SplitN(name, "(", 2)[0], " "))
	}
	for _, mark := range []string{"==", "=", "/", ":", "_"} {
		before, after, ok := strings.Cut(name, mark)
		if !ok || !packageName.MatchString(before) || after == "" {
			continue
		}
		switch mark {
		case "/":
			return fmt.Errorf("%.80s names a suite; write %s VERSION: the suites are those of the archive", name, before)
		case ":":
			if len(f) > 1 {
				return fmt.Errorf("%.80s names an architecture; write %s %s: the architectures are those of the archive", name, before, f[1])
			}
			return fmt.Errorf("%.80s; write %s VERSION, with a blank between", name, before)
		}
		return fmt.Errorf("%.80s; write %s %s, with a blank between", name, before, after)
	}
	if len(f) > 1 {
		for _, op := range []string{"<<", "<=", ">=", ">>", "<", ">", "=="} {
			if strings.HasPrefix(f[1], op) {
				return fmt.Errorf("a version with an operator (%s); an exact list has one version: write %s VERSION", op, name)
			}
		}
		if f[1] == "=" {
			if len(f) > 2 {
				return fmt.Errorf("an operator; write %s %s", name, f[2])
			}
			return fmt.Errorf("an operator without a version; write %s VERSION", name)
		}
		if v, ok := strings.CutPrefix(f[1], "="); ok {
			return fmt.Errorf("a version with an operator (=); write %s %s", name, v)
		}
	}
	return nil
}

var queryForm = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]+)\s*\(\s*([<>=]*)\s*([^\s)]+)\s*\)`)

func badName(name string) error {
	if lower := strings.ToLower(name); lower != name && packageName.MatchString(lower) {
		return fmt.Errorf("%.80q is no name of a package, which has no capitals; write %s", name, lower)
	}
	if len(name) == 1 {
		return fmt.Errorf("%.80q is no name of a package, which has two characters or more; write NAME VERSION [URL]", name)
	}
	if trimmed := strings.TrimRight(name, ",;"); packageName.MatchString(trimmed) {
		return fmt.Errorf("%.80q ends with a mark; write %s VERSION", name, trimmed)
	}
	return fmt.Errorf("%.80q is no name of a package, which has a-z 0-9 + . - alone; write NAME VERSION [URL]", name)
}

// checkVersion refuses what is no exact version.
func checkVersion(name, v string) error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("%s: version %.80q %w", name, v, fmt.Errorf(format, args...))
	}
	bare, comment, hasComment := strings.Cut(v, "#")
	plain := strings.TrimRight(v, ",;")
	switch decoded := unescape(v); {
	case v == "*" || strings.EqualFold(v, "latest") || strings.EqualFold(v, "any") || strings.EqualFold(v, "newest"):
		return fault("is none; write the exact version, as `apt-cache policy %s` shows it", name)
	case strings.ContainsAny(v, "*?[]"):
		return fault("is a pattern; write the exact version")
	case hasComment && deb.ValidVersion(bare) == nil:
		return fault("has a comment without a blank before it; write %s %s # %s", name, bare, comment)
	case plain != v && deb.ValidVersion(plain) == nil:
		return fault("ends with a mark; write %s %s", name, plain)
	case decoded != v && deb.ValidVersion(decoded) == nil:
		return fault("is written as in a URL; write %s %s", name, decoded)
	}
	if err := deb.ValidVersion(v); err != nil {
		return fmt.Errorf("%s: %w; write the exact version, as `apt-cache policy %s` shows it", name, err, name)
	}
	if upstream := v[strings.IndexByte(v, ':')+1:]; upstream[0] < '0' || upstream[0] > '9' {
		return fault("does not begin with a digit; write the exact version, as `apt-cache policy %s` shows it", name)
	}
	return nil
}

func unescape(s string) string {
	if d, err := url.PathUnescape(s); err == nil {
		return d
	}
	return s
}

// parseURL reads the URL of a .deb.
func parseURL(l *Line, s string) (*url.URL, error) {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("%s: URL %.300s: %w", l.Name, hidden(s), fmt.Errorf(format, args...))
	}
	if !strings.Contains(s, "://") {
		return nil, fmt.Errorf("%s: %.80q after the version is no URL; write http:// or https:// before it, or # before a comment", l.Name, s)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, fault("cannot be read; write a percent sign as %%25, and a blank as %%20")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fault("scheme %.20q; write the address by http or https", u.Scheme)
	case u.Hostname() == "":
		return nil, fault("no host; write https://HOST/...")
	case u.User != nil:
		return nil, fault("has credentials, which lists are no place for; write them into auth: of the archive")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fault("has a query or fragment; write the address of the file alone")
	}
	base := path.Base(u.Path)
	switch {
	case !strings.HasSuffix(base, ".deb"):
		return nil, fault("ends in %.80q; write the address of the .deb", base)
	case path.Clean(u.Path) != u.Path:
		return nil, fault("holds //, . or ..; write %.300s", path.Clean(u.Path))
	case strings.ContainsFunc(u.Path, unicode.IsControl) || strings.Contains(u.Path, "\\"):
		return nil, fault("holds a character that no pool has; write the address of the .deb")
	}
	if i := strings.Index(u.Path, "/archive/"); i >= 0 && strings.Contains(u.Path, "/pool/") {
		if _, dated := (Line{URL: u}).Dated(); !dated {
			if parts := strings.Split(u.Path[i+len("/archive/"):], "/"); len(parts) > 2 && digits.MatchString(parts[1]) {
				return nil, fault("timestamp %.40q of its archive; write it like 20250630T203427Z", parts[1])
			}
		}
	}
	return u, nil
}

var digits = regexp.MustCompile(`^[0-9TZ]+$`)

// hidden is a URL without the credentials in it, and without a query, which may be a token.
func hidden(s string) string {
	if address, _, ok := strings.Cut(s, "?"); ok {
		s = address + "?***"
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if i := strings.LastIndexByte(rest, '@'); ok && i >= 0 {
		return scheme + "://***" + rest[i:]
	}
	return s
}
