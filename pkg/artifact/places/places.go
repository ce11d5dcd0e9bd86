// Package places opens the place of a reference: a repository at a registry, an OCI
// layout or an oci-archive. A place is read by [Place] and written by [Target]; what an
// artifact or an image is, and the order in which it is written, its callers know.
package places

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"example.org/mmoci/pkg/artifact/layout"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
)

// Options say how places are reached. The zero value works: with the
// docker or podman credentials of the user, HTTPS except on loopback.
type Options struct {
	PlainHTTP   bool   // also beyond loopback
	CAFile      string // PEM, added to the system's and /etc/docker/certs.d/HOST
	Concurrency int    // transfers at once; 0 means 8
	Anonymous   bool   // no docker/podman credentials
	Rate        int64  // bytes a second of all uploads to a registry together; 0: no limit
	// Progress, if not nil, is told of every blob; called concurrently.
	Progress func(oci.Event)
	// Log, if not nil, is told at once why a transfer waits; called concurrently.
	Log func(format string, args ...any)
	// Connections, if not nil, are shared with other calls that have the same.
	Connections *remote.Connections
	// Vouched is the root of an artifact whose statement the caller has verified: a
	// copy of it to an oci-archive names what it carries for hosts to run by its
	// paths. Of any other root, and of none (zero), a copy makes no such name.
	Vouched snapshot.Digest

	// Tuning is what tests change; the zero value is what everybody else gets.
	Tuning Tuning
}

// Workers is how many transfers run at once.
func (o *Options) Workers() int {
	return cmp.Or(max(o.Concurrency, 0), remote.DefaultConcurrency)
}

// Tell tells Progress of an event, if anybody listens.
func (o *Options) Tell(e oci.Event) {
	if o.Progress != nil {
		o.Progress(e)
	}
}

// Tuning holds what only tests change: times, and the directories of certificates.
type Tuning struct {
	Checkpoint time.Duration // between checkpoints; 0: as the writer says
	Timing     remote.Timing
	CertDirs   []string
	Layout     layout.Options
}

// Remote are the options for a registry.
func (o *Options) Remote() *remote.Options {
	return &remote.Options{
		PlainHTTP: o.PlainHTTP, CAFile: o.CAFile, CertDirs: o.Tuning.CertDirs, Anonymous: o.Anonymous,
		Concurrency: o.Workers(), Rate: o.Rate, Progress: o.Progress, Log: o.Log,
		Connections: o.Connections, Timing: o.Tuning.Timing,
	}
}

// Pushed is the outcome of a push.
type Pushed struct {
	Root      snapshot.Digest
	Reference oci.Reference   // with tag and digest
	Immutable string          // the immutable tag; "" in an oci-archive, which has one tag only
	Changed   bool            // false: the tag named this root already
	Was       snapshot.Digest // what the tag named before; zero: nothing
	Blobs     int             // distinct blobs, manifests not counted
	Uploaded  int
	Bytes     int64 // uploaded
	Reused    int64 // bytes that were there
	// Runnable are the files that an oci-archive names for hosts to run.
	Runnable []oci.CarriedFile
	// Manifests are those below the root that were looked for and not there, or
	// damaged, Refilled their bytes. At a registry they are looked for with Recheck only.
	Manifests int
	Refilled  int64
}

// PushOptions of one push.
type PushOptions struct {
	Options
	// Recheck asks the place for every blob instead of believing the previous
	// root, and puts every manifest again; in a layout every file is hashed. It heals
	// what was lost or damaged behind our back, also when the tag names the root already.
	Recheck bool
	// Expect is what the tag named when the caller read it, the zero digest for
	// nothing; the push ends in oci.ErrMoved if it names something else. Nil: what it
	// names when the push opens the place.
	Expect *snapshot.Digest
	// KeepGoing leaves out blobs that their source cannot give. Then nothing is named, and the push ends in
	// an error that says what is missing; what could be had is held for the next push. HoldOnly names nothing
	// even if all is there: more was asked for than this snapshot has.
	KeepGoing, HoldOnly bool
	// MountFrom is another repository of the same registry that may have blobs: they are mounted from there
	// instead of being sent. "": none.
	MountFrom string
	// ImagesTo is HOST/REPO, below which a registry gets the snapshot's images as REPO:TAG;
	// "": images/ below the snapshot's own repository.
	ImagesTo string
}

// Place is where artifacts are read. Safe for concurrent use.
type Place interface {
	snapshot.Blobs
	// Root reads the document that ref names, with the media type that the
	// place gives it. The bytes are those of the digest it returns, and at most
	// oci.MaxDocument. oci.ErrNotFound if the place or the tag is not there.
	Root(ctx context.Context, ref oci.Reference) (oci.Descriptor, []byte, error)
	// Resolve is Root's digest, at the price of one question.
	Resolve(ctx context.Context, ref oci.Reference) (snapshot.Digest, error)
	// Document reads a manifest and verifies it.
	Document(ctx context.Context, d oci.Descriptor) ([]byte, error)
	// Has tells whether a blob or manifest is there with that size.
	Has(ctx context.Context, d oci.Descriptor) (bool, error)
	// Referrers lists the manifests that say that they refer to another, in any order.
	Referrers(ctx context.Context, subject oci.Descriptor) ([]oci.Descriptor, error)
	// TagNames lists the names of all tags, sorted.
	TagNames(ctx context.Context) ([]string, error)
	// Tags lists all tags with what each names, in any order.
	Tags(ctx context.Context) ([]oci.Tag, error)
}

// Open opens the place of a reference for reading.
func Open(ctx context.Context, ref oci.Reference, o *Options) (Place, error) {
	if err := ref.CheckTag(); err != nil {
		return nil, err
	}
	switch ref.Kind {
	case oci.Layout:
		return layout.Open(ref.Name, o.Tuning.Layout), nil
	case oci.Archive:
		return layout.OpenArchive(ctx, ref.Name)
	case oci.Registry:
		return remote.Open(ref, o.Remote())
	}
	return nil, fmt.Errorf("%w: kind %d", oci.ErrReference, ref.Kind)
}

// Target is a place that one artifact is written to. What it writes ends with the context's
// cause once that has ended, never with nil.
type Target interface {
	Place
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
	// oci.ErrMoved. Nil: whatever it names; the zero digest: nothing.
	Publish(ctx context.Context, d oci.Descriptor, data []byte, expected *snapshot.Digest, tags ...string) error
	// Close ends writing; what was put stays, but for
	// what an interrupted writer would have to wait for.
	Close(ctx context.Context) error
}

// Destination is an opened target.
type Destination struct {
	Target
	Registry *remote.Target // the same, if it is at a registry, where a long push sets checkpoints; else nil
	Layout   *layout.Writer // the same, if it is a layout, whose index.json names images; else nil
}

// OpenTarget opens a place for writing. From then on a layout is not
// collected, so what is there when it is asked for stays. mountFrom is
// a repository of the same registry that has the blobs, "" if none.
func OpenTarget(ctx context.Context, ref oci.Reference, mountFrom string, o *PushOptions) (Destination, error) {
	var d Destination
	var err error
	switch ref.Kind {
	case oci.Layout:
		d.Layout, err = layout.NewWriter(ctx, ref.Name, o.Tuning.Layout)
		d.Target = d.Layout
	case oci.Archive:
		d.Target, err = layout.NewArchiveWriter(ctx, ref.Name, ref.Tag)
	case oci.Registry:
		d.Registry, err = remote.OpenTarget(ref, mountFrom, o.Remote())
		d.Target = d.Registry
	default:
		err = fmt.Errorf("%w: kind %d", oci.ErrReference, ref.Kind)
	}
	return d, err
}

// Closed closes a target. After another error, what goes wrong then is no news.
func Closed(ctx context.Context, t Target, ref oci.Reference, err error) error {
	if closing := t.Close(ctx); err == nil && closing != nil {
		return fmt.Errorf("%s: %w", ref, closing)
	}
	return err
}

// Lost words a root that a tag names and nobody has.
func Lost(ref oci.Reference, err error) error {
	if errors.Is(err, oci.ErrNotFound) {
		return err
	}
	if errors.Is(err, snapshot.ErrNotExist) {
		return fmt.Errorf("%s: %w: %w", ref, err, oci.ErrNotFound)
	}
	return fmt.Errorf("%s: %w", ref, err)
}
