package terminal

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
		p := newProgress(&out, how == "quiet", how == "events")
		p.terminal, p.now, p.lastShown, p.samples = how == "terminal", func() time.Time { return clock }, clock, []sample{{clock, 0}}
		p.width = 68
		digest := func(i int) snapshot.Digest { return snapshot.Sum(fmt.Append(nil, i)) }
		p.Event(artifact.Event{Kind: artifact.Planned, Files: 100, Bytes: 100e6})
		for i := range 30 {
			p.Event(artifact.Event{Kind: artifact.Skipped, Digest: digest(i), Bytes: 1e6})
		}
		p.Event(artifact.Event{Kind: artifact.Started, Digest: digest(99), Path: "pool/slow.deb", Bytes: 1e6})
		p.Event(artifact.Event{Kind: artifact.Moved, Digest: digest(99), Bytes: 300_000})
		clock = clock.Add(10 * time.Second)
		for i := 30; i < 59; i++ {
			p.Event(artifact.Event{Kind: artifact.Started, Digest: digest(i), Path: fmt.Sprint("pool/", i), Bytes: 1e6})
			p.Event(artifact.Event{Kind: artifact.Moved, Digest: digest(i), Bytes: 1e6})
			p.Event(artifact.Event{Kind: artifact.Done, Digest: digest(i), Bytes: 1e6})
		}
		p.Event(artifact.Event{Kind: artifact.Done, Bytes: 5000}) // a manifest
		clock = clock.Add(10 * time.Second)
		p.Event(artifact.Event{Kind: artifact.Started, Digest: digest(59), Path: "pool/file", Bytes: 1e6})
		p.Event(artifact.Event{Kind: artifact.Done, Digest: digest(59), Bytes: 1e6}) // a layout tells of no bytes on the way
		p.End()
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

// A server that is silent makes no events; the line is said all the same, with what is waited for. Nothing is said
// before anything moved, nor after the end.
func TestProgressWhileNothingMoves(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	clock := time.Unix(0, 0)
	p := newProgress(&out, false, false)
	p.now, p.lastShown, p.samples = func() time.Time { return clock }, clock, []sample{{clock, 0}}
	wait := func(d time.Duration) {
		clock = clock.Add(d)
		p.tick()
	}
	wait(time.Minute)
	if out.Len() > 0 {
		t.Errorf("before anything moved: %q", out.String())
	}
	p.Event(artifact.Event{Kind: artifact.Moved, Digest: snapshot.Sum(nil), Bytes: 2e6}) // of an index
	wait(5 * time.Second)
	p.Event(artifact.Event{Kind: artifact.Planned, Files: 2, Bytes: 30e6})
	same := snapshot.Sum([]byte("two files of these bytes"))
	p.Event(artifact.Event{Kind: artifact.Started, Digest: same, Path: "debian/pool/a.deb", Bytes: 1e6})
	p.Event(artifact.Event{Kind: artifact.Started, Digest: same, Path: "debian/pool/b.deb", Bytes: 1e6})
	p.Event(artifact.Event{Kind: artifact.Done, Digest: same, Path: "debian/pool/a.deb", Bytes: 1e6})
	for range 30 {
		wait(time.Second)
	}
	p.Event(artifact.Event{Kind: artifact.Done, Digest: same, Path: "debian/pool/b.deb", Bytes: 1e6})
	p.End()
	wait(time.Minute)
	p.End()
	want := "2.0 MB, 33.3 kB/s\n" + // since the beginning, a minute before
		"1 of 2 files, 1.0 MB of 30.0 MB, 200.0 kB/s, 2 min left\n" +
		"1 of 2 files, 1.0 MB of 30.0 MB, 0 bytes/s; for 15 s: debian/pool/a.deb\n" +
		"1 of 2 files, 1.0 MB of 30.0 MB, 0 bytes/s; for 25 s: debian/pool/a.deb\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// What is written while the line stands on a terminal gets a line of its own.
func TestProgressLeavesRoomForTheLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out, false, false)
	p.terminal = true
	p.Event(artifact.Event{Kind: artifact.Planned, Files: 1, Bytes: 10})
	p.lastShown = time.Time{}
	p.tick()
	p.Above(func() { fmt.Fprintln(&out, "mirror registry.example.org/site/mirror is skipped") })
	p.Above(func() { fmt.Fprintln(&out, "and another line") })
	want := "\r\x1b[K0 of 1 files, 0 bytes of 10 bytes, 0 bytes/s\r\x1b[Kmirror registry.example.org/site/mirror is skipped\nand another line\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
