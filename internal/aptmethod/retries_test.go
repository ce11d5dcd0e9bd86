package aptmethod

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/mmoci/internal/testregistry"
)

// While apt waits before it asks again, it is told nothing that may lead to more, and what leads to more is under way before it waits.
func TestRetries(t *testing.T) {
	for _, c := range []struct {
		config string
		times  string // when the answers were sent, in seconds
	}{
		{"", "bad 0, other 0, good 3, bad 5, good 9, bad 11, good 17, bad 17"},
		{"Acquire::Retries::Delay=false", "bad 0, other 0, good 0, bad 0, good 0, bad 0, good 0, bad 0"},
		{"Acquire::Retries=0", "bad 0, other 0, good 0, bad 0, good 0, bad 0, good 0, bad 0"},
		{"Acquire::Retries=1", "bad 0, other 0, good 3, bad 3, good 3, bad 3, good 3, bad 3"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRetries(parseConfig(&message{fields: []field{{"Config-Item", c.config}}}))
			start := time.Now()
			var sent []string
			answer := func(uri string, transient bool) {
				r.answer(t.Context(), &request{uri: uri}, transient, func() { sent = append(sent, fmt.Sprintf("%s %.0f", uri, time.Since(start).Seconds())) })
			}
			answer("bad", true)
			answer("other", true)
			for range 3 {
				answer("good", false)
				answer("bad", true)
			}
			if got := strings.Join(sent, ", "); got != c.times {
				t.Errorf("%q: %s, want %s", c.config, got, c.times)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			r.answer(ended, &request{uri: "good"}, false, func() { t.Error("apt is gone, and is told") })
		})
	}
}

// What comes while apt waits for something else is told when that is over.
func TestAnswersWhileAptWaits(t *testing.T) {
	t.Parallel()
	_, s, base := pushed(t, testregistry.Options{})
	row, name := someDeb(t, s), filepath.Join(t.TempDir(), "f")
	dead := "oci+http://127.0.0.1:1/site/mirror:t/debian/dists/x/InRelease"
	for _, delay := range []bool{true, false} {
		a := start(t, t.TempDir(), fmt.Sprint("Acquire::Retries::Delay=", delay))
		asked := time.Now()
		if m := a.get(dead, name); m.code != codeFailure || m.get("Transient-Failure") != "true" {
			t.Fatalf("%+v", m)
		}
		if m := a.get(base+row.Path, name, expected(row)...); m.code != codeDone {
			t.Fatalf("%+v", m)
		}
		if took := time.Since(asked); took >= time.Second+aptSlack != delay { // apt waits a second
			t.Errorf("with delays %t: told after %s", delay, took)
		}
		a.end()
	}
}
