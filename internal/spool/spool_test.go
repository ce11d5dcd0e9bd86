package spool

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// random is n bytes, always the same.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// write writes data in pieces.
func write(t *testing.T, w *Writer, data []byte) *Bytes {
	t.Helper()
	for piece := range bytes.Lines(data) {
		if n, err := w.Write(piece); n != len(piece) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	return w.Done()
}

// holds wants exactly data of b, however it is read.
func holds(t *testing.T, b *Bytes, data []byte) {
	t.Helper()
	got, err := io.ReadAll(b.Open())
	if err != nil || !bytes.Equal(got, data) || b.Size() != int64(len(data)) {
		t.Errorf("%d bytes of %d, size %d, %v", len(got), len(data), b.Size(), err)
	}
	if len(data) < 10 {
		return
	}
	part := make([]byte, 7)
	if _, err := b.ReadAt(part, int64(len(data)-9)); err != nil || !bytes.Equal(part, data[len(data)-9:len(data)-2]) {
		t.Errorf("at the end: %v", err)
	}
	if n, err := b.ReadAt(part, int64(len(data)-3)); n != 3 || err != io.EOF {
		t.Errorf("over the end: %d, %v", n, err)
	}
}

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, n := range []int{0, 1, 100, Small, Small + 1, 3 * Small} {
		data := random(n)
		b := write(t, &Writer{}, data)
		if (b.file != nil) != (n > Small) {
			t.Errorf("%d bytes: in a file: %t", n, b.file != nil)
		}
		holds(t, b, data)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Where there is no directory for temporary files, memory is taken.
func TestNoDirectory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()+"/none")
	data := random(3 * Small)
	b := write(t, &Writer{}, data)
	if b.file != nil {
		t.Error("there is a file")
	}
	holds(t, b, data)
}

// Where the file cannot grow, what it has is taken back into memory.
func TestFull(t *testing.T) {
	for _, most := range []uint64{0, 1, Small / 2, Small + 1000, 2*Small + 1} {
		data := random(4 * Small)
		limited(t, most, func() {
			b := write(t, &Writer{}, data)
			if b.file != nil {
				t.Errorf("limit %d: there is a file", most)
			}
			holds(t, b, data)
		})
	}
}

// limited calls f while files of this process may have no more than most bytes.
func limited(t *testing.T, most uint64, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// A file that does not give back what was written is not believed.
func TestChanged(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	data := random(2 * Small)
	for at, change := range map[int64]func(f *os.File) error{
		0: func(f *os.File) error { _, err := f.WriteAt([]byte{data[0] ^ 1}, 0); return err },
		1: func(f *os.File) error { return f.Truncate(Small) },
	} {
		b := write(t, &Writer{}, data)
		if err := change(b.file); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, b.Open()); !errors.Is(err, errChanged) {
			t.Errorf("change %d: %v", at, err)
		}
	}
}
