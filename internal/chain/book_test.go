package chain

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/spool"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/snapshot"
)

// A stanza that a bad disk changed is told, and not shown as verified.
func TestChangedStanza(t *testing.T) {
	t.Parallel()
	b, err := Read(t.Context(), Options{Snapshot: world.Freeze(t, world.Good())})
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, b.text.Size())
	if _, err := b.text.ReadAt(text, 0); err != nil {
		t.Fatal(err)
	}
	text[b.entries[0].at+20] ^= 1
	if len(b.reasons) == 0 {
		t.Fatal("no lock was read")
	}
	text[b.reasons[0].at+1] ^= 1
	if b.text, err = spool.Keep(text); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(0); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Errorf("a stanza: %v", err)
	}
	if _, err := b.Get(1); err != nil {
		t.Errorf("another one: %v", err)
	}
	if _, err := b.Why(string(b.words.word(b.reasons[0].name))); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Errorf("a line of the lock: %v", err)
	}
}

// What is told of the key that signed is of the minute that is asked for, whatever was told before.
func TestSigner(t *testing.T) {
	t.Parallel()
	ring := world.UpstreamTrust(t).Upstream
	b, err := Read(t.Context(), Options{Snapshot: world.Freeze(t, world.Good()), Upstream: ring})
	if err != nil {
		t.Fatal(err)
	}
	s := b.suites[0]
	for _, now := range []time.Time{world.Now, time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), world.Now} { // then the key was not made yet
		want, known := ring[s.archive.Prefix].Info(s.release.How.Signer, now)
		if got, ok := s.signer(ring[s.archive.Prefix], now); !ok || !known || got != want || (got.AptRefuses == "") != (now == world.Now) {
			t.Errorf("at %v: %+v, %t, not %+v", now, got, ok, want)
		}
	}
}

// What is found is what a look at every package finds.
func TestSearchFindsAll(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	parts := []string{"lib", "docker", "a", "network", "x11", "Editor", "of", "c++", "zz"}
	pick := func(n int, between string) string {
		var out []string
		for range 1 + random.IntN(n) {
			out = append(out, parts[random.IntN(len(parts))])
		}
		return strings.Join(out, between)
	}
	r := &reader{Book: &Book{}, dict: newDictionary(), sections: map[string]uint16{}}
	type one struct{ name, source, description string }
	var all []one
	for range 3000 {
		p := one{pick(3, "-"), pick(3, ""), pick(6, " ")}
		all = append(all, p)
		r.add(made{version: "1"}, p.name, p.source, p.description, []string{pick(2, "-"), "needed"}, []string{"provided"})
	}
	b := r.done()
	slices.SortStableFunc(all, func(a, b one) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	for range 300 {
		query := pick(3, " ")
		var want [Ranks][]int
		words := strings.Fields(strings.ToLower(query))
		for i, p := range all {
			name, source, text := strings.ToLower(p.name), strings.ToLower(p.source), strings.ToLower(p.name+" "+p.source+" "+p.description)
			has := func(text string) bool {
				return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
			}
			switch {
			case len(words) == 1 && name == words[0]:
				want[Exact] = append(want[Exact], i)
			case len(words) == 1 && strings.HasPrefix(name, words[0]):
				want[Beginning] = append(want[Beginning], i)
			case has(name):
				want[Named] = append(want[Named], i)
			case has(source):
				want[Sourced] = append(want[Sourced], i)
			case has(text):
				want[Described] = append(want[Described], i)
			}
		}
		hits := b.Search(query)
		for rank := range Ranks {
			if got := hits.At(rank, 0, len(all)); !slices.Equal(got, want[rank]) || hits.Count(rank) != len(got) {
				t.Fatalf("%q, rank %d: %d of %d", query, rank, len(got), len(want[rank]))
			}
			if from := len(want[rank]) / 2; from > 0 && !slices.Equal(hits.At(rank, from, 3), want[rank][from:min(from+3, len(want[rank]))]) {
				t.Errorf("%q, rank %d, from %d: %v", query, rank, from, hits.At(rank, from, 3))
			}
		}
	}
	if names, more := b.Dependents("needed", 2); len(names) != 2 || !more {
		t.Errorf("%q %t", names, more)
	}
	if b.Search("needed").Len()+b.Search("provided").Len() > 0 {
		t.Error("names in relations are searched")
	}
}

// What a part is in is what a look at every word finds, however long the words are and wherever in a block they stand.
func TestHolding(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	word := func(most int) string {
		b := make([]byte, 1+random.IntN(most))
		for i := range b {
			b[i] = "abcdefgh-é"[random.IntN(11)]
		}
		return string(b)
	}
	for _, n := range []int{0, 1, 63, 64, 65, 128, 3000} {
		w := words{dictionary: newDictionary()}
		for range n {
			w.number(word(12))
		}
		w.blocks = blocksOf(&w.dictionary)
		skipped := false
		for range 500 {
			part := word(6)
			var want []uint32
			for id := range w.at {
				if strings.Contains(string(w.word(uint32(id))), part) {
					want = append(want, uint32(id))
				}
			}
			if got := slices.Collect(w.holding(part)); !slices.Equal(got, want) {
				t.Fatalf("%q of %d words: %v, want %v", part, len(w.at), got, want)
			}
			has := blockOf([]byte(part))
			skipped = skipped || slices.ContainsFunc(w.blocks, func(b block) bool { return !b.mayHave(has) })
		}
		if n > 0 && !skipped {
			t.Errorf("%d words: no block was passed over", n)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	s := world.Freeze(t, world.Good())
	n := IndexNames(s.Table)
	for row := range s.Table.Rows() {
		var want []snapshot.Row
		for other := range s.Table.Rows() {
			if other.IsPackage() && other.Name == row.Name {
				want = append(want, other)
			}
		}
		if got := slices.Collect(n.Named(row.Name)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", row.Name, got, want)
		}
	}
	for range n.Named("no-such-package") {
		t.Error("found what is not there")
	}
}

// The distance of names is what counting all ways gives, as far as the limit.
func TestDistance(t *testing.T) {
	t.Parallel()
	// slow counts without bounds (optimal string alignment).
	slow := func(a, b string) int {
		d := make([][]int, len(a)+1)
		for i := range d {
			d[i] = make([]int, len(b)+1)
			for j := range d[i] {
				switch {
				case i == 0:
					d[i][j] = j
				case j == 0:
					d[i][j] = i
				default:
					cost := 1
					if a[i-1] == b[j-1] {
						cost = 0
					}
					d[i][j] = min(d[i-1][j-1]+cost, d[i-1][j]+1, d[i][j-1]+1)
					if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
						d[i][j] = min(d[i][j], d[i-2][j-2]+1)
					}
				}
			}
		}
		return d[len(a)][len(b)]
	}
	random := rand.New(rand.NewPCG(5, 6))
	word := func() string {
		b := make([]byte, random.IntN(9))
		for i := range b {
			b[i] = "abc-1"[random.IntN(5)]
		}
		return string(b)
	}
	for range 50_000 {
		a, b, limit := word(), word(), 1+random.IntN(2)
		if got, want := distance([]byte(a), []byte(b), limit), slow(a, b); min(got, limit+1) != min(want, limit+1) {
			t.Fatalf("%q %q, limit %d: %d, want %d", a, b, limit, got, want)
		} else if want <= limit && (isFar(sketchOf([]byte(a)), sketchOf([]byte(b)), len(b)-len(a), limit) || isFar(sketchOf([]byte(a)), sketchOf([]byte(b)), 0, limit)) {
			t.Fatalf("%q %q, limit %d: are far, and %d apart", a, b, limit, want)
		}
	}
}
