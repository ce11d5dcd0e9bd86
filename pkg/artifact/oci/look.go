package oci

import (
	"encoding/json"
	"fmt"

	"example.org/mmoci/pkg/snapshot"
)

// Looks is what an OCI document says of itself, read with leniency: enough to
// name what it is when it is not ours. Nothing of it is used for ours.
type Looks struct {
	MediaType    string          `json:"mediaType"`
	ArtifactType string          `json:"artifactType"`
	Manifests    json.RawMessage `json:"manifests"`
	Layers       json.RawMessage `json:"layers"`
	Config       *struct {
		MediaType string `json:"mediaType"`
	} `json:"config"`
}

// Describe says what a foreign document is.
func (l *Looks) Describe(mediaType string) string {
	if l.MediaType != "" {
		mediaType = l.MediaType
	}
	switch {
	case l.ArtifactType != "":
		return fmt.Sprintf("an artifact of type %.100q", l.ArtifactType)
	case l.Config == nil:
		return DescribeType(mediaType)
	}
	switch l.Config.MediaType {
	case "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json":
		return "a container image"
	case "application/vnd.cncf.helm.config.v1+json":
		return "a Helm chart"
	}
	return fmt.Sprintf("an artifact with config type %.100q", l.Config.MediaType)
}

// DescribeType names a media type for people.
func DescribeType(mediaType string) string {
	switch mediaType {
	case TypeIndex, "application/vnd.docker.distribution.manifest.list.v2+json":
		return "an image index"
	case TypeManifest, "application/vnd.docker.distribution.manifest.v2+json":
		return "an image manifest"
	case "":
		return "a document without media type"
	}
	return fmt.Sprintf("a document of media type %.100q", mediaType)
}

// FirstChild reads the first descriptor of an index of whatever kind.
func FirstChild(data []byte) (Descriptor, error) {
	var x struct {
		Manifests []JSONDescriptor `json:"manifests"`
	}
	if err := json.Unmarshal(data, &x); err != nil {
		return Descriptor{}, err
	}
	if len(x.Manifests) == 0 {
		return Descriptor{}, fmt.Errorf("no manifests")
	}
	j := x.Manifests[0]
	d, err := snapshot.ParseDigest(j.Digest)
	return Describe(j.MediaType, snapshot.Blob{Digest: d, Size: j.Size}), err
}
