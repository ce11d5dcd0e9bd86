package config

import (
	"cmp"
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
	data, err := readFile(path, MaxYAML)
	if err != nil {
		return nil, err
	}
	return parseMiniMirror(path, data)
}

func parseMiniMirror(path string, data []byte) (*Plan, error) {
	docs, err := parseYAML(path, data)
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
		return nil, usage(Position{path, 1}, "no source; documents have name, url, key_url, components and subrepos, bare or under data: of schema %s", miniMirrorSchema)
	}
	p, err := planOf(path, found, nil)
	if err == nil {
		p.CommonList = "`packages:` at the top of an mmoci.yaml in place of it"
	}
	return p, err
}

// unwrap takes the source out of a Deckhand document. A site's documents of
// other schemas are not ours.
func unwrap(d node) (n node, ours bool, err error) {
	pairs, err := d.pairs()
	if err != nil {
		return d, false, err
	}
	isWrapped := slices.ContainsFunc(pairs, func(p pair) bool { return p.key == "schema" })
	if !isWrapped {
		return d, true, nil
	}
	parts := map[string]node{}
	for _, p := range pairs {
		parts[p.key] = p.node
	}
	schema, err := parts["schema"].text()
	if err != nil || schema != miniMirrorSchema {
		return d, false, err
	}
	data, ok := parts["data"]
	if !ok {
		return d, false, d.errorf("a document of schema %s without data:", schema)
	}
	if metadata, ok := parts["metadata"]; ok {
		err = rendered(metadata)
	}
	return node{d.file, "", data.n}, true, err
}

// rendered refuses a document that Deckhand has yet to work on: what it says is not what is meant.
func rendered(metadata node) error {
	pairs, err := metadata.pairs()
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if p.key == "substitutions" {
			return p.errorf("is for Deckhand; render the documents first")
		}
		if p.key != "layeringDefinition" {
			continue
		}
		layering, err := p.pairs()
		if err != nil {
			return err
		}
		for _, l := range layering {
			if v, _ := l.scalar(); l.key == "parentSelector" || l.key == "actions" || l.key == "abstract" && v != "false" {
				return l.errorf("is for Deckhand; render the documents first")
			}
		}
	}
	return nil
}

// miniMirrorDoc reads one document: a source for each of its subrepos.
func miniMirrorDoc(n node) ([]source, error) {
	n.key = ""
	base := source{at: n.at()}
	var codename, codename2, conf string
	var confAt Position
	var subrepos []node
	err := n.mapping(fields{
		"name":      setText(&base.prefix),
		"url":       setText(&base.url),
		"key_url":   setText(&base.key),
		"codename":  setText(&codename),
		"code_name": setText(&codename2),
		"label":     setText(&base.label),
		"aptly_config": func(n node) error {
			s, ok := n.scalar()
			if !ok {
				return n.wrongType("the JSON text of an aptly.conf")
			}
			conf, confAt = s, n.at()
			return nil
		},
		"components": setTexts(&base.components),
		"subrepos":   func(n node) (err error) { subrepos, err = n.items(); return err },
	})
	if err != nil {
		return nil, err
	}
	for _, x := range []struct{ key, value string }{
		{"name", base.prefix}, {"url", base.url}, {"key_url", base.key}, {"subrepos", strings.Repeat("x", len(subrepos))},
	} {
		if x.value == "" {
			return nil, n.errorf("source %s: no %s:", base.prefix, x.key)
		}
	}
	if codename != "" && codename2 != "" && codename != codename2 {
		return nil, n.errorf("source %s: codename and code_name differ; keep one", base.prefix)
	}
	base.codename = cmp.Or(codename, codename2)
	base.key = relativeTo(n.file, base.key)
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
func (s *source) subrepos(nodes []node) ([]source, error) {
	var out []source
	for _, n := range nodes {
		n.key = ""
		sub := *s
		sub.at = n.at()
		var packages *node
		err := n.mapping(fields{
			"distribution": setText(&sub.suite),
			"packages":     func(n node) error { packages = &n; return nil },
		})
		switch {
		case err != nil:
			return nil, err
		case sub.suite == "":
			return nil, n.errorf("subrepo of %s: no distribution:", s.prefix)
		case packages == nil:
			return nil, n.errorf("subrepo %s of %s: no packages:; name them, or write packages: all to take the whole component", sub.suite, s.prefix)
		}
		if err := sub.takePackages(*packages); err != nil {
			return nil, err
		}
		out = append(out, sub)
	}
	return out, nil
}

func (s *source) takePackages(n node) error {
	if v, ok := n.scalar(); ok && strings.TrimSpace(v) == all {
		s.whole = true
		return nil
	}
	items, err := n.items()
	if err != nil {
		return fmt.Errorf("%w (packages: all takes the whole component)", err)
	}
	for _, item := range items {
		q, err := item.miniMirrorPackage()
		if err != nil {
			return err
		}
		s.packages = append(s.packages, Query{q, item.at()})
	}
	return nil
}

// miniMirrorPackage is the query of a package: "NAME", "NAME (= VERSION)", or the exact
// NAME_VERSION_ARCH where the version carries the architecture, as in the mini-mirror's own example.
func (n node) miniMirrorPackage() (string, error) {
	n.key = ""
	var name, version string
	if err := n.mapping(fields{"name": setText(&name), "version": setText(&version)}); err != nil {
		return "", err
	}
	switch {
	case name == "":
		return "", n.errorf("package without name:")
	case version == "":
		return name, nil
	case strings.ContainsAny(name, " ()|,!{}_"):
		return "", n.errorf("package %s: a query cannot have a version: beside it", name)
	case strings.ContainsAny(version, " ()|,!{}"):
		return "", n.errorf("package %s: version %q is no exact version; write the condition into name: %s (%s)", name, version, name, version)
	case strings.Contains(version, "_"):
		return name + "_" + version, nil
	}
	return fmt.Sprintf("%s (= %s)", name, version), nil
}
