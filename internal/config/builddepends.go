package config

import (
	"errors"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// setSources reads build-depends:, a list of source packages.
func setSources(n document.Node, to *[]Query) error {
	return n.Each(func(item document.Node) error {
		s, err := item.Text()
		if err == nil {
			if _, _, err = ParseSourceName(s); err != nil {
				err = item.Errorf("%w", err)
			}
		}
		*to = append(*to, Query{Text: s, Position: item.At()})
		return err
	})
}

// builtSources reads sources: of an archive: identities, and directories with a pkg.yaml, relative to the configuration.
func (l *loader) builtSources(n document.Node, a *Archive) error {
	return n.Each(func(item document.Node) error {
		s, err := item.Text()
		if err != nil {
			return err
		}
		if _, bad := snapshot.ParseDigest("sha256:" + strings.TrimPrefix(s, "sha256:")); bad != nil {
			switch {
			case IsURL(s):
				err = item.Errorf("is a URL, should be the hash of a build, as mmoci source hash prints it, or a directory with a pkg.yaml: %s", s)
			case strings.HasPrefix(s, "sha256:"):
				err = item.Errorf("%.80q is no hash of a build: %w", document.OneLine(s), bad)
			}
			s = l.file(s)
		}
		a.Sources = append(a.Sources, Query{Text: s, Position: item.At()})
		return err
	})
}

// Own tells an archive of packages of the site's own, which no upstream signs.
func (a *Archive) Own() bool { return a.Debs != "" || len(a.Files) > 0 || len(a.Sources) > 0 }

// setWithSources reads with-sources:, yes, no or built.
func setWithSources(n document.Node, a *Archive) (err error) {
	if s, ok := n.Scalar(); ok && s == "built" {
		a.BuiltSources = true
		return nil
	}
	a.WithSources, err = n.Flag()
	return err
}

// ParseSourceName reads NAME or NAME (= VERSION).
func ParseSourceName(s string) (name, version string, err error) {
	parsed, err := deb.ParseRelations(s, "")
	if err != nil || len(parsed) != 1 || len(parsed[0]) != 1 {
		return "", "", errNoSourceName
	}
	r := parsed[0][0]
	if r.Qualifier != "" || r.Op != deb.Any && r.Op != deb.EQ {
		return "", "", errNoSourceName
	}
	return r.Name, r.Version, nil
}

var errNoSourceName = errors.New("is no source package; write NAME or NAME (= VERSION)")

// validBuildDepends: what builds need is chosen into a curated archive, by upstream's Sources.
func (a *Archive) validBuildDepends() error {
	switch {
	case len(a.BuildDepends) == 0 && a.BuiltSources:
		return errors.New("with-sources: built takes the sources that build-depends: names, which is not there; write yes, or name them")
	case len(a.BuildDepends) == 0:
		return nil
	case a.Own() || a.Dated != "":
		return errors.New("build-depends: names sources of upstream's Sources indices, which this archive does not have")
	case a.Verbatim:
		return errors.New("build-depends: chooses packages, and a verbatim archive is taken whole; write it in a curated one")
	}
	return nil
}
