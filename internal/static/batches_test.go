package static

import (
	"math/rand/v2"
	"slices"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// Batches hold every blob once and in order; they are short, and large blobs share none with another.
func TestBatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		all := make([]wanted, n)
		for i := range all {
			all[i].Blob = snapshot.Blob{Digest: snapshot.Digest{byte(i), byte(i >> 8), 1}, Size: rng.Int64N(10_000)}
			if rng.IntN(20) == 0 {
				all[i].Size = 2 << 20
			}
		}
		batches := inBatches(all)
		if got := slices.Concat(batches...); !slices.Equal(got, all) {
			t.Fatalf("%d blobs: %d came back", n, len(got))
		}
		for _, b := range batches {
			size := int64(0)
			for _, m := range b {
				size += m.Size
			}
			if len(b) == 0 || len(b) > 64 || len(b) > 1 && size > 1<<20 {
				t.Errorf("%d blobs: a batch of %d, %d bytes", n, len(b), size)
			}
		}
	}
}
