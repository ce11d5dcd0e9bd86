package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

const (
	rateWindow    = 10 * time.Second // the rate is that of so long
	slowAfter     = 5 * time.Second  // a file that takes longer is named
	leftAfter     = 2 * time.Second  // before, nothing is said of the time left
	terminalEvery = 200 * time.Millisecond
	linesEvery    = 10 * time.Second
	eventsEvery   = time.Second
)

// progress tells how far a transfer is: one line that is rewritten on a
// terminal, a line every ten seconds otherwise, or JSON lines. Safe for concurrent use.
type progress struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	width    int // of the terminal, characters
	quiet    bool
	events   bool // JSON lines
	now      func() time.Time
	said     time.Time

	plan    artifact.Event // all there is
	done    int            // files that were transferred
	there   int            // files that were found there
	bytes   int64          // moved
	reused  int64          // bytes of the files that were there
	running map[snapshot.Digest]*running
	samples []sample // of the last rateWindow, oldest first
}

// running is a file that is being transferred.
type running struct {
	path  string
	since time.Time
	moved int64
}

type sample struct {
	at    time.Time
	bytes int64
}

func (a *app) progress() *progress {
	p := &progress{w: a.stderr, quiet: a.quiet, events: a.events, width: 80, now: time.Now, running: map[snapshot.Digest]*running{}}
	if f, ok := a.stderr.(*os.File); ok && !a.events {
		p.terminal = term.IsTerminal(int(f.Fd()))
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			p.width = width
		}
	}
	p.said = p.now()
	p.samples = []sample{{p.said, 0}}
	return p
}

// event is told of every blob; it may be called concurrently.
func (p *progress) event(e artifact.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	switch e.Kind {
	case artifact.Planned:
		p.plan = e
	case artifact.Started:
		p.running[e.Digest] = &running{path: e.Path, since: now}
	case artifact.Moved:
		p.bytes += e.Bytes
		if r := p.running[e.Digest]; r != nil {
			r.moved += e.Bytes
		}
	case artifact.Done:
		if r := p.running[e.Digest]; r != nil { // else a manifest
			p.done++
			p.bytes += e.Bytes - r.moved // places that are files tell of no bytes on the way
			delete(p.running, e.Digest)
		}
	case artifact.Skipped:
		p.there++
		p.reused += e.Bytes
		delete(p.running, e.Digest)
	}
	if !p.quiet && now.Sub(p.said) >= p.every() {
		p.said = now
		p.say(p.state(now))
	}
}

func (p *progress) every() time.Duration {
	switch {
	case p.events:
		return eventsEvery
	case p.terminal:
		return terminalEvery
	}
	return linesEvery
}

// progressJSON is a JSON line of progress.
type progressJSON struct {
	Event       string  `json:"event"` // "progress"
	Files       int     `json:"files"` // transferred
	Bytes       int64   `json:"bytes"`
	Reused      int     `json:"reusedFiles"` // found there
	ReusedBytes int64   `json:"reusedBytes"`
	AllFiles    int     `json:"allFiles,omitempty"` // 0: not known
	AllBytes    int64   `json:"allBytes,omitempty"`
	Rate        int64   `json:"bytesPerSecond"`
	SecondsLeft float64 `json:"secondsLeft,omitempty"` // 0: not known
	Slow        string  `json:"slow,omitempty"`        // the file that has been under way longest, if that is long
	SlowSeconds float64 `json:"slowSeconds,omitempty"`
}

// state is how far it is.
func (p *progress) state(now time.Time) progressJSON {
	s := progressJSON{
		Event: "progress", Files: p.done, Bytes: p.bytes, Reused: p.there, ReusedBytes: p.reused,
		AllFiles: p.plan.Files, AllBytes: p.plan.Bytes, Rate: p.rate(now),
	}
	if left := p.plan.Bytes - p.bytes - p.reused; left > 0 && s.Rate > 0 && now.Sub(p.samples[0].at) >= leftAfter {
		s.SecondsLeft = float64(left) / float64(s.Rate)
	}
	longest := slowAfter
	for _, r := range p.running {
		if took := now.Sub(r.since); took > longest || took == longest && r.path < s.Slow {
			longest, s.Slow, s.SlowSeconds = took, r.path, took.Seconds()
		}
	}
	return s
}

// rate is bytes a second over the last rateWindow.
func (p *progress) rate(now time.Time) int64 {
	p.samples = append(p.samples, sample{now, p.bytes})
	for len(p.samples) > 2 && now.Sub(p.samples[1].at) >= rateWindow {
		p.samples = p.samples[1:]
	}
	first := p.samples[0]
	took := now.Sub(first.at).Seconds()
	if took <= 0 {
		return 0
	}
	return int64(float64(p.bytes-first.bytes) / took)
}

func (p *progress) say(s progressJSON) {
	if p.events {
		_ = json.NewEncoder(p.w).Encode(s)
		return
	}
	if !p.terminal {
		fmt.Fprintln(p.w, s)
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%.*s", p.width-1, s.String())
}

// String is the line for people.
func (s progressJSON) String() string {
	text := fmt.Sprintf("%d files, %s", s.Files, size(s.Bytes))
	if s.AllFiles > 0 {
		text = fmt.Sprintf("%d of %d files, %s of %s", s.Files+s.Reused, s.AllFiles, size(s.Bytes+s.ReusedBytes), size(s.AllBytes))
	}
	if s.Reused > 0 {
		text += fmt.Sprintf(" (%s were there)", size(s.ReusedBytes))
	}
	text += fmt.Sprintf(", %s/s", size(s.Rate))
	if s.SecondsLeft > 0 {
		text += ", " + left(s.SecondsLeft) + " left"
	}
	if s.Slow != "" {
		text += fmt.Sprintf("; for %s: %s", left(s.SlowSeconds), s.Slow)
	}
	return text
}

// left is a time for people: 45 s, 12 min, 3 h 20 min.
func left(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d < 100*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 100*time.Minute:
		return fmt.Sprintf("%.0f min", d.Minutes())
	default:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
}

// end clears the line of a terminal.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && !p.quiet {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
