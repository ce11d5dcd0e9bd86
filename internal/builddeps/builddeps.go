// Package builddeps turns what a Debian source package says that it needs for a build into
// what is asked of a resolver.
//
// A build takes the Essential packages, build-essential and fakeroot, and what the fields
// Build-Depends, Build-Depends-Arch and Build-Depends-Indep name, without what
// Build-Conflicts and its like name (Debian policy 7.7; deb-src-control(5)). The relations
// become those of a package that is not there otherwise, as apt-get build-dep and sbuild do.
package builddeps

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
)

// What is which binary packages of a source are built.
type What string

// The kinds of builds (dpkg-buildpackage(1), --build).
const (
	Any       What = "any"     // those of an architecture
	All       What = "all"     // those of architecture all
	AnyAndAll What = "any+all" // both
)

// ParseWhat reads a What; "" is [AnyAndAll].
func ParseWhat(s string) (What, error) {
	switch w := What(s); w {
	case "":
		return AnyAndAll, nil
	case Any, All, AnyAndAll:
		return w, nil
	}
	return "", fmt.Errorf("%w: build %q, should be any, all or any+all", outcome.ErrUsage, s)
}

// Needs say how a source is built. The zero value is a build of all of its packages without profiles.
type Needs struct {
	What     What
	Profiles []string // active build profiles
	// Alternatives takes whatever alternative of a relation there is, in order, as apt-get build-dep
	// does. Otherwise only the first counts, as for sbuild and Debian's builders: what else is in the
	// archive then does not change the environment.
	Alternatives bool
}

// Base are the queries for what every build has: the Essential packages, build-essential, and
// fakeroot, which builders call for sources that want to be root.
func Base() []string { return []string{"Essential (= yes)", "build-essential", "fakeroot"} }

// fields are those of dependencies and of conflicts that count for a build.
func (n Needs) fields() (positive, negative []string) {
	positive, negative = []string{"Build-Depends"}, []string{"Build-Conflicts"}
	if n.What != All {
		positive, negative = append(positive, "Build-Depends-Arch"), append(negative, "Build-Conflicts-Arch")
	}
	if n.What != Any {
		positive, negative = append(positive, "Build-Depends-Indep"), append(negative, "Build-Conflicts-Indep")
	}
	return positive, negative
}

// Relations are what a build needs and must not have.
type Relations struct {
	Depends   [][]deb.Relation // joined by AND, alternatives by OR
	Conflicts []deb.Relation
}

// Of reads the relations of a source on an architecture. Its error names the field.
func (n Needs) Of(source deb.Stanza, arch string) (*Relations, error) {
	positive, negative := n.fields()
	r := &Relations{}
	for _, f := range positive {
		parsed, err := deb.ParseBuildRelations(source.Get(f), arch, n.Profiles)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		if !n.Alternatives {
			for i := range parsed {
				parsed[i] = first(parsed[i])
			}
		}
		r.Depends = append(r.Depends, parsed...)
	}
	for _, f := range negative {
		parsed, err := deb.ParseBuildRelations(source.Get(f), arch, n.Profiles)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		for _, alternatives := range parsed {
			r.Conflicts = append(r.Conflicts, alternatives...)
		}
	}
	return r, nil
}

// first is the first alternative, with those behind it that name the same package with another
// version: they are one relation (sbuild, ResolverBase.pm).
func first(alternatives []deb.Relation) []deb.Relation {
	n := 1
	for n < len(alternatives) && alternatives[n].Name == alternatives[0].Name {
		n++
	}
	return alternatives[:n]
}

// prefix begins the name of the package that has a source's relations. No archive has this prefix:
// it has a blank.
const prefix = "build-depends of "

// IsWish tells whether a package that was chosen is one that [Needs.Wish] made, and no real one.
func IsWish(p *resolve.Package) bool { return strings.HasPrefix(p.Archive, prefix) }

// Wish is an index with one package that depends on what the build of a source needs, and the root
// that asks for it. Origin is where it was asked for, for messages.
func (n Needs) Wish(source deb.Stanza, arch, origin string) (resolve.Index, resolve.Root, error) {
	name, version := source.Get("Package"), source.Get("Version")
	if !deb.ValidName(name) || deb.ValidVersion(version) != nil {
		return resolve.Index{}, resolve.Root{}, fmt.Errorf("%w: a source package of name %.80q, version %.80q", outcome.ErrIntegrity, name, version)
	}
	r, err := n.Of(source, arch)
	if err != nil {
		return resolve.Index{}, resolve.Root{}, fmt.Errorf("source %s %s: %w", name, version, err)
	}
	called := "builddeps-" + name
	q, err := query.Parse(called)
	if err != nil {
		return resolve.Index{}, resolve.Root{}, fmt.Errorf("source %s: %w", name, err)
	}
	archive := prefix + name + " " + arch
	ix := resolve.Index{Archive: archive, Suite: archive, Architecture: arch, Path: archive, Data: r.stanza(called, version, arch), Pin: resolve.DefaultPin}
	return ix, resolve.Root{Query: q, Archive: archive, Origin: origin}, nil
}

// stanza is that of the package which has the relations.
func (r *Relations) stanza(name, version, arch string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: nobody\n", name, version, arch)
	fmt.Fprintf(&b, "Filename: %s.deb\nSize: 1\nSHA256: %s\nDescription: what a build needs\n", name, strings.Repeat("0", 64))
	var clauses []string
	for _, alternatives := range r.Depends {
		var words []string
		for _, a := range alternatives {
			words = append(words, a.String())
		}
		clauses = append(clauses, strings.Join(words, " | "))
	}
	if len(clauses) > 0 {
		fmt.Fprintf(&b, "Depends: %s\n", strings.Join(clauses, ", "))
	}
	clauses = nil
	for _, c := range r.Conflicts {
		clauses = append(clauses, c.String())
	}
	if len(clauses) > 0 {
		fmt.Fprintf(&b, "Conflicts: %s\n", strings.Join(clauses, ", "))
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// Declared are the build profiles that a source knows of: those in its relations and in its
// Package-List, sorted. A field that cannot be read is passed over: who reads the relations is told.
func Declared(source deb.Stanza) []string {
	var out []string
	positive, negative := Needs{}.fields()
	for _, f := range append(positive, negative...) {
		named, _ := deb.BuildProfiles(source.Get(f))
		out = append(out, named...)
	}
	for line := range strings.Lines(source.Get("Package-List")) {
		for _, word := range strings.Fields(line) {
			terms, ok := strings.CutPrefix(word, "profile=")
			if !ok {
				continue
			}
			for _, term := range strings.FieldsFunc(terms, func(r rune) bool { return r == ',' || r == '+' }) {
				out = append(out, strings.TrimPrefix(term, "!"))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// CheckProfiles refuses profiles that a source does not declare: they would change nothing, or
// something that nobody knows of.
func CheckProfiles(source deb.Stanza, profiles []string) error {
	declared := Declared(source)
	for _, p := range profiles {
		if slices.Contains(declared, p) {
			continue
		}
		has := "it declares none"
		if len(declared) > 0 {
			has = "it declares " + strings.Join(declared, ", ")
		}
		return fmt.Errorf("%w: source %s %s declares no build profile %q; %s", outcome.ErrUsage, source.Get("Package"), source.Get("Version"), p, has)
	}
	return nil
}
