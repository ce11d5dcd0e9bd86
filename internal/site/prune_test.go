package site

import (
	"slices"
	"testing"
	"time"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

func TestChoosePruned(t *testing.T) {
	t.Parallel()
	tag := func(name string, at time.Time, n byte) artifact.Tag {
		d := snapshot.Sum([]byte{n})
		return artifact.Tag{Name: name + "-" + at.Format("20060102T150405Z") + "-" + d.Hex()[:12], Digest: d, Date: at}
	}
	day := func(month, day, hour int) time.Time {
		return time.Date(2026, time.Month(month), day, hour, 0, 0, 0, time.UTC)
	}
	all := []artifact.Tag{
		tag("a", day(3, 31, 8), 1), tag("a", day(4, 1, 8), 2), tag("a", day(4, 1, 20), 3),
		tag("a", day(4, 5, 8), 4), tag("a", day(4, 6, 8), 5), tag("b", day(4, 6, 9), 6),
		{Name: "a", Digest: snapshot.Sum([]byte{5})}, {Name: "prod", Digest: snapshot.Sum([]byte{1})},
		{Name: "a-ckpt-" + snapshot.Sum([]byte{4}).Hex()[:12] + "-0", Digest: snapshot.Sum([]byte{9})},
		{Name: "a-ckpt-0123456789ab-0", Digest: snapshot.Sum([]byte{8})},
	}
	const finished = 1 // the checkpoint of a push that has ended goes in any case
	for _, c := range []struct {
		name string
		keep Retention
		want []byte
	}{
		{"last", Retention{Last: 2}, []byte{5, 4, 1}},
		{"daily", Retention{Daily: 3}, []byte{5, 4, 3, 1}},
		{"weekly", Retention{Weekly: 2}, []byte{5, 4, 1}}, // 2026-04-05 is a Sunday
		{"monthly", Retention{Monthly: 2}, []byte{5, 1}},
		{"young", Retention{MinAge: 6 * 24 * time.Hour}, []byte{5, 4, 3, 1}},
		{"what another tag names", Retention{Last: 1}, []byte{5, 1}},
		{"together", Retention{Last: 1, Daily: 2, Monthly: 9}, []byte{5, 4, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := choosePruned(all, "a", c.keep, day(4, 7, 9))
			var kept []byte
			for _, k := range got.Keep {
				for n := byte(1); n < 9; n++ {
					if k.Digest == snapshot.Sum([]byte{n}) {
						kept = append(kept, n)
					}
				}
			}
			if !slices.Equal(kept, c.want) {
				t.Errorf("kept %v, want %v", kept, c.want)
			}
			if len(got.Keep)+len(got.Remove) != 5+finished {
				t.Errorf("%d and %d", len(got.Keep), len(got.Remove))
			}
		})
	}
}

// Doubled immutable tags, which a copy under an immutable name used to make, are pruned as what they are.
func TestPruneDoubledTags(t *testing.T) {
	t.Parallel()
	var tags []artifact.Tag
	for day := range 3 {
		date := time.Date(2026, 1, 13, 0, 0, 0, 0, time.UTC).AddDate(0, 0, day)
		d := snapshot.Sum([]byte{byte(day)})
		end := "-" + date.Format("20060102T150405Z") + "-" + d.Hex()[:12]
		tags = append(tags, artifact.Tag{Name: "day" + end, Digest: d, Date: date}, artifact.Tag{Name: "day" + end + end, Digest: d, Date: date})
	}
	got := choosePruned(tags, "day", Retention{Last: 2}, time.Date(2026, 1, 13, 12, 0, 0, 0, time.UTC))
	if len(got.Keep) != 2 || len(got.Remove) != 4 {
		t.Errorf("keeps %v, removes %v", got.Keep, got.Remove)
	}
}
