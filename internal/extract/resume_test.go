package extract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/snapshot"
)

// asked is a blob that can be read from any offset, and counts what is read.
type asked struct {
	*bytes.Reader
	from []int64 // offsets that were sought
	read int64
	fail int64 // at this offset, 0: nowhere
}

var errCable = errors.New("the cable was pulled")

func (a *asked) Seek(offset int64, whence int) (int64, error) {
	a.from = append(a.from, offset)
	return a.Reader.Seek(offset, whence)
}

func (a *asked) Read(p []byte) (int, error) {
	at := a.Size() - int64(a.Len())
	if a.fail > 0 {
		if at >= a.fail {
			return 0, errCable
		}
		p = p[:min(int64(len(p)), a.fail-at)]
	}
	n, err := a.Reader.Read(p)
	a.read += int64(n)
	return n, err
}

// bigDeb is longer than what a reader holds back.
func bigDeb(t testing.TB) signedDeb {
	return signedAs("big", "1.0", "amd64", testarchive.Package{Name: "big", Version: "1.0", Architecture: "amd64", Size: 300_000}.Deb(t))
}

// TestResume: of a file that a killed run left in part only the rest is asked
// for, at the right offset; what cannot be its beginning costs a transfer and nothing else.
func TestResume(t *testing.T) {
	t.Parallel()
	d := bigDeb(t)
	size := int64(len(d.deb))
	spoilt := bytes.Clone(d.deb[:200_000])
	spoilt[100_000] ^= 1
	for _, c := range []struct {
		what    string
		prepare func(part string) error
		from    []int64
		read    int64
	}{
		{"nothing there", func(string) error { return nil }, nil, size},
		{"the first half", func(part string) error { return os.WriteFile(part, d.deb[:size/2], 0o644) }, []int64{size / 2}, size - size/2},
		{"all but one byte", func(part string) error { return os.WriteFile(part, d.deb[:size-1], 0o644) }, []int64{size - 1}, 1},
		{"all of it, without its name", func(part string) error { return os.WriteFile(part, d.deb, 0o644) }, nil, 0},
		{"an empty file", func(part string) error { return os.WriteFile(part, nil, 0o644) }, nil, size},
		{"a flipped bit", func(part string) error { return os.WriteFile(part, spoilt, 0o644) }, []int64{200_000}, size - 200_000 + size},
		{"zeros after a power cut", func(part string) error { return os.WriteFile(part, make([]byte, size), 0o644) }, nil, size},
		{"more than the file", func(part string) error { return os.WriteFile(part, append(bytes.Clone(d.deb), 0), 0o644) }, nil, size},
		{"a symlink to another file", func(part string) error {
			victim := filepath.Join(filepath.Dir(filepath.Dir(part)), "victim")
			return errors.Join(os.WriteFile(victim, d.deb[:1000], 0o644), os.Symlink("../victim", part))
		}, nil, size},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "out")
			name := debName("big", "1.0", "amd64")
			if err := errors.Join(os.Mkdir(dir, 0o755), c.prepare(filepath.Join(dir, tempMark+name))); err != nil {
				t.Fatal(err)
			}
			var all []*asked
			s := memoryBlobs([]signedDeb{d}, func(_ snapshot.Blob, data []byte) io.Reader {
				a := &asked{Reader: bytes.NewReader(data)}
				all = append(all, a)
				return a
			})
			if _, err := fetching(t, s, d).Fetch(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, d.deb) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if left := names(t, dir); len(left) != 1 {
				t.Errorf("there is %q", left)
			}
			var from []int64
			var read int64
			for _, a := range all {
				from, read = append(from, a.from...), read+a.read
			}
			if fmt.Sprint(from) != fmt.Sprint(c.from) || read != c.read {
				t.Errorf("asked from %v, %d bytes were read, want %v, %d", from, read, c.from, c.read)
			}
			if victim, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "victim")); err == nil && len(victim) != 1000 {
				t.Error("written through a symlink")
			}
		})
	}
}

// TestResumeAfterFailure: what came before the way broke stays, and of the
// rest of a disk that is full nothing does.
func TestResumeAfterFailure(t *testing.T) {
	t.Parallel()
	d := bigDeb(t)
	dir := t.TempDir()
	part := filepath.Join(dir, tempMark+debName("big", "1.0", "amd64"))
	last := &asked{}
	blobs := func(fail int64) *snapshot.Snapshot {
		return memoryBlobs([]signedDeb{d}, func(_ snapshot.Blob, data []byte) io.Reader {
			last = &asked{Reader: bytes.NewReader(data), fail: fail}
			return last
		})
	}
	for _, at := range []int64{100_000, 250_000} {
		if _, err := fetching(t, blobs(at), d).Fetch(t.Context(), dir); !errors.Is(err, errCable) {
			t.Fatal(err)
		}
		if st, err := os.Stat(part); err != nil || st.Size() < at-2*snapshot.HoldBack {
			t.Fatalf("after %d bytes: %v, %v", at, st, err)
		}
	}
	if _, err := fetching(t, blobs(0), d).Fetch(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if last.read > int64(len(d.deb))-150_000 {
		t.Errorf("%d of %d bytes were read again", last.read, len(d.deb))
	}
	full := memoryBlobs([]signedDeb{d}, func(snapshot.Blob, []byte) io.Reader {
		return readerFunc(func([]byte) (int, error) { return 0, unix.ENOSPC })
	})
	dir = t.TempDir()
	if _, err := fetching(t, full, d).Fetch(t.Context(), dir); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("on a full disk stays %q", left)
	}
	// Nor what came of another file, that was under way.
	other := signedAs("other", "1.0", "amd64", testarchive.Package{Name: "other", Version: "1.0", Architecture: "amd64", Size: 200_000}.Deb(t))
	half := make(chan struct{})
	both := (&snapshot.Snapshot{}).WithBlobs(func(snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			begin := bytes.NewReader(other.deb[:150_000])
			return &snapshot.Content{R: io.NopCloser(readerFunc(func(p []byte) (int, error) {
				if b == snapshot.BlobOf(d.deb) {
					<-half
					return 0, unix.ENOSPC
				}
				if n, err := begin.Read(p); err == nil {
					return n, nil
				}
				close(half)
				<-ctx.Done() // the full disk ends what is under way
				return 0, ctx.Err()
			}))}, nil
		})
	})
	if _, err := fetching(t, both, d, other).Fetch(t.Context(), dir); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("on a full disk stays %q", left)
	}
}

// TestResumedBlobs: the rest is asked for at its offset.
func TestResumedBlobs(t *testing.T) {
	t.Parallel()
	d := bigDeb(t)
	blob := snapshot.BlobOf(d.deb)
	got := &asked{Reader: bytes.NewReader(d.deb)}
	rest := snapshot.BlobsFunc(func(context.Context, snapshot.Blob) (*snapshot.Content, error) {
		return &snapshot.Content{R: seekable{got}}, nil
	})
	c, err := resumedBlobs{rest, bytes.NewReader(d.deb[:100_000]), 100_000}.Open(t.Context(), blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := snapshot.NewReader(c.R, blob)
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || !bytes.Equal(data, d.deb) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if fmt.Sprint(got.from) != "[100000]" || got.read != int64(len(d.deb))-100_000 {
		t.Errorf("asked from %v, %d bytes", got.from, got.read)
	}
}
