package run

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/pkg/deb"
)

// repack copies a .deb for dpkg, and returns its control file and its scripts.
// The copy has the same content, but for scripts that are not to be run, in tars
// that are not compressed (deb(5)): dpkg decompresses each package by itself, on
// one processor, which takes most of the time of unpacking.
func repack(to *os.File, from io.Reader, skip bool) (control deb.Stanza, scripts map[string][]byte, err error) {
	scripts = map[string][]byte{}
	err = deb.Unpack(from, func(c deb.Contents) error {
		control = c.Control
		var kept bytes.Buffer
		w := tar.NewWriter(&kept)
		for _, file := range c.Files {
			if slices.Contains(account.Scripts, file.Name) {
				scripts[file.Name] = file.Data
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
		return writeDeb(to, kept.Bytes(), c.Data)
	})
	if err == nil {
		_, err = io.Copy(io.Discard, from) // the last byte is the one that proves the others
	}
	return control, scripts, err
}

// writeDeb writes an ar archive with the members of a .deb.
func writeDeb(to *os.File, control []byte, data io.Reader) error {
	head := []byte("!<arch>\n")
	head = append(append(head, arHeader("debian-binary", 4)...), "2.0\n"...)
	head = append(append(head, arHeader("control.tar", int64(len(control)))...), control...) // a tar is of even length
	w := bufio.NewWriterSize(to, 256<<10)
	w.Write(append(head, arHeader("data.tar", 0)...))
	n, err := io.Copy(w, data)
	if err == nil && n%2 == 1 {
		err = w.WriteByte('\n')
	}
	if err := cmp.Or(err, w.Flush()); err != nil {
		return err
	}
	_, err = to.WriteAt(arHeader("data.tar", n), int64(len(head)))
	return err
}

// arHeader is that of a member: name, time, owner, group, mode, size (ar(5)).
func arHeader(name string, size int64) []byte {
	return fmt.Appendf(nil, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", size)
}
