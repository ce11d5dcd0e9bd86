package merge

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// versions of the worlds: every kind that dpkg tells apart, and some that are equal and spelled otherwise.
var versions = []string{"1.0", "1.0-0", "0:1.0", "1.0-1", "1.0-1+b1", "1.0~rc1-1", "1:0.1", "1.0-1~bpo12+1", "2.0-1", "10.0-1", "1.0.1-1", "1.00-1", "1.0-1+deb12u1", "1.0a-1", "1.0+dfsg-1"}

// item is a package of a world, by what decides.
type item struct {
	archive, component, name, version, arch string
	digest                                  snapshot.Digest
	path                                    string
	own, source                             bool
}

func (i item) stanza() Stanza {
	text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nFilename: %s\nSize: 7\nSHA256: %s\n", i.name, i.version, i.arch, i.path, i.digest.Hex())
	if i.source {
		dir, file, _ := strings.Cut(i.path, "/x/")
		text = fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: any\nDirectory: %s/x\nChecksums-Sha256:\n %s 7 %s\n", i.name, i.version, dir, i.digest.Hex(), file)
	}
	return Stanza{Archive: i.archive, Component: i.component, Source: i.source, Own: i.own, Text: deb.Stanza(text)}
}

// world makes the packages of two to four archives. Equal versions mostly have equal bytes.
func world(r *rand.Rand) (items []item) {
	clashes := r.IntN(4) == 0
	for a := range 2 + r.IntN(3) {
		prefix := fmt.Sprintf("a%d", a)
		own := r.IntN(3) == 0
		for range r.IntN(12) {
			i := item{
				archive: prefix, component: []string{"", "main", "contrib"}[r.IntN(3)], name: fmt.Sprintf("p%d", r.IntN(4)), version: versions[r.IntN(len(versions))],
				arch: []string{"amd64", "arm64", "all"}[r.IntN(3)], own: own, source: r.IntN(5) == 0,
			}
			content := i.name + " " + i.arch + fmt.Sprint(rank(i.version))
			if clashes && r.IntN(8) == 0 {
				content += prefix
			}
			i.digest = snapshot.Sum([]byte(content))
			i.path = fmt.Sprintf("pool/%s/%s_%s_%s.deb", i.name, i.name, strings.ReplaceAll(i.version, ":", "%3a"), i.arch)
			if clashes && r.IntN(8) == 0 {
				i.path = "pool/one.deb"
			}
			if i.source {
				i.arch, i.path = "source", fmt.Sprintf("pool/%s/x/%s_%d.dsc", i.name, i.name, rank(i.version))
			}
			items = append(items, i)
			if r.IntN(3) == 0 { // once for each index
				items = append(items, i)
			}
		}
	}
	return items
}

// rank is the first of the versions that is equal.
func rank(version string) int {
	return slices.IndexFunc(versions, func(v string) bool { return deb.Compare(v, version) == 0 })
}

func merged(t *testing.T, items []item) (*Merged, error) {
	t.Helper()
	var m Merger
	for _, i := range items {
		if err := m.Add(i.stanza()); err != nil {
			t.Fatal(err)
		}
	}
	return m.Merge([]string{"amd64"})
}

// Over random worlds: the order of what is added does not matter; of each name and architecture there is exactly the
// highest version; nothing is in the result that is in no archive; what clashes is refused, and nothing else.
func TestLaws(t *testing.T) {
	t.Parallel()
	worlds := 3000
	conflicts, eclipses := 0, 0
	for seed := range worlds {
		r := rand.New(rand.NewPCG(uint64(seed), 18))
		items := world(r)
		got, err := merged(t, items)
		r.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
		again, err2 := merged(t, items)
		if fmt.Sprint(err) != fmt.Sprint(err2) || !reflect.DeepEqual(got, again) {
			t.Fatalf("world %d: the order matters: %v, %v\n%+v\n%+v", seed, err, err2, got, again)
		}
		highest, refused := expect(items, deb.Compare)
		if _, conflict := errors.AsType[*ConflictError](err); conflict != refused || err != nil && !conflict {
			t.Fatalf("world %d: refused %v, want %v: %v", seed, conflict, refused, err)
		}
		if err != nil {
			conflicts++
			continue
		}
		eclipses += len(got.Eclipsed)
		check(t, seed, got, items, highest)
		if t.Failed() {
			return
		}
	}
	if conflicts < worlds/20 || conflicts > worlds*3/4 || eclipses < worlds/20 {
		t.Errorf("%d conflicts, %d eclipses: the worlds are too tame, or too wild", conflicts, eclipses)
	}
}

// expect is the oracle: the highest versions by name and architecture, and whether two archives contradict each other in them.
func expect(items []item, compare func(a, b string) int) (highest map[key][]item, refused bool) {
	highest = map[key][]item{}
	for _, i := range items {
		k := key{i.name, i.arch}
		switch was := highest[k]; {
		case len(was) == 0 || compare(i.version, was[0].version) > 0:
			highest[k] = []item{i}
		case compare(i.version, was[0].version) == 0:
			highest[k] = append(was, i)
		}
	}
	paths := map[string]snapshot.Digest{}
	for _, of := range highest {
		slices.SortFunc(of, func(a, b item) int { return strings.Compare(string(a.stanza().Text), string(b.stanza().Text)) })
		for _, i := range of {
			refused = refused || i.digest != of[0].digest
		}
	}
	if refused {
		return highest, true
	}
	for _, of := range highest {
		// The one that is taken: of the first archive, component and text.
		i := slices.MinFunc(of, func(a, b item) int {
			return strings.Compare(fmt.Sprintf("%s\x00%s\x00%s", a.archive, orMain(a.component), a.stanza().Text), fmt.Sprintf("%s\x00%s\x00%s", b.archive, orMain(b.component), b.stanza().Text))
		})
		if was, ok := paths[i.path]; ok && was != i.digest {
			refused = true
		}
		paths[i.path] = i.digest
	}
	return highest, refused
}

func orMain(s string) string {
	if s == "" {
		return "main"
	}
	return s
}

func check(t *testing.T, seed int, got *Merged, items []item, highest map[key][]item) {
	t.Helper()
	from := map[string]bool{} // the texts there are, by component
	for _, i := range items {
		from[orMain(i.component)+"\n"+strings.TrimRight(string(i.stanza().Text), "\n")] = true
	}
	in := map[key]map[string]bool{}
	rows := map[string]snapshot.Digest{}
	for ca, stanzas := range got.Stanzas {
		if !slices.Contains(got.Components, ca.Component) || !slices.Contains(got.Architectures, ca.Architecture) {
			t.Errorf("world %d: %v is among neither %v nor %v", seed, ca, got.Components, got.Architectures)
		}
		if text := archive.PlainIndex(stanzas, ca.Architecture == "source"); string(text) != joined(stanzas) {
			t.Errorf("world %d: index %v is not in order:\n%s", seed, ca, joined(stanzas))
		}
		for _, st := range stanzas {
			if !from[ca.Component+"\n"+string(st)] {
				t.Errorf("world %d: in no archive, or of another component: %v\n%s", seed, ca, st)
			}
			k := key{st.Get("Package"), st.Get("Architecture")}
			if ca.Architecture == "source" {
				k.arch = "source"
			}
			if k.arch != ca.Architecture && k.arch != "all" {
				t.Errorf("world %d: %s in %v", seed, k.arch, ca)
			}
			if in[k] == nil {
				in[k] = map[string]bool{}
			}
			in[k][string(st)] = true
			want := highest[k]
			if len(want) == 0 || deb.Compare(st.Get("Version"), want[0].version) != 0 {
				t.Errorf("world %d: %v %s, the highest are %v", seed, k, st.Get("Version"), want)
			}
		}
	}
	for k, want := range highest {
		if len(in[k]) != 1 {
			t.Errorf("world %d: %v stands in %d texts, want one of %v", seed, k, len(in[k]), want)
		}
	}
	for _, r := range got.Rows {
		rows[r.Path] = r.Digest
	}
	for k, want := range highest {
		if !slices.ContainsFunc(want, func(i item) bool { return rows[i.path] == i.digest }) {
			t.Errorf("world %d: no file of %v", seed, k)
		}
	}
	if len(rows) > len(highest) || len(rows) != len(got.Rows) {
		t.Errorf("world %d: %d files of %d packages", seed, len(got.Rows), len(highest))
	}
	for _, e := range got.Eclipsed {
		if !slices.ContainsFunc(items, func(i item) bool {
			return i.own && i.archive == e.Archive && i.name == e.Name && i.version == e.Version && i.arch == e.Architecture
		}) ||
			!slices.ContainsFunc(items, func(i item) bool {
				return !i.source && i.archive == e.By && i.name == e.Name && i.version == e.ByVersion
			}) ||
			e.By == e.Archive || deb.Compare(e.Version, e.ByVersion) >= 0 {
			t.Errorf("world %d: eclipsed: %v", seed, e)
		}
	}
	for _, i := range items { // none is forgotten
		if !i.own || i.source {
			continue
		}
		if of := highest[key{i.name, i.arch}]; !slices.ContainsFunc(of, func(h item) bool { return h.archive == i.archive }) &&
			!slices.ContainsFunc(got.Eclipsed, func(e Eclipsed) bool { return e.Archive == i.archive && e.Name == i.name && e.Architecture == i.arch }) {
			t.Errorf("world %d: %v is eclipsed, and not named", seed, i)
		}
	}
}

func joined(stanzas []deb.Stanza) string {
	var b strings.Builder
	for _, s := range stanzas {
		b.WriteString(strings.TrimRight(string(s), "\n") + "\n\n")
	}
	return b.String()
}

// A stanza that cannot be read is an error that names its archive.
func TestBadStanzas(t *testing.T) {
	t.Parallel()
	for _, s := range []Stanza{
		{Archive: "a", Text: deb.Stanza("Package: x\nVersion: 1\n")},
		{Archive: "a", Source: true, Text: deb.Stanza("Package: x\nVersion: 1\nDirectory: pool/x\n")},
		{Archive: "a", Source: true, Text: deb.Stanza("Package: x\nVersion: 1 2\nDirectory: pool/x\nChecksums-Sha256:\n " + strings.Repeat("a", 64) + " 1 x.dsc\n")},
	} {
		var m Merger
		if err := m.Add(s); err == nil || !strings.Contains(err.Error(), "archive a: ") {
			t.Errorf("%s: %v", s.Text, err)
		}
	}
}

// An archive without packages gives an empty index.
func TestNothing(t *testing.T) {
	t.Parallel()
	var m Merger
	got, err := m.Merge([]string{"amd64", "source", "all"})
	if err != nil || !slices.Equal(got.Architectures, []string{"amd64"}) || !slices.Equal(got.Components, []string{"main"}) || len(got.Rows) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
