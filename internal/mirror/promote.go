package mirror

import (
	"context"
	"errors"
	"fmt"

	"example.org/mmoci/pkg/artifact"
)

// Promoting is the question to Promote.
type Promoting struct {
	From artifact.Reference // tag or digest
	To   string             // tag of the same place
	// AllowOlder moves a tag back, though apt clients ignore what is older than what they have.
	AllowOlder bool
	Options    artifact.Options
}

// Promote lets another tag of the same place name a snapshot. Nothing but tags is written.
func Promote(ctx context.Context, p Promoting) (artifact.Copied, error) {
	if ref, err := artifact.ParseReference("registry.example.org/x:" + p.To); err != nil || ref.Tag != p.To {
		return artifact.Copied{}, fmt.Errorf("%w: %q is no tag", ErrUsage, p.To)
	}
	to := artifact.Reference{Kind: p.From.Kind, Name: p.From.Name, Tag: p.To}
	from, err := OpenUnverified(ctx, p.From, p.Options)
	if err != nil {
		return artifact.Copied{}, err
	}
	now, err := OpenUnverified(ctx, to, p.Options)
	if err != nil && !errors.Is(err, artifact.ErrNotFound) {
		return artifact.Copied{}, fmt.Errorf("snapshot to be replaced: %w", err)
	}
	if err == nil && !p.AllowOlder && from.Statement.Date.Before(now.Statement.Date) {
		return artifact.Copied{}, fmt.Errorf("%w: %s is of %s, %s names one of %s: apt would ignore the older one (mmoci tag rollback makes one that it takes; --allow-older insists)",
			ErrRefused, p.From, stamp(from.Statement.Date), to, stamp(now.Statement.Date))
	}
	src := p.From
	src.Tag, src.Digest = "", from.Root // the tag may move meanwhile
	return artifact.Copy(ctx, src, to, artifact.PushOptions{Options: p.Options})
}
