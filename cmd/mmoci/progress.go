package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"example.org/mmoci/pkg/artifact"
)

// progress tells how far a transfer is: one line that is rewritten on a
// terminal, a line every ten seconds otherwise.
type progress struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	quiet    bool
	start    time.Time
	said     time.Time
	files    int
	skipped  int
	bytes    int64
	path     string
}

func (a *app) progress() *progress {
	p := &progress{w: a.stderr, quiet: a.quiet, start: time.Now(), said: time.Now()}
	if f, ok := a.stderr.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// event is told of every blob; it may be called concurrently.
func (p *progress) event(e artifact.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case artifact.Started:
		p.path = e.Path
	case artifact.Moved:
		p.bytes += e.Bytes
	case artifact.Done:
		p.files++
	case artifact.Skipped:
		p.skipped++
	}
	every := 10 * time.Second
	if p.terminal {
		every = 200 * time.Millisecond
	}
	if now := time.Now(); !p.quiet && now.Sub(p.said) >= every {
		p.said = now
		p.line()
	}
}

func (p *progress) line() {
	rate := float64(p.bytes) / time.Since(p.start).Seconds()
	text := fmt.Sprintf("%d files, %s, %s/s, %d were there; %s", p.files, size(p.bytes), size(int64(rate)), p.skipped, p.path)
	if !p.terminal {
		fmt.Fprintln(p.w, text)
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%.100s", text)
}

// end clears the line of a terminal.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && !p.quiet {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
