package archive

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/pkg/deb"
	"github.com/klauspost/compress/gzip"
)

// Curated is what the Release of a curated suite is built from.
type Curated struct {
	Upstream      *Release // nil for class site
	Prefix, Suite string
	Date          time.Time
	ValidUntil    time.Time // zero: none
	// Flat makes a flat archive: one Packages (and Sources) beside the Release,
	// for the empty component and architecture ("source" for Sources).
	Flat          bool
	Components    []string // none if Flat
	Architectures []string // "source" asks for Sources; "all" adds nothing
	Origin, Label string   // override; "" keeps upstream's (for class site: "mmoci", prefix)
	// Stanzas by component and architecture, in final order; an "all" package
	// is given in each architecture.
	Stanzas map[ComponentArch][]deb.Stanza
}

// ComponentArch names an index: component and architecture ("source" for
// Sources). In a flat archive there is no component, and one Packages for all architectures.
type ComponentArch struct{ Component, Architecture string }

// Path is where the uncompressed index stands below dists/SUITE.
func (c ComponentArch) Path() string {
	switch c {
	case ComponentArch{}:
		return "Packages"
	case ComponentArch{Architecture: "source"}:
		return "Sources"
	}
	if c.Architecture == "source" {
		return c.Component + "/source/Sources"
	}
	return c.Component + "/binary-" + c.Architecture + "/Packages"
}

// BuiltFile is a file of a curated suite, relative to dists/SUITE.
type BuiltFile struct {
	Path string
	Data []byte
}

// Build makes the indices (Packages.gz; Sources.gz) and the Release text of
// a curated suite. Deterministic: the same input gives the same bytes. The
// Release lists the plain name of each index as well, though it is not stored
// (apt sees no package otherwise), gz, and Acquire-By-Hash: yes. The files come
// in path order; every component and architecture has one, even if empty.
func Build(c Curated) (files []BuiltFile, release []byte, err error) {
	wanted, err := c.Indices()
	if err != nil {
		return nil, nil, err
	}
	var listed []ReleaseFile
	for _, ca := range wanted {
		ix, err := packIndex(c.Stanzas[ca])
		if err != nil {
			return nil, nil, fmt.Errorf("index %s: %w", ca.Path(), err)
		}
		plain, packed := ReleaseFile{Path: ca.Path(), Size: ix.size, SHA256: ix.sha256}, ca.Path()+".gz"
		files = append(files, BuiltFile{packed, ix.packed})
		listed = append(listed, plain, Describe(packed, ix.packed))
	}
	return files, c.Release(listed), nil
}

// Indices lists the indices of the suite in path order. An error says what c lacks
// or contradicts itself in.
func (c Curated) Indices() ([]ComponentArch, error) {
	wanted, err := c.indices()
	if err != nil {
		return nil, fmt.Errorf("curated suite %s: %w", c.Suite, err)
	}
	return wanted, nil
}

func (c Curated) indices() ([]ComponentArch, error) {
	switch {
	case c.Date.IsZero():
		return nil, errors.New("no date")
	case !c.ValidUntil.IsZero() && !c.ValidUntil.After(c.Date):
		return nil, errors.New("valid until a time before its date")
	case len(c.Components) == 0 && !c.Flat:
		return nil, errors.New("no component")
	}
	wanted := map[ComponentArch]bool{}
	if c.Flat {
		wanted[ComponentArch{}] = true
		if slices.Contains(c.Architectures, "source") {
			wanted[ComponentArch{Architecture: "source"}] = true
		}
	}
	for _, component := range c.Components {
		for _, arch := range c.Architectures {
			ca := ComponentArch{component, arch}
			if err := ValidPath(ca.Path()); err != nil || strings.ContainsAny(ca.Path(), " \u00a0") {
				return nil, fmt.Errorf("component %q, architecture %q: no path", component, arch)
			}
			if arch != "all" {
				wanted[ca] = true
			}
		}
	}
	if len(wanted) == 0 {
		return nil, errors.New("no architecture")
	}
	for ca := range c.Stanzas {
		if !wanted[ca] {
			return nil, fmt.Errorf("packages for %s/%s, which is not among its components and architectures", ca.Component, ca.Architecture)
		}
	}
	byPath := func(a, b ComponentArch) int { return cmp.Compare(a.Path(), b.Path()) }
	return slices.SortedFunc(maps.Keys(wanted), byPath), nil
}

// Describe is what a Release lists of a file.
func Describe(path string, data []byte) ReleaseFile {
	return ReleaseFile{Path: path, Size: int64(len(data)), SHA256: fmt.Sprintf("%x", sha256.Sum256(data))}
}

// Release writes the Release that lists files. Of upstream's fields those stay that apt's
// pins and messages go by; those go that speak of upstream's signature
// (Signed-By), freshness (Valid-Until) or files (Snapshots, hash lists). Its bytes are
// part of what EncoderGeneration numbers.
func (c Curated) Release(files []ReleaseFile) []byte {
	up := c.Upstream
	if up == nil {
		up = &Release{Origin: "mmoci", Label: c.Prefix, Suite: c.Suite, Codename: c.Suite}
	}
	var b bytes.Buffer
	field := func(name, value string) {
		if value = strings.Join(strings.Fields(value), " "); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	field("Origin", cmp.Or(c.Origin, up.Origin))
	field("Label", cmp.Or(c.Label, up.Label))
	field("Suite", up.Suite)
	field("Version", up.Version)
	field("Codename", up.Codename)
	field("Changelogs", up.Field("Changelogs"))
	field("Date", c.Date.UTC().Format(dateLayout))
	if !c.ValidUntil.IsZero() {
		field("Valid-Until", c.ValidUntil.UTC().Format(dateLayout))
	}
	field("NotAutomatic", yes(up.NotAutomatic))
	field("ButAutomaticUpgrades", yes(up.ButAutomaticUpgrades))
	field("Acquire-By-Hash", "yes")
	field("Architectures", strings.Join(c.binaryArchitectures(), " "))
	field("Components", strings.Join(sortedSet(c.Components), " "))
	field("Description", up.Description)
	b.WriteString("SHA256:\n")
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b ReleaseFile) int { return cmp.Compare(a.Path, b.Path) })
	for _, f := range files {
		fmt.Fprintf(&b, " %s %d %s\n", f.SHA256, f.Size, f.Path)
	}
	// The list is not the last field: a clear-signed text has no final newline,
	// and debootstrap does not see a list's last line without one.
	field("No-Support-for-Architecture-all", "Packages")
	return b.Bytes()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// binaryArchitectures is what the field lists: neither source nor all.
func (c Curated) binaryArchitectures() []string {
	return slices.DeleteFunc(sortedSet(c.Architectures), func(a string) bool { return a == "source" || a == "all" })
}

func sortedSet(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }

// EncoderGeneration numbers how the files of curated suites are made: the text of
// the Release and of the plain indices, and which encoder at which level packs
// them. It rises whenever their bytes would change. A reader that makes a text
// again to compare it must know every number since 1.
//
//	1: klauspost/compress v1.20.3, gzip, level 6
const EncoderGeneration = 1

// encoderLevel belongs to EncoderGeneration.
const encoderLevel = 6

// packedIndex is an index as it is carried, with what its Release says of its plain form.
type packedIndex struct {
	size   int64  // plain
	sha256 string // plain
	packed []byte
}

// pieceSize is how much plain text is gathered before it is hashed and packed.
const pieceSize = 256 << 10

// packIndex writes stanzas one after another, an empty line after each, and
// compresses them as EncoderGeneration says; how the text is cut into pieces
// does not change the bytes. The gzip header has no name, no time and "unknown"
// for the system.
func packIndex(stanzas []deb.Stanza) (ix packedIndex, err error) {
	sum := sha256.New()
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, encoderLevel)
	if err != nil {
		return ix, err
	}
	var piece []byte
	for i, s := range stanzas {
		if len(s) == 0 || bytes.HasPrefix(s, []byte("\n")) || bytes.Contains(s, []byte("\n\n")) {
			return ix, fmt.Errorf("stanza %.60q: empty, or more than one", s)
		}
		piece = s.Append(piece)
		if len(piece) < pieceSize && i+1 < len(stanzas) {
			continue
		}
		sum.Write(piece)
		if _, err := z.Write(piece); err != nil {
			return ix, err
		}
		ix.size += int64(len(piece))
		piece = piece[:0]
	}
	if err := z.Close(); err != nil {
		return ix, err
	}
	ix.sha256, ix.packed = hex.EncodeToString(sum.Sum(nil)), packed.Bytes()
	return ix, nil
}

// PlainIndex is the text of a curated index: its stanzas in the order of curated
// indices, an empty line after each. Stanzas that are the same in that order stay in the order given.
func PlainIndex(stanzas []deb.Stanza, source bool) []byte {
	type keyed struct {
		name, version, arch string
		stanza              deb.Stanza
	}
	size := 0
	keys := make([]keyed, len(stanzas))
	for i, s := range stanzas {
		var v [3]string
		s.Values(v[:], "Package", "Version", "Architecture")
		if source {
			v[2] = "" // a Sources index has no such order: the field lists what can be built
		}
		keys[i] = keyed{v[0], v[1], v[2], s}
		size += len(s) + 2
	}
	slices.SortStableFunc(keys, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.name, b.name), deb.Compare(a.version, b.version), cmp.Compare(a.arch, b.arch))
	})
	text := make([]byte, 0, size)
	for _, k := range keys {
		text = k.stanza.Append(text)
	}
	return text
}
