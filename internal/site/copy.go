package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/snapshot"
)

// CopyOptions says what Copy copies.
type CopyOptions struct {
	From, To artifact.Reference
	// Since, if not nil, is a snapshot that To's place has; its content is left out.
	Since *artifact.Reference
	// AllowOlder moves a tag to a snapshot that is not newer, though clients ignore older ones.
	AllowOlder bool
	// Redate, if not nil, signs a snapshot that is not newer under a newer date, as Rollback does.
	Redate *RedateOptions
	Push   artifact.PushOptions
}

// RedateOptions says how to sign a snapshot anew.
type RedateOptions struct {
	Signer pgp.Signer
	Site   *pgp.Keyring // that signed both the snapshot and the one that is replaced
	Now    time.Time
}

// Copy makes To name the snapshot that From names, and copies what To's place lacks of it.
// Within one place it writes only tags. Dates along a tag strictly increase: Copy refuses
// another snapshot that is not newer than the one that To names.
//
// The date of the replaced snapshot is not verified: all it can do is cause a refusal. With
// Redate both snapshots must be signed by the site.
//
// A container image, or other content that is no snapshot, is copied as [images.Copy] says.
func Copy(ctx context.Context, c CopyOptions) (artifact.Copied, error) {
	unfit := artifact.CheckCopy(c.From, c.To, c.Since != nil, c.Push.Recheck)
	if unfit != nil && !images.IsName(c.To) {
		return artifact.Copied{}, unfit
	}
	o := c.Push.Options
	root, date, err := artifact.ReadDate(ctx, c.From, o)
	if IsForeign(err) {
		return c.image(ctx)
	}
	if err == nil {
		err = unfit
	}
	if err != nil {
		return artifact.Copied{}, err
	}
	c.From.Digest = root // the tag may move meanwhile
	now, replaced, err := artifact.ReadDate(ctx, c.To, o)
	switch {
	case IsForeign(err):
		return artifact.Copied{}, fmt.Errorf("%w: %s names a container image, or something else that is no snapshot; give the snapshot another tag", outcome.ErrUsage, c.To)
	case errors.Is(err, artifact.ErrNotFound): // the tag, or what it names
		if now, err = artifact.Resolve(ctx, c.To, o); errors.Is(err, artifact.ErrNotFound) {
			now, err = snapshot.Digest{}, nil
		}
		replaced = time.Time{}
	case err != nil && (c.Push.Recheck || c.AllowOlder) && push.IsDamage(err):
		// Its date cannot be read. Writing the same snapshot again mends it; another one needs AllowOlder.
		if now, err = artifact.Resolve(ctx, c.To, o); err == nil && now != root && !c.AllowOlder {
			err = outcome.AllowOlder.For(fmt.Errorf("%w: it is damaged, and another snapshot", outcome.ErrRefused))
		}
	}
	if err != nil {
		return artifact.Copied{}, fmt.Errorf("snapshot to be replaced: %w", err)
	}
	c.Push.Expect = &now
	if now != root && !date.After(replaced) && !c.AllowOlder {
		if c.Redate == nil {
			return artifact.Copied{}, outcome.Redate.For(fmt.Errorf("%w: %s is of %s, %s names another snapshot, of %s: clients take a later one only",
				outcome.ErrRefused, c.From, snapshot.FormatDate(date), c.To, snapshot.FormatDate(replaced)))
		}
		return c.redated(ctx)
	}
	if c.Since != nil {
		return artifact.CopySince(ctx, c.From, *c.Since, c.To, c.Push)
	}
	return artifact.Copy(ctx, c.From, c.To, c.Push)
}

// redated pushes From's content under the date after that of the snapshot that To names.
func (c CopyOptions) redated(ctx context.Context) (artifact.Copied, error) {
	if c.Since != nil {
		return artifact.Copied{}, fmt.Errorf("%w: what is signed anew is no delta", outcome.ErrUsage)
	}
	q := RollbackOptions{Ref: c.To, Signer: c.Redate.Signer, Site: c.Redate.Site, Now: c.Redate.Now, Push: c.Push}
	if err := q.validate(); err != nil {
		return artifact.Copied{}, err
	}
	return q.onto(ctx, c.From)
}

// PromoteOptions says which tag Promote moves where.
type PromoteOptions struct {
	From       artifact.Reference // tag or digest
	To         string             // tag of the same place; of an image in a layout, REPO:TAG may be
	AllowOlder bool
	Redate     *RedateOptions // nil: nothing but tags is written
	ImagesTo   string         // as artifact.PushOptions says
	Options    artifact.Options
}

// Promote is [Copy] to another tag of the same place.
func Promote(ctx context.Context, p PromoteOptions) (artifact.Copied, error) {
	to := artifact.Reference{Kind: p.From.Kind, Name: p.From.Name, Tag: p.To}
	if ref, err := artifact.ParseReference("registry.example.org/x:" + p.To); (err != nil || ref.Tag != p.To) && !images.IsName(to) {
		return artifact.Copied{}, fmt.Errorf("%w: %q is no tag", outcome.ErrUsage, p.To)
	}
	return Copy(ctx, CopyOptions{
		From: p.From, To: to,
		AllowOlder: p.AllowOlder, Redate: p.Redate, Push: artifact.PushOptions{Options: p.Options, ImagesTo: p.ImagesTo},
	})
}

// RollbackOptions says which tag Rollback moves back, and to which snapshot.
type RollbackOptions struct {
	Ref    artifact.Reference // the tag that moves
	To     string             // the snapshot to go back to: a tag, the DATE-HEX12 of one, or a digest
	Signer pgp.Signer
	Site   *pgp.Keyring // that signed both snapshots
	Date   time.Time    // date input; zero: a second after the snapshot that is replaced
	Now    time.Time
	Push   artifact.PushOptions
}

// Rollback pushes the content of an older snapshot again under a newer date, because apt
// accepts no Release that is older than the one it has. Indices, packages and provenance
// are the old ones, byte for byte; Releases, statement and lock have the new date.
//
// Only the site's own Releases can be signed anew: a verbatim archive with newer Releases is refused.
func Rollback(ctx context.Context, q RollbackOptions) (artifact.Pushed, error) {
	if err := q.validate(); err != nil {
		return artifact.Pushed{}, err
	}
	from, err := (&place.Source{Ref: q.Ref, Options: q.Push.Options}).Reference(ctx, q.To)
	if err != nil {
		return artifact.Pushed{}, err
	}
	return q.onto(ctx, from)
}

// validate refuses what can be refused before anything is read.
func (q RollbackOptions) validate() error {
	if q.Signer == nil {
		return outcome.GiveSigningKey.For(fmt.Errorf("%w: what gets another date is signed anew", outcome.ErrUsage))
	}
	if !q.Ref.Digest.IsZero() {
		return fmt.Errorf("%w: %s: a digest cannot be written to; give a tag", outcome.ErrUsage, q.Ref)
	}
	if q.Site == nil {
		return outcome.GiveSiteKey.For(fmt.Errorf("%w: what is signed anew must be known to be the site's", outcome.ErrUsage))
	}
	return nil
}

// onto pushes the snapshot that from names over the one that q.Ref names.
func (q RollbackOptions) onto(ctx context.Context, from artifact.Reference) (artifact.Pushed, error) {
	now, err := q.open(ctx, q.Ref)
	if err != nil {
		return artifact.Pushed{}, noDate(q.Ref, fmt.Errorf("snapshot to be replaced: %w", err))
	}
	old, err := q.open(ctx, from)
	if err != nil {
		return artifact.Pushed{}, noDate(from, err)
	}
	signer := signer.ReuseSignatures(ctx, q.Signer, now)
	s, err := parallel.Until(ctx, func() (*snapshot.Snapshot, error) {
		s, err := freeze.Redate(ctx, old, now.Statement.Date, signer)
		if err != nil || bytes.Equal(s.StatementBytes, now.StatementBytes) { // it is there already
			return s, err
		}
		date, err := q.date(now.Statement, old.Statement)
		if err != nil {
			return nil, err
		}
		return freeze.Redate(ctx, old, date, signer)
	})
	if err != nil {
		return artifact.Pushed{}, fmt.Errorf("%s: %w", from, err)
	}
	q.Push.Expect = &now.Root
	return artifact.Push(ctx, q.Ref, s, q.Push)
}

// open opens one of the two snapshots, which the site must have signed, at any age.
func (q RollbackOptions) open(ctx context.Context, ref artifact.Reference) (*snapshot.Snapshot, error) {
	sealed, err := artifact.Open(ctx, ref, q.Push.Options)
	if err != nil {
		return nil, err
	}
	s, err := sealed.Unseal(q.Site)
	if err == nil && s.Statement.How.Kind != pgp.Signed {
		err = fmt.Errorf("%w: it is not signed by the site", outcome.ErrIntegrity)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return s, nil
}

// date is the new date input. It refuses a date that apt would not accept.
func (q RollbackOptions) date(now, old *snapshot.Statement) (time.Time, error) {
	date := q.Date
	if date.IsZero() {
		date = freeze.NextDate(now.Date)
	}
	if err := freeze.After(date, now.Date); err != nil {
		return date, err
	}
	if err := freeze.NotAhead(date, q.Now); err != nil {
		return date, err
	}
	dates, then := freeze.UpstreamDates(now), freeze.UpstreamDates(old)
	for _, a := range old.Archives {
		for _, s := range a.Suites {
			key := a.Prefix + "/" + s.Name
			if was, is := then[key], dates[key]; a.Mode == snapshot.Verbatim && was.Before(is) {
				err := fmt.Errorf("%w: %s is verbatim, of %s now and of %s then: apt ignores an InRelease that goes back, and only upstream can sign another", outcome.ErrRefused, key, snapshot.FormatDate(is), snapshot.FormatDate(was))
				if q.To != "" {
					err = fmt.Errorf("%w (clients can be pointed at /snapshot/%s)", err, q.To)
				}
				return date, err
			}
		}
	}
	return date, nil
}
