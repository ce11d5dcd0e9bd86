// Package snapshot is the waist of mmoci: archives frozen as a table of files,
// each openable only through its digest. Left of it are Debian and HTTP,
// right of it paths and digests.
//
// The bytes of statement and table are specified in artifacts/SPEC.md,
// sections 4 and 5.
package snapshot
