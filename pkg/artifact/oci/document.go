package oci

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
	TypeManifest = "application/vnd.oci.image.manifest.v1+json"
	TypeIndex    = "application/vnd.oci.image.index.v1+json"
	TypeEmpty    = "application/vnd.oci.empty.v1+json"

	TypeConfigStem      = "application/vnd.mmoci.snapshot.config.v"
	TypeConfig          = TypeConfigStem + "1+json"
	TypeStatement       = "application/vnd.mmoci.statement.v1"
	TypeSignedStatement = "application/vnd.mmoci.statement.v1+pgp"
	// Those of version 2 of the format (section 13).
	TypeConfig2          = TypeConfigStem + "2+json"
	TypeStatement2       = "application/vnd.mmoci.statement.v2"
	TypeSignedStatement2 = "application/vnd.mmoci.statement.v2+pgp"
	TypeTable            = "application/vnd.mmoci.table.v1"
	TypeLock             = "application/vnd.mmoci.lock.v1"
	TypeRelease          = "application/vnd.mmoci.release.v1"
	TypeShard            = "application/vnd.mmoci.shard.v1"
	TypeDeb              = "application/vnd.debian.binary-package"
	TypeOctets           = "application/octet-stream"
)

// Limits of SPEC section 11.
const (
	MaxDocument  = 1 << 20 // bytes of a root, core or shard
	MaxLayers    = 400     // distinct digests of a core or shard
	MaxStatement = 1 << 20
	MaxTable     = 256 << 20
	maxLock      = snapshot.MaxLock
	maxRelease   = snapshot.MaxRelease
	MaxConfig    = 1 << 10
)

// EmptyConfig is the OCI empty config.
const EmptyConfig = "{}"

// Descriptor is mediaType, digest and size, and nothing else.
type Descriptor struct {
	MediaType string
	snapshot.Blob
}

// Describe returns the descriptor of a blob.
func Describe(mediaType string, b snapshot.Blob) Descriptor { return Descriptor{mediaType, b} }

// Manifest is a core or a shard.
type Manifest struct {
	ArtifactType string // "" for the core
	Config       Descriptor
	Layers       []Descriptor
}

// Encode writes the canonical bytes: compact, keys in the order of SPEC section 14.
func (m *Manifest) Encode() []byte {
	b := make([]byte, 0, 256+len(m.Layers)*168)
	b = append(b, `{"schemaVersion":2,"mediaType":"`+TypeManifest+`",`...)
	if m.ArtifactType != "" {
		b = append(append(append(b, `"artifactType":"`...), m.ArtifactType...), `",`...)
	}
	b = append(b, `"config":`...)
	b = AppendDescriptor(b, m.Config)
	b = append(b, `,"layers":[`...)
	b = appendDescriptors(b, m.Layers)
	return append(b, `]}`...)
}

// EncodeIndex writes a root (or a checkpoint, which is a root without core).
func EncodeIndex(manifests []Descriptor) []byte {
	b := make([]byte, 0, 128+len(manifests)*168)
	b = append(b, `{"schemaVersion":2,"mediaType":"`+TypeIndex+`","manifests":[`...)
	b = appendDescriptors(b, manifests)
	return append(b, `]}`...)
}

func appendDescriptors(b []byte, ds []Descriptor) []byte {
	for i, d := range ds {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendDescriptor(b, d)
	}
	return b
}

// AppendDescriptor needs no escaping: media types are this package's own
// constants, or were compared with them.
func AppendDescriptor(b []byte, d Descriptor) []byte {
	b = append(append(b, `{"mediaType":"`...), d.MediaType...)
	b = append(append(b, `","digest":"`...), d.Digest.String()...)
	b = append(b, `","size":`...)
	b = strconv.AppendInt(b, d.Size, 10)
	return append(b, '}')
}

// Config is the core's config, which repeats what the statement says.
type Config struct {
	Date    time.Time // the date input, UTC
	Encoder int
	Needs   string // the lowest version of mmoci that knows all of the snapshot; "": version 1 of the format
}

// ConfigOf is the config of a snapshot with that statement.
func ConfigOf(st *snapshot.Statement) Config { return Config{st.Date, st.Encoder, st.Needs} }

// Types are the media types of a config and of a statement in the version of the format that c has.
func (c Config) Types(signed bool) (config, statement string) {
	switch {
	case c.Needs == "" && signed:
		return TypeConfig, TypeSignedStatement
	case c.Needs == "":
		return TypeConfig, TypeStatement
	case signed:
		return TypeConfig2, TypeSignedStatement2
	}
	return TypeConfig2, TypeStatement2
}

// Encode writes the canonical bytes. Needs is a version of numbers and dots.
func (c Config) Encode() []byte {
	b := fmt.Appendf(nil, `{"date":"%s","encoder":%d`, c.Date.UTC().Format(time.RFC3339), c.Encoder)
	if c.Needs != "" {
		b = fmt.Appendf(b, `,"needs":%q`, c.Needs)
	}
	return append(b, '}')
}

// JSONDescriptor, and what follows it, are the forms that encoding/json reads. What
// was read is encoded again and compared, so white space, order, duplicate keys,
// other spellings of a key or a number and nulls are all refused by one comparison.
type JSONDescriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

type jsonManifest struct {
	SchemaVersion int              `json:"schemaVersion"`
	MediaType     string           `json:"mediaType"`
	ArtifactType  string           `json:"artifactType"`
	Config        JSONDescriptor   `json:"config"`
	Layers        []JSONDescriptor `json:"layers"`
}

type jsonIndex struct {
	SchemaVersion int              `json:"schemaVersion"`
	MediaType     string           `json:"mediaType"`
	Manifests     []JSONDescriptor `json:"manifests"`
}

type jsonConfig struct {
	Date    string `json:"date"`
	Encoder int    `json:"encoder"`
	Needs   string `json:"needs"`
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

// Integrity returns an error that wraps [snapshot.ErrIntegrity].
func Integrity(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{snapshot.ErrIntegrity}, args...)...)
}

// ParseRoot reads a root: an index of a core and shards. Errors wrap snapshot.ErrIntegrity.
func ParseRoot(data []byte) ([]Descriptor, error) {
	if len(data) > MaxDocument {
		return nil, Integrity("root of %d bytes, the limit is %d", len(data), MaxDocument)
	}
	var j jsonIndex
	if err := decodeStrict(data, &j); err != nil {
		return nil, Integrity("root: %v", err)
	}
	if j.MediaType != TypeIndex {
		return nil, Integrity("root says mediaType %q", j.MediaType)
	}
	if len(j.Manifests) == 0 {
		return nil, Integrity("root without manifests")
	}
	ds, err := descriptors(j.Manifests, func(int, string) int64 { return MaxDocument })
	if err != nil {
		return nil, Integrity("root: %v", err)
	}
	for _, d := range ds {
		if d.MediaType != TypeManifest {
			return nil, Integrity("root: child %s of media type %q", d.Digest, d.MediaType)
		}
	}
	if !bytes.Equal(EncodeIndex(ds), data) {
		return nil, Integrity("root is not in canonical form")
	}
	return ds, nil
}

// ParseCore reads a core manifest.
func ParseCore(data []byte) (*Manifest, error) {
	m, err := parseManifest("core", data, CoreLimit)
	if err != nil {
		return nil, err
	}
	if m.ArtifactType != "" || m.Config.MediaType != TypeConfig && m.Config.MediaType != TypeConfig2 {
		return nil, Integrity("core: config of media type %q", m.Config.MediaType)
	}
	if len(m.Layers) < 3 {
		return nil, Integrity("core with %d layers, want statement, table, lock and signature files", len(m.Layers))
	}
	if statement := m.Layers[0].MediaType; (m.Config.MediaType == TypeConfig2) != (statement == TypeStatement2 || statement == TypeSignedStatement2) {
		return nil, Integrity("core: config of media type %q, statement of %q", m.Config.MediaType, statement)
	}
	return m, nil
}

// CoreLimit is the most a layer of the core may have; 0: not allowed there.
func CoreLimit(i int, mediaType string) int64 {
	switch {
	case i == 0 && (mediaType == TypeStatement || mediaType == TypeSignedStatement || mediaType == TypeStatement2 || mediaType == TypeSignedStatement2):
		return MaxStatement
	case i == 1 && mediaType == TypeTable:
		return MaxTable
	case i == 2 && mediaType == TypeLock:
		return maxLock
	case i > 2 && mediaType == TypeRelease:
		return maxRelease
	}
	return 0
}

// ParseShard reads a shard.
func ParseShard(data []byte) (*Manifest, error) {
	m, err := parseManifest("shard", data, func(_ int, mediaType string) int64 {
		if mediaType == TypeDeb || mediaType == TypeOctets {
			return maxFile
		}
		return 0
	})
	if err != nil {
		return nil, err
	}
	if m.ArtifactType != TypeShard || m.Config != EmptyConfigDescriptor() {
		return nil, Integrity("shard: artifactType %q, config %s of media type %q", m.ArtifactType, m.Config.Digest, m.Config.MediaType)
	}
	if len(m.Layers) == 0 {
		return nil, Integrity("shard without layers")
	}
	return m, nil
}

// maxFile only guards sums of sizes against overflow.
const maxFile = 1 << 46

// EmptyConfigDescriptor describes [EmptyConfig].
func EmptyConfigDescriptor() Descriptor {
	return Describe(TypeEmpty, snapshot.Blob{Digest: snapshot.Sum([]byte(EmptyConfig)), Size: int64(len(EmptyConfig))})
}

func parseManifest(what string, data []byte, limit func(int, string) int64) (*Manifest, error) {
	if len(data) > MaxDocument {
		return nil, Integrity("%s of %d bytes, the limit is %d", what, len(data), MaxDocument)
	}
	j, ok := scanManifest(string(data))
	if !ok {
		if err := decodeStrict(data, &j); err != nil {
			return nil, Integrity("%s: %v", what, err)
		}
	}
	if j.MediaType != TypeManifest {
		return nil, Integrity("%s says mediaType %q", what, j.MediaType)
	}
	if len(j.Layers) > MaxLayers {
		return nil, Integrity("%s with %d layers, the limit is %d", what, len(j.Layers), MaxLayers)
	}
	config, err := descriptors([]JSONDescriptor{j.Config}, func(int, string) int64 { return MaxConfig })
	if err != nil {
		return nil, Integrity("%s: config: %v", what, err)
	}
	layers, err := descriptors(j.Layers, limit)
	if err != nil {
		return nil, Integrity("%s: %v", what, err)
	}
	m := &Manifest{ArtifactType: j.ArtifactType, Config: config[0], Layers: layers}
	if !bytes.Equal(m.Encode(), data) {
		return nil, Integrity("%s is not in canonical form", what)
	}
	return m, nil
}

// descriptors validates digests and sizes. limit gives the largest size of the
// i-th, by media type; 0 refuses the media type.
func descriptors(js []JSONDescriptor, limit func(i int, mediaType string) int64) ([]Descriptor, error) {
	ds := make([]Descriptor, len(js))
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
		ds[i] = Describe(j.MediaType, snapshot.Blob{Digest: d, Size: j.Size})
	}
	return ds, nil
}

// ParseConfig reads the core's config.
func ParseConfig(data []byte) (Config, error) {
	var j jsonConfig
	if err := decodeStrict(data, &j); err != nil {
		return Config{}, Integrity("config: %v", err)
	}
	date, err := time.Parse(time.RFC3339, j.Date)
	if err != nil {
		return Config{}, Integrity("config: %v", err)
	}
	if j.Encoder < 1 {
		return Config{}, Integrity("config: encoder %d", j.Encoder)
	}
	c := Config{date.UTC(), j.Encoder, j.Needs}
	if !bytes.Equal(c.Encode(), data) {
		return Config{}, Integrity("config is not in canonical form")
	}
	return c, nil
}

// IsManifest tells documents from blobs: registries keep them apart.
func (d Descriptor) IsManifest() bool {
	switch d.MediaType {
	case TypeManifest, TypeIndex, TypeDockerManifest, TypeDockerList:
		return true
	}
	return false
}
