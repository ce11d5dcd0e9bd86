package config

import (
	"errors"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
)

// packages reads the list at the top, which asks over all archives.
func (l *loader) packages(n document.Node) error {
	if n.IsNull() {
		return n.Errorf("has no value; give it a list of packages, or leave the key out")
	}
	if s, ok := n.Scalar(); ok {
		return n.Errorf("is %q, should be a list: at the top stand packages that any archive may give; all and none are said of one archive", document.OneLine(s))
	}
	return n.Each(func(item document.Node) error {
		s, err := item.Text()
		if err == nil && (s == All || s == "none") {
			err = item.Errorf("%q is said of one archive; write packages: %s there", s, s)
		}
		l.plan.Packages = append(l.plan.Packages, Query{Text: s, Position: item.At()})
		return err
	})
}

// DrawTheRest lets archives that say nothing of packages give what the list at
// the top and the closure take from them. Without that list each must say. common: there is one, be it of URLs alone.
func (p *Plan) DrawTheRest(common bool) {
	for i := range p.Archives {
		if a := &p.Archives[i]; (common || len(p.Packages) > 0) && !a.Verbatim && !a.All && len(a.Packages) == 0 {
			a.None = true
		}
	}
}

// validPackages holds validity for the list at the top.
func (p *Plan) validPackages() error {
	if len(p.Packages) == 0 {
		return nil
	}
	for _, q := range p.Packages {
		switch strings.TrimSpace(q.Text) {
		case "":
			return document.Errorf(q.Position, "packages: an empty query")
		case All, "none":
			return document.Errorf(q.Position, "%q is said of one archive, not of a list that any archive may give", q.Text)
		}
	}
	if !slices.ContainsFunc(p.Archives, func(a Archive) bool { return !a.Verbatim }) {
		err := errors.New("no archive is curated, so nothing is chosen: verbatim ones are taken whole; remove the list, or write mode: curated")
		if len(p.Archives) == 0 {
			err = errors.New("no archives: that could give them")
		}
		return document.Errorf(p.Packages[0].Position, "packages at the top: %w", err)
	}
	return nil
}

// AsksNothing tells whether the curated archives of the plan, and there is one,
// ask for nothing: a snapshot of it would hold no package.
func (p *Plan) AsksNothing() bool {
	if len(p.Others) > 0 {
		return false
	}
	curated := false
	for i := range p.Archives {
		a := &p.Archives[i]
		if a.Verbatim || a.All || len(a.Packages)+len(a.BuildDepends) > 0 {
			return false
		}
		curated = true
	}
	return curated && len(p.Packages) == 0
}
