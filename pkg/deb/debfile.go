package deb

import (
	"errors"
	"fmt"
	"io"
	"strings"
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

// Control reads the control stanza of a .deb and nothing behind it (deb(5)):
// up to the control file in control.tar. The end of that tar, and with it the
// checksum of its compression, is not seen; ReadDeb looks at the whole file.
func Control(r io.Reader) (Stanza, error) {
	d := debReader{src: &source{r: r}}
	s, err := d.readControl(readControlFirst)
	if err != nil {
		return nil, d.wrap(err)
	}
	return s, nil
}

// ReadDeb reads a .deb to its end: the control stanza, and the framing of all
// members by deb(5), without decompressing data.tar. debian-binary comes first
// with format 2.x, then control.tar, then data.tar, each once, with members
// whose name begins with "_" between them, and anything else only behind.
// What nobody looks at is gone over by Seek if r is an io.Seeker.
// Unlike dpkg it refuses a second control file in control.tar (a later one
// replaces the earlier when dpkg unpacks), trailing bytes, and a file that ends
// in the padding of its last member.
func ReadDeb(r io.Reader) (*Deb, error) {
	d := debReader{src: &source{r: r}}
	control, err := d.readControl(readControlAll)
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

// readControl reads debian-binary and control.tar, the latter by read.
func (d *debReader) readControl(read func(r io.Reader) (Stanza, error)) (Stanza, error) {
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
	s, err := readMember(&d.ar, strings.TrimPrefix(m.Name, "control.tar"), read)
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
