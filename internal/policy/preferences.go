package policy

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// Preferences returns the denials among packages (archive and package) as apt
// preferences (apt_preferences(5)): apt chooses no version of Pin-Priority -1.
//
// Each denied version of the packages at hand is named, so the pins are exact for
// every kind of rule, and must be made again with each snapshot. A pin of all
// versions would also deny those of a later snapshot that the rules allow, on a
// host that has not fetched the file again. A version that is denied in one archive and
// allowed in another is not pinned: to apt it is one version.
//
// Each stanza has Package (NAME or NAME:ARCHITECTURE), Pin and Pin-Priority, after
// an Explanation; internal/host accepts nothing else from a server.
func (p *Policy) Preferences(packages iter.Seq2[string, snapshot.Package]) string {
	all := p.collect(packages)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		all[name].write(&b, name)
	}
	return b.String()
}

// versions are those of a package name: version, to architecture, to verdict.
type versions map[string]map[string]verdict

type verdict struct {
	denied, allowed bool // in one archive or another
	why             string
}

func (p *Policy) collect(packages iter.Seq2[string, snapshot.Package]) map[string]versions {
	all := map[string]versions{}
	for archive, pkg := range packages {
		if !pkg.IsPackage() || pkg.Architecture == "source" {
			continue
		}
		vs := all[pkg.Name]
		if vs == nil {
			vs = versions{}
			all[pkg.Name] = vs
		}
		if vs[pkg.Version] == nil {
			vs[pkg.Version] = map[string]verdict{}
		}
		v := vs[pkg.Version][pkg.Architecture]
		if d := p.Decide(pkg, archive); d.Allow {
			v.allowed = true
		} else {
			v.denied, v.why = true, d.Rule+": "+d.Reason
		}
		vs[pkg.Version][pkg.Architecture] = v
	}
	return all
}

// write writes the stanzas of one name: one for each version that is denied, or for each architecture of it.
func (vs versions) write(b *strings.Builder, name string) {
	for _, version := range slices.Sorted(maps.Keys(vs)) {
		archs := vs[version]
		if why, ok := uniform(archs); ok {
			stanza(b, why, name, version)
			continue
		}
		for _, arch := range slices.Sorted(maps.Keys(archs)) {
			if v := archs[arch]; v.denied && !v.allowed {
				stanza(b, v.why, qualified(name, arch), version)
			}
		}
	}
}

// uniform returns the reason why a version is denied on every architecture, if there is one such reason.
func uniform(archs map[string]verdict) (why string, ok bool) {
	for _, v := range archs {
		if v.allowed || (why != "" && v.why != why) {
			return "", false
		}
		why = v.why
	}
	return why, why != ""
}

// qualified names a package of one architecture; to apt, "all" is the native one.
func qualified(name, arch string) string {
	if arch == "all" {
		return name
	}
	return name + ":" + arch
}

func stanza(b *strings.Builder, why, name, version string) {
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "Explanation: %s\nPackage: %s\nPin: version %s\nPin-Priority: -1\n", oneLine(why), oneLine(name), oneLine(version))
}

// oneLine keeps a value from beginning a field of its own.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
