package dates

import (
	"context"
	"sync"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// Suite names a suite of an archive.
type Suite struct{ Prefix, Name string }

// Validity is how long upstream's Releases of a snapshot are valid, as far as they were read. Safe for concurrent use.
type Validity struct {
	snapshot *snapshot.Snapshot
	mu       sync.Mutex
	until    map[Suite]time.Time // zero: for ever
}

// NewValidity reads nothing yet.
func NewValidity(s *snapshot.Snapshot) *Validity {
	return &Validity{snapshot: s, until: map[Suite]time.Time{}}
}

// Read reads how long upstream's Release of each suite is valid, and
// returns the ends that there are. Each is read once; what cannot be read now is left for the next time.
func (v *Validity) Read(ctx context.Context) map[Suite]time.Time {
	ends := map[Suite]time.Time{}
	for i := range v.snapshot.Statement.Archives {
		a := &v.snapshot.Statement.Archives[i]
		for j := range a.Suites {
			id := Suite{a.Prefix, a.Suites[j].Name}
			v.mu.Lock()
			end, known := v.until[id]
			v.mu.Unlock()
			if !known && ctx.Err() == nil {
				var err error
				if end, err = v.read(ctx, &a.Suites[j]); err == nil {
					v.mu.Lock()
					v.until[id] = end
					v.mu.Unlock()
				}
			}
			if !end.IsZero() {
				ends[id] = end
			}
		}
	}
	return ends
}

// read reads the Valid-Until of upstream's Release of a suite; zero: it has none.
func (v *Validity) read(ctx context.Context, suite *snapshot.Suite) (time.Time, error) {
	for _, role := range []snapshot.Role{snapshot.UpstreamInRelease, snapshot.InRelease, snapshot.UpstreamRelease, snapshot.Release} {
		f := suite.File(role)
		if f == nil {
			continue
		}
		data, err := v.snapshot.ReadBlob(ctx, f.Blob, snapshot.MaxRelease)
		if err != nil {
			return time.Time{}, err
		}
		r, err := OpenRelease(role, data)
		if err != nil {
			return time.Time{}, err
		}
		return r.ValidUntil, nil
	}
	return time.Time{}, nil
}

// Expires tells whether upstream's Release of a suite has a Valid-Until. What could not be read yet counts as one that has.
func (v *Validity) Expires(prefix, suite string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	end, known := v.until[Suite{prefix, suite}]
	return !known || !end.IsZero()
}

// Until is the end of what upstream's Release of a suite is valid for; zero: it has none, or it was not read yet.
func (v *Validity) Until(prefix, suite string) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.until[Suite{prefix, suite}]
}
