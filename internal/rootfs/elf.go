package rootfs

import (
	"bytes"
	"debug/elf"
	"path"
	"strings"
)

// Library is a shared library as ldconfig(8) sees it.
type Library struct {
	Path    string
	Soname  string // DT_SONAME; "" if it has none
	Class   byte   // EI_CLASS: 1 for 32 bits, 2 for 64
	Machine uint16 // e_machine
	Flags   uint32 // e_flags
	ISA     uint32 // GNU_PROPERTY_X86_ISA_1_NEEDED, 0 if it has none
}

// mayBeLibrary tells the names that ldconfig looks at: lib*.so*, ld-*.so*, and
// ld.so* in any directory.
func mayBeLibrary(p string) bool {
	base := path.Base(p)
	return (strings.HasPrefix(base, "lib") || strings.HasPrefix(base, "ld-") || strings.HasPrefix(base, "ld.so") || strings.HasPrefix(base, "ld64.so")) && strings.Contains(base, ".so")
}

// readLibrary reads the head of an ELF file; false if it is no shared library.
func readLibrary(head []byte) (lib Library, ok bool) {
	defer func() {
		if recover() != nil { // debug/elf does not promise to bear every input
			ok = false
		}
	}()
	f, err := elf.NewFile(bytes.NewReader(head))
	if err != nil || f.Type != elf.ET_DYN {
		return lib, false
	}
	lib = Library{Class: byte(f.Class), Machine: uint16(f.Machine)}
	if names, err := f.DynString(elf.DT_SONAME); err == nil && len(names) == 1 {
		lib.Soname = names[0]
	}
	return lib, true
}
