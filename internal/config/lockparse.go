package config

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/snapshot"
)

// ParseLock reads a lock with comments and in any order; name is for messages.
// Errors are [ErrUsage] with name and line. What it returns is in canonical order.
func ParseLock(name string, data []byte) (*Lock, error) {
	if len(data) > MaxLock {
		return nil, document.Errorf(document.Position{File: name}, "larger than %d bytes", MaxLock)
	}
	if !utf8.Valid(data) {
		return nil, document.Errorf(document.At(name, 1), "not UTF-8 text")
	}
	p := &lockParser{name: name, l: &Lock{}, archives: map[string]*LockArchive{}, seen: map[string]int{}}
	text := string(document.Normalise(data))
	if err := p.each(text, true, p.head); err != nil {
		return nil, err
	}
	if err := p.each(text, false, p.entry); err != nil {
		return nil, err
	}
	return p.finish()
}

// lockParser reads a lock in two passes, for archive lines may come last.
type lockParser struct {
	name     string
	l        *Lock
	line     int
	magic    bool
	archives map[string]*LockArchive
	seen     map[string]int // what may stand once, to its line
}

func (p *lockParser) errorf(format string, args ...any) error {
	return document.Errorf(document.At(p.name, p.line), format, args...)
}

// each calls f for each line with its fields; a "#" field begins a comment,
// but for the reason of a package, which is free text.
// The first pass, for heads, passes over packages: there may be very many.
func (p *lockParser) each(text string, heads bool, f func(string, []string) error) error {
	p.line, p.magic = 0, false
	for line := range strings.Lines(text) {
		p.line++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || heads && p.magic && strings.HasPrefix(line, "package ") {
			continue
		}
		if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
			return p.errorf("holds a control character")
		}
		if !p.magic {
			if line != lockMagic {
				return p.errorf("not a lock: it begins with %q, should be %q", fmt.Sprintf("%.40s", line), lockMagic)
			}
			p.magic = true
			continue
		}
		words := strings.Fields(line)
		if words[0] != "package" {
			if i := slices.IndexFunc(words, func(w string) bool { return w[0] == '#' }); i >= 0 {
				words = words[:i]
			}
		}
		if err := f(words[0], words[1:]); err != nil {
			return err
		}
	}
	if !p.magic {
		return p.errorf("not a lock: no line %q", lockMagic)
	}
	return nil
}

// once refuses what stands twice.
func (p *lockParser) once(what ...string) error {
	key := strings.Join(what, " ")
	if first, ok := p.seen[key]; ok {
		return p.errorf("%s stands twice, first in line %d; keep one", key, first)
	}
	p.seen[key] = p.line
	return nil
}

func (p *lockParser) want(f []string, form string) error {
	if n := len(strings.Fields(form)); len(f) != n {
		return p.errorf("%d fields, should be %d: %s", len(f), n, form)
	}
	return nil
}

// head takes the lines that the others depend on.
func (p *lockParser) head(key string, f []string) error {
	switch key {
	case "date":
		if err := first(p.want(f, "DATE"), p.once("date")); err != nil {
			return err
		}
		var err error
		p.l.Date, err = p.date(f[0])
		return err
	case "archive":
		format := ""
		if len(f) == 4 {
			f, format = f[:3], f[3]
		}
		if err := p.want(f, "PREFIX MODE CLASS"); err != nil {
			return err
		}
		if err := p.once("archive", f[0]); err != nil {
			return err
		}
		return p.archive(f[0], f[1], f[2], format)
	case "image":
		return p.image(f)
	case "file", "from", "index", "key-url", "merge", "package", "referrer", "release":
		return nil
	}
	known := []string{"archive", "date", "file", "from", "image", "index", "key-url", "merge", "package", "referrer", "release"}
	if s := document.Nearest(key, known); s != "" {
		return p.errorf("unknown word %q; did you mean %q?", key, s)
	}
	return p.errorf("unknown word %q; lines begin with %s", fmt.Sprintf("%.40s", key), strings.Join(known, ", "))
}

func (p *lockParser) image(f []string) error {
	if err := p.want(f, "NAME DIGEST SIZE SOURCE"); err != nil {
		return err
	}
	if err := validImageName(f[0]); err != nil {
		return p.errorf("image %q, should be HOST/REPO:TAG", fmt.Sprintf("%.200s", f[0]))
	}
	size, err := p.size(f[2])
	p.l.Images = append(p.l.Images, LockImage{Name: f[0], Digest: f[1], Size: size, Source: f[3]})
	return first(err, p.digest(f[1]), p.digest(f[3]), p.once("image", f[0]))
}

func (p *lockParser) referrer(f []string) error {
	if err := p.want(f, "NAME DIGEST SIZE"); err != nil {
		return err
	}
	i := slices.IndexFunc(p.l.Images, func(m LockImage) bool { return m.Name == f[0] })
	if i < 0 {
		return p.errorf("no image %s for its referrer; add its line, or remove this one", fmt.Sprintf("%.200s", f[0]))
	}
	size, err := p.size(f[2])
	p.l.Images[i].Referrers = append(p.l.Images[i].Referrers, LockReferrer{f[1], size})
	return first(err, p.digest(f[1]), p.once("referrer", f[0], f[1]))
}

// size reads the bytes of a manifest.
func (p *lockParser) size(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > snapshot.MaxImageDocument || strconv.FormatInt(n, 10) != s {
		return 0, p.errorf("size %q, should be a number of bytes up to %d", s, snapshot.MaxImageDocument)
	}
	return n, nil
}

func (p *lockParser) archive(prefix, mode, class, format string) error {
	if err := snapshot.ValidPrefix(prefix); err != nil {
		return p.errorf("%w", err)
	}
	if mode != string(snapshot.Curated) && mode != string(snapshot.Verbatim) {
		return p.errorf("mode %q, should be curated or verbatim", mode)
	}
	if class != string(snapshot.Upstream) && class != string(snapshot.Site) && class != string(snapshot.Merged) {
		return p.errorf("class %q, should be upstream, site or merged", class)
	}
	if format != "" && format != snapshot.FormatFiles && format != snapshot.FormatRPM {
		return p.errorf("format %q, should be files or rpm, or left out", format)
	}
	if mode == string(snapshot.Verbatim) && class != string(snapshot.Upstream) && format != snapshot.FormatRPM {
		return p.errorf("class %s is always curated", class)
	}
	p.archives[prefix] = &LockArchive{Prefix: prefix, Mode: mode, Class: class, Format: format}
	return nil
}

// entry takes the lines that belong to an archive.
func (p *lockParser) entry(key string, f []string) error {
	switch key {
	case "date", "archive", "image":
		return nil
	case "referrer":
		return p.referrer(f)
	}
	if len(f) == 0 {
		return p.errorf("%s without a prefix", key)
	}
	a := p.archives[f[0]]
	if a == nil {
		return p.errorf("no archive %s; add a line: archive %s curated upstream", f[0], f[0])
	}
	switch key {
	case "key-url":
		return p.keyURL(a, f)
	case "release":
		return p.release(a, f)
	case "index":
		return p.index(a, f)
	case "merge":
		return p.merge(a, f)
	case "from":
		if err := p.want(f, "PREFIX DIGEST"); err != nil {
			return err
		}
		a.From = f[1]
		return first(p.digest(f[1]), p.once("from", a.Prefix))
	case "file":
		return p.file(a, f)
	}
	return p.pkg(a, f)
}

func (p *lockParser) merge(a *LockArchive, f []string) error {
	if a.Class != string(snapshot.Merged) || len(f) < 3 {
		return p.errorf("merge is for an archive of class merged, and names two others at least")
	}
	a.Merge = slices.Clone(f[1:])
	slices.Sort(a.Merge)
	return p.once("merge", a.Prefix)
}

func (p *lockParser) file(a *LockArchive, f []string) error {
	if err := p.want(f, "PREFIX PATH DIGEST SIZE URL"); err != nil {
		return err
	}
	if a.Format == "" && (a.Class != string(snapshot.Site) || !strings.HasSuffix(f[1], ".dsc") || f[4] != noURL) {
		return p.errorf("a file of an archive of .debs, which has package lines, and of class site one for each .dsc, without URL")
	}
	size, err := strconv.ParseUint(f[3], 10, 63)
	if err != nil || f[3] != strconv.FormatUint(size, 10) {
		return p.errorf("size %q, should be a number of bytes", f[3])
	}
	x := LockFile{Path: f[1], Digest: f[2], Size: int64(size)}
	if err := snapshot.ValidPath(x.Path); err != nil {
		return p.errorf("file %w", err)
	}
	if f[4] != noURL {
		u, err := url.Parse(f[4])
		if err != nil || u.Scheme == "" {
			return p.errorf("not the URL of a file")
		}
		if u.User != nil {
			return p.errorf("the URL of a file holds credentials; remove them, a lock is public")
		}
		x.URL = PublicURL(f[4])
	}
	a.Files = append(a.Files, x)
	return first(p.digest(x.Digest), p.once("file", a.Prefix, x.Path))
}

func (p *lockParser) keyURL(a *LockArchive, f []string) error {
	if err := p.want(f, "PREFIX FINGERPRINT URL"); err != nil {
		return err
	}
	k := LockKey{f[1], f[2]}
	if len(k.Fingerprint) != 40 || strings.Trim(k.Fingerprint, "0123456789ABCDEF") != "" {
		return p.errorf("fingerprint %q, should be 40 upper-case hex digits", k.Fingerprint)
	}
	u, err := url.Parse(k.URL)
	if err != nil || u.Scheme == "" {
		return p.errorf("not a URL of a key")
	}
	if u.User != nil {
		return p.errorf("the URL of a key holds credentials; remove them, a lock is public")
	}
	k.URL = PublicURL(k.URL)
	a.KeyURLs = append(a.KeyURLs, k)
	return p.once("key-url", a.Prefix, k.Fingerprint, k.URL)
}

func (p *lockParser) release(a *LockArchive, f []string) (err error) {
	if err := p.want(f, "PREFIX SUITE DIGEST DATE"); err != nil {
		return err
	}
	r := LockRelease{Suite: f[1], Digest: f[2]}
	if r.Date, err = p.date(f[3]); err != nil {
		return err
	}
	a.Releases = append(a.Releases, r)
	return first(p.digest(r.Digest), p.suite(r.Suite), p.once("release", a.Prefix, r.Suite))
}

func (p *lockParser) index(a *LockArchive, f []string) error {
	if err := p.want(f, "PREFIX SUITE PATH DIGEST"); err != nil {
		return err
	}
	x := LockIndex{f[1], f[2], f[3]}
	if err := snapshot.ValidPath(x.Path); err != nil {
		return p.errorf("index %w", err)
	}
	a.Indices = append(a.Indices, x)
	return first(p.digest(x.Digest), p.suite(x.Suite), p.once("index", a.Prefix, x.Suite, x.Path))
}

func (p *lockParser) pkg(a *LockArchive, f []string) error {
	const form = "PREFIX SUITE COMPONENT NAME VERSION ARCH DIGEST SIZE"
	n := len(strings.Fields(form))
	if len(f) < n {
		return p.errorf("%d fields, should be at least %d: %s REASON", len(f), n, form)
	}
	if a.Format != "" || a.Class == string(snapshot.Merged) {
		return p.errorf("a package of an archive that has no package lines, remove it")
	}
	if a.Mode == string(snapshot.Verbatim) {
		return p.errorf("a package of a verbatim archive; its Release pins them all, remove the line")
	}
	size, err := strconv.ParseUint(f[7], 10, 63)
	if err != nil || f[7] != strconv.FormatUint(size, 10) {
		return p.errorf("size %q, should be a number of bytes", f[7])
	}
	pkg := LockPackage{
		Suite: f[1], Component: f[2], Name: f[3], Version: f[4], Architecture: f[5], Digest: f[6],
		Size: int64(size), Reason: strings.Join(f[n:], " "),
	}
	if pkg.Component == noComponent {
		pkg.Component = ""
	}
	a.Packages = append(a.Packages, pkg)
	return first(p.digest(pkg.Digest), p.suite(pkg.Suite), p.once("package", strings.Join(f[:6], " ")))
}

func (p *lockParser) suite(s string) error {
	if err := validSuite(s); err != nil {
		return p.errorf("suite %q %w", s, err)
	}
	return nil
}

func (p *lockParser) digest(s string) error {
	if _, err := snapshot.ParseDigest(s); err != nil {
		return p.errorf("%w, should be sha256: and 64 lower-case hex digits", err)
	}
	return nil
}

func (p *lockParser) date(s string) (time.Time, error) {
	t, err := time.Parse(lockTime, s)
	if err != nil || t.Format(lockTime) != s {
		return time.Time{}, p.errorf("date %q, should be like 2026-11-21T09:13:40Z, in UTC", fmt.Sprintf("%.40s", s))
	}
	return t, nil
}

// finish puts everything into canonical order.
func (p *lockParser) finish() (*Lock, error) {
	if p.l.Date.IsZero() {
		return nil, document.Errorf(document.At(p.name, 1), "no date; add a line: date 2026-11-21T09:13:40Z")
	}
	slices.SortFunc(p.l.Images, func(x, y LockImage) int { return cmp.Compare(x.Name, y.Name) })
	for _, m := range p.l.Images {
		slices.SortFunc(m.Referrers, func(x, y LockReferrer) int { return cmp.Compare(x.Digest, y.Digest) })
	}
	for _, prefix := range document.SortedKeys(p.archives) {
		a := p.archives[prefix]
		slices.SortFunc(a.KeyURLs, func(x, y LockKey) int {
			return cmp.Or(cmp.Compare(x.Fingerprint, y.Fingerprint), cmp.Compare(x.URL, y.URL))
		})
		slices.SortFunc(a.Releases, func(x, y LockRelease) int { return cmp.Compare(x.Suite+" ", y.Suite+" ") })
		slices.SortFunc(a.Indices, func(x, y LockIndex) int {
			return cmp.Compare(x.Suite+" "+x.Path+" ", y.Suite+" "+y.Path+" ")
		})
		slices.SortFunc(a.Packages, LockPackage.compare)
		slices.SortFunc(a.Files, func(x, y LockFile) int { return cmp.Compare(x.Path+" ", y.Path+" ") })
		if a.Class == string(snapshot.Merged) && len(a.Merge) == 0 {
			return nil, document.Errorf(document.At(p.name, p.seen["archive "+prefix]), "archive %s is merged, and no line says of what; add: merge %s A B", prefix, prefix)
		}
		p.l.Archives = append(p.l.Archives, *a)
	}
	return p.l, nil
}

// compare orders packages as their lines sort. Fields hold no byte below the
// space that ends them, so field by field with that space is the same.
func (x LockPackage) compare(y LockPackage) int {
	for _, pair := range [][2]string{
		{x.Suite, y.Suite}, {cmp.Or(x.Component, noComponent), cmp.Or(y.Component, noComponent)},
		{x.Name, y.Name}, {x.Version, y.Version}, {x.Architecture, y.Architecture},
	} {
		if c := strings.Compare(pair[0], pair[1]); c != 0 {
			return c
		}
	}
	return cmp.Compare(x.Digest, y.Digest)
}

// first is the first error that is not nil.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
