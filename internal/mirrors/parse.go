package mirrors

import (
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/transfer"
)

// Limits of a file of mirrors.
const (
	MaxBytes   = 1 << 20 // of the file
	MaxMirrors = 500
	maxName    = 63
	maxURL     = 500
	maxWeight  = 1000
	// maxLimits bounds prefixes, repositories and architectures of one mirror.
	maxLimits = 200
)

// Mirror is who hands out blobs, and which.
type Mirror struct {
	Name string
	URL  *url.URL // its path ends in a slash
	// Registry is the repository below /v2/ that has all its blobs; "": it is a tree, with blobs/sha256/HEX.
	Registry string
	// Apt is the path below URL of an apt tree with all archives, without slashes around it; "": it has none.
	Apt string
	// Prefixes, Repositories (globs of path.Match) and Architectures are what it carries; empty ones limit nothing.
	Prefixes, Repositories, Architectures []string
	Weight                                int // at least 1
	AllowHTTP, SharesCredentials          bool
	Check                                 Check
}

// Check is what is looked at before clients are sent to a mirror for a blob.
type Check uint8

const (
	// Bytes: all of the blob.
	Bytes Check = iota
	// Size: its size and beginning; a sample is read whole.
	Size
	// Redirect: that the mirror sends elsewhere for it, as a registry does that keeps its blobs in an object store. What is there is
	// not looked at; a client that asks again is not sent there.
	Redirect
)

// blob is where the mirror has a blob.
func (m *Mirror) blob(hex string) string {
	if m.Registry != "" {
		return m.URL.String() + "v2/" + m.Registry + "/blobs/sha256:" + hex
	}
	return m.URL.String() + "blobs/sha256/" + hex
}

// same tells whether what is known of a is true of b: they are asked for blobs in the same way.
func same(a, b *Mirror) bool {
	return a.Name == b.Name && a.URL.String() == b.URL.String() && a.Registry == b.Registry && a.Check == b.Check
}

// Parse reads a list of mirrors:
//
//   - name: de1                               # letters, digits and dashes; for logs, metrics and clients
//     url: https://de1.example.org/mmoci/     # of a tree of mmoci export --static
//     weight: 100                             # its share among those that have a blob; 100 if it is not said
//     prefixes: [debian]                      # only files of these archives
//     repositories: [site/*]                  # only blobs of these repositories of /v2/
//     architectures: [amd64]                  # only packages of these, and of all
//     registry: site/mirror                   # not a tree, but a registry that has the blobs in this repository
//     apt: apt/mirror:noble                   # where it has an apt tree, for lists of mirrors
//     check: size                             # or redirect; bytes if it is not said
//     allow-http: yes                         # the URL may be http://
//     shares-credentials: yes                 # it may lie below the front's host name
//
// Only name and url are needed. Errors begin with name and line, and wrap [document.ErrUsage].
func Parse(name string, data []byte) ([]Mirror, error) {
	if len(data) > MaxBytes {
		return nil, document.Errorf(document.Position{File: name}, "more than %d bytes", MaxBytes)
	}
	// The YAML library takes a NUL for the end; mirrors behind it would be left out.
	if i := slices.Index(data, 0); i >= 0 {
		return nil, document.Errorf(document.At(name, 1+strings.Count(string(data[:i]), "\n")), "a NUL byte")
	}
	docs, err := document.Parse(name, document.Normalise(data))
	switch {
	case err != nil:
		return nil, err
	case len(docs) == 0:
		return nil, document.Errorf(document.At(name, 1), "empty; write [] for no mirrors")
	case len(docs) > 1:
		return nil, docs[1].Errorf("a second document")
	case docs[0].IsEmptyList():
		return nil, nil
	}
	items, err := docs[0].Items()
	if err != nil {
		return nil, docs[0].Errorf("not a list of mirrors; begin each with - name: NAME")
	}
	if len(items) > MaxMirrors {
		return nil, docs[0].Errorf("more than %d mirrors", MaxMirrors)
	}
	var all []Mirror
	var faults document.Faults
	lines := map[string]int{}
	for _, item := range items {
		m, err := parseMirror(item)
		if err != nil {
			faults.Add(err)
			continue
		}
		for _, key := range []string{"name " + m.Name, "url " + m.blob("")} {
			if first, twice := lines[key]; twice {
				faults.Add(item.Errorf("%s: another mirror has it, in line %d", key, first))
			}
			lines[key] = item.At().Line
		}
		all = append(all, *m)
	}
	return all, faults.Err()
}

func parseMirror(n document.Node) (*Mirror, error) {
	m := &Mirror{Weight: 100}
	flag := func(dst *bool) func(document.Node) error {
		return func(n document.Node) (err error) { *dst, err = n.Flag(); return err }
	}
	fields := document.Fields{
		"name":               func(n document.Node) (err error) { m.Name, err = parseName(n); return err },
		"url":                func(n document.Node) (err error) { m.URL, err = parseURL(n); return err },
		"registry":           func(n document.Node) (err error) { m.Registry, err = parsePath(n); return err },
		"apt":                func(n document.Node) (err error) { m.Apt, err = parsePath(n); return err },
		"prefixes":           func(n document.Node) (err error) { m.Prefixes, err = limits(n); return err },
		"architectures":      func(n document.Node) (err error) { m.Architectures, err = parseArchitectures(n); return err },
		"repositories":       func(n document.Node) (err error) { m.Repositories, err = parseGlobs(n); return err },
		"weight":             func(n document.Node) (err error) { m.Weight, err = parseWeight(n); return err },
		"check":              func(n document.Node) (err error) { m.Check, err = parseCheck(n); return err },
		"allow-http":         flag(&m.AllowHTTP),
		"shares-credentials": flag(&m.SharesCredentials),
	}
	var faults document.Faults
	faults.Add(n.Mapping(fields))
	if lacks := n.Lacks(fields, "name", "url"); len(lacks) > 0 {
		faults.Add(n.Errorf("a mirror without %s", strings.Join(lacks, " and ")))
	}
	if m.URL != nil && m.URL.Scheme == "http" && !m.AllowHTTP {
		faults.Add(n.Errorf("%s: http:// is not encrypted, so that everybody on the way sees who fetches what; write allow-http: yes if that is meant (clients check every digest)", m.URL))
	}
	return m, faults.Err()
}

const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

func of(s, chars string) bool { return s != "" && strings.Trim(s, chars) == "" }

func parseName(n document.Node) (string, error) {
	s, err := n.Text()
	if err != nil {
		return "", err
	}
	if !of(s, letters+digits+"-._") || len(s) > maxName {
		return "", n.Errorf("%.100q: at most %d letters, digits, dashes, dots and underscores", s, maxName)
	}
	return s, nil
}

// parseURL reads the URL of a mirror. It goes into headers, and into texts that apt, containerd and podman read, so that it
// consists of what needs no quoting there.
func parseURL(n document.Node) (*url.URL, error) {
	s, err := n.Text()
	if err != nil {
		return nil, err
	}
	if address, _, ok := strings.Cut(s, "?"); ok {
		return nil, n.Errorf("%.100q with a query; files are asked for below it, so it cannot have one", address) // which may be a token
	}
	if len(s) > maxURL || !of(s, letters+digits+"-._~/:[]%+@") {
		return nil, n.Errorf("%.100q: more than %d bytes, or a character that a plain URL has not", s, maxURL)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Opaque != "" || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return nil, n.Errorf("%.100q is not https://HOST[:PORT]/PATH", s)
	case u.User != nil:
		return nil, n.Errorf("a user in the URL of a mirror; clients are sent to it without credentials")
	case !validHost(u.Hostname()):
		return nil, n.Errorf("%.100q: no name or address of a host", u.Hostname())
	case u.Port() == "" && strings.HasSuffix(u.Host, ":"):
		return nil, n.Errorf("%.100q: no port after the colon", s)
	case !validPort(u.Port()):
		return nil, n.Errorf("%.100q: no port", u.Port())
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if part == "." || part == ".." || strings.ContainsAny(part, "\\?#\"' <>\x7f") || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' }) {
			return nil, n.Errorf("%.100q: . or .. in the path, or a character that means something else in a URL", s)
		}
	}
	u.Host = strings.ToLower(u.Host)
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	return u, nil
}

func validPort(p string) bool {
	n, err := strconv.ParseUint(p, 10, 16)
	return p == "" || err == nil && n > 0
}

func validHost(h string) bool {
	if _, err := netip.ParseAddr(h); err == nil {
		return !strings.Contains(h, "%")
	}
	return of(h, letters+digits+"-._") && !strings.HasPrefix(h, ".") && !strings.Contains(h, "..")
}

// parsePath reads a path below a URL: parts of a repository's name, or of an apt tree's.
func parsePath(n document.Node) (string, error) {
	s, err := n.Text()
	if err != nil {
		return "", err
	}
	s = strings.Trim(s, "/")
	if !of(s, letters+digits+"-._/:@") || len(s) > 255 {
		return "", n.Errorf("%.100q: not a path of letters, digits and -._/:@", s)
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return "", n.Errorf("%.100q: an empty part, . or .. in the path", s)
		}
	}
	return s, nil
}

func limits(n document.Node) ([]string, error) {
	all, err := n.Texts()
	if err == nil && len(all) > maxLimits {
		err = n.Errorf("more than %d", maxLimits)
	}
	return all, err
}

func parseGlobs(n document.Node) ([]string, error) {
	all, err := limits(n)
	for _, glob := range all {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, n.Errorf("%.100q: %w", glob, err)
		}
	}
	return all, err
}

// parseArchitectures reads architectures, which go into a text that apt reads.
func parseArchitectures(n document.Node) ([]string, error) {
	all, err := limits(n)
	for _, arch := range all {
		if !of(arch, lower+digits+"-") {
			return nil, n.Errorf("%.40q: no architecture", arch)
		}
	}
	return all, err
}

func parseWeight(n document.Node) (int, error) {
	s, err := n.Text()
	if err != nil {
		return 0, err
	}
	w, err := strconv.Atoi(s)
	if err != nil || w < 1 || w > maxWeight {
		return 0, n.Errorf("%.40q is not between 1 and %d; to have no client sent to a mirror, take it out", s, maxWeight)
	}
	return w, nil
}

func parseCheck(n document.Node) (Check, error) {
	s, err := n.Text()
	if err != nil {
		return Bytes, err
	}
	c := slices.Index([]string{Bytes: "bytes", Size: "size", Redirect: "redirect"}, s)
	if c < 0 {
		return Bytes, n.Errorf("%.40q is none of bytes, size and redirect", s)
	}
	return Check(c), nil
}

// CheckFront tells, by an error for each, which mirrors cannot be those of a front that clients reach at these URLs: those
// that are the front, and those that clients of the front would send their passwords to.
func CheckFront(file string, all []Mirror, fronts ...*url.URL) error {
	var faults document.Faults
	for i := range all {
		for _, front := range fronts {
			m := &all[i]
			if m.URL.Scheme == front.Scheme && transfer.HostPort(m.URL) == transfer.HostPort(front) && strings.TrimSuffix(m.URL.Path, "/") == strings.TrimSuffix(front.Path, "/") {
				faults.Add(document.Errorf(document.Position{File: file}, "mirror %s is this server itself (%s)", m.Name, m.URL))
			} else if !m.SharesCredentials && sharesHost(front.Hostname(), m.URL.Hostname()) {
				faults.Add(document.Errorf(document.Position{File: file}, "mirror %s: clients that log in to %s would send their password to %s, too (a client takes a redirect to the same host "+
					"name, whatever the port, or below it for the same site); give the mirror a name of its own, or write shares-credentials: yes if whoever runs it may see the passwords",
					m.Name, front.Host, m.URL.Host))
			}
		}
	}
	return faults.Err()
}

// sharesHost tells whether a client of front keeps its Authorization when it is redirected to a host: Go's net/http does
// for the same name, whatever the port, and for names below it; containers/image (podman, skopeo) and docker are made with it.
func sharesHost(front, host string) bool {
	front, host = strings.TrimSuffix(strings.ToLower(front), "."), strings.TrimSuffix(strings.ToLower(host), ".")
	if front == "" {
		return false
	}
	if a, err := netip.ParseAddr(front); err == nil {
		b, err := netip.ParseAddr(host)
		return err == nil && a.Unmap() == b.Unmap()
	}
	return host == front || strings.HasSuffix(host, "."+front)
}
