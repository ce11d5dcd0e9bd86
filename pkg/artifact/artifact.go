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
	"cmp"
	"context"
	"fmt"
	"time"

	"example.org/mmoci/pkg/artifact/layout"
	"example.org/mmoci/pkg/artifact/oci"
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
	ErrMoved     = oci.ErrMoved
	ErrPlainHTTP = remote.ErrPlainHTTP
	ErrUnknownCA = remote.ErrUnknownCA

	ErrUnreachable = remote.ErrUnreachable
)

// MissingError is [remote.MissingError].
type MissingError = remote.MissingError

// ParseReference reads a reference; see [oci.ParseReference].
func ParseReference(s string) (Reference, error) { return oci.ParseReference(s) }

// Options say how places are reached. The zero value works: with the
// docker or podman credentials of the user, HTTPS except on loopback.
type Options struct {
	PlainHTTP   bool   // also beyond loopback
	CAFile      string // PEM, added to the system's and /etc/docker/certs.d/HOST
	Concurrency int    // transfers at once; 0 means 8
	Anonymous   bool   // no docker/podman credentials
	Rate        int64  // bytes a second of all uploads to a registry together; 0: no limit
	// Progress, if not nil, is told of every blob; called concurrently.
	Progress func(Event)
	// Log, if not nil, is told at once why a transfer waits; called concurrently.
	Log func(format string, args ...any)
	// Connections, if not nil, are shared with other calls that have the same.
	Connections *Connections
	// Vouched is the root of an artifact whose statement the caller has verified: a
	// copy of it to an oci-archive names what it carries for hosts to run by its
	// paths. Of any other root, and of none (zero), a copy makes no such name.
	Vouched snapshot.Digest

	tuning tuning
}

func (o *Options) workers() int {
	return cmp.Or(max(o.Concurrency, 0), remote.DefaultConcurrency)
}

func (o *Options) tell(e Event) {
	if o.Progress != nil {
		o.Progress(e)
	}
}

// tuning holds what only tests change; the zero value is what everybody else gets.
type tuning struct {
	checkpoint time.Duration // between checkpoints
	timing     remote.Timing
	certDirs   []string
	layout     layout.Options
}

// registry are the options for a registry.
func (o *Options) registry() *remote.Options {
	return &remote.Options{
		PlainHTTP: o.PlainHTTP, CAFile: o.CAFile, CertDirs: o.tuning.certDirs, Anonymous: o.Anonymous,
		Concurrency: o.workers(), Rate: o.Rate, Progress: o.Progress, Log: o.Log,
		Connections: o.Connections, Timing: o.tuning.timing,
	}
}

// Remote are the options for a registry alone.
func (o *Options) Remote() *remote.Options { return o.registry() }

// place is where artifacts are read. Safe for concurrent use.
type place interface {
	snapshot.Blobs
	// Root reads the document that ref names, with the media type that the
	// place gives it. The bytes are those of the digest it returns, and at most
	// MaxDocument. ErrNotFound if the place or the tag is not there.
	Root(ctx context.Context, ref Reference) (oci.Descriptor, []byte, error)
	// Resolve is Root's digest, at the price of one question.
	Resolve(ctx context.Context, ref Reference) (snapshot.Digest, error)
	// Document reads a manifest and verifies it.
	Document(ctx context.Context, d oci.Descriptor) ([]byte, error)
	// Has tells whether a blob or manifest is there with that size.
	Has(ctx context.Context, d oci.Descriptor) (bool, error)
	// Referrers lists the manifests that say that they refer to another, in any order.
	Referrers(ctx context.Context, subject oci.Descriptor) ([]oci.Descriptor, error)
	// TagNames lists the names of all tags, sorted.
	TagNames(ctx context.Context) ([]string, error)
	// Tags lists all tags with what each names, in any order.
	Tags(ctx context.Context) ([]Tag, error)
}

// openPlace opens the place of a reference for reading.
func openPlace(ctx context.Context, ref Reference, o *Options) (place, error) {
	if err := ref.CheckTag(); err != nil {
		return nil, err
	}
	switch ref.Kind {
	case Layout:
		return layout.Open(ref.Name, o.tuning.layout), nil
	case Archive:
		return layout.OpenArchive(ctx, ref.Name)
	case Registry:
		return remote.Open(ref, o.registry())
	}
	return nil, fmt.Errorf("%w: kind %d", ErrReference, ref.Kind)
}

// target is a place that one artifact is written to. What it writes ends with the context's
// cause once that has ended, never with nil.
type target interface {
	place
	// Begin is told what will be written, and whether what is there is to be read before it is
	// believed to be there; before the first Put.
	Begin(c oci.Contents, recheck bool) error
	// Put stores a blob. A final name, or the registry's 201, comes only after its bytes were verified.
	// sent is 0 if the place could take them from itself.
	Put(ctx context.Context, l oci.Layer, open oci.Opener) (sent int64, err error)
	// PutDocument stores a manifest below the root. All it refers to was put before.
	PutDocument(ctx context.Context, d oci.Descriptor, data []byte) error
	// Publish stores the root and then names it by the tags, in their order. Durable on return.
	// The last tag must name what is expected until the moment when it moves, or d already: else
	// ErrMoved. Nil: whatever it names; the zero digest: nothing.
	Publish(ctx context.Context, d oci.Descriptor, data []byte, expected *snapshot.Digest, tags ...string) error
	// Close ends writing; what was put stays, but for
	// what an interrupted writer would have to wait for.
	Close(ctx context.Context) error
}

// EndpointOf tells how the registry of a reference is reached. Nothing is connected.
func EndpointOf(ref Reference, o Options) (Endpoint, error) {
	return remote.EndpointOf(ref, o.registry())
}

// Probe tries what mmoci asks of a registry, as [remote.Probe] says.
func Probe(ctx context.Context, ref Reference, now time.Time, write bool, o Options) []Finding {
	return remote.Probe(ctx, ref, now, write, o.registry())
}

// destination is an opened target.
type destination struct {
	target
	registry *remote.Target // the same, if it is at a registry, where a long push sets checkpoints; else nil
	layout   *layout.Writer // the same, if it is a layout, whose index.json names images; else nil
}

// openTarget opens a place for writing. From then on a layout is not
// collected, so what is there when it is asked for stays. mountFrom is
// a repository of the same registry that has the blobs, "" if none.
func openTarget(ctx context.Context, ref Reference, mountFrom string, o *PushOptions) (destination, error) {
	var d destination
	var err error
	switch ref.Kind {
	case Layout:
		d.layout, err = layout.NewWriter(ctx, ref.Name, o.tuning.layout)
		d.target = d.layout
	case Archive:
		d.target, err = layout.NewArchiveWriter(ctx, ref.Name, ref.Tag)
	case Registry:
		d.registry, err = remote.OpenTarget(ref, mountFrom, o.registry())
		d.target = d.registry
	default:
		err = fmt.Errorf("%w: kind %d", ErrReference, ref.Kind)
	}
	return d, err
}
