package serve

import (
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
	"example.org/mmoci/pkg/snapshot"
)

// Law 8: at a moving URL the Date of a suite never goes back. What counts is
// the Date that clients will read, in the Releases themselves; what the
// statement says of it may be a lie, unless its root was looked at before.

// maxAhead is how far a snapshot's dates may be ahead of this host's clock. A
// later one would bar everything honest that follows.
const maxAhead = 24 * time.Hour

// keysAgain is after how long a statement that did not verify is held against the site's keys again.
const keysAgain = time.Minute

// refusal is why a snapshot that can be had is not put in force.
type refusal struct {
	reason string    // for metrics
	until  time.Time // when it is looked at again; zero: never, it is what it is
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// isRefusal tells errors of a snapshot from those of the way to it.
func isRefusal(err error) bool { _, ok := errors.AsType[*refusal](err); return ok }

// vet tells whether a snapshot of lane l may be put in force, and which Dates
// that would put at the moving URLs: a *refusal if not.
func (s *Server) vet(ctx context.Context, l *lane, h *held) (map[string]span, error) {
	if err := s.believe(l, h); err != nil {
		r := &refusal{reason: "signature", err: err}
		if s.o.ReadSiteKeys != nil {
			r.until = s.now().Add(keysAgain) // the key may be put there after the snapshot
		}
		return nil, r
	}
	dates := servedDates(h.Statement)
	if s.marks.vetted(l.source.Name(), h.Root) {
		return dates, nil // its Releases were read when it came, by this clock or a better one
	}
	if err := unlisted(h); err != nil {
		return nil, &refusal{reason: "contradiction", err: err}
	}
	if err := h.compareDates(ctx); err != nil {
		return nil, err
	}
	return dates, ahead(h.Statement, dates, s.now())
}

// believe verifies the statement under the site's key, where one is configured.
// A reference by digest is a pin and does without a signature, but not with a foreign one.
func (s *Server) believe(l *lane, h *held) error {
	ring := s.siteRing.Load()
	if ring == nil || (!h.Signed && l.source.Pinned()) {
		return nil
	}
	if !h.Signed {
		return errors.New("the statement is not signed, but trust names the site's key")
	}
	_, _, err := pgp.VerifyClearsigned(h.StatementBytes, pgp.Trust{Keyring: ring})
	if err != nil && s.o.ReadSiteKeys != nil {
		// The files that trust names may hold another key by now: a rotation writes them.
		now, unread := s.o.ReadSiteKeys()
		if unread != nil {
			return fmt.Errorf("statement: %w (the site's keys cannot be read anew: %w)", err, unread)
		}
		if _, _, err = pgp.VerifyClearsigned(h.StatementBytes, pgp.Trust{Keyring: now}); err == nil {
			s.siteRing.Store(now)
			if armor, aerr := now.Armor(); aerr == nil && len(s.o.SiteKey) > 0 {
				s.siteKey.Store(&toldKey{armor, now.Fingerprints()}) // hosts set up from here on need the new one
			}
			s.log.Info("site's keys read anew", "fingerprints", now.Fingerprints())
		}
	}
	if err != nil {
		return fmt.Errorf("statement: %w", err)
	}
	return nil
}

// unlisted refuses signature files that the statement does not name: they
// would be served, and nobody has looked at their Dates.
func unlisted(h *held) error {
	named := map[string]bool{}
	for _, f := range h.Statement.SuiteFiles() {
		named[f.Path] = true
	}
	for row := range h.Table.Rows() {
		switch path.Base(row.Path) {
		case "InRelease", "Release", "Release.gpg":
			if !named[row.Path] && !ofOneIndex(row.Path) {
				return fmt.Errorf("the table lists %s, and the statement does not", row.Path)
			}
		}
	}
	return nil
}

// ofOneIndex tells the Release beside an index (COMPONENT/binary-ARCH/Release, COMPONENT/source/Release), which a
// verbatim archive carries. It is no signature file: it has no Date, and without InRelease and Release.gpg apt takes it for no suite's.
func ofOneIndex(name string) bool {
	dir := path.Base(path.Dir(name))
	return path.Base(name) == "Release" && (dir == "source" || strings.HasPrefix(dir, "binary-"))
}

// compareDates reads the Releases that will be served and holds their Dates
// against the statement's. No signature is verified: that is their readers' part.
func (h *held) compareDates(ctx context.Context) error {
	for _, f := range h.Statement.SuiteFiles() {
		open := archive.OpenInRelease
		switch f.Role {
		case snapshot.ReleaseGPG, snapshot.UpstreamReleaseGPG:
			continue // it has no Date of its own
		case snapshot.Release, snapshot.UpstreamRelease:
			open = func(text []byte, t pgp.Trust) (*archive.Release, error) { return archive.OpenRelease(text, nil, t) }
		}
		data, err := h.ReadBlob(ctx, f.Blob, maxRelease)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		r, err := open(data, pgp.Trust{})
		if err == nil && !r.Date.Equal(f.Date) {
			err = fmt.Errorf("is of %s, the statement says %s", stamp(r.Date), stamp(f.Date))
		}
		if err != nil {
			return &refusal{reason: "contradiction", err: fmt.Errorf("%s: %w", f.Path, err)}
		}
	}
	return nil
}

// ahead refuses dates too far ahead of the clock, for as long as they are.
func ahead(st *snapshot.Statement, dates map[string]span, now time.Time) error {
	what, latest := "the snapshot", st.Date
	for _, key := range slices.Backward(slices.Sorted(maps.Keys(dates))) {
		if newest := dates[key].newest; !newest.Before(latest) {
			what, latest = key, newest
		}
	}
	if !latest.After(now.Add(maxAhead)) {
		return nil
	}
	return &refusal{reason: "future", until: latest.Add(-maxAhead), err: fmt.Errorf(
		"%w: %s is of %s, more than a day ahead of this host's clock (%s)", errFuture, what, stamp(latest), stamp(now))}
}
