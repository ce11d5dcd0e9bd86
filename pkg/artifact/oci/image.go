package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"

	"example.org/mmoci/pkg/snapshot"
)

// Media types of Docker's image manifest version 2, schema 2, which are read beside those of OCI.
const (
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Limits of container images. Registries take documents of 4 MiB at least (distribution-spec, "Pushing Manifests").
const (
	MaxImageDocument = 4 << 20
	MaxImageParts    = 128 // documents below an image index, and documents of one image in all
	MaxImageLayers   = 512
	maxImageDepth    = 3 // an image index in an image index, and its manifests
	// maxImageEntries bounds what is read of one list of a document, of which all but few may be cut.
	maxImageEntries = 4096
)

// ErrImage marks a container image that cannot be carried, genuine as it may be:
// one of an old format, with parts that lie elsewhere, or beyond a limit.
var ErrImage = errors.New("container image that cannot be carried")

// Platform says for which machines a manifest is (image-spec, image-index.md).
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// ParsePlatform reads OS/ARCHITECTURE[/VARIANT].
func ParsePlatform(s string) (Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return Platform{}, fmt.Errorf("%.80q is no platform; write linux/amd64 or linux/arm/v7", s)
	}
	p := Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// String is OS/ARCHITECTURE[/VARIANT].
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// meets tells whether p is what is asked for; asked without a variant means every variant.
func (p Platform) meets(asked Platform) bool {
	return p.OS == asked.OS && p.Architecture == asked.Architecture && (asked.Variant == "" || asked.Variant == p.Variant)
}

// ImageDocument is what a manifest or image index of a container image says, of OCI's or of Docker's.
type ImageDocument struct {
	MediaType    string
	ArtifactType string
	Manifests    []ImageManifest // of an image index
	Config       Descriptor      // of a manifest; zero: it is an image index
	Layers       []Descriptor
	Subject      Descriptor // what the document is about; zero: nothing
}

// ImageManifest is one entry of an image index.
type ImageManifest struct {
	Descriptor
	Platform  Platform        // zero: none is told
	Describes snapshot.Digest // the manifest that an attestation is of; zero: it is none
}

// IsIndex tells an image index from a manifest.
func (d *ImageDocument) IsIndex() bool { return d.Config == Descriptor{} }

// jsonImage is what is read of a document; other keys may stand beside.
type jsonImage struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Manifests     []jsonChild       `json:"manifests"`
	Config        *jsonPart         `json:"config"`
	Layers        []jsonPart        `json:"layers"`
	Subject       *JSONDescriptor   `json:"subject"`
	FSLayers      []json.RawMessage `json:"fsLayers"`
}

type jsonPart struct {
	JSONDescriptor
	URLs firstURL `json:"urls"`
}

// firstURL is the first of a list, which may be long.
type firstURL struct {
	there bool
	url   string
}

// UnmarshalJSON reads a list of strings as far as its first.
func (f *firstURL) UnmarshalJSON(list []byte) error {
	dec := json.NewDecoder(bytes.NewReader(list))
	switch t, err := dec.Token(); {
	case err != nil || t == nil:
		return err
	case t != json.Delim('['):
		return errors.New("urls is no list")
	case !dec.More():
		return nil
	}
	f.there = true
	return dec.Decode(&f.url)
}

type jsonChild struct {
	jsonPart
	Platform    *Platform `json:"platform"`
	Annotations struct {
		// Describes names, in an image index, the manifest that an attestation of BuildKit is of.
		Describes string `json:"vnd.docker.reference.digest"`
	} `json:"annotations"`
}

// ParseImageDocument reads a manifest or image index (image-spec, manifest.md and image-index.md; Docker's schema 2).
// Keys that it does not know are passed over, but no document has two meanings: one with manifests and layers,
// a key twice, or a media type that is not its own is refused. It takes little more memory than the document has. Errors wrap
// snapshot.ErrIntegrity for what contradicts itself, [ErrImage] for what cannot be carried.
func ParseImageDocument(data []byte) (*ImageDocument, error) {
	if len(data) > MaxImageDocument {
		return nil, fmt.Errorf("%w: a document of %d bytes, the limit is %d", ErrImage, len(data), MaxImageDocument)
	}
	if err := checkKeys(data); errors.Is(err, ErrImage) {
		return nil, err
	} else if err != nil {
		return nil, Integrity("image document: %v", err)
	}
	var j jsonImage
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, Integrity("image document: %v", err)
	}
	if j.SchemaVersion == 1 || j.FSLayers != nil {
		return nil, fmt.Errorf("%w: it has a manifest of schema 1, which no engine takes any more; pull it with an old docker and push it again", ErrImage)
	}
	if j.SchemaVersion != 2 {
		return nil, Integrity("image document: schemaVersion %d", j.SchemaVersion)
	}
	isIndex := j.Manifests != nil
	if isIndex && (j.Config != nil || j.Layers != nil) {
		return nil, Integrity("image document: it has manifests and layers")
	}
	if !isIndex && j.Config == nil {
		return nil, Integrity("image document: neither manifests nor a config")
	}
	d := &ImageDocument{MediaType: j.MediaType, ArtifactType: j.ArtifactType}
	switch {
	case isIndex && d.MediaType == "":
		d.MediaType = TypeIndex
	case d.MediaType == "":
		d.MediaType = TypeManifest
	case isIndex != isIndexType(d.MediaType) || !isImageDocument(d.MediaType):
		return nil, Integrity("image document: its mediaType is %.100q", d.MediaType)
	}
	var err error
	if isIndex {
		err = d.readManifests(j.Manifests)
	} else {
		err = d.readParts(j.Config, j.Layers)
	}
	if err == nil && j.Subject != nil {
		d.Subject, err = part(jsonPart{JSONDescriptor: *j.Subject})
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *ImageDocument) readManifests(children []jsonChild) error {
	if len(children) == 0 {
		return fmt.Errorf("%w: an image index without manifests", ErrImage)
	}
	for _, c := range children {
		child, err := part(c.jsonPart)
		if err != nil {
			return err
		}
		if !isImageDocument(child.MediaType) {
			return fmt.Errorf("%w: its index has %s of media type %.100q", ErrImage, child.Digest, child.MediaType)
		}
		m := ImageManifest{Descriptor: child}
		if c.Platform != nil {
			m.Platform = *c.Platform
		}
		if of, err := snapshot.ParseDigest(c.Annotations.Describes); err == nil {
			m.Describes = of
		}
		d.Manifests = append(d.Manifests, m)
	}
	return nil
}

func (d *ImageDocument) readParts(config *jsonPart, layers []jsonPart) (err error) {
	if len(layers) > MaxImageLayers {
		return fmt.Errorf("%w: a manifest with %d layers, the limit is %d", ErrImage, len(layers), MaxImageLayers)
	}
	if d.Config, err = part(*config); err != nil {
		return err
	}
	for _, l := range layers {
		layer, err := part(l)
		if err != nil {
			return err
		}
		d.Layers = append(d.Layers, layer)
	}
	return nil
}

// part validates one descriptor.
func part(j jsonPart) (Descriptor, error) {
	d, err := snapshot.ParseDigest(j.Digest)
	switch {
	case j.URLs.there:
		return Descriptor{}, fmt.Errorf("%w: %.100q is a foreign layer, to be fetched from %.200q; build the image anew with its layers in it", ErrImage, j.Digest, j.URLs.url)
	case err != nil && strings.HasPrefix(j.Digest, "sha512:"):
		return Descriptor{}, fmt.Errorf("%w: it has digests of sha512", ErrImage)
	case err != nil:
		return Descriptor{}, Integrity("image document: %v", err)
	case j.Size == 0 && d == snapshot.Sum(nil):
		return Descriptor{}, fmt.Errorf("%w: a layer of it is empty, 0 bytes", ErrImage)
	case j.Size <= 0 || j.Size > maxFile:
		return Descriptor{}, Integrity("image document: %s has %d bytes", d, j.Size)
	}
	return Describe(j.MediaType, snapshot.Blob{Digest: d, Size: j.Size}), nil
}

func isIndexType(mediaType string) bool {
	return mediaType == TypeIndex || mediaType == TypeDockerList
}

func isImageDocument(mediaType string) bool {
	return isIndexType(mediaType) || mediaType == TypeManifest || mediaType == TypeDockerManifest
}

// checkKeys refuses a JSON object that has a key twice, or in one of its descriptors, in whatever case: which one counts
// depends on who reads. It refuses, too, what would take much more memory than its text: an entry of a list may be as short as {}.
func checkKeys(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	err := eachKey(dec, func(key string, value json.RawMessage) error {
		descriptors := slices.Contains([]string{fold("config"), fold("subject"), fold("layers"), fold("manifests")}, fold(key))
		switch {
		case value[0] == '[':
			return checkList(key, value, descriptors)
		case descriptors:
			return checkDescriptor(value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("data after the document")
	}
	return nil
}

// eachKey reads an object with its keys, each once.
func eachKey(dec *json.Decoder, take func(key string, value json.RawMessage) error) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(errors.New("no JSON object"), err)
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		name := fold(key)
		if seen[name] {
			return fmt.Errorf("the key %.80q stands twice", key)
		}
		if seen[name] = true; len(seen) > maxImageEntries {
			return fmt.Errorf("%w: an object with more than %d keys", ErrImage, maxImageEntries)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if err := take(key, value); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// fold makes keys alike that encoding/json takes for each other.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, key)
}

func checkList(key string, list json.RawMessage, descriptors bool) error {
	dec := json.NewDecoder(bytes.NewReader(list))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for n := 0; dec.More(); n++ {
		if n == maxImageEntries {
			return fmt.Errorf("%w: its %.80q has more than %d entries", ErrImage, key, maxImageEntries)
		}
		var entry json.RawMessage
		if err := dec.Decode(&entry); err != nil {
			return err
		}
		if !descriptors {
			continue
		}
		if err := checkDescriptor(entry); err != nil {
			return err
		}
	}
	return nil
}

// checkDescriptor looks at an object. What is none is left to who reads it.
func checkDescriptor(value json.RawMessage) error {
	if value[0] != '{' {
		return nil
	}
	return eachKey(json.NewDecoder(bytes.NewReader(value)), func(string, json.RawMessage) error { return nil })
}

// CutPlatforms leaves of an image index the manifests of the platforms that are asked for, and the attestations
// of these; everything else of it stays. The bytes follow from the arguments alone. It returns
// data itself if that is no image index, or has nothing else. A platform that it does not have: ErrNotFound.
func CutPlatforms(data []byte, asked []Platform) ([]byte, error) {
	d, err := ParseImageDocument(data)
	if err != nil || !d.IsIndex() || len(asked) == 0 {
		return data, err
	}
	kept := map[snapshot.Digest]bool{}
	for _, want := range asked {
		found := false
		for _, m := range d.Manifests {
			if m.Describes.IsZero() && m.Platform.meets(want) {
				kept[m.Digest], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("platform %s %w; the image has %s", want, ErrNotFound, d.platforms())
		}
	}
	for _, m := range d.Manifests {
		if kept[m.Describes] {
			kept[m.Digest] = true
		}
	}
	if !slices.ContainsFunc(d.Manifests, func(m ImageManifest) bool { return !kept[m.Digest] }) {
		return data, nil
	}
	return cutManifests(data, func(i int) bool { return kept[d.Manifests[i].Digest] })
}

// platforms lists those of an image index, for errors.
func (d *ImageDocument) platforms() string {
	const most = 12
	var names []string
	for _, m := range d.Manifests {
		if name := m.Platform.String(); m.Platform != (Platform{}) && m.Describes.IsZero() && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none that it names"
	}
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// cutManifests writes an image index again with some of its manifests: keys in the order schemaVersion, mediaType,
// manifests, then all others by name, their values as they are but for white space.
func cutManifests(data []byte, keep func(i int) bool) ([]byte, error) {
	var rest map[string]json.RawMessage
	var manifests []json.RawMessage
	if err := json.Unmarshal(data, &rest); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(rest["manifests"], &manifests); err != nil {
		return nil, err
	}
	var kept []json.RawMessage
	for i, m := range manifests {
		if keep(i) {
			kept = append(kept, m)
		}
	}
	first := []string{"schemaVersion", "mediaType", "manifests"}
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(rest)), func(k string) bool { return slices.Contains(first, k) })
	list, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	rest["manifests"] = list
	var b bytes.Buffer
	for _, key := range append(first, others...) {
		value, ok := rest[key]
		if !ok {
			continue
		}
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		b.WriteByte(map[bool]byte{true: '{', false: ','}[b.Len() == 0])
		b.Write(name)
		b.WriteByte(':')
		if err := json.Compact(&b, value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// ImageGraph is all that a container image consists of.
type ImageGraph struct {
	// Documents are its manifests and image indices, each once, after those that it names; the root is the last.
	Documents []ImagePart
	// Blobs are configs and layers, each once, in the order of the documents. One may be a document, too.
	Blobs []Descriptor
}

// ImagePart is a document of an image with its bytes.
type ImagePart struct {
	Descriptor
	Data     []byte
	Document *ImageDocument
}

// Root is the document that the image is named by.
func (g *ImageGraph) Root() ImagePart { return g.Documents[len(g.Documents)-1] }

// All yields every blob and document of the image, each digest once, documents last.
func (g *ImageGraph) All() []Descriptor {
	return AllOf(g.Documents, g.Blobs)
}

// AllOf joins documents and blobs. What is both, as where a layer has the bytes of a manifest, counts as a document.
func AllOf(documents []ImagePart, blobs []Descriptor) []Descriptor {
	is := map[snapshot.Digest]bool{}
	for _, d := range documents {
		is[d.Digest] = true
	}
	all := slices.DeleteFunc(slices.Clone(blobs), func(d Descriptor) bool { return is[d.Digest] })
	for _, d := range documents {
		all = append(all, d.Descriptor)
	}
	return all
}

// WalkImage reads the documents of the image whose manifest or image index is root, by read, which returns
// verified bytes. It opens no config and no layer. Errors are those of read and of
// [ParseImageDocument]; one that goes beyond a limit of this package wraps [ErrImage].
func WalkImage(ctx context.Context, read func(ctx context.Context, d Descriptor) ([]byte, error), root Descriptor) (*ImageGraph, error) {
	w := imageWalk{ctx: ctx, read: read, sizes: map[snapshot.Digest]int64{},
		documents: map[snapshot.Digest]bool{}, blobs: map[snapshot.Digest]bool{}}
	if err := w.document(root, 1); err != nil {
		return nil, err
	}
	return &w.graph, nil
}

type imageWalk struct {
	ctx   context.Context
	read  func(context.Context, Descriptor) ([]byte, error)
	graph ImageGraph
	sizes map[snapshot.Digest]int64
	// documents and blobs are those that are in the graph. A digest may be in both: that it is
	// somebody's layer does not say that it is no manifest of another.
	documents, blobs map[snapshot.Digest]bool
}

func (w *imageWalk) document(d Descriptor, depth int) error {
	if w.documents[d.Digest] {
		return w.sized(d)
	}
	switch {
	case depth > maxImageDepth:
		return fmt.Errorf("%w: image indices within image indices, more than %d deep", ErrImage, maxImageDepth-1)
	case d.Size > MaxImageDocument:
		return fmt.Errorf("%w: document %s of %d bytes, the limit is %d", ErrImage, d.Digest, d.Size, MaxImageDocument)
	case len(w.graph.Documents) >= MaxImageParts:
		return fmt.Errorf("%w: it has more than %d manifests; ask for some platforms only", ErrImage, MaxImageParts)
	}
	data, err := w.read(w.ctx, d)
	if err != nil {
		return err
	}
	doc, err := ParseImageDocument(data)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Digest, err)
	}
	if d.MediaType == "" {
		d.MediaType = doc.MediaType
	} else if d.MediaType != doc.MediaType {
		return Integrity("document %s calls itself %q, its descriptor says %q", d.Digest, doc.MediaType, d.MediaType)
	}
	if len(doc.Manifests) > MaxImageParts {
		return fmt.Errorf("%w: its index has %d manifests, the limit is %d; ask for some platforms only", ErrImage, len(doc.Manifests), MaxImageParts)
	}
	for _, m := range doc.Manifests {
		if err := w.document(m.Descriptor, depth+1); err != nil {
			return err
		}
	}
	if !doc.IsIndex() {
		for _, b := range append([]Descriptor{doc.Config}, doc.Layers...) {
			if err := w.blob(b); err != nil {
				return err
			}
		}
	}
	if err := w.sized(d); err != nil {
		return err
	}
	w.documents[d.Digest] = true
	w.graph.Documents = append(w.graph.Documents, ImagePart{d, data, doc})
	return nil
}

func (w *imageWalk) blob(d Descriptor) error {
	if err := w.sized(d); err != nil {
		return err
	}
	if !w.blobs[d.Digest] {
		w.blobs[d.Digest] = true
		w.graph.Blobs = append(w.graph.Blobs, d)
	}
	return nil
}

// sized holds one size for each digest.
func (w *imageWalk) sized(d Descriptor) error {
	if size, known := w.sizes[d.Digest]; known && size != d.Size {
		return Integrity("%s has two sizes, %d and %d", d.Digest, size, d.Size)
	}
	w.sizes[d.Digest] = d.Size
	return nil
}

// ImageIn walks an image that travels with a snapshot, or what refers to one; root is of its statement.
// Each document is verified by its digest. Safe for concurrent use.
func ImageIn(ctx context.Context, s *snapshot.Snapshot, root snapshot.Blob) (*ImageGraph, error) {
	read := func(ctx context.Context, d Descriptor) ([]byte, error) {
		return s.ReadBlob(ctx, d.Blob, MaxImageDocument)
	}
	return WalkImage(ctx, read, Descriptor{Blob: root})
}
