package serve

import (
	"strings"
	"sync"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// maxPrevious and maxPreviousBytes bound the earlier snapshots of one source that are kept for
// grace, whatever the tag does: their tables are in memory. The last one is kept whatever its size.
const (
	maxPrevious      = 32
	maxPreviousBytes = 128 << 20
)

// bounded are the first of earlier snapshots, the latest coming first, as far as they may be kept.
func bounded(previous []*held, maxBytes int64) []*held {
	var size int64
	for i, h := range previous {
		if size += h.size(); i > 0 && (i == maxPrevious || size > maxBytes) {
			return previous[:i:i]
		}
	}
	return previous
}

// held is an opened snapshot, ready to be answered from. Immutable but for until,
// which is set before it is published in a view.
type held struct {
	*snapshot.Snapshot
	name     string // DATE-HEX12
	archives map[string]*snapshot.Archive
	until    time.Time // end of grace; zero while in force
	valid    *validity // shared by the copies
}

// validity is what was read of upstream's Releases so far. Safe for concurrent use.
type validity struct {
	mu    sync.Mutex
	until map[suiteID]time.Time // zero: for ever
}

func newHeld(sn *snapshot.Snapshot) *held {
	h := &held{
		Snapshot: sn,
		name:     sn.Statement.Date.UTC().Format(nameTime) + "-" + sn.Root.Hex()[:nameHex],
		valid:    &validity{until: map[suiteID]time.Time{}},
		archives: make(map[string]*snapshot.Archive, len(sn.Statement.Archives)),
	}
	for i := range sn.Statement.Archives {
		a := &sn.Statement.Archives[i]
		h.archives[a.Prefix] = a
	}
	return h
}

func (h *held) archive(prefix string) *snapshot.Archive { return h.archives[prefix] }

// retired is the same snapshot with an end of its grace.
func (h *held) retired(until time.Time) *held {
	r := *h
	r.until = until
	return &r
}

// view is what the moving URLs are answered from at one instant: of each
// source the snapshot in force and those before it. Immutable, replaced whole:
// a request looks at one view only.
type view struct {
	current  []*held // by source; nil: not opened yet
	previous [][]*held
	byPrefix map[string]*held
}

func newView(current []*held, previous [][]*held) *view {
	v := &view{current: current, previous: previous, byPrefix: map[string]*held{}}
	for _, h := range current {
		if h == nil {
			continue
		}
		for prefix := range h.archives {
			v.byPrefix[prefix] = h
		}
	}
	return v
}

func (v *view) inForce(prefix string) *held { return v.byPrefix[prefix] }

// known tells whether a prefix is, or in grace was, served here. A request for
// any other one is no reason to ask a registry.
func (v *view) known(prefix string) bool {
	if v.byPrefix[prefix] != nil {
		return true
	}
	for _, hs := range v.previous {
		for _, h := range hs {
			if h.archive(prefix) != nil {
				return true
			}
		}
	}
	return false
}

// find looks a path up in the snapshot in force, and what lasts in those before it.
func (v *view) find(p, prefix string, now time.Time) (*held, snapshot.Row, bool) {
	if h := v.byPrefix[prefix]; h != nil {
		if row, ok := h.Table.Resolve(h.Statement, p); ok {
			return h, row, true
		}
	}
	if !lasting(p) {
		return nil, snapshot.Row{}, false
	}
	for _, hs := range v.previous {
		for _, h := range hs {
			if h.archive(prefix) == nil || now.After(h.until) {
				continue
			}
			if row, ok := h.Table.Resolve(h.Statement, p); ok {
				return h, row, true
			}
		}
	}
	return nil, snapshot.Row{}, false
}

// with is the view after source i switched to h; the one it replaces has grace until then.
func (v *view) with(i int, h *held, now, until time.Time) *view {
	current := append([]*held(nil), v.current...)
	previous := append([][]*held(nil), v.previous...)
	var old []*held
	if v.current[i] != nil {
		old = append(old, v.current[i].retired(until))
	}
	for _, p := range v.previous[i] {
		if !now.After(p.until) && p.Root != h.Root {
			old = append(old, p)
		}
	}
	current[i], previous[i] = h, bounded(old, maxPreviousBytes)
	return newView(current, previous)
}

// expired is the view without snapshots whose grace is over; v itself if there are none.
func (v *view) expired(now time.Time) *view {
	previous, changed := make([][]*held, len(v.previous)), false
	for i, hs := range v.previous {
		for _, h := range hs {
			if now.After(h.until) {
				changed = true
				continue
			}
			previous[i] = append(previous[i], h)
		}
	}
	if !changed {
		return v
	}
	return newView(v.current, previous)
}

// conflict names a prefix of h that another source than i has already.
func (v *view) conflict(i int, h *held) (prefix string, other int, found bool) {
	for j, c := range v.current {
		if j == i || c == nil {
			continue
		}
		for _, a := range h.Statement.Archives {
			if c.archive(a.Prefix) != nil && (!found || strings.Compare(a.Prefix, prefix) < 0) {
				prefix, other, found = a.Prefix, j, true
			}
		}
	}
	return prefix, other, found
}
