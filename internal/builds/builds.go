// Package builds keeps what was built of sources in registries and layouts, where it is found by the identity of its source: under the
// tag src-HEX64 lie the .debs with what they were built of and a statement that the builder signed (artifacts/SPEC.md, "The source").
//
// No place is trusted: who may push decides nothing. What is read counts if enough of the builders that are listed signed it.
package builds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// Media types of a build and its parts.
const (
	TypeBuild       = "application/vnd.mmoci.build.v1"
	TypeIdentity    = "application/vnd.mmoci.build.identity.v1"
	TypeEnvironment = "application/vnd.mmoci.build.environment.v1"
	TypeSource      = "application/vnd.mmoci.build.source.v1" // a file of the source package that the identity names
	TypePatch       = "application/vnd.mmoci.build.patch.v1"
	TypeRecord      = "application/vnd.mmoci.build.record.v1" // what a builder says beside: .buildinfo, .changes, the patched source
	TypeDeb         = oci.TypeDeb
	TypeStatement   = "application/vnd.mmoci.build.statement.v1+pgp" // also the artifactType of a manifest that has one alone
)

// Names of parts.
const (
	IdentityName    = "identity.txt"
	EnvironmentName = "environment.txt"
	AboutName       = "about.txt"
	statementName   = "statement.txt"
	patchDir        = "patches/"
)

// Limits of parts that are held in memory, in bytes.
const (
	maxEnvironment = 8 << 20
	maxStatement   = 2 << 20
	maxAbout       = 256 << 10
)

// ErrUnconfirmed marks a build that fewer of the listed builders signed than have to.
var ErrUnconfirmed = errors.New("not confirmed")

// Trust says whose builds count.
type Trust struct {
	Builders *pgp.Keyring // nil: nobody's signature is asked for
	Confirm  int          // how many of them have to have built the same; 0: 1
}

// unconfirmed is an ErrUnconfirmed; a build that too few vouch for is none that is there.
type unconfirmed struct {
	ref         artifact.Reference
	signed, are int
}

func (e *unconfirmed) Error() string {
	return fmt.Sprintf("%s: %v: %d of %d builders signed it", e.ref, ErrUnconfirmed, e.signed, e.are)
}

func (e *unconfirmed) Unwrap() []error { return []error{ErrUnconfirmed, outcome.ErrNotFound} }

func (t Trust) confirm() int { return max(t.Confirm, 1) }

// Part is one file of a build.
type Part struct {
	Type, Title string
	snapshot.Blob
}

const tagPrefix = "src-"

// Tag is the tag of what is built of an identity.
func Tag(identity snapshot.Digest) string { return tagPrefix + identity.Hex() }

// IdentityOf is the identity that a tag is of, if it is of any.
func IdentityOf(tag string) (snapshot.Digest, bool) {
	text, ok := strings.CutPrefix(tag, tagPrefix)
	if !ok {
		return snapshot.Digest{}, false
	}
	identity, err := snapshot.ParseDigest("sha256:" + text)
	return identity, err == nil
}

// At is the reference of an identity at a place, of which the tag does not count.
func At(place artifact.Reference, identity snapshot.Digest) artifact.Reference {
	place.Tag, place.Digest = Tag(identity), snapshot.Digest{}
	return place
}

// ParsePlace reads HOST/REPO, oci:DIR or oci-archive:FILE: a place where builds are kept.
func ParsePlace(s string) (artifact.Reference, error) {
	ref, err := artifact.ParseReference(s)
	if err != nil {
		return ref, err
	}
	if ref.Tag != oci.DefaultTag || !ref.Digest.IsZero() || strings.HasSuffix(s, ":"+oci.DefaultTag) {
		return ref, fmt.Errorf("%w: %q: builds are found by their identity; name the place alone, HOST/REPO or oci:DIR", outcome.ErrUsage, s)
	}
	return ref, nil
}

// PlaceOf is a place as people write it.
func PlaceOf(ref artifact.Reference) string {
	s, _ := strings.CutSuffix(artifact.Reference{Kind: ref.Kind, Name: ref.Name, Tag: oci.DefaultTag}.String(), ":"+oci.DefaultTag)
	return s
}

// Has asks a place whether it has something for an identity, by one request that reads nothing: whether it counts is told by [Read].
func Has(ctx context.Context, place artifact.Reference, identity snapshot.Digest, o artifact.Options) (bool, error) {
	ref := At(place, identity)
	p, err := places.Open(ctx, ref, &o)
	if err == nil {
		_, err = p.Resolve(ctx, ref)
	}
	if missing(err) {
		return false, nil
	}
	return err == nil, err
}

func missing(err error) bool {
	return errors.Is(err, oci.ErrNotFound) || errors.Is(err, snapshot.ErrNotExist)
}

// document is a manifest of a build, or of a statement about one.
type document struct {
	oci.Descriptor
	data  []byte
	kind  string // its artifactType
	about snapshot.Digest
	parts []Part
}

func (d *document) part(kind string) (Part, bool) {
	i := slices.IndexFunc(d.parts, func(p Part) bool { return p.Type == kind })
	if i < 0 {
		return Part{}, false
	}
	return d.parts[i], true
}

func (d *document) of(kind string) []Part {
	return slices.DeleteFunc(slices.Clone(d.parts), func(p Part) bool { return p.Type != kind })
}

type jsonManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        jsonPart          `json:"config"`
	Layers        []jsonPart        `json:"layers"`
	Subject       *jsonPart         `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type jsonPart struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

const titleKey = "org.opencontainers.image.title"

func describe(mediaType string, b snapshot.Blob) jsonPart {
	return jsonPart{MediaType: mediaType, Digest: b.Digest.String(), Size: b.Size}
}

// parse reads a manifest, whatever it is of; one that is no build has no parts. Errors are of outcome.ErrIntegrity.
func parse(d oci.Descriptor, data []byte) (*document, error) {
	doc, err := oci.ParseImageDocument(data)
	if err != nil {
		return nil, err
	}
	out := &document{Descriptor: d, data: data, kind: doc.ArtifactType, about: doc.Subject.Digest}
	if doc.ArtifactType != TypeBuild && doc.ArtifactType != TypeStatement {
		return out, nil
	}
	var m jsonManifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%w: manifest of a build: %w", outcome.ErrIntegrity, err)
	}
	seen := map[string]bool{}
	for i, l := range m.Layers {
		p := Part{Type: l.MediaType, Title: l.Annotations[titleKey], Blob: doc.Layers[i].Blob}
		name, inPatches := strings.CutPrefix(p.Title, patchDir)
		if seen[p.Title] || !buildsource.ValidFileName(name) || inPatches != (p.Type == TypePatch) {
			return nil, fmt.Errorf("%w: manifest of a build: part %.120q is named twice, or cannot be named so", outcome.ErrIntegrity, p.Title)
		}
		seen[p.Title] = true
		out.parts = append(out.parts, p)
	}
	return out, nil
}

// write is the manifest of parts. Equal parts make equal bytes.
func write(kind string, parts []Part, about *oci.Descriptor, annotations map[string]string) (*document, error) {
	m := jsonManifest{SchemaVersion: 2, MediaType: oci.TypeManifest, ArtifactType: kind, Config: describe(oci.TypeEmpty, snapshot.BlobOf([]byte(oci.EmptyConfig))), Annotations: annotations}
	for _, p := range parts {
		l := describe(p.Type, p.Blob)
		l.Annotations = map[string]string{titleKey: p.Title}
		m.Layers = append(m.Layers, l)
	}
	if about != nil {
		s := describe(about.MediaType, about.Blob)
		m.Subject = &s
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(data) > oci.MaxImageDocument {
		return nil, fmt.Errorf("%w: a build of %d files", outcome.ErrUsage, len(parts))
	}
	return parse(oci.Describe(oci.TypeManifest, snapshot.BlobOf(data)), data)
}

// small reads a part that is held in memory.
func small(ctx context.Context, from snapshot.Blobs, p Part, most int64) ([]byte, error) {
	if p.Size > most {
		return nil, fmt.Errorf("%w: %s has %d bytes, more than %d", outcome.ErrIntegrity, p.Title, p.Size, most)
	}
	data, err := oci.ReadBlob(ctx, from, p.Title, p.Blob, most)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Title, err)
	}
	return data, nil
}

// copyPart writes a part, verified to its end.
func copyPart(ctx context.Context, to io.Writer, from snapshot.Blobs, p Part) error {
	c, err := from.Open(ctx, p.Blob, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Title, err)
	}
	r := c.Reader(p.Blob)
	defer r.Close()
	if _, err := io.Copy(to, oci.WithContext(ctx, r)); err != nil {
		return fmt.Errorf("%s: %w", p.Title, err)
	}
	return nil
}
