// Package artifact is the OCI form of a snapshot: it packs a snapshot into
// documents and blobs, pushes them to a registry, a layout or an oci-archive, opens
// what is there, and copies it. The bytes are specified in artifacts/SPEC.md,
// sections 7 and 10.
//
// No place is trusted: documents are validated and believed by their digest,
// blobs are verified by who reads them (snapshot). What is written is verified
// before it gets a final name, and tags move last.
//
// A push is [Pack], which computes all documents from the table, then a writer
// that puts what a target lacks; a copy is the same writer fed from a place. The places
// are packages remote (a registry) and layout (a directory, or a tar); what all
// of them share is package oci.
package artifact

import (
	"context"
	"time"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
)

// The names of package oci and package remote that callers of this package need.
type (
	Reference          = oci.Reference
	Kind               = oci.Kind
	Tag                = oci.Tag
	Event              = oci.Event
	EventKind          = oci.EventKind
	CarriedFile        = oci.CarriedFile
	Removed            = oci.Removed
	InterruptedTagging = oci.InterruptedTagging

	Options     = places.Options
	PushOptions = places.PushOptions
	Pushed      = places.Pushed

	Connections = remote.Connections
	Endpoint    = remote.Endpoint
	Finding     = remote.Finding
)

const (
	Registry = oci.Registry
	Layout   = oci.Layout
	Archive  = oci.Archive

	Started = oci.Started
	Moved   = oci.Moved
	Done    = oci.Done
	Skipped = oci.Skipped
	Tagged  = oci.Tagged
	Planned = oci.Planned

	MaxDocument  = oci.MaxDocument
	MaxStatement = oci.MaxStatement
	MaxTable     = oci.MaxTable
)

var (
	ErrNotFound  = oci.ErrNotFound
	ErrNotOurs   = oci.ErrNotOurs
	ErrReference = oci.ErrReference
	ErrPackage   = oci.ErrPackage
	ErrSnapshot  = oci.ErrSnapshot
	ErrMoved     = oci.ErrMoved
	ErrPlainHTTP = remote.ErrPlainHTTP
	ErrUnknownCA = remote.ErrUnknownCA

	ErrUnreachable = remote.ErrUnreachable
)

// MissingError is [remote.MissingError].
type MissingError = remote.MissingError

// ParseReference reads a reference; see [oci.ParseReference].
func ParseReference(s string) (Reference, error) { return oci.ParseReference(s) }

// Watched is [places.Watched].
func Watched(blobs snapshot.Blobs, tell func(Event)) snapshot.Blobs {
	return places.Watched(blobs, tell)
}

// EndpointOf tells how the registry of a reference is reached. Nothing is connected.
func EndpointOf(ref Reference, o Options) (Endpoint, error) {
	return remote.EndpointOf(ref, o.Remote())
}

// Probe tries what mmoci asks of a registry, as [remote.Probe] says.
func Probe(ctx context.Context, ref Reference, now time.Time, write bool, o Options) []Finding {
	return remote.Probe(ctx, ref, now, write, o.Remote())
}
