package fileset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// keepFrom is how long a file is, in bytes, of which is kept what came, so that it need not come again after a kill.
const keepFrom = 16 << 20

// keep is the directory of what is kept. What lies in it was written by this user; that a part of a file is
// damaged shows by its digest, and then it is thrown away.
type keep struct {
	dir string

	mu     sync.Mutex
	hashed map[snapshot.Digest]identity // files of the directory that this process hashed while it wrote them
}

// identity changes whenever the bytes of a file may have.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

func identify(f *os.File) (identity, error) {
	fi, err := f.Stat()
	if err != nil {
		return identity{}, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, errors.ErrUnsupported
	}
	return identity{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

func openKeep(dir string) (*keep, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of what is kept of files: %w", err)
	}
	return &keep{dir: dir, hashed: map[snapshot.Digest]identity{}}, nil
}

// note is what was learned of something, by a name made of it; "" if nothing was.
func (k *keep) note(about string) string {
	data, err := os.ReadFile(filepath.Join(k.dir, noteName(about)))
	if err != nil {
		return ""
	}
	return string(data)
}

// remember writes what was learned. That it cannot be written costs a download the next time, so it is no error.
func (k *keep) remember(about, what string) {
	_ = durable.WriteFile(filepath.Join(k.dir, noteName(about)), []byte(what), 0o600)
}

func noteName(about string) string { return "note-" + snapshot.Sum([]byte(about)).Hex() }

// part is the file that keeps the beginning of a file, locked for this use. Nil if another process or reader has it.
func (k *keep) part(name string) *os.File {
	f, err := os.OpenFile(filepath.Join(k.dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil
	}
	if err := durable.TryLock(f); err != nil {
		f.Close()
		return nil
	}
	// Whoever had the lock before may have removed the file.
	a, err := f.Stat()
	b, err2 := os.Stat(f.Name())
	if err != nil || err2 != nil || !os.SameFile(a, b) {
		f.Close()
		return nil
	}
	return f
}

// existing is the part of a file by its digest, if there is one.
func (k *keep) existing(d snapshot.Digest) *os.File {
	if _, err := os.Stat(filepath.Join(k.dir, partOf(d))); err != nil {
		return nil
	}
	return k.part(partOf(d))
}

// partOf is the name of the part of a file by its digest.
func partOf(d snapshot.Digest) string { return "part-" + d.Hex() }

// stream reads a file of which the beginning may be kept, and keeps what comes. It verifies nothing.
type stream struct {
	open func(ctx context.Context, offset int64) (io.ReadCloser, error)
	ctx  context.Context
	part *os.File // nil: nothing is kept any more
	have int64    // bytes that were kept before
	size int64    // -1: not known
	at   int64
	up   io.ReadCloser // nil: not open
	log  outcome.Log
}

// newStream begins to read at what is kept. part may be nil.
func newStream(ctx context.Context, part *os.File, size int64, log outcome.Log, open func(context.Context, int64) (io.ReadCloser, error)) (*stream, error) {
	s := &stream{open: open, ctx: ctx, part: part, size: size, log: log}
	if part != nil {
		fi, err := part.Stat()
		if err != nil {
			part.Close()
			return nil, err
		}
		s.have = fi.Size()
		if size >= 0 && s.have > size { // of no use: it is another file's
			s.have = 0
			if err := part.Truncate(0); err != nil {
				part.Close()
				return nil, err
			}
		}
	}
	if size < 0 || s.have < size {
		up, err := open(ctx, s.have)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.up = up
	}
	return s, nil
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if err := context.Cause(s.ctx); err != nil {
		return 0, err
	}
	if s.at < s.have {
		n, err := s.part.ReadAt(p[:min(int64(len(p)), s.have-s.at)], s.at)
		s.at += int64(n)
		if n > 0 {
			return n, nil
		}
		return 0, fmt.Errorf("%s: %w", s.part.Name(), err)
	}
	if s.up == nil {
		return 0, io.EOF
	}
	n, err := s.up.Read(p)
	if n > 0 && s.part != nil {
		if _, werr := s.part.WriteAt(p[:n], s.at); werr != nil {
			s.log.Printf("%s: %s; going on without keeping what comes", s.part.Name(), werr)
			remove(s.part.Name())
			s.part.Close()
			s.part = nil
		}
	}
	s.at += int64(n)
	return n, err
}

// Close implements io.Closer. What is kept stays.
func (s *stream) Close() error {
	if s.up != nil {
		s.up.Close()
	}
	if s.part != nil {
		return s.part.Close()
	}
	return nil
}

// forget throws away what is kept.
func (s *stream) forget() {
	if s.part != nil {
		remove(s.part.Name())
	}
}

// distrust throws away what is kept of a file that has other bytes than it should, and tells whether it may be right
// when it is read again.
func (s *stream) distrust(why error) bool {
	kept := s.have > 0
	s.forget()
	if kept {
		return true // what came before need not have come from where the rest did
	}
	d, ok := s.up.(interface{ Distrust(error) bool })
	return ok && d.Distrust(why)
}

// download reads a whole file whose digest is not known, or that must be seen whole, and keeps it under its digest. The
// writers get all of its bytes.
func (k *keep) download(ctx context.Context, name, validator string, size int64, log outcome.Log, open func(context.Context, int64) (io.ReadCloser, error), more ...io.Writer) (snapshot.Blob, *stream, error) {
	part := k.part(name)
	if part != nil && k.note("validator of "+name) != validator {
		if err := part.Truncate(0); err != nil {
			return snapshot.Blob{}, nil, errors.Join(err, part.Close())
		}
	}
	if part != nil && validator != "" {
		k.remember("validator of "+name, validator)
	} else if part != nil {
		if err := part.Truncate(0); err != nil {
			return snapshot.Blob{}, nil, errors.Join(err, part.Close())
		}
	}
	s, err := newStream(ctx, part, size, log, open)
	if err != nil {
		return snapshot.Blob{}, nil, err
	}
	defer s.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(append([]io.Writer{h}, more...)...), s)
	if err != nil {
		return snapshot.Blob{}, s, err
	}
	if size >= 0 && n != size {
		return snapshot.Blob{}, s, fmt.Errorf("%w: %d bytes instead of %d", outcome.ErrIntegrity, n, size)
	}
	var d snapshot.Digest
	h.Sum(d[:0])
	if s.part != nil {
		if err := os.Rename(s.part.Name(), filepath.Join(k.dir, partOf(d))); err != nil {
			return snapshot.Blob{}, s, err
		}
		k.wasHashed(d, s.part)
	}
	return snapshot.Blob{Digest: d, Size: n}, s, nil
}

// wasHashed remembers that the part of a digest has its bytes, so that nobody need hash them again. f is the part, locked.
func (k *keep) wasHashed(d snapshot.Digest, f *os.File) {
	// A write within the same tick of the kernel's clock would not change the time of the one before: it changes this.
	past := time.Now().Add(-time.Minute)
	if os.Chtimes(filepath.Join(k.dir, partOf(d)), past, past) != nil {
		return
	}
	id, err := identify(f)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hashed[d] = id
}

// whole opens the part of a digest that this process hashed and nobody has changed since; nil: there is none.
func (k *keep) whole(b snapshot.Blob) *os.File {
	k.mu.Lock()
	was, ok := k.hashed[b.Digest]
	k.mu.Unlock()
	if !ok || was.size != b.Size {
		return nil
	}
	f, err := os.Open(filepath.Join(k.dir, partOf(b.Digest)))
	if err != nil {
		return nil
	}
	if is, err := identify(f); err != nil || is != was {
		f.Close()
		return nil
	}
	return f
}

// sweep removes what is kept of a file.
func (k *keep) sweep(d snapshot.Digest) { remove(filepath.Join(k.dir, partOf(d))) }

// unknown is the name of the part of a file whose digest is not known, by its address.
func unknown(address string) string {
	sum := sha256.Sum256([]byte(address))
	return "unknown-" + strings.ToLower(hex.EncodeToString(sum[:]))
}
