package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/serve/dates"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// newcomers are snapshots of an archive that must not come after one of day 5 (upstream's of day 3), by what is wrong with them.
func newcomers(prefix string) map[string]struct {
	spec
	reason string
} {
	extra := func(name string) map[string][]byte {
		return map[string][]byte{name: releaseText("trixie", day(1), "nobody named it", nil)}
	}
	return map[string]struct {
		spec
		reason string
	}{
		"older":                           {spec{date: day(4), upstream: day(3)}, "older"},
		"older upstream":                  {spec{date: day(6), upstream: day(2)}, "older"},
		"older verbatim":                  {spec{date: day(6), upstream: day(4), verbatim: true}, "older"},
		"of the same date":                {spec{date: day(5), upstream: day(6)}, "older"},
		"verbatim, of the same date":      {spec{date: day(5), upstream: day(5).Add(time.Hour), verbatim: true}, "older"},
		"Releases older than it says":     {spec{date: day(6), upstream: day(6), claimed: day(2)}, "contradiction"},
		"verbatim, older than it says":    {spec{date: day(6), upstream: day(6), claimed: day(2), verbatim: true}, "contradiction"},
		"says a far date, and is not":     {spec{date: day(6).AddDate(75, 0, 0), upstream: day(6), claimed: day(6)}, "contradiction"},
		"of a far date":                   {spec{date: day(6).AddDate(75, 0, 0), upstream: day(6)}, "future"},
		"upstream's of a far date":        {spec{date: day(6), upstream: day(6).AddDate(75, 0, 0)}, "future"},
		"a statement of a far date":       {spec{date: day(6).AddDate(75, 0, 0), upstream: day(6), verbatim: true}, "future"},
		"verbatim of a far date":          {spec{date: day(6), upstream: day(6).AddDate(75, 0, 0), verbatim: true}, "future"},
		"no Release":                      {spec{date: day(6), upstream: day(6), release: []byte("no clear-signed text\n")}, "contradiction"},
		"a suite that nobody names":       {spec{date: day(6), upstream: day(6), files: extra(prefix + "/dists/trixie/InRelease")}, "contradiction"},
		"a Release that nobody names":     {spec{date: day(6), upstream: day(6), files: extra(prefix + "/dists/trixie/updates/Release")}, "contradiction"},
		"upstream's that nobody names":    {spec{date: day(6), upstream: day(6), files: extra("upstream/" + prefix + "/dists/trixie/InRelease")}, "contradiction"},
		"a signature that nobody names":   {spec{date: day(6), upstream: day(6), files: extra(prefix + "/dists/trixie/Release.gpg")}, "contradiction"},
		"a Release in place of a package": {spec{date: day(6), upstream: day(6), files: extra(prefix + "/pool/InRelease")}, "contradiction"},
	}
}

// Law 8 is about the Dates that clients will read. Whatever a refused newcomer
// is, the last good snapshot stays the current one, also at the start, and an honest one follows.
func TestNewcomersAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range newcomers("docker") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, dir := newMemoryBlobs(), t.TempDir()
			good := spec{date: day(5), upstream: day(3), debs: debsUpTo(1)}.take(t, m)
			c.debs = debsUpTo(2)
			bad := c.take(t, m)
			honest := spec{date: day(7), upstream: day(7), debs: debsUpTo(3)}.take(t, m)
			g := newTag(good)
			o := Options{Sources: []Source{g}, StateDir: dir, Now: newClock().now}
			s, base := run(t, o, false)
			follow := func() { s.ask(t.Context(), 0, s.followers[0].asked(), false) }
			g.move(bad)
			for range 3 {
				follow()
			}
			isCurrent := func(s *Server, want *snapshot.Snapshot) {
				t.Helper()
				if h := s.view.Load().current[0]; h == nil || h.Root != want.Root {
					t.Errorf("current: %v", h)
				}
			}
			isCurrent(s, good)
			a := ask(t, base, "GET", "/metrics")
			if want := `mmoci_snapshots_refused_total{reason="` + c.reason + `",reference="` + g.name + `"} 1` + "\n"; !strings.Contains(string(a.body), want) {
				t.Errorf("not counted as %s, once", c.reason)
			}
			ready := ask(t, base, "GET", "/readyz")
			if ready.status != 200 || !strings.Contains(string(ready.body), "what the tag names now is not followed: ") {
				t.Errorf("readyz: %d %s", ready.status, ready.body)
			}
			again, err := New(t.Context(), o)
			if err != nil {
				t.Fatalf("at the start: %v", err)
			}
			isCurrent(again, good)
			// With nothing to go back to there is nothing to serve.
			alone := o
			alone.StateDir = t.TempDir()
			if c.reason != "older" {
				if _, err := New(t.Context(), alone); !isRefusal(err) {
					t.Errorf("at the first start: %v", err)
				}
				alone.Wait = true
				if s, err := New(t.Context(), alone); err != nil || s.view.Load().current[0] != nil {
					t.Errorf("at the first start, waiting: %v", err)
				}
			}
			g.move(honest)
			follow()
			isCurrent(s, honest)
			if ready := ask(t, base, "GET", "/readyz"); ready.status != 200 || strings.Contains(string(ready.body), "not followed") {
				t.Errorf("readyz afterwards: %d %s", ready.status, ready.body)
			}
		})
	}
}

// TestWriteNewcomers lays them out, for an archive own with a suite own, for a
// script to give to a server that apt reads: under the directory that
// MMOCI_NEWCOMERS names, a layout NUMBER each with the tag day, and list, of NUMBER and NAME. Without it, it makes one.
func TestWriteNewcomers(t *testing.T) {
	t.Parallel()
	dir, m := os.Getenv("MMOCI_NEWCOMERS"), newMemoryBlobs()
	some := newcomers("own")
	delete(some, "older upstream") // the archive that they come after is of no upstream
	names := slices.Sorted(maps.Keys(some))
	if dir == "" {
		dir, names = t.TempDir(), names[:1]
	}
	var list strings.Builder
	for i, name := range names {
		c := some[name]
		c.prefix, c.suite = "own", "own"
		ref, err := artifact.ParseReference(fmt.Sprintf("oci:%s/%02d:day", dir, i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Push(t.Context(), ref, c.take(t, m), artifact.PushOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fmt.Fprintf(&list, "%02d %s\n", i, name)
	}
	if err := os.WriteFile(filepath.Join(dir, "list"), []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What is ahead of the clock is taken when it is so no more, by less than a day.
func TestAheadOfTheClock(t *testing.T) {
	t.Parallel()
	m, c := newMemoryBlobs(), newClock()
	c.at.Store(day(10).UnixNano())
	good := spec{date: day(10), debs: debsUpTo(1)}.take(t, m)
	early := spec{date: day(12), debs: debsUpTo(2)}.take(t, m)
	tomorrow := spec{date: day(11), debs: debsUpTo(3)}.take(t, m)
	g := newTag(good)
	dir := t.TempDir()
	s, err := New(t.Context(), Options{Sources: []Source{g}, Now: c.now, StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	g.move(tomorrow)
	if err := s.check(t.Context(), 0); err != nil {
		t.Errorf("a day ahead: %v", err)
	}
	g.move(early)
	if err := s.check(t.Context(), 0); !errors.Is(err, dates.ErrFuture) || !strings.Contains(err.Error(), "docker bookworm is of 2024-11-12T09:13:40Z") {
		t.Errorf("two days ahead: %v", err)
	}
	c.advance(24*time.Hour - time.Second)
	if err := s.check(t.Context(), 0); !errors.Is(err, dates.ErrFuture) {
		t.Errorf("a day and a second ahead: %v", err)
	}
	c.advance(time.Second)
	if err := s.check(t.Context(), 0); err != nil || s.view.Load().current[0].Root != early.Root {
		t.Errorf("a day later: %v", err)
	}
	// A clock that went back does not take away the current snapshot.
	c.at.Store(day(1).UnixNano())
	if s, err := New(t.Context(), Options{Sources: []Source{g}, Now: c.now, StateDir: dir}); err != nil || s.view.Load().current[0].Root != early.Root {
		t.Errorf("the clock went back: %v", err)
	}
}

// Where the site's key is known, no other statement counts, at start neither.
func TestStatementMustVerify(t *testing.T) {
	t.Parallel()
	private, _, err := pgp.NewKey("foreign", day(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := pgp.ReadSigner(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, site := newMemoryBlobs(), upstreamsKey()
	good := spec{date: day(1), debs: debsUpTo(1), signer: site}.take(t, m)
	next := spec{date: day(3), debs: debsUpTo(2), signer: site}.take(t, m)
	rings := map[string]*pgp.Keyring{"": site.Public()}
	for name, bad := range map[string]*snapshot.Snapshot{
		"unsigned":   spec{date: day(2), debs: debsUpTo(2)}.take(t, m),
		"by another": spec{date: day(2), debs: debsUpTo(2), signer: foreign}.take(t, m),
	} {
		g, dir := newTag(good), t.TempDir()
		s, err := New(t.Context(), Options{Sources: []Source{g}, Keyrings: rings, StateDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		g.move(bad)
		if err := s.check(t.Context(), 0); !isRefusal(err) || s.view.Load().current[0].Root != good.Root {
			t.Errorf("%s: %v", name, err)
		}
		if s, err := New(t.Context(), Options{Sources: []Source{g}, Keyrings: rings, StateDir: dir}); err != nil || s.view.Load().current[0].Root != good.Root {
			t.Errorf("%s, at the start: %v", name, err)
		}
		if _, err := New(t.Context(), Options{Sources: []Source{g}, Keyrings: rings}); !isRefusal(err) {
			t.Errorf("%s, at the first start: %v", name, err)
		}
		g.move(next)
		if err := s.check(t.Context(), 0); err != nil || s.view.Load().current[0].Root != next.Root {
			t.Errorf("%s, and then the site's: %v", name, err)
		}
		// Adopted before the key was known, it does not count any more.
		g.move(bad)
		before := t.TempDir()
		if _, err := New(t.Context(), Options{Sources: []Source{g}, StateDir: before}); err != nil {
			t.Fatal(err)
		}
		if _, err := New(t.Context(), Options{Sources: []Source{g}, Keyrings: rings, StateDir: before}); !isRefusal(err) {
			t.Errorf("%s, served before the key was known: %v", name, err)
		}
		// A pin does without a signature, and not with a foreign one.
		pin := newTag(bad)
		pin.name = "registry.example.org/site/mirror@" + bad.Root.String()
		if _, err := New(t.Context(), Options{Sources: []Source{pin}, Keyrings: rings}); (err == nil) != (name == "unsigned") {
			t.Errorf("%s, pinned: %v", name, err)
		}
	}
}

// A rotation writes the files that trust names: what the new key signs is followed
// without a restart, and what a stranger signs still is not.
func TestSiteKeysAreReadAnew(t *testing.T) {
	t.Parallel()
	signer := func(name string) pgp.Signer {
		private, _, err := pgp.NewKey(name, day(1), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := pgp.ReadSigner(private, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old, rotated, stranger := signer("old"), signer("rotated"), signer("stranger")
	m := newMemoryBlobs()
	good := spec{date: day(1), debs: debsUpTo(1), signer: old}.take(t, m)
	foreign := spec{date: day(2), debs: debsUpTo(2), signer: stranger}.take(t, m)
	next := spec{date: day(3), debs: debsUpTo(3), signer: rotated}.take(t, m)
	files := old.Public() // what trust names holds now
	g, c := newTag(good), newClock()
	armor, err := old.Public().Armor()
	if err != nil {
		t.Fatal(err)
	}
	s, base := run(t, Options{
		Sources: []Source{g}, Keyrings: map[string]*pgp.Keyring{"": old.Public()}, SiteKey: armor, Now: c.now,
		ReadSiteKeys: func() (*pgp.Keyring, error) { return files, nil },
	}, false)
	published := func(by pgp.Signer) bool {
		return strings.Contains(string(ask(t, base, "GET", "/setup/docker.sources").body), "# "+by.Public().Fingerprints()[0]+"\n")
	}
	g.move(next)
	if err := s.check(t.Context(), 0); !isRefusal(err) {
		t.Errorf("before the files hold the new key: %v", err)
	}
	files = rotated.Public()
	g.move(foreign)
	if err := s.check(t.Context(), 0); !isRefusal(err) || s.view.Load().current[0].Root != good.Root {
		t.Errorf("by a stranger: %v", err)
	}
	if !published(old) || published(rotated) {
		t.Error("hosts are told of another key than the one that signs what is served")
	}
	g.move(next)
	if err := s.check(t.Context(), 0); err != nil || s.view.Load().current[0].Root != next.Root {
		t.Errorf("by the new key: %v", err)
	}
	if published(old) || !published(rotated) {
		t.Error("hosts are told of the old key")
	}
	// The key may come after the snapshot that it signed, whose root stays.
	last := spec{date: day(4), debs: debsUpTo(4), signer: stranger}.take(t, m)
	g.move(last)
	if err := s.check(t.Context(), 0); !isRefusal(err) {
		t.Errorf("by a stranger: %v", err)
	}
	files = stranger.Public()
	if err := s.check(t.Context(), 0); !isRefusal(err) {
		t.Errorf("asked again at once: %v", err)
	}
	c.advance(keysAgain)
	if err := s.check(t.Context(), 0); err != nil || s.view.Load().current[0].Root != last.Root {
		t.Errorf("the key came after the snapshot: %v", err)
	}
	// While a rotation goes on, hosts that are set up get the key that will sign alone when it has ended.
	files = pgp.JoinKeyrings(stranger.Public(), old.Public())
	g.move(spec{date: day(5), debs: debsUpTo(5), signer: stranger}.take(t, m))
	if err := s.check(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if !published(stranger) || !published(old) {
		t.Error("hosts are told of one key of two")
	}
}

// A state file of before the Releases were read may hold what a statement
// claimed: a date in the future is forgotten, the others stay.
func TestStateOfBefore(t *testing.T) {
	t.Parallel()
	m, dir, c := newMemoryBlobs(), t.TempDir(), newClock()
	old, good := spec{date: day(4), upstream: day(2)}.take(t, m), spec{date: day(5), upstream: day(3)}.take(t, m)
	g := newTag(good)
	o := Options{Sources: []Source{g}, StateDir: dir, Now: c.now}
	file := filepath.Join(dir, dates.StateFile)
	state := `{"version":1,"suites":{"docker bookworm":"2099-12-31T00:00:00Z","upstream/docker bookworm":"2024-11-03T09:13:40Z"},"roots":{"` +
		g.name + `":"` + old.Root.String() + `"}}`
	if err := os.WriteFile(file, []byte(state), 0o644); err != nil {
		t.Fatal(err)
	}
	g.move(old)
	if _, err := New(t.Context(), o); !errors.Is(err, dates.ErrRolledBack) {
		t.Errorf("an honest date was forgotten too: %v", err)
	}
	g.move(good)
	if _, err := New(t.Context(), o); err != nil {
		t.Fatalf("a date of 2099 bars everything: %v", err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var at dates.State
	if err := json.Unmarshal(data, &at); err != nil || at.Version != dates.Version || !at.Suites["docker bookworm"].Equal(day(5)) || len(at.Roots) != 1 {
		t.Errorf("state: %v\n%s", err, data)
	}
}

// TestReleaseOfAnIndex: the Release that stands beside one index, as in Debian's archives, has no
// Date and no signature. A verbatim archive carries it under no line of the statement, and is followed.
func TestReleaseOfAnIndex(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	text := []byte("Archive: stable\nComponent: main\nArchitecture: amd64\n")
	g := newTag(spec{date: day(5), upstream: day(5), verbatim: true, files: map[string][]byte{
		"docker/dists/bookworm/main/binary-amd64/Release": text,
		"docker/dists/bookworm/main/source/Release":       text,
	}}.take(t, m))
	s, base := run(t, Options{Sources: []Source{g}, StateDir: t.TempDir(), Now: newClock().now}, false)
	if h := s.view.Load().current[0]; h == nil {
		t.Error("not served")
	}
	if a := ask(t, base, "GET", "/docker/dists/bookworm/main/binary-amd64/Release"); a.status != 200 || string(a.body) != string(text) {
		t.Errorf("answer %d %s", a.status, a.body)
	}
	for _, name := range []string{"InRelease", "Release.gpg"} { // signed, it would be a suite's
		bad := spec{date: day(6), upstream: day(6), verbatim: true, files: map[string][]byte{"docker/dists/bookworm/main/binary-amd64/" + name: text}}
		if _, err := New(t.Context(), Options{Sources: []Source{newTag(bad.take(t, m))}, StateDir: t.TempDir(), Now: newClock().now}); !isRefusal(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
