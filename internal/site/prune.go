package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/snapshot"
)

// Retention says which snapshots of one name stay: the newest Last ones, and the last one of
// each of the newest Daily days, Weekly ISO weeks and Monthly months (UTC, by the date
// in the immutable tag). One that several rules keep counts for each of them.
type Retention struct {
	Last, Daily, Weekly, Monthly int
	MinAge                       time.Duration // younger ones stay in any case
}

func (k Retention) empty() bool { return k.Last+k.Daily+k.Weekly+k.Monthly == 0 && k.MinAge == 0 }

// MinAge is the usual Retention.MinAge: somebody may be about to name a young snapshot by a tag.
const MinAge = time.Hour

// PruneOptions says what Prune removes.
type PruneOptions struct {
	Ref    artifact.Reference // its tag is the name whose snapshots are meant
	Keep   Retention
	DryRun bool
	Now    time.Time
	// ImagesTo is below which repository a registry has the images of the snapshots, as artifact.PushOptions says.
	ImagesTo string
	Options  artifact.Options
}

// PruneResult is what Prune kept and removed.
type PruneResult struct {
	Keep   []PrunedTag // newest first
	Remove []PrunedTag
	// Versions are the files of packages that go, or that others hold; of a dry run alone.
	Versions []PrunedVersion
	artifact.Removed
}

// PrunedTag is a tag with the reason why it stays or goes.
type PrunedTag struct {
	artifact.Tag
	Why string
}

// Prune removes immutable tags NAME-DATE-HEX12 that no rule keeps, and the
// checkpoints of finished pushes. Aliases are never removed, nor is a tag whose
// root any other tag that stays names: nothing that a kept tag reaches is lost. The names of images go with
// the last snapshot that has them.
func Prune(ctx context.Context, p PruneOptions) (*PruneResult, error) {
	if p.Keep.empty() {
		return nil, outcome.KeepSome.For(fmt.Errorf("%w: say what to keep", outcome.ErrUsage))
	}
	if p.Ref.Tag == "" || !p.Ref.Digest.IsZero() {
		return nil, fmt.Errorf("%w: %s: give the tag whose snapshots are to be pruned", outcome.ErrUsage, p.Ref)
	}
	tags, err := artifact.Tags(ctx, p.Ref, p.Options)
	if err != nil {
		return nil, err
	}
	out := choosePruned(tags, p.Ref.Tag, p.Keep, p.Now)
	if p.DryRun {
		out.Versions, err = p.versions(ctx, tags, out)
		return out, err
	}
	if len(out.Remove) == 0 && p.Ref.Kind != artifact.Layout {
		return out, nil
	}
	var going []artifact.Tag
	for _, t := range out.Remove {
		going = append(going, t.Tag)
	}
	images, err := p.images(ctx, tags, going)
	for err == nil && len(images.Going) > 0 { // a snapshot that was pushed meanwhile may need them
		var now []artifact.Tag
		if now, err = artifact.Tags(ctx, p.Ref, p.Options); err != nil || slices.Equal(now, tags) {
			break
		}
		tags = now
		images, err = p.images(ctx, tags, going)
	}
	if err != nil {
		return nil, err
	}
	out.Removed, err = artifact.Remove(ctx, p.Ref, going, images, p.Options)
	return out, err
}

// statements is how many snapshots are asked at once which images they name.
const statements = 16

// images are those of the snapshots that go and, if there are any, of all that stay in the place, under whatever
// name. Their statements are not verified: a name is removed only where it names what the snapshot that goes says,
// and no other says so. What cannot be read of a snapshot that goes leaves names behind; of one that stays it ends the prune.
func (p PruneOptions) images(ctx context.Context, all, going []artifact.Tag) (images.Going, error) {
	goes := map[string]bool{}
	for _, t := range going {
		goes[t.Name] = true
	}
	stays := map[snapshot.Digest]bool{} // root to whether a tag that stays names it
	for _, t := range all {
		if !t.Digest.IsZero() && !strings.Contains(t.Name, ":") && !isCheckpoint(t.Name) {
			stays[t.Digest] = stays[t.Digest] || !goes[t.Name]
		}
	}
	if p.Options.Connections == nil {
		p.Options.Connections = &artifact.Connections{}
	}
	out := images.Going{To: p.ImagesTo}
	var err error
	if out.Going, err = p.stated(ctx, stays, false); err != nil || len(out.Going) == 0 {
		return out, err
	}
	out.Kept, err = p.stated(ctx, stays, true)
	return out, err
}

// stated are the images that the statements of those snapshots name which stay, or which do not.
func (p PruneOptions) stated(ctx context.Context, stays map[snapshot.Digest]bool, which bool) (all []snapshot.Image, err error) {
	var mu sync.Mutex
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(statements)
	for root, stay := range stays {
		if stay != which || each.Err() != nil {
			continue
		}
		g.Go(func() error {
			images, err := artifact.StatedImages(each, artifact.Reference{Kind: p.Ref.Kind, Name: p.Ref.Name, Digest: root}, p.Options)
			switch {
			case each.Err() != nil:
				return context.Cause(each)
			case err == nil:
			case !stay, errors.Is(err, artifact.ErrNotFound), errors.Is(err, snapshot.ErrNotExist), errors.Is(err, artifact.ErrNotOurs) && !errors.Is(err, snapshot.ErrNewer):
				return nil // it names none, or nobody can tell any more
			default:
				return fmt.Errorf("images of a snapshot that stays: %w; nothing was removed", err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, images...)
			return nil
		})
	}
	err = g.Wait()
	return all, err
}

// choosePruned decides by the tags alone.
func choosePruned(tags []artifact.Tag, name string, k Retention, now time.Time) *PruneResult {
	var mine, doubled []artifact.Tag
	held := map[snapshot.Digest]string{} // root to a tag that stays
	for _, t := range tags {
		switch {
		case isSnapshotOf(t, name):
			mine = append(mine, t)
		case isDoubled(t, name, tags):
			doubled = append(doubled, t)
		case !isCheckpoint(t.Name):
			held[t.Digest] = t.Name
		}
	}
	slices.SortFunc(mine, func(a, b artifact.Tag) int { return cmp.Or(b.Date.Compare(a.Date), cmp.Compare(a.Name, b.Name)) })
	out, done := &PruneResult{}, map[string]bool{}
	kept := k.reasons(mine, now)
	for i, t := range mine {
		done[t.Name[len(t.Name)-12:]] = true
		why := kept[i]
		if by := held[t.Digest]; why == "" && by != "" {
			why = "named by " + by
		}
		if why == "" {
			out.Remove = append(out.Remove, PrunedTag{t, "no rule keeps it"})
		} else {
			out.Keep = append(out.Keep, PrunedTag{t, why})
		}
	}
	for _, t := range doubled {
		out.Remove = append(out.Remove, PrunedTag{t, "its date stands in it twice"})
	}
	for _, t := range tags {
		if m := checkpointName.FindStringSubmatch(t.Name); m != nil && m[1] == name && done[m[2]] {
			out.Remove = append(out.Remove, PrunedTag{t, "checkpoint of a push that has ended"})
		}
	}
	return out
}

// isSnapshotOf tells the immutable tags NAME-DATE-HEX12 of one name.
func isSnapshotOf(t artifact.Tag, name string) bool {
	rest, ok := strings.CutPrefix(t.Name, name+"-")
	return ok && !t.Date.IsZero() && place.DateHex.MatchString(rest)
}

// isDoubled tells tags NAME-DATE-HEX12-DATE-HEX12, which a copy under an immutable name used to
// make, where the snapshot has its proper tag too.
func isDoubled(t artifact.Tag, name string, all []artifact.Tag) bool {
	rest, ok := strings.CutPrefix(t.Name, name+"-")
	half := len(rest) / 2
	if !ok || len(rest)%2 == 0 || rest[half] != '-' || rest[:half] != rest[half+1:] {
		return false
	}
	proper := artifact.Tag{Name: name + "-" + rest[:half], Digest: t.Digest, Date: t.Date}
	return isSnapshotOf(proper, name) && slices.Contains(all, proper)
}

var checkpointName = regexp.MustCompile(`^(.+)-ckpt-([0-9a-f]{12})-[0-9]+$`)

func isCheckpoint(tag string) bool { return checkpointName.MatchString(tag) }

// reasons tells for each snapshot, newest first, which rule keeps it; "" if none.
func (k Retention) reasons(newest []artifact.Tag, now time.Time) []string {
	why := make([]string, len(newest))
	keep := func(i int, reason string) {
		if why[i] == "" {
			why[i] = reason
		}
	}
	for i := range newest {
		if i < k.Last {
			keep(i, fmt.Sprintf("among the last %d", k.Last))
		}
	}
	for _, rule := range []struct {
		count int
		what  string
		of    func(time.Time) string
	}{
		{k.Daily, "day", func(t time.Time) string { return t.UTC().Format(time.DateOnly) }},
		{k.Weekly, "week", func(t time.Time) string { y, w := t.UTC().ISOWeek(); return fmt.Sprintf("%d-W%02d", y, w) }},
		{k.Monthly, "month", func(t time.Time) string { return t.UTC().Format("2006-01") }},
	} {
		var last string
		n := 0
		for i, t := range newest {
			if at := rule.of(t.Date); at != last && n < rule.count {
				last = at
				n++
				keep(i, "last of "+rule.what+" "+at)
			}
		}
	}
	for i, t := range newest {
		if k.MinAge > 0 && now.Sub(t.Date) < k.MinAge {
			keep(i, "younger than "+k.MinAge.String())
		}
	}
	return why
}
