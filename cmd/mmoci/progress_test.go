package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// A transfer of a hundred files of 1 MB, thirty of them there: what is said of it, as lines, on a terminal and as JSON.
func TestProgressLines(t *testing.T) {
	t.Parallel()
	for how, want := range map[string][]string{
		"lines": {
			"30 of 100 files, 30.3 MB of 100.0 MB (30.0 MB were there), 30.0 kB/s, 39 min left; for 10 s: pool/slow.deb\n",
			"59 of 100 files, 59.3 MB of 100.0 MB (30.0 MB were there), 2.9 MB/s, 14 s left; for 20 s: pool/slow.deb\n",
		},
		"terminal": {"\r\x1b[K30 of 100 files, 30.3 MB of 100.0 MB (30.0 MB were there), 30.0 kB/\r", "\r\x1b[K59 of 100 files", "\r\x1b[K"},
		"events": {
			`{"event":"progress","files":0,"bytes":300000,"reusedFiles":30,"reusedBytes":30000000,"allFiles":100,"allBytes":100000000,` +
				`"bytesPerSecond":30000,"secondsLeft":2323.3333333333335,"slow":"pool/slow.deb","slowSeconds":10}`,
		},
		"quiet": {},
	} {
		var out bytes.Buffer
		clock := time.Unix(0, 0)
		a := &app{stderr: &out, quiet: how == "quiet", events: how == "events"}
		p := a.progress()
		p.terminal, p.now, p.said, p.samples = how == "terminal", func() time.Time { return clock }, clock, []sample{{clock, 0}}
		p.width = 68
		digest := func(i int) snapshot.Digest { return snapshot.Sum(fmt.Append(nil, i)) }
		p.event(artifact.Event{Kind: artifact.Planned, Files: 100, Bytes: 100e6})
		for i := range 30 {
			p.event(artifact.Event{Kind: artifact.Skipped, Digest: digest(i), Bytes: 1e6})
		}
		p.event(artifact.Event{Kind: artifact.Started, Digest: digest(99), Path: "pool/slow.deb", Bytes: 1e6})
		p.event(artifact.Event{Kind: artifact.Moved, Digest: digest(99), Bytes: 300_000})
		clock = clock.Add(10 * time.Second)
		for i := 30; i < 59; i++ {
			p.event(artifact.Event{Kind: artifact.Started, Digest: digest(i), Path: fmt.Sprint("pool/", i), Bytes: 1e6})
			p.event(artifact.Event{Kind: artifact.Moved, Digest: digest(i), Bytes: 1e6})
			p.event(artifact.Event{Kind: artifact.Done, Digest: digest(i), Bytes: 1e6})
		}
		p.event(artifact.Event{Kind: artifact.Done, Bytes: 5000}) // a manifest
		clock = clock.Add(10 * time.Second)
		p.event(artifact.Event{Kind: artifact.Started, Digest: digest(59), Path: "pool/file", Bytes: 1e6})
		p.event(artifact.Event{Kind: artifact.Done, Digest: digest(59), Bytes: 1e6}) // a layout tells of no bytes on the way
		p.end()
		got := out.String()
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q lacks %q", how, got, w)
			}
		}
		if how == "quiet" && got != "" {
			t.Errorf("quiet: %q", got)
		}
	}
}
