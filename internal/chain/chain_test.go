package chain_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// keysOf are the keys of the good world.
func keysOf(t *testing.T, s *snapshot.Snapshot) chain.Options {
	t.Helper()
	return chain.Options{Snapshot: s, Upstream: world.UpstreamTrust(t).Upstream, Site: world.SiteTrust(t).Site}
}

func read(t *testing.T, o chain.Options) *chain.Book {
	t.Helper()
	b, err := chain.Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func prove(t *testing.T, b *chain.Book, name string) chain.Proof {
	t.Helper()
	all, err := b.Named(name)
	if err != nil || len(all) == 0 {
		t.Fatalf("%s: %v, %v", name, all, err)
	}
	return b.Prove(all[0], chain.ProofOptions{Place: chain.Place{Base: "http://site.example.org/snapshot/X"}, Who: "we", Now: world.Now, Hashed: true})
}

// states are the states of the steps, a letter each.
func states(p chain.Proof) string {
	var s strings.Builder
	for _, step := range p.Steps {
		s.WriteString(map[chain.State]string{chain.Verified: "v", chain.Unverified: "n", chain.Wrong: "W"}[step.State])
	}
	return s.String()
}

// Every package of the snapshot is in the book, and each step is green only where a key that was given verified it.
func TestProof(t *testing.T) {
	t.Parallel()
	s := world.Freeze(t, world.Good())
	o := keysOf(t, s)
	b := read(t, o)
	packages := 0
	for row := range s.Table.Rows() {
		if row.IsPackage() {
			packages++
		}
	}
	if b.Len() != packages || len(b.Lost) > 0 {
		t.Errorf("%d packages, want %d; %v", b.Len(), packages, b.Lost)
	}
	for i := range b.Len() {
		p, err := b.Get(i)
		if err != nil || p.Stanza == nil {
			t.Fatalf("%d: %v %v", i, p.Name, err)
		}
		proof := b.Prove(p, chain.ProofOptions{Who: "we", Now: world.Now, Hashed: true})
		if got := states(proof); got != "vvvvvvv" || proof.Believed() != chain.Verified {
			t.Errorf("%s: %s", p.Path, proof.Text())
		}
	}
	for what, c := range map[string]struct {
		change func(*chain.Options)
		hashed string
	}{
		"no key of upstream's":    {func(o *chain.Options) { o.Upstream = nil }, "nnnnvvv"},
		"another key":             {func(o *chain.Options) { o.Upstream["docker"] = world.Ring(t, forge.Mallory()) }, "nWnnvvv"},
		"only the wanted archive": {func(o *chain.Options) { o.Want = func(r snapshot.Row) bool { return r.Name == "docker-ce" } }, "vvvvvvv"},
	} {
		o := keysOf(t, s)
		c.change(&o)
		if got := states(prove(t, read(t, o), "docker-ce")); got != c.hashed {
			t.Errorf("%s: %s, want %s", what, got, c.hashed)
		}
	}
	all, _ := b.Named("docker-ce")
	if got := b.Prove(all[0], chain.ProofOptions{Who: "we", Sends: "not read"}); got.Steps[4].State != chain.Unverified || got.Believed() != chain.Unverified {
		t.Errorf("a .deb that nobody read: %s", got.Text())
	}
}

// What a thief of the site's key added or exchanged has no green stanza.
func TestProofOfForgeries(t *testing.T) {
	t.Parallel()
	d := world.Draft(t, world.Good())
	path := ""
	for p, row := range d.Rows {
		if row.Name == "docker-ce" && (path == "" || p > path) {
			path = p
		}
	}
	row := d.Rows[path]
	row.Path, row.Digest, row.Name = "docker/pool/evil_1_amd64.deb", snapshot.Sum([]byte("evil")), "evil"
	row.Size = 4
	d.Rows[row.Path] = row
	var rows []snapshot.Row
	for p, r := range d.Rows {
		r.Path = p
		rows = append(rows, r)
	}
	s := world.Freeze(t, world.Good())
	table, err := snapshot.NewTable(rows)
	if err != nil {
		t.Fatal(err)
	}
	forged := *s
	forged.Table = table
	p := prove(t, read(t, keysOf(t, &forged)), "evil")
	if p.Believed() != chain.Wrong || p.Steps[0].Reason != "no index of the archive has a stanza for this file" {
		t.Errorf("%s", p.Text())
	}
}

// Names, words, sources and dependencies are found; near names are told.
func TestFind(t *testing.T) {
	t.Parallel()
	s := world.Freeze(t, world.Good())
	b := read(t, keysOf(t, s))
	first := func(query string) string {
		hits := b.Search(query)
		for rank := range chain.Ranks {
			best := hits.At(rank, 0, 1)
			if len(best) == 0 {
				continue
			}
			p, err := b.Get(best[0])
			if err != nil {
				t.Errorf("%q: %v", query, err)
			}
			return p.Name
		}
		return ""
	}
	for query, want := range map[string]string{"docker-ce": "docker-ce", "DOCKER-CE": "docker-ce", "ce docker": "docker-ce", "docker-ce-c": "docker-ce-cli", "libc": "libc6", "no such thing": ""} {
		if got := first(query); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
	if n := b.Search("").Len(); n != b.Len() {
		t.Errorf("%d of %d", n, b.Len())
	}
	for name, want := range map[string]string{"docker-cw": "docker-ce", "dokcer-ce": "docker-ce", "ibc6": "libc6"} {
		near := b.Near(name, 5)
		if !slices.ContainsFunc(near, func(h chain.Home) bool { return h.Name == want }) {
			t.Errorf("near %s: %q", name, near)
		}
		if other := chain.NearIn(s.Table, name, 5); !slices.Equal(near, other) {
			t.Errorf("near %s: %q in the book, %q in the table", name, near, other)
		}
	}
	if near := b.Near("zzzzzzzz", 5); len(near) > 0 {
		t.Errorf("near nothing: %q", near)
	}
	if by, more := b.Dependents("containerd.io", 10); more || !slices.Contains(by, "docker-ce") {
		t.Errorf("%q %v", by, more)
	}
	if by, more := b.Dependents("libc6", 1); !more || len(by) != 1 {
		t.Errorf("bounded: %q %v", by, more)
	}
	if b.Home("docker", "") != "" || b.Home("docker-ce", "debian") != "docker" || b.Home("Docker-ce", "") != "" {
		t.Error("Home")
	}
	total, list, err := b.List(chain.Filter{Prefix: "docker", Letter: "c"}, 0, 10)
	if err != nil || total != 1 || list[0].Name != "containerd.io" {
		t.Errorf("%d %v %v", total, list, err)
	}
}

// A shelf reads a book once, and again after it was dropped.
func TestShelf(t *testing.T) {
	t.Parallel()
	var shelf chain.Shelf
	s := world.Freeze(t, world.Good())
	if shelf.Read(s.Root) != nil {
		t.Error("read before it was asked for")
	}
	first, err := shelf.Book(t.Context(), keysOf(t, s))
	if err != nil {
		t.Fatal(err)
	}
	for i := range byte(6) {
		if again, err := shelf.Book(t.Context(), keysOf(t, s)); err != nil || again != first || shelf.Read(s.Root) != first {
			t.Fatalf("%d: read again, %v", i, err)
		}
		other := *s
		other.Root = snapshot.Sum([]byte{i})
		if _, err := shelf.Book(t.Context(), keysOf(t, &other)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range byte(8) {
		other := *s
		other.Root = snapshot.Sum([]byte{100, i})
		if _, err := shelf.Book(t.Context(), keysOf(t, &other)); err != nil {
			t.Fatal(err)
		}
	}
	if shelf.Read(s.Root) != nil {
		t.Error("more books are kept than there is room for")
	}
}

// What is green hangs on the keys of the site that are believed when it is asked for, and on whether the reference of this very
// request is a pin, not on who asked first.
func TestShelfUnderOtherTrust(t *testing.T) {
	t.Parallel()
	var shelf chain.Shelf
	s := *world.Freeze(t, world.Good())
	statement := *s.Statement
	statement.How = pgp.How{Kind: pgp.Pinned}
	s.Statement = &statement
	signed := keysOf(t, &s)
	none, pinned := signed, signed
	none.Site, pinned.Site, pinned.Pinned = nil, nil, true
	for i, c := range []struct {
		o    chain.Options
		want string
	}{{signed, "vvvvvvv"}, {none, "vvvvvvn"}, {pinned, "vvvvvvv"}, {none, "vvvvvvn"}, {signed, "vvvvvvv"}} {
		b, err := shelf.Book(t.Context(), c.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := states(prove(t, b, "docker-ce")); got != c.want {
			t.Errorf("%d: %s, not %s", i, got, c.want)
		}
	}
}

// However many snapshots are asked for, few are read at once and few wait for that.
func TestShelfIsBounded(t *testing.T) {
	t.Parallel()
	const most, kept, asked = 2, 8, 30
	good, shelf := world.Freeze(t, world.Good()), chain.Shelf{}
	var mu sync.Mutex
	opened, going, peak, goOn := map[int]bool{}, 0, 0, make(chan struct{})
	errs := make(chan error, asked)
	ask := func(i int) {
		other := *good.WithBlobs(func(blobs snapshot.Blobs) snapshot.Blobs {
			return snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
				mu.Lock()
				going, opened[i] = going+1, true
				peak = max(peak, going)
				mu.Unlock()
				<-goOn
				mu.Lock()
				going--
				mu.Unlock()
				return blobs.Open(ctx, b, 0)
			})
		})
		other.Root = snapshot.Sum([]byte{byte(i)})
		_, err := shelf.Book(t.Context(), keysOf(t, &other))
		errs <- err
	}
	for i := range asked {
		go ask(i)
	}
	for range asked - kept {
		select {
		case err := <-errs:
			if !errors.Is(err, chain.ErrBusy) {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("more are read than there is room for")
		}
	}
	close(goOn)
	for range kept {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if peak > most || len(opened) != kept {
		t.Errorf("%d at once, %d in all", peak, len(opened))
	}
}

// The commands are words for a shell, whatever a stanza is called.
func TestText(t *testing.T) {
	t.Parallel()
	b := read(t, keysOf(t, world.Freeze(t, world.Good())))
	text := prove(t, b, "docker-ce").Text()
	for _, want := range []string{
		"\n1 Upstream's key: verified (", "fingerprint " + testarchive.Docker().Keys[0].Fingerprint(),
		"  $ curl -fsSo docker-ce.deb 'http://site.example.org/snapshot/X/docker/", " | sha256sum -c\n", "gpgv --status-fd 1 --keyring ./key.gpg --output Release InRelease | awk ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for in, want := range map[string]string{"a": "a", "": "''", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "a b": "'a b'"} {
		if got := chain.Quote(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

// A snapshot that a tag names is opened by digest; that is nobody's pin, and nothing is green for it.
func TestNobodysPin(t *testing.T) {
	t.Parallel()
	s := world.Freeze(t, world.Good())
	pinned := *s
	statement := *s.Statement
	statement.How = pgp.How{Kind: pgp.Pinned}
	pinned.Statement = &statement
	o := keysOf(t, &pinned)
	if got := states(prove(t, read(t, o), "docker-ce")); got != "vvvvvvv" {
		t.Errorf("with the site's key: %s", got)
	}
	o.Site = nil
	if got := states(prove(t, read(t, o), "docker-ce")); got != "vvvvvvn" {
		t.Errorf("without: %s", got)
	}
	o.Pinned = true
	if got := states(prove(t, read(t, o), "docker-ce")); got != "vvvvvvv" {
		t.Errorf("pinned: %s", got)
	}
}
