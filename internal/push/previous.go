package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// replaced is the snapshot that a push replaces: what the tag names now. Whoever
// can write to the registry has chosen it, so nothing of it counts but what a
// signature vouches for.
type replaced struct {
	root snapshot.Digest // what the tag names; zero: nothing
	// snapshot is nil if there is none, or nothing vouches for it. Then date and
	// releases are empty, too, and doubt says why.
	snapshot *snapshot.Snapshot
	date     time.Time
	releases map[string]time.Time // Date of upstream's Release by PREFIX/SUITE
	doubt    error
}

// previous reads the snapshot that a push will replace, as far as it can be
// trusted. One that nobody vouches for stops the push, unless ReplaceUnverified
// is set or the very same snapshot is put again.
func (o Options) previous(ctx context.Context) (*replaced, error) {
	var old *replaced
	var root snapshot.Digest
	sealed, err := artifact.Open(ctx, o.Ref, o.Artifact.Options)
	if err == nil {
		root = sealed.Root
		old, err = o.believe(ctx, sealed)
	} else if root, err = o.named(ctx, err); err == nil {
		return &replaced{root: root}, nil
	}
	switch {
	case err == nil:
		if o.ReplaceUnverified {
			o.Log.Printf("the snapshot to be replaced is verified, so its dates count")
		}
		return old, nil
	case !doubtful(err):
		return nil, fmt.Errorf("snapshot to be replaced: %w", err)
	case o.ReplaceUnverified:
		o.Log.Printf("the snapshot to be replaced is not believed in anything: %s", err)
	case o.Artifact.Recheck && IsDamage(err):
		o.Log.Printf("the snapshot to be replaced is damaged: %s", err)
	default:
		return nil, remedyOf(err).For(fmt.Errorf("snapshot to be replaced: %w", err))
	}
	return &replaced{root: root, doubt: err}, nil
}

// named tells what the tag names where the snapshot cannot be opened for the
// reason why. It is no error if the tag names nothing.
func (o Options) named(ctx context.Context, why error) (snapshot.Digest, error) {
	root, err := artifact.Resolve(ctx, o.Ref, o.Artifact.Options)
	switch {
	case errors.Is(err, artifact.ErrNotFound) && errors.Is(why, artifact.ErrNotFound):
		return root, nil
	case errors.Is(err, artifact.ErrNotFound): // it went away meanwhile
		return root, why
	case err != nil:
		return root, err
	case errors.Is(why, artifact.ErrNotFound): // the tag is there, the root is not
		return root, fmt.Errorf("%s: root %s: %w", o.Ref, root, snapshot.ErrNotExist)
	}
	return root, why
}

// IsDamage tells errors of an artifact that lacks something, or that contradicts itself.
func IsDamage(err error) bool {
	return errors.Is(err, outcome.ErrIntegrity) || errors.Is(err, snapshot.ErrNotExist)
}

// doubtful tells errors of the snapshot from errors of the way to it.
func doubtful(err error) bool { return IsDamage(err) || errors.Is(err, artifact.ErrNotOurs) }

// remedyOf is what helps against a snapshot that nobody vouches for.
func remedyOf(err error) outcome.Remedy {
	switch {
	case errors.Is(err, errNotTheSite):
		return outcome.EarlierKey
	case errors.Is(err, artifact.ErrNotOurs), errors.Is(err, errNoSignature):
		return outcome.Replace
	}
	return outcome.RepairOrReplace
}

var (
	// errNotTheSite marks a statement under another key than the site's, or under none.
	errNotTheSite = errors.New("not signed by the site")
	// errNoSignature marks a snapshot without a statement's signature whose own parts speak against it.
	errNoSignature = errors.New("not signed, and")
)

// siteKeys are the signer's key and those of trust:; nil if there is none.
func (o Options) siteKeys() *pgp.Keyring {
	if o.Signer != nil {
		return pgp.JoinKeyrings(o.Signer.Public(), o.Site)
	}
	return o.Site
}

// believe finds what vouches for a snapshot: the site's signature where the site
// has a key, else the signatures of the upstreams.
func (o Options) believe(ctx context.Context, sealed *snapshot.Sealed) (*replaced, error) {
	site := o.siteKeys()
	s, err := sealed.Unseal(site)
	switch {
	case site == nil && err == nil:
		return o.believeUpstreams(ctx, sealed.Root, s)
	case site == nil:
		return nil, err
	case err != nil:
		if _, bare := sealed.Unseal(nil); bare == nil { // it is whole, but for who signed it
			err = fmt.Errorf("%w: %w", errNotTheSite, err)
		}
		return nil, fmt.Errorf("%s: %w", o.Ref, err)
	}
	return &replaced{root: sealed.Root, snapshot: s, date: s.Statement.Date, releases: freeze.UpstreamDates(s.Statement)}, nil
}

// believeUpstreams trusts a snapshot that the site did not sign as far as
// upstream's Releases in it verify, each under the key of its prefix. Nobody
// vouches for its own date; a date up to now does no harm, so it counts.
func (o Options) believeUpstreams(ctx context.Context, root snapshot.Digest, s *snapshot.Snapshot) (*replaced, error) {
	trust := prove.Trust{Upstream: map[string]*pgp.Keyring{}, ExpiredOK: map[string]bool{}, UnnamedOK: map[string]bool{}, Now: o.Now}
	for i := range o.Plan.Archives {
		cfg := &o.Plan.Archives[i]
		if cfg.Debs != "" {
			continue
		}
		keyring, _, err := signer.UpstreamKeyring(ctx, cfg, o.Keys, o.Log)
		if err != nil {
			return nil, fmt.Errorf("archive %s: %w", cfg.Prefix, err)
		}
		trust.Upstream[cfg.Prefix], trust.ExpiredOK[cfg.Prefix], trust.UnnamedOK[cfg.Prefix] = keyring, true, cfg.UnnamedRelease
	}
	c := &prove.Chain{Snapshot: s, Trust: trust}
	releases := map[string]time.Time{}
	for _, a := range s.Statement.Archives {
		if trust.Upstream[a.Prefix] == nil || a.Class != snapshot.Upstream {
			continue // not one of this push: nothing is held against it
		}
		suites, err := c.Suites(ctx, a, prove.Upstreams)
		if err != nil {
			return nil, fmt.Errorf("%w upstream's Release does not verify: %w", errNoSignature, err)
		}
		for _, suite := range suites {
			releases[a.Prefix+"/"+suite.Name] = suite.Release.Date
		}
	}
	if date := s.Statement.Date; date.After(o.Now) {
		return nil, fmt.Errorf("%w of %s, which is after now, %s: %w", errNoSignature, snapshot.FormatDate(date), snapshot.FormatDate(o.Now), outcome.ErrIntegrity)
	}
	return &replaced{root: root, snapshot: s, date: s.Statement.Date, releases: releases}, nil
}

// notOlder refuses upstream's Releases that are older than in the snapshot to be replaced.
func (o Options) notOlder(old *replaced, now *snapshot.Statement) error {
	for key, d := range freeze.UpstreamDates(now) {
		_, suite, _ := strings.Cut(key, "/")
		if d.Before(old.releases[key]) && !slices.Contains(o.AllowOlder, suite) && !slices.Contains(o.AllowOlder, key) {
			return outcome.AllowOlderSuite.For(fmt.Errorf("%w: upstream's %s is of %s, in the snapshot to be replaced it is of %s",
				outcome.ErrRefused, key, snapshot.FormatDate(d), snapshot.FormatDate(old.releases[key])), suite)
		}
	}
	return nil
}
