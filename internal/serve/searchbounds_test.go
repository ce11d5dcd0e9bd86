package serve

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/serve/web"
)

// A late page of a search costs what the first one costs: what is not on it is neither read nor judged.
func TestLatePages(t *testing.T) {
	const packages = 3000
	debs := map[string][]byte{}
	for i := range packages {
		debs[fmt.Sprintf("docker/pool/stable/p/p%04d_1_amd64.deb", i)] = fmt.Appendf(nil, "%d", i)
	}
	taken := spec{date: day(1), debs: debs}.take(t, newMemoryBlobs())
	rules := writeRules(t, "rules:\n- {name: none, deny: nothing-*, reason: 'for the cost'}\n")
	s, _ := run(t, Options{Sources: []Source{newTag(taken)}, Policy: rules}, false)
	book, err := chain.Read(t.Context(), chain.Options{Snapshot: taken})
	if err != nil || book.Len() != packages {
		t.Fatal(book.Len(), err)
	}
	pages, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	plain := newServed(taken).page().Snapshot
	read := plain
	read.Book = book
	for what, shown := range map[string][]web.Snapshot{"names": {plain}, "book": {read}, "both": {read, plain}} {
		v := web.View{Snapshots: shown, Base: "http://site.example.org", Policy: s.policy.Get()}
		cost := func(page int, want string) uint64 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			body, _, err := pages.Search(v, web.Asked{Query: "p", Page: page})
			runtime.ReadMemStats(&after)
			if err != nil || want != "" && !strings.Contains(string(body), ">"+want+"<") {
				t.Fatalf("%s, page %d: no %s: %v", what, page, want, err)
			}
			return after.TotalAlloc - before.TotalAlloc
		}
		cost(0, "p0000") // makes what is kept
		last := len(shown)*packages/50 - 1
		first, late, behind := cost(0, "p0049"), cost(last, "p2999"), cost(900000, "")
		if max(late, behind) > first+first/4 {
			t.Errorf("%s: the first page takes %d bytes, the last %d, one behind it %d", what, first, late, behind)
		}
	}
}
