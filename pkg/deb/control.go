package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of control.tar. The largest in Debian hold some megabytes, nearly all
// of it md5sums; apt stops at a control file of 64 MiB, the real ones are
// smaller than 100 thousand bytes.
const (
	MaxControl    = 4 << 20  // bytes of the control file
	MaxControlTar = 64 << 20 // bytes of control.tar, decompressed
)

var (
	errNoControl   = errors.New("no control file")
	errTwoControls = errors.New("second control file")
	errControlLong = fmt.Errorf("control file over %d bytes", MaxControl)
	errTarLong     = fmt.Errorf("over %d bytes decompressed", MaxControlTar)
)

// readControlFirst reads a tar up to the first control file and no further.
func readControlFirst(r io.Reader) (Stanza, error) {
	text, err := nextControl(&controlReader{r: r})
	if err != nil {
		return nil, err
	}
	return parseControl(text)
}

// readControlAll reads a tar to its end, and what is behind its end so that a
// checksum there is verified; it must have exactly one control file.
func readControlAll(r io.Reader) (Stanza, error) {
	t := &controlReader{r: r}
	text, err := nextControl(t)
	if err != nil {
		return nil, err
	}
	switch _, err := nextControl(t); {
	case err == nil:
		return nil, errTwoControls
	case err != errNoControl:
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	return parseControl(text)
}

// nextControl goes to the next file that is the control file, and reads it;
// errNoControl at the end of the tar.
func nextControl(t *controlReader) ([]byte, error) {
	for {
		name, size, err := t.next()
		switch {
		case err == io.EOF:
			return nil, errNoControl
		case err != nil:
			return nil, err
		case name != "control":
			continue
		case size > MaxControl:
			return nil, errControlLong
		}
		return io.ReadAll(t)
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

// parseControl reads the control file, which is one stanza (deb-control(5)).
func parseControl(text []byte) (Stanza, error) {
	sc := NewScanner(text)
	s, err := sc.Next()
	if err == io.EOF {
		return nil, errors.New("control file: empty")
	}
	if err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	if _, err := sc.Next(); err != io.EOF {
		return nil, fmt.Errorf("control file: line %d: second stanza", sc.Line())
	}
	return s, nil
}
