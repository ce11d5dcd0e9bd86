package run

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// repacked is a copy of a .deb for dpkg. It has the same content, but for scripts that
// are not to be run, in tars that are not compressed (deb(5)): dpkg decompresses each
// package by itself, on one processor, which takes most of the time of unpacking.
type repacked struct {
	control deb.Stanza
	scripts map[string][]byte
	head    snapshot.Blob // of the copy, what is before the content of data.tar
	data    snapshot.Blob // and the rest
}

// repack makes a copy.
func repack(to *os.File, from io.Reader, skip bool) (*repacked, error) {
	made := &repacked{scripts: map[string][]byte{}}
	err := deb.Unpack(from, func(c deb.Contents) error {
		made.control = c.Control
		var kept bytes.Buffer
		w := tar.NewWriter(&kept)
		for _, file := range c.Files {
			if slices.Contains(account.Scripts, file.Name) {
				made.scripts[file.Name] = file.Data
				if skip {
					continue
				}
			}
			h := &tar.Header{Name: "./" + file.Name, Mode: file.Mode, Size: int64(len(file.Data)), ModTime: time.Unix(file.ModTime, 0), Format: tar.FormatGNU}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			if _, err := w.Write(file.Data); err != nil {
				return err
			}
		}
		if err := w.Close(); err != nil {
			return err
		}
		var err error
		made.head, made.data, err = writeDeb(to, kept.Bytes(), c.Data)
		return err
	})
	if err == nil {
		_, err = io.Copy(io.Discard, from) // the last byte is the one that proves the others
	}
	return made, err
}

// open opens the copy. Its last byte comes only if all are those that were written.
func (d *repacked) open(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	head := snapshot.NewReader(io.NopCloser(io.NewSectionReader(f, 0, d.head.Size)), d.head)
	data := snapshot.NewReader(io.NopCloser(io.NewSectionReader(f, d.head.Size, d.data.Size)), d.data)
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(head, data), f}, nil
}

// writeDeb writes an ar archive with the members of a .deb, and returns what its two parts are.
func writeDeb(to *os.File, control []byte, data io.Reader) (before, content snapshot.Blob, err error) {
	head := []byte("!<arch>\n")
	head = append(append(head, arHeader("debian-binary", 4)...), "2.0\n"...)
	head = append(append(head, arHeader("control.tar", int64(len(control)))...), control...) // a tar is of even length
	if _, err := to.Write(append(slices.Clip(head), arHeader("data.tar", 0)...)); err != nil {
		return before, content, err
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(to, sum), 256<<10)
	n, err := io.Copy(w, data)
	if err == nil && n%2 == 1 {
		err = w.WriteByte('\n')
	}
	if err := cmp.Or(err, w.Flush()); err != nil {
		return before, content, err
	}
	size := arHeader("data.tar", n)
	_, err = to.WriteAt(size, int64(len(head)))
	head = append(head, size...)
	content = snapshot.Blob{Digest: snapshot.Digest(sum.Sum(nil)), Size: n + n%2}
	return snapshot.Blob{Digest: snapshot.Sum(head), Size: int64(len(head))}, content, err
}

// arHeader is that of a member: name, time, owner, group, mode, size (ar(5)).
func arHeader(name string, size int64) []byte {
	return fmt.Appendf(nil, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", size)
}
