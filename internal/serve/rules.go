package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"example.org/mmoci/internal/policy"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// settle is waited after a change, for an editor or kubelet to finish.
	settle = 100 * time.Millisecond
	// reread is how often the file is looked at where no change is told (some network file systems).
	reread = 30 * time.Second
)

// rules is the policy in force, read again when its file changes. A file that
// cannot be read or parsed leaves the rules as they are. Safe for concurrent use.
type rules struct {
	file    string
	logOnly bool
	log     *slog.Logger
	metrics *metrics
	now     atomic.Pointer[policy.Policy]
	look    chan struct{} // asks the watcher to read the file now
	last    []byte        // what was read last, good or bad; the watcher's own
}

// openRules reads the file; at the start a bad one is an error.
func openRules(file string, logOnly bool, log *slog.Logger, m *metrics) (*rules, error) {
	r := &rules{file: file, logOnly: logOnly, log: log, metrics: m, look: make(chan struct{}, 1)}
	if file == "" {
		return r, nil
	}
	data, err := readRules(file)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	p, err := policy.Parse(file, data)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	r.last = data
	r.now.Store(p)
	return r, nil
}

func readRules(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, policy.MaxBytes+1))
}

// decide is the policy's decision; a denial has the words for the status line
// as reason. Log-only rules deny nothing and are counted.
func (r *rules) decide(pkg snapshot.Package, archive string) policy.Decision {
	d := r.now.Load().Decide(pkg, archive)
	if d.Allow {
		return d
	}
	d.Reason = "Denied by rule " + d.Rule + ": " + d.Reason
	if r.logOnly {
		r.metrics.logOnly.WithLabelValues(archive).Inc()
		return policy.Decision{Allow: true, Rule: d.Rule + " (log only)", Reason: d.Reason}
	}
	return d
}

// watch reads the file again when something in its directory changes: editors
// and kubelet exchange files (a ConfigMap is a symlink to a symlink) and never write in place.
func (r *rules) watch(ctx context.Context) {
	if r.file == "" {
		return
	}
	events, stop := r.events()
	defer stop()
	tick := time.NewTicker(reread)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			if !sleep(ctx, settle) {
				return
			}
			r.reload()
		case <-r.look:
			r.reload()
		case <-tick.C:
			r.reload()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// events tells of changes near the file; never, if the system cannot tell.
func (r *rules) events() (<-chan struct{}, func()) {
	out := make(chan struct{}, 1)
	w, err := fsnotify.NewWatcher()
	if err == nil {
		err = w.Add(filepath.Dir(r.file))
	}
	if err != nil {
		r.log.Warn("policy: changes are seen late", "every", reread.String(), "error", err)
		return out, func() {
			if w != nil {
				w.Close()
			}
		}
	}
	go func() {
		for {
			select {
			case _, ok := <-w.Events:
				if !ok {
					return
				}
			case _, ok := <-w.Errors: // an overflow: something happened
				if !ok {
					return
				}
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out, func() { w.Close() }
}

// reload takes the file's rules if they are others and good.
func (r *rules) reload() {
	data, err := readRules(r.file)
	if err == nil && bytes.Equal(data, r.last) {
		return
	}
	var p *policy.Policy
	if err == nil {
		r.last = data
		p, err = policy.Parse(r.file, data)
	} else if r.last == nil {
		return // said already
	} else {
		r.last = nil
	}
	if err != nil {
		r.metrics.reloads.WithLabelValues("error").Inc()
		r.log.Error("policy not reloaded, the rules stay", "error", oneLine(err))
		return
	}
	r.now.Store(p)
	r.metrics.reloads.WithLabelValues("ok").Inc()
	r.log.Info("policy reloaded", "rules", p.Rules())
}

func oneLine(err error) error {
	return errors.New(strings.ReplaceAll(err.Error(), "\n", " "))
}
