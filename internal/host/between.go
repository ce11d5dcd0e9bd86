package host

import (
	"errors"
	"fmt"
	"slices"

	"example.org/mmoci/pkg/deb"
)

// ErrBetween marks a package that was left half-way by somebody else's
// installation, and that stands in the way of this one.
var ErrBetween = errors.New("half-way")

// Bears tells whether packages can be installed beside those that are on the
// host in a state between (dpkg(1): half-installed, unpacked, half-configured,
// triggers-awaited). Such a package meets no dependency, so that nothing was
// chosen for its sake, but dpkg goes on minding its Conflicts and Breaks and those that name it;
// and what is unpacked already must not be taken back to an older version. An
// error is an [ErrBetween] that says what to mend; nothing is changed.
func (h *Host) Bears(chosen []deb.Stanza) error {
	var between []halfway
	if err := h.eachPackage(func(s deb.Stanza, word string) {
		switch word {
		case "half-installed", "unpacked", "half-configured", "triggers-awaited":
			between = append(between, halfway{s, word})
		}
	}); err != nil {
		return err
	}
	for _, q := range between {
		for _, p := range chosen {
			if err := q.bears(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// halfway is a package in a state between.
type halfway struct {
	deb.Stanza
	word string
}

func (q halfway) bears(p deb.Stanza) error {
	name, version := q.Get("Package"), q.Get("Version")
	mend := fmt.Sprintf("%s %s is %s on this host; mend it first (dpkg --configure %s, or remove it)", name, version, q.word, name)
	if p.Get("Package") == name {
		if one := p.Get("Architecture") == q.Get("Architecture") || p.Get("Architecture") == "all" || q.Get("Architecture") == "all"; one &&
			version != "" && deb.Compare(p.Get("Version"), version) < 0 {
			return fmt.Errorf("%w: %s, and %s would take it back", ErrBetween, mend, p.Get("Version"))
		}
		return nil
	}
	for _, pair := range [][2]deb.Stanza{{q.Stanza, p}, {p, q.Stanza}} {
		for _, field := range []string{"Conflicts", "Breaks"} {
			if by := hits(pair[0], field, pair[1]); by != "" {
				return fmt.Errorf("%w: %s; %s %s: %s stands against %s", ErrBetween, mend, pair[0].Get("Package"), field, by, pair[1].Get("Package"))
			}
		}
	}
	return nil
}

// hits finds the relation in a field of a that is against b, or against what b
// provides (deb-control(5)). A version that is not known is hit by any.
func hits(a deb.Stanza, field string, b deb.Stanza) string {
	arch := a.Get("Architecture")
	provided, _ := deb.ParseRelations(b.Get("Provides"), arch) // what cannot be read provides nothing, to dpkg neither
	groups, _ := deb.ParseRelations(a.Get(field), arch)
	for _, r := range slices.Concat(groups...) {
		if r.Name == b.Get("Package") && (b.Get("Version") == "" || r.Satisfied(b.Get("Version"))) {
			return r.String()
		}
		for _, v := range slices.Concat(provided...) {
			if r.Name == v.Name && (r.Op == deb.Any || v.Op == deb.EQ && r.Satisfied(v.Version)) {
				return r.String()
			}
		}
	}
	return ""
}
