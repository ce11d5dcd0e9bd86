// Package artifact turns a snapshot into OCI content and back: references,
// layouts, registries, oci-archives, tags. It is the only place where OCI
// words and oras-go occur. The bytes are specified in artifacts/SPEC.md,
// sections 7 and 10.
package artifact
