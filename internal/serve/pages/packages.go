package pages

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/imagefind"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// book is what the indices of a snapshot say of its packages. They are read when it is first asked for.
func (p *Pages) book(ctx context.Context, s Site, h Snapshot) (*chain.Book, error) {
	book, err := p.shelf.Book(ctx, chain.Options{Snapshot: h.Snapshot.Snapshot, Upstream: p.o.Upstream, Site: s.Ring, Pinned: h.Pinned})
	switch {
	case err == nil:
		return book, nil
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &Error{http.StatusServiceUnavailable, "the indices of this snapshot are being read for the first time; ask again", err}
	case errors.Is(err, chain.ErrBusy):
		return nil, &Error{http.StatusServiceUnavailable, chain.ErrBusy.Error(), err}
	case errors.Is(err, snapshot.ErrIntegrity):
		return nil, &Error{http.StatusBadGateway, "the indices of this snapshot contradict themselves; the log says how", err}
	}
	return nil, &Error{http.StatusBadGateway, "the indices of this snapshot cannot be read now", err}
}

// Search answers a search. Where the indices of a snapshot cannot be read, it goes by names alone.
func (p *Pages) Search(ctx context.Context, s Site, asked web.Asked) *Page {
	v := p.View(s)
	for i, h := range s.current() {
		if book, err := p.book(ctx, s, h); err == nil {
			v.Snapshots[i].Book = book
		}
	}
	page := html(func() ([]byte, error) {
		body, _, err := p.web.Search(v, asked)
		return body, err
	})
	if asked.JSON {
		page.Type = "application/json"
	}
	return page
}

// Package answers for the path PREFIX/package/NAME[/VERSION] of a snapshot, and for PREFIX/package/, the list of packages; nil if
// it is no such path. id is how the path names the snapshot; "": it is a current one.
func (p *Pages) Package(ctx context.Context, s Site, h Snapshot, id, path string, asked url.Values) (*Page, error) {
	if prefix, ok := web.ParseArchivePath(path); ok && h.Statement.Archive(prefix) != nil {
		return p.archive(ctx, s, h, id, prefix, asked)
	}
	n, ok := web.ParsePackagePath(path)
	if !ok || h.Statement.Archive(n.Prefix) == nil {
		return nil, nil
	}
	n.Arch = asked.Get("arch")
	book, err := p.book(ctx, s, h)
	if err != nil {
		return nil, err
	}
	chosen, err := web.Choose(book, n)
	if errors.Is(err, web.ErrNoPackage) {
		return nil, &Error{Status: http.StatusNotFound, Reason: fmt.Sprintf("no package %.100q in archive %s of snapshot %s", n.Name, n.Prefix, h.Name)}
	}
	if err != nil {
		return nil, &Error{http.StatusInternalServerError, "the page cannot be made", err}
	}
	pkg, v, show := chosen[0], p.viewOf(s, id, h), asked.Get("show")
	// What takes a registry's time is read before others wait for this page to be made.
	var aside web.Aside
	var held []web.Held
	if show == "history" || show == "changelog" {
		held = p.held(ctx, s, h)
	}
	switch show {
	case "history":
		aside.History = held
	case "images":
		aside.Images = p.images(ctx, s, h, pkg.Name)
	}
	page := html(func() ([]byte, error) {
		if show == "changelog" {
			aside.Changelog = p.changelog(ctx, h, pkg, held)
		}
		return p.web.Package(v, h.Snapshot, book, chosen, aside)
	})
	page.Snapshot, page.Archive, page.Small = h.Name, n.Prefix, show == ""
	return page, nil
}

// changelog reads what changed in a package since the version before, out of its .deb.
func (p *Pages) changelog(ctx context.Context, h Snapshot, pkg chain.Package, held []web.Held) *web.Changelog {
	// What the policy denies is given by no path to its bytes.
	if d := p.o.Decide(pkg.Package, pkg.Archive()); !d.Allow {
		return &web.Changelog{Denied: true}
	}
	older := held
	for i := range held {
		if held[i].Name == h.Name {
			older = held[i+1:]
			break
		}
	}
	return p.changelogs.of(changelogKey{pkg.Digest, p.web.Before(older, pkg)}, func(since string) *web.Changelog {
		return web.ReadChangelog(ctx, h.Snapshot.Snapshot, pkg, since)
	})
}

// images reads which images of a snapshot have a package.
func (p *Pages) images(ctx context.Context, s Site, h Snapshot, name string) *web.Images {
	carried, err := p.carried.of(ctx, h.Snapshot.Snapshot, s.Ring)
	if err != nil {
		return &web.Images{Err: err}
	}
	return &web.Images{Holders: carried.Holders(name), Unknown: carried.Unknown}
}

// maxCarried is of how many snapshots it is kept what their images are made of.
const maxCarried = 2

// carriedIn keeps what the images of snapshots are made of. Safe for concurrent use.
type carriedIn struct {
	turn chan struct{} // of size 1: one snapshot is read at a time, and who has the turn may touch kept
	kept []carriedOf
}

type carriedOf struct {
	root    snapshot.Digest
	ring    *pgp.Keyring
	carried *imagefind.Carried
}

func (c *carriedIn) of(ctx context.Context, s *snapshot.Snapshot, ring *pgp.Keyring) (*imagefind.Carried, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for _, k := range c.kept {
		if k.root == s.Root && k.ring == ring {
			return k.carried, nil
		}
	}
	read, err := imagefind.ReadCarried(ctx, s, ring)
	if err != nil {
		return nil, err
	}
	c.kept = append([]carriedOf{{s.Root, ring, read}}, c.kept[:min(len(c.kept), maxCarried-1)]...)
	return read, nil
}

// maxChangelogs bounds the changelogs that are kept, in bytes.
const maxChangelogs = 1 << 20

// changelogs are what was read out of .debs: it is a function of the digest, and may take a registry's time. The zero value is ready. Safe for
// concurrent use.
type changelogs struct {
	mu    sync.Mutex
	kept  map[changelogKey]*web.Changelog
	bytes int
}

// changelogKey is a .deb, and the version from which on its changes are told.
type changelogKey struct {
	digest snapshot.Digest
	since  string
}

// of is a changelog, read if it is not kept. One that could not be read is not kept.
func (c *changelogs) of(key changelogKey, read func(since string) *web.Changelog) *web.Changelog {
	c.mu.Lock()
	kept := c.kept[key]
	c.mu.Unlock()
	if kept != nil {
		return kept
	}
	log := read(key.since)
	if size := len(log.Text) + 256; log.Err == nil && size <= maxChangelogs {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.kept == nil || c.bytes+size > maxChangelogs {
			c.kept, c.bytes = map[changelogKey]*web.Changelog{}, 0
		}
		if c.kept[key] == nil {
			c.kept[key] = log
			c.bytes += size
		}
	}
	return log
}

// held are the newest snapshots of the reference that h comes from, the newest first.
func (p *Pages) held(ctx context.Context, s Site, h Snapshot) (out []web.Held) {
	for _, r := range s.References {
		ids, err := r.IDs(ctx)
		if err != nil {
			continue
		}
		mine := r.Current != nil && r.Current.Name == h.Name
		for _, id := range ids {
			mine = mine || h.Is(id)
		}
		if !mine {
			continue
		}
		for _, id := range ids[:min(len(ids), web.MaxHistory)] {
			other, err := p.o.Open(ctx, id)
			if err != nil {
				out = append(out, web.Held{Snapshot: web.Snapshot{Name: id}, Err: err})
				continue
			}
			if len(out) == 0 || out[len(out)-1].Name != other.Name {
				out = append(out, web.Held{Snapshot: other.Snapshot})
			}
		}
		break
	}
	if len(out) == 0 {
		out = append(out, web.Held{Snapshot: h.Snapshot})
	}
	return out
}

// archive lists the packages of an archive.
func (p *Pages) archive(ctx context.Context, s Site, h Snapshot, id, prefix string, asked url.Values) (*Page, error) {
	book, err := p.book(ctx, s, h)
	if err != nil {
		return nil, err
	}
	v := p.viewOf(s, id, h)
	page := html(func() ([]byte, error) {
		of := h.Snapshot
		of.Book = book
		return p.web.Archive(v, of, prefix, asked)
	})
	page.Snapshot, page.Archive = h.Name, prefix
	return page, nil
}
