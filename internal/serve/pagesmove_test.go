package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// As soon as a rule denies a package, every page that was there before says so, and as soon as it is allowed again none does.
func TestDenialOnKeptPages(t *testing.T) {
	t.Parallel()
	const deb = "/debian/pool/main/l/libdaemon-2/libdaemon-2_2.2-2_amd64.deb"
	file := writeRules(t, "default: allow\n")
	_, base := run(t, Options{Sources: []Source{newTag(many(t, 20))}, Policy: file, look: 10 * time.Millisecond, Now: newClock().now}, false)
	pages := map[string]string{
		"/":                           "Rules that are enforced: 1.",
		"/?q=libdaemon":               "denied by rule no: not now",
		"/?q=libdaemon&format=json":   "denied by rule no: not now",
		"/debian/package/":            "denied by rule no: not now",
		"/debian/package/libdaemon-2": "denied by rule no: not now",
		"/debian/package/libdaemon-2?show=changelog": "which the policy denies",
	}
	rounds := []struct {
		rules  string
		denied bool
	}{
		{"default: allow\n", false}, {"rules:\n- {name: no, deny: libdaemon-2, reason: not now}\n", true}, {"default: allow\n", false},
	}
	for n, r := range rounds {
		if err := errors.Join(os.WriteFile(file+".new", []byte(r.rules), 0o644), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return (ask(t, base, "GET", deb).status == 403) == r.denied })
		for range 2 { // what is kept of the first time says the same
			for target, denial := range pages {
				if a := ask(t, base, "GET", target); a.status != 200 || bytes.Contains(a.body, []byte(denial)) != r.denied {
					t.Errorf("round %d: %s: %d, denied is %t\n%s", n, target, a.status, !r.denied, a.body)
				}
			}
		}
	}
}

// dayOf is the n-th of growing snapshots in which every version, description and relation says which one it is.
func dayOf(t *testing.T, n int) *snapshot.Snapshot {
	var index bytes.Buffer
	var rows []snapshot.Row
	for i := range n + 2 {
		name, version := fmt.Sprintf("tool-%d", i), fmt.Sprintf("1+day%d", n)
		path := fmt.Sprintf("pool/t/%s_%s_amd64.deb", name, version)
		d := snapshot.Sum([]byte(path))
		rows = append(rows, snapshot.Row{Path: "debian/" + path, Size: 1, Digest: d, Package: snapshot.Package{Name: name, Version: version, Architecture: "amd64", Source: name}})
		fmt.Fprintf(&index, "Package: %s\nVersion: %s\nArchitecture: amd64\nDepends: tool-0 (= %s)\nDescription: of day%d\nFilename: %s\nSize: 1\nSHA256: %s\n\n", name, version, version, n, path, d.Hex())
	}
	return indexedOn(t, day(1).Add(time.Duration(n)*time.Minute), index.Bytes(), rows)
}

// While a tag moves, every page is of one snapshot, and what is asked for after a move is of the new one.
func TestPagesOfMovingTag(t *testing.T) {
	t.Parallel()
	const days = 8
	var sns []*snapshot.Snapshot
	var names []string // in a page: the name of a snapshot, and the day that it is of
	for n := range days {
		sns = append(sns, dayOf(t, n))
		names = append(names, newServed(sns[n]).name, fmt.Sprintf("day%d", n))
	}
	which, marks, counts := strings.NewReplacer(names...), regexp.MustCompile(`day(\d+)`), regexp.MustCompile(`(\d+) packages`)
	// dayIn is the day that a page is of; an error if it is of none or several, or counts packages of another.
	dayIn := func(target string, body []byte) (int, error) {
		page := which.Replace(string(body))
		if target == "/" { // it also tells what changed since the one before
			page, _, _ = strings.Cut(page, "What changed last")
		}
		seen := map[string]bool{}
		for _, m := range marks.FindAllStringSubmatch(page, -1) {
			seen[m[1]] = true
		}
		n := -1
		if len(seen) == 1 {
			fmt.Sscan(slices.Collect(maps.Keys(seen))[0], &n)
		}
		if m := counts.FindStringSubmatch(page); n < 0 || m != nil && m[1] != fmt.Sprint(n+2) {
			return 0, fmt.Errorf("%s: of days %v, %q:\n%s", target, seen, m, page)
		}
		return n, nil
	}
	tag := newTag(sns[0])
	s, base := run(t, Options{Sources: []Source{tag}, Follow: time.Millisecond}, false)
	targets := []string{"/", "/debian/package/tool-1", "/debian/package/", "/?q=tool", "/?q=day"}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var asked atomic.Int64
	for i := range 6 {
		wg.Go(func() {
			for n := i; ctx.Err() == nil && !t.Failed(); n++ {
				target := targets[n%len(targets)]
				if a := ask(t, base, "GET", target); a.status != 200 {
					t.Errorf("%s: %d %s", target, a.status, a.body)
				} else if _, err := dayIn(target, a.body); err != nil {
					t.Error(err)
				}
				asked.Add(1)
			}
		})
	}
	for n, sn := range sns {
		if n > 0 {
			tag.move(sn)
		}
		eventually(t, func() bool { return s.view.Load().current[0].Root == sn.Root || t.Failed() })
		for _, target := range targets {
			if got, err := dayIn(target, ask(t, base, "GET", target).body); err != nil || got != n {
				t.Errorf("after the move to day %d, %s is of day %d: %v", n, target, got, err)
			}
		}
		for want := asked.Load() + 20; asked.Load() < want && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	}
	stop()
	wg.Wait()
}

// Searches that come at once, the first of them before the indices are read, are each answered as it is alone.
func TestSearchesAtOnce(t *testing.T) {
	t.Parallel()
	sn := many(t, 300)
	_, alone := run(t, Options{Sources: []Source{newTag(sn)}, Now: newClock().now}, false)
	_, crowded := run(t, Options{Sources: []Source{newTag(sn)}, Now: newClock().now}, false)
	asked := []string{
		"/?q=libdaemon-2", "/?q=lib", "/?q=lib&page=3", "/?q=network+editor", "/?q=editor+network&format=json", "/?q=libdeamon-2", "/?q=", "/?q=zzzzzz", "/?q=shared+lib&page=2",
		"/?q=DAEMON&format=json",
	}
	want := map[string]string{}
	for _, target := range asked {
		want[target] = string(ask(t, alone, "GET", target).body)
	}
	for round := range 10 {
		var wg sync.WaitGroup
		for i := range asked {
			target := asked[(i+round)%len(asked)]
			wg.Go(func() {
				if a := ask(t, crowded, "GET", target); a.status != 200 || string(a.body) != want[target] {
					t.Errorf("%s: %d\n%s\nalone:\n%s", target, a.status, a.body, want[target])
				}
			})
		}
		wg.Wait()
	}
}

// A package that several archives and suites of a snapshot have is found in each of them, under its own rules, and each page
// is of its own archive.
func TestPackageOfSeveralArchives(t *testing.T) {
	t.Parallel()
	var rows []snapshot.Row
	stanza := func(prefix, version, content string) []byte {
		path := "pool/t/tool_" + version + "_amd64.deb"
		row := snapshot.Row{Path: prefix + "/" + path, Size: 1, Digest: snapshot.Sum([]byte(content)), Package: snapshot.Package{Name: "tool", Version: version, Architecture: "amd64", Source: "tool"}}
		if !slices.ContainsFunc(rows, func(r snapshot.Row) bool { return r.Path == row.Path }) {
			rows = append(rows, row)
		}
		return fmt.Appendf(nil, "Package: tool\nVersion: %s\nArchitecture: amd64\nDepends: tool\nDescription: of %s\nFilename: %s\nSize: 1\nSHA256: %s\n\n", version, prefix, path, row.Digest.Hex())
	}
	indices := map[string][]byte{
		"debian bookworm":         stanza("debian", "1", "one"),
		"debian bookworm-updates": append(stanza("debian", "2", "two"), stanza("debian", "1", "one")...),
		"site bookworm":           stanza("site", "1", "one"), // the very same file
	}
	sn := indexedAll(t, day(1), indices, rows)
	_, base := run(t, Options{Sources: []Source{newTag(sn)}, Policy: writeRules(t, "rules:\n- {name: no, deny: tool, archive: site, reason: not from there}\n")}, false)
	for target, want := range map[string][]string{
		"/debian/package/tool":   {"tool <span class=\"mono soft\">2</span>", ">debian</a>, suite bookworm-updates (", "<dt>Policy</dt><dd>allowed", ">1 amd64</a>", `<li><a href="../../debian/package/tool">tool</a>`},
		"/debian/package/tool/1": {"tool <span class=\"mono soft\">1</span>", ">debian</a>, suites bookworm, bookworm-updates (", "<dt>Policy</dt><dd>allowed", ">2 amd64</a>"},
		"/site/package/tool":     {"tool <span class=\"mono soft\">1</span>", ">site</a>, suite bookworm (", "denied by rule no: not from there", `<li><a href="../../site/package/tool">tool</a>`},
		"/?q=tool":               {"<h1>3 packages", "/debian/package/tool/1?", "/debian/package/tool/2?", "/site/package/tool/1?"},
		"/debian/package/":       {"debian: 2 packages"},
		"/site/package/":         {"site: 1 package<"},
	} {
		a := ask(t, base, "GET", target)
		for _, part := range want {
			if a.status != 200 || !bytes.Contains(a.body, []byte(part)) {
				t.Errorf("%s: %d, without %q\n%s", target, a.status, part, a.body)
			}
		}
	}
	if a := ask(t, base, "GET", "/site/package/tool"); bytes.Contains(a.body, []byte(">2 amd64</a>")) {
		t.Errorf("a version of another archive:\n%s", a.body)
	}
	if a := ask(t, base, "GET", "/site/package/tool/2"); a.status != 404 {
		t.Errorf("%d for a version of another archive", a.status)
	}
}
