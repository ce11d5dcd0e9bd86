package aptmethod

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/snapshot"
)

const (
	copyBuffer = 128 << 10
	// lockWait is how long a file may be in the hands of another method: one that apt has just left behind.
	lockWait = 5 * time.Second
	lockTry  = 20 * time.Millisecond
)

// errFile marks an error of the file that apt wants written.
var errFile = errors.New("file")

// fetching says what fetch fetches, and where to.
type fetching struct {
	blob     snapshot.Blob
	filename string
	modified time.Time        // of the file
	started  func(from int64) // called before bytes are asked for; from is how many are there already
}

// fetch writes a blob to a file, and returns nil if the file has exactly the bytes of the digest. Bytes that are there
// already are hashed and kept, if they turn out to be the blob's. After an error of the network what came stays, for the
// next try; wrong bytes do not.
func fetch(ctx context.Context, from snapshot.Blobs, f fetching) (err error) {
	file, err := lockedFile(ctx, f.filename)
	if err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	defer func() {
		if closed := file.Close(); err == nil && closed != nil {
			err = fmt.Errorf("%w: %w", errFile, closed)
		}
	}()
	h := sha256.New()
	have, err := keep(file, h, f.blob.Size)
	if err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	f.started(have)
	for {
		err := rest(ctx, from, f.blob, file, h, have)
		if err == nil {
			break
		}
		if !errors.Is(err, snapshot.ErrIntegrity) {
			return err
		}
		if cut := restart(file); cut != nil {
			return fmt.Errorf("%w: %w", errFile, cut)
		}
		if have == 0 {
			return err
		}
		have = 0 // what was there may have been wrong
		h.Reset()
	}
	if err := os.Chtimes(f.filename, f.modified, f.modified); err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	return nil
}

// lockedFile opens a regular file for reading and writing and keeps other methods from it until it is closed.
func lockedFile(ctx context.Context, name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	for deadline := time.Now().Add(lockWait); err == nil; err = transfer.Sleep(ctx, lockTry) {
		if err = durable.TryLock(file); err == nil {
			return file, nil
		}
		if !errors.Is(err, durable.ErrLocked) || time.Now().After(deadline) {
			err = fmt.Errorf("%s is being written by somebody else: %w", name, err)
			break
		}
	}
	file.Close()
	return nil, err
}

// keep hashes what a file has, and empties it if that is more than size.
func keep(file *os.File, h hash.Hash, size int64) (have int64, err error) {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	if info.Size() > size {
		return 0, restart(file)
	}
	return copyTo(h, io.LimitReader(file, size))
}

// restart empties a file.
func restart(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.Seek(0, io.SeekStart)
	return err
}

// rest reads what a blob has from an offset on to the end of a file; h has hashed what comes before.
func rest(ctx context.Context, from snapshot.Blobs, b snapshot.Blob, file *os.File, h hash.Hash, offset int64) error {
	if offset < b.Size {
		content, err := from.Open(ctx, b, offset)
		if err != nil {
			return err
		}
		defer content.R.Close()
		n, err := copyTo(&hashedFile{file, h}, io.LimitReader(content.R, b.Size-offset))
		if err != nil {
			return err
		}
		if offset+n != b.Size {
			return fmt.Errorf("blob %s: %d bytes instead of %d: %w", b.Digest, offset+n, b.Size, snapshot.ErrIntegrity)
		}
	}
	if got := snapshot.Digest(h.Sum(nil)); got != b.Digest {
		return fmt.Errorf("the registry's bytes of blob %s are %s: %w", b.Digest, got, snapshot.ErrIntegrity)
	}
	return nil
}

// hashedFile hashes what it writes.
type hashedFile struct {
	file *os.File
	hash hash.Hash
}

func (w *hashedFile) Write(p []byte) (int, error) {
	w.hash.Write(p)
	n, err := w.file.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w", errFile, err)
	}
	return n, err
}

var buffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// copyTo copies by a buffer that is used again.
func copyTo(w io.Writer, r io.Reader) (int64, error) {
	buf := buffers.Get().(*[copyBuffer]byte)
	defer buffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, buf[:])
}
