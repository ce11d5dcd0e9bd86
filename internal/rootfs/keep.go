package rootfs

import (
	"errors"
	"path"
	"strings"

	"example.org/mmoci/internal/rootfs/sharedlib"
)

const (
	maxKept  = 1 << 20 // bytes of a file that a note keeps
	maxKepts = 4 << 20 // bytes of all of them

	// Of a shared library this much is looked at, from its begin and from its end:
	// headers and names are in front, the dynamic section is behind.
	libraryHead = 16 << 20
	libraryTail = 4 << 20
)

// Library is a shared library as ldconfig(8) sees it.
type Library struct {
	Path string
	sharedlib.Library
}

// isKept tells the files whose content a note keeps, so that fix-ups and
// inventories need no .deb.
func isKept(p string) bool {
	dir, file := path.Split(p)
	switch dir {
	case "etc/":
		return file == "ld.so.conf" || file == "debian_version"
	case "etc/ld.so.conf.d/":
		return strings.HasSuffix(file, ".conf")
	case "usr/share/base-passwd/":
		return file == "passwd.master" || file == "group.master"
	case "usr/lib/":
		return file == "os-release"
	}
	certificate := strings.HasPrefix(p, "usr/share/ca-certificates/") || strings.HasPrefix(p, "usr/local/share/ca-certificates/")
	return certificate && strings.HasSuffix(file, ".crt") || isCopyright(p)
}

// look holds content of a file that is looked at when it is complete. As an
// io.ReaderAt it gives what was held.
type look struct {
	size, n    int64
	head, tail []byte
	whole      bool // to be kept as it is
	none       bool // no ELF file
}

// looker is what looks at a file, nil for most.
func (l *layer) looker(e *Entry) *look {
	whole := e.Size <= maxKept && isKept(e.Path)
	if e.Size == 0 || !whole && !sharedlib.HasName(path.Base(e.Path)) {
		return nil
	}
	return &look{size: e.Size, whole: whole}
}

// Write takes content; nil takes none. A file that is no ELF file by its first
// bytes, and none to be kept whole, is not held.
func (k *look) Write(p []byte) (int, error) {
	if k == nil || k.none {
		return len(p), nil
	}
	n := len(p)
	if room := libraryHead - len(k.head); room > 0 {
		take := min(room, len(p))
		k.head = append(k.head, p[:take]...)
		k.n += int64(take)
		p = p[take:]
		if !k.whole && len(k.head) >= 4 && string(k.head[:4]) != "\x7fELF" {
			k.none, k.head = true, nil
			return n, nil
		}
	}
	if skip := k.size - libraryTail - k.n; skip > 0 {
		take := min(skip, int64(len(p)))
		k.n += take
		p = p[take:]
	}
	k.tail = append(k.tail, p...)
	k.n += int64(len(p))
	return n, nil
}

var errNotHeld = errors.New("in the middle of a large file")

// ReadAt implements io.ReaderAt over what is held.
func (k *look) ReadAt(p []byte, off int64) (int, error) {
	if off >= 0 && off < int64(len(k.head)) {
		n := copy(p, k.head[off:])
		if n < len(p) {
			return n, errNotHeld
		}
		return n, nil
	}
	if from := k.size - int64(len(k.tail)); off >= from && off < k.size {
		n := copy(p, k.tail[off-from:])
		if n < len(p) {
			return n, errNotHeld
		}
		return n, nil
	}
	return 0, errNotHeld
}

// looked notes what a file is, now that it is complete.
func (l *layer) looked(e *Entry, k *look) {
	if k == nil {
		return
	}
	if k.whole {
		if l.keptBytes += len(k.head); l.keptBytes <= maxKepts {
			l.note.Kept = append(l.note.Kept, KeptFile{e.Path, k.head})
		}
		return
	}
	if lib, err := sharedlib.Read(k, e.Size); err == nil {
		l.note.Libraries = append(l.note.Libraries, Library{e.Path, lib})
	}
}
