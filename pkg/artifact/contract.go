package artifact

import (
	"context"
	"errors"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// ErrNotFound marks a reference (repository, tag, digest) that is not there.
var ErrNotFound = errors.New("not found")

// ErrNotOurs marks an OCI artifact that is not a snapshot of mmoci, or one of a newer major version.
var ErrNotOurs = errors.New("not an mmoci snapshot")

// ErrReference marks a reference that cannot be parsed or used so (usage, exit code 2).
var ErrReference = errors.New("reference")

// Kind of place.
type Kind uint8

const (
	Registry Kind = iota // HOST/REPO[:TAG][@DIGEST]
	Layout               // oci:DIR[:TAG][@DIGEST]
	Archive              // oci-archive:FILE[:TAG][@DIGEST]
)

// Reference names an artifact: a place, and a tag or digest in it.
type Reference struct {
	Kind   Kind
	Name   string // HOST/REPO, DIR or FILE
	Tag    string // "latest" if none was given and no digest
	Digest snapshot.Digest
}

// ParseReference reads the three forms. A bare word that looks like a package
// name ("docker-ce") is refused and told so; so is an upper-case repository.
func ParseReference(s string) (Reference, error) { panic("contract") }

// String is the canonical spelling; ParseReference(r.String()) equals r.
func (r Reference) String() string { panic("contract") }

// Options say how places are reached. The zero value works: anonymous or with
// the docker credentials of the user, HTTPS except on loopback.
type Options struct {
	PlainHTTP   bool   // also beyond loopback
	CAFile      string // PEM, added to the system's and /etc/docker/certs.d/HOST
	Concurrency int    // transfers at once; 0 means 8
	Anonymous   bool   // no docker/podman credentials
	// Progress, if not nil, is told of every blob; called concurrently.
	Progress func(Event)
}

// Event is progress on one blob or manifest.
type Event struct {
	Kind   EventKind
	Path   string // first path of the blob, "" for manifests
	Digest snapshot.Digest
	Bytes  int64 // Started: size; Moved: bytes since the last event; Done, Skipped: size
}

// EventKind of an Event.
type EventKind uint8

const (
	Started EventKind = iota
	Moved
	Done
	Skipped // it was there
	Tagged
)

// Pushed is the outcome of a push.
type Pushed struct {
	Root      snapshot.Digest
	Reference Reference // with tag and digest
	Immutable string    // the immutable tag
	Changed   bool      // false: the tag named this root already
	Blobs     int       // distinct blobs, manifests not counted
	Uploaded  int
	Bytes     int64 // uploaded
	Reused    int64 // bytes that were there
}

// PushOptions of one push.
type PushOptions struct {
	Options
	// Recheck asks the place for every blob instead of believing the previous root.
	Recheck bool
}

// Pack computes the artifact's documents without writing anything: the root digest is known before a blob is fetched.
func Pack(s *snapshot.Snapshot) (*Packed, error) { panic("contract") }

// Packed is a snapshot's OCI documents.
type Packed struct{ packed }
type packed struct{}

// Root is the digest of the root.
func (p *Packed) Root() snapshot.Digest { panic("contract") }

// Push writes s to ref, in the order of SPEC section 10: a push that dies
// anywhere leaves the old tags whole, and a rerun resumes. ref must have no digest.
func Push(ctx context.Context, ref Reference, s *snapshot.Snapshot, o PushOptions) (Pushed, error) {
	panic("contract")
}

// Open reads root and core of an artifact, validates every document of it
// (SPEC section 7) and returns what they hold; shards are read when all of
// them are needed only (Copy, Blobs of Verify). Nothing is believed but digests.
func Open(ctx context.Context, ref Reference, o Options) (*snapshot.Sealed, error) { panic("contract") }

// Resolve returns the digest that a reference names now. It asks one question
// of the registry, and stats one file of a layout.
func Resolve(ctx context.Context, ref Reference, o Options) (snapshot.Digest, error) {
	panic("contract")
}

// Tag is a tag of a repository or layout.
type Tag struct {
	Name   string
	Digest snapshot.Digest
	Date   time.Time // of an immutable tag's name, else zero
}

// Tags lists them, sorted by name.
func Tags(ctx context.Context, ref Reference, o Options) ([]Tag, error) { panic("contract") }

// Copied is the outcome of a copy.
type Copied = Pushed

// Copy copies the whole artifact src names to dst, bytes unchanged and verified. dst's tag is set last.
func Copy(ctx context.Context, src, dst Reference, o Options) (Copied, error) { panic("contract") }

// Graph is every blob that an artifact consists of, read from its shards.
type Graph struct {
	Manifests []snapshot.Blob // root, core, shards
	Files     []snapshot.Blob // in order of the shards; core layers and configs included
}

// ReadGraph reads root, core and every shard and validates them.
func ReadGraph(ctx context.Context, ref Reference, o Options) (*Graph, error) { panic("contract") }

// Missing asks the place for every blob of the graph without reading it, and returns those that are not there or have another size.
func Missing(ctx context.Context, ref Reference, g *Graph, o Options) ([]snapshot.Blob, error) {
	panic("contract")
}
