// Package debsource reads Debian source packages, and makes others of them by patches.
//
// It runs no program and needs no tree on a disk: what a patch touches is held in memory, the rest
// is copied (deb-src-control(5), dpkg-source(1): formats 1.0, 3.0 (native) and 3.0 (quilt)).
package debsource

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/xz"
)

// Limits of what is read.
const (
	MaxDsc        = 4 << 20   // bytes
	maxChangelog  = 64 << 20  // bytes
	maxTar        = 8 << 30   // bytes of an unpacked tarball
	maxTouched    = 256 << 20 // bytes of the files that patches touch
	maxDictionary = 128 << 20 // bytes that xz may look back; xz -9 has 64 MiB
)

// File is a file of a source package.
type File struct {
	Name string
	Size int64
	// Open opens it. Its last byte should come only if all are verified; the digests of the .dsc
	// are compared too.
	Open func() (io.ReadCloser, error)
}

// Package is a source package. Immutable.
type Package struct {
	Name, Version string
	Format        string // "1.0", "3.0 (native)", "3.0 (quilt)"
	dsc           deb.Stanza
	files         []File
	sums          map[string]string // SHA256 by name, as the .dsc has it
	changelog     []byte            // debian/changelog
	header        string            // of its first entry, behind the version
	date          time.Time
}

// Open reads the .dsc and the changelog of a source package. Files are all of it. Errors wrap
// [outcome.ErrIntegrity].
func Open(files []File) (*Package, error) {
	p, err := open(files)
	if err != nil {
		return nil, fmt.Errorf("%w: source package: %w", outcome.ErrIntegrity, err)
	}
	return p, nil
}

func open(files []File) (*Package, error) {
	p := &Package{files: files, sums: map[string]string{}}
	i := slices.IndexFunc(files, func(f File) bool { return strings.HasSuffix(f.Name, ".dsc") })
	if i < 0 {
		return nil, errors.New("no .dsc")
	}
	data, err := readAll(files[i], MaxDsc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", files[i].Name, err)
	}
	if p.dsc, err = parseDsc(data); err != nil {
		return nil, fmt.Errorf("%s: %w", files[i].Name, err)
	}
	p.Name, p.Version, p.Format = p.dsc.Get("Source"), p.dsc.Get("Version"), p.dsc.Get("Format")
	if !deb.ValidName(p.Name) || deb.ValidVersion(p.Version) != nil {
		return nil, fmt.Errorf("%s: source %.80q, version %.80q", files[i].Name, p.Name, p.Version)
	}
	for line := range strings.Lines(p.dsc.Get("Checksums-Sha256")) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		size := int64(-1)
		if len(f) == 3 {
			size, _ = strconv.ParseInt(f[1], 10, 64)
		}
		if size < 0 || !cleanName(f[2]) || strings.Contains(f[2], "/") {
			return nil, fmt.Errorf("%s: Checksums-Sha256: %.100q", files[i].Name, line)
		}
		if !slices.ContainsFunc(files, func(x File) bool { return x.Name == f[2] && x.Size == size }) {
			return nil, fmt.Errorf("%s lists %s of %d bytes, which is not there", files[i].Name, f[2], size)
		}
		p.sums[f[2]] = f[0]
	}
	if len(p.sums) == 0 {
		return nil, fmt.Errorf("%s: no Checksums-Sha256", files[i].Name)
	}
	if p.changelog, err = p.readChangelog(); err != nil {
		return nil, err
	}
	p.header, p.date, err = firstEntry(p.changelog)
	if err != nil {
		return nil, fmt.Errorf("debian/changelog: %w", err)
	}
	return p, nil
}

// Date is when the newest entry of the changelog was written: the SOURCE_DATE_EPOCH of a build.
func (p *Package) Date() time.Time { return p.date }

// parseDsc is the one stanza of a .dsc.
func parseDsc(data []byte) (deb.Stanza, error) {
	text, err := pgp.Unsigned(data)
	if err != nil {
		return nil, err
	}
	var found deb.Stanza
	for st, err := range deb.Stanzas(text) {
		switch {
		case err != nil:
			return nil, err
		case found != nil:
			return nil, errors.New("more than one stanza")
		}
		found = st
	}
	if found == nil {
		return nil, errors.New("empty")
	}
	return found, nil
}

// file is a file by the ending of its name, compression left open: "debian.tar", "orig.tar".
func (p *Package) file(match func(name string) bool) (File, bool) {
	for _, f := range p.files {
		if p.sums[f.Name] != "" && match(f.Name) {
			return f, true
		}
	}
	return File{}, false
}

var (
	debianTar = regexp.MustCompile(`\.debian\.tar\.[a-z0-9]+$`)
	origTar   = regexp.MustCompile(`\.orig\.tar\.[a-z0-9]+$`)
	component = regexp.MustCompile(`\.orig-([A-Za-z0-9-]+)\.tar\.[a-z0-9]+$`)
	anyTar    = regexp.MustCompile(`\.tar\.[a-z0-9]+$`)
	diffFile  = regexp.MustCompile(`\.diff\.[a-z0-9]+$`)
)

// control is the file that has debian/: a tar, or a diff in format 1.0.
func (p *Package) control() (f File, isDiff bool, err error) {
	match := anyTar
	switch {
	case p.Format == "3.0 (quilt)":
		match = debianTar
	case p.Format == "1.0":
		if f, ok := p.file(diffFile.MatchString); ok {
			return f, true, nil
		}
	case p.Format != "3.0 (native)":
		return f, false, fmt.Errorf("format %.40q, should be 1.0, 3.0 (native) or 3.0 (quilt)", p.Format)
	}
	f, ok := p.file(match.MatchString)
	if !ok {
		return f, false, errors.New("no file has debian/")
	}
	return f, false, nil
}

const changelogPath = "debian/changelog"

func (p *Package) readChangelog() ([]byte, error) {
	f, isDiff, err := p.control()
	if err != nil {
		return nil, err
	}
	var found []byte
	if isDiff {
		data, err := p.unpackAll(f, MaxPatch)
		if err != nil {
			return nil, err
		}
		sections, err := parsePatch(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		for i := range sections {
			if s := &sections[i]; s.name() == changelogPath {
				found, _ = s.apply(nil)
			}
		}
	} else if err := p.walk(f, func(name string, h *tar.Header, r io.Reader) error {
		if name != changelogPath && (p.Format == "3.0 (quilt)" || withoutTop(name) != changelogPath) || h.Typeflag != tar.TypeReg {
			return nil
		}
		if h.Size > maxChangelog {
			return fmt.Errorf("%s of over %d bytes", changelogPath, maxChangelog)
		}
		if found, err = io.ReadAll(r); err != nil {
			return err
		}
		return errEnough
	}); err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no %s", f.Name, changelogPath)
	}
	return found, nil
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// withoutTop is a name without its first directory.
func withoutTop(name string) string {
	_, rest, _ := strings.Cut(name, "/")
	return rest
}

// walk visits the entries of a tarball, their names clean. It reads to the end, so that the digest
// is verified, unless visit ends it.
func (p *Package) walk(f File, visit func(name string, h *tar.Header, r io.Reader) error) error {
	r, close, err := p.unpack(f)
	if err != nil {
		return err
	}
	defer close()
	left := &io.LimitedReader{R: r, N: maxTar}
	for in := tar.NewReader(left); ; {
		h, err := in.Next()
		if err == io.EOF {
			if left.N == 0 {
				return fmt.Errorf("%s: over %d bytes unpacked", f.Name, int64(maxTar))
			}
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
		if name == "" || name == "." {
			continue
		}
		if !cleanName(name) {
			return fmt.Errorf("%s: name %.100q", f.Name, h.Name)
		}
		if err := visit(name, h, in); err != nil {
			return err
		}
	}
}

// unpack opens a file of the .dsc, decompressed. What comes last is an error if the digest is not
// the one listed.
func (p *Package) unpack(f File) (io.Reader, func(), error) {
	raw, err := f.Open()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	c := &checked{r: raw, name: f.Name, left: f.Size, sum: sha256.New(), want: p.sums[f.Name]}
	r, err := decompress(c, f.Name)
	if err != nil {
		raw.Close()
		return nil, nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return io.MultiReader(r, rest{c}), func() { raw.Close() }, nil
}

func (p *Package) unpackAll(f File, most int64) ([]byte, error) {
	r, close, err := p.unpack(f)
	if err != nil {
		return nil, err
	}
	defer close()
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("over %d bytes", most)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return data, nil
}

func decompress(r io.Reader, name string) (io.Reader, error) {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "gz":
		return gzip.NewReader(r)
	case "xz":
		return xz.NewReader(r, xz.Options{MaxDictionary: maxDictionary}), nil
	case "bz2":
		return bzip2.NewReader(r), nil
	}
	return nil, errors.New("compressed by something other than gz, xz and bz2")
}

// rest reads what a decompressor left of a file, so that its digest is compared, and gives nothing of it.
type rest struct{ of *checked }

func (r rest) Read([]byte) (int, error) {
	if _, err := io.Copy(io.Discard, r.of); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// checked passes bytes on, and ends in an error if they are not those of a digest.
type checked struct {
	r    io.Reader
	name string
	left int64
	sum  hash.Hash
	want string
	err  error
}

func (c *checked) Read(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(b)
	c.sum.Write(b[:n])
	if c.left -= int64(n); c.left < 0 {
		err = errors.New("longer than its .dsc says")
	}
	if err == io.EOF && (c.left > 0 || hex.EncodeToString(c.sum.Sum(nil)) != c.want) {
		err = errors.New("other bytes than its .dsc lists")
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", c.name, err)
	}
	c.err = err
	return n, err
}

func readAll(f File, most int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("over %d bytes", most)
	}
	return data, err
}

var (
	entryHeader  = regexp.MustCompile(`^[A-Za-z0-9][-+.A-Za-z0-9]* \(([^()\s]+)\)((?:\s+[-+.0-9A-Za-z]+)+;.*)$`)
	entryTrailer = regexp.MustCompile(`^ -- .* <.*>  ?(.+?)\s*$`)
)

// firstEntry reads the first entry of a changelog (deb-changelog(5)): what stands behind the version
// in its header, and its date.
func firstEntry(text []byte) (header string, date time.Time, err error) {
	for line := range bytes.Lines(text) {
		l := strings.TrimRight(string(line), "\r\n")
		if m := entryHeader.FindStringSubmatch(l); m != nil && header == "" {
			header = m[2]
			continue
		}
		if m := entryTrailer.FindStringSubmatch(l); m != nil && header != "" {
			if date, err = parseDate(m[1]); err != nil {
				return "", date, err
			}
			return header, date, nil
		}
	}
	return "", date, errors.New("no entry with a header and a date")
}

// parseDate reads the date of an entry, "Mon, 26 Dec 2022 16:30:00 +0100". The day of the week is
// not looked at, as dpkg does not.
func parseDate(s string) (time.Time, error) {
	if _, rest, ok := strings.Cut(s, ","); ok {
		s = rest
	}
	t, err := time.Parse("2 Jan 2006 15:04:05 -0700", strings.Join(strings.Fields(s), " "))
	if err != nil {
		return t, fmt.Errorf("date %.60q", s)
	}
	return t.UTC(), nil
}
