// Package sbom writes what an image or a mirror consists of as a software bill of materials: SPDX 2.3 in JSON, and CycloneDX 1.6 in JSON.
// It follows from the packages' own control and copyright files; nothing is scanned.
//
// Documents are written as they are made, a line for each element, and what is held in memory is a name for each package.
package sbom

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Document is what a bill of materials tells.
type Document struct {
	Name    string    // of the image or mirror; "": it has none
	Version string    // "": none is told
	Date    time.Time // of the snapshot
	Root    snapshot.Digest
	// Mirror says that the packages lie there to be chosen from. Those of an image were chosen together, so it is told which need which.
	Mirror bool
	// Packages yields the packages, the same ones whenever it is ranged over. What it yields is not kept, unless they are an image's.
	Packages iter.Seq2[*Package, error]
}

// Listed are packages at hand.
func Listed(packages []Package) iter.Seq2[*Package, error] {
	return func(yield func(*Package, error) bool) {
		for i := range packages {
			if !yield(&packages[i], nil) {
				return
			}
		}
	}
}

// Package is a binary package, or a plain file of a mirror.
type Package struct {
	Stanza  deb.Stanza      // its control file, or its stanza in an index; nil: it is a plain file, such as a tarball
	Deb     snapshot.Digest // of the .deb or the file
	Layer   snapshot.Digest // diffID of the layer of an image that has it; zero: none
	Path    string          // in a mirror; "": none
	Licence Licence         // that its copyright file declares
	Vendor  string          // whose package it is, such as debian; "": it is not known, and debian is said
	Distro  string          // the distribution's name and version, such as debian-12; "": not known
	// Identity is that of the source that the site had it built of (SPEC.md, "The source"); zero: it is an archive's.
	Identity snapshot.Digest
}

func (p *Package) field(name string) string { return p.Stanza.Get(name) }

// purl is the package URL (github.com/package-url/purl-spec, types/deb-definition): the colon of an epoch is escaped.
func (p *Package) purl() string {
	if p.Stanza == nil { // types/generic-definition
		return fmt.Sprintf("pkg:generic/%s?checksum=%s", escape(p.name()), escape(p.Deb.String()))
	}
	return p.PURL(p.field("Package"), p.field("Version"), p.field("Architecture"))
}

// PURL is the package URL of a package that comes from where p does: p itself, or "source" as its architecture.
func (p *Package) PURL(name, version, arch string) string {
	s := fmt.Sprintf("pkg:deb/%s/%s@%s?arch=%s", escape(cmp.Or(p.Vendor, "debian")), escape(name), escape(version), escape(arch))
	if p.Distro != "" {
		s += "&distro=" + escape(p.Distro)
	}
	return s
}

var purlEscapes = strings.NewReplacer("+", "%2B", ":", "%3A", "&", "%26", "=", "%3D")

// escape is percent-encoding as package URLs have it.
func escape(s string) string { return purlEscapes.Replace(url.PathEscape(s)) }

// name is that of the package, or the last part of the path of a plain file.
func (p *Package) name() string {
	if p.Stanza == nil {
		return path.Base(p.Path)
	}
	return p.field("Package")
}

// source is the source package and its version.
func (p *Package) source() (name, version string) { return p.Stanza.Source() }

// kind is what a document is of, if it has no name.
func (d *Document) kind() string {
	if d.Mirror {
		return "mirror"
	}
	return "image"
}

// identity tells packages apart: of two with one name, version and architecture, which only a mirror has, the .deb does.
type identity struct {
	taken map[string]snapshot.Digest
}

// of makes the name of a package with make, which gets what tells it apart from another one. new is false for a package that had its turn.
func (ids *identity) of(deb snapshot.Digest, make func(apart string) string) (id string, fresh bool) {
	if ids.taken == nil {
		ids.taken = map[string]snapshot.Digest{}
	}
	for _, apart := range []string{"", deb.Hex()} {
		id = make(apart)
		other, taken := ids.taken[id]
		if !taken {
			ids.taken[id] = deb
			return id, true
		}
		if other == deb {
			return id, false
		}
	}
	return id, false
}

// dependencies are, for each package by its place, the places of those that meet its Pre-Depends and Depends, sorted.
func dependencies(packages []*Package) [][]int {
	by := map[string][]int{}
	for i, p := range packages {
		by[p.field("Package")] = append(by[p.field("Package")], i)
		provides, _ := deb.ParseRelations(p.field("Provides"), p.field("Architecture"))
		for _, clause := range provides {
			for _, r := range clause {
				by[r.Name] = append(by[r.Name], i)
			}
		}
	}
	out := make([][]int, len(packages))
	for i, p := range packages {
		for _, field := range []string{"Pre-Depends", "Depends"} {
			clauses, _ := deb.ParseRelations(p.field(field), p.field("Architecture"))
			for _, clause := range clauses {
				for _, r := range clause {
					for _, j := range by[r.Name] {
						if j != i && sameMachine(p, packages[j]) {
							out[i] = append(out[i], j)
						}
					}
				}
			}
		}
		slices.Sort(out[i])
		out[i] = slices.Compact(out[i])
	}
	return out
}

// sameMachine tells whether two packages can be in one root.
func sameMachine(a, b *Package) bool {
	x, y := a.field("Architecture"), b.field("Architecture")
	return x == "all" || y == "all" || x == y
}

// writer writes an object of JSON, its fields one after the other; an element of a list is a line.
type writer struct {
	w     *bufio.Writer
	err   error
	began bool // something stands in the innermost object or list
}

func newWriter(w io.Writer) *writer {
	out := &writer{w: bufio.NewWriterSize(w, 64<<10)}
	out.text("{")
	return out
}

func (w *writer) text(s string) {
	if w.err == nil {
		_, w.err = w.w.WriteString(s)
	}
}

func (w *writer) next() {
	if w.began {
		w.text(",")
	}
	w.text("\n")
	w.began = true
}

func (w *writer) value(v any) {
	if w.err != nil {
		return
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if w.err = enc.Encode(v); w.err == nil {
		w.text(strings.TrimSuffix(b.String(), "\n"))
	}
}

func (w *writer) field(name string, v any) {
	w.next()
	w.text(`"` + name + `":`)
	w.value(v)
}

// list writes a list whose elements write adds.
func (w *writer) list(name string, write func(add func(any)) error) {
	if w.err != nil {
		return
	}
	w.next()
	w.text(`"` + name + `":[`)
	w.began = false
	if err := write(func(v any) { w.next(); w.value(v) }); w.err == nil {
		w.err = err
	}
	w.text("\n]")
	w.began = true
}

func (w *writer) end() error {
	w.text("\n}\n")
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}
