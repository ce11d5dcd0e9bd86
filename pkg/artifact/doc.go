// Package artifact turns a snapshot into OCI content and back: references,
// layouts, registries, oci-archives, tags. It is the only place where OCI
// words and oras-go occur. The bytes are specified in artifacts/SPEC.md,
// sections 7 and 10.
//
// No place is trusted: documents are validated and believed by their digest,
// blobs are verified by who reads them (snapshot). What is written is verified
// before it gets a final name, and tags move last.
//
// A push is [Pack], which computes all documents from the table, then a writer
// that puts what a target lacks; a copy is the same writer fed from a place.
package artifact
