package snapshot

import (
	"context"
	"io"
	"os"
	"time"

	"example.org/mmoci/pkg/archive"
)

// Blobs opens content by digest: an artifact's blobs, an upstream, a store.
type Blobs interface {
	// Open starts reading the blob. What it yields is not verified: the
	// snapshot does that. Safe for concurrent use. An unknown blob: an error wrapping ErrNotExist.
	Open(ctx context.Context, b Blob) (*Content, error)
}

// Content is an opened blob.
type Content struct {
	// R yields the bytes from the start. Close releases it.
	R io.ReadCloser
	// File is set when the bytes are in a file whose content was already
	// hashed in full and has not changed since (same device, inode, size,
	// mtime, ctime): then they may be read at any offset, without hashing.
	File *os.File
	// Verified, if not nil, is called once when the bytes read from R were
	// found to be right, so that the next Open can set File.
	Verified func()
}

// BlobsFunc makes a function a Blobs.
type BlobsFunc func(ctx context.Context, b Blob) (*Content, error)

func (f BlobsFunc) Open(ctx context.Context, b Blob) (*Content, error) { return f(ctx, b) }

// Snapshot is archives frozen at one instant. Immutable; safe for concurrent use.
type Snapshot struct {
	// Root is the digest of the artifact's root, zero before it is packed.
	Root      Digest
	Statement *Statement
	// StatementBytes is the statement as stored: clear-signed if Signed, else the text.
	StatementBytes []byte
	Signed         bool
	Table          *Table
	Lock           []byte
	blobs          Blobs
}

// File is an opened file of a snapshot.
type File struct {
	Row
	*Reader
	// Seeker is set when the content is verified already; it may be an
	// *os.File, so that it can be sent by sendfile.
	Seeker io.ReadSeeker
}

// Reader ends in a verified EOF or an error, never in wrong bytes and EOF. The
// last [HoldBack] bytes are given out only after everything was verified.
type Reader struct{ reader }
type reader struct{}

func (r *Reader) Read(p []byte) (int, error) { panic("contract") }
func (r *Reader) Close() error               { panic("contract") }

// HoldBack is how much of a blob is withheld until its digest is known to be right.
const HoldBack = 64 << 10

// NewReader verifies r against b while it is read.
func NewReader(r io.ReadCloser, b Blob) *Reader { panic("contract") }

// Open opens a file by its served path (Table.Resolve). ErrNotExist if there is none.
func (s *Snapshot) Open(ctx context.Context, path string) (*File, error) { panic("contract") }

// OpenBlob opens content whose digest is known from elsewhere: a Release, a stanza.
func (s *Snapshot) OpenBlob(ctx context.Context, b Blob) (*File, error) { panic("contract") }

// ReadBlob reads a whole, small blob; more than limit is an error.
func (s *Snapshot) ReadBlob(ctx context.Context, b Blob, limit int64) ([]byte, error) {
	panic("contract")
}

// Frozen is what Take makes a snapshot of.
type Frozen struct {
	Date       time.Time
	ValidUntil time.Time
	Encoder    int
	Archives   []Archive
	Files      []Row    // every file, signature files included
	Lock       []byte   // canonical
	Small      [][]byte // generated and already read files (Release, indices, provenance); found by their digest
	Blobs      Blobs    // everything else
	Signer     archive.Signer
}

// Take freezes: makes table and statement, signs, validates that every
// signature file of the statement is among Files and that no path has two digests.
func Take(f Frozen) (*Snapshot, error) { panic("contract") }

// Sealed is a snapshot as it was read back, before anything in it is believed.
type Sealed struct {
	Root      Digest
	Pinned    bool // the reference named Root (or the whole way to it was given by digest): everything below is Pinned
	Statement []byte
	Signed    bool
	Date      time.Time // of the config, must equal the statement's
	Encoder   int
	Table     []byte
	Lock      []byte
	Release   []Blob // the core's other layers, must be exactly the statement's signature files
	Blobs     Blobs
}

// Unseal verifies the statement by keyring (nil: not verified, unless pinned)
// and binds table, lock, config and the core's layers to it. A signature that is
// there but by none of the keys is ErrIntegrity if keyring is not nil.
func (s *Sealed) Unseal(keyring *archive.Keyring) (*Snapshot, error) { panic("contract") }
