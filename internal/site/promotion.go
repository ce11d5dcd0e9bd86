package site

import (
	"context"
	"fmt"
	"time"

	"example.org/mmoci/internal/hook"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Promotion is what others are told of a promotion.
type Promotion struct {
	Event     string  `json:"event"`     // promote
	Reference string  `json:"reference"` // the tag: HOST/REPO:TAG, oci:DIR:TAG
	Source    string  `json:"source"`    // what was promoted, as it was given
	Changed   bool    `json:"changed"`   // false: the tag named it already
	From      *Named  `json:"from"`      // what the tag named before; null: nothing
	To        Named   `json:"to"`        // what it names now
	Time      string  `json:"time"`
	By        hook.By `json:"by"`
}

// Named is what a tag names.
type Named struct {
	Digest    string `json:"digest"`
	Date      string `json:"date,omitempty"` // of a snapshot, by the word of its place
	Immutable string `json:"immutableTag,omitempty"`
}

// TellPromotion tells a hook of a promotion that is done. An error says what the tag names all the same.
func TellPromotion(ctx context.Context, h *hook.Hook, p PromoteOptions, done artifact.Copied, now time.Time) error {
	event := PromotionOf(ctx, p, done, now)
	err := h.Tell(ctx, event)
	if err == nil {
		return nil
	}
	state := "names it now"
	if !done.Changed {
		state = "named it before"
	}
	if ctx.Err() != nil {
		return &oci.InterruptedTagging{What: event.Reference + " " + state + ", and the hook was ended", Err: err}
	}
	return outcome.TellAgain.For(fmt.Errorf("%s: the tag %s; %w", done.Reference, state, err))
}

// PromotionOf is the event of a promotion that is done.
func PromotionOf(ctx context.Context, p PromoteOptions, done artifact.Copied, now time.Time) Promotion {
	tag := done.Reference
	tag.Digest = snapshot.Digest{}
	named := func(d snapshot.Digest) Named {
		n := Named{Digest: d.String()}
		at := tag
		at.Tag, at.Digest = "", d
		if _, date, err := artifact.ReadDate(ctx, at, p.Options); err == nil && !date.IsZero() { // an image has none
			n.Date = snapshot.FormatDate(date)
		}
		return n
	}
	e := Promotion{
		Event: "promote", Reference: tag.String(), Source: p.From.String(), Changed: done.Changed,
		To: named(done.Root), Time: snapshot.FormatDate(now.UTC()), By: hook.Who(),
	}
	e.To.Immutable = done.Immutable
	if !done.Was.IsZero() {
		was := named(done.Was)
		e.From = &was
	}
	return e
}
