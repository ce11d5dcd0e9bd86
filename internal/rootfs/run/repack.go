package run

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/pkg/deb"
)

const arHeader = 60

// withoutScripts takes the scripts out of a .deb, so that dpkg does not run them.
// The rest stays as it is.
func withoutScripts(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var control bytes.Buffer
	err := deb.Unpack(f, func(c deb.Contents) error {
		w := tar.NewWriter(&control)
		for _, file := range c.Files {
			if slices.Contains(account.Scripts, file.Name) {
				continue
			}
			if err := w.WriteHeader(&tar.Header{Name: "./" + file.Name, Mode: file.Mode, Size: int64(len(file.Data)), Format: tar.FormatGNU}); err != nil {
				return err
			}
			if _, err := w.Write(file.Data); err != nil {
				return err
			}
		}
		return errors.Join(w.Close(), errEnough)
	})
	if !errors.Is(err, errEnough) {
		return err
	}
	// Magic, debian-binary, control.tar, and what follows: that is copied behind the
	// new control.tar.
	at, err := controlMember(f)
	if err != nil {
		return err
	}
	rest, err := os.CreateTemp("", "mmoci-deb-")
	if err != nil {
		return err
	}
	defer os.Remove(rest.Name())
	defer rest.Close()
	if _, err := f.Seek(at.end, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(rest, f); err != nil {
		return err
	}
	if _, err := rest.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := f.Truncate(at.start); err != nil {
		return err
	}
	if _, err := f.Seek(at.start, io.SeekStart); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", "control.tar", 0, 0, 0, "100644", control.Len()); err != nil {
		return err
	}
	if control.Len()%2 == 1 {
		control.WriteByte('\n')
	}
	if _, err := f.Write(control.Bytes()); err != nil {
		return err
	}
	_, err = io.Copy(f, rest)
	return err
}

type member struct{ start, end int64 }

// controlMember finds the control.tar of a .deb that was read before.
func controlMember(f io.ReaderAt) (member, error) {
	for at := int64(8); ; {
		var h [arHeader]byte
		if _, err := f.ReadAt(h[:], at); err != nil {
			return member{}, err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
		if err != nil || size < 0 {
			return member{}, fmt.Errorf("ar header at %d", at)
		}
		end := at + arHeader + size + size%2
		if strings.HasPrefix(string(h[:16]), "control.tar") {
			return member{at, end}, nil
		}
		at = end
	}
}
