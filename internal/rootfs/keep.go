package rootfs

import (
	"bytes"
	"path"
	"strings"
)

const (
	maxKept  = 1 << 20  // bytes of a file that a note keeps
	maxKepts = 4 << 20  // bytes of all of them
	keepHead = 16 << 20 // bytes of a shared library that are looked at
)

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
	return strings.HasPrefix(p, "usr/share/ca-certificates/") && strings.HasSuffix(file, ".crt") || isCopyright(p)
}

// keeper is a buffer for the content of a file that is looked at later, or nil.
func (l *layer) keeper(e *Entry, size int64) *bytes.Buffer {
	if size > 0 && (size <= maxKept && isKept(e.Path) || mayBeLibrary(e.Path)) {
		return &bytes.Buffer{}
	}
	return nil
}

// kept looks at the content that was kept.
func (l *layer) kept(e *Entry, keep *bytes.Buffer) error {
	if keep == nil {
		return nil
	}
	if isKept(e.Path) {
		total := keep.Len()
		for _, k := range l.note.Kept {
			total += len(k.Data)
		}
		if total <= maxKepts {
			l.note.Kept = append(l.note.Kept, KeptFile{e.Path, keep.Bytes()})
		}
		return nil
	}
	if lib, ok := readLibrary(keep.Bytes()); ok {
		lib.Path = e.Path
		l.note.Libraries = append(l.note.Libraries, lib)
	}
	return nil
}
