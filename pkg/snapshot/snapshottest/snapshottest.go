// Package snapshottest is the conformance suite that every producer of a
// [snapshot.Snapshot] must pass, and the comparison that law 1 (Open(Push(s)) equals s) asks for.
package snapshottest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Test tells whether s holds exactly the files in want, by listed path, and
// whether it opens them as the contract of [snapshot.Snapshot] says. It keeps no
// state in s and may be run on the same snapshot again.
func Test(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	t.Helper()
	t.Run("rows", func(t *testing.T) { testRows(t, s, want) })
	t.Run("statement", func(t *testing.T) { testStatement(t, s) })
	t.Run("open", func(t *testing.T) { testOpen(t, s, want) })
	t.Run("concurrent", func(t *testing.T) { testConcurrent(t, s, want) })
	t.Run("by-hash", func(t *testing.T) { testByHash(t, s, want) })
	t.Run("absent", func(t *testing.T) { testAbsent(t, s, want) })
	t.Run("short reads", func(t *testing.T) { testShortReads(t, s, want) })
	t.Run("early close", func(t *testing.T) { testEarlyClose(t, s, want) })
	t.Run("seek", func(t *testing.T) { testSeek(t, s, want) })
	t.Run("limit", func(t *testing.T) { testLimit(t, s, want) })
	t.Run("lies", func(t *testing.T) { testLies(t, s, want) })
	t.Run("lost", func(t *testing.T) { testLost(t, s, want) })
}

// paths are want's paths in order.
func paths(want map[string][]byte) []string { return slices.Sorted(maps.Keys(want)) }

func testRows(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	var listed []string
	for r := range s.Table.Rows() {
		listed = append(listed, r.Path)
		data, ok := want[r.Path]
		if ok && r.Blob() != snapshot.BlobOf(data) {
			t.Errorf("row %s: %s, want %s", r.Path, r.Blob(), snapshot.BlobOf(data))
		}
	}
	if !slices.Equal(listed, paths(want)) {
		t.Errorf("files\n%s\nwant\n%s", strings.Join(listed, "\n"), strings.Join(paths(want), "\n"))
	}
}

func testStatement(t *testing.T, s *snapshot.Snapshot) {
	text, err := s.Statement.Encode()
	if err != nil {
		t.Fatal(err)
	}
	stored := s.StatementBytes
	if s.Signed {
		if stored, _, err = pgp.VerifyClearsigned(stored, pgp.Trust{}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(stored, text) {
		t.Errorf("stored statement\n%s\nwant\n%s", stored, text)
	}
	if got := snapshot.BlobOf(s.Table.Bytes()); got != s.Statement.Table {
		t.Errorf("table: %s, statement %s", got, s.Statement.Table)
	}
	if lock, err := s.ReadLock(t.Context()); err != nil || snapshot.BlobOf(lock) != s.Statement.Lock {
		t.Errorf("lock: %v; %s, statement %s", err, snapshot.BlobOf(lock), s.Statement.Lock)
	}
	for _, f := range s.Statement.SuiteFiles() {
		if r, ok := s.Table.Find(f.Path); !ok || r.Blob() != f.Blob {
			t.Errorf("file %s: %s in the statement, %s in the table (%t)", f.Path, f.Blob, r.Blob(), ok)
		}
	}
}

// read opens path and reads to the end.
func read(ctx context.Context, s *snapshot.Snapshot, path string) ([]byte, error) {
	f, err := s.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}

func testOpen(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	for _, p := range paths(want) {
		data, err := read(t.Context(), s, p)
		if err != nil || !bytes.Equal(data, want[p]) {
			t.Errorf("Open(%s): %d bytes, %v, want %d bytes", p, len(data), err, len(want[p]))
		}
		data, err = s.ReadBlob(t.Context(), snapshot.BlobOf(want[p]), int64(len(want[p])))
		if err != nil || !bytes.Equal(data, want[p]) {
			t.Errorf("ReadBlob of %s: %d bytes, %v, want %d bytes", p, len(data), err, len(want[p]))
		}
	}
}

// testConcurrent reads each file four times at once, beside others. What reads is not without bound: a registry on a busy
// machine would answer the last of thousands too late.
func testConcurrent(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	const readers = 32
	next := make(chan string)
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for p := range next {
				data, err := read(t.Context(), s, p)
				if err != nil || !bytes.Equal(data, want[p]) {
					t.Errorf("Open(%s): %d bytes, %v, want %d bytes", p, len(data), err, len(want[p]))
				}
			}
		})
	}
	for _, p := range paths(want) {
		for range 4 {
			next <- p
		}
	}
	close(next)
	wg.Wait()
}

func testByHash(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	for _, p := range paths(want) {
		if !strings.Contains(p, "/dists/") || strings.Contains(p, "/by-hash/") {
			continue
		}
		data, err := read(t.Context(), s, path.Dir(p)+"/by-hash/SHA256/"+snapshot.Sum(want[p]).Hex())
		if err != nil || !bytes.Equal(data, want[p]) {
			t.Errorf("%s by its digest: %d bytes, %v, want %d bytes", p, len(data), err, len(want[p]))
		}
	}
}

func testAbsent(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	absent := []string{"", "/", "absent", "upstream/absent/x", "dists/by-hash/SHA256/" + strings.Repeat("0", 64)}
	for _, p := range paths(want) {
		absent = append(absent, p+"x", "/"+p, p+"/", "./"+p, path.Dir(p)+"/by-hash/SHA256/"+strings.Repeat("0", 64))
	}
	for _, p := range absent {
		if _, ok := want[p]; ok {
			continue
		}
		if data, err := read(t.Context(), s, p); !errors.Is(err, snapshot.ErrNotExist) || errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("Open(%q): %d bytes, %v", p, len(data), err)
		}
	}
	unknown := snapshot.BlobOf([]byte("this is in no snapshot"))
	if _, err := s.ReadBlob(t.Context(), unknown, 100); !errors.Is(err, snapshot.ErrNotExist) {
		t.Errorf("OpenBlob of an unknown digest: %v", err)
	}
	if _, err := s.ReadBlob(t.Context(), snapshot.Blob{Digest: unknown.Digest}, 100); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Errorf("OpenBlob of size 0 with a digest of something: %v", err)
	}
}

// few are up to n of want's paths: some properties do not need all files of a large snapshot.
func few(want map[string][]byte, n int) []string {
	all := paths(want)
	slices.SortStableFunc(all, func(a, b string) int { return len(want[b]) - len(want[a]) })
	return all[:min(n, len(all))]
}

func testShortReads(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	for _, p := range few(want, 20) {
		f, err := s.Open(t.Context(), p)
		if err != nil {
			t.Error(err)
			continue
		}
		if n, err := f.Read(nil); n != 0 || err != nil {
			t.Errorf("%s: empty read: %d, %v", p, n, err)
		}
		data, err := io.ReadAll(iotest.HalfReader(io.MultiReader(io.LimitReader(iotest.OneByteReader(f), 100), f)))
		if err != nil || !bytes.Equal(data, want[p]) {
			t.Errorf("%s in short reads: %d bytes, %v, want %d bytes", p, len(data), err, len(want[p]))
		}
		if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: after the end %d, %v", p, n, err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: Close: %v", p, err)
		}
	}
}

func testEarlyClose(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	for _, p := range few(want, 20) {
		for _, before := range []int{0, 1} {
			f, err := s.Open(t.Context(), p)
			if err != nil {
				t.Error(err)
				continue
			}
			if _, err := io.ReadFull(f, make([]byte, min(before, len(want[p])))); err != nil {
				t.Errorf("%s: first byte: %v", p, err)
			}
			if err := f.Close(); err != nil {
				t.Errorf("%s: Close after %d bytes: %v", p, before, err)
			}
			if n, err := f.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
				t.Errorf("%s: Read after Close: %d, %v", p, n, err)
			}
		}
	}
}

// testSeek reads once to the end, so that the producer can learn that the
// content is right, and then uses the Seeker if there is one.
func testSeek(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	for _, p := range few(want, 20) {
		if _, err := read(t.Context(), s, p); err != nil {
			t.Error(err)
		}
		f, err := s.Open(t.Context(), p)
		if err != nil {
			t.Error(err)
			continue
		}
		if f.Seeker != nil {
			if err := seek(f.Seeker, want[p]); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: Close: %v", p, err)
		}
	}
}

func seek(r io.ReadSeeker, want []byte) error {
	if end, err := r.Seek(0, io.SeekEnd); err != nil || end != int64(len(want)) {
		return fmt.Errorf("end at %d, want %d: %w", end, len(want), err)
	}
	for _, from := range []int{len(want) / 2, 0} {
		if _, err := r.Seek(int64(from), io.SeekStart); err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if !bytes.Equal(data, want[from:]) {
			return fmt.Errorf("from %d: %d bytes differ", from, len(data))
		}
	}
	return nil
}

func testLimit(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	for _, p := range few(want, 1) {
		b := snapshot.BlobOf(want[p])
		if data, err := s.ReadBlob(t.Context(), b, b.Size-1); err == nil {
			t.Errorf("%s: %d bytes within a limit of %d", p, len(data), b.Size-1)
		}
	}
}

// lies are ways in which content can be wrong.
func lies() map[string]func([]byte) []byte {
	return map[string]func([]byte) []byte{
		"first bit":  func(b []byte) []byte { b[0] ^= 1; return b },
		"last bit":   func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b },
		"truncated":  func(b []byte) []byte { return b[:len(b)-1] },
		"emptied":    func([]byte) []byte { return nil },
		"extended":   func(b []byte) []byte { return append(b, 0) },
		"twice":      func(b []byte) []byte { return append(b, b...) },
		"other file": func(b []byte) []byte { return bytes.Repeat([]byte{^b[0]}, len(b)) },
	}
}

func testLies(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	for name, lie := range lies() {
		liar := s.WithBlobs(func(b snapshot.Blobs) snapshot.Blobs { return Lying(b, lie) })
		for _, p := range few(want, 20) {
			if len(want[p]) == 0 {
				continue
			}
			f, err := liar.Open(t.Context(), p)
			if err != nil {
				t.Errorf("%s, %s: Open: %v", p, name, err)
				continue
			}
			data, err := io.ReadAll(f)
			if !errors.Is(err, snapshot.ErrIntegrity) || !strings.Contains(err.Error(), p) {
				t.Errorf("%s, %s: %d bytes, %v", p, name, len(data), err)
			}
			if len(data) > max(0, len(want[p])-snapshot.HoldBack) {
				t.Errorf("%s, %s: %d of %d bytes were given out", p, name, len(data), len(want[p]))
			}
			if err := f.Close(); err != nil {
				t.Errorf("%s, %s: Close: %v", p, name, err)
			}
		}
	}
}

func testLost(t *testing.T, s *snapshot.Snapshot, want map[string][]byte) {
	lost := s.WithBlobs(func(snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			return nil, fmt.Errorf("gone: %w", snapshot.ErrNotExist)
		})
	})
	for _, p := range few(want, 20) {
		_, err := read(t.Context(), lost, p)
		if len(want[p]) == 0 && err != nil {
			t.Errorf("%s: an empty file asks for a blob: %v", p, err)
		}
		if len(want[p]) > 0 && !errors.Is(err, snapshot.ErrNotExist) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// Lying is b with every content changed by lie, which gets all of it and may
// change it in place. Nothing is said to be verified.
func Lying(b snapshot.Blobs, lie func([]byte) []byte) snapshot.Blobs {
	return snapshot.BlobsFunc(func(ctx context.Context, blob snapshot.Blob) (*snapshot.Content, error) {
		c, err := b.Open(ctx, blob, 0)
		if err != nil {
			return nil, err
		}
		r := c.R
		if r == nil {
			r = c.File
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		return &snapshot.Content{R: io.NopCloser(bytes.NewReader(lie(data)))}, nil
	})
}

// Memory is Blobs over the given contents.
func Memory(contents ...[]byte) snapshot.Blobs {
	m := map[snapshot.Digest][]byte{}
	for _, c := range contents {
		m[snapshot.Sum(c)] = c
	}
	return snapshot.BlobsFunc(func(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
		data, ok := m[b.Digest]
		if !ok {
			return nil, fmt.Errorf("memory: %w", snapshot.ErrNotExist)
		}
		return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data))}, nil
	})
}

// Dir is Blobs over a directory of files named by the hex digits of their
// digest. A file that was read to its end once is taken as hashed; so content must not
// change meanwhile. It is the simplest place that sets [snapshot.Content.File].
func Dir(dir string) snapshot.Blobs {
	var hashed sync.Map
	return snapshot.BlobsFunc(func(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
		f, err := os.Open(dir + "/" + b.Digest.Hex())
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", err, snapshot.ErrNotExist)
		}
		if err != nil {
			return nil, err
		}
		c := &snapshot.Content{R: f, Verified: func() { hashed.Store(b.Digest, true) }}
		if _, ok := hashed.Load(b.Digest); ok {
			c.File = f
		}
		return c, nil
	})
}
