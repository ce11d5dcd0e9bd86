package artifact

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

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

// Event is progress on one blob or manifest.
type Event struct {
	Kind   EventKind
	Path   string // first path of the blob, "" for manifests
	Digest snapshot.Digest
	Bytes  int64 // Started: size; Moved: bytes since the last event; Done, Skipped: size; Planned: of all blobs
	Files  int   // Planned: number of all blobs
}

// EventKind of an Event.
type EventKind uint8

const (
	Started EventKind = iota
	Moved
	Done
	Skipped // it was there
	Tagged  // Path is the tag
	Planned // what is to be done or skipped in all, told before the first blob
)

const defaultConcurrency = 8

func (o *Options) workers() int {
	if o.Concurrency > 0 {
		return o.Concurrency
	}
	return defaultConcurrency
}

func (o *Options) tell(e Event) {
	if o.Progress != nil {
		o.Progress(e)
	}
}

// tuning holds what only tests change; zero fields mean the named constants.
type tuning struct {
	asked      time.Duration // maxAsked
	checkpoint time.Duration // between checkpoints
	backoff    time.Duration // before the second try, then doubled
	stall      time.Duration // without a byte before a transfer is given up
	answer     time.Duration // after the last byte of a blob or manifest, the same
	slow       time.Duration // below slowestRate before a connection is exchanged
	settle     time.Duration // age a file must have before its hash is remembered; negative: none
	certDirs   []string
	syncfs     func(fd int) error // of layouts
}

// place is where artifacts are read. Safe for concurrent use.
type place interface {
	snapshot.Blobs
	// root reads the document that ref names, with the media type that the
	// place gives it. The bytes are those of the digest it returns, and at most
	// MaxDocument. ErrNotFound if the place or the tag is not there.
	root(ctx context.Context, ref Reference) (descriptor, []byte, error)
	// resolve is root's digest, at the price of one question.
	resolve(ctx context.Context, ref Reference) (snapshot.Digest, error)
	// document reads a manifest and verifies it.
	document(ctx context.Context, d descriptor) ([]byte, error)
	// has tells whether a blob or manifest is there with that size.
	has(ctx context.Context, d descriptor) (bool, error)
	// tags lists all tags, in any order.
	tags(ctx context.Context) ([]Tag, error)
}

// openPlace opens the place of a reference for reading.
func openPlace(ctx context.Context, ref Reference, o *Options) (place, error) {
	if err := ref.checkTag(); err != nil {
		return nil, err
	}
	switch ref.Kind {
	case Layout:
		return openLayout(ref.Name, o)
	case Archive:
		return openArchive(ctx, ref.Name)
	case Registry:
		return openRegistry(ref, o)
	}
	return nil, fmt.Errorf("%w: kind %d", ErrReference, ref.Kind)
}

// target is a place that one artifact is written to. What it writes ends with the context's
// cause once that has ended, never with nil.
type target interface {
	place
	// begin is told what will be written, and whether what is there is to be read before it is
	// believed to be there; before the first put.
	begin(p *packed, recheck bool) error
	// put stores a blob. A final name, or the registry's 201, comes only after its bytes were verified.
	// sent is 0 if the place could take them from itself.
	put(ctx context.Context, l layer, open opener) (sent int64, err error)
	// putDocument stores a manifest below the root. All it refers to was put before.
	putDocument(ctx context.Context, d descriptor, data []byte) error
	// publish stores the root and then names it by the tags, in their order. Durable on return.
	// The last tag must name what is expected until the moment when it moves, or d already: else
	// ErrMoved. Nil: whatever it names; the zero digest: nothing.
	publish(ctx context.Context, d descriptor, data []byte, expected *snapshot.Digest, tags ...string) error
	// close ends writing; what was put stays, but for what an interrupted writer would have to wait for.
	close(ctx context.Context) error
}

// isManifest tells documents from blobs: registries keep them apart.
func (d descriptor) isManifest() bool {
	return d.mediaType == typeManifest || d.mediaType == typeIndex
}

// readBlob reads a whole blob of limited size and verifies it; what names it in errors.
func readBlob(ctx context.Context, from snapshot.Blobs, what string, b snapshot.Blob, limit int64) ([]byte, error) {
	if b.Size > limit {
		return nil, integrity("%s %s of %d bytes, the limit is %d", what, b.Digest, b.Size, limit)
	}
	c, err := from.Open(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, b.Digest, err)
	}
	r := snapshot.NewReader(c.R, b)
	defer r.Close()
	buf := bytes.NewBuffer(make([]byte, 0, min(b.Size, 1<<20)+bytes.MinRead))
	if _, err := buf.ReadFrom(whileReader{ctx, r}); err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, b.Digest, err)
	}
	if c.Verified != nil {
		c.Verified()
	}
	return buf.Bytes(), nil
}

// verifiedReader is content whose reading ends in a verified EOF or an error.
type verifiedReader struct {
	io.Reader
	io.Closer
	file *os.File // set when the bytes are in a file that was verified already
}

// verifiedFile reads a snapshot's file, from the file itself where it was hashed before.
func verifiedFile(f *snapshot.File) io.ReadCloser {
	if file, ok := f.Seeker.(*os.File); ok {
		return verifiedReader{file, f, file}
	}
	return f
}

// memoryReader reads bytes at hand.
func memoryReader(data []byte) io.ReadCloser {
	return io.NopCloser(bytes.NewReader(data))
}

// verifiedFrom makes an opener of a place's blobs.
func verifiedFrom(from snapshot.Blobs) opener {
	return func(ctx context.Context, b snapshot.Blob) (io.ReadCloser, error) {
		c, err := from.Open(ctx, b)
		if err != nil {
			return nil, err
		}
		if c.File != nil {
			return verifiedReader{c.File, c.R, c.File}, nil
		}
		return snapshot.NewReader(c.R, b), nil
	}
}
