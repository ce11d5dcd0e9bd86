package deb

import (
	"fmt"
	"io"
	"strings"
)

// MaxControlFiles bounds the files of control.tar as [Unpack] holds them, in
// bytes. Most of it are md5sums: 100 thousand files need some 10 MB.
const MaxControlFiles = 32 << 20

var errFilesLong = fmt.Errorf("files of over %d bytes", MaxControlFiles)

// ControlFile is a file of control.tar.
type ControlFile struct {
	Name    string // without "./": control, postinst, conffiles
	Mode    int64  // permission bits alone
	ModTime int64  // seconds since 1970
	Data    []byte
}

// Contents is what [Unpack] hands over: control.tar, wholly read, and data.tar.
type Contents struct {
	Control Stanza        // its own copy, without empty lines
	Files   []ControlFile // in the order of control.tar, "control" among them, each name once
	Data    io.Reader     // data.tar, decompressed; over MaxDataTar bytes is an error
}

// Unpack reads a .deb once, forward, and has take read its contents. What take
// leaves of data.tar is read behind it, so that the checksum of the compression
// and the framing of the members are verified when Unpack returns without error.
//
// Faults of the file wrap ErrMalformed, whatever take made of them; other errors
// of take are returned as they are. control.tar is read by the rules of
// [ReadDeb], and of two files of one name is refused; lzma is not read.
func Unpack(r io.Reader, take func(Contents) error) error {
	d := debReader{src: &source{r: r}}
	var taken error
	if err := d.unpack(take, &taken); err != nil {
		if taken != nil {
			return taken
		}
		return d.wrap(err)
	}
	return nil
}

// unpack calls take; its error is left in taken if it is its own.
func (d *debReader) unpack(take func(Contents) error, taken *error) error {
	c, err := d.controlFiles()
	if err != nil {
		return err
	}
	m, err := d.member("data.tar")
	if err != nil {
		return err
	}
	_, err = readCompressed(&d.ar, strings.TrimPrefix(m.Name, "data.tar"), limit{MaxDataTar, errDataLong}, func(r io.Reader) (struct{}, error) {
		data := &source{r: r}
		c.Data = data
		if err := take(c); err != nil {
			if data.err == nil {
				*taken = err
				return struct{}{}, err
			}
			return struct{}{}, data.err
		}
		_, err := io.Copy(io.Discard, data)
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("member %s: %w", m.Name, err)
	}
	return d.readTail()
}

// controlFiles reads debian-binary and all of control.tar.
func (d *debReader) controlFiles() (c Contents, err error) {
	d.ar = arReader{r: d.src}
	if err := d.ar.magic(); err != nil {
		return c, err
	}
	if err := d.readFormat(); err != nil {
		return c, err
	}
	m, err := d.member("control.tar")
	if err != nil {
		return c, err
	}
	c.Files, err = readCompressed(&d.ar, strings.TrimPrefix(m.Name, "control.tar"), limit{MaxControlTar, errTarLong}, readControlFiles)
	if err != nil {
		return c, fmt.Errorf("member %s: %w", m.Name, err)
	}
	for _, f := range c.Files {
		if f.Name == "control" {
			c.Control, err = parseControl(f.Data)
			return c, err
		}
	}
	return c, fmt.Errorf("member %s: %w", m.Name, errNoControl)
}

// readControlFiles reads the files of a control.tar to its end.
func readControlFiles(r io.Reader) ([]ControlFile, error) {
	t := &controlReader{r: r}
	var files []ControlFile
	seen := map[string]bool{}
	left := int64(MaxControlFiles)
	for {
		name, size, err := t.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, fmt.Errorf("second file %.100q", name)
		}
		seen[name] = true
		left -= size + 512
		if left < 0 {
			return nil, errFilesLong
		}
		if name == "control" && size > MaxControl {
			return nil, errControlLong
		}
		data, err := io.ReadAll(t)
		if err != nil {
			return nil, err
		}
		files = append(files, ControlFile{Name: name, Mode: t.mode & 0o777, ModTime: t.mtime, Data: data})
	}
	_, err := io.Copy(io.Discard, r)
	return files, err
}
