// Package dates keeps the law of dates: at a moving URL the Date of a suite
// never decreases, within a process and across restarts. It decides which
// snapshot may be served there after which.
package dates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/rpm"
	"example.org/mmoci/pkg/snapshot"
)

var (
	// ErrRolledBack marks a snapshot that would show clients an older Date at a moving URL.
	ErrRolledBack = errors.New("tag moved back")
	// ErrFuture marks a snapshot whose date would bar every honest one after it.
	ErrFuture = errors.New("dated in the future")
)

// MaxAhead is how far the dates of a snapshot may be ahead of this host's clock.
const MaxAhead = 24 * time.Hour

// Refusal is the reason why a snapshot that can be read is not served. Other
// errors are about reading it, and may be gone the next time.
type Refusal struct {
	Reason string    // a word for metrics
	Until  time.Time // when to look at it again; zero: never
	Err    error
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// Newcomer is a snapshot that is to be served at the moving URLs of a reference.
type Newcomer struct {
	Reference string
	*snapshot.Snapshot
}

// check returns a [Refusal] of a snapshot that cannot be served whatever was
// served before: it lists a signature file that its statement does not name, a
// Release has another Date than the statement says, or a date is in the future.
// The dates that count are those that clients will read, in the Releases.
func (n Newcomer) check(ctx context.Context, now time.Time) error {
	if err := n.unnamed(); err != nil {
		return &Refusal{Reason: "contradiction", Err: err}
	}
	for _, f := range n.Statement.SuiteFiles() {
		switch f.Role {
		case snapshot.InRelease, snapshot.Release, snapshot.UpstreamInRelease, snapshot.UpstreamRelease, snapshot.Repomd:
		default:
			continue // it has no Date of its own
		}
		data, err := n.ReadBlob(ctx, f.Blob, snapshot.MaxRelease)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		date, err := n.date(f, data)
		if err == nil && !date.Equal(f.Date) {
			err = fmt.Errorf("is of %s, the statement says %s", stamp(date), stamp(f.Date))
		}
		if err != nil {
			return &Refusal{Reason: "contradiction", Err: fmt.Errorf("%s: %w", f.Path, err)}
		}
	}
	return n.future(now)
}

// date is the date that a text says it is of. A repomd.xml of the site's says none: that of the statement counts.
func (n Newcomer) date(f snapshot.SuiteFile, data []byte) (time.Time, error) {
	if f.Role != snapshot.Repomd {
		r, err := OpenRelease(f.Role, data)
		if err != nil {
			return time.Time{}, err
		}
		return r.Date, nil
	}
	x, err := rpm.ReadRepomd(bytes.NewReader(data))
	if err != nil {
		return time.Time{}, err
	}
	if a := n.Statement.Archive(snapshot.Row{Path: f.Path}.Archive()); a != nil && a.Mode == snapshot.Curated {
		return f.Date, nil
	}
	return x.Newest(), nil
}

// unnamed is the error of a signature file in the table that the statement does
// not name: it would be served although nobody has looked at its Date.
func (n Newcomer) unnamed() error {
	named := map[string]bool{}
	for _, f := range n.Statement.SuiteFiles() {
		named[f.Path] = true
	}
	for row := range n.Table.Rows() {
		switch path.Base(row.Path) {
		case "InRelease", "Release", "Release.gpg":
			if !named[row.Path] && !ofOneIndex(row.Path) {
				return fmt.Errorf("the table lists %s, and the statement does not", row.Path)
			}
		}
	}
	return nil
}

// ofOneIndex tells whether a file is the Release beside an index (COMPONENT/binary-ARCH/Release,
// COMPONENT/source/Release), which a verbatim archive has. It is no signature
// file: it has no Date, and apt does not read it as a suite's without InRelease or Release.gpg.
func ofOneIndex(name string) bool {
	dir := path.Base(path.Dir(name))
	return path.Base(name) == "Release" && (dir == "source" || strings.HasPrefix(dir, "binary-"))
}

// future refuses dates too far ahead of the clock, for as long as they are.
func (n Newcomer) future(now time.Time) error {
	what, latest := "the snapshot", n.Statement.Date
	suites := stated(n.Statement)
	for _, key := range slices.Backward(slices.Sorted(maps.Keys(suites))) {
		if newest := suites[key].newest; !newest.Before(latest) {
			what, latest = key, newest
		}
	}
	if !latest.After(now.Add(MaxAhead)) {
		return nil
	}
	return &Refusal{Reason: "future", Until: latest.Add(-MaxAhead), Err: fmt.Errorf(
		"%w: %s is of %s, more than a day ahead of this host's clock (%s)", ErrFuture, what, stamp(latest), stamp(now))}
}

// OpenRelease parses the content of an InRelease or Release. No signature is
// verified: the clients of a server do that.
func OpenRelease(role snapshot.Role, data []byte) (*archive.Release, error) {
	if role == snapshot.Release || role == snapshot.UpstreamRelease {
		return archive.OpenRelease(data, nil, pgp.Trust{})
	}
	return archive.OpenInRelease(data, pgp.Trust{})
}

// span is the oldest and newest Date among the signature files of a suite.
// They are one Date, but in a forgery.
type span struct{ oldest, newest time.Time }

// stated are the Dates that a statement puts at the moving URLs, by "PREFIX SUITE" or "upstream/PREFIX SUITE".
func stated(st *snapshot.Statement) map[string]span {
	suites := map[string]span{}
	add := func(key string, t time.Time) {
		s, ok := suites[key]
		if !ok {
			s = span{t, t}
		}
		if t.Before(s.oldest) {
			s.oldest = t
		}
		if t.After(s.newest) {
			s.newest = t
		}
		suites[key] = s
	}
	for _, a := range st.Archives {
		for _, suite := range a.Suites {
			for _, f := range suite.Files {
				switch f.Role {
				case snapshot.InRelease, snapshot.Release, snapshot.Repomd, snapshot.Sums:
					add(a.Prefix+" "+suite.Name, f.Date)
					if a.Mode == snapshot.Verbatim { // upstream/PREFIX/ is PREFIX/
						add("upstream/"+a.Prefix+" "+suite.Name, f.Date)
					}
				case snapshot.UpstreamInRelease, snapshot.UpstreamRelease:
					add("upstream/"+a.Prefix+" "+suite.Name, f.Date)
				}
			}
		}
	}
	return suites
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
