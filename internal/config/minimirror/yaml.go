package minimirror

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/aptlyconf"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/foreign"
)

// miniMirrorSchema is the schema of a Deckhand document that holds a source of the mini-mirror under data:.
const miniMirrorSchema = "nc/MiniMirrorSource/v1"

// LoadYAML reads the mini-mirror's later form, one YAML document for
// each upstream: name, url, key_url, codename (or code_name), label, aptly_config,
// components and subrepos of distribution and packages (name, version), bare or
// wrapped as a Deckhand document. The plan is that of the equivalent tree of
// [Load]; "packages: all" asks for the whole of the components.
// All that is wrong with it is told in one error.
func LoadYAML(path string, o Options) (*config.Plan, error) {
	data, err := document.ReadFile(path, document.MaxYAML)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(foreign.List(path, data), foreign.YAML(path, data)); err != nil {
		return nil, err
	}
	return parseMiniMirror(path, data, o)
}

func parseMiniMirror(path string, data []byte, o Options) (*config.Plan, error) {
	docs, err := document.Parse(path, data)
	if err != nil {
		return nil, err
	}
	m := miniMirror{}
	m.conf, err = o.aptlyDefault()
	m.faults.Add(err)
	for _, d := range docs {
		if d, ours, err := d.Deckhand(miniMirrorSchema); err != nil {
			m.faults.Add(err)
		} else if ours {
			m.document(d)
		}
	}
	if len(m.found) == 0 {
		if m.faults.Err() == nil {
			m.faults.Add(document.Errorf(document.At(path, 1), "no source; documents have name, url, key_url, components and subrepos, bare or under data: of schema %s", miniMirrorSchema))
		}
		return nil, m.faults.Err()
	}
	return planOf(&config.Plan{File: path, CommonList: "`packages:` at the top of an mmoci.yaml in place of it"}, m.found, &m.faults)
}

// miniMirror is what is read of the mini-mirror's YAML.
type miniMirror struct {
	conf   aptlyconf.Conf // of sources without their own
	found  []source
	faults document.Faults
}

// document reads one document: a source for each of its subrepos.
func (m *miniMirror) document(n document.Node) {
	n.Key = ""
	base := source{at: n.At()}
	base.obey(m.conf)
	var codename, codename2 string
	var subrepos []document.Node
	fields := document.Fields{
		"name":      document.SetText(&base.prefix),
		"url":       document.SetText(&base.url),
		"key_url":   document.SetText(&base.key),
		"codename":  document.SetText(&codename),
		"code_name": document.SetText(&codename2),
		"label":     document.SetText(&base.label),
		"aptly_config": func(n document.Node) error {
			s, ok := n.Scalar()
			if !ok {
				return n.WrongType("the text of an aptly.conf")
			}
			c, err := aptlyconf.Parse(n.TextAt(), []byte(s), config.ValidArchitecture)
			base.obey(c)
			return err
		},
		"components": document.SetTexts(&base.components),
		"subrepos":   func(n document.Node) (err error) { subrepos, err = n.Items(); return err },
	}
	err := n.Mapping(fields)
	m.faults.Add(err)
	for _, key := range n.Lacks(fields, "name", "url", "key_url", "subrepos") {
		err = n.Errorf("%s: no %s:", base.named(), key)
		m.faults.Add(err)
	}
	if codename != "" && codename2 != "" && codename != codename2 {
		m.faults.Add(n.Errorf("%s: codename and code_name differ; keep one", base.named()))
	}
	base.codename = cmp.Or(codename, codename2)
	base.key = relativeTo(n.File, base.key)
	sources := m.subrepos(base, subrepos)
	if err == nil {
		m.found = append(m.found, sources...)
		return
	}
	for _, s := range sources {
		m.faults.Add(config.ValidQueries(s.packages))
	}
}

// named is the source, for messages.
func (s *source) named() string { return strings.TrimSpace("source " + s.prefix) }

// subrepos makes a source of each entry of subrepos:.
func (m *miniMirror) subrepos(base source, nodes []document.Node) (out []source) {
	for _, n := range nodes {
		n.Key = ""
		sub := base
		sub.at = n.At()
		var packages *document.Node
		fields := document.Fields{
			"distribution": document.SetText(&sub.suite),
			"packages":     func(n document.Node) error { packages = &n; return nil },
		}
		err := n.Mapping(fields)
		m.faults.Add(err)
		for _, key := range n.Lacks(fields, "distribution", "packages") {
			if key == "packages" {
				err = n.Errorf("subrepo %s of the %s: no packages:; name them, or write packages: all to take the whole component", sub.suite, base.named())
			} else {
				err = n.Errorf("subrepo of the %s: no distribution:", base.named())
			}
			m.faults.Add(err)
		}
		if packages != nil {
			listErr := sub.takePackages(*packages)
			sub.unread = listErr != nil
			m.faults.Add(listErr)
		}
		if err == nil {
			out = append(out, sub)
		} else {
			m.faults.Add(config.ValidQueries(sub.packages))
		}
	}
	return out
}

func (s *source) takePackages(n document.Node) error {
	if v, ok := n.Scalar(); ok && strings.TrimSpace(v) == config.All {
		s.whole = true
		return nil
	}
	items, err := n.Items()
	if err != nil {
		return fmt.Errorf("%w (packages: all takes the whole component)", err)
	}
	var faults document.Faults
	for _, item := range items {
		q, err := miniMirrorPackage(item)
		if err != nil {
			faults.Add(err)
			continue
		}
		s.packages = append(s.packages, config.Query{Text: q, Position: item.At()})
	}
	return faults.Err()
}

// miniMirrorPackage is the query of a package: "NAME", "NAME (= VERSION)", or the exact
// NAME_VERSION_ARCH where the version carries the architecture, as in the mini-mirror's own example.
func miniMirrorPackage(n document.Node) (string, error) {
	n.Key = ""
	var name, version string
	fields := document.Fields{"name": document.SetText(&name), "version": document.SetText(&version)}
	err := n.Mapping(fields)
	switch {
	case len(n.Lacks(fields, "name")) > 0:
		return "", errors.Join(err, n.Errorf("package without name:"))
	case err != nil:
		return "", err
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
