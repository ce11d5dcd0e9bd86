package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/snapshot"
)

const (
	marksFile    = "served.json"
	marksLock    = "served.lock"
	marksVersion = 2        // 1: no Release was read; what a statement said was believed
	maxMarks     = 16 << 20 // bytes of the state file
)

// marks is the newest Date that was served of each suite, at each moving URL
// (law 8: it never decreases). With a directory it outlives the process, and
// processes that share the directory share the marks. Safe for concurrent use.
type marks struct {
	dir     string // "": in memory only
	log     *slog.Logger
	now     func() time.Time
	replace func(name string, data []byte, mode os.FileMode) error // durable.WriteFile

	mu sync.Mutex
	at markData
}

// markData is the state file.
type markData struct {
	Version int `json:"version"` // 1 until it is written again
	// Suites: "PREFIX SUITE" or "upstream/PREFIX SUITE", to the newest Date served there.
	Suites map[string]time.Time `json:"suites"`
	// Roots: the followed reference, to the root last in force; since version 2 the Dates in its Releases were read.
	Roots map[string]string `json:"roots"`
	// Dates: the followed reference, to the date of that root's snapshot.
	Dates map[string]time.Time `json:"dates"`
}

// openMarks reads the state in dir, and tries that it can be written: better
// told at the start than at the first snapshot that moves. Where it cannot (disk full, read-only)
// but says what was served last, that can be served on: the error is only logged.
func openMarks(dir string, log *slog.Logger, now func() time.Time, replace func(name string, data []byte, mode os.FileMode) error) (*marks, error) {
	m := &marks{dir: dir, log: log, now: now, replace: replace, at: emptyMarks()}
	if replace == nil {
		m.replace = durable.WriteFile
	}
	if dir == "" {
		return m, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	err := m.locked(func() error {
		at, err := m.read()
		if err != nil {
			return err
		}
		m.at = at
		if err = m.write(at); err != nil && len(at.Roots) > 0 {
			log.Error("state directory cannot be written: only what was served last is served", "error", err)
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return m, nil
}

func emptyMarks() markData {
	return markData{Version: marksVersion, Suites: map[string]time.Time{}, Roots: map[string]string{}, Dates: map[string]time.Time{}}
}

// root is what was last in force of a reference.
func (m *marks) root(reference string) (snapshot.Digest, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := snapshot.ParseDigest(m.at.Roots[reference])
	return d, err == nil
}

// vetted tells whether a root is the one last in force of a reference, and the Dates in its Releases were read then.
func (m *marks) vetted(reference string, root snapshot.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at.Version >= 2 && m.at.Roots[reference] == root.String()
}

// step is what a snapshot puts at the moving URLs.
type step struct {
	reference string
	root      snapshot.Digest
	date      time.Time // of the snapshot: Last-Modified of all that may change
	suites    map[string]span
}

// advance refuses a step that would take a suite back, or a reference to another
// snapshot that is not later (errRolledBack), else notes it, durably.
func (m *marks) advance(next step) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dir == "" {
		at, err := m.at.advanced(next)
		if err == nil {
			m.at = at
		}
		return err
	}
	return m.locked(func() error {
		at, err := m.read()
		if err != nil {
			return fmt.Errorf("state: %w", err)
		}
		then, err := at.advanced(next)
		if err != nil {
			return err
		}
		if !then.equal(at) { // what is noted already needs no disk that can be written
			if err := m.write(then); err != nil {
				return fmt.Errorf("state: %w", err)
			}
		}
		m.at = then
		return nil
	})
}

// span is the oldest and newest Date among the signature files of a suite.
// They are one Date, but in a forgery.
type span struct{ oldest, newest time.Time }

// servedDates is what a statement puts at the moving URLs.
func servedDates(st *snapshot.Statement) map[string]span {
	dates := map[string]span{}
	note := func(key string, t time.Time) {
		s, ok := dates[key]
		if !ok {
			s = span{t, t}
		}
		if t.Before(s.oldest) {
			s.oldest = t
		}
		if t.After(s.newest) {
			s.newest = t
		}
		dates[key] = s
	}
	for _, a := range st.Archives {
		for _, suite := range a.Suites {
			for _, f := range suite.Files {
				switch f.Role {
				case snapshot.InRelease, snapshot.Release:
					note(a.Prefix+" "+suite.Name, f.Date)
					if a.Mode == snapshot.Verbatim { // upstream/PREFIX/ is PREFIX/
						note("upstream/"+a.Prefix+" "+suite.Name, f.Date)
					}
				case snapshot.UpstreamInRelease, snapshot.UpstreamRelease:
					note("upstream/"+a.Prefix+" "+suite.Name, f.Date)
				}
			}
		}
	}
	return dates
}

// advanced is d after a step, or an error naming what would go back.
func (d markData) advanced(to step) (markData, error) {
	next := markData{marksVersion, maps.Clone(d.Suites), maps.Clone(d.Roots), maps.Clone(d.Dates)}
	if d.Version < 2 {
		clear(next.Roots) // their Releases were not read
	}
	for _, key := range slices.Sorted(maps.Keys(to.suites)) {
		s := to.suites[key]
		if mark, ok := d.Suites[key]; ok && s.oldest.Before(mark) {
			return d, &refusal{reason: "older", err: fmt.Errorf("%w: %s is of %s, served was %s", errRolledBack, key, stamp(s.oldest), stamp(mark))}
		}
		next.Suites[key] = s.newest.UTC()
	}
	// Of two snapshots of one date a client that asks by date keeps what it has.
	if last, ok := d.Dates[to.reference]; ok && d.Roots[to.reference] != to.root.String() && !to.date.After(last) {
		return d, &refusal{reason: "older", err: fmt.Errorf("%w: the snapshot is of %s, another one served was of %s; dates along a tag increase",
			errRolledBack, stamp(to.date), stamp(last))}
	}
	next.Roots[to.reference], next.Dates[to.reference] = to.root.String(), to.date.UTC()
	return next, nil
}

// equal tells whether writing e would change nothing of d.
func (d markData) equal(e markData) bool {
	return d.Version == e.Version && maps.Equal(d.Roots, e.Roots) &&
		maps.EqualFunc(d.Suites, e.Suites, time.Time.Equal) && maps.EqualFunc(d.Dates, e.Dates, time.Time.Equal)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// locked runs f while no other process reads or writes the state.
func (m *marks) locked(f func() error) error {
	unlock, err := durable.Lock(context.Background(), filepath.Join(m.dir, marksLock), 0o644)
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

func (m *marks) read() (markData, error) {
	name := filepath.Join(m.dir, marksFile)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return emptyMarks(), nil
	}
	if err != nil {
		return markData{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMarks+1))
	if err != nil {
		return markData{}, err
	}
	if len(data) > maxMarks {
		return markData{}, fmt.Errorf("%s: more than %d bytes", name, maxMarks)
	}
	var at markData
	// What cannot be read is no leave to forget what was served.
	if err := json.Unmarshal(data, &at); err != nil {
		return markData{}, fmt.Errorf("%s: %w", name, err)
	}
	if at.Version < 1 || at.Version > marksVersion || at.Suites == nil || at.Roots == nil {
		return markData{}, fmt.Errorf("%s: not a state file of version %d", name, marksVersion)
	}
	if at.Dates == nil {
		at.Dates = map[string]time.Time{}
	}
	if at.Version < 2 {
		m.forgetFuture(at.Suites)
	}
	return at, nil
}

// forgetFuture drops Dates that only a statement claimed and that no honest
// snapshot can have: they would bar all of those.
func (m *marks) forgetFuture(suites map[string]time.Time) {
	latest := m.now().Add(maxAhead)
	maps.DeleteFunc(suites, func(key string, t time.Time) bool {
		if !t.After(latest) {
			return false
		}
		m.log.Warn("state: a date in the future is forgotten", "suite", key, "date", stamp(t))
		return true
	})
}

// write replaces the file whole, durably.
func (m *marks) write(at markData) error {
	data, err := json.MarshalIndent(at, "", "  ")
	if err != nil {
		return err
	}
	return m.replace(filepath.Join(m.dir, marksFile), append(data, '\n'), 0o644)
}
