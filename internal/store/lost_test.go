package store

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// After a failed sync nothing of the batch is believed, named or handed out
// unhashed: neither what was verified before nor what was being written. (That the bytes
// are really lost is shown on a real disk by scripts/e2e/58-failed-sync.sh.)
func TestFailedSync(t *testing.T) {
	t.Parallel()
	dir, next := t.TempDir(), newBehind()
	var log bytes.Buffer
	s := open(t, dir, Options{Log: slog.New(slog.NewTextHandler(&log, nil)), MaxBytes: 1 << 30})
	through := s.Through(next)
	durable := next.put("durable", 1000)
	mustRead(t, through, durable)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}

	batch, meanwhile, writing := next.put("batch", 1000), next.put("meanwhile", 1000), next.put("writing", 2*streamFrom)
	data := next.blobs[writing.Digest]
	pr, pw := io.Pipe()
	mustRead(t, through, batch)
	next.setFault(func(d []byte) (io.Reader, error) {
		if len(d) == len(data) {
			return pr, nil
		}
		return bytes.NewReader(d), nil
	})
	c, err := through.Open(t.Context(), writing, 0) // its file was created before the sync
	if err != nil {
		t.Fatal(err)
	}
	setSync(s, func(int) error {
		mustRead(t, through, meanwhile)
		return syscall.EIO
	})
	if err := s.flush(); err == nil || err.Error() != "sync "+dir+": input/output error" {
		t.Errorf("error %v", err)
	}
	setSync(s, func(int) error { return nil }) // as the kernel does: the error is told once
	go func() { pw.Write(data); pw.Close() }()
	if got, err := io.ReadAll(snapshot.NewReader(c.R, writing)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("being written: %d bytes, %v", len(got), err)
	}
	c.R.Close()
	next.setFault(nil)
	s.jobs.Wait()
	if err := s.flush(); err != nil {
		t.Error(err)
	}
	for name, b := range map[string]snapshot.Blob{"batch": batch, "meanwhile": meanwhile, "writing": writing} {
		if _, err := os.Stat(final(dir, b)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s has its final name: %v", name, err)
		}
		if mustRead(t, through, b) || next.times(b) != 2 {
			t.Errorf("%s: fetched %d times, or taken for durable", name, next.times(b))
		}
	}
	if files := filesIn(t, dir); len(files) != 1 || !strings.HasSuffix(files[0], durable.Digest.Hex()) {
		t.Errorf("on disk: %v", files)
	}
	if !mustRead(t, through, durable) || next.times(durable) != 1 {
		t.Error("what was durable before is not held any more")
	}
	if !strings.Contains(log.String(), "sync "+dir+": input/output error") {
		t.Errorf("log: %s", log.String())
	}
	st := s.Stats()
	if st.Lost != 3 || !errors.Is(st.Refusing, syscall.EIO) || st.Cached != durable.Size {
		t.Errorf("%+v", st)
	}

	// When the disk is asked again, everything is fetched and kept.
	s.mu.Lock()
	s.refused = time.Time{}
	s.mu.Unlock()
	for _, b := range []snapshot.Blob{batch, meanwhile, writing} {
		mustRead(t, through, b)
	}
	s.jobs.Wait()
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	for _, b := range []snapshot.Blob{batch, meanwhile, writing} {
		if kept, err := os.ReadFile(filepath.Join(final(dir, b))); err != nil || snapshot.BlobOf(kept) != b {
			t.Errorf("not kept again: %v", err)
		}
	}
	if st := s.Stats(); st.Refusing != nil {
		t.Errorf("%+v", st)
	}
}
