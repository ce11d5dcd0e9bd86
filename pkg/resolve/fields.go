package resolve

import (
	"cmp"
	"strconv"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
)

// fields are the values that the scan of an index looks at. They are views.
type fields struct {
	name, version, arch, source    string
	filename, size, sha256, sha512 string
	provides, multi                string
	first, last                    string // name and value: where the relations begin and end
}

// pickFields reads them in one pass.
func pickFields(s deb.Stanza) (f fields) {
	for name, value := range s.Fields() {
		if isMentionField(name) {
			if f.first == "" {
				f.first = name
			}
			f.last = value
		}
		var into *string
		want := ""
		switch len(name) {
		case 4:
			into, want = &f.size, "Size"
		case 6:
			switch name[3] {
			case '2':
				into, want = &f.sha256, "SHA256"
			case '5':
				into, want = &f.sha512, "SHA512"
			default:
				into, want = &f.source, "Source"
			}
		case 7:
			if name[0]|0x20 == 'p' {
				into, want = &f.name, "Package"
			} else {
				into, want = &f.version, "Version"
			}
		case 8:
			if name[0]|0x20 == 'f' {
				into, want = &f.filename, "Filename"
			} else {
				into, want = &f.provides, "Provides"
			}
		case 10:
			into, want = &f.multi, "Multi-Arch"
		case 12:
			into, want = &f.arch, "Architecture"
		default:
			continue
		}
		if name == want || strings.EqualFold(name, want) {
			*into = value
		}
	}
	return f
}

// plain tells whether the fields are of the usual form, which is good beyond
// doubt. The rules are archive.ParsePackageFile's; it decides on all others.
func (f *fields) plain() bool {
	return plainName(f.name) && (f.source == "" || plainName(f.sourceName())) && plainName(f.arch) && classes.all(f.arch, archBytes) &&
		plainVersion(f.version) && plainPath(f.filename) &&
		len(f.size) <= 12 && classes.all(f.size, digitBytes) && f.size[0] != '0' &&
		len(f.sha256) == 64 && classes.all(f.sha256, hexBytes) && f.sha512 == ""
}

// file is the same as archive.ParsePackageFile's for fields that are plain.
func (f *fields) file() archive.PackageFile {
	size, _ := strconv.ParseInt(f.size, 10, 64) // at most 12 digits
	return archive.PackageFile{Name: f.name, Version: f.version, Architecture: f.arch, Source: cmp.Or(f.sourceName(), f.name),
		Filename: f.filename, Size: size, SHA256: f.sha256}
}

// sourceName is the field Source without a version: "gcc-12 (12.2.0-14)".
func (f *fields) sourceName() string {
	name, _, _ := strings.Cut(f.source, "(")
	return strings.TrimSpace(name)
}

func plainName(s string) bool {
	return len(s) <= 255 && classes.all(s, nameBytes) && isAlphanumeric(s[0])
}

func plainVersion(s string) bool {
	return len(s) <= 255 && classes.all(s, versionBytes) && isDigit(s[0]) && s[len(s)-1] != '-' ||
		len(s) > 3 && len(s) <= 255 && s[1] == ':' && isDigit(s[0]) && plainVersion(s[2:])
}

func plainPath(s string) bool {
	return len(s) <= 1000 && classes.all(s, pathBytes) && isAlphanumeric(s[0]) && s[len(s)-1] != '/' &&
		!strings.Contains(s, "//") && !strings.Contains(s, "/.")
}

func isDigit(c byte) bool { return c-'0' < 10 }

// byteClass is a set of bytes that a kind of value consists of.
type byteClass uint8

const (
	digitBytes byteClass = 1 << iota
	hexBytes
	nameBytes
	archBytes
	versionBytes
	pathBytes
	betweenBytes // what ends a name in a relation
)

// classTable tells the classes of each byte.
type classTable [256]byteClass

var classes = newClassTable()

func newClassTable() *classTable {
	var t classTable
	put := func(c byteClass, bytes string) {
		for i := range len(bytes) {
			t[bytes[i]] |= c
		}
	}
	const digits, letters = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	put(digitBytes, digits)
	put(hexBytes, digits+"abcdef")
	put(nameBytes, digits+letters+"+.-")
	put(archBytes, digits+letters+"-")
	put(versionBytes, digits+letters+"+.-~")
	put(pathBytes, digits+letters+"+.-~_%/")
	put(betweenBytes, " \t\r\n,|(:[<")
	return &t
}

// all tells whether s is not empty and each byte of it is of class c.
func (t *classTable) all(s string, c byteClass) bool {
	for i := range len(s) {
		if t[s[i]]&c == 0 {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool { return c|0x20-'a' < 26 || c-'0' < 10 }
