package layout

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/artifact/oci"
)

// partsEnding names the list of the parts that an oci-archive was split into:
// lines of sha256sum(1), so that "sha256sum -c" verifies each part by itself.
const partsEnding = ".sha256"

const (
	maxParts   = 999
	maxPartSum = 1 << 20 // bytes of the list
)

// partLine is one line of the list: digest, name, which ends in its number from 1.
var partLine = regexp.MustCompile(`^([0-9a-f]{64})  ([^/\x00-\x1f]+\.([0-9]{3}))$`)

// Split cuts a file into FILE.001, FILE.002 and so on, of size bytes each but
// the last, with a list FILE.sha256, and removes it. "sha256sum -c FILE.sha256"
// names each part that is damaged, missing or in another's place; "cat FILE.???"
// makes the whole again, and an oci-archive is read from its parts as they are.
//
// It needs room for one part more than the file. Killed or interrupted, it leaves
// no list, and the copy is made anew.
func Split(ctx context.Context, file string, size int64) (parts []string, err error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	n := int((st.Size() + size - 1) / size)
	if n > maxParts {
		return nil, fmt.Errorf("%w: %d parts of %d bytes are more than %d; make them larger", oci.ErrReference, n, size, maxParts)
	}
	// What an earlier split left must not be taken for a part of this one.
	old, err := filepath.Glob(globEscape(file) + ".[0-9][0-9][0-9]")
	if err != nil {
		return nil, err
	}
	for _, name := range append(old, file+partsEnding) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Cut short it is no archive any more: under a temporary name, which the next push removes.
	dir, base := filepath.Split(file)
	aside := filepath.Join(dir, "."+base+".mmoci-tmp-split")
	if err := durable.TryLock(f); err != nil {
		return nil, fmt.Errorf("lock of %s: %w", file, err)
	}
	if err := oci.Interrupted(ctx); err != nil {
		return nil, err // the whole file is there still
	}
	if err := os.Rename(file, aside); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, name := range append(parts, aside) { // no use to anybody, and room for the next try
				_ = os.Remove(name)
			}
			parts = nil
		}
	}()
	parts, lines := make([]string, n), make([]string, n)
	for i := n - 1; i >= 0; i-- { // from the end, so that what was copied can be cut off
		parts[i] = fmt.Sprintf("%s.%03d", file, i+1)
		sum, err := copyPart(ctx, parts[i], io.NewSectionReader(f, int64(i)*size, size))
		if err == nil {
			err = f.Truncate(int64(i) * size)
		}
		if err != nil {
			return parts, fmt.Errorf("part %s: %w", parts[i], err)
		}
		lines[i] = fmt.Sprintf("%s  %s\n", sum, filepath.Base(parts[i]))
	}
	if err := oci.Interrupted(ctx); err != nil {
		return parts, err
	}
	if err := durable.WriteFile(file+partsEnding, []byte(strings.Join(lines, "")), 0o644); err != nil {
		return parts, err
	}
	_ = os.Remove(aside) // empty by now; the next copy removes it too
	return parts, nil
}

// copyPart writes one part, durable on return, and returns its digest.
func copyPart(ctx context.Context, name string, r io.Reader) (string, error) {
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), oci.WithContext(ctx, r))
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Sync(), f.Close())
}

// openParts opens the oci-archive that file was split from; fs.ErrNotExist if
// there is no list. Every part is hashed first: all that are wrong are named.
func openParts(ctx context.Context, file string) (seekerAt, error) {
	data, err := oci.ReadFile(file+partsEnding, maxPartSum)
	if err != nil {
		return nil, err
	}
	var all joined
	var wrong []error
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		m := partLine.FindStringSubmatch(lines.Text())
		if m == nil || m[3] != fmt.Sprintf("%03d", len(all.parts)+1) {
			return nil, fmt.Errorf("%s: line %.100q is not part %03d", file+partsEnding, lines.Text(), len(all.parts)+1)
		}
		p, err := openPart(ctx, filepath.Join(filepath.Dir(file), m[2]), m[1])
		if ended := oci.Interrupted(ctx); ended != nil {
			all.Close()
			return nil, ended
		}
		if err != nil {
			wrong = append(wrong, err)
			p = &part{}
		}
		p.offset = all.size
		all.size += p.size
		all.parts = append(all.parts, p)
	}
	if err := errors.Join(lines.Err(), errors.Join(wrong...)); err != nil {
		all.Close()
		return nil, err
	}
	return struct {
		*io.SectionReader
		io.Closer
	}{io.NewSectionReader(&all, 0, all.size), &all}, nil
}

func openPart(ctx context.Context, name, want string) (*part, error) {
	f, info, err := oci.OpenRegular(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("part %s %w", name, oci.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, oci.WithContext(ctx, f)); err != nil {
		f.Close()
		return nil, fmt.Errorf("part %s: %w", name, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		f.Close()
		return nil, oci.Integrity("part %s is damaged, or another part has its name: sha256 %s, want %s", name, got, want)
	}
	return &part{f: f, size: info.Size()}, nil
}

// part is an opened part of a file, joined all of them in order.
type part struct {
	f            *os.File
	offset, size int64
}

type joined struct {
	parts []*part
	size  int64
}

// ReadAt reads over the joints.
func (j *joined) ReadAt(b []byte, offset int64) (n int, err error) {
	for _, p := range j.parts {
		if at := offset + int64(n) - p.offset; n < len(b) && at >= 0 && at < p.size {
			m, err := p.f.ReadAt(b[n:min(int64(len(b)), int64(n)+p.size-at)], at)
			if n += m; err != nil && err != io.EOF {
				return n, err
			}
		}
	}
	if n < len(b) {
		err = io.EOF
	}
	return n, err
}

// Close closes the parts.
func (j *joined) Close() error {
	var err error
	for _, p := range j.parts {
		if p.f != nil {
			err = errors.Join(err, p.f.Close())
		}
	}
	return err
}
