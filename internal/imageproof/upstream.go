package imageproof

import (
	"context"

	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/pkg/snapshot"
)

// signedUpstream are the .debs of a lock that upstream's own signature proves, by the keys that are given for its archives. A curated archive is
// served under the site's signature, which whoever has that key can put over other packages, too.
func signedUpstream(ctx context.Context, s *snapshot.Snapshot, trust prove.Trust, lock *imagelock.Lock) (map[snapshot.Digest]bool, error) {
	want := map[snapshot.Digest]bool{}
	for _, a := range lock.Architectures {
		for _, p := range a.Packages {
			want[p.Deb.Digest] = true
		}
	}
	out := map[snapshot.Digest]bool{}
	chain := &prove.Chain{Snapshot: s, Trust: trust, AsApt: true}
	for _, a := range s.Statement.Archives {
		if a.Class != snapshot.Upstream || trust.Upstream[a.Prefix] == nil {
			continue
		}
		view := prove.Upstreams
		if a.Mode == snapshot.Verbatim {
			view = prove.Served
		}
		err := chain.Walk(ctx, a, view, prove.Visitor{File: func(_ *prove.Suite, row snapshot.Row) {
			if want[row.Digest] {
				out[row.Digest] = true
			}
		}})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
