package pages

import (
	"errors"
	"strings"
	"testing"

	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/snapshot"
)

// A changelog is read once for each .deb and version before; what could not be read is read again, and all are bounded.
func TestChangelogs(t *testing.T) {
	t.Parallel()
	var c changelogs
	reads := 0
	text, err := "words", error(nil)
	read := func(string) *web.Changelog { reads++; return &web.Changelog{Text: text, Err: err} }
	key := func(n byte, since string) changelogKey { return changelogKey{snapshot.Sum([]byte{n}), since} }
	for _, want := range []struct {
		key   changelogKey
		reads int
	}{{key(1, "1"), 1}, {key(1, "1"), 1}, {key(1, "2"), 2}, {key(2, "1"), 3}, {key(1, "1"), 3}} {
		if got := c.of(want.key, read); got.Text != "words" || reads != want.reads {
			t.Errorf("%v: %q after %d reads", want, got.Text, reads)
		}
	}
	err = errors.New("away")
	c.of(key(3, ""), read)
	if c.of(key(3, ""), read); reads != 5 {
		t.Errorf("what could not be read was kept: %d", reads)
	}
	text, err = strings.Repeat("x", maxChangelogs/3), nil
	for n := range byte(10) {
		c.of(key(10+n, ""), read)
		sum := 0
		for _, log := range c.kept {
			sum += len(log.Text)
		}
		if sum > maxChangelogs || c.bytes > maxChangelogs {
			t.Fatalf("%d bytes are kept, counted as %d", sum, c.bytes)
		}
	}
}
