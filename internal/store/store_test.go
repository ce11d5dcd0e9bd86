package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// behind is the place that a store reads from.
type behind struct {
	mu     sync.Mutex
	blobs  map[snapshot.Digest][]byte
	opened map[snapshot.Digest]int
	fault  func(data []byte) (io.Reader, error) // nil: none
}

func newBehind() *behind {
	return &behind{blobs: map[snapshot.Digest][]byte{}, opened: map[snapshot.Digest]int{}}
}

func (b *behind) put(seed string, n int) snapshot.Blob {
	data := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(data)
	blob := snapshot.BlobOf(data)
	b.blobs[blob.Digest] = data
	return blob
}

func (b *behind) Open(_ context.Context, blob snapshot.Blob, offset int64) (*snapshot.Content, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened[blob.Digest]++
	data, ok := b.blobs[blob.Digest]
	if !ok {
		return nil, snapshot.ErrNotExist
	}
	var r io.Reader = bytes.NewReader(data)
	if b.fault != nil {
		var err error
		if r, err = b.fault(data); err != nil {
			return nil, err
		}
	}
	return (&snapshot.Content{R: io.NopCloser(r)}).At(offset)
}

func (b *behind) times(blob snapshot.Blob) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened[blob.Digest]
}

func (b *behind) setFault(f func([]byte) (io.Reader, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = f
}

// open opens a store whose batches are flushed when a test says so, and when they are full.
func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	o.batch = time.Hour
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	setSync(s, func(int) error { return nil })
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// setSync has batches made durable by f, without waiting for a disk.
func setSync(s *Store, f func(int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sync = f
}

// holdSync has batches wait until release is called, at the latest at the end of the test.
func holdSync(t *testing.T, s *Store) (release func()) {
	held := make(chan struct{})
	setSync(s, func(int) error { <-held; return nil })
	release = sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	return release
}

// read reads a blob as a snapshot does, verified, and tells whether it came as a hashed file.
func read(blobs snapshot.Blobs, b snapshot.Blob) (data []byte, file bool, err error) {
	c, err := blobs.Open(context.Background(), b, 0)
	if err != nil {
		return nil, false, err
	}
	defer c.R.Close()
	if c.File != nil {
		data, err = io.ReadAll(c.File)
		return data, true, err
	}
	data, err = io.ReadAll(snapshot.NewReader(io.NopCloser(c.R), b))
	return data, false, err
}

func mustRead(t *testing.T, blobs snapshot.Blobs, b snapshot.Blob) (file bool) {
	t.Helper()
	data, file, err := read(blobs, b)
	if err != nil {
		t.Fatal(err)
	}
	if snapshot.BlobOf(data) != b {
		t.Fatalf("%s: other bytes", b)
	}
	return file
}

func final(dir string, b snapshot.Blob) string {
	return filepath.Join(dir, blobsDir, b.Digest.Hex()[:2], b.Digest.Hex())
}

func TestFetchedOnce(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 1000, snapshot.HoldBack + 1, streamFrom - 1, streamFrom, 3*streamFrom + 17} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			dir, next := t.TempDir(), newBehind()
			s := open(t, dir, Options{})
			release := holdSync(t, s)
			blob := next.put("x", size)
			through := s.Through(next)
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					data, _, err := read(through, blob)
					if err != nil || snapshot.BlobOf(data) != blob {
						t.Errorf("%d bytes, %v", len(data), err)
					}
				})
			}
			wg.Wait()
			if n := next.times(blob); n != 1 {
				t.Errorf("fetched %d times", n)
			}
			if mustRead(t, through, blob) || next.times(blob) != 1 {
				t.Errorf("before its batch: fetched %d times, or not hashed again", next.times(blob))
			}
			if _, err := os.Stat(final(dir, blob)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("final name before its batch: %v", err)
			}
			release()
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
			if !mustRead(t, through, blob) || next.times(blob) != 1 {
				t.Error("after the batch: fetched again, or not as a file")
			}
			if data, err := os.ReadFile(final(dir, blob)); err != nil || snapshot.BlobOf(data) != blob {
				t.Errorf("file: %v", err)
			}
		})
	}
}

// What a reader gets of a large blob comes before the blob is whole.
func TestStreamsWhileFetching(t *testing.T) {
	t.Parallel()
	next := newBehind()
	s := open(t, t.TempDir(), Options{})
	blob := next.put("x", 4*streamFrom)
	data := next.blobs[blob.Digest]
	pr, pw := io.Pipe()
	next.fault = func([]byte) (io.Reader, error) { return pr, nil }
	go pw.Write(data[:2*streamFrom])
	c, err := s.Through(next).Open(t.Context(), blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := snapshot.NewReader(c.R, blob)
	defer r.Close()
	first := make([]byte, streamFrom)
	if _, err := io.ReadFull(r, first); err != nil || !bytes.Equal(first, data[:streamFrom]) {
		t.Fatalf("first bytes: %v", err)
	}
	go func() { pw.Write(data[2*streamFrom:]); pw.Close() }()
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(rest, data[streamFrom:]) {
		t.Errorf("rest: %d bytes, %v", len(rest), err)
	}
}

func TestWrongContentIsNotKept(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	faults := map[string]struct {
		fault func(d []byte) (io.Reader, error)
		want  error
	}{
		"flipped": {func(d []byte) (io.Reader, error) {
			d = slices.Clone(d)
			d[len(d)/2] ^= 1
			return bytes.NewReader(d), nil
		}, snapshot.ErrIntegrity},
		"short": {func(d []byte) (io.Reader, error) { return bytes.NewReader(d[:len(d)-1]), nil }, snapshot.ErrIntegrity},
		"long":  {func(d []byte) (io.Reader, error) { return bytes.NewReader(append(slices.Clip(d), 1)), nil }, snapshot.ErrIntegrity},
		"reset": {func(d []byte) (io.Reader, error) {
			return io.MultiReader(bytes.NewReader(d[:len(d)/2]), errReader{broken}), nil
		}, broken},
		"refused": {func([]byte) (io.Reader, error) { return nil, broken }, broken},
	}
	for name, c := range faults {
		for _, size := range []int{1000, 2 * streamFrom} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				t.Parallel()
				dir, next := t.TempDir(), newBehind()
				s := open(t, dir, Options{})
				blob := next.put("x", size)
				next.setFault(c.fault)
				if _, _, err := read(s.Through(next), blob); !errors.Is(err, c.want) {
					t.Errorf("error %v", err)
				}
				if err := s.flush(); err != nil {
					t.Error(err)
				}
				if files := filesIn(t, dir); len(files) > 0 {
					t.Errorf("left: %v", files)
				}
				next.setFault(nil)
				mustRead(t, s.Through(next), blob)
			})
		}
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

// filesIn lists the regular files below dir, but for the lock.
func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != lockFile {
			files = append(files, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestRestart(t *testing.T) {
	t.Parallel()
	dir, next := t.TempDir(), newBehind()
	small, large := next.put("small", 1000), next.put("large", 2*streamFrom)
	s := open(t, dir, Options{})
	mustRead(t, s.Through(next), small)
	mustRead(t, s.Through(next), large)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(filesIn(t, dir)); n != 2 {
		t.Errorf("%d files", n)
	}
	s = open(t, dir, Options{})
	next.setFault(func([]byte) (io.Reader, error) { return nil, errors.New("away") })
	for _, b := range []snapshot.Blob{small, large} {
		if !mustRead(t, s.Through(next), b) {
			t.Errorf("%s not from the file", b)
		}
	}
}

// Killed, a process leaves its directory under tmp without a lock on it.
func TestLeftoversAreRemoved(t *testing.T) {
	t.Parallel()
	dir, next := t.TempDir(), newBehind()
	alive := open(t, dir, Options{})
	blob := next.put("x", 1000)
	mustRead(t, alive.Through(next), blob)
	dead := filepath.Join(dir, tmpDir, "1-dead")
	if err := errors.Join(os.Mkdir(dead, 0o755), os.WriteFile(filepath.Join(dead, blob.Digest.Hex()), []byte("half"), 0o644)); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{})
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left of a dead process: %v", err)
	}
	if mustRead(t, alive.Through(next), blob); next.times(blob) != 1 {
		t.Error("what a living process had was removed")
	}
}

// A damaged file is found before a byte of it goes out, and fetched again.
func TestCorruptOnDisk(t *testing.T) {
	t.Parallel()
	damage := map[string]func(path string, data []byte) error{
		"flipped": func(path string, data []byte) error {
			data = slices.Clone(data)
			data[0] ^= 1
			return rewrite(path, data)
		},
		"truncated": func(path string, data []byte) error { return rewrite(path, data[:len(data)-1]) },
		"empty":     func(path string, _ []byte) error { return rewrite(path, nil) },
		"removed":   func(path string, _ []byte) error { return os.Remove(path) },
		"longer":    func(path string, data []byte) error { return rewrite(path, append(slices.Clip(data), 0)) },
		"replaced": func(path string, data []byte) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, bytes.Repeat([]byte{7}, len(data)), 0o644))
		},
	}
	for name, f := range damage {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(name, restart), func(t *testing.T) {
				t.Parallel()
				dir, next := t.TempDir(), newBehind()
				blob := next.put("x", 2*streamFrom)
				s := open(t, dir, Options{})
				mustRead(t, s.Through(next), blob)
				if err := s.flush(); err != nil {
					t.Fatal(err)
				}
				if restart {
					s.Close()
				}
				if err := f(final(dir, blob), next.blobs[blob.Digest]); err != nil {
					t.Fatal(err)
				}
				if restart {
					s = open(t, dir, Options{})
				}
				mustRead(t, s.Through(next), blob)
				if n := next.times(blob); n != 2 {
					t.Errorf("fetched %d times", n)
				}
				if want := int64(1); name != "removed" && s.Stats().Corrupt != want {
					t.Errorf("%d corrupt", s.Stats().Corrupt)
				}
				if err := s.flush(); err != nil {
					t.Fatal(err)
				}
				if !mustRead(t, s.Through(next), blob) || next.times(blob) != 2 {
					t.Error("not kept the second time")
				}
			})
		}
	}
}

// rewrite changes a file in place, its mode notwithstanding.
func rewrite(path string, data []byte) error {
	if err := os.Chmod(path, 0o644); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// The disk takes no more, at once or after some bytes: readers do not notice.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 4 * streamFrom} {
		for _, room := range []int64{0, 500, 3 * streamFrom} {
			t.Run(fmt.Sprint(size, room), func(t *testing.T) {
				t.Parallel()
				dir, next := t.TempDir(), newBehind()
				s := open(t, dir, Options{})
				held := next.put("held", 100)
				mustRead(t, s.Through(next), held)
				if err := s.flush(); err != nil {
					t.Fatal(err)
				}
				left := room
				s.mu.Lock()
				s.write = func(f *os.File, p []byte) (int, error) {
					if left -= int64(len(p)); left < 0 {
						return 0, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
					}
					return f.Write(p)
				}
				s.mu.Unlock()
				blob := next.put("x", size)
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						if data, _, err := read(s.Through(next), blob); err != nil || snapshot.BlobOf(data) != blob {
							t.Errorf("%d bytes, %v", len(data), err)
						}
					})
				}
				wg.Wait()
				if !mustRead(t, s.Through(next), held) {
					t.Error("what was held is not")
				}
				if err := s.flush(); err != nil {
					t.Error(err)
				}
				for _, f := range filesIn(t, dir) {
					if strings.Contains(f, blob.Digest.Hex()) && room < int64(size) {
						t.Errorf("left: %s", f)
					}
				}
			})
		}
	}
}

func TestBound(t *testing.T) {
	t.Parallel()
	const each, bound = 10_000, 100_000
	dir, next := t.TempDir(), newBehind()
	s := open(t, dir, Options{MaxBytes: bound})
	through := s.Through(next)
	reading := next.put("being read", each)
	mustRead(t, through, reading)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	c, err := through.Open(t.Context(), reading, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.R.Close()
	popular := next.put("popular", each)
	for i := range 25 {
		mustRead(t, through, next.put(fmt.Sprint(i), each))
		mustRead(t, through, popular)
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		if sum := sizeOf(t, dir); sum > bound {
			t.Fatalf("%d bytes after %d files", sum, i)
		}
	}
	if n := next.times(popular); n != 1 {
		t.Errorf("what is asked for all the time was fetched %d times", n)
	}
	if _, err := os.Stat(final(dir, reading)); err != nil {
		t.Errorf("what is being read was evicted: %v", err)
	}
	if data, err := io.ReadAll(c.R); err != nil || snapshot.BlobOf(data) != reading {
		t.Errorf("what is being read: %v", err)
	}
	if st := s.Stats(); st.Evicted == 0 || st.Cached > bound {
		t.Errorf("%+v", st)
	}
	// Larger than all there is: handed through.
	huge := next.put("huge", bound+1)
	if mustRead(t, through, huge) || sizeOf(t, dir) > bound {
		t.Error("a file larger than the bound was kept")
	}
}

// Files whose batch is being flushed are on disk, too, though in no list of pending ones and under no final name.
func TestBoundDuringFlush(t *testing.T) {
	t.Parallel()
	const each, bound = 10_000, 100_000
	dir, next := t.TempDir(), newBehind()
	s := open(t, dir, Options{MaxBytes: bound})
	through := s.Through(next)
	began, end := make(chan struct{}, 1), make(chan struct{})
	s.mu.Lock()
	s.sync = func(int) error {
		select {
		case began <- struct{}{}:
		default:
		}
		<-end
		return nil
	}
	s.mu.Unlock()
	for i := range 9 {
		mustRead(t, through, next.put(fmt.Sprint("flushed", i), each))
	}
	var flush sync.WaitGroup
	flush.Go(func() {
		if err := s.flush(); err != nil {
			t.Error(err)
		}
	})
	<-began
	for i := range 9 {
		mustRead(t, through, next.put(fmt.Sprint("meanwhile", i), each))
	}
	if sum, st := sizeOf(t, dir), s.Stats(); sum > bound || st.Cached != sum {
		t.Errorf("%d bytes on disk, counted as %d", sum, st.Cached)
	}
	close(end)
	flush.Wait()
	after := next.put("afterwards", each)
	mustRead(t, through, after)
	if mustRead(t, through, after); next.times(after) != 1 {
		t.Error("not kept, though all but the newest may be evicted")
	}
	if sum, st := sizeOf(t, dir), s.Stats(); sum > bound || st.Cached != sum || st.Evicted == 0 {
		t.Errorf("%d bytes on disk, %+v", sum, st)
	}
}

// A file that goes bad while it waits for its batch, and is found whole under
// its final name (by another process), waits no more: it can be evicted.
func TestBoundAfterDamageInBatch(t *testing.T) {
	t.Parallel()
	const each, bound = 10_000, 50_000
	dir, next := t.TempDir(), newBehind()
	s := open(t, dir, Options{MaxBytes: bound})
	release := holdSync(t, s)
	through := s.Through(next)
	blob := next.put("x", each)
	mustRead(t, through, blob)
	if files := filesIn(t, dir); len(files) != 1 {
		t.Fatalf("files %v", files)
	} else if err := rewrite(filepath.Join(dir, files[0]), make([]byte, each)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(final(dir, blob)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(final(dir, blob), next.blobs[blob.Digest], 0o644); err != nil {
		t.Fatal(err)
	}
	if !mustRead(t, through, blob) || next.times(blob) != 1 {
		t.Error("fetched again, though another process had it")
	}
	release()
	for i := range 10 {
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		mustRead(t, through, next.put(fmt.Sprint(i), each))
	}
	if _, err := os.Stat(final(dir, blob)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("never evicted: %v", err)
	}
	if sum, st := sizeOf(t, dir), s.Stats(); sum > bound || st.Cached != sum {
		t.Errorf("%d bytes on disk, counted as %d", sum, st.Cached)
	}
}

func sizeOf(t *testing.T, dir string) (sum int64) {
	t.Helper()
	for _, f := range filesIn(t, dir) {
		info, err := os.Stat(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}

// Two stores over one directory, as of two processes, evicting under each other.
func TestShared(t *testing.T) {
	t.Parallel()
	dir, next := t.TempDir(), newBehind()
	var blobs []snapshot.Blob
	for i := range 40 {
		blobs = append(blobs, next.put(fmt.Sprint(i), 5000))
	}
	stores := []*Store{open(t, dir, Options{MaxBytes: 60_000}), open(t, dir, Options{MaxBytes: 60_000})}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for range 80 {
				s := stores[rng.IntN(2)]
				b := blobs[rng.IntN(len(blobs))]
				if data, _, err := read(s.Through(next), b); err != nil || snapshot.BlobOf(data) != b {
					t.Errorf("%s: %v", b, err)
					return
				}
				if rng.IntN(10) == 0 {
					if err := s.flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		if st := s.Stats(); st.Corrupt > 0 || st.Failed > 0 {
			t.Errorf("%+v", st)
		}
	}
}

// A directory that cannot be written is served from.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	dir, next := t.TempDir(), newBehind()
	held, other := next.put("held", 1000), next.put("other", 1000)
	s := open(t, dir, Options{})
	mustRead(t, s.Through(next), held)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Nothing can be made below a file, whoever one is.
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, tmpDir)), os.WriteFile(filepath.Join(dir, tmpDir), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	if !s.Stats().ReadOnly || !mustRead(t, s.Through(next), held) {
		t.Error("held, and not served from its file")
	}
	if mustRead(t, s.Through(next), other) {
		t.Error("kept where nothing can be written")
	}
	if _, err := Open(filepath.Join(dir, tmpDir, "x"), Options{}); err == nil {
		t.Error("opened a store below a file")
	}
}

func TestDeletedWhileRunning(t *testing.T) {
	t.Parallel()
	dir, next := filepath.Join(t.TempDir(), "store"), newBehind()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // it may complain
	blob, more := next.put("x", 1000), next.put("y", 2*streamFrom)
	mustRead(t, s.Through(next), blob)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		mustRead(t, s.Through(next), blob)
		mustRead(t, s.Through(next), more)
	}
	if n := next.times(blob); n != 2 {
		t.Errorf("fetched %d times", n)
	}
}

// A reader that goes away does not end the fetch; one that stays gets it all.
func TestReaderGoesAway(t *testing.T) {
	t.Parallel()
	next := newBehind()
	s := open(t, t.TempDir(), Options{})
	blob := next.put("x", 2*streamFrom)
	data := next.blobs[blob.Digest]
	pr, pw := io.Pipe()
	next.fault = func([]byte) (io.Reader, error) { return pr, nil }
	ctx, cancel := context.WithCancel(t.Context())
	gone, err := s.Through(next).Open(ctx, blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	stays, err := s.Through(next).Open(t.Context(), blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(gone.R); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled reader: %v", err)
	}
	gone.R.Close()
	go func() { pw.Write(data); pw.Close() }()
	got, err := io.ReadAll(snapshot.NewReader(stays.R, blob))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	stays.R.Close()
}

// Batches are flushed without anybody asking.
func TestBatchByTime(t *testing.T) {
	t.Parallel()
	dir, next := t.TempDir(), newBehind()
	s, err := Open(dir, Options{batch: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	blob := next.put("x", 1000)
	mustRead(t, s.Through(next), blob)
	for {
		if _, err := os.Stat(final(dir, blob)); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond) // ends with the test's own time, if never
	}
}
