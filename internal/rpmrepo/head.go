package rpmrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/rpm"
	"example.org/mmoci/pkg/snapshot"
)

// between is how long an upstream gets that was caught between two days: repomd.xml is replaced first, its signature then.
// Each wait is as long again as the one before.
const between = time.Second

// patience is how often it is asked again.
const patience = 2

// head is a repomd.xml with its signature, as far as somebody signed it.
type head struct {
	repomd, asc []byte
	index       *rpm.Index
	date        time.Time
	from        *upstream.Upstream // the one place that gave both; nil: held did
	held        *snapshot.Snapshot // where it is from in place of upstream; nil: upstream
}

// head reads repomd.xml and its signature: upstream's present ones, or those that the lock names.
func (r *repository) head(ctx context.Context) (*head, error) {
	h, err := r.present(ctx)
	pin := r.pin()
	if pin == nil || err == nil && snapshot.Sum(h.repomd).String() == pin.Digest {
		return h, err
	}
	held, err2 := r.held(ctx, pin)
	switch {
	case err2 != nil:
		return nil, fmt.Errorf("the snapshot that holds the repomd.xml of the lock: %w", err2)
	case held != nil:
		return held, nil
	case err == nil && r.Locked:
		return nil, outcome.UpdateLock.For(fmt.Errorf("%w: the lock names the repomd.xml %s of %s; upstream has %s of %s by now, and no snapshot at hand has that one",
			outcome.ErrNotFound, pin.Digest, snapshot.FormatDate(pin.Date), snapshot.Sum(h.repomd), snapshot.FormatDate(h.date)))
	case err == nil:
		r.Log.Printf("archive %s: upstream has another repomd.xml by now than the lock names (of %s), and no snapshot at hand has that one; upstream's is taken", r.cfg.Prefix, snapshot.FormatDate(pin.Date))
	}
	return h, err
}

// pin is what the lock says of repomd.xml; nil: nothing.
func (r *repository) pin() *config.LockRelease {
	if l := lockOf(r.Lock, r.cfg.Prefix); l != nil && len(l.Releases) == 1 {
		return &l.Releases[0]
	}
	return nil
}

// present reads what upstream has now. repomd.xml is published before its signature, so one that does not fit is asked for
// again, as is the metalink, which may be of the day before.
func (r *repository) present(ctx context.Context) (*head, error) {
	for try := 1; ; try++ {
		h, err := r.presentOnce(ctx)
		if err == nil || try > patience || !errors.Is(err, outcome.ErrIntegrity) {
			return h, err
		}
		if err := r.Sleep(ctx, time.Duration(try)*between); err != nil {
			return nil, err
		}
		if r.metalink != nil {
			if err := r.findPlaces(ctx); err != nil {
				return nil, err
			}
		}
	}
}

// presentOnce asks each place for both files: those of two places need not fit.
func (r *repository) presentOnce(ctx context.Context) (*head, error) {
	var errs []error
	for i, place := range r.places {
		h, err := r.presentAt(ctx, place)
		if err == nil {
			return h, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		errs = append(errs, err)
		if i+1 < len(r.places) {
			r.Log.Printf("archive %s: %v; trying %s", r.cfg.Prefix, err, r.places[i+1])
		}
	}
	return nil, joined(errs)
}

// joined is one error for all places: a mismatch, where one gave a wrong file, and not found only if each of them said so.
func joined(errs []error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return errors.Is(err, outcome.ErrIntegrity) })
	if i < 0 {
		i = slices.IndexFunc(errs, func(err error) bool { return !errors.Is(err, upstream.ErrNotFound) })
	}
	var err error
	if i < 0 {
		i, err = 0, fmt.Errorf("%w: %w (url: names the directory with %s in it)", outcome.ErrNotFound, errs[0], rpm.Repodata)
	} else {
		err = errs[i]
	}
	if n := len(errs) - 1; n > 0 {
		err = fmt.Errorf("%w; %s failed, too", err, terminal.Count(n, "other place"))
	}
	return err
}

// presentAt reads what one place has now.
func (r *repository) presentAt(ctx context.Context, place *upstream.Upstream) (*head, error) {
	h := &head{from: place}
	var err error
	if h.repomd, err = r.repomdAt(ctx, place); err != nil {
		return nil, err
	}
	h.asc, err = place.Get(ctx, rpm.RepomdAsc, pgp.MaxReleaseSize, func(asc []byte) error {
		if r.keyring == nil {
			return nil
		}
		_, err := r.verify(h.repomd, asc, r.Now)
		return err
	})
	switch {
	case errors.Is(err, upstream.ErrNotFound) && r.keyring != nil:
		return nil, fmt.Errorf("%w: %s: repomd.xml is not signed: no %s; without signed-by: the site vouches for the repository, and hosts go by the site's word",
			outcome.ErrIntegrity, place, rpm.RepomdAsc)
	case errors.Is(err, upstream.ErrNotFound):
		h.asc = nil
	case err != nil:
		return nil, err
	case r.keyring == nil: // nobody can say whether the two fit; that repomd.xml stayed says so most of the time
		moved, err := r.moved(ctx, h)
		if err == nil && moved {
			err = fmt.Errorf("%w: %s: repomd.xml changed while its signature was read", outcome.ErrIntegrity, place)
		}
		if err != nil {
			return nil, err
		}
	}
	return h, r.parse(h)
}

// repomdAt is the repomd.xml that a place has now, one that the metalink knows if there is one.
func (r *repository) repomdAt(ctx context.Context, place *upstream.Upstream) ([]byte, error) {
	return place.Get(ctx, rpm.Repomd, rpm.MaxRepomd, func(data []byte) error {
		if r.metalink != nil && !r.metalink.Knows(data) {
			return fmt.Errorf("%w: repomd.xml is none that the metalink knows", outcome.ErrIntegrity)
		}
		return nil
	})
}

// verify verifies the signature of repomd.xml; a zero now judges the key as of the signature's own time.
func (r *repository) verify(repomd, asc []byte, now time.Time) (pgp.How, error) {
	how, err := pgp.VerifyDetached(repomd, asc, pgp.Trust{Keyring: r.keyring, Now: now})
	if err != nil {
		return how, fmt.Errorf("%s: %w", rpm.Repomd, err)
	}
	return how, nil
}

// parse reads a repomd.xml that was verified, as far as it can be.
func (r *repository) parse(h *head) (err error) {
	if h.index, err = rpm.ReadRepomd(bytes.NewReader(h.repomd)); err != nil {
		return fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	if h.date = h.index.Newest(); h.date.IsZero() {
		return fmt.Errorf("%w: repomd.xml has no time, so nobody could tell an older one from a newer", outcome.ErrIntegrity)
	}
	if err := h.index.CheckAhead(r.Now); err != nil {
		return fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	if r.keyring == nil {
		return nil
	}
	how, err := r.verify(h.repomd, h.asc, time.Time{})
	if err == nil {
		err = how.CheckDated(h.date)
	}
	return err
}

// held reads the repomd.xml that the lock names from a snapshot, its signature verified; nil if that has it not.
func (r *repository) held(ctx context.Context, pin *config.LockRelease) (*head, error) {
	if r.Previous == nil {
		return nil, nil
	}
	row, ok := r.Previous.Table.Find(r.cfg.Prefix + "/" + rpm.Repomd)
	if !ok || row.Digest.String() != pin.Digest {
		return nil, nil
	}
	h := &head{held: r.Previous}
	var err error
	if h.repomd, err = r.Previous.ReadBlob(ctx, row.Blob(), rpm.MaxRepomd); err != nil {
		return nil, err
	}
	if row, ok := r.Previous.Table.Find(r.cfg.Prefix + "/" + rpm.RepomdAsc); ok {
		if h.asc, err = r.Previous.ReadBlob(ctx, row.Blob(), pgp.MaxReleaseSize); err != nil {
			return nil, err
		}
	}
	if h.asc == nil && r.keyring != nil {
		return nil, fmt.Errorf("%w: its repomd.xml is not signed", outcome.ErrIntegrity)
	}
	return h, r.parse(h)
}

// moved tells whether the place that gave a repomd.xml has another by now.
func (r *repository) moved(ctx context.Context, h *head) (bool, error) {
	if h.from == nil {
		return false, nil
	}
	now, err := h.from.Get(ctx, rpm.Repomd, rpm.MaxRepomd, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return true, nil
	}
	return err == nil && !bytes.Equal(now, h.repomd), err
}
