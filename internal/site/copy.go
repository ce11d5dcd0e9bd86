package site

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// CopyOptions is the question to Copy.
type CopyOptions struct {
	From, To artifact.Reference
	// Since is a snapshot that To's place has; what it holds is left out. Nil: nothing is.
	Since *artifact.Reference
	// AllowOlder moves a tag to a snapshot that is not newer, though clients ignore what is older than what they have.
	AllowOlder bool
	// Redate, if not nil, makes a snapshot that is not newer into one that is, as Rollback does.
	Redate *RedateOptions
	Push   artifact.PushOptions
}

// RedateOptions is what it takes to sign a snapshot anew.
type RedateOptions struct {
	Signer pgp.Signer
	Site   *pgp.Keyring // that signed both the snapshot and the one that is replaced
	Now    time.Time
}

// Copy lets To name the snapshot that From names, and copies what To's place lacks of it;
// within one place only tags are written. Dates along a tag strictly increase: another snapshot
// that is not newer than the one To names is refused.
//
// The replaced snapshot's date is what its place says: it leads to a refusal, or to nothing. With
// Redate both snapshots must be signed by the site.
func Copy(ctx context.Context, c CopyOptions) (artifact.Copied, error) {
	if err := artifact.CheckCopy(c.From, c.To, c.Since != nil, c.Push.Recheck); err != nil {
		return artifact.Copied{}, err
	}
	o := c.Push.Options
	root, date, err := artifact.ReadDate(ctx, c.From, o)
	if err != nil {
		return artifact.Copied{}, err
	}
	c.From.Digest = root // the tag may move meanwhile
	now, replaced, err := artifact.ReadDate(ctx, c.To, o)
	switch {
	case errors.Is(err, artifact.ErrNotFound): // the tag, or what it names
		if now, err = artifact.Resolve(ctx, c.To, o); errors.Is(err, artifact.ErrNotFound) {
			now, err = snapshot.Digest{}, nil
		}
		replaced = time.Time{}
	case err != nil && (c.Push.Recheck || c.AllowOlder) && push.IsDamage(err):
		// What it was cannot be told: putting the same again is what it takes, or somebody insists.
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

// PromoteOptions is the question to Promote.
type PromoteOptions struct {
	From       artifact.Reference // tag or digest
	To         string             // tag of the same place
	AllowOlder bool
	Redate     *RedateOptions // nil: nothing but tags is written
	Options    artifact.Options
}

// Promote is [Copy] to another tag of the same place.
func Promote(ctx context.Context, p PromoteOptions) (artifact.Copied, error) {
	if ref, err := artifact.ParseReference("registry.example.org/x:" + p.To); err != nil || ref.Tag != p.To {
		return artifact.Copied{}, fmt.Errorf("%w: %q is no tag", outcome.ErrUsage, p.To)
	}
	return Copy(ctx, CopyOptions{
		From: p.From, To: artifact.Reference{Kind: p.From.Kind, Name: p.From.Name, Tag: p.To},
		AllowOlder: p.AllowOlder, Redate: p.Redate, Push: artifact.PushOptions{Options: p.Options},
	})
}
