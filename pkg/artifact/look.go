package artifact

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// lookRoot tells whether a root can be ours by its own bytes: an OCI index.
// mediaType is what the place (Content-Type, descriptor) calls it, "" if it says nothing.
func lookRoot(mediaType string, data []byte) error {
	var l oci.Looks
	if err := json.Unmarshal(data, &l); err != nil {
		return fmt.Errorf("%w: no JSON document (%s)", ErrNotOurs, oci.DescribeType(mediaType))
	}
	if len(l.Manifests) > 0 && (len(l.Layers) > 0 || l.Config != nil) {
		return oci.Integrity("root has both manifests and layers")
	}
	if l.Manifests == nil || l.MediaType != "" && l.MediaType != oci.TypeIndex {
		return fmt.Errorf("%w: %s", ErrNotOurs, l.Describe(mediaType))
	}
	if mediaType != "" && mediaType != oci.TypeIndex {
		if l.MediaType == oci.TypeIndex {
			return oci.Integrity("root says mediaType %q, the place says %q", l.MediaType, mediaType)
		}
		return fmt.Errorf("%w: %s", ErrNotOurs, oci.DescribeType(mediaType))
	}
	return nil
}

// lookCore tells by the config media type of the first manifest whether the
// artifact is ours and of this version (SPEC sections 7 and 13). needs is what the
// config of another version asks for.
func lookCore(data []byte, needs string) error {
	var l oci.Looks
	if err := json.Unmarshal(data, &l); err != nil {
		return fmt.Errorf("%w: an image index", ErrNotOurs)
	}
	if l.Config == nil {
		return fmt.Errorf("%w: an image index over %s", ErrNotOurs, l.Describe(""))
	}
	version, ok := strings.CutPrefix(l.Config.MediaType, oci.TypeConfigStem)
	if !ok {
		return fmt.Errorf("%w: an image index over %s", ErrNotOurs, l.Describe(""))
	}
	if len(l.Manifests) > 0 {
		return oci.Integrity("core has both manifests and layers")
	}
	if version = strings.TrimSuffix(version, "+json"); version != "1" && version != "2" {
		return fmt.Errorf("%w of a format up to 2: %w", ErrNotOurs, snapshot.Newer(fmt.Sprintf("snapshot format %.20q", version), needs))
	}
	return nil
}

// readNeeds reads which mmoci the config of a later format asks for, "" if it
// cannot be told. Nothing is believed of it; it goes into an error.
func readNeeds(ctx context.Context, p places.Place, core []byte) string {
	var l struct {
		Config oci.JSONDescriptor `json:"config"`
	}
	if json.Unmarshal(core, &l) != nil || l.Config.MediaType == oci.TypeConfig || l.Config.MediaType == oci.TypeConfig2 || !strings.HasPrefix(l.Config.MediaType, oci.TypeConfigStem) {
		return ""
	}
	d, err := snapshot.ParseDigest(l.Config.Digest)
	if err != nil || l.Config.Size < 1 {
		return ""
	}
	data, err := oci.ReadBlob(ctx, p, "config", snapshot.Blob{Digest: d, Size: l.Config.Size}, oci.MaxConfig)
	if err != nil {
		return ""
	}
	var config struct {
		Needs string `json:"needs"`
	}
	if json.Unmarshal(data, &config) != nil {
		return ""
	}
	return config.Needs
}
