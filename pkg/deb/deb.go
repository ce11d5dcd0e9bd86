// Package deb holds the values of Debian packaging: versions, relations,
// stanzas and the reader of .deb files.
//
// Every reader here takes bytes from someone who may be hostile. A limit is a
// named constant, a limit exceeded is an error, and nothing that an input
// declares (a size, a count) is ever allocated before it was seen.
package deb

import (
	"archive/tar"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/pkg/xz"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	maxMembers = 64      // members of a .deb
	maxFormat  = 1 << 10 // bytes of debian-binary
)

// ErrMalformed marks what is no .deb by deb(5), or one beyond a limit of this
// package. Errors of the reader underneath do not wrap it.
var ErrMalformed = errors.New("malformed .deb")

// Deb is what ReadDeb learned of a .deb.
type Deb struct {
	Format  string   // of debian-binary: "2.0"
	Control Stanza   // its own copy, without empty lines
	Members []Member // in order
	Size    int64    // of the file, bytes
}

// ReadDeb reads a .deb to its end: the control stanza, and the framing of all
// members by deb(5), without decompressing data.tar. debian-binary comes first
// with format 2.x, then control.tar, then data.tar, each once, with members
// whose name begins with "_" between them; any other member must follow them.
// Content that need not be read is skipped by Seek if r is an io.Seeker.
//
// Unlike dpkg, ReadDeb refuses a second control file in control.tar (a later one
// replaces the earlier when dpkg unpacks), trailing bytes, and a file that ends
// in the padding of its last member.
func ReadDeb(r io.Reader) (*Deb, error) {
	d := debReader{src: &source{r: r}}
	control, err := d.readControlTar()
	if err != nil {
		return nil, d.wrap(err)
	}
	if err := d.readRest(); err != nil {
		return nil, d.wrap(err)
	}
	return &Deb{Format: d.format, Control: control, Members: d.members, Size: d.ar.off}, nil
}

// debReader goes through the members of a .deb.
type debReader struct {
	src     *source
	ar      arReader
	format  string
	members []Member
}

// source remembers an error of the reader underneath, whatever the layers
// above make of it.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// Seek is the reader's underneath, if it has one.
func (s *source) Seek(offset int64, whence int) (int64, error) {
	if seeker, ok := s.r.(io.Seeker); ok {
		return seeker.Seek(offset, whence)
	}
	return 0, errors.ErrUnsupported
}

// wrap tells the fault of the file from that of the reader.
func (d *debReader) wrap(err error) error {
	if d.src.err != nil {
		return fmt.Errorf(".deb at offset %d: %w", d.ar.off, d.src.err)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// readControlTar reads debian-binary and control.tar.
func (d *debReader) readControlTar() (Stanza, error) {
	d.ar = arReader{r: d.src}
	if err := d.ar.magic(); err != nil {
		return nil, err
	}
	if err := d.readFormat(); err != nil {
		return nil, err
	}
	m, err := d.member("control.tar")
	if err != nil {
		return nil, err
	}
	s, err := readMember(&d.ar, strings.TrimPrefix(m.Name, "control.tar"))
	if err != nil {
		return nil, fmt.Errorf("member %s: %w", m.Name, err)
	}
	return s, nil
}

// readFormat reads debian-binary: a line "2.N"; later lines are left to later
// formats.
func (d *debReader) readFormat() error {
	m, err := d.next()
	if err != nil {
		return err
	}
	if m.Name != "debian-binary" {
		return fmt.Errorf("member %s before debian-binary", m.Name)
	}
	if m.Size > maxFormat {
		return fmt.Errorf("debian-binary over %d bytes", maxFormat)
	}
	text, err := io.ReadAll(&d.ar)
	if err != nil {
		return fmt.Errorf("debian-binary: %w", err)
	}
	line, _, ended := strings.Cut(string(text), "\n")
	major, minor, dot := strings.Cut(line, ".")
	if !ended || !dot || !isNumber(major) || !isNumber(minor) {
		return fmt.Errorf("debian-binary: format %q", line)
	}
	if major != "2" {
		return fmt.Errorf("debian-binary: unknown format %s", line)
	}
	d.format = line
	return nil
}

// member goes to the next member that must be kind, with a compression that
// dpkg knows for it. Members whose name begins with "_" may come before it.
func (d *debReader) member(kind string) (Member, error) {
	for {
		m, err := d.next()
		if err == io.EOF {
			return m, fmt.Errorf("no member %s", kind)
		}
		if err != nil {
			return m, err
		}
		ending, ok := strings.CutPrefix(m.Name, kind)
		switch {
		case m.Name[0] == '_':
			continue
		case !ok:
			return m, fmt.Errorf("member %s before %s", m.Name, kind)
		case !knownCompression(kind, ending):
			return m, fmt.Errorf("member %s: unknown compression", m.Name)
		case m.Size == 0:
			return m, fmt.Errorf("member %s: empty", m.Name)
		}
		return m, nil
	}
}

// knownCompression tells whether a member of a kind may have that ending (deb(5)).
func knownCompression(kind, ending string) bool {
	switch ending {
	case "", ".gz", ".xz", ".zst":
		return true
	case ".bz2", ".lzma":
		return kind == "data.tar"
	}
	return false
}

// readRest goes over data.tar and what follows up to the end of the file.
func (d *debReader) readRest() error {
	if _, err := d.member("data.tar"); err != nil {
		return err
	}
	return d.readTail()
}

// readTail goes over what follows data.tar.
func (d *debReader) readTail() error {
	for {
		m, err := d.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, kind := range []string{"debian-binary", "control.tar", "data.tar"} {
			if strings.HasPrefix(m.Name, kind) {
				return fmt.Errorf("second member %s", m.Name)
			}
		}
	}
}

// next is the next member, counted and noted.
func (d *debReader) next() (Member, error) {
	m, err := d.ar.next()
	if err != nil {
		return m, err
	}
	if len(d.members) == maxMembers {
		return m, fmt.Errorf("more than %d members", maxMembers)
	}
	d.members = append(d.members, m)
	return m, nil
}

func isNumber(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// MaxDataTar bounds data.tar, decompressed, as far as [DataFile] reads it. The
// largest of Debian's are debug symbols of some gigabytes.
const MaxDataTar = 8 << 30

// ErrNoFile tells that data.tar has none of the files that were asked for.
var ErrNoFile = errors.New("no such file in data.tar")

var errDataLong = fmt.Errorf("over %d bytes decompressed", int64(MaxDataTar))

// DataFile reads the first regular file of data.tar whose path is one of names
// (such as "usr/share/doc/hello/changelog.gz") and nothing after it. Links are
// not followed. The error is ErrNoFile if there is no such file, ErrMalformed if
// it is longer than most bytes, r is no .deb or data.tar is compressed by lzma.
func DataFile(r io.Reader, most int64, names ...string) ([]byte, error) {
	return fromData(r, func(r io.Reader) ([]byte, error) { return tarFile(r, most, names) })
}

// DataFiles reads all regular files of data.tar that want wants, by path
// ("usr/bin/hello"); of two of the same path the last. Links are not followed. The
// error is ErrMalformed if they have more than most bytes together, and else as
// that of [DataFile]; none at all is no error.
func DataFiles(r io.Reader, most int64, want func(path string) bool) (map[string][]byte, error) {
	return fromData(r, func(r io.Reader) (map[string][]byte, error) { return tarFiles(r, most, want) })
}

// fromData reads data.tar by read.
func fromData[T any](r io.Reader, read func(io.Reader) (T, error)) (T, error) {
	d := debReader{src: &source{r: r}}
	data, err := inData(&d, read)
	if err != nil && !errors.Is(err, ErrNoFile) {
		var none T
		return none, d.wrap(err)
	}
	return data, err
}

func inData[T any](d *debReader, read func(io.Reader) (T, error)) (data T, err error) {
	d.ar = arReader{r: d.src}
	if err := d.ar.magic(); err != nil {
		return data, err
	}
	if err := d.readFormat(); err != nil {
		return data, err
	}
	if _, err := d.member("control.tar"); err != nil {
		return data, err
	}
	m, err := d.member("data.tar")
	if err != nil {
		return data, err
	}
	data, err = readCompressed(&d.ar, strings.TrimPrefix(m.Name, "data.tar"), limit{MaxDataTar, errDataLong}, read)
	if err != nil {
		return data, fmt.Errorf("member %s: %w", m.Name, err)
	}
	return data, nil
}

// tarFiles reads the regular files that are wanted.
func tarFiles(r io.Reader, most int64, want func(path string) bool) (map[string][]byte, error) {
	files := map[string][]byte{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		name := dataPath(h)
		if h.Typeflag != tar.TypeReg || isSparse(h) || !want(name) {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(tr, most+1))
		if err != nil {
			return nil, err
		}
		if most -= int64(len(data)); most < 0 {
			return nil, fmt.Errorf("%s: over the bytes that are read", h.Name)
		}
		files[name] = data
	}
}

// dataPath is the path of an entry, from the root without first slash.
func dataPath(h *tar.Header) string { return strings.TrimPrefix(path.Clean("/"+h.Name), "/") }

// tarFile reads the first regular file of these names.
func tarFile(r io.Reader, most int64, names []string) ([]byte, error) {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil, ErrNoFile
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg || isSparse(h) || !slices.Contains(names, dataPath(h)) {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(tr, most+1))
		if err != nil {
			return nil, err
		}
		if int64(len(data)) > most {
			return nil, fmt.Errorf("%s: over %d bytes", h.Name, most)
		}
		return data, nil
	}
}

// isSparse finds pax's way of writing a sparse file, whose type is regular.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// maxWindow bounds the window that decompressing control.tar may take, bytes.
// zstd -19, which dpkg uses, wants 8 MiB and --ultra -20 this; xz gets by with
// less than it declares as long as the output is not larger.
const maxWindow = 32 << 20

// readMember decompresses r, a control.tar, by the ending of its name and reads
// it.
func readMember(r io.Reader, ending string) (Stanza, error) {
	return readCompressed(r, ending, limit{MaxControlTar, errTarLong}, readControl)
}

// limit is how many bytes may come out of a decompressor, and the error when there are more.
type limit struct {
	bytes int64
	err   error
}

// readCompressed decompresses r in bounded memory and has read take it.
func readCompressed[T any](r io.Reader, ending string, l limit, read func(r io.Reader) (T, error)) (T, error) {
	var out io.Reader
	var none T
	switch ending {
	case ".gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return none, truncated(err)
		}
		out = z
	case ".xz":
		out = xz.NewReader(r, xz.Options{MaxDictionary: maxWindow, Shrink: true, Single: true})
	case ".bz2":
		out = bzip2.NewReader(r)
	case ".lzma":
		return none, errors.New("compressed by lzma, which is not read")
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(uint64(l.bytes)))
		if err != nil {
			return none, truncated(err)
		}
		defer z.Close()
		out = z
	default:
		out = r
	}
	return read(&limitedReader{r: out, left: l.bytes, long: l.err})
}

// limitedReader gives up to left bytes and then long rather than an end.
type limitedReader struct {
	r    io.Reader
	left int64
	long error
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(int64(len(p)), l.left+1)])
	if int64(n) > l.left {
		return int(l.left), l.long
	}
	l.left -= int64(n)
	return n, err
}

// truncated tells the end of input inside a header by its right name.
func truncated(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
