// Package provenance writes how an image came to be: an in-toto statement, version 1, with SLSA's predicate provenance/v1. Pure.
//
// It is not signed here: the companion of an image has it among its parts, all of which the site's statement names by digest.
package provenance

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"example.org/mmoci/pkg/snapshot"
)

// The types that a statement names (github.com/in-toto/attestation, spec/v1; slsa.dev/spec/v1.0/provenance). What BuildType means is
// said in SPEC.md, section 17.
const (
	TypeStatement = "https://in-toto.io/Statement/v1"
	TypePredicate = "https://slsa.dev/provenance/v1"
	BuildType     = "urn:mmoci:image-build:v1"
)

// Build is what is said of the making of an image.
type Build struct {
	Name    string // of the image; "" is "image"
	Image   snapshot.Digest
	Plan    []byte         // image.yaml
	Signer  string         // fingerprint of the key that the site signs with; "": it does not
	Inputs  []Input        // in order
	Details map[string]any // what else decides the bytes, by name
}

// Input is something that the image was made of, and that is found again by its digest.
type Input struct {
	Name   string
	URI    string // "": it has none
	Digest snapshot.Digest
	Notes  map[string]string // nil: none
}

type (
	statement struct {
		Type      string     `json:"_type"`
		Subject   []resource `json:"subject"`
		Predicate string     `json:"predicateType"`
		Body      predicate  `json:"predicate"`
	}
	predicate struct {
		Definition definition `json:"buildDefinition"`
		Run        run        `json:"runDetails"`
	}
	definition struct {
		Type         string         `json:"buildType"`
		External     map[string]any `json:"externalParameters"`
		Internal     map[string]any `json:"internalParameters,omitempty"`
		Dependencies []resource     `json:"resolvedDependencies"`
	}
	run struct {
		Builder builder `json:"builder"`
	}
	builder struct {
		ID string `json:"id"`
	}
	resource struct {
		Name   string            `json:"name,omitempty"`
		URI    string            `json:"uri,omitempty"`
		Digest map[string]string `json:"digest"`
		Notes  map[string]string `json:"annotations,omitempty"`
	}
)

// Statement writes the statement in JSON. Equal builds give equal bytes.
func Statement(b *Build) ([]byte, error) {
	plan, err := parsePlan(b.Plan)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	name := b.Name
	if name == "" {
		name = "image"
	}
	s := statement{
		Type: TypeStatement, Predicate: TypePredicate,
		Subject: []resource{{Name: name, Digest: digest(b.Image)}},
		Body: predicate{
			Definition: definition{Type: BuildType, External: map[string]any{"plan": plan}, Internal: b.Details},
			Run:        run{builder{"urn:mmoci:unsigned"}},
		},
	}
	if b.Signer != "" {
		s.Body.Run.Builder.ID = "openpgp4fpr:" + b.Signer
	}
	for _, in := range b.Inputs {
		s.Body.Definition.Dependencies = append(s.Body.Definition.Dependencies, resource{in.Name, in.URI, digest(in.Digest), in.Notes})
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err = enc.Encode(s)
	return out.Bytes(), err
}

// parsePlan reads a plan in its canonical form: maps, lists, texts, numbers and words.
func parsePlan(text []byte) (any, error) {
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, err
	}
	if len(f.Docs) != 1 {
		return nil, fmt.Errorf("%d documents", len(f.Docs))
	}
	return valueOf(f.Docs[0].Body)
}

func valueOf(n ast.Node) (any, error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		out := map[string]any{}
		for _, v := range n.Values {
			value, err := valueOf(v.Value)
			if err != nil {
				return nil, err
			}
			key, err := valueOf(v.Key)
			if err != nil {
				return nil, err
			}
			out[fmt.Sprint(key)] = value
		}
		return out, nil
	case *ast.SequenceNode:
		out := []any{}
		for _, v := range n.Values {
			value, err := valueOf(v)
			if err != nil {
				return nil, err
			}
			out = append(out, value)
		}
		return out, nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.IntegerNode:
		return n.Value, nil
	case *ast.BoolNode:
		return n.Value, nil
	}
	return nil, fmt.Errorf("%T is not of a canonical plan", n)
}

func digest(d snapshot.Digest) map[string]string { return map[string]string{"sha256": d.Hex()} }
