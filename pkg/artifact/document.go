package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// Media types of SPEC section 7.
const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeEmpty    = "application/vnd.oci.empty.v1+json"

	typeConfigStem      = "application/vnd.mmoci.snapshot.config.v"
	typeConfig          = typeConfigStem + "1+json"
	typeStatement       = "application/vnd.mmoci.statement.v1"
	typeSignedStatement = "application/vnd.mmoci.statement.v1+pgp"
	typeTable           = "application/vnd.mmoci.table.v1"
	typeLock            = "application/vnd.mmoci.lock.v1"
	typeRelease         = "application/vnd.mmoci.release.v1"
	typeShard           = "application/vnd.mmoci.shard.v1"
	typeDeb             = "application/vnd.debian.binary-package"
	typeOctets          = "application/octet-stream"
)

// Limits of SPEC section 11.
const (
	MaxDocument  = 1 << 20 // bytes of a root, core or shard
	MaxLayers    = 400     // distinct digests of a core or shard
	MaxStatement = 1 << 20
	MaxTable     = 256 << 20
	MaxLock      = snapshot.MaxLock
	MaxRelease   = snapshot.MaxRelease
	maxConfig    = 1 << 10
)

// emptyConfig is the OCI empty config.
const emptyConfig = "{}"

// descriptor is mediaType, digest and size, and nothing else.
type descriptor struct {
	mediaType string
	snapshot.Blob
}

// describe returns the descriptor of a blob.
func describe(mediaType string, b snapshot.Blob) descriptor { return descriptor{mediaType, b} }

// manifest is a core or a shard.
type manifest struct {
	artifactType string // "" for the core
	config       descriptor
	layers       []descriptor
}

// encode writes the canonical bytes: compact, keys in the order of SPEC section 14.
func (m *manifest) encode() []byte {
	b := make([]byte, 0, 256+len(m.layers)*168)
	b = append(b, `{"schemaVersion":2,"mediaType":"`+typeManifest+`",`...)
	if m.artifactType != "" {
		b = append(append(append(b, `"artifactType":"`...), m.artifactType...), `",`...)
	}
	b = append(b, `"config":`...)
	b = appendDescriptor(b, m.config)
	b = append(b, `,"layers":[`...)
	b = appendDescriptors(b, m.layers)
	return append(b, `]}`...)
}

// encodeIndex writes a root (or a checkpoint, which is a root without core).
func encodeIndex(manifests []descriptor) []byte {
	b := make([]byte, 0, 128+len(manifests)*168)
	b = append(b, `{"schemaVersion":2,"mediaType":"`+typeIndex+`","manifests":[`...)
	b = appendDescriptors(b, manifests)
	return append(b, `]}`...)
}

func appendDescriptors(b []byte, ds []descriptor) []byte {
	for i, d := range ds {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendDescriptor(b, d)
	}
	return b
}

// appendDescriptor needs no escaping: media types are this package's own
// constants, or were compared with them.
func appendDescriptor(b []byte, d descriptor) []byte {
	b = append(append(b, `{"mediaType":"`...), d.mediaType...)
	b = append(append(b, `","digest":"`...), d.Digest.String()...)
	b = append(b, `","size":`...)
	b = strconv.AppendInt(b, d.Size, 10)
	return append(b, '}')
}

// encodeConfig is the core's config.
func encodeConfig(date time.Time, encoder int) []byte {
	return fmt.Appendf(nil, `{"date":"%s","encoder":%d}`, date.UTC().Format(time.RFC3339), encoder)
}

// The forms that encoding/json reads. What was read is encoded again and
// compared, so white space, order, duplicate keys, other spellings of a key or a
// number and nulls are all refused by one comparison.
type jsonDescriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

type jsonManifest struct {
	SchemaVersion int              `json:"schemaVersion"`
	MediaType     string           `json:"mediaType"`
	ArtifactType  string           `json:"artifactType"`
	Config        jsonDescriptor   `json:"config"`
	Layers        []jsonDescriptor `json:"layers"`
}

type jsonIndex struct {
	SchemaVersion int              `json:"schemaVersion"`
	MediaType     string           `json:"mediaType"`
	Manifests     []jsonDescriptor `json:"manifests"`
}

type jsonConfig struct {
	Date    string `json:"date"`
	Encoder int    `json:"encoder"`
}

// decodeStrict refuses unknown keys and anything after the value.
func decodeStrict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("data after the document")
	}
	return nil
}

func integrity(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{snapshot.ErrIntegrity}, args...)...)
}

// parseRoot reads a root: an index of a core and shards. Errors wrap snapshot.ErrIntegrity.
func parseRoot(data []byte) ([]descriptor, error) {
	if len(data) > MaxDocument {
		return nil, integrity("root of %d bytes, the limit is %d", len(data), MaxDocument)
	}
	var j jsonIndex
	if err := decodeStrict(data, &j); err != nil {
		return nil, integrity("root: %v", err)
	}
	if j.MediaType != typeIndex {
		return nil, integrity("root says mediaType %q", j.MediaType)
	}
	if len(j.Manifests) == 0 {
		return nil, integrity("root without manifests")
	}
	ds, err := descriptors(j.Manifests, func(int, string) int64 { return MaxDocument })
	if err != nil {
		return nil, integrity("root: %v", err)
	}
	for _, d := range ds {
		if d.mediaType != typeManifest {
			return nil, integrity("root: child %s of media type %q", d.Digest, d.mediaType)
		}
	}
	if !bytes.Equal(encodeIndex(ds), data) {
		return nil, integrity("root is not in canonical form")
	}
	return ds, nil
}

// parseCore reads a core manifest.
func parseCore(data []byte) (*manifest, error) {
	m, err := parseManifest("core", data, coreLimit)
	if err != nil {
		return nil, err
	}
	if m.artifactType != "" || m.config.mediaType != typeConfig {
		return nil, integrity("core: config of media type %q", m.config.mediaType)
	}
	if len(m.layers) < 3 {
		return nil, integrity("core with %d layers, want statement, table, lock and signature files", len(m.layers))
	}
	return m, nil
}

// coreLimit is the most a layer of the core may have; 0: not allowed there.
func coreLimit(i int, mediaType string) int64 {
	switch {
	case i == 0 && (mediaType == typeStatement || mediaType == typeSignedStatement):
		return MaxStatement
	case i == 1 && mediaType == typeTable:
		return MaxTable
	case i == 2 && mediaType == typeLock:
		return MaxLock
	case i > 2 && mediaType == typeRelease:
		return MaxRelease
	}
	return 0
}

// parseShard reads a shard.
func parseShard(data []byte) (*manifest, error) {
	m, err := parseManifest("shard", data, func(_ int, mediaType string) int64 {
		if mediaType == typeDeb || mediaType == typeOctets {
			return maxFile
		}
		return 0
	})
	if err != nil {
		return nil, err
	}
	if m.artifactType != typeShard || m.config != emptyConfigDescriptor() {
		return nil, integrity("shard: artifactType %q, config %s of media type %q", m.artifactType, m.config.Digest, m.config.mediaType)
	}
	if len(m.layers) == 0 {
		return nil, integrity("shard without layers")
	}
	return m, nil
}

// maxFile only guards sums of sizes against overflow.
const maxFile = 1 << 46

func emptyConfigDescriptor() descriptor {
	return describe(typeEmpty, snapshot.Blob{Digest: snapshot.Sum([]byte(emptyConfig)), Size: int64(len(emptyConfig))})
}

func parseManifest(what string, data []byte, limit func(int, string) int64) (*manifest, error) {
	if len(data) > MaxDocument {
		return nil, integrity("%s of %d bytes, the limit is %d", what, len(data), MaxDocument)
	}
	var j jsonManifest
	if err := decodeStrict(data, &j); err != nil {
		return nil, integrity("%s: %v", what, err)
	}
	if j.MediaType != typeManifest {
		return nil, integrity("%s says mediaType %q", what, j.MediaType)
	}
	if len(j.Layers) > MaxLayers {
		return nil, integrity("%s with %d layers, the limit is %d", what, len(j.Layers), MaxLayers)
	}
	config, err := descriptors([]jsonDescriptor{j.Config}, func(int, string) int64 { return maxConfig })
	if err != nil {
		return nil, integrity("%s: config: %v", what, err)
	}
	layers, err := descriptors(j.Layers, limit)
	if err != nil {
		return nil, integrity("%s: %v", what, err)
	}
	m := &manifest{artifactType: j.ArtifactType, config: config[0], layers: layers}
	if !bytes.Equal(m.encode(), data) {
		return nil, integrity("%s is not in canonical form", what)
	}
	return m, nil
}

// descriptors validates digests and sizes. limit gives the largest size of the
// i-th, by media type; 0 refuses the media type.
func descriptors(js []jsonDescriptor, limit func(i int, mediaType string) int64) ([]descriptor, error) {
	ds := make([]descriptor, len(js))
	seen := make(map[snapshot.Digest]struct{}, len(js))
	for i, j := range js {
		d, err := snapshot.ParseDigest(j.Digest)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		most := limit(i, j.MediaType)
		if most == 0 {
			return nil, fmt.Errorf("entry %d, %s: media type %q", i, d, j.MediaType)
		}
		if j.Size <= 0 || j.Size > most {
			return nil, fmt.Errorf("entry %d, %s: %d bytes, want 1 to %d", i, d, j.Size, most)
		}
		if _, twice := seen[d]; twice {
			return nil, fmt.Errorf("%s twice", d)
		}
		seen[d] = struct{}{}
		ds[i] = describe(j.MediaType, snapshot.Blob{Digest: d, Size: j.Size})
	}
	return ds, nil
}

// parseConfig reads the core's config.
func parseConfig(data []byte) (date time.Time, encoder int, err error) {
	var j jsonConfig
	if err := decodeStrict(data, &j); err != nil {
		return date, 0, integrity("config: %v", err)
	}
	if date, err = time.Parse(time.RFC3339, j.Date); err != nil {
		return date, 0, integrity("config: %v", err)
	}
	if j.Encoder < 1 {
		return date, 0, integrity("config: encoder %d", j.Encoder)
	}
	date = date.UTC()
	if !bytes.Equal(encodeConfig(date, j.Encoder), data) {
		return date, 0, integrity("config is not in canonical form")
	}
	return date, j.Encoder, nil
}

// isManifest tells documents from blobs: registries keep them apart.
func (d descriptor) isManifest() bool {
	return d.mediaType == typeManifest || d.mediaType == typeIndex
}
