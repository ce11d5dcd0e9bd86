package engine

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// cut is what of an image of a snapshot runs on one platform.
type cut struct {
	image     snapshot.Image
	root      oci.Descriptor
	documents []oci.ImagePart // the manifest, then the indices that lead to it, the root last
	layers    []oci.Descriptor
	config    oci.Descriptor
}

// manifest is the one of the platform.
func (c *cut) manifest() oci.ImagePart { return c.documents[0] }

// ids are those by which engines may know the image: first its config, then manifest and indices.
func (c *cut) ids() ids {
	all := ids{c.config.Digest}
	for _, d := range c.documents {
		all = append(all, d.Digest)
	}
	return all
}

// size of what is handed to an engine, in bytes.
func (c *cut) size() int64 {
	n := c.config.Size
	for _, l := range c.layers {
		n += l.Size
	}
	for _, d := range c.documents {
		n += d.Size
	}
	return n
}

// platformError says that nothing of an image runs on this machine. It is an outcome.ErrNotFound.
type platformError struct{ name, why string }

func (e *platformError) Error() string { return "image " + e.name + ": " + e.why }
func (e *platformError) Unwrap() error { return outcome.ErrNotFound }

// Types of the configs of images that run (image-spec, config.md; Docker's schema 2). Others are
// of Helm charts, signatures and the like.
var runs = []string{"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}

// ownPlatform is this machine's.
func ownPlatform() oci.Platform { return oci.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// read reads the documents of an image and finds what of it runs on a platform.
// Errors: a platformError if nothing does; snapshot.ErrIntegrity for wrong bytes.
func read(ctx context.Context, s *snapshot.Snapshot, im snapshot.Image, on oci.Platform) (*cut, error) {
	document := func(ctx context.Context, d oci.Descriptor) ([]byte, error) {
		return s.ReadBlob(ctx, d.Blob, oci.MaxImageDocument)
	}
	g, err := oci.WalkImage(ctx, document, oci.Descriptor{Blob: im.Blob})
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", im.Name, err)
	}
	path := chain(g, g.Root(), on)
	if path == nil {
		return nil, &platformError{im.Name, "it has nothing for " + on.String()}
	}
	m := path[0].Document
	c := &cut{image: im, root: g.Root().Descriptor, documents: path, config: m.Config}
	if !slices.Contains(runs, m.Config.MediaType) {
		return nil, &platformError{im.Name, fmt.Sprintf("its config is of type %.100q, which no engine runs", m.Config.MediaType)}
	}
	for _, l := range m.Layers {
		if !slices.Contains(c.layers, l) {
			c.layers = append(c.layers, l)
		}
	}
	if len(path) == 1 {
		err = c.checkConfig(ctx, s, on)
	}
	return c, err
}

// chain is the way from the manifest for a platform up to the document at; nil if there is none.
func chain(g *oci.ImageGraph, at oci.ImagePart, on oci.Platform) []oci.ImagePart {
	if !at.Document.IsIndex() {
		return []oci.ImagePart{at}
	}
	var best []oci.ImagePart
	for _, m := range at.Document.Manifests {
		p := m.Platform
		if !m.Describes.IsZero() || p != (oci.Platform{}) && (p.OS != on.OS || p.Architecture != on.Architecture) {
			continue
		}
		i := slices.IndexFunc(g.Documents, func(d oci.ImagePart) bool { return d.Digest == m.Digest })
		if i < 0 || p == (oci.Platform{}) && !g.Documents[i].Document.IsIndex() {
			continue
		}
		if way := chain(g, g.Documents[i], on); way != nil && (best == nil || preferred[p.Variant]) {
			if best = append(way, at); preferred[p.Variant] {
				break
			}
		}
	}
	return best
}

// preferred are variants that every machine of an architecture runs, or that Debian demands of it.
var preferred = map[string]bool{"": true, "v1": true, "v7": true, "v8": true}

// maxConfig bounds the config of an image, in bytes.
const maxConfig = 4 << 20

// checkConfig compares the platform of an image without an index, which is in its config alone.
func (c *cut) checkConfig(ctx context.Context, s *snapshot.Snapshot, on oci.Platform) error {
	data, err := s.ReadBlob(ctx, c.config.Blob, maxConfig)
	if err != nil {
		return fmt.Errorf("image %s: config: %w", c.image.Name, err)
	}
	var is oci.Platform
	if err := json.Unmarshal(data, &is); err != nil {
		return fmt.Errorf("image %s: config %s: %w: %w", c.image.Name, c.config.Digest, outcome.ErrIntegrity, err)
	}
	if is.Architecture != "" && is.Architecture != on.Architecture || is.OS != "" && is.OS != on.OS {
		return &platformError{c.image.Name, fmt.Sprintf("it is for %.100s, not for %s", is, on)}
	}
	return nil
}

// writeTar writes the image as an OCI layout in a tar (image-spec, image-layout.md), and for docker, which knew
// none until version 25, with its own manifest.json beside (moby, image/spec/v1.2.md). Every blob is
// verified on the way and withheld at its end until its digest is right, and what names them comes last: of wrong bytes no engine takes an image.
func (c *cut) writeTar(ctx context.Context, s *snapshot.Snapshot, kind Kind, to io.Writer) error {
	w := tar.NewWriter(to)
	if err := writeFile(w, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	for _, b := range append([]oci.Descriptor{c.config}, c.layers...) {
		if err := copyBlob(ctx, w, s, b); err != nil {
			return err
		}
	}
	for _, d := range c.documents {
		if err := writeFile(w, blobName(d.Descriptor), d.Data); err != nil {
			return err
		}
	}
	if kind == Docker {
		m := dockerManifest{Config: blobName(c.config), RepoTags: []string{c.image.Name}, Layers: []string{}}
		for _, l := range c.manifest().Document.Layers {
			m.Layers = append(m.Layers, blobName(l))
		}
		if err := writeJSON(w, "manifest.json", []dockerManifest{m}); err != nil {
			return err
		}
	}
	entry := jsonEntry{c.root.MediaType, c.root.Digest.String(), c.root.Size, map[string]string{
		"io.containerd.image.name":          c.image.Name,
		"org.opencontainers.image.ref.name": c.image.Name, // podman takes it for the whole name
	}}
	if err := writeJSON(w, "index.json", jsonIndex{2, oci.TypeIndex, []jsonEntry{entry}}); err != nil {
		return err
	}
	return w.Close()
}

type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

type jsonIndex struct {
	SchemaVersion int         `json:"schemaVersion"`
	MediaType     string      `json:"mediaType"`
	Manifests     []jsonEntry `json:"manifests"`
}

type jsonEntry struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

func blobName(d oci.Descriptor) string { return "blobs/sha256/" + d.Digest.Hex() }

func copyBlob(ctx context.Context, w *tar.Writer, s *snapshot.Snapshot, d oci.Descriptor) error {
	f, err := s.OpenBlob(ctx, d.Blob)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.WriteHeader(header(blobName(d), d.Size)); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}
}

func writeJSON(w *tar.Writer, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFile(w, name, data)
}

func writeFile(w *tar.Writer, name string, data []byte) error {
	if err := w.WriteHeader(header(name, int64(len(data)))); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}
