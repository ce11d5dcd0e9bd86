package freeze

import (
	"context"
	"fmt"
	"sync"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/snapshot"
)

// Probed is what a look at one suite of an upstream found.
type Probed struct {
	Suite      string    // in the statement's spelling
	Date       time.Time // of its Release
	Signatures string    // a digest over its signature files, as in [Frozen.Signatures]
	AptRefuses string    // why apt would refuse the key that signed it; "" if it would not
	Err        error     // why it cannot be read or verified; nil: it was
}

// Probe reads and verifies the signature files of an archive with an upstream, and
// nothing else. Its error says that the archive cannot be asked at all.
func Probe(ctx context.Context, a *config.Archive, now time.Time, log outcome.Log) (*upstream.Upstream, []Probed, error) {
	r := &reader{Options{Now: now, Log: log}}
	fa := &upstreamArchive{Archive: a}
	var err error
	if fa.Keyring, _, err = signer.UpstreamKeyring(ctx, a, nil, log); err != nil {
		return nil, nil, err
	}
	if fa.up, err = upstream.New(place.UpstreamOptions(a, log)); err != nil {
		return nil, nil, err
	}
	out := make([]Probed, len(a.Suites))
	var g sync.WaitGroup
	for i, name := range a.Suites {
		out[i].Suite = canonicalSuite(name)
		g.Go(func() {
			p := &out[i]
			var s *upstreamSuite
			if s, p.Err = r.release(ctx, fa, p.Suite, true); p.Err != nil {
				return
			}
			p.Date, p.Signatures = s.release.Date, signaturesOf(s)
			if info, ok := fa.Keyring.Info(s.release.How.Signer, now); ok {
				p.AptRefuses = info.AptRefuses
			}
		})
	}
	g.Wait()
	return fa.up, out, nil
}

// Signatures has a digest over the signature files of each suite of an upstream, by PREFIX SUITE.
func (f *Frozen) Signatures() map[string]string {
	out := map[string]string{}
	for _, fa := range f.archives {
		for _, s := range fa.suites {
			out[fa.Prefix+" "+s.name] = signaturesOf(s)
		}
	}
	return out
}

func signaturesOf(s *upstreamSuite) string {
	var all []byte
	for _, f := range s.signed {
		all = fmt.Appendf(all, "%s %s\n", f.name, snapshot.Sum(f.data))
	}
	return snapshot.Sum(all).String()
}
