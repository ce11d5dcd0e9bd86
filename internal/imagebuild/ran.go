package imagebuild

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/snapshot"
)

// scriptsGeneration rises when scripts are run in another way, or what they made is cleaned otherwise.
const scriptsGeneration = 3

// scriptsKey is a digest of all that decides what scripts make, but for what they do not make the same each time.
func (m *maker) scriptsKey(c chosen, groups []stack.Group) string {
	parts := []string{"system", fmt.Sprintf("scripts %d", scriptsGeneration), c.architecture, snapshot.FormatDate(m.o.date()), fmt.Sprint(m.o.Plan.ScriptsFor), fmt.Sprint(m.o.Plan.Users)}
	for _, p := range c.packages {
		parts = append(parts, "package "+lockedPackage(p).String())
	}
	for _, p := range c.helpers {
		parts = append(parts, "helper "+lockedPackage(p).String())
	}
	for _, g := range groups {
		parts = append(parts, groupKey(g, m.o.Plan.Layers.Compression))
	}
	return keyOf(parts...)
}

// ranNote is what is kept of a run: below the layer's line, the account and the shape of the layer.
type ranNote struct {
	Account []account.Line
	Entries []ranEntry
}

type ranEntry struct {
	Path     string
	Type     byte
	Mode     int64
	UID, GID int
	Link     string
	ModTime  int64
	Made     bool
	Whiteout bool
}

func ranEntryOf(e *stack.SystemEntry) ranEntry {
	return ranEntry{e.Path, e.Type, e.Mode, e.UID, e.GID, e.Link, e.ModTime, e.Made, e.Whiteout}
}

// entry is the entry again, without content. The files layer repeats its directories with their times.
func (e ranEntry) entry() stack.SystemEntry {
	return stack.SystemEntry{Entry: rootfs.Entry{Path: e.Path, Type: e.Type, Mode: e.Mode, UID: e.UID, GID: e.GID, Link: e.Link, ModTime: e.ModTime, Made: e.Made}, Whiteout: e.Whiteout}
}

// ranBefore is what the same scripts made of the same packages in an earlier run.
func (m *maker) ranBefore(ctx context.Context, key string, c chosen, notes []*rootfs.Note, groups []stack.Group, b *built) (*stack.System, image.Layer, bool) {
	if m.o.Twice || m.o.Dry {
		return nil, image.Layer{}, false
	}
	l, text, ok := m.o.Cache.read(key)
	var note ranNote
	if !ok || json.Unmarshal([]byte(text), &note) != nil || len(note.Entries) == 0 {
		return nil, image.Layer{}, false
	}
	l.By = "system"
	b.Account = note.Account
	s := &stack.System{}
	for _, e := range note.Entries {
		s.Entries = append(s.Entries, e.entry())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.again[l.Digest] = func(ctx context.Context) (layerMade, error) {
		s, err := m.runScripts(ctx, c, notes, groups, b)
		if err != nil {
			return layerMade{}, err
		}
		made, err := m.write(ctx, "system", func(_ context.Context, w io.Writer) (snapshot.Blob, error) { return s.WriteLayer(w, m.o.date()) })
		if err == nil && made.Blob != l.Blob {
			m.o.Cache.forget(key)
			err = fmt.Errorf("%w: the layer that scripts made in an earlier build is not kept any more, and run again they made another one: they do not make the same each time; build again",
				outcome.ErrRefused)
		}
		return layerMade{Layer: made}, err
	}
	return s, l, true
}

func (m *maker) keepRun(key string, s *stack.System, l image.Layer, b *built, failed error) {
	if failed != nil || s == nil || m.o.Cache == nil || m.o.Dry {
		return
	}
	note := ranNote{Account: b.Account}
	for i := range s.Entries {
		note.Entries = append(note.Entries, ranEntryOf(&s.Entries[i]))
	}
	text, err := json.Marshal(note)
	if err != nil {
		return
	}
	m.o.Cache.write(key, layerLine(l)+string(text))
}
