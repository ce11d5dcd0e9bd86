package terminal

import (
	"cmp"
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
	leftAfter     = 2 * time.Second  // before, the time left is not shown
	terminalEvery = 200 * time.Millisecond
	linesEvery    = 10 * time.Second
	eventsEvery   = time.Second
	tickEvery     = time.Second // a silent server makes no events, and must be shown
)

// Progress shows how far a transfer is: one line that is rewritten on a
// terminal, a line every ten seconds otherwise, or JSON lines. It also shows
// it while nothing moves. Safe for concurrent use.
type Progress struct {
	mu        sync.Mutex
	w         io.Writer
	terminal  bool
	width     int // of the terminal, characters
	quiet     bool
	events    bool // JSON lines
	now       func() time.Time
	lastShown time.Time
	shown     bool // a line stands on the terminal
	ended     bool
	ticker    *time.Ticker // nil: none
	stop      chan struct{}

	plan    artifact.Event // all there is
	done    int            // files that were transferred
	skipped int            // files that were found there
	bytes   int64          // moved
	reused  int64          // bytes of the files that were there
	running map[snapshot.Digest]*running
	samples []sample // of the last rateWindow, oldest first
}

// running is content that is being transferred.
type running struct {
	path  string
	since time.Time
	moved int64
	files int // that have this content
}

type sample struct {
	at    time.Time
	bytes int64
}

// Is reports whether what is written to w is shown on a terminal.
func Is(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newProgress returns a progress that is shown on w: as JSON lines where events is set, not at all where quiet is.
func newProgress(w io.Writer, quiet, events bool) *Progress {
	p := &Progress{w: w, quiet: quiet, events: events, width: 80, now: time.Now, running: map[snapshot.Digest]*running{}}
	if f, ok := w.(*os.File); ok && !events {
		p.terminal = Is(f)
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			p.width = width
		}
	}
	p.lastShown = p.now()
	p.samples = []sample{{p.lastShown, 0}}
	return p
}

// Start shows a transfer until the caller ends it.
func Start(w io.Writer, quiet, events bool) *Progress {
	p := newProgress(w, quiet, events)
	if p.quiet {
		return p
	}
	p.ticker, p.stop = time.NewTicker(min(p.every(), tickEvery)), make(chan struct{})
	go func() {
		for {
			select {
			case <-p.ticker.C:
				p.tick()
			case <-p.stop:
				return
			}
		}
	}()
	return p
}

// Event takes an event of a blob; it may be called concurrently.
func (p *Progress) Event(e artifact.Event) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	switch e.Kind {
	case artifact.Planned:
		p.plan, p.bytes = e, 0 // what was read to make the plan does not count
		p.samples = []sample{{now, 0}}
	case artifact.Started:
		if r := p.running[e.Digest]; r != nil {
			r.files++
		} else {
			p.running[e.Digest] = &running{path: cmp.Or(e.Path, e.Digest.String()), since: now, files: 1} // a copy knows no paths
		}
	case artifact.Moved:
		p.bytes += e.Bytes
		if r := p.running[e.Digest]; r != nil {
			r.moved += e.Bytes
		}
	case artifact.Done:
		if r := p.running[e.Digest]; r != nil { // else a manifest
			p.done++
			p.bytes += e.Bytes - r.moved // layouts and archives send no Moved events
			r.moved = 0
			if r.files--; r.files == 0 {
				delete(p.running, e.Digest)
			}
		}
	case artifact.Skipped:
		p.skipped++
		p.reused += e.Bytes
		delete(p.running, e.Digest)
	}
	p.due(now)
}

// tick is called now and then, whether anything happens or not.
func (p *Progress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due(p.now())
}

// due shows how far it is when it is time to. Before anything moved there is nothing to show.
func (p *Progress) due(now time.Time) {
	if p.quiet || p.ended || now.Sub(p.lastShown) < p.every() || p.plan.Files == 0 && p.bytes == 0 && len(p.running) == 0 {
		return
	}
	p.lastShown = now
	p.show(p.state(now))
}

func (p *Progress) every() time.Duration {
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
func (p *Progress) state(now time.Time) progressJSON {
	s := progressJSON{
		Event: "progress", Files: p.done, Bytes: p.bytes, Reused: p.skipped, ReusedBytes: p.reused,
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
func (p *Progress) rate(now time.Time) int64 {
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

func (p *Progress) show(s progressJSON) {
	if p.events {
		_ = json.NewEncoder(p.w).Encode(s)
		return
	}
	if !p.terminal {
		fmt.Fprintln(p.w, s)
		return
	}
	p.shown = true
	fmt.Fprintf(p.w, "\r\x1b[K%.*s", p.width-1, s.String())
}

// Above calls write with the line of the terminal cleared.
func (p *Progress) Above(write func()) {
	if p == nil {
		write()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	write()
}

func (p *Progress) clear() {
	if p.shown {
		p.shown = false
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// String is the line for people.
func (s progressJSON) String() string {
	text := Size(s.Bytes) // before the plan is known: indices
	if s.AllFiles > 0 {
		text = fmt.Sprintf("%d of %d files, %s of %s", s.Files+s.Reused, s.AllFiles, Size(s.Bytes+s.ReusedBytes), Size(s.AllBytes))
	}
	if s.Reused > 0 {
		text += fmt.Sprintf(" (%s were there)", Size(s.ReusedBytes))
	}
	text += fmt.Sprintf(", %s/s", Size(s.Rate))
	if s.SecondsLeft > 0 {
		text += ", " + left(s.SecondsLeft) + " left"
	}
	if s.Slow != "" {
		text += fmt.Sprintf("; for %s: %s", left(s.SlowSeconds), printable([]byte(s.Slow)))
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

// End clears the line of a terminal; nothing is shown afterwards. It may be called again.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	if p.ended {
		return
	}
	p.ended = true
	if p.ticker != nil {
		p.ticker.Stop()
		close(p.stop)
	}
}
