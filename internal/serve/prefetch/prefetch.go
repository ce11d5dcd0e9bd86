// Package prefetch fetches the files of a snapshot before clients ask for them, so that a
// store below has them.
package prefetch

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/serve/paths"
	"example.org/mmoci/pkg/snapshot"
)

// What says which files of a snapshot are fetched.
type What string

const (
	None    What = ""        // no file
	Indices What = "indices" // all but pool files: what an apt-get update may ask for
	All     What = "all"     // pool files too
)

const (
	// workers bounds the files that are fetched at once.
	workers = 4
	// attempt bounds one attempt. What it brought is kept, so that the next one goes on from there.
	attempt = 10 * time.Minute
)

// Parse reads the name of a What: none, indices, all.
func Parse(name string) (What, error) {
	switch name {
	case "none", "":
		return None, nil
	case string(Indices), string(All):
		return What(name), nil
	}
	return None, fmt.Errorf("%q is none of none, indices, all", name)
}

// IsIndex tells whether a file is one of Indices.
func IsIndex(row snapshot.Row) bool { return row.Size > 0 && !paths.Lasting(row.Path) }

// Progress is how far the fetching of one snapshot came. Safe for concurrent use; the zero value is one that did not begin.
type Progress struct {
	mu      sync.Mutex
	begun   bool
	left    int   // indices that this attempt has yet to read
	missing int   // indices that are not here yet: a further attempt begins with all, but does not lose what is here
	whole   bool  // all that was to be fetched is here
	err     error // of the last attempt that ended
}

// Missing is how many indices are not here yet, as far as known.
func (p *Progress) Missing() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.missing
}

// Lacking says how many indices are not here yet, and why the last attempt ended without them; "" if all are here.
func (p *Progress) Lacking() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.begun:
		return "its indices are not here yet"
	case p.missing == 0:
		return ""
	case p.err != nil:
		return fmt.Sprintf("%d of its indices are not here (%v)", p.missing, p.err)
	}
	return fmt.Sprintf("%d of its indices are not here yet", p.missing)
}

func (p *Progress) isWhole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.whole
}

// begin tells whether there are indices to be fetched.
func (p *Progress) begin(indices int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun && p.missing == 0 {
		return false
	}
	if !p.begun {
		p.missing = indices
	}
	p.begun, p.left, p.err = true, indices, nil
	return true
}

func (p *Progress) got() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left--
	p.missing = min(p.missing, p.left)
}

func (p *Progress) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err, p.whole = err, err == nil
}

// Fetch reads the files of a snapshot, indices first, and returns the first error; a
// file that cannot be had hinders no other one. It takes at most ten minutes; files that a store has by then
// are not fetched again.
func Fetch(ctx context.Context, sn *snapshot.Snapshot, what What, p *Progress) (err error) {
	if what == None {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	defer func() { p.end(err) }()
	indices := 0
	for row := range sn.Table.Rows() {
		if IsIndex(row) {
			indices++
		}
	}
	if p.begin(indices) {
		if err := fetchAll(ctx, sn, IsIndex, p.got); err != nil {
			return err
		}
	}
	if what == Indices {
		return nil
	}
	return fetchAll(ctx, sn, func(row snapshot.Row) bool { return row.Size > 0 && !IsIndex(row) }, func() {})
}

// Fill fetches what the current snapshot lacks, each time that there is another one, until ctx ends. What
// cannot be fetched is tried again every so often, and report is told of each new reason.
// current returns nil while there is no snapshot.
func Fill(ctx context.Context, what What, every time.Duration, current func() (*snapshot.Snapshot, *Progress), report func(*snapshot.Snapshot, error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	told := ""
	for {
		if sn, p := current(); sn != nil && !p.isWhole() {
			err := Fetch(ctx, sn, what, p)
			if ctx.Err() != nil {
				return
			}
			if err != nil && err.Error() != told {
				told = err.Error()
				report(sn, err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func fetchAll(ctx context.Context, sn *snapshot.Snapshot, wanted func(snapshot.Row) bool, got func()) error {
	var g errgroup.Group
	g.SetLimit(workers)
	for row := range sn.Table.Rows() {
		if !wanted(row) {
			continue
		}
		if ctx.Err() != nil {
			g.Go(ctx.Err)
			break
		}
		g.Go(func() error {
			if err := File(ctx, sn, row.Blob()); err != nil {
				return fmt.Errorf("prefetch %s: %w", row.Path, err)
			}
			got()
			return nil
		})
	}
	return g.Wait()
}

// File reads a file, so that a store below has it.
func File(ctx context.Context, sn *snapshot.Snapshot, b snapshot.Blob) error {
	f, err := sn.OpenBlob(ctx, b)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Seeker == nil {
		_, err = io.Copy(io.Discard, f)
	}
	return err
}
