package oci

import (
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// CosignTag is the tag sha256-HEX.sig, .att or .sbom under which cosign finds a manifest that it attached to an image;
// "" for a manifest that says by its subject what it refers to, and for any other. The layers tell which
// of the three it is: only the tag says so at the place where it was read (cosign, "Signature Spec").
func CosignTag(image snapshot.Digest, doc *ImageDocument) string {
	if doc.Subject != (Descriptor{}) || len(doc.Layers) == 0 {
		return ""
	}
	stem := "sha256-" + image.Hex()
	switch t := doc.Layers[0].MediaType; {
	case t == "application/vnd.dev.cosign.simplesigning.v1+json":
		return stem + ".sig"
	case t == "application/vnd.dsse.envelope.v1+json":
		return stem + ".att"
	case strings.Contains(t, "spdx"), strings.Contains(t, "cyclonedx"), strings.Contains(t, "syft"):
		return stem + ".sbom"
	}
	return ""
}
