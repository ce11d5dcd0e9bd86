// Package web makes what people and installers read of a server: pages,
// directory listings, search, changes, apt sources and recipes. Every text is a
// function of a View and a path.
package web

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"sync"
	text "text/template"
	"time"
	"unicode"
	"unicode/utf8"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/policy"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

//go:embed page recipes
var files embed.FS

// SecurityPolicy lets a page load its one style sheet, and nothing else.
const SecurityPolicy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// MaxQuery bounds what is searched for, in bytes.
const MaxQuery = 100

const (
	maxListed = 2000 // rows of a directory, of changes, of a list of snapshots
	maxFound  = 50   // rows of a page of a search, or of an archive
)

// ErrNoDirectory marks a path below which a snapshot has nothing.
var ErrNoDirectory = errors.New("no such directory")

// View is a server at one instant.
type View struct {
	// Snapshots are what is served below Base: the current ones, or the one that Base names.
	Snapshots []Snapshot
	Base      string // URL that clients reach, without final slash
	Fixed     bool   // Base names its snapshot
	Root      string // relative URL of the front page, with final slash
	Policy    *policy.Policy
	LogOnly   bool // the policy is recorded and not enforced
	Key       Key
	// UpstreamKeys are those of upstream that the server knows, by prefix.
	UpstreamKeys map[string]Key
	// KeyFiles has the sources name keys in files beside them, for hosts whose apt is
	// older than 2.3.10. It is so anyway where the name of a suite says that there are such hosts.
	KeyFiles bool
	// Mirrors are the names of the texts below setup/ that tell clients of mirrors.
	Mirrors []string
	Now     time.Time
	Ages    Ages
	Site    *pgp.Keyring // the site's keys, by which statements are verified; nil: none
}

// Snapshot is a snapshot that is served.
type Snapshot struct {
	*snapshot.Snapshot
	Name     string // DATE-HEX12
	Pinned   bool   // the reference that is served names it by its digest
	Registry string // reference at a registry that the server was told; "": it is somewhere else
	// Book is what its indices say, where a page needs that; nil: they were not read.
	Book *chain.Book
	// Expires tells whether upstream's Release of a suite has a Valid-Until. It is asked in a fixed View.
	Expires func(prefix, suite string) bool
	// ValidUntil is the end of what upstream's Release of a suite says it is valid for; zero: it says none, or was not read. May be nil.
	ValidUntil func(prefix, suite string) time.Time
}

// Key is the site's public key; zero: the server does not know it.
type Key struct {
	Armor        []byte
	Fingerprints []string
}

// UpstreamKeys are the keys of keyrings by prefix; "", the site's, is left out.
func UpstreamKeys(rings map[string]*pgp.Keyring) (map[string]Key, error) {
	keys := map[string]Key{}
	for prefix, ring := range rings {
		if prefix == "" {
			continue
		}
		armor, err := ring.Armor()
		if err != nil {
			return nil, fmt.Errorf("upstream's key of %s: %w", prefix, err)
		}
		keys[prefix] = Key{Armor: armor, Fingerprints: ring.Fingerprints()}
	}
	return keys, nil
}

// Find returns the snapshot that has an archive, and the archive; nil if there is none.
func (v View) Find(prefix string) (Snapshot, *snapshot.Archive) {
	for _, s := range v.Snapshots {
		if a := s.Statement.Archive(prefix); a != nil {
			return s, a
		}
	}
	return Snapshot{}, nil
}

// archives are the archives for apt and dnf of all snapshots, by prefix.
func (v View) archives() []*snapshot.Archive {
	var all []*snapshot.Archive
	for _, s := range v.Snapshots {
		for i := range s.Statement.Archives {
			if a := &s.Statement.Archives[i]; a.Format != snapshot.FormatFiles { // files are nothing of apt's or dnf's
				all = append(all, a)
			}
		}
	}
	slices.SortFunc(all, func(a, b *snapshot.Archive) int { return strings.Compare(a.Prefix, b.Prefix) })
	return all
}

// Pages makes pages. They need no script, and their links hold wherever a proxy
// puts the server. Safe for concurrent use.
type Pages struct {
	CSS     []byte // the style sheet that each links to
	pages   *template.Template
	buffers sync.Pool // of *markup
	recipes *text.Template

	mu          sync.Mutex
	totals      map[snapshot.Digest]Totals
	differences map[[2]snapshot.Digest]string
	named       map[snapshot.Digest]*chain.Names
	namedBytes  int
}

// maxNamedBytes bounds the indices of names that are kept; one of a whole release has 250 kB.
const maxNamedBytes = 8 << 20

// names is the index of the names in a snapshot. It is kept for pages that ask again.
func (p *Pages) names(s Snapshot) *chain.Names {
	p.mu.Lock()
	n, ok := p.named[s.Root]
	p.mu.Unlock()
	if ok {
		return n
	}
	n = chain.IndexNames(s.Table)
	p.mu.Lock()
	defer p.mu.Unlock()
	if other, ok := p.named[s.Root]; ok {
		return other
	}
	if p.namedBytes += n.Size(); p.named == nil || p.namedBytes > maxNamedBytes {
		p.named, p.namedBytes = map[snapshot.Digest]*chain.Names{}, n.Size()
	}
	p.named[s.Root] = n
	return n
}

// Totals are counts of a snapshot.
type Totals struct {
	Packages int
	Bytes    int64          // of its files
	Archives map[string]int // packages of each
}

// maxTotals is how many snapshots' counts are kept.
const maxTotals = 256

// Totals counts what a snapshot has; once, as long as it is among those that were asked for.
func (p *Pages) Totals(s Snapshot) Totals {
	p.mu.Lock()
	t, ok := p.totals[s.Root]
	p.mu.Unlock()
	if ok {
		return t
	}
	t.Archives = map[string]int{}
	for row := range s.Table.Rows() {
		t.Bytes += row.Size
		if row.IsPackage() {
			t.Packages++
			t.Archives[row.Archive()]++
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.totals) >= maxTotals {
		clear(p.totals)
	}
	p.totals[s.Root] = t
	return t
}

// New reads the templates.
func New() (*Pages, error) {
	pages, err := template.New("").Funcs(writers).ParseFS(files, "page/*.html")
	if err != nil {
		return nil, err
	}
	css, err := files.ReadFile("page/page.css")
	if err != nil {
		return nil, err
	}
	recipes, err := newRecipes()
	return &Pages{
		CSS: css, pages: pages, recipes: recipes, buffers: sync.Pool{New: func() any { return new(markup) }},
		totals: map[snapshot.Digest]Totals{}, differences: map[[2]snapshot.Digest]string{},
	}, err
}

// shell is what every page has.
type shell struct{ Title, Query, Root string }

func (v View) shell(title string) shell { return shell{Title: title + " · mmoci", Root: v.Root} }

// html executes a template.
func (p *Pages) html(name string, data any) (page []byte, err error) {
	page = p.page(func(m *markup) { err = p.pages.ExecuteTemplate(m, name, data) })
	if err != nil {
		return nil, err
	}
	return page, nil
}

// page is what is written, with nothing in it that cannot be seen.
func (p *Pages) page(write func(*markup)) []byte {
	m := p.buffers.Get().(*markup)
	m.Reset()
	write(m)
	page := bytes.Clone(shown(m.Bytes()))
	if m.Cap() <= maxBuffer {
		p.buffers.Put(m)
	}
	return page
}

// maxBuffer is how large a buffer may be that is used again, in bytes.
const maxBuffer = 64 << 10

// shown is a text with nothing in it that cannot be seen.
func shown(text []byte) []byte {
	for i := 0; i < len(text); {
		r, n := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(text[i:])
		}
		if r < ' ' || r >= 0x7f {
			if visible(r) != r || r == utf8.RuneError {
				return bytes.Map(visible, text)
			}
		}
		i += n
	}
	return text
}

// visible replaces characters that are there and cannot be seen: control characters, and the
// format characters of which some turn the direction of writing, so that a name reads as another.
func visible(r rune) rune {
	if r >= ' ' && r < 0x7f {
		return r
	}
	if r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf) {
		return unicode.ReplacementChar
	}
	return r
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
