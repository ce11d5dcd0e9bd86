package fixup

import (
	"archive/tar"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/sharedlib"
	"example.org/mmoci/internal/rootfs/stack"
)

// LinkerPath is where the dynamic linker looks for its cache.
const LinkerPath = "etc/ld.so.cache"

const linkerConf = "/etc/ld.so.conf"

// maxDepth and maxConf bound how deep files of /etc/ld.so.conf include each other,
// and how many are read.
const (
	maxDepth = 16
	maxConf  = 1 << 10
)

// LinkerOptions are what the dynamic linker's cache is made of.
type LinkerOptions struct {
	Tree         *stack.Tree
	Architecture string // Debian's name
	// Library tells what the regular file at a path of the tree is; false if it is
	// no shared library. It is asked only for names that [sharedlib.HasName].
	Library func(path string) (sharedlib.Library, bool)
	// Text reads a regular file of the tree: the configuration.
	Text func(path string) ([]byte, error)
}

// Linker is the cache, and what ldconfig does to the tree beside writing it.
type Linker struct {
	Cache []byte
	Links []Link   // sonames without a link to their library
	Stale []string // links to nothing whose name has ".so.", which ldconfig removes
}

// Link is a symlink of the tree.
type Link struct{ Path, Target string }

// LinkerCache makes what "ldconfig -r" makes in a root that has no cache yet, byte
// for byte, for glibc from 2.33 on (format 1.1 with extensions; elf/cache.c,
// elf/ldconfig.c with Debian's patches). Directories for old hardware
// capabilities, such as tls/, are not looked into: glibc 2.37 dropped them, and no
// package of Debian has them. Architectures are amd64, arm64 and i386.
func LinkerCache(o LinkerOptions) (*Linker, error) {
	machine, ok := machines[o.Architecture]
	if !ok {
		return nil, fmt.Errorf("ld.so.cache for architecture %q: not known", o.Architecture)
	}
	c := &linker{LinkerOptions: o, machine: machine, result: &Linker{}}
	c.Tree = c.Tree.Clone()
	c.findGenerator()
	if err := c.readConf(linkerConf, 0); err != nil {
		return nil, err
	}
	for _, dir := range []string{"/lib/" + machine.triplet, "/usr/lib/" + machine.triplet, "/lib", "/usr/lib"} {
		c.addDir(dir)
	}
	for _, d := range c.dirs {
		c.search(d)
	}
	cache, err := c.encode()
	if err != nil {
		return nil, err
	}
	c.result.Cache = cache
	return c.result, nil
}

// machine is what ldconfig of an architecture takes.
type machine struct {
	triplet string
	flags   map[elf.Machine]map[elf.Class]uint32
}

const (
	flagELF   = 0x0001
	flagLibc6 = 0x0003
)

var machines = map[string]machine{
	"amd64": {"x86_64-linux-gnu", map[elf.Machine]map[elf.Class]uint32{
		elf.EM_X86_64: {elf.ELFCLASS64: 0x0300 | flagLibc6, elf.ELFCLASS32: 0x0800 | flagLibc6},
		elf.EM_386:    {elf.ELFCLASS32: flagELF},
	}},
	"i386": {"i386-linux-gnu", map[elf.Machine]map[elf.Class]uint32{
		elf.EM_X86_64: {elf.ELFCLASS64: 0x0300 | flagLibc6, elf.ELFCLASS32: 0x0800 | flagLibc6},
		elf.EM_386:    {elf.ELFCLASS32: flagELF},
	}},
	"arm64": {"aarch64-linux-gnu", map[elf.Machine]map[elf.Class]uint32{
		elf.EM_AARCH64: {elf.ELFCLASS64: 0x0a00 | flagLibc6},
	}},
}

// linker is ldconfig at work.
type linker struct {
	LinkerOptions
	machine   machine
	generator string
	minor     int // of glibc 2
	confs     int // files of the configuration that were read
	dirs      []libraryDir
	entries   []cacheEntry
	result    *Linker
}

// libraryDir is a directory that is searched.
type libraryDir struct {
	path  string // as it was named, with a slash in front
	real  string // in the tree
	hwcap string // name below glibc-hwcaps
}

// cacheEntry is a line of the cache.
type cacheEntry struct {
	soname, path string
	flags, isa   uint32
	hwcap        string
}

// findGenerator looks for the libc that the tree's programs use.
func (c *linker) findGenerator() {
	for _, dir := range []string{"/lib/" + c.machine.triplet, "/usr/lib/" + c.machine.triplet, "/lib", "/usr/lib"} {
		e, _ := c.Tree.Follow(dir + "/libc.so.6")
		if e.Type != tar.TypeReg {
			continue
		}
		if l, ok := c.Library(e.Path); ok && l.Generator != "" {
			c.generator = l.Generator
			if _, version, found := strings.Cut(l.Generator, " release version 2."); found {
				digits, _, _ := strings.Cut(version, ".")
				c.minor, _ = strconv.Atoi(digits)
			}
			return
		}
	}
}

// readConf reads a file of directories, in its order.
func (c *linker) readConf(name string, depth int) error {
	if depth == maxDepth {
		return fmt.Errorf("%s: includes nest deeper than %d", name, maxDepth)
	}
	if c.confs++; c.confs > maxConf {
		return fmt.Errorf("%s: more than %d files are included", name, maxConf)
	}
	e, _ := c.Tree.Follow(name)
	if e.Type != tar.TypeReg {
		return nil // ldconfig warns, and goes on
	}
	text, err := c.Text(e.Path)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimLeft(line, " \t\n\v\f\r")
		switch {
		case line == "" || directive(strings.ToLower(line), "hwcap"):
		case directive(line, "include"):
			for word := range strings.FieldsFuncSeq(line[len("include"):], func(r rune) bool { return r == ' ' || r == '\t' }) {
				if !strings.HasPrefix(word, "/") {
					word = path.Dir(name) + "/" + word
				}
				for _, file := range c.Tree.Glob(word) {
					if err := c.readConf(file, depth+1); err != nil {
						return err
					}
				}
			}
		default:
			dir, _, _ := strings.Cut(line, "=") // a type of library, which nothing has today
			c.addDir(dir)
		}
	}
	return nil
}

// directive tells whether a line begins with a word and a blank.
func directive(line, word string) bool {
	return strings.HasPrefix(line, word) && len(line) > len(word) && (line[len(word)] == ' ' || line[len(word)] == '\t')
}

// addDir adds a directory, and what it has below glibc-hwcaps, unless it is
// there under another name.
func (c *linker) addDir(name string) {
	name = strings.TrimRight(strings.TrimRight(name, " \t\n\v\f\r"), "/")
	if name == "" {
		return
	}
	e, _ := c.Tree.Follow(name)
	if !e.IsDir() || !c.add(libraryDir{path: name, real: e.Path}) {
		return
	}
	for _, sub := range c.Tree.Names(e.Path + "/glibc-hwcaps") {
		at := name + "/glibc-hwcaps/" + sub
		if strings.HasPrefix(sub, ".") || strings.Contains(sub, ":") {
			continue
		}
		if e, _ := c.Tree.Follow(at); e.IsDir() {
			c.add(libraryDir{path: at, real: e.Path, hwcap: sub})
		}
	}
}

func (c *linker) add(d libraryDir) bool {
	if slices.ContainsFunc(c.dirs, func(o libraryDir) bool { return o.real == d.real }) {
		return false
	}
	c.dirs = append(c.dirs, d)
	return true
}

// found is a library of a directory.
type found struct {
	name, soname string
	flags, isa   uint32
	link         bool
}

// search looks through a directory.
func (c *linker) search(d libraryDir) {
	var all []found
	for _, name := range c.Tree.Names(d.real) {
		if !sharedlib.HasName(name) || strings.Contains(name, ".#prelink#") || strings.Contains(name, ";") {
			continue
		}
		at := d.real + "/" + name
		isLink := c.isLink(at)
		e, there := c.Tree.Follow(at)
		if isLink && !there {
			if strings.Contains(name, ".so.") {
				c.Tree.Remove(at)
				c.result.Stale = append(c.result.Stale, at)
			}
			continue
		}
		if e.Type != tar.TypeReg {
			continue
		}
		l, ok := c.Library(e.Path)
		if !ok {
			continue
		}
		flags, ok := c.flags(l)
		if !ok {
			continue
		}
		f := found{name: name, soname: cmp.Or(l.Soname, name), flags: flags, isa: l.ISA, link: isLink}
		// A link counts as one if it is the library's soname, or that without its
		// version: what the linker of programs looks for. Others are like files.
		if isLink && name != f.soname && (!strings.HasSuffix(name, ".so") || !strings.HasPrefix(f.soname, name)) {
			f.link = false
		}
		if f.link {
			f.soname = name
		}
		all = keep(all, f)
	}
	for _, f := range all {
		c.take(d, f)
	}
}

// keep adds a library, unless one of that soname is better: a file before a link,
// and else the newer name.
func keep(all []found, f found) []found {
	i := slices.IndexFunc(all, func(o found) bool { return o.soname == f.soname })
	if i < 0 {
		return append(all, f)
	}
	if o := all[i]; !f.link && o.link || f.link == o.link && compareNames(o.name, f.name) < 0 {
		all[i].name, all[i].link, all[i].isa = f.name, f.link, f.isa
	}
	return all
}

// flags tells the kind of a library, as far as ldconfig takes it.
func (c *linker) flags(l sharedlib.Library) (uint32, bool) {
	f, ok := c.machine.flags[l.Machine][l.Class]
	if f == flagELF && (l.Libc6 || c.minor >= 37) {
		f = flagLibc6
	}
	return f, ok && l.Data == elf.ELFDATA2LSB
}

// dynamicLinkers are what no link replaces (Debian, local-ldconfig-ignore-ld.so).
var dynamicLinkers = map[string]bool{
	"ld-linux-aarch64.so.1": true, "ld-linux-aarch64_be.so.1": true, "ld-linux-armhf.so.3": true,
	"ld-linux-x86-64.so.2": true, "ld-linux.so.2": true, "ld-linux.so.3": true,
	"ld.so.1": true, "ld64.so.1": true, "ld64.so.2": true,
}

// take puts a library into the cache, and links its soname to it.
func (c *linker) take(d libraryDir, f found) {
	file := f.name
	if d.hwcap == "" {
		file = f.soname
		if !f.link {
			c.link(d.real, f)
		}
	}
	e := cacheEntry{soname: f.soname, path: d.path + "/" + file, flags: f.flags, isa: f.isa, hwcap: d.hwcap}
	// The first of equals stays first.
	i, _ := slices.BinarySearchFunc(c.entries, e, func(o, e cacheEntry) int {
		if compareEntries(o, e) > 0 {
			return 1
		}
		return -1
	})
	c.entries = slices.Insert(c.entries, i, e)
}

func (c *linker) isLink(p string) bool {
	e, _ := c.Tree.Find(p)
	return e.Type == tar.TypeSymlink
}

// link makes the soname a link to the library, unless it is there.
func (c *linker) link(dir string, f found) {
	at := dir + "/" + f.soname
	_, there := c.Tree.Find(at)
	isLink := c.isLink(at)
	if there && !isLink || dynamicLinkers[f.soname] && isLink {
		return
	}
	if isLink {
		now, _ := c.Tree.Follow(at)
		if lib, _ := c.Tree.Follow(dir + "/" + f.name); now.Path == lib.Path {
			return
		}
	}
	c.Tree.Put(rootfs.Entry{Path: at, Type: tar.TypeSymlink, Link: f.name})
	c.result.Links = append(c.result.Links, Link{at, f.name})
}

// compareEntries is the order of the cache: by soname downwards, and what is more
// special first (elf/cache.c, compare).
func compareEntries(a, b cacheEntry) int {
	if c := compareNames(b.soname, a.soname); c != 0 {
		return c
	}
	if c := cmp.Compare(b.flags, a.flags); c != 0 {
		return c
	}
	if (a.hwcap == "") != (b.hwcap == "") {
		if a.hwcap != "" {
			return -1
		}
		return 1
	}
	return strings.Compare(a.hwcap, b.hwcap)
}

// compareNames compares numbers in names as numbers (elf/dl-cache.c,
// _dl_cache_libcmp). The dynamic linker searches by it.
func compareNames(a, b string) int {
	at := func(s string, i int) int {
		if i < len(s) {
			return int(int8(s[i]))
		}
		return 0
	}
	digit := func(s string, i int) bool { return i < len(s) && s[i] >= '0' && s[i] <= '9' }
	number := func(s string, i int) (int32, int) {
		var n int32
		for ; digit(s, i); i++ {
			n = n*10 + int32(s[i]-'0')
		}
		return n, i
	}
	i, j := 0, 0
	for i < len(a) {
		switch {
		case digit(a, i) && digit(b, j):
			var m, n int32
			m, i = number(a, i)
			n, j = number(b, j)
			if m != n {
				return int(m - n)
			}
		case digit(a, i):
			return 1
		case digit(b, j):
			return -1
		case at(a, i) != at(b, j):
			return at(a, i) - at(b, j)
		default:
			i, j = i+1, j+1
		}
	}
	return at(a, i) - at(b, j)
}

const (
	cacheMagic     = "glibc-ld.so.cache1.1"
	cacheHeader    = 48
	cacheLine      = 24
	extensionMagic = 0xeaa42174
	tagGenerator   = 0
	tagHwcaps      = 1
	hwcapExtension = 1 << 62
	littleEndian   = 2
)

// encode writes the cache (sysdeps/generic/dl-cache.h).
func (c *linker) encode() ([]byte, error) {
	var hwcaps, strs []string
	for _, e := range c.entries {
		strs = append(strs, e.soname, e.path)
		if e.hwcap != "" {
			hwcaps = append(hwcaps, e.hwcap)
		}
	}
	slices.Sort(hwcaps)
	hwcaps = slices.Compact(hwcaps)
	// ldconfig keeps names of directories that turn out to hold nothing, too.
	for _, d := range c.dirs {
		if d.hwcap != "" {
			strs = append(strs, d.hwcap)
		}
	}
	table, offsets := stringTable(strs)
	base := uint32(cacheHeader + cacheLine*len(c.entries))
	extension := (int(base) + len(table) + 3) / 4 * 4

	le := binary.LittleEndian
	out := make([]byte, 0, extension+256)
	out = append(out, cacheMagic...)
	out = le.AppendUint32(out, uint32(len(c.entries)))
	out = le.AppendUint32(out, uint32(len(table)))
	out = append(out, littleEndian, 0, 0, 0)
	out = le.AppendUint32(out, uint32(extension))
	out = append(out, make([]byte, 12)...)
	for _, e := range c.entries {
		var hwcap uint64
		if e.hwcap != "" {
			if e.isa >= 1<<10 {
				return nil, fmt.Errorf("%s: ISA level %d is too high", e.path, e.isa)
			}
			n, _ := slices.BinarySearch(hwcaps, e.hwcap)
			hwcap = hwcapExtension | uint64(e.isa)<<32 | uint64(n)
		}
		out = le.AppendUint32(out, e.flags)
		out = le.AppendUint32(out, base+offsets[e.soname])
		out = le.AppendUint32(out, base+offsets[e.path])
		out = le.AppendUint32(out, 0)
		out = le.AppendUint64(out, hwcap)
	}
	out = append(out, table...)
	out = append(out, make([]byte, extension-len(out))...)
	return c.appendExtensions(out, hwcaps, func(s string) uint32 { return base + offsets[s] }), nil
}

// appendExtensions writes the directory of extensions and their content.
func (c *linker) appendExtensions(out []byte, hwcaps []string, offset func(string) uint32) []byte {
	le := binary.LittleEndian
	sections := 1
	if len(hwcaps) > 0 {
		sections = 2
	}
	content := uint32(len(out) + 8 + 16*sections)
	section := func(tag, at, size uint32) {
		for _, n := range []uint32{tag, 0, at, size} {
			out = le.AppendUint32(out, n)
		}
	}
	out = le.AppendUint32(out, extensionMagic)
	out = le.AppendUint32(out, uint32(sections))
	size := uint32(4 * len(hwcaps))
	section(tagGenerator, content+size, uint32(len(c.generator)))
	if len(hwcaps) > 0 {
		section(tagHwcaps, content, size)
	}
	for _, h := range hwcaps {
		out = le.AppendUint32(out, offset(h))
	}
	return append(out, c.generator...)
}

// stringTable puts strings behind each other, one that ends another into it
// (elf/stringtable.c): in the order of the reversed strings, downwards.
func stringTable(strs []string) ([]byte, map[string]uint32) {
	strs = slices.Clone(strs)
	slices.SortFunc(strs, func(a, b string) int {
		for i := 1; i <= min(len(a), len(b)); i++ {
			if x, y := a[len(a)-i], b[len(b)-i]; x != y {
				return int(y) - int(x)
			}
		}
		return len(b) - len(a)
	})
	strs = slices.Compact(strs)
	offsets := make(map[string]uint32, len(strs))
	var table []byte
	last, lastAt := "", 0
	for i, s := range strs {
		at := len(table)
		if i > 0 && strings.HasSuffix(last, s) {
			at = lastAt + len(last) - len(s)
		} else {
			table = append(append(table, s...), 0)
		}
		offsets[s] = uint32(at)
		last, lastAt = s, at
	}
	return table, offsets
}
