package dates

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
	// StateFile is the name of the file in the state directory.
	StateFile = "served.json"
	// Version is the version of the file. In version 1 no Release was read: what a statement said was believed.
	Version = 2

	lockFile = "served.lock"
	maxState = 16 << 20 // bytes of the file
)

// Options of [Open]; the zero value works.
type Options struct {
	Dir string           // of the state; "": it is kept in memory only
	Log *slog.Logger     // nil: none
	Now func() time.Time // nil: time.Now
	// Replace writes the state file; nil: durable.WriteFile. Tests fill disks with it.
	Replace func(name string, data []byte, mode os.FileMode) error
}

// Served is what was served at the moving URLs so far: the newest Date of each
// suite, and the last snapshot of each reference. With a directory it outlives
// the process, and processes that share the directory share it. Safe for concurrent use.
type Served struct {
	o Options

	mu    sync.Mutex
	state State
}

// State is the state file.
type State struct {
	Version int `json:"version"` // 1 until it is written again
	// Suites: "PREFIX SUITE" or "upstream/PREFIX SUITE", to the newest Date served there.
	Suites map[string]time.Time `json:"suites"`
	// Roots: the followed reference, to the root served last; since version 2 the Dates in its Releases were read.
	Roots map[string]string `json:"roots"`
	// Dates: the followed reference, to the date of that root's snapshot.
	Dates map[string]time.Time `json:"dates"`
}

// Open reads the state, and writes it, so that a directory that cannot be
// written is reported at the start and not at the first snapshot that moves. If
// the state says what was served last, that can go on: the error is only logged.
func Open(o Options) (*Served, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Replace == nil {
		o.Replace = durable.WriteFile
	}
	s := &Served{o: o, state: empty()}
	if o.Dir == "" {
		return s, nil
	}
	err := os.MkdirAll(o.Dir, 0o755)
	if err == nil {
		err = s.locked(func() error {
			state, err := s.read()
			if err != nil {
				return err
			}
			s.state = state
			if err = s.write(state); err != nil && len(state.Roots) > 0 {
				o.Log.Error("state directory cannot be written: only what was served last is served", "error", err)
				return nil
			}
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return s, nil
}

func empty() State {
	return State{Version: Version, Suites: map[string]time.Time{}, Roots: map[string]string{}, Dates: map[string]time.Time{}}
}

// Root returns the root of a reference that was served last.
func (s *Served) Root(reference string) (snapshot.Digest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := snapshot.ParseDigest(s.state.Roots[reference])
	return d, err == nil
}

// Check returns a [Refusal] of a snapshot that must not be served by what it
// says of itself. One that was served last was checked then, by this clock or a better one.
func (s *Served) Check(ctx context.Context, n Newcomer) error {
	s.mu.Lock()
	was := s.state.Version >= 2 && s.state.Roots[n.Reference] == n.Root.String()
	s.mu.Unlock()
	if was {
		return nil
	}
	return n.check(ctx, s.o.Now())
}

// Advance notes, durably, that a checked snapshot is served from now on. It
// returns a [Refusal] of one that would take a suite back, or whose reference
// went to another snapshot that is not later. Killed after it returned, a
// restart refuses nothing but what is older.
func (s *Served) Advance(n Newcomer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.Dir == "" {
		next, err := s.state.after(n)
		if err == nil {
			s.state = next
		}
		return err
	}
	return s.locked(func() error {
		state, err := s.read()
		if err != nil {
			return fmt.Errorf("state: %w", err)
		}
		next, err := state.after(n)
		if err != nil {
			return err
		}
		if !next.equal(state) { // what is noted already needs no disk that can be written
			if err := s.write(next); err != nil {
				return fmt.Errorf("state: %w", err)
			}
		}
		s.state = next
		return nil
	})
}

// after is the state after a newcomer, or a [Refusal] naming what would go back.
func (s State) after(n Newcomer) (State, error) {
	next := State{Version, maps.Clone(s.Suites), maps.Clone(s.Roots), maps.Clone(s.Dates)}
	if s.Version < 2 {
		clear(next.Roots) // their Releases were not read
	}
	suites := stated(n.Statement)
	for _, key := range slices.Sorted(maps.Keys(suites)) {
		if served, ok := s.Suites[key]; ok && suites[key].oldest.Before(served) {
			return s, &Refusal{Reason: "older", Err: fmt.Errorf("%w: %s is of %s, served was %s", ErrRolledBack, key, stamp(suites[key].oldest), stamp(served))}
		}
		next.Suites[key] = suites[key].newest.UTC()
	}
	// Of two snapshots of one date a client that asks by date keeps what it has.
	root, date := n.Root.String(), n.Statement.Date
	if last, ok := s.Dates[n.Reference]; ok && s.Roots[n.Reference] != root && !date.After(last) {
		return s, &Refusal{Reason: "older", Err: fmt.Errorf("%w: the snapshot is of %s, another one served was of %s; dates along a tag increase",
			ErrRolledBack, stamp(date), stamp(last))}
	}
	next.Roots[n.Reference], next.Dates[n.Reference] = root, date.UTC()
	return next, nil
}

// equal tells whether writing t would change nothing of s.
func (s State) equal(t State) bool {
	return s.Version == t.Version && maps.Equal(s.Roots, t.Roots) &&
		maps.EqualFunc(s.Suites, t.Suites, time.Time.Equal) && maps.EqualFunc(s.Dates, t.Dates, time.Time.Equal)
}

// locked runs f while no other process reads or writes the state.
func (s *Served) locked(f func() error) error {
	unlock, err := durable.Lock(context.Background(), filepath.Join(s.o.Dir, lockFile), 0o644)
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

func (s *Served) read() (State, error) {
	name := filepath.Join(s.o.Dir, StateFile)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return empty(), nil
	}
	if err != nil {
		return State{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return State{}, err
	}
	if len(data) > maxState {
		return State{}, fmt.Errorf("%s: more than %d bytes", name, maxState)
	}
	var state State
	// A state that cannot be read must not be taken for none.
	if err := json.Unmarshal(data, &state); err != nil {
		return State{}, fmt.Errorf("%s: %w", name, err)
	}
	if state.Version < 1 || state.Version > Version || state.Suites == nil || state.Roots == nil {
		return State{}, fmt.Errorf("%s: not a state file of version %d", name, Version)
	}
	if state.Dates == nil {
		state.Dates = map[string]time.Time{}
	}
	if state.Version < 2 {
		s.forgetFuture(state.Suites)
	}
	return state, nil
}

// forgetFuture drops Dates that only a statement claimed and that no honest
// snapshot can have: they would bar all of those.
func (s *Served) forgetFuture(suites map[string]time.Time) {
	latest := s.o.Now().Add(MaxAhead)
	maps.DeleteFunc(suites, func(key string, t time.Time) bool {
		if !t.After(latest) {
			return false
		}
		s.o.Log.Warn("state: a date in the future is forgotten", "suite", key, "date", stamp(t))
		return true
	})
}

func (s *Served) write(state State) error {
	data, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	return s.o.Replace(filepath.Join(s.o.Dir, StateFile), append(data, '\n'), 0o644)
}
