package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// MaxDataTar bounds data.tar, decompressed, as far as [DataFile] reads it. The
// largest of Debian's are debug symbols of some gigabytes.
const MaxDataTar = 8 << 30

// ErrNoFile tells that data.tar has none of the files that were asked for.
var ErrNoFile = errors.New("no such file in data.tar")

var errDataLong = fmt.Errorf("over %d bytes decompressed", int64(MaxDataTar))

// DataFile reads the first regular file of data.tar whose path is one of names
// (such as "usr/share/doc/hello/changelog.gz"), up to most bytes, and nothing
// behind it. Links are not followed. ErrNoFile if there is none; ErrMalformed
// if it is longer or r no .deb, also where data.tar is compressed by bzip2 or lzma.
func DataFile(r io.Reader, most int64, names ...string) ([]byte, error) {
	d := debReader{src: &source{r: r}}
	data, err := d.dataFile(most, names)
	if err != nil && !errors.Is(err, ErrNoFile) {
		return nil, d.wrap(err)
	}
	return data, err
}

func (d *debReader) dataFile(most int64, names []string) ([]byte, error) {
	d.ar = arReader{r: d.src}
	if err := d.ar.magic(); err != nil {
		return nil, err
	}
	if err := d.readFormat(); err != nil {
		return nil, err
	}
	if _, err := d.member("control.tar"); err != nil {
		return nil, err
	}
	m, err := d.member("data.tar")
	if err != nil {
		return nil, err
	}
	ending := strings.TrimPrefix(m.Name, "data.tar")
	if !knownCompression("control.tar", ending) {
		return nil, fmt.Errorf("member %s: compression is not read", m.Name)
	}
	data, err := readCompressed(&d.ar, ending, limit{MaxDataTar, errDataLong}, func(r io.Reader) ([]byte, error) { return tarFile(r, most, names) })
	if err != nil {
		return nil, fmt.Errorf("member %s: %w", m.Name, err)
	}
	return data, nil
}

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
		if h.Typeflag != tar.TypeReg || isSparse(h) || !slices.Contains(names, strings.TrimPrefix(path.Clean("/"+h.Name), "/")) {
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
