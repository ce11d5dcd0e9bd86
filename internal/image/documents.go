package image

import (
	"errors"
	"fmt"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// Layer is a layer that is made already, wherever its bytes are.
type Layer struct {
	MediaType string
	snapshot.Blob
	DiffID snapshot.Digest // of the tar (image-spec, config.md, "Layer DiffID")
	By     string          // what it is, for who reads the history
}

// Contents are what the documents of an image of one architecture say.
type Contents struct {
	Architecture, Variant string // as Go and OCI call it: amd64
	Created               time.Time
	Author                string
	Layers                []Layer // lowest first

	Entrypoint  []string
	Command     []string
	Environment []string
	Ports       []string
	Volumes     []string
	User        string
	WorkDir     string
	StopSignal  string
	Labels      map[string]string

	// Annotations are those of the manifest.
	Annotations map[string]string
}

// configuration is what image-spec's config.md has of fields that we set.
type configuration struct {
	Created string `json:"created"`
	Author  string `json:"author,omitempty"`
	platform
	Config struct {
		User         string              `json:"User,omitempty"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
		Env          []string            `json:"Env,omitempty"`
		Entrypoint   []string            `json:"Entrypoint,omitempty"`
		Cmd          []string            `json:"Cmd,omitempty"`
		Volumes      map[string]struct{} `json:"Volumes,omitempty"`
		WorkingDir   string              `json:"WorkingDir"`
		Labels       map[string]string   `json:"Labels,omitempty"`
		StopSignal   string              `json:"StopSignal,omitempty"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []history `json:"history"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

// Documents are config and manifest. Equal contents make equal documents.
func (c *Contents) Documents() (config, manifest Part, err error) {
	if c.Created.IsZero() {
		return Part{}, Part{}, errors.New("image: no time of creation")
	}
	created := c.Created.UTC().Format(time.RFC3339)
	j := configuration{Created: created, Author: c.Author, platform: platform{c.Architecture, "linux", c.Variant}}
	j.Config.User, j.Config.Env, j.Config.Entrypoint, j.Config.Cmd = c.User, c.Environment, c.Entrypoint, c.Command
	j.Config.WorkingDir, j.Config.Labels, j.Config.StopSignal, j.RootFS.Type = c.WorkDir, c.Labels, c.StopSignal, "layers"
	j.Config.ExposedPorts, j.Config.Volumes = set(c.Ports), set(c.Volumes)
	m := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{SchemaVersion: 2, MediaType: typeManifest, Annotations: c.Annotations}
	for _, l := range c.Layers {
		j.RootFS.DiffIDs = append(j.RootFS.DiffIDs, l.DiffID.String())
		j.History = append(j.History, history{created, l.By})
		m.Layers = append(m.Layers, descriptor{MediaType: l.MediaType, Digest: l.Digest.String(), Size: l.Size})
	}
	if config, err = document(typeConfig, j); err != nil {
		return Part{}, Part{}, err
	}
	m.Config = describe(config)
	manifest, err = document(typeManifest, m)
	return config, manifest, err
}

func set(names []string) map[string]struct{} {
	if len(names) == 0 {
		return nil
	}
	out := map[string]struct{}{}
	for _, name := range names {
		out[name] = struct{}{}
	}
	return out
}

// Attachment is a manifest that refers to another one, with blobs of its own (image-spec, manifest.md, "Guidelines for Artifact Usage").
type Attachment struct {
	ArtifactType string
	Subject      Part
	Layers       []Attached
	Annotations  map[string]string
}

// Attached is a blob of an [Attachment].
type Attached struct {
	Part
	Title  string          // its file name
	Digest snapshot.Digest // of its data; zero: it is computed
}

// Empty is the config of a manifest that has none.
func Empty() Part { return Part{MediaType: "application/vnd.oci.empty.v1+json", Data: []byte("{}")} }

// Document is the manifest. Its config is [Empty].
func (a *Attachment) Document() (Part, error) {
	m := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Subject       descriptor        `json:"subject"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{SchemaVersion: 2, MediaType: typeManifest, ArtifactType: a.ArtifactType, Config: describe(Empty()), Subject: describe(a.Subject), Annotations: a.Annotations}
	for _, l := range a.Layers {
		d := descriptor{MediaType: l.MediaType, Digest: l.Digest.String(), Size: int64(len(l.Data))}
		if l.Digest.IsZero() {
			d = describe(l.Part)
		}
		d.Notes = map[string]string{"org.opencontainers.image.title": l.Title}
		m.Layers = append(m.Layers, d)
	}
	return document(typeManifest, m)
}

// Platform is how images call an architecture of Debian's (image-spec, image-index.md: values of GOARCH and GOARM).
func Platform(debian string) (architecture, variant string) {
	switch debian {
	case "armhf":
		return "arm", "v7"
	case "armel":
		return "arm", "v5"
	case "i386":
		return "386", ""
	case "ppc64el":
		return "ppc64le", ""
	case "mips64el":
		return "mips64le", ""
	}
	return debian, ""
}

// IndexOf is the image index of manifests, in the order given.
func IndexOf(annotations map[string]string, images ...*Image) (Part, error) {
	var entries []descriptor
	for _, img := range images {
		d := describe(img.Manifest)
		d.Platform = &platform{img.Architecture, "linux", img.Variant}
		entries = append(entries, d)
	}
	p, err := document(typeIndex, struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Manifests     []descriptor      `json:"manifests"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{2, typeIndex, entries, annotations})
	if err != nil {
		return p, fmt.Errorf("image index: %w", err)
	}
	return p, nil
}
