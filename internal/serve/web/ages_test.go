package web

import (
	"testing"
	"time"
)

// An old suite is not green, whether its Release says how long it is valid or not; the limits are the site's.
func TestAges(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		limits     Ages
		age, valid int // days; valid is left from now on, 0: not said
		want       string
	}{
		{Ages{}, 1, 0, "good"}, {Ages{}, 14, 0, "good"}, {Ages{}, 15, 0, "warn"}, {Ages{}, 60, 0, "bad"}, {Ages{}, 1109, 0, "bad"},
		{Ages{}, 3, 4, "good"}, {Ages{}, 100, 100, "good"}, {Ages{}, 100, 5, "warn"}, {Ages{}, 1, -1, "bad"},
		{Ages{Fresh: 90 * day}, 80, 0, "good"}, {Ages{Fresh: 90 * day}, 91, 0, "bad"}, {Ages{Fresh: 90 * day, Stale: 120 * day}, 100, 0, "warn"},
		{Ages{Stale: 7 * day}, 8, 0, "bad"}, {Ages{Stale: 7 * day}, 6, 0, "good"},
	} {
		until := time.Time{}
		if c.valid != 0 {
			until = now.Add(time.Duration(c.valid) * day)
		}
		if got := c.limits.class(now.Add(-time.Duration(c.age)*day), until, now); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
