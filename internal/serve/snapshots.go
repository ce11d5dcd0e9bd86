package serve

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/registry"
	"example.org/mmoci/internal/serve/byaddress"
	"example.org/mmoci/internal/serve/dates"
	"example.org/mmoci/internal/serve/pages"
	"example.org/mmoci/internal/serve/paths"
	"example.org/mmoci/internal/serve/prefetch"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// nameTime and nameHex make the DATE-HEX12 of a snapshot: its date input
	// and the first digits of its root.
	nameTime = "20060102T150405Z"
	nameHex  = 12

	// maxPrevious and maxPreviousBytes bound the earlier snapshots of one source that are kept for
	// grace, whatever the tag does: their tables are in memory. The last one is kept whatever its size.
	maxPrevious      = 32
	maxPreviousBytes = 128 << 20
)

// immutableName is DATE-HEX12, alone or behind the name of a tag.
var immutableName = regexp.MustCompile(`^(?:[A-Za-z0-9_][A-Za-z0-9._-]*-)?([0-9]{8}T[0-9]{6}Z)-([0-9a-f]{12})$`)

// errNotFixed marks an ID that could name different snapshots at different times.
var errNotFixed = errors.New("not a digest, DATE-HEX12 or immutable tag")

// served is an opened snapshot, ready to be answered from. Immutable.
type served struct {
	*snapshot.Snapshot
	name  string          // DATE-HEX12
	until time.Time       // end of grace; zero while it is current
	valid *dates.Validity // shared by the copies

	since   time.Time          // it is the current one
	fetched *prefetch.Progress // shared by the copies

	pinned    bool   // its source's reference names it by digest
	reference string // that its source follows, if that is at a registry; else ""

	registry *registry.Held // shared by the copies; nil: /v2/ is not answered

	addresses *byaddress.Index // shared by the copies
}

func newServed(sn *snapshot.Snapshot) *served {
	return &served{
		Snapshot: sn,
		name:     sn.Statement.Date.UTC().Format(nameTime) + "-" + sn.Root.Hex()[:nameHex],
		valid:    dates.NewValidity(sn),
		fetched:  &prefetch.Progress{},

		addresses: byaddress.New(sn),
	}
}

// hold is a snapshot of source i, ready to be answered from.
func (s *Server) hold(i int, sn *snapshot.Snapshot) *served {
	h := newServed(sn)
	h.pinned = s.o.Sources[i].Pinned()
	name := s.o.Sources[i].Name()
	home := registry.HomeOf(name)
	if home.Host != "" {
		h.reference = name
	}
	if s.registry != nil {
		h.registry = s.registry.Hold(sn, home)
	}
	return h
}

// archive is the archive of a prefix; nil if the snapshot has none.
func (h *served) archive(prefix string) *snapshot.Archive { return h.Statement.Archive(prefix) }

// page is the snapshot as pages take it.
func (h *served) page() pages.Snapshot {
	return pages.Snapshot{
		Snapshot: web.Snapshot{Snapshot: h.Snapshot, Name: h.name, Pinned: h.pinned, Registry: h.reference, Expires: h.valid.Expires, ValidUntil: h.valid.Until},
		Is:       h.is, Validities: func(ctx context.Context) { h.valid.Read(ctx) },
	}
}

// openPage opens the snapshot of an ID for pages.
func (s *Server) openPage(ctx context.Context, id string) (pages.Snapshot, error) {
	h, err := s.openID(ctx, id)
	if err != nil {
		return pages.Snapshot{}, err
	}
	return h.page(), nil
}

// retired is the same snapshot with an end of its grace.
func (h *served) retired(until time.Time) *served {
	r := *h
	r.until = until
	return &r
}

// size is the memory that a snapshot takes, about, in bytes.
func (h *served) size() int64 {
	n := int64(len(h.Table.Bytes()) + len(h.StatementBytes))
	if h.registry != nil {
		n += registry.Memory(h.Snapshot)
	}
	return n
}

// is tells whether id names exactly this snapshot.
func (h *served) is(id string) bool {
	if d, err := snapshot.ParseDigest(id); err == nil {
		return d == h.Root
	}
	m := immutableName.FindStringSubmatch(id)
	return m != nil && m[1]+"-"+m[2] == h.name
}

// modified is the Last-Modified of a file. A file that another snapshot may have
// with other content has the snapshot's date, which grows along a tag, for clients
// that compare; a pool file has a constant of its digest.
func (h *served) modified(row snapshot.Row) time.Time {
	if h.changes(row) {
		return h.Statement.Date
	}
	return snapshot.ModTime(row.Digest)
}

// changes tells whether a file is anything but a pool file: below dists/, of a
// flat suite, or a program for hosts. A .deb is a pool file wherever it lies.
func (h *served) changes(row snapshot.Row) bool {
	if row.IsPackage() {
		return false
	}
	p := strings.TrimPrefix(row.Path, "upstream/")
	prefix, rest, _ := strings.Cut(p, "/")
	a := h.archive(prefix)
	if a == nil || strings.HasPrefix(rest, "dists/") {
		return true
	}
	if a.Format == snapshot.FormatFiles {
		_, plain := a.PlainFile(row)
		return !plain
	}
	return slices.ContainsFunc(a.Suites, func(s snapshot.Suite) bool {
		return snapshot.IsFlat(s.Name) && strings.HasPrefix(p, snapshot.SuiteDir(prefix, s.Name)+"/")
	})
}

// view is what the moving URLs are answered from at one instant: the current
// snapshot of each source and those before it. Immutable, replaced whole: a
// request looks at one view only.
type view struct {
	current  []*served // by source; nil: not opened yet
	previous [][]*served
	byPrefix map[string]*served
}

func newView(current []*served, previous [][]*served) *view {
	v := &view{current: current, previous: previous, byPrefix: map[string]*served{}}
	for _, h := range current {
		if h == nil {
			continue
		}
		for _, a := range h.Statement.Archives {
			v.byPrefix[a.Prefix] = h
		}
	}
	return v
}

// of is the current snapshot that has an archive.
func (v *view) of(prefix string) *served { return v.byPrefix[prefix] }

// prefixes are those of the current archives.
func (v *view) prefixes() (all []string) {
	for _, h := range v.current {
		if h == nil {
			continue
		}
		for i := range h.Statement.Archives {
			all = append(all, h.Statement.Archives[i].Prefix)
		}
	}
	return all
}

// known tells whether an archive of this prefix is served, or was within grace.
// A request for another one is no reason to ask a registry.
func (v *view) known(prefix string) bool {
	if v.byPrefix[prefix] != nil {
		return true
	}
	for _, hs := range v.previous {
		for _, h := range hs {
			if h.archive(prefix) != nil {
				return true
			}
		}
	}
	return false
}

// find looks a path up in the current snapshot, and a lasting one in those before it.
func (v *view) find(p, prefix string, now time.Time) (*served, snapshot.Row, bool) {
	if h := v.byPrefix[prefix]; h != nil {
		if row, ok := h.Table.Resolve(h.Statement, p); ok {
			return h, row, true
		}
	}
	if !paths.Lasting(p) {
		return nil, snapshot.Row{}, false
	}
	for _, hs := range v.previous {
		for _, h := range hs {
			if h.archive(prefix) == nil || now.After(h.until) {
				continue
			}
			if row, ok := h.Table.Resolve(h.Statement, p); ok {
				return h, row, true
			}
		}
	}
	return nil, snapshot.Row{}, false
}

// with is the view after source i switched to h; the snapshot that it replaces has grace until then.
func (v *view) with(i int, h *served, now, until time.Time) *view {
	current, previous := slices.Clone(v.current), slices.Clone(v.previous)
	var old []*served
	if v.current[i] != nil {
		old = append(old, v.current[i].retired(until))
	}
	for _, p := range v.previous[i] {
		if !now.After(p.until) && p.Root != h.Root {
			old = append(old, p)
		}
	}
	current[i], previous[i] = h, bounded(old, maxPreviousBytes)
	return newView(current, previous)
}

// expired is the view without snapshots whose grace is over; v itself if there are none.
func (v *view) expired(now time.Time) *view {
	previous, changed := make([][]*served, len(v.previous)), false
	for i, hs := range v.previous {
		for _, h := range hs {
			if now.After(h.until) {
				changed = true
				continue
			}
			previous[i] = append(previous[i], h)
		}
	}
	if !changed {
		return v
	}
	return newView(v.current, previous)
}

// conflict finds a prefix of h that another source than i has already.
func (v *view) conflict(i int, h *served) (prefix string, other int, found bool) {
	for j, c := range v.current {
		if j == i || c == nil {
			continue
		}
		for _, a := range h.Statement.Archives {
			if c.archive(a.Prefix) != nil && (!found || strings.Compare(a.Prefix, prefix) < 0) {
				prefix, other, found = a.Prefix, j, true
			}
		}
	}
	return prefix, other, found
}

// bounded returns the first of earlier snapshots, the latest coming first, as far as they may be kept.
func bounded(previous []*served, maxBytes int64) []*served {
	var size int64
	for i, h := range previous {
		if size += h.size(); i > 0 && (i == maxPrevious || size > maxBytes) {
			return previous[:i:i]
		}
	}
	return previous
}

// openID opens the snapshot of an ID that names one for ever. The date and root in
// a name are compared with the snapshot that was opened: a tag may be moved.
func (s *Server) openID(ctx context.Context, id string) (*served, error) {
	if _, err := snapshot.ParseDigest(id); err != nil && !immutableName.MatchString(id) {
		return nil, errNotFixed
	}
	v := s.view.Load()
	for i, h := range v.current {
		for _, h := range append([]*served{h}, v.previous[i]...) {
			if h != nil && h.is(id) {
				return h, nil
			}
		}
	}
	return s.cache.Open(ctx, id)
}

// openAny opens the snapshot of an ID from the first source that has it.
func (s *Server) openAny(ctx context.Context, id string) (*served, error) {
	err := error(snapshot.ErrNotExist)
	for i, src := range s.o.Sources {
		sn, openErr := src.Open(ctx, id)
		switch {
		case openErr == nil:
			h := s.hold(i, sn)
			if h.is(id) {
				return h, nil
			}
			err = fmt.Errorf("%s: %s names %s: %w", src.Name(), id, h.name, snapshot.ErrNotExist)
		case !errors.Is(openErr, snapshot.ErrNotExist):
			err = fmt.Errorf("%s: %w", src.Name(), openErr)
		}
	}
	return nil, err
}
