// Package pages decides what the pages of a server show: it gathers that from
// the snapshots at hand, and has package web write it. It knows no request and
// no header: who asks says by which address, and answers with what comes back.
package pages

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/policy"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// HTML is the media type of a page.
const HTML = "text/html; charset=utf-8"

// glance is how long a page waits for what it can do without.
const glance = time.Second

// Snapshot is a snapshot at hand.
type Snapshot struct {
	web.Snapshot
	// Is tells whether an ID names exactly this snapshot.
	Is func(id string) bool
	// Validities reads how long upstream's Releases are valid, as far as that can be read before the context ends.
	Validities func(context.Context)
}

// Reference is a followed reference at one instant.
type Reference struct {
	Name    string
	Failing bool      // the tag cannot be resolved now
	Refusal error     // why the snapshot that the tag names is not served; nil: it is
	Current *Snapshot // nil: none yet
	Before  *Snapshot // the one before, if it is still kept; else nil
	// IDs lists the snapshots at hand, the newest first.
	IDs func(context.Context) ([]string, error)
	// Tags are the names that those snapshots were given, by ID.
	Tags func(context.Context) (map[string][]string, error)
}

// Site is a server at one instant, and the address that it was asked at.
type Site struct {
	References []Reference
	Base       string       // URL that clients reach, without final slash
	Root       string       // relative URL of the front page, with final slash
	Key        web.Key      // the site's, for hosts
	Ring       *pgp.Keyring // the site's keys that statements are verified by; nil: none
	Troubles   []string     // what is wrong with the server
	Mirrors    []string     // names of the texts below setup/ that tell clients of mirrors
}

// Options of Pages. Policy, Decide, Open and Now are needed.
type Options struct {
	Upstream map[string]*pgp.Keyring // upstream's keys by prefix; "", the site's, is passed over
	Policy   func() *policy.Policy   // the rules in force; nil: everything is allowed
	LogOnly  bool                    // the policy is recorded and not enforced
	// Decide is the decision about the bytes of a package.
	Decide func(pkg snapshot.Package, archive string) policy.Decision
	// Open opens the snapshot of an ID that names one for ever.
	Open func(ctx context.Context, id string) (Snapshot, error)
	Now  func() time.Time
	Ages web.Ages
}

// Pages makes pages. Safe for concurrent use.
type Pages struct {
	o     Options
	web   *web.Pages
	keys  map[string]web.Key // upstream's for hosts, by prefix
	shelf chain.Shelf
	front atomic.Pointer[front]

	changelogs changelogs
	carried    carriedIn
}

// New reads the templates; nothing else is made before it is asked for.
func New(o Options) (*Pages, error) {
	w, err := web.New()
	if err != nil {
		return nil, err
	}
	keys, err := web.UpstreamKeys(o.Upstream)
	if err != nil {
		return nil, err
	}
	return &Pages{o: o, web: w, keys: keys, carried: carriedIn{turn: make(chan struct{}, 1)}}, nil
}

// CSS is the style sheet of all pages.
func (p *Pages) CSS() []byte { return p.web.CSS }

// Page is a page that can be made. Most read whole tables; who asks lets few of them be made at once.
type Page struct {
	Type     string // its media type
	Snapshot string // name of the snapshot that it is about, for logs
	Archive  string // prefix of the archive, for logs
	Small    bool   // it reads no whole table, and should not wait for those that do
	Build    func() ([]byte, error)
}

func html(build func() ([]byte, error)) *Page { return &Page{Type: HTML, Build: build} }

// Error is why there is no page.
type Error struct {
	Status int
	Reason string
	Cause  error // what is wrong with the registry or disk behind the server; nil: nothing
}

func (e *Error) Error() string { return e.Reason }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// OpenError says that the snapshot of an ID could not be opened.
type OpenError struct {
	ID  string
	Err error
}

func (e *OpenError) Error() string { return fmt.Sprintf("snapshot %.100q: %v", e.ID, e.Err) }

// Unwrap returns what Options.Open returned.
func (e *OpenError) Unwrap() error { return e.Err }

// current are the current snapshots of the references that have one, as a view lists them.
func (s Site) current() (out []Snapshot) {
	for _, r := range s.References {
		if r.Current != nil {
			out = append(out, *r.Current)
		}
	}
	return out
}

// View is what pages of the current snapshots are made of.
func (p *Pages) View(s Site) web.View {
	v := p.emptyView(s)
	v.Mirrors = s.Mirrors
	for _, c := range s.current() {
		v.Snapshots = append(v.Snapshots, c.Snapshot)
	}
	return v
}

func (p *Pages) emptyView(s Site) web.View {
	return web.View{
		Base: s.Base, Root: s.Root, Policy: p.o.Policy(), LogOnly: p.o.LogOnly, Key: s.Key, Now: p.o.Now(), UpstreamKeys: p.keys, Site: s.Ring, Ages: p.o.Ages,
	}
}

// FixedView is what pages of one snapshot are made of, below the path that names it by an ID. It reads how long
// upstream's Releases are valid, as far as that is possible now.
func (p *Pages) FixedView(ctx context.Context, s Site, id string, h Snapshot) web.View {
	h.Validities(ctx)
	return p.fixed(s, id, h)
}

func (p *Pages) fixed(s Site, id string, h Snapshot) web.View {
	v := p.emptyView(s)
	v.Snapshots, v.Base, v.Fixed = []web.Snapshot{h.Snapshot}, s.Base+"/snapshot/"+id, true
	return v
}

// viewOf is what pages of one snapshot are made of; id is how the path names it, "": it is a current one.
func (p *Pages) viewOf(s Site, id string, h Snapshot) web.View {
	if id == "" {
		return p.View(s)
	}
	return p.fixed(s, id, h)
}

// SetupPage says what each text below setup/ changes and how to undo it.
func (p *Pages) SetupPage(v web.View) *Page {
	return html(func() ([]byte, error) { return p.web.SetupPage(v) })
}

// Setup is a text below setup/ that is made for this client, by its name; nil if there is none of that name.
func (p *Pages) Setup(v web.View, name string) *Page {
	if name == "policy.pref" {
		return &Page{Type: plainText, Build: func() ([]byte, error) { return []byte(v.Preferences()), nil }}
	}
	for _, recipe := range web.Recipes() {
		if name == recipe {
			return &Page{Type: plainText, Build: func() ([]byte, error) { return p.web.Recipe(v, name) }}
		}
	}
	return nil
}

const plainText = "text/plain; charset=utf-8"

// Trouble is an answer that is no page.
type Trouble struct {
	Status int
	Reason string
	Path   string // as it was asked for
	Below  string // the same below the server's address, without first slash
	Rule   string // of the policy, which denies it; "": it does not
}

// Error is an error in the frame of the other pages.
func (p *Pages) Error(s Site, t Trouble) ([]byte, error) {
	v := p.View(s)
	for i, h := range s.current() {
		v.Snapshots[i].Book = p.shelf.Read(h.Root)
	}
	w := web.Trouble{Status: t.Status, Text: http.StatusText(t.Status), Reason: t.Reason, Path: t.Path}
	switch t.Status {
	case http.StatusForbidden:
		w.Denied = t.Rule
	case http.StatusNotFound:
		w.Ask = web.NameOf(t.Path)
		if n, ok := web.ParsePackagePath(t.Below); ok {
			w.Ask = n.Name
		}
	}
	return p.web.Error(v, w)
}
