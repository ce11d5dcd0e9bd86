package snapshot

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Package is what the table says of a binary package; the zero value: not one.
type Package struct{ Name, Version, Architecture, Source string }

// IsPackage tells whether there is a package, also of a [Row]: the zero value is none.
func (p Package) IsPackage() bool { return p != Package{} }

// Row is one file of a snapshot (SPEC section 5).
type Row struct {
	Path   string
	Size   int64 // bytes
	Digest Digest
	Package
}

// Blob is the row's digest and size.
func (r Row) Blob() Blob { return Blob{Digest: r.Digest, Size: r.Size} }

// Archive is the prefix of the archive that the row belongs to.
func (r Row) Archive() string {
	first, rest, _ := strings.Cut(r.Path, "/")
	if first == upstreamView {
		first, _, _ = strings.Cut(rest, "/")
	}
	return first
}

// maxField is the length limit of a package's name, version, architecture and source.
const maxField = MaxPath

var errField = fmt.Errorf("package field empty, longer than %d bytes, not UTF-8 or with a control character", maxField)

// check tells why a table cannot hold the row.
func (r Row) check() error {
	if err := ValidPath(r.Path); err != nil {
		return err
	}
	if strings.Contains(r.Path, bySHA512) {
		return fmt.Errorf("file %s: %w", r.Path, errSHA512)
	}
	if err := r.Blob().check(); err != nil {
		return fmt.Errorf("file %s: %w", r.Path, err)
	}
	if !r.IsPackage() {
		return nil
	}
	for _, f := range [...]string{r.Name, r.Version, r.Architecture, r.Source} {
		if !validField(f) {
			return fmt.Errorf("file %s: %w", r.Path, errField)
		}
	}
	return nil
}

func validField[T string | []byte](f T) bool {
	if len(f) == 0 || len(f) > maxField {
		return false
	}
	ascii := true
	for i := range len(f) {
		if f[i] < 0x20 || f[i] == 0x7f {
			return false
		}
		ascii = ascii && f[i] < utf8.RuneSelf
	}
	return ascii || utf8.ValidString(string(f))
}

// fileName is where the last part of a path divides into NAME_VERSION_ARCHITECTURE.deb.
type fileName struct {
	dir, base   int  // the part before the last and the last one begin here; dir is -1 if there is none
	first, last int  // the two underscores
	end         int  // the final .deb or .udeb begins here
	ok          bool // exactly two underscores and the ending
}

// splitName finds these places in a valid path.
func splitName[T string | []byte](path T) fileName {
	n := fileName{dir: -1, first: -1, last: -1, end: len(path)}
	underscores := 0
	i := len(path) - 1
	for ; i >= 0 && path[i] != '/'; i-- {
		if path[i] == '_' {
			underscores++
			if n.last < 0 {
				n.last = i
			}
			n.first = i
		}
	}
	n.base = i + 1
	if i > 0 {
		for i--; i >= 0 && path[i] != '/'; i-- {
		}
		n.dir = i + 1
	}
	switch {
	case underscores != 2:
	case string(path[max(n.last, len(path)-len(".deb")):]) == ".deb":
		n.end, n.ok = len(path)-len(".deb"), true
	case string(path[max(n.last, len(path)-len(".udeb")):]) == ".udeb":
		n.end, n.ok = len(path)-len(".udeb"), true
	}
	return n
}

// Bits of a row's kind (SPEC section 5).
const (
	kindPackage     = 1 << 0
	kindName        = 1 << 1 // derived from the path
	kindVersion     = 1 << 2
	kindArch        = 1 << 3
	kindSourceName  = 1 << 4 // the source is the name
	kindSourceDir   = 1 << 5 // the source is the part before the last
	kindFromName    = kindName | kindVersion | kindArch
	kindFromSource  = kindSourceName | kindSourceDir
	kindEverDefined = kindPackage | kindFromName | kindFromSource
)

var errKind = errors.New("kind with impossible bits")

// checkKind tells whether a kind may stand in a row with a path divided like n.
func checkKind(kind byte, n fileName) error {
	switch {
	case kind&^byte(kindEverDefined) != 0,
		kind != 0 && kind&kindPackage == 0,
		kind&kindFromSource == kindFromSource,
		kind&kindFromName != 0 && !n.ok,
		kind&kindSourceDir != 0 && n.dir < 0,
		kind&kindName != 0 && n.first == n.base,
		kind&kindVersion != 0 && n.last == n.first+1,
		kind&kindArch != 0 && n.end == n.last+1:
		return errKind
	}
	return nil
}

// derived is what the path says of a package, "" for what it does not say.
// It shares the memory of path, but for a version with a colon.
func derived(path string, n fileName) (p Package, dir string) {
	if n.ok {
		p = Package{
			Name:         path[n.base:n.first],
			Version:      strings.ReplaceAll(path[n.first+1:n.last], "%3a", ":"),
			Architecture: path[n.last+1 : n.end],
		}
	}
	if n.dir >= 0 {
		dir = path[n.dir : n.base-1]
	}
	return p, dir
}

// kindOf sets exactly the bits whose derivation is right.
func kindOf(r Row) byte {
	if !r.IsPackage() {
		return 0
	}
	p, dir := derived(r.Path, splitName(r.Path))
	kind := byte(kindPackage)
	if p.Name == r.Name {
		kind |= kindName
	}
	if p.Version == r.Version {
		kind |= kindVersion
	}
	if p.Architecture == r.Architecture {
		kind |= kindArch
	}
	switch r.Source {
	case r.Name:
		kind |= kindSourceName
	case dir:
		kind |= kindSourceDir
	}
	return kind
}

// packageOf puts derived and given fields together; fields are in the order
// name, version, architecture, source.
func packageOf(path string, kind byte, fields *[4][]byte) Package {
	if kind&kindPackage == 0 {
		return Package{}
	}
	p, dir := derived(path, splitName(path))
	if kind&kindName == 0 {
		p.Name = string(fields[0])
	}
	if kind&kindVersion == 0 {
		p.Version = string(fields[1])
	}
	if kind&kindArch == 0 {
		p.Architecture = string(fields[2])
	}
	switch {
	case kind&kindSourceName != 0:
		p.Source = p.Name
	case kind&kindSourceDir != 0:
		p.Source = dir
	default:
		p.Source = string(fields[3])
	}
	return p
}

// PlainFile is the path below its archive of a file of an archive of plain files. ok is false for its lists and
// signatures, and for rows of other archives; a may be nil.
func (a *Archive) PlainFile(r Row) (name string, ok bool) {
	if a == nil || a.Format != FormatFiles {
		return "", false
	}
	name, ok = strings.CutPrefix(r.Path, a.Prefix+"/")
	return name, ok && name != "SHA256SUMS" && name != "SHA256SUMS.asc"
}
