package resolve

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/mmoci/pkg/archive"
)

func TestUniverseSkips(t *testing.T) {
	t.Parallel()
	good := string(stanzas("good 1"))
	bad := map[string]string{
		"no colon":        strings.Replace(good, "Size: 1", "Size 1", 1),
		"field twice":     strings.Replace(good, "Size: 1", "Size: 1\nsize: 1", 1),
		"no version":      strings.Replace(good, "Version: 1\n", "", 1),
		"bad version":     strings.Replace(good, "Version: 1", "Version: 1-", 1),
		"bad name":        strings.Replace(good, "Package: good", "Package: ../good", 1),
		"no file":         strings.Replace(good, "Filename:", "Elsewhere:", 1),
		"climbing path":   strings.Replace(good, "Filename: pool/", "Filename: pool/../", 1),
		"size of nothing": strings.Replace(good, "Size: 1", "Size: 0", 1),
		"size that is no": strings.Replace(good, "Size: 1", "Size: -1", 1),
		"short digest":    strings.Replace(good, "SHA256: ", "SHA256: a", 1),
		"weak digest":     strings.Replace(good, "SHA256:", "SHA1:", 1),
		"NUL":             strings.Replace(good, "Size: 1", "Size: 1\x00", 1),
		"bad source":      strings.Replace(good, "Size: 1", "Size: 1\nSource: a/b", 1),
	}
	for about, stanza := range bad {
		if stanza == good {
			t.Fatalf("%s: nothing is bad about it", about)
		}
		u, err := NewUniverse([]Index{{Archive: "a", Path: "p", Data: []byte(string(stanzas("before 1")) + stanza + string(stanzas("behind 1")))}})
		if err != nil {
			t.Errorf("%s: %v", about, err)
			continue
		}
		if got := list(u.Matches(parse(t, "$Version"), "")); got != "before behind" {
			t.Errorf("%s: left are %s", about, got)
		}
		if s := u.Skipped(); len(s) != 1 || !strings.HasPrefix(s[0], "archive a: p line ") {
			t.Errorf("%s: skipped %q", about, s)
		}
		if _, err := NewUniverse([]Index{{Archive: "a", Path: "p", Data: []byte(stanza)}}); err == nil || !strings.Contains(err.Error(), "index p of archive a: no good stanza") {
			t.Errorf("%s alone: %v", about, err)
		}
	}
	for _, empty := range []string{"", "\n\n", " \n"} {
		if _, err := NewUniverse([]Index{{Data: []byte(empty)}}); err != nil {
			t.Errorf("empty index %q: %v", empty, err)
		}
	}
}

// The lines of what is skipped are right far into an index too.
func TestUniverseLines(t *testing.T) {
	t.Parallel()
	var data []byte
	var want []string
	for i := 0; len(data) < 6<<20; i++ {
		if i%40_000 == 20_000/8 {
			line := bytes.Count(data, []byte("\n")) + 2
			data = append(data, "Package: x\nbroken\n\n"...)
			want = append(want, fmt.Sprintf("line %d: ", line))
		}
		data = append(data, stanzas(fmt.Sprintf("p%d 1; Description: %s", i, strings.Repeat("x", 400)))...)
	}
	data = append(data, "Package: x\nbroken"...)
	want = append(want, fmt.Sprintf("line %d: ", bytes.Count(data, []byte("\n"))+1))
	u, err := NewUniverse([]Index{{Archive: "a", Path: "p", Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	if len(u.Skipped()) != len(want) {
		t.Fatalf("skipped %q, want %q", u.Skipped(), want)
	}
	for i, s := range u.Skipped() {
		if !strings.Contains(s, want[i]) {
			t.Errorf("skipped %q, want %q", s, want[i])
		}
	}
}

func TestUniverseDuplicates(t *testing.T) {
	t.Parallel()
	one := Index{Archive: "one", Path: "1", Data: stanzas("a 1")}
	other := Index{Archive: "other", Path: "2", Data: bytes.Replace(stanzas("a 1"), []byte("SHA256: "), []byte("SHA256: 00"), 1)}
	i := bytes.Index(other.Data, []byte("SHA256: "))
	other.Data = slices.Delete(other.Data, i+8+64, i+8+66)
	for _, indices := range [][]Index{{one, other}, {other, one}} {
		_, err := NewUniverse(indices)
		if err == nil || !strings.Contains(err.Error(), "archive one (1)") || !strings.Contains(err.Error(), "archive other (2)") || !strings.Contains(err.Error(), "a 1 amd64") {
			t.Errorf("%v", err)
		}
	}
	both := one
	both.Data = slices.Concat(one.Data, other.Data)
	if _, err := NewUniverse([]Index{both}); err == nil {
		t.Error("two files under one version in one index")
	}
	if _, err := NewUniverse([]Index{one, one}); err != nil {
		t.Errorf("the same twice: %v", err)
	}
}

func TestUniverseKeepAndArchitecture(t *testing.T) {
	t.Parallel()
	in := Index{Archive: "a", Architecture: "amd64", Data: stanzas("a 1", "b 1 all", "c 1 arm64", "d 1")}
	in.Keep = func(f archive.PackageFile) bool { return f.Name != "d" }
	u := newUniverse(t, in)
	if got := list(u.Matches(parse(t, "$Version"), "")); got != "a b" {
		t.Errorf("kept %s", got)
	}
	if got := list(u.Matches(parse(t, "$Version"), "other")); got != "" {
		t.Errorf("of another archive: %s", got)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	u := newUniverse(t, index("a 1", "a 3", "b 1"), Index{Archive: "z", Data: stanzas("a 2", "a 3")})
	if got := list(u.Versions("a")); got != "a=3 a=3 a=2 a" {
		t.Errorf("got %s", got)
	}
	if got := u.Versions("nosuch"); len(got) != 0 {
		t.Errorf("got %s", list(got))
	}
}

// The rank of a name is where apt reads it first: the package, then its
// relations in apt's order of fields; a qualified name is another name.
func TestNameRank(t *testing.T) {
	t.Parallel()
	u := newUniverse(t,
		index("a 1; Depends: late:any, one (>= 1) | two; pre-depends: zero; Description: never", "b 1; Suggests: s_t, four\n [x]; Breaks: three<y>"),
		index("late 1; Provides: five(= 1)", "never 1; Homepage: six", "one 1"))
	for i, name := range []string{"a", "zero", "one", "two", "b", "three", "s_t", "four", "late", "five", "never"} {
		if n, known := u.byName[name]; !known || int(n) != i {
			t.Errorf("%s: %+v, want rank %d", name, n, i)
		}
	}
	if _, known := u.byName["six"]; known {
		t.Error("six is a name")
	}
}

// Questions may be asked at the same time.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	u := newUniverse(t, syntheticIndex(2000))
	want, err := u.Resolve(Request{Roots: roots(t, "p1999"), Architectures: []string{"amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	u = newUniverse(t, syntheticIndex(2000))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := u.Resolve(Request{Roots: roots(t, "p1999"), Architectures: []string{"amd64"}})
			if err != nil || list(packages(got)) != list(packages(want)) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
}
