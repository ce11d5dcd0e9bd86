package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/serve/dates"
	"example.org/mmoci/pkg/snapshot"
)

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock { c := &clock{}; c.at.Store(day(30).UnixNano()); return c }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// debsUpTo are n packages, each with content of its own.
func debsUpTo(n int) map[string][]byte {
	debs := map[string][]byte{}
	for i := range n {
		debs[fmt.Sprintf("docker/pool/p/p%d_1_amd64.deb", i)] = bytesOf(fmt.Sprint("p", i), 2000)
	}
	return debs
}

func byHash(t *testing.T, sn *snapshot.Snapshot) string {
	t.Helper()
	row := mustFind(t, sn, "docker/dists/bookworm/main/binary-amd64/Packages.gz")
	return "/docker/dists/bookworm/main/binary-amd64/by-hash/SHA256/" + row.Digest.Hex()
}

func TestTagMoves(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	first := spec{date: day(1), debs: map[string][]byte{"docker/pool/old_1_amd64.deb": []byte("old")}}.take(t, m)
	second := spec{date: day(2), debs: map[string][]byte{"docker/pool/new_1_amd64.deb": []byte("new")}}.take(t, m)
	g, c := newTag(first), newClock()
	s, base := run(t, Options{Sources: []Source{g}, Now: c.now, Grace: time.Hour}, false)
	status := func(target string) int { return ask(t, base, "GET", target).status }

	g.move(second)
	// Nothing but a by-hash name or a pool file makes the server ask.
	asked := g.asked()
	if got := status("/docker/dists/bookworm/main/binary-amd64/Packages.xz"); got != 404 || g.asked() != asked {
		t.Errorf("plain index: %d, asked %d times", got, g.asked()-asked)
	}
	if got := status(byHash(t, second)); got != 200 {
		t.Errorf("by-hash of the new snapshot: %d", got)
	}
	if got := s.view.Load().current[0].Root; got != second.Root {
		t.Errorf("current: %s", got)
	}
	// What clients of the snapshot before still need is answered, in grace.
	for _, target := range []string{byHash(t, first), "/docker/pool/old_1_amd64.deb", "/upstream/docker/pool/old_1_amd64.deb", "/docker/pool/new_1_amd64.deb"} {
		if got := status(target); got != 200 {
			t.Errorf("%s: %d", target, got)
		}
	}
	if a := ask(t, base, "GET", "/docker/dists/bookworm/Release"); !strings.Contains(string(a.body), "release 2024-11-02") {
		t.Errorf("Release of the snapshot before: %s", a.body)
	}
	c.advance(time.Hour + time.Second)
	for _, target := range []string{byHash(t, first), "/docker/pool/old_1_amd64.deb"} {
		if got := status(target); got != 404 {
			t.Errorf("after grace, %s: %d", target, got)
		}
	}
	s.forget()
	if n := len(s.view.Load().previous[0]); n != 0 {
		t.Errorf("%d snapshots kept after grace", n)
	}
	// By its ID it stays.
	if got := status("/snapshot/" + newServed(first).name + "/docker/pool/old_1_amd64.deb"); got != 200 {
		t.Errorf("by ID: %d", got)
	}
}

// A tag moved to an older Date is not followed, said once and counted.
func TestTagMovedBack(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	first := spec{date: day(5), upstream: day(3), debs: debsUpTo(1)}.take(t, m)
	cases := map[string]spec{
		"older curated":  {date: day(4), upstream: day(3), debs: debsUpTo(2)},
		"older upstream": {date: day(6), upstream: day(2), debs: debsUpTo(2)},
		"older verbatim": {date: day(6), upstream: day(4), verbatim: true, debs: debsUpTo(2)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newTag(first)
			s, err := New(t.Context(), Options{Sources: []Source{g}})
			if err != nil {
				t.Fatal(err)
			}
			g.move(c.take(t, m))
			for range 3 {
				if err := s.check(t.Context(), 0); !errors.Is(err, dates.ErrRolledBack) {
					t.Fatalf("error %v", err)
				}
			}
			if got := s.view.Load().current[0].Root; got != first.Root {
				t.Errorf("current: %s", got)
			}
			if got := counted(t, s, "mmoci_snapshots_refused_total"); got != 1 {
				t.Errorf("counted %v times", got)
			}
			// The same date with another selection: a client that asks by date would keep what it has.
			g.move(spec{date: day(5), upstream: day(3), debs: debsUpTo(3)}.take(t, m))
			if err := s.check(t.Context(), 0); !errors.Is(err, dates.ErrRolledBack) || s.view.Load().current[0].Root != first.Root {
				t.Errorf("same date: %v", err)
			}
			// A second later is no step back, though upstream's Date stays.
			later := spec{date: day(5).Add(time.Second), upstream: day(3), debs: debsUpTo(3)}.take(t, m)
			g.move(later)
			if err := s.check(t.Context(), 0); err != nil || s.view.Load().current[0].Root != later.Root {
				t.Errorf("a second later: %v", err)
			}
		})
	}
}

func counted(t *testing.T, s *Server, name string) float64 {
	t.Helper()
	families, err := s.metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestDatesOutliveTheProcess(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	older := spec{date: day(1), debs: debsUpTo(1)}.take(t, m)
	newer := spec{date: day(2), debs: debsUpTo(2)}.take(t, m)
	dir := filepath.Join(t.TempDir(), "state")
	start := func(g *tag) (*Server, error) {
		return New(t.Context(), Options{Sources: []Source{g}, StateDir: dir})
	}
	if _, err := start(newTag(older, newer)); err != nil {
		t.Fatal(err)
	}
	// Moved back while the server was down; what was served last is still there.
	s, err := start(newTag(newer, older))
	if err != nil || s.view.Load().current[0].Root != newer.Root {
		t.Fatalf("moved back: %v", err)
	}
	// It is gone: better nothing than a step back.
	if _, err := start(newTag(older)); !errors.Is(err, dates.ErrRolledBack) || !strings.Contains(err.Error(), "docker bookworm") {
		t.Errorf("moved back and gone: %v", err)
	}
	if s, err := start(newTag(newer)); err != nil || s.view.Load().current[0].Root != newer.Root {
		t.Errorf("the newer one: %v", err)
	}
	file := filepath.Join(dir, dates.StateFile)
	for _, bad := range []string{"", "{", `{"version":3,"suites":{},"roots":{}}`, `{"version":1}`, "null"} {
		if err := os.WriteFile(file, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := start(newTag(newer)); err == nil {
			t.Errorf("state %q was taken for none", bad)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, durable.TempPrefix+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Two processes with one state directory see the Dates that the other served.
func TestStateIsShared(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sns := []*snapshot.Snapshot{spec{date: day(1)}.take(t, m), spec{date: day(2)}.take(t, m), spec{date: day(3)}.take(t, m)}
	dir := t.TempDir()
	a, b := newTag(sns[0]), newTag(sns[0])
	sa, errA := New(t.Context(), Options{Sources: []Source{a}, StateDir: dir})
	sb, errB := New(t.Context(), Options{Sources: []Source{b}, StateDir: dir})
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	a.move(sns[2])
	b.move(sns[1])
	if err := sa.check(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if err := sb.check(t.Context(), 0); !errors.Is(err, dates.ErrRolledBack) {
		t.Errorf("the other process went to an older Date: %v", err)
	}
}

func TestSourcesAreAUnion(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	docker := spec{date: day(1), debs: debsUpTo(1)}.take(t, m)
	debian := spec{date: day(1), prefix: "debian", debs: map[string][]byte{"debian/pool/d_1_all.deb": []byte("d")}}.take(t, m)
	one, two := newTag(docker), newTag(debian)
	two.name = "registry.example.org/site/debian:bookworm"
	s, base := run(t, Options{Sources: []Source{one, two}}, false)
	for _, target := range []string{"/docker/pool/p/p0_1_amd64.deb", "/debian/pool/d_1_all.deb", "/upstream/debian/pool/d_1_all.deb"} {
		if a := ask(t, base, "GET", target); a.status != 200 {
			t.Errorf("%s: %d", target, a.status)
		}
	}
	two.move(spec{date: day(2), debs: debsUpTo(1)}.take(t, m))
	if err := s.check(t.Context(), 1); !errors.Is(err, errPrefixTwice) {
		t.Errorf("one prefix twice: %v", err)
	}
	three := newTag(docker)
	if _, err := New(t.Context(), Options{Sources: []Source{one, three}}); !errors.Is(err, errPrefixTwice) {
		t.Errorf("one prefix twice at the start: %v", err)
	}
}

func TestRegistryAway(t *testing.T) {
	t.Parallel()
	g := newTag(spec{date: day(1), debs: debsUpTo(1)}.take(t, newMemoryBlobs()))
	g.fail(errors.New("connection refused"))
	if _, err := New(t.Context(), Options{Sources: []Source{g}}); err == nil {
		t.Error("started without a snapshot")
	}
	s, base := run(t, Options{Sources: []Source{g}, Wait: true}, false)
	ready := func() int { return ask(t, base, "GET", "/readyz").status }
	if a := ask(t, base, "GET", "/readyz"); a.status != 503 || len(a.body) == 0 {
		t.Errorf("readyz %d %q", a.status, a.body)
	}
	if a := ask(t, base, "GET", "/healthz"); a.status != 200 {
		t.Errorf("healthz %d", a.status)
	}
	g.fail(nil)
	s.ask(t.Context(), 0, s.followers[0].asked(), false)
	if got := ready(); got != 200 {
		t.Errorf("readyz %d", got)
	}
	// Away again: what is held is served.
	g.fail(errors.New("connection refused"))
	s.ask(t.Context(), 0, s.followers[0].asked(), false)
	if a := ask(t, base, "GET", "/docker/pool/p/p0_1_amd64.deb"); a.status != 200 || ready() != 200 {
		t.Errorf("away: %d, ready %d", a.status, ready())
	}
	if got := counted(t, s, "mmoci_follow_errors_total"); got != 1 {
		t.Errorf("%v errors counted", got)
	}
}

// Misses in vain ask no more often than they may, and get through again later.
func TestMissesAreBounded(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	g, c := newTag(spec{date: day(1)}.take(t, m)), newClock()
	s, _ := run(t, Options{Sources: []Source{g}, Now: c.now}, false)
	before := g.asked()
	for range 10 * missTokens {
		s.recheck(t.Context())
	}
	if got := g.asked() - before; got != missTokens {
		t.Errorf("asked %d times", got)
	}
	c.advance(3 * time.Second)
	before = g.asked()
	for range missTokens {
		s.recheck(t.Context())
	}
	if got := g.asked() - before; got != 3*missRate {
		t.Errorf("asked %d times after three seconds", got)
	}
}

// Clients update and download without a pause while the tag moves on, at two
// servers in turn that follow it on their own, and that see each move before the next: no 404, no other bytes.
func TestMovingUnderLoad(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	var sns []*snapshot.Snapshot
	for i := range 12 {
		sns = append(sns, withIndex(t, m, i))
	}
	tag := newTag(sns[0])
	first, one := run(t, Options{Sources: []Source{tag}, Follow: time.Millisecond}, true)
	second, two := run(t, Options{Sources: []Source{tag}, Follow: time.Hour}, true) // a miss has it ask
	bases := []string{one, two}

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var updates atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for n := i; ctx.Err() == nil; n++ {
				if err := update(client, func() string { n++; return bases[n%2] }); err != nil {
					t.Error(err)
					return
				}
				updates.Add(1)
			}
		})
	}
	// One replica sees the tag move before the other; each move waits until both saw the last, and for some updates.
	wait := func(n int64) {
		for want := updates.Load() + n; updates.Load() < want && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	}
	for _, sn := range sns[1:] {
		tag.move(sn)
		for _, s := range []*Server{first, second} {
			eventually(t, func() bool { return s.view.Load().current[0].Root == sn.Root || t.Failed() })
		}
		wait(20)
	}
	stop()
	wg.Wait()
	for _, s := range []*Server{first, second} {
		if got := s.view.Load(); !t.Failed() && len(got.previous[0]) != len(sns)-1 {
			t.Errorf("%d moves were followed, of %d", len(got.previous[0]), len(sns)-1)
		}
	}
}

// withIndex is the n-th of growing snapshots whose index lists its pool files.
func withIndex(t *testing.T, m *memoryBlobs, n int) *snapshot.Snapshot {
	s := spec{date: day(1).Add(time.Duration(n) * time.Minute), debs: debsUpTo(n + 1)}
	var list strings.Builder
	for path, data := range s.debs {
		fmt.Fprintf(&list, "%s %x\n", path, sha256.Sum256(data))
	}
	// The Release of a synthetic snapshot is not made of its index; an index of
	// the index is found under a fixed name instead.
	sum := sha256.Sum256([]byte(list.String()))
	s.files = map[string][]byte{
		"docker/dists/bookworm/main/list":  []byte(list.String()),
		"docker/dists/bookworm/main/which": []byte(hex.EncodeToString(sum[:])),
	}
	return s.take(t, m)
}

// update does what apt does: the mutable file, the index by hash, the pool
// files; each from the next server. Other bytes than named are an error.
func update(client *http.Client, base func() string) error {
	get := func(path string) ([]byte, error) {
		res, err := client.Get(base() + path)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != 200 {
			err = fmt.Errorf("%s: %s", path, res.Status)
		}
		return body, err
	}
	which, err := get("/docker/dists/bookworm/main/which")
	if err != nil {
		return err
	}
	list, err := get("/docker/dists/bookworm/main/by-hash/SHA256/" + string(which))
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(list); hex.EncodeToString(sum[:]) != string(which) {
		return fmt.Errorf("index is not %s", which)
	}
	for line := range strings.Lines(string(list)) {
		path, want, _ := strings.Cut(strings.TrimSpace(line), " ")
		data, err := get("/" + path)
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want {
			return fmt.Errorf("%s: other bytes", path)
		}
	}
	return nil
}

// A name that was given to another snapshot afterwards does not lead to it.
func TestIDNamesOneSnapshot(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	first, second := spec{date: day(1), debs: debsUpTo(1)}.take(t, m), spec{date: day(2), debs: debsUpTo(2)}.take(t, m)
	g := newTag(second)
	g.held[newServed(first).name] = second
	_, base := run(t, Options{Sources: []Source{g}}, false)
	target := "/snapshot/" + newServed(first).name + "/docker/dists/bookworm/Release"
	if a := ask(t, base, "GET", target); a.status != 404 {
		t.Errorf("moved tag: %d %s", a.status, a.body)
	}
	fixed := ask(t, base, "GET", "/snapshot/"+newServed(second).name+"/docker/dists/bookworm/Release")
	if fixed.status != 200 || !strings.Contains(fixed.header.Get("Cache-Control"), "immutable") {
		t.Errorf("%d %s", fixed.status, fixed.header.Get("Cache-Control"))
	}
}
