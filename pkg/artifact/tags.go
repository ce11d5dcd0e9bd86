package artifact

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// Tag is a tag of a repository or layout.
type Tag struct {
	Name   string
	Digest snapshot.Digest
	Date   time.Time // of an immutable tag's name, else zero
}

const tagTime = "20060102T150405Z"

// immutableTag is NAME-20060102T150405Z-HEX12: date input and root.
func immutableTag(name string, date time.Time, root snapshot.Digest) string {
	return name + "-" + date.UTC().Format(tagTime) + "-" + root.Hex()[:12]
}

// beside is the immutable tag that is set beside ref's tag for a root of that date; "" where there is none: in an
// oci-archive, which has one tag, and where ref's tag is that of this very root. The
// immutable tag of another root is refused: it would say what is not true.
func beside(ref Reference, date time.Time, root snapshot.Digest) (string, error) {
	if stem := immutableStem(ref.Tag); stem != "" {
		if own := immutableTag(stem, date, root); ref.Tag != own {
			return "", fmt.Errorf("%w %s: the tag is the immutable one of another snapshot; this one's would be %s", ErrReference, ref, own)
		}
		return "", nil
	}
	if ref.Kind == Archive {
		return "", nil
	}
	return immutableTag(ref.Tag, date, root), nil
}

// immutableStem is the NAME of an immutable tag, "" of any other tag.
func immutableStem(tag string) string {
	if tagDate(tag).IsZero() {
		return ""
	}
	return tag[:len(tag)-immutableEnd]
}

// checkpointTag is NAME-ckpt-HEX12-N.
func checkpointTag(name string, root snapshot.Digest, n int) string {
	return fmt.Sprintf("%s%d", checkpointStem(name, root), n)
}

func checkpointStem(name string, root snapshot.Digest) string {
	return name + "-ckpt-" + root.Hex()[:12] + "-"
}

// maxAlias leaves room for what immutable and checkpoint tags append.
const maxAlias = maxTag - immutableEnd

const immutableEnd = len("-" + tagTime + "-0123456789ab")

// tagDate is the date in an immutable tag's name, zero for any other tag.
func tagDate(name string) time.Time {
	m := regexp.MustCompile(`-([0-9]{8}T[0-9]{6}Z)-[0-9a-f]{12}$`).FindStringSubmatch(name)
	if m == nil {
		return time.Time{}
	}
	t, err := time.Parse(tagTime, m[1])
	if err != nil {
		return time.Time{}
	}
	return t
}

// TagNames lists the names of tags, sorted; what each names is not asked for, which of a registry is a question a tag.
func TagNames(ctx context.Context, ref Reference, o Options) ([]string, error) {
	p, err := openPlace(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	if r, ok := p.(*registryPlace); ok {
		names, err := r.tagNames(ctx)
		if err != nil {
			return nil, fmt.Errorf("tags of %s: %w", ref.Name, err)
		}
		return names, nil
	}
	tags, err := p.tags(ctx)
	if err != nil {
		return nil, fmt.Errorf("tags of %s: %w", ref.Name, err)
	}
	var names []string
	for _, t := range tags {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names, nil
}

// Tags lists them: those without a date by name, then the immutable ones, newest first. A tag that vanishes meanwhile is left out.
func Tags(ctx context.Context, ref Reference, o Options) ([]Tag, error) {
	p, err := openPlace(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	tags, err := p.tags(ctx)
	if err != nil {
		return nil, fmt.Errorf("tags of %s: %w", ref.Name, err)
	}
	slices.SortFunc(tags, func(a, b Tag) int {
		if a.Date.IsZero() != b.Date.IsZero() {
			return a.Date.Compare(b.Date)
		}
		return cmp.Or(b.Date.Compare(a.Date), cmp.Compare(a.Name, b.Name))
	})
	return tags, nil
}
