package config

import (
	"fmt"
	"strings"

	"example.org/mmoci/internal/config/document"
)

// archive reads one entry of archives:.
func (l *loader) archive(n document.Node) (*archiveDoc, error) {
	a := &Archive{Position: n.At(), CheckValidUntil: true}
	d := &archiveDoc{loader: l, a: a}
	d.lists.peek(n)
	phased := true
	err := n.Mapping(document.Fields{
		"prefix":            document.SetText(&a.Prefix),
		"format":            document.SetText(new(string)), // deb: the others are read by other
		"mode":              d.mode,
		"url":               d.url,
		"from-apt":          d.fromApt,
		"mirror":            d.mirror,
		"strategy":          d.strategy,
		"dated-suites":      document.SetTexts(&d.datedSuites),
		"suites":            document.SetTexts(&a.Suites),
		"components":        document.SetTexts(&a.Components),
		"architectures":     document.SetTexts(&a.Architectures),
		"signed-by":         d.signedBy,
		"debs":              l.setFile(&a.Debs),
		"sources":           func(n document.Node) error { return l.builtSources(n, a) },
		"packages":          d.packages,
		"packages-from":     func(n document.Node) error { return d.lists.read(l, n, &a.Packages) },
		"list":              d.lists.kind,
		"check-valid-until": document.SetFlag(&a.CheckValidUntil),
		"phased":            document.SetFlag(&phased),
		"unnamed-release":   document.SetFlag(&a.UnnamedRelease),
		"languages":         document.SetTexts(&a.Languages),
		"drop":              document.SetTexts(&a.Drop),
		"with-sources":      func(n document.Node) error { return setWithSources(n, a) },
		"build-depends":     func(n document.Node) error { return setSources(n, &a.BuildDepends) },
		"origin":            document.SetText(&a.Origin),
		"label":             document.SetText(&a.Label),
		"codename":          document.SetText(&a.Codename),
		"ca":                l.setFile(&a.CAFile),
		"client-cert":       l.setFile(&a.ClientCert),
		"auth":              l.setFile(&a.AuthFile),
	})
	if err != nil {
		return nil, err
	}
	a.SkipPhased = !phased
	return d, d.finish(n)
}

// archiveDoc is what an entry says, before it is put together.
type archiveDoc struct {
	*loader
	a         *Archive
	hasMode   bool
	urls      []string
	mirrorURL string
	how       string // strategy
	howAt     document.Node
	selection *document.Node // packages:
	lists     packageLists

	datedSuites []string // of its dated archives; nil: its own

	apt           string // from-apt: a file
	aptAt         document.Node
	aptComponents []string
}

func (d *archiveDoc) mode(n document.Node) error {
	s, err := n.Text()
	if err != nil {
		return err
	}
	d.hasMode = true
	switch s {
	case "curated":
	case "verbatim":
		d.a.Verbatim = true
	default:
		return n.Errorf("is %q, should be curated (a selection, signed by the site) or verbatim (all of it, under upstream's signature)", s)
	}
	return nil
}

func (d *archiveDoc) url(n document.Node) error {
	list, err := document.OneOrMore(n)
	if err != nil {
		return err
	}
	for _, s := range list {
		d.urls = append(d.urls, d.location(s))
	}
	return nil
}

func (d *archiveDoc) mirror(n document.Node) error {
	s, err := n.Text()
	d.mirrorURL = d.location(s)
	return err
}

// location is a URL as it is, or a directory relative to the file.
func (d *archiveDoc) location(s string) string {
	if HasScheme(s) {
		return strings.TrimRight(s, "/")
	}
	return d.file(s)
}

func (d *archiveDoc) strategy(n document.Node) error {
	d.howAt = n
	return setStrategy(&d.how)(n)
}

func (d *archiveDoc) signedBy(n document.Node) error {
	s, err := n.Text()
	if err != nil {
		return err
	}
	if IsURL(s) {
		d.a.SignedByURL = s
	} else {
		d.a.SignedBy = d.file(s)
	}
	return nil
}

func (d *archiveDoc) packages(n document.Node) error {
	d.selection = &n
	if n.IsNull() {
		return n.Errorf("has no value; write none (only what others need of it), all, or a list of packages")
	}
	if s, ok := n.Scalar(); ok {
		switch strings.TrimSpace(s) {
		case "none":
			d.a.None = true
		case "all":
			d.a.All = true
		default:
			return n.Errorf("is %q, should be none, all or a list; write packages: [%s]", document.OneLine(s), document.OneLine(s))
		}
		return nil
	}
	items, err := n.Items()
	if err != nil {
		return fmt.Errorf("%w (or packages: none, only what others need of it, or all)", err)
	}
	var faults document.Faults
	for _, item := range items {
		s, err := item.Text()
		if err == nil && (s == "all" || s == "none") {
			err = item.Errorf("%q stands in a list; write packages: %s", s, s)
		}
		faults.Add(err)
		d.a.Packages = append(d.a.Packages, Query{Text: s, Position: item.At()})
	}
	return faults.Err()
}

// finish says what is missing, with what to write; everything else is Validate's.
func (d *archiveDoc) finish(n document.Node) error {
	a := d.a
	if a.Prefix == "" {
		return n.Errorf("archive without prefix:; write prefix: NAME, the directory that it is served under")
	}
	name := "archive " + a.Prefix
	if !d.hasMode {
		return n.Errorf("%s: no mode:; write mode: curated (a selection, signed by the site) or mode: verbatim (all of it, under upstream's signature)", name)
	}
	if err := d.takeApt(); err != nil {
		return err
	}
	if len(d.lists.lines)+len(a.Packages) > 0 && (a.None || a.All) {
		return d.selection.Errorf("says none or all, but packages-from: names packages; keep one of them")
	}
	if (a.Debs != "" || len(a.Sources) > 0) && d.selection == nil && len(a.Packages)+len(d.lists.lines) == 0 {
		// Who puts his own .debs into a directory means all of them.
		a.All = true
	}
	return nil
}
