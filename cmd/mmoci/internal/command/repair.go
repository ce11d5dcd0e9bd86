package command

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Healed collects the files that a repair put again. Safe for concurrent use.
type Healed struct {
	mu      sync.Mutex
	started map[snapshot.Digest]bool
	files   []string
}

// Watch passes events on and looks at them: what was begun and done is a file that was put.
func (h *Healed) Watch(next func(artifact.Event)) func(artifact.Event) {
	h.started = map[snapshot.Digest]bool{}
	return func(e artifact.Event) {
		next(e)
		h.mu.Lock()
		defer h.mu.Unlock()
		switch {
		case e.Kind == artifact.Started:
			h.started[e.Digest] = true
		case e.Kind == artifact.Done && h.started[e.Digest]:
			h.files = append(h.files, cmp.Or(e.Path, e.Digest.String()))
		}
	}
}

// ReportRepair says what a repair put again, by name, or that nothing was lost. Where the snapshot is another one than
// before, new files cannot be told from lost ones.
func ReportRepair(a *App, h *Healed, p artifact.Pushed) {
	if p.Changed {
		a.Log("repair: %s of this snapshot were asked for, each; what was not there was put, new or lost", terminal.Count(p.Blobs, "file"))
		return
	}
	slices.Sort(h.files)
	for i, name := range h.files {
		if i == maxHealed && !a.Verbose {
			a.Log("put again: %d files more (-v names them)", len(h.files)-i)
			break
		}
		a.Log("put again: %s", name)
	}
	if len(h.files)+p.Manifests == 0 {
		a.Log("nothing was lost: %s were asked for, each, and are there", terminal.Count(p.Blobs, "file"))
	}
}

// Repaired says what a repair put again.
func Repaired(p artifact.Pushed) string {
	s := fmt.Sprintf("put again what was lost: %s, %s", terminal.Count(p.Uploaded, "file"), terminal.Size(p.Bytes))
	if p.Manifests > 0 {
		s += fmt.Sprintf(", and %s, %s", terminal.Count(p.Manifests, "manifest"), terminal.Size(p.Refilled))
	}
	return s
}

// maxHealed is how many files of a repair are named without -v.
const maxHealed = 20
