package imagebuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/snapshot"
)

// scriptsGeneration rises when scripts are run in another way, or what they made is cleaned otherwise.
const scriptsGeneration = 3

// scriptsKey is a digest of all that decides what scripts make, but for what they do not make the same each time.
func (m *maker) scriptsKey(c chosen, r rootfs.Recipe, most int) string {
	parts := []string{"system", fmt.Sprintf("scripts %d", scriptsGeneration), c.architecture, snapshot.FormatDate(m.o.date())}
	for _, s := range m.o.Plan.ScriptsFor { // wherever the plan lies, and on which of its lines it says so
		parts = append(parts, fmt.Sprintf("scripts-for %s %s", s.Package, s.What))
	}
	for _, u := range m.o.Plan.Users {
		parts = append(parts, fmt.Sprintf("user %s %d %d %q %q", u.Name, u.UID, u.GID, u.Home, u.Shell))
	}
	parts = append(parts, layercache.RecipeKey(r, m.o.Plan.Layers.Compression), fmt.Sprintf("layers %d", most))
	for _, p := range c.packages {
		parts = append(parts, "package "+lockedPackage(p).String())
	}
	for _, p := range c.helpers {
		parts = append(parts, "helper "+lockedPackage(p).String())
	}
	return layercache.Key(parts...)
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

// system is what the scripts made, without content.
func (n *ranNote) system() *stack.System {
	s := &stack.System{}
	for _, e := range n.Entries {
		s.Entries = append(s.Entries, e.entry())
	}
	return s
}

// ranBefore is what the same scripts made of the same packages in an earlier run.
func (m *maker) ranBefore(key string) (*ranNote, image.Layer, bool) {
	if m.o.Twice || m.o.Dry {
		return nil, image.Layer{}, false
	}
	var note ranNote
	l, ok := m.find(key, func(l *layercache.Layer) error {
		note = ranNote{}
		if err := json.Unmarshal(l.Text, &note); err != nil {
			return err
		}
		if len(note.Entries) == 0 || l.Digest.IsZero() {
			return errors.New("it is of another layer")
		}
		return nil
	})
	if !ok {
		return nil, image.Layer{}, false
	}
	m.note(key, l)
	l.By = "system"
	return &note, l.Layer, true
}

// runAgain has the scripts run if somebody asks for the bytes of a layer that an earlier run made, and that is kept no more.
func (m *maker) runAgain(key string, c chosen, low *lower, b *built, l image.Layer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.again[l.Digest] = func(ctx context.Context) (layercache.Layer, error) {
		res, err := m.runScripts(ctx, c, func(context.Context) ([]rootfs.Entry, error) { return unionOf(c.merged, low.groups), nil })
		if err != nil {
			return layercache.Layer{}, err
		}
		s, err := m.afterScripts(ctx, c, low, res, b)
		if err != nil {
			return layercache.Layer{}, err
		}
		made, err := m.writeSystem(ctx, s)
		if err == nil && made.Blob != l.Blob {
			m.o.Cache.Forget(key)
			err = outcome.MakeAnew.For(fmt.Errorf("%w: the layer that scripts made in an earlier build is not kept any more, and run again they made another one: they do not make the same each time", outcome.ErrRefused))
		}
		return layercache.Layer{Layer: made}, err
	}
}

func (m *maker) keepRun(key string, s *stack.System, l image.Layer, b *built) {
	if m.o.Dry {
		return
	}
	note := ranNote{Account: b.Account}
	isText := true // JSON has no names of files that are none; scripts that make such a one are run each time
	for i := range s.Entries {
		e := &s.Entries[i]
		isText = isText && utf8.ValidString(e.Path) && utf8.ValidString(e.Link)
		note.Entries = append(note.Entries, ranEntryOf(e))
	}
	for _, l := range b.Account {
		isText = isText && utf8.ValidString(l.Detail)
	}
	text, err := json.Marshal(note)
	if err != nil || !isText {
		return
	}
	ran := layercache.Layer{Layer: l, Text: text}
	m.o.Cache.Keep(key, ran)
	m.note(key, ran)
}
