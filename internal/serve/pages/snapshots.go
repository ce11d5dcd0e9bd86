package pages

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.org/mmoci/internal/policy"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/archive/pgp"
)

// Front says what is served.
func (p *Pages) Front(ctx context.Context, s Site) *Page {
	ctx, cancel := context.WithTimeout(ctx, glance)
	for _, h := range s.current() {
		h.Validities(ctx)
	}
	cancel()
	v := p.View(s)
	key := p.frontKey(s, v)
	if last := p.front.Load(); last.is(key, v) {
		page := html(func() ([]byte, error) { return last.body, nil })
		page.Small = true
		return page
	}
	return html(func() ([]byte, error) {
		var references []web.Reference
		for _, r := range s.References {
			w := web.Reference{Name: r.Name, Failing: r.Failing, Refusal: r.Refusal}
			if r.Current != nil {
				w.Snapshot = &r.Current.Snapshot
			}
			references = append(references, w)
		}
		body, err := p.web.Front(v, references, s.Troubles, p.changedLast(s))
		if err == nil {
			p.front.Store(&front{key, v.Policy, v.Site, v.Key.Armor, body})
		}
		return body, err
	})
}

// front is the front page as it was made last: it is what most people see first, and mostly the same.
type front struct {
	key    string
	policy *policy.Policy // it is held here: no other one can have its address meanwhile
	ring   *pgp.Keyring   // likewise
	armor  []byte
	body   []byte
}

// is tells whether it is what would be made anew.
func (f *front) is(key string, v web.View) bool {
	return f != nil && f.key == key && f.policy == v.Policy && f.ring == v.Site && bytes.Equal(f.armor, v.Key.Armor)
}

// frontKey is what the front page is a function of, but for the policy and the site's keys; of the time it is the minute, by which something may have expired.
func (p *Pages) frontKey(s Site, v web.View) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %d %q %q\n", s.Base, s.Root, v.Now.Unix()/60, s.Troubles, s.Mirrors)
	for _, r := range s.References {
		fmt.Fprintf(&b, "%q %t %v", r.Name, r.Failing, r.Refusal)
		for _, h := range []*Snapshot{r.Current, r.Before} {
			if h == nil {
				b.WriteString(" -")
				continue
			}
			b.WriteString(" " + h.Root.String())
			for i := range h.Statement.Archives {
				for j := range h.Statement.Archives[i].Suites {
					prefix, suite := h.Statement.Archives[i].Prefix, h.Statement.Archives[i].Suites[j].Name
					fmt.Fprintf(&b, " %d", h.ValidUntil(prefix, suite).Unix())
				}
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// changedLast says of each reference what changed with its current snapshot, as far as the one before is still kept.
func (p *Pages) changedLast(s Site) (lines []string) {
	for _, r := range s.References {
		if r.Current != nil && r.Before != nil {
			lines = append(lines, r.Before.Name+" to "+r.Current.Name+": "+p.web.Difference(r.Before.Snapshot, r.Current.Snapshot))
		}
	}
	return lines
}

// Snapshot is the page of one snapshot; v is its fixed view.
func (p *Pages) Snapshot(v web.View) *Page {
	return html(func() ([]byte, error) { return p.web.Snapshot(v) })
}

// Directory lists a directory of a snapshot, whose path ends in a slash. It builds with [web.ErrNoDirectory] if nothing is below it.
func (p *Pages) Directory(s Site, h Snapshot, path string) *Page {
	page := html(func() ([]byte, error) {
		body, err := p.web.Directory(web.View{Root: s.Root}, h.Snapshot, path)
		if err != nil {
			return nil, fmt.Errorf("%w in snapshot %s", err, h.Name)
		}
		return body, nil
	})
	page.Snapshot = h.Name
	return page
}

// List lists the snapshots at hand.
func (p *Pages) List(ctx context.Context, s Site) (*Page, error) {
	var lists [][]web.Listed
	for _, r := range s.References {
		ids, err := r.IDs(ctx)
		if err != nil {
			return nil, &Error{http.StatusBadGateway, "the registry does not tell now which there are", err}
		}
		tags, err := r.Tags(ctx)
		if err != nil {
			return nil, &Error{http.StatusBadGateway, "the registry does not tell now which there are", err}
		}
		var list []web.Listed
		for n, id := range ids {
			l := web.Listed{ID: id, Tags: tags[id], Current: r.Current != nil && r.Current.Is(id)}
			if n < web.MaxOpened {
				if h, err := p.o.Open(ctx, id); err == nil {
					l.Snapshot = &h.Snapshot
				}
			}
			list = append(list, l)
		}
		lists = append(lists, list)
	}
	return html(func() ([]byte, error) { return p.web.List(p.View(s), lists) }), nil
}

// Changes compares the snapshots that from and to name in a query, or else the current snapshots with those before them. Without to it is
// the current snapshot of the first reference.
// The error is an [OpenError] if one of them cannot be opened.
func (p *Pages) Changes(ctx context.Context, s Site, asked url.Values) (*Page, error) {
	if !asked.Has("from") && !asked.Has("to") {
		return p.lastChanges(ctx, s), nil
	}
	var two [2]Snapshot
	for i, id := range []string{asked.Get("from"), asked.Get("to")} {
		if i == 1 && !asked.Has("to") && len(s.References) > 0 && s.References[0].Current != nil {
			two[i] = *s.References[0].Current
			continue
		}
		h, err := p.o.Open(ctx, id)
		if err != nil {
			return nil, &OpenError{id, err}
		}
		two[i] = h
	}
	steps := []web.Change{{Reference: "between two snapshots", Old: &two[0].Snapshot, New: &two[1].Snapshot}}
	return html(func() ([]byte, error) { return p.web.Changes(p.View(s), steps, ids(ctx, s)) }), nil
}

func (p *Pages) lastChanges(ctx context.Context, s Site) *Page {
	var steps []web.Change
	for _, r := range s.References {
		c := web.Change{Reference: r.Name}
		if r.Current != nil {
			c.New = &r.Current.Snapshot
			if old := p.before(ctx, r); old != nil {
				c.Old = &old.Snapshot
			}
		}
		steps = append(steps, c)
	}
	return html(func() ([]byte, error) { return p.web.Changes(p.View(s), steps, ids(ctx, s)) })
}

// ids are the snapshots at hand, as far as that can be told now.
func ids(ctx context.Context, s Site) (all []string) {
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	for _, r := range s.References {
		if ids, err := r.IDs(ctx); err == nil {
			all = append(all, ids...)
		}
	}
	return all
}

// before is the snapshot before the current one of a reference: one that is still
// kept, or the newest older one. nil if there is none, or none can be had now.
func (p *Pages) before(ctx context.Context, r Reference) *Snapshot {
	if r.Before != nil {
		return r.Before
	}
	ids, err := r.IDs(ctx)
	if err != nil {
		return nil
	}
	date := func(id string) string { date, _, _ := strings.Cut(id, "-"); return date } // of DATE-HEX12
	at := slices.IndexFunc(ids, r.Current.Is)
	switch {
	case at < 0:
		return nil
	case at+1 < len(ids):
		at++
	case at > 0 && date(ids[at-1]) == date(ids[at]):
		at-- // of several of one date nobody knows which came first
	default:
		return nil
	}
	h, err := p.o.Open(ctx, ids[at])
	if err != nil {
		return nil
	}
	return &h
}
