// Package oci holds what every place of an artifact shares: references, tags,
// descriptors and documents with their canonical encoding and strict parsers, and
// blobs that are verified while they are read. It knows no place.
package oci

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"example.org/mmoci/pkg/snapshot"
)

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

// ErrNotFound marks a reference (repository, tag, digest) that is not there.
var ErrNotFound = errors.New("not found")

// ErrNotOurs marks an OCI artifact that is not a snapshot of mmoci,
// or one of a later version (then it wraps snapshot.ErrNewer, too).
var ErrNotOurs = errors.New("not an mmoci snapshot")

// ErrReference marks a reference that cannot be parsed or used so (usage, exit code 2).
var ErrReference = errors.New("reference")

// ErrSnapshot marks a reference to a snapshot where a container image is wanted.
var ErrSnapshot = errors.New("a snapshot of mmoci")

// ErrPackage marks a reference that looks like the name of a package.
var ErrPackage = errors.New("a package")

// ErrMoved marks a tag that somebody else moved between the moment a command
// read it and the moment the command was about to move it. Nothing was tagged.
var ErrMoved = errors.New("the tag was moved meanwhile")

// InterruptedTagging is the error of a writer that was interrupted while it named a snapshot.
type InterruptedTagging struct {
	What string // which tags are set, or may be
	Err  error  // the interruption
}

func (e *InterruptedTagging) Error() string { return e.Err.Error() + "; " + e.What }

// Unwrap returns the interruption.
func (e *InterruptedTagging) Unwrap() error { return e.Err }

// CheckMoved compares what a tag names with what it is expected to name before it is
// moved to a root. That it names the root already is what is wanted.
func CheckMoved(tag string, now, root snapshot.Digest, expected *snapshot.Digest) error {
	if expected == nil || now == *expected || now == root {
		return nil
	}
	name := func(d snapshot.Digest) string {
		if d.IsZero() {
			return "nothing"
		}
		return d.String()
	}
	return fmt.Errorf("%w: %s named %s when this command looked, and names %s now; nothing was tagged, the same command begins with what is there now",
		ErrMoved, tag, name(*expected), name(now))
}

// CarriedFile is a file that an artifact carries for hosts that have nothing
// (SPEC section 3, "mmoci/").
type CarriedFile struct {
	Path string
	snapshot.Blob
}

// Contents is what a writer is told of an artifact before the first blob comes.
type Contents struct {
	Root  Descriptor
	Blobs iter.Seq[snapshot.Blob] // documents too
	// runnable are the files that an oci-archive also names by their paths.
	Runnable []CarriedFile
	// Images are the entries of images that an oci-archive's index.json has.
	Images []NamedImage
}

// NamedImage is an entry for an image, or for what refers to one, in an index.json.
type NamedImage struct {
	Descriptor
	Tag  string // REPO:TAG, or a tag; "": the entry has no name
	Name string // HOST/REPO:TAG, which engines take; "": nobody says
}

// Layer is a blob of the artifact with the first path that has it, "" if none.
type Layer struct {
	Descriptor
	Path string
}

// Name is what errors call it.
func (l Layer) Name() string {
	if l.Path != "" {
		return l.Path
	}
	return l.Digest.String()
}

// An Opener opens a blob; what it yields ends in a verified EOF or an error.
type Opener func(ctx context.Context, b snapshot.Blob) (Verified, error)
