// Package sharedlib reads of a shared library what the dynamic linker's cache
// says of it: whose libraries they are, and under which name programs ask.
//
// It reads what ldconfig reads, by the same rules (glibc, elf/readlib.c,
// elf/readelflib.c and sysdeps/unix/sysv/linux/*/readelflib.c), of files that may
// be hostile: nothing outside of the file is read, and no loop is longer than the
// file has bytes.
package sharedlib

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"strings"
)

// Library is what ldconfig learns of one file.
type Library struct {
	Class   elf.Class
	Data    elf.Data
	Machine elf.Machine
	Flags   uint32 // of the ELF header; tells arm's two ABIs apart
	Soname  string // empty if the library declares none
	// Libc6 tells that the library is of glibc 2 as its needs or its interpreter
	// say. What cannot be of another libc, by its machine, does not need it.
	Libc6 bool
	// ISA is the level of x86 that the library declares to need, 0 for none.
	ISA uint32
	// Generator is what ldconfig of the same glibc calls itself in the cache, such as
	// "ldconfig (Debian GLIBC 2.36-9) stable release version 2.36". Only libc.so.6
	// has it, in its banner.
	Generator string
}

// Limits of a library. Of what is beyond them ldconfig would read more.
const (
	maxSegments = 1 << 10
	maxDynamic  = 1 << 20 // bytes of the dynamic section
	maxNotes    = 1 << 16 // bytes of a segment of notes
	maxName     = 255     // bytes of a soname: a file must be able to have it
	maxLibc     = 1 << 25 // bytes of libc.so.6, searched for its banner
)

// ErrNone tells that a file is no shared library.
var ErrNone = errors.New("no shared library")

// HasName tells whether ldconfig looks into a file of this base name: lib*.so* or
// the dynamic linker's own (elf/dl-is_dso.h), and no temporary file of dpkg.
func HasName(name string) bool {
	if !strings.Contains(name, ".so") || strings.HasSuffix(name, ".dpkg-new") || strings.HasSuffix(name, ".dpkg-tmp") {
		return false
	}
	for _, start := range []string{"lib", "ld-", "ld.so.", "ld64.so."} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return false
}

// Read reads a file of size bytes. The error is ErrNone if it is no shared
// library by ldconfig's rules, whatever else it is; another is r's.
func Read(r io.ReaderAt, size int64) (Library, error) {
	f := file{r: r, size: size}
	l, err := f.library()
	if f.err != nil {
		return Library{}, f.err
	}
	if err != nil {
		return Library{}, fmt.Errorf("%w: %w", ErrNone, err)
	}
	return l, nil
}

var errOutside = errors.New("offset outside of the file")

// file is an ELF file under reading.
type file struct {
	r     io.ReaderAt
	size  int64
	err   error // of r, but for the end
	order binary.ByteOrder
	wide  bool // 64 bits
}

// at reads n bytes at an offset.
func (f *file) at(off uint64, n int) ([]byte, error) {
	if off > uint64(f.size) || uint64(n) > uint64(f.size)-off {
		return nil, errOutside
	}
	b := make([]byte, n)
	if got, err := f.r.ReadAt(b, int64(off)); got < n {
		f.err = err
		return nil, err
	}
	return b, nil
}

// word reads a number of the file's class.
func (f *file) word(b []byte) uint64 {
	if f.wide {
		return f.order.Uint64(b)
	}
	return uint64(f.order.Uint32(b))
}

// wordSize is the bytes of such a number.
func (f *file) wordSize() int {
	if f.wide {
		return 8
	}
	return 4
}

// segment is a program header.
type segment struct {
	kind                        elf.ProgType
	offset, addr, inFile, align uint64
}

func (f *file) library() (Library, error) {
	var l Library
	ident, err := f.at(0, 52)
	if err != nil || string(ident[:4]) != elf.ELFMAG {
		return l, errors.New("no ELF file")
	}
	l.Class, l.Data = elf.Class(ident[elf.EI_CLASS]), elf.Data(ident[elf.EI_DATA])
	switch l.Data {
	case elf.ELFDATA2LSB:
		f.order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		f.order = binary.BigEndian
	default:
		return l, errors.New("neither byte order")
	}
	switch l.Class {
	case elf.ELFCLASS32:
	case elf.ELFCLASS64:
		f.wide = true
	default:
		return l, errors.New("neither class")
	}
	if elf.Type(f.order.Uint16(ident[16:])) != elf.ET_DYN {
		return l, errors.New("no shared object")
	}
	l.Machine = elf.Machine(f.order.Uint16(ident[18:]))
	segments, err := f.segments(&l)
	if err != nil {
		return l, err
	}
	return l, f.dynamic(&l, segments)
}

// segments reads the program headers, and of them the interpreter and the
// properties.
func (f *file) segments(l *Library) ([]segment, error) {
	length := 52
	if f.wide {
		length = 64
	}
	h, err := f.at(0, length)
	if err != nil {
		return nil, err
	}
	var start uint64
	var count, each int
	if f.wide {
		start, l.Flags, each, count = f.order.Uint64(h[32:]), f.order.Uint32(h[48:]), 56, int(f.order.Uint16(h[56:]))
	} else {
		start, l.Flags, each, count = uint64(f.order.Uint32(h[28:])), f.order.Uint32(h[36:]), 32, int(f.order.Uint16(h[44:]))
	}
	if count > maxSegments {
		return nil, errors.New("too many segments")
	}
	table, err := f.at(start, count*each)
	if err != nil {
		return nil, err
	}
	all := make([]segment, count)
	for i := range all {
		b := table[i*each:]
		s := segment{kind: elf.ProgType(f.order.Uint32(b))}
		if f.wide {
			s.offset, s.addr, s.inFile, s.align = f.order.Uint64(b[8:]), f.order.Uint64(b[16:]), f.order.Uint64(b[32:]), f.order.Uint64(b[48:])
		} else {
			s.offset, s.addr = uint64(f.order.Uint32(b[4:])), uint64(f.order.Uint32(b[8:]))
			s.inFile, s.align = uint64(f.order.Uint32(b[16:])), uint64(f.order.Uint32(b[28:]))
		}
		all[i] = s
		switch s.kind {
		case elf.PT_INTERP:
			name, err := f.name(s.offset)
			if err != nil {
				return nil, err
			}
			l.Libc6 = l.Libc6 || interpreters[name]
		case elf.PT_GNU_PROPERTY:
			if s.align == uint64(f.wordSize()) {
				l.ISA = f.isa(l.Machine, s)
			}
		}
	}
	return all, nil
}

// interpreters and libc are what tells a library of glibc 2 from others.
var interpreters = map[string]bool{"/lib/ld-linux.so.2": true, "/lib/ld-linux.so.3": true, "/lib/ld-linux-armhf.so.3": true}

var libc = map[string]bool{"libc.so.6": true, "libm.so.6": true}

// name reads a string up to its NUL.
func (f *file) name(off uint64) (string, error) {
	if off >= uint64(f.size) {
		return "", errOutside
	}
	b, err := f.at(off, int(min(uint64(f.size)-off, maxName+1)))
	if err != nil {
		return "", err
	}
	s, _, ended := bytes.Cut(b, []byte{0})
	if !ended {
		return "", errors.New("name without an end")
	}
	return string(s), nil
}

// dynamic reads the sonames and needs.
func (f *file) dynamic(l *Library, segments []segment) error {
	var start, size uint64
	for _, s := range segments {
		if s.kind == elf.PT_DYNAMIC {
			start, size = s.offset, s.inFile
		}
	}
	if size == 0 {
		return errors.New("no dynamic section")
	}
	if start >= uint64(f.size) {
		return errOutside
	}
	section, err := f.at(start, int(min(size, uint64(f.size)-start, maxDynamic)))
	if err != nil {
		return err
	}
	type entry struct {
		tag elf.DynTag
		val uint64
	}
	var entries []entry
	table, found := uint64(0), false
	for n := f.wordSize(); len(section) >= 2*n; section = section[2*n:] {
		e := entry{elf.DynTag(int64(f.word(section))), f.word(section[n:])}
		if e.tag == elf.DT_NULL {
			break
		}
		entries = append(entries, e)
		if e.tag == elf.DT_STRTAB && !found {
			table, found = inFile(segments, e.val), true
		}
	}
	if !found {
		return errors.New("no dynamic strings")
	}
	for _, e := range entries {
		if e.tag != elf.DT_NEEDED && e.tag != elf.DT_SONAME {
			continue
		}
		name, err := f.name(table + e.val)
		if err != nil {
			return err
		}
		if e.tag == elf.DT_NEEDED {
			l.Libc6 = l.Libc6 || libc[name]
		} else if l.Soname == "" {
			if strings.Contains(name, "/") || name == "." || name == ".." || !printable(name) {
				return fmt.Errorf("soname %q", name)
			}
			l.Soname = name
		}
	}
	if l.Soname == "libc.so.6" {
		l.Generator = f.generator()
	}
	return nil
}

// inFile is the offset in the file of an address.
func inFile(segments []segment, addr uint64) uint64 {
	for _, s := range segments {
		if s.kind == elf.PT_LOAD && addr >= s.addr && addr-s.addr < s.inFile {
			return addr - s.addr + s.offset
		}
	}
	return addr
}

const (
	noteProperty  = 5 // NT_GNU_PROPERTY_TYPE_0
	x86ISA1Needed = 0xc0008002
)

// isa reads the x86 level that the properties of a segment ask for: the highest
// bit of GNU_PROPERTY_X86_ISA_1_NEEDED.
func (f *file) isa(m elf.Machine, s segment) uint32 {
	if m != elf.EM_X86_64 && m != elf.EM_386 || s.inFile > maxNotes {
		return 0
	}
	notes, err := f.at(s.offset, int(s.inFile))
	if err != nil {
		return 0
	}
	align := f.wordSize()
	for len(notes) >= 12 {
		nameSize, size, kind := int64(f.order.Uint32(notes)), int64(f.order.Uint32(notes[4:])), f.order.Uint32(notes[8:])
		desc := roundUp(12+nameSize, align)
		end := roundUp(desc+size, align)
		if desc+size > int64(len(notes)) {
			return 0
		}
		if nameSize == 4 && kind == noteProperty && string(notes[12:16]) == "GNU\x00" {
			return f.needed(notes[desc:desc+size], align)
		}
		notes = notes[min(end, int64(len(notes))):]
	}
	return 0
}

// needed looks through an array of properties, which stand in order of type.
func (f *file) needed(p []byte, align int) uint32 {
	for last := uint32(0); len(p) >= 8; {
		kind, size := f.order.Uint32(p), int64(f.order.Uint32(p[4:]))
		if kind < last || kind > x86ISA1Needed || size > int64(len(p))-8 {
			return 0
		}
		if last = kind; kind == x86ISA1Needed {
			if size != 4 {
				return 0
			}
			return uint32(max(bits.Len32(f.order.Uint32(p[8:]))-1, 0))
		}
		p = p[min(8+roundUp(size, align), int64(len(p))):]
	}
	return 0
}

func roundUp(n int64, align int) int64 { return (n + int64(align) - 1) / int64(align) * int64(align) }

// String is the library in one line, such as "2/1/62/0/libc6/0/libz.so.1/".
// [Parse] reads it.
func (l Library) String() string {
	libc := ""
	if l.Libc6 {
		libc = "libc6"
	}
	return fmt.Sprintf("%d/%d/%d/%x/%s/%d/%s/%s", l.Class, l.Data, l.Machine, l.Flags, libc, l.ISA, l.Soname, l.Generator)
}

// Parse reads what [Library.String] wrote.
func Parse(s string) (Library, error) {
	wrong := func(why error) (Library, error) { return Library{}, fmt.Errorf("library %.600q: %w", s, why) }
	f := strings.SplitN(s, "/", 8)
	if len(f) != 8 {
		return wrong(errors.New("want 8 fields"))
	}
	var n [6]uint64
	for i, size := range []int{8, 8, 16, 32, 0, 32} {
		if size == 0 {
			continue
		}
		base := 10
		if i == 3 {
			base = 16
		}
		var err error
		if n[i], err = strconv.ParseUint(f[i], base, size); err != nil {
			return wrong(err)
		}
	}
	l := Library{
		Class: elf.Class(n[0]), Data: elf.Data(n[1]), Machine: elf.Machine(n[2]), Flags: uint32(n[3]),
		Libc6: f[4] == "libc6", ISA: uint32(n[5]), Soname: f[6], Generator: f[7],
	}
	if l.String() != s || !printable(l.Soname) || !printable(l.Generator) {
		return wrong(errors.New("not as it is written"))
	}
	return l, nil
}

// printable tells whether a word can stand in a line and be a file's name.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' && s[i] != ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// generator finds libc's banner.
func (f *file) generator() string {
	if f.size > maxLibc {
		return ""
	}
	libc, err := f.at(0, int(f.size))
	if err != nil {
		return ""
	}
	for {
		_, rest, found := bytes.Cut(libc, []byte("GNU C Library "))
		if !found {
			return ""
		}
		line, _, _ := bytes.Cut(rest[:min(len(rest), 300)], []byte{'\n'})
		text, found := bytes.CutSuffix(line, []byte("."))
		if found && bytes.Contains(text, []byte(" release version ")) && printable(string(text)) {
			return "ldconfig " + string(text)
		}
		libc = rest
	}
}
