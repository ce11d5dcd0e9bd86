package config

import (
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/archive"
)

// fromApt notes that an entry of archives: takes url, suites, components,
// architectures and signed-by from a file of apt's.
func (d *archiveDoc) fromApt(n document.Node) error {
	s, err := n.Text()
	if err != nil {
		return err
	}
	d.apt, d.aptAt = d.file(s), n
	return nil
}

// takeApt fills the entry from apt's file. What the entry says itself counts
// more; url: chooses among several archives in one file. Nothing is guessed and nothing of the host is asked.
func (d *archiveDoc) takeApt() error {
	if d.apt == "" {
		return nil
	}
	if len(d.a.Suites) > 0 || d.mirrorURL != "" {
		return d.aptAt.Errorf("suites: and mirror: cannot stand beside it; the suites are those of apt's file")
	}
	data, err := document.ReadFile(d.apt, document.MaxYAML)
	if err != nil {
		return d.aptAt.Errorf("%w", err)
	}
	sources, err := archive.ParseSources(d.apt, document.Normalise(data))
	if err != nil {
		return d.aptAt.Errorf("%w", err)
	}
	taken, wanted := 0, d.urls
	for _, s := range sources {
		if !slices.Contains(s.Types, "deb") || len(wanted) > 0 && !slices.Contains(wanted, strings.TrimRight(s.URI, "/")) {
			continue
		}
		if err := d.takeSource(s, taken == 0); err != nil {
			return err
		}
		taken++
	}
	if taken == 0 {
		return d.aptAt.Errorf("%s has no source of type deb%s", d.apt, map[bool]string{true: " with this url:"}[len(wanted) > 0])
	}
	return nil
}

// takeSource takes one source; further ones may only add suites.
func (d *archiveDoc) takeSource(s archive.Source, first bool) error {
	a := d.a
	if first && len(a.Architectures) == 0 {
		if a.Architectures = s.Architectures; len(s.Architectures) == 0 {
			return d.aptAt.Errorf("%s names no architectures, for apt takes the host's; write architectures: [amd64] beside it", d.apt)
		}
	}
	x, _, err := AptArchive(s, d.apt, a.Architectures[0])
	if err != nil {
		return d.aptAt.Errorf("%w", err)
	}
	if first {
		d.urls, a.CheckValidUntil = x.URLs, a.CheckValidUntil && x.CheckValidUntil
		if len(a.Components) == 0 {
			a.Components = x.Components
		}
		d.aptComponents = x.Components
	} else if !slices.Equal(d.urls, x.URLs) || !slices.Equal(d.aptComponents, x.Components) {
		return d.aptAt.Errorf("%s has several archives, %s and %s; choose one by url:", d.apt, d.urls[0], x.URLs[0])
	}
	if a.SignedBy == "" && a.SignedByURL == "" {
		if !strings.HasPrefix(s.SignedBy, "/") || strings.ContainsAny(s.SignedBy, " \n") {
			return d.aptAt.Errorf("%s names no one keyring file; write signed-by: beside it", d.apt)
		}
		a.SignedBy = s.SignedBy
	}
	AddMissing(&a.Suites, x.Suites)
	return nil
}
