package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cost is what a piece of work took.
type cost struct {
	wall time.Duration
	cpu  time.Duration // of all its processes
	peak int64         // resident bytes of its largest process
}

// plus joins works done one after the other.
func (c cost) plus(d cost) cost {
	return cost{c.wall + d.wall, c.cpu + d.cpu, max(c.peak, d.peak)}
}

// command is a program to be measured. This process stays small, because the
// kernel counts the memory of the process that starts a program as the program's.
type command struct {
	dir  string
	env  []string
	args []string
}

// run runs it to its end; it must exit 0.
func (c command) run(ctx context.Context) (cost, []byte, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), c.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	took := cost{wall: time.Since(start)}
	if err != nil {
		return took, nil, fmt.Errorf("%s: %w\n%s", strings.Join(c.args, " "), err, tail(stderr.Bytes()))
	}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		took.peak = int64(u.Maxrss) * 1024
		took.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return took, stdout.Bytes(), nil
}

// runAll runs commands one after the other.
func runAll(ctx context.Context, cs ...command) (sum cost, err error) {
	for _, c := range cs {
		took, _, err := c.run(ctx)
		if err != nil {
			return sum, err
		}
		sum = sum.plus(took)
	}
	return sum, nil
}

func tail(b []byte) []byte {
	const most = 2000
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return b
}

// figure is one line of the table: values of pairs that were taken in turn.
type figure struct {
	name string
	unit unit
	bar  float64 // the ratio must not be more (with less, not be less); 0: none
	less bool    // a larger ratio is better
	most float64 // the value itself must not be more; 0: none
	ours []float64
	peer []float64 // empty: no peer
	with string    // the peer
}

type unit string

const (
	seconds  unit = "s"
	millis   unit = "ms"
	mebi     unit = "MiB"
	count    unit = ""
	perSec   unit = "/s"
	mebiPSec unit = "MiB/s"
)

// table collects figures in the order of their first value.
type table struct{ figures []*figure }

func (t *table) figure(f figure) *figure {
	for _, g := range t.figures {
		if g.name == f.name {
			return g
		}
	}
	t.figures = append(t.figures, &f)
	return &f
}

// pair adds both sides of one pair.
func (f *figure) pair(ours, peer float64) {
	f.ours, f.peer = append(f.ours, ours), append(f.peer, peer)
}

// alone adds a value without a peer.
func (f *figure) alone(v float64) { f.ours = append(f.ours, v) }

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratio is the median of the pairs' ratios.
func (f *figure) ratio() float64 {
	var r []float64
	for i := range f.peer {
		if f.peer[i] > 0 {
			r = append(r, f.ours[i]/f.peer[i])
		}
	}
	return median(r)
}

// fault tells why a figure measures nothing: nothing that is measured here takes no
// time, no memory and no request, so what reads 0, or was never read, was not measured.
func (f *figure) fault() error {
	none := func(v float64) bool { return !(v > 0) } // not a number, too
	switch {
	case len(f.ours) == 0:
		return fmt.Errorf("row %q: nothing was measured", f.name)
	case slices.ContainsFunc(f.ours, none):
		return fmt.Errorf("row %q: reads %v, so it does not measure", f.name, f.ours)
	case len(f.peer) > 0 && (len(f.peer) != len(f.ours) || slices.ContainsFunc(f.peer, none)):
		return fmt.Errorf("row %q: its peer (%s) reads %v, so it does not measure", f.name, f.with, f.peer)
	}
	return nil
}

// faults names every figure that measures nothing.
func (t *table) faults() error {
	var errs []error
	for _, f := range t.figures {
		errs = append(errs, f.fault())
	}
	return errors.Join(errs...)
}

// verdict holds a figure against its bar.
func (f *figure) verdict() string {
	ok := true
	switch {
	case f.fault() != nil:
		return "**not measured**"
	case f.most > 0:
		ok = median(f.ours) <= f.most
	case f.bar == 0:
		return ""
	case f.less:
		ok = f.ratio() >= f.bar
	default:
		ok = f.ratio() <= f.bar
	}
	if ok {
		return "met"
	}
	return "missed"
}

// markdown is the table as artifacts/docs/figures.md has it.
func (t *table) markdown() string {
	var b strings.Builder
	b.WriteString("| what | mmoci | peer | ratio | bar | |\n|---|---|---|---|---|---|\n")
	for _, f := range t.figures {
		peer, ratio, bar := "-", "-", "-"
		if len(f.peer) > 0 {
			peer = fmt.Sprintf("%s (%s)", f.unit.show(median(f.peer)), f.with)
			ratio = fmt.Sprintf("%.2f", f.ratio())
		}
		switch {
		case f.most > 0:
			bar = "<= " + f.unit.show(f.most)
		case f.bar > 0 && f.less:
			bar = fmt.Sprintf(">= %.2f", f.bar)
		case f.bar > 0:
			bar = fmt.Sprintf("<= %.2f", f.bar)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", f.name, f.unit.show(median(f.ours)), peer, ratio, bar, f.verdict())
	}
	return b.String()
}

func (u unit) show(v float64) string {
	switch {
	case u == count:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.0f %s", v, u)
	}
	return fmt.Sprintf("%.3g %s", v, u)
}

func inSeconds(d time.Duration) float64 { return d.Seconds() }
func inMillis(d time.Duration) float64  { return float64(d) / 1e6 }
func inMebi(n int64) float64            { return float64(n) / (1 << 20) }
