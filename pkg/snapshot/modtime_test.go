package snapshot

import (
	"testing"
	"time"
)

func TestModTime(t *testing.T) {
	t.Parallel()
	year2000 := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		digest  Digest
		seconds time.Duration
	}{
		{Digest{}, 0},
		{Digest{0, 0, 0, 0x0f, 0xff}, 0},
		{Digest{0, 0, 0, 0x10}, 1},
		{Digest{0x12, 0x34, 0x56, 0x78}, 0x1234567},
		{Digest{0xff, 0xff, 0xff, 0xff}, 1<<28 - 1},
	} {
		if got, want := ModTime(c.digest), year2000.Add(c.seconds*time.Second); !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("ModTime(%x) = %v, want %v", c.digest[:4], got, want)
		}
	}
}
