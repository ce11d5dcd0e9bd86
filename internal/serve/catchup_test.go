package serve

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// known is a tag whose earlier snapshots are listed, newest first.
type known struct {
	*tag
	ids    []string
	listed atomic.Int32
}

func (k *known) IDs(context.Context) ([]string, error) { k.listed.Add(1); return k.ids, nil }

// A snapshot that the tag named between two questions, or before the server
// was started, is answered from where a client brings its Release from elsewhere.
func TestSnapshotsPassedOver(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	var sns []*snapshot.Snapshot
	k := &known{tag: newTag()}
	for i := range 6 {
		sn := withIndex(t, m, i)
		k.move(sn)
		sns, k.ids = append(sns, sn), append([]string{newHeld(sn).name}, k.ids...)
	}
	only := func(i int) string { return byHash(t, sns[i]) }
	gone := "/docker/dists/bookworm/main/by-hash/SHA256/" + strings.Repeat("0", 64)
	ask := func(base, target string, want int) {
		t.Helper()
		if a := request(t, base, "GET", target); a.status != want {
			t.Errorf("%s: %d %s, want %d", target, a.status, a.phrase, want)
		}
	}

	k.move(sns[1])
	_, base := run(t, Options{Sources: []Source{k}, Follow: time.Hour}, false)
	ask(base, "/docker/pool/none_1_all.deb", 404)
	if n := k.listed.Load(); n != 0 {
		t.Errorf("a pool file that is nowhere: listed %d times", n)
	}
	k.move(sns[4])
	ask(base, only(3), 200) // passed over
	ask(base, only(2), 200)
	ask(base, only(1), 200) // was in force
	ask(base, only(0), 404)
	for range 5 {
		ask(base, gone, 404)
	}
	if n := k.listed.Load(); n != 1 {
		t.Errorf("listed %d times", n)
	}

	if list := string(request(t, base, "GET", "/snapshot/").body); strings.Count(list, "(current)") != 1 || !strings.Contains(list, newHeld(sns[4]).name+"</a> (current)") {
		t.Errorf("list of snapshots:\n%s", list)
	}

	fresh := &known{tag: k.tag, ids: k.ids}
	_, base = run(t, Options{Sources: []Source{fresh}, Follow: time.Hour}, false)
	ask(base, only(3), 200)
	ask(base, only(0), 404) // more than maxCatchUp ago
	ask(base, "/docker/dists/bookworm/main/which", 200)
}
