package artifact

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
)

// cutNaively is SPEC section 7, word for word.
func cutNaively(paths []string) [][]string {
	if len(paths) <= oci.MaxLayers {
		return [][]string{paths}
	}
	best, bestHash := 0, [32]byte{}
	for i := 1; i < len(paths); i++ {
		if path.Dir(paths[i]) == path.Dir(paths[i-1]) {
			continue
		}
		if h := sha256.Sum256([]byte(path.Dir(paths[i]))); best == 0 || bytes.Compare(h[:], bestHash[:]) > 0 {
			best, bestHash = i, h
		}
	}
	if best == 0 {
		for i := 1; i < len(paths); i++ {
			if h := sha256.Sum256([]byte(paths[i])); best == 0 || bytes.Compare(h[:], bestHash[:]) > 0 {
				best, bestHash = i, h
			}
		}
	}
	return append(cutNaively(paths[:best]), cutNaively(paths[best:])...)
}

func checkCuts(t *testing.T, paths []string) (ends []int) {
	t.Helper()
	ends = cutShards(paths)
	start := 0
	var got [][]string
	for _, end := range ends {
		got = append(got, paths[start:end])
		start = end
	}
	want := cutNaively(paths)
	if len(paths) == 0 {
		want = nil
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("%d paths: cut at %v, SPEC wants %d shards", len(paths), ends, len(want))
	}
	return ends
}

// Random worlds with all shapes: flat directories, nested ones whose parent
// comes again after them (equal directories at two positions), lone files.
func TestCutShards(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 399, 400, 401, 799, 800, 801, 3000} {
		for seed := range uint64(8) {
			rng := rand.New(rand.NewPCG(seed, uint64(n)))
			dirs := 1 + rng.IntN(1+n/int(1+seed*seed*10))
			seen := map[string]bool{}
			for len(seen) < n {
				p := fmt.Sprintf("a/pool/%d", rng.IntN(dirs))
				if rng.IntN(3) == 0 {
					p += fmt.Sprintf("/sub%d", rng.IntN(3))
				}
				seen[p+fmt.Sprintf("/%x", rng.Uint64())] = true
			}
			var paths []string
			for p := range seen {
				paths = append(paths, p)
			}
			sort.Strings(paths)
			checkCuts(t, paths)
		}
	}
}

// vectorPaths are the paths of the vectors in SPEC section 14.
func vectorPaths(name string, n int) []string {
	var paths []string
	switch name {
	case "one directory":
		for i := range n {
			paths = append(paths, fmt.Sprintf("own/pool/main/o/one/one_%04d_amd64.deb", i))
		}
	case "sources":
		for i := range n {
			paths = append(paths, fmt.Sprintf("own/pool/main/s/src%03d/src%03d_%d_amd64.deb", i/3, i/3, i%3))
		}
	case "one among sources":
		paths = append(vectorPaths("sources", 300), vectorPaths("one directory", n-300)...)
		sort.Strings(paths)
	}
	return paths
}

var cutVectors = []struct {
	name string
	n    int
	ends []int
}{
	{"one directory", 400, []int{400}},
	{"one directory", 1000, []int{179, 218, 388, 612, 1000}},
	{"sources", 1200, []int{207, 348, 444, 783, 1050, 1200}},
	{"one among sources", 900, []int{179, 218, 600, 603, 621, 636, 729, 807, 900}},
}

// The vectors stand in the specification, and the specification in the test.
func TestCutVectors(t *testing.T) {
	t.Parallel()
	spec, err := os.ReadFile("../../artifacts/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range cutVectors {
		ends := checkCuts(t, vectorPaths(v.name, v.n))
		if !slices.Equal(ends, v.ends) {
			t.Errorf("%s, %d: cut before %v, want %v", v.name, v.n, ends, v.ends)
		}
		line := fmt.Sprintf("| %s | %d | %s |", v.name, v.n, strings.Trim(strings.ReplaceAll(fmt.Sprint(ends), " ", ", "), "[]"))
		if !strings.Contains(string(spec), line) {
			t.Errorf("SPEC.md lacks the line\n%s", line)
		}
	}
}

// What the cuts are for: a change stays where it is.
func TestCutsAreLocal(t *testing.T) {
	t.Parallel()
	paths := vectorPaths("sources", 30_000)
	before := cutNames(paths)
	for _, change := range []func() []string{
		func() []string { return slices.Insert(slices.Clone(paths), 15_000, paths[15_000]+".more") },
		func() []string { return slices.Delete(slices.Clone(paths), 100, 103) },
	} {
		after := cutNames(change())
		changed := 0
		for shard := range after {
			if !before[shard] {
				changed++
			}
		}
		if changed > 2 {
			t.Errorf("%d of %d shards changed", changed, len(after))
		}
	}
}

func cutNames(paths []string) map[string]bool {
	names := map[string]bool{}
	start := 0
	for _, end := range cutShards(paths) {
		names[strings.Join(paths[start:end], "\n")] = true
		start = end
	}
	return names
}
