package registry

import (
	"context"
	"encoding/json"
	"fmt"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// graph is what belongs to an image and its referrers. Immutable.
type graph struct {
	parts     map[snapshot.Digest]string // the media type of a document; "" of a config or layer
	referrers []referrer
}

// referrer is a document about another one.
type referrer struct {
	subject snapshot.Digest
	descriptor
}

// descriptor is an entry of the index that a list of referrers is.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// graphOf reads the documents of an image, once.
func (h *Held) graphOf(ctx context.Context, m image) (*graph, error) {
	if g := h.knownGraph(m.Name); g != nil {
		return g, nil
	}
	var g *graph
	err := h.turnOf(m.Name).take(ctx, func() (err error) {
		if g = h.knownGraph(m.Name); g != nil {
			return nil
		}
		select {
		case h.registry.reading <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-h.registry.reading }()
		if g, err = h.readGraph(ctx, m); err != nil {
			return fmt.Errorf("image %s: %w", m.Name, err)
		}
		h.keepGraph(m.Name, g)
		return nil
	})
	return g, err
}

// turnOf is the turn of who reads an image: another one may come meanwhile.
func (h *Held) turnOf(name string) turn {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.turns[name] == nil {
		h.turns[name] = newTurn()
	}
	return h.turns[name]
}

func (h *Held) knownGraph(name string) *graph {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.graphs[name]
}

func (h *Held) keepGraph(name string, g *graph) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.parts += g.size(); h.parts > MaxParts {
		clear(h.graphs)
		h.parts = g.size()
	}
	h.graphs[name] = g
}

// size counts what is remembered in parts, of which each takes about 100 bytes: an annotation counts as one and for its text.
func (g *graph) size() int {
	n := len(g.parts) + len(g.referrers)
	for _, r := range g.referrers {
		for key, value := range r.Annotations {
			n += 1 + (len(key)+len(value))/100
		}
	}
	return n
}

func (h *Held) readGraph(ctx context.Context, m image) (*graph, error) {
	left := int64(MaxImage)
	read := func(ctx context.Context, d oci.Descriptor) ([]byte, error) {
		if left -= d.Size; left < 0 {
			return nil, fmt.Errorf("%w: its manifests have more than %d bytes together", oci.ErrImage, MaxImage)
		}
		return h.ReadBlob(ctx, d.Blob, oci.MaxImageDocument)
	}
	g := &graph{parts: map[snapshot.Digest]string{}}
	walk := func(root snapshot.Blob) (*oci.ImageGraph, error) {
		found, err := oci.WalkImage(ctx, read, oci.Descriptor{Blob: root})
		if err != nil {
			return nil, err
		}
		for _, d := range found.Documents {
			g.parts[d.Digest] = d.MediaType
		}
		for _, b := range found.Blobs {
			if _, document := g.parts[b.Digest]; !document {
				g.parts[b.Digest] = ""
			}
		}
		return found, nil
	}
	if _, err := walk(m.Blob); err != nil {
		return nil, err
	}
	for _, b := range m.Referrers {
		found, err := walk(b)
		if err != nil {
			return nil, fmt.Errorf("referrer %s: %w", b.Digest, err)
		}
		g.referrers = append(g.referrers, referrerOf(found.Root()))
	}
	return g, nil
}

// referrerOf describes a document in a list of referrers (distribution-spec, "Listing Referrers").
func referrerOf(d oci.ImagePart) referrer {
	r := referrer{subject: d.Document.Subject.Digest, descriptor: descriptor{
		MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size, ArtifactType: d.Document.ArtifactType,
	}}
	if r.ArtifactType == "" && !d.Document.IsIndex() {
		r.ArtifactType = d.Document.Config.MediaType
	}
	var said struct {
		Annotations map[string]string `json:"annotations"`
	}
	if len(d.Data) <= maxAnnotated && json.Unmarshal(d.Data, &said) == nil {
		r.Annotations = said.Annotations
	}
	return r
}

// maxAnnotated is the largest document, in bytes, whose annotations stand in a list of referrers, so that the list of
// the most that an image may have stays below what clients read.
const maxAnnotated = 32 << 10
