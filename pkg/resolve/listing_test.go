package resolve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// text is a Text that can be made to fail.
type text struct {
	data   []byte
	broken error // of Open
	torn   error // of ReadAt
}

func (t *text) Size() int64 { return int64(len(t.data)) }

func (t *text) Open() io.Reader {
	if t.broken != nil {
		return io.MultiReader(bytes.NewReader(t.data[:len(t.data)/2]), iotest.ErrReader(t.broken))
	}
	return bytes.NewReader(t.data)
}

func (t *text) ReadAt(p []byte, at int64) (int, error) {
	if t.torn != nil {
		return 0, t.torn
	}
	return bytes.NewReader(t.data).ReadAt(p, at)
}

// An index that is not held in memory, looked at as it is needed or as it is read,
// gives the same answers.
func TestTexts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 14))
		held := []Index{motley(rng, "x", "s"), motley(rng, "y", "t"), {Archive: "z"}, motley(rng, "x", "u")}
		held[1].Data = append([]byte("Package: bad\n\n"), held[1].Data...)
		lazy, whole := slices.Clone(held), slices.Clone(held)
		for i := range held {
			lazy[i].Data, lazy[i].Text = nil, &text{data: held[i].Data}
			whole[i].Data, whole[i].Text, whole[i].Whole = nil, &text{data: held[i].Data}, true
		}
		want := answersOf(t, held)
		for _, other := range [][]Index{lazy, whole} {
			if got := answersOf(t, other); got != want {
				t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
			}
		}
	}
}

// answersOf is what a universe says to many questions.
func answersOf(t *testing.T, indices []Index) string {
	t.Helper()
	u, err := NewUniverse(indices)
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	say := func(pkgs []*Package) {
		for _, p := range pkgs {
			fmt.Fprintf(&out, "%s/%s/%d %+v %q\n", p.Archive, p.Suite, p.Index, p.PackageFile, p.Stanza)
		}
		out.WriteByte('\n')
	}
	for _, q := range []string{"$Version", "Name (% [a-d])", "Multi-Arch (= same)", "v", "a (>= 1)", "b | c", "a/s", "Name (= b), b/t | c/other"} {
		say(u.Matches(parse(t, q), ""))
		say(u.Matches(parse(t, q), "x"))
	}
	say(u.Versions("a"))
	for _, req := range []Request{
		{Roots: roots(t, "a", "y/b", "x/c/u"), Architectures: []string{"amd64", "arm64"}},
		{AllOf: []string{"x"}, Architectures: []string{"amd64"}, Recommends: true},
		{Roots: roots(t, "c", "v"), Architectures: []string{"arm64"}, Pins: map[string]string{"a:amd64": "1"}},
	} {
		res, err := u.Resolve(req)
		fmt.Fprintln(&out, err)
		if err == nil {
			say(packages(res))
			fmt.Fprintln(&out, res.Notes)
			for _, n := range u.Newer(req, res.Packages) {
				fmt.Fprintln(&out, n.Root.Query, n.Taken.Version, n.Newer.Version)
			}
		}
	}
	if err := u.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(u.Skipped(), "\n") + out.String()
}

// What is read again must be what was read first; an index that breaks off is no shorter one.
func TestTextsThatFail(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	in := func() (Index, *text) {
		x := &text{data: stanzas("a 1; Depends: b", "b 1", "c 1")}
		return Index{Archive: "a", Path: "p", Text: x}, x
	}
	index, x := in()
	x.broken = broken
	if _, err := NewUniverse([]Index{index}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "index p of archive a") {
		t.Errorf("broken: %v", err)
	}
	for about, fail := range map[string]func(x *text){
		"torn":  func(x *text) { x.torn = broken },
		"short": func(x *text) { x.data = x.data[:10] },
		"other": func(x *text) { x.data = bytes.Replace(x.data, []byte("Depends: b"), []byte("Depends: c"), 1) },
	} {
		for _, query := range []string{"a", "Depends (= b) | Depends (= c)"} {
			index, x := in()
			u := newUniverse(t, index)
			fail(x)
			res, err := u.Resolve(Request{Roots: roots(t, query), Architectures: []string{"amd64"}})
			if err == nil || u.Err() == nil || !strings.Contains(err.Error(), "index p of archive a") {
				t.Errorf("%s, %s: %v, %v", about, query, res, err)
			}
		}
	}
}

func TestSkipPhased(t *testing.T) {
	t.Parallel()
	in := index("a 2; Phased-Update-Percentage: 10", "a 1; Phased-Update-Percentage: 100", "b 1; Phased-Update-Percentage: 0", "c 1")
	for skip, want := range map[bool]string{false: "a a=2 b c", true: "a c"} {
		in.SkipPhased = skip
		if got := list(newUniverse(t, in).Matches(parse(t, "$Version"), "")); got != want {
			t.Errorf("%t: %s, want %s", skip, got, want)
		}
	}
}

// More architectures than a record can tell are refused, not mixed up.
func TestManyArchitectures(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range maxArches + 1 {
		lines = append(lines, fmt.Sprintf("p%d 1 arch%d", i, i))
	}
	newUniverse(t, index(lines[:maxArches]...))
	if _, err := NewUniverse([]Index{index(lines...)}); err == nil || !strings.Contains(err.Error(), "over the limit of 256 architectures") {
		t.Error(err)
	}
}
