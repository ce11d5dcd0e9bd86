package resolve

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// syntheticIndex has n packages; each needs up to eight that come before it.
func syntheticIndex(n int) Index {
	rng := rand.New(rand.NewPCG(1, 1))
	lines := make([]string, n)
	for i := range n {
		depends := ""
		for k := range min(i, rng.IntN(9)) {
			sep := ", "
			if k == 0 {
				sep = "; Depends: "
			}
			depends += fmt.Sprintf("%sp%d (>= 1)", sep, rng.IntN(i)/(1+rng.IntN(40)))
		}
		lines[i] = fmt.Sprintf("p%d 1%s; Priority: optional; Section: s%d; Description: %0200d; Maintainer: Someone <someone@example.org>; Tag: a::b, c::d",
			i, depends, i%50, i)
	}
	return Index{Archive: "a", Suite: "s", Component: "main", Architecture: "amd64", Path: "synthetic", Data: stanzas(lines...)}
}

const benchmarkSize = 60_000

func BenchmarkUniverse(b *testing.B) {
	in := syntheticIndex(benchmarkSize)
	b.SetBytes(int64(len(in.Data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewUniverse([]Index{in}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClosure(b *testing.B) {
	u := newUniverse(b, syntheticIndex(benchmarkSize))
	rng := rand.New(rand.NewPCG(2, 2))
	b.ReportAllocs()
	packages := 0
	for b.Loop() {
		res, err := u.Resolve(Request{Roots: roots(b, fmt.Sprintf("p%d", rng.IntN(benchmarkSize))), Architectures: []string{"amd64"}})
		if err != nil {
			b.Fatal(err)
		}
		packages += len(res.Packages)
	}
	b.ReportMetric(float64(packages)/float64(b.N), "packages/op")
}
