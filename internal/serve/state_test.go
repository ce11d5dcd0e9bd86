package serve

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"example.org/mmoci/internal/serve/dates"
	"example.org/mmoci/pkg/snapshot"
)

// A state directory that cannot be written any more does not keep a server from
// starting with what it served last; law 8 holds meanwhile.
func TestStateCannotBeWritten(t *testing.T) {
	t.Parallel()
	m, dir := newMemoryBlobs(), t.TempDir()
	old, current, next := spec{date: day(1)}.take(t, m), spec{date: day(2)}.take(t, m), spec{date: day(3)}.take(t, m)
	g := newTag(old, current)
	if _, err := New(t.Context(), Options{Sources: []Source{g}, StateDir: dir}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, dates.StateFile))
	if err != nil {
		t.Fatal(err)
	}
	full := func(string, []byte, os.FileMode) error { return errors.New("no space left on device") }
	for _, c := range []struct{ now, want *snapshot.Snapshot }{{current, current}, {next, current}, {old, current}} {
		g.move(c.now)
		s, err := New(t.Context(), Options{Sources: []Source{g}, StateDir: dir, replaceState: full})
		if err != nil {
			t.Fatal(err)
		}
		if h := s.view.Load().current[0]; h == nil || h.Root != c.want.Root {
			t.Errorf("tag at %s: not what was served last", c.now.Statement.Date)
		}
	}
	if after, err := os.ReadFile(filepath.Join(dir, dates.StateFile)); err != nil || !bytes.Equal(after, before) {
		t.Errorf("state: %v\n%s", err, after)
	}
	if _, err := New(t.Context(), Options{Sources: []Source{g}, StateDir: t.TempDir(), replaceState: full}); err == nil {
		t.Error("a state directory that was never written: no error")
	}
}
