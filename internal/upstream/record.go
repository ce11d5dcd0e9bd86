package upstream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/transfer"
)

// Origin tells how one path was fetched.
type Origin struct {
	Path     string
	URL      string   // of the place that gave it, to its end; "": none did
	Tries    int      // requests, over all places
	Failures []string // why a place did not give it, "URL: reason", each once
}

// Origins tells of each path that was asked for, in order of path. Options.Record must be set. It may be asked while files
// are read; those have no URL yet.
func (u *Upstream) Origins() []Origin {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]Origin, 0, len(u.records))
	for _, path := range slices.Sorted(maps.Keys(u.records)) {
		f := *u.records[path]
		f.Failures = slices.Clone(f.Failures)
		out = append(out, f)
	}
	return out
}

// record changes what is remembered of a path, if that is wanted.
func (u *Upstream) record(path string, change func(*Origin)) {
	if u.records == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	f := u.records[path]
	if f == nil {
		f = &Origin{Path: path}
		u.records[path] = f
	}
	change(f)
}

// fail notes why a place did not give the path.
func (f *Origin) fail(place string, why error) {
	s := place + ": " + reason(place, why)
	if !slices.Contains(f.Failures, s) {
		f.Failures = append(f.Failures, s)
	}
}

// reason is an error without the address, which stands before it.
func reason(place string, err error) string {
	s := strings.TrimPrefix(err.Error(), place+": ")
	if rest, ok := strings.CutPrefix(s, place+"/"); ok {
		if _, after, ok := strings.Cut(rest, ": "); ok {
			s = after
		}
	}
	return s
}

// pace notices that a server sends a file too slowly, over whole windows of the time that is spent waiting for it.
type pace struct {
	site   *site // nil: a directory
	window time.Duration
	since  time.Duration // waited in this window
	bytes  int64
}

// read counts n bytes that came after a wait; an error that is a stall if a window had too few of them.
func (p *pace) read(n int, waited time.Duration) error {
	if p.site == nil {
		return nil
	}
	p.since += waited
	p.bytes += int64(n)
	if p.since < p.window {
		return nil
	}
	share := int64(SlowRate) / max(1, p.site.busy.Load())
	if got := int64(float64(p.bytes) / p.since.Seconds()); got < share {
		return &transfer.Failure{Err: fmt.Errorf("%w: %d bytes a second for %s", transfer.ErrStalled, got, p.since.Round(100*time.Millisecond))}
	}
	p.since, p.bytes = 0, 0
	return nil
}
