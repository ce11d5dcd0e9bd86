package config

import (
	"cmp"
	"example.org/mmoci/internal/config/document"
	"fmt"
	"slices"
	"strings"
)

// miniMirrorSchema is the schema of a Deckhand document that holds a source of the mini-mirror under data:.
const miniMirrorSchema = "nc/MiniMirrorSource/v1"

// LoadMiniMirrorYAML reads the mini-mirror's later form, one YAML document for
// each upstream: name, url, key_url, codename (or code_name), label, aptly_config,
// components and subrepos of distribution and packages (name, version), bare or
// wrapped as a Deckhand document. The plan is that of the equivalent tree of
// [LoadSources]; "packages: all" asks for the whole of the components.
func LoadMiniMirrorYAML(path string) (*Plan, error) {
	data, err := document.ReadFile(path, document.MaxYAML)
	if err != nil {
		return nil, err
	}
	return parseMiniMirror(path, data)
}

func parseMiniMirror(path string, data []byte) (*Plan, error) {
	docs, err := document.Parse(path, data)
	if err != nil {
		return nil, err
	}
	var found []source
	for _, d := range docs {
		d, ours, err := unwrap(d)
		if err != nil {
			return nil, err
		}
		if !ours {
			continue
		}
		sources, err := miniMirrorDoc(d)
		if err != nil {
			return nil, err
		}
		found = append(found, sources...)
	}
	if len(found) == 0 {
		return nil, document.Errorf(document.At(path, 1), "no source; documents have name, url, key_url, components and subrepos, bare or under data: of schema %s", miniMirrorSchema)
	}
	p, err := planOf(path, found, nil)
	if err == nil {
		p.CommonList = "`packages:` at the top of an mmoci.yaml in place of it"
	}
	return p, err
}

// unwrap takes the source out of a Deckhand document. A site's documents of
// other schemas are not ours.
func unwrap(d document.Node) (n document.Node, ours bool, err error) {
	pairs, err := d.Pairs()
	if err != nil {
		return d, false, err
	}
	isWrapped := slices.ContainsFunc(pairs, func(p document.Pair) bool { return p.Key == "schema" })
	if !isWrapped {
		return d, true, nil
	}
	parts := map[string]document.Node{}
	for _, p := range pairs {
		parts[p.Key] = p.Node
	}
	schema, err := parts["schema"].Text()
	if err != nil || schema != miniMirrorSchema {
		return d, false, err
	}
	data, ok := parts["data"]
	if !ok {
		return d, false, d.Errorf("a document of schema %s without data:", schema)
	}
	if metadata, ok := parts["metadata"]; ok {
		err = rendered(metadata)
	}
	return document.Node{File: d.File, N: data.N}, true, err
}

// rendered refuses a document that Deckhand has yet to work on: what it says is not what is meant.
func rendered(metadata document.Node) error {
	pairs, err := metadata.Pairs()
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if p.Key == "substitutions" {
			return p.Errorf("is for Deckhand; render the documents first")
		}
		if p.Key != "layeringDefinition" {
			continue
		}
		layering, err := p.Pairs()
		if err != nil {
			return err
		}
		for _, l := range layering {
			if v, _ := l.Scalar(); l.Key == "parentSelector" || l.Key == "actions" || l.Key == "abstract" && v != "false" {
				return l.Errorf("is for Deckhand; render the documents first")
			}
		}
	}
	return nil
}

// miniMirrorDoc reads one document: a source for each of its subrepos.
func miniMirrorDoc(n document.Node) ([]source, error) {
	n.Key = ""
	base := source{at: n.At()}
	var codename, codename2, conf string
	var confAt document.Position
	var subrepos []document.Node
	err := n.Mapping(document.Fields{
		"name":      setText(&base.prefix),
		"url":       setText(&base.url),
		"key_url":   setText(&base.key),
		"codename":  setText(&codename),
		"code_name": setText(&codename2),
		"label":     setText(&base.label),
		"aptly_config": func(n document.Node) error {
			s, ok := n.Scalar()
			if !ok {
				return n.WrongType("the JSON text of an aptly.conf")
			}
			conf, confAt = s, n.At()
			return nil
		},
		"components": setTexts(&base.components),
		"subrepos":   func(n document.Node) (err error) { subrepos, err = n.Items(); return err },
	})
	if err != nil {
		return nil, err
	}
	for _, x := range []struct{ key, value string }{
		{"name", base.prefix}, {"url", base.url}, {"key_url", base.key}, {"subrepos", strings.Repeat("x", len(subrepos))},
	} {
		if x.value == "" {
			return nil, n.Errorf("source %s: no %s:", base.prefix, x.key)
		}
	}
	if codename != "" && codename2 != "" && codename != codename2 {
		return nil, n.Errorf("source %s: codename and code_name differ; keep one", base.prefix)
	}
	base.codename = cmp.Or(codename, codename2)
	base.key = relativeTo(n.File, base.key)
	if err := base.aptly(confAt, optional(conf)); err != nil {
		return nil, err
	}
	return base.subrepos(subrepos)
}

func optional(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// subrepos makes a source of each entry of subrepos:.
func (s *source) subrepos(nodes []document.Node) ([]source, error) {
	var out []source
	for _, n := range nodes {
		n.Key = ""
		sub := *s
		sub.at = n.At()
		var packages *document.Node
		err := n.Mapping(document.Fields{
			"distribution": setText(&sub.suite),
			"packages":     func(n document.Node) error { packages = &n; return nil },
		})
		switch {
		case err != nil:
			return nil, err
		case sub.suite == "":
			return nil, n.Errorf("subrepo of %s: no distribution:", s.prefix)
		case packages == nil:
			return nil, n.Errorf("subrepo %s of %s: no packages:; name them, or write packages: all to take the whole component", sub.suite, s.prefix)
		}
		if err := sub.takePackages(*packages); err != nil {
			return nil, err
		}
		out = append(out, sub)
	}
	return out, nil
}

func (s *source) takePackages(n document.Node) error {
	if v, ok := n.Scalar(); ok && strings.TrimSpace(v) == all {
		s.whole = true
		return nil
	}
	items, err := n.Items()
	if err != nil {
		return fmt.Errorf("%w (packages: all takes the whole component)", err)
	}
	for _, item := range items {
		q, err := miniMirrorPackage(item)
		if err != nil {
			return err
		}
		s.packages = append(s.packages, Query{q, item.At()})
	}
	return nil
}

// miniMirrorPackage is the query of a package: "NAME", "NAME (= VERSION)", or the exact
// NAME_VERSION_ARCH where the version carries the architecture, as in the mini-mirror's own example.
func miniMirrorPackage(n document.Node) (string, error) {
	n.Key = ""
	var name, version string
	if err := n.Mapping(document.Fields{"name": setText(&name), "version": setText(&version)}); err != nil {
		return "", err
	}
	switch {
	case name == "":
		return "", n.Errorf("package without name:")
	case version == "":
		return name, nil
	case strings.ContainsAny(name, " ()|,!{}_"):
		return "", n.Errorf("package %s: a query cannot have a version: beside it", name)
	case strings.ContainsAny(version, " ()|,!{}"):
		return "", n.Errorf("package %s: version %q is no exact version; write the condition into name: %s (%s)", name, version, name, version)
	case strings.Contains(version, "_"):
		return name + "_" + version, nil
	}
	return fmt.Sprintf("%s (= %s)", name, version), nil
}
