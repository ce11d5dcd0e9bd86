package artifact

import "errors"

// ErrNotFound marks a reference (repository, tag, digest) that is not there.
var ErrNotFound = errors.New("not found")

// ErrNotOurs marks an OCI artifact that is not a snapshot of mmoci, or one of a later version (then it wraps snapshot.ErrNewer, too).
var ErrNotOurs = errors.New("not an mmoci snapshot")

// ErrReference marks a reference that cannot be parsed or used so (usage, exit code 2).
var ErrReference = errors.New("reference")

// ErrMoved marks a tag that somebody else moved between the moment a command
// read it and the moment the command was about to move it. Nothing was tagged.
var ErrMoved = errors.New("the tag was moved meanwhile")
