package suites

import (
	"context"
	"sync"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/upstream"
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
// nothing else; a key that comes from the network is held against keys, nil: none is known. Its error says that the archive cannot be asked at all.
func Probe(ctx context.Context, a *config.Archive, keys *signer.NetworkKeys, now time.Time, log outcome.Log) (*upstream.Upstream, []Probed, error) {
	f := Options{Keys: keys, Now: now, Log: log}
	src, err := openSource(ctx, f, a)
	if err != nil {
		return nil, nil, err
	}
	out := make([]Probed, len(a.Suites))
	var g sync.WaitGroup
	for i, name := range a.Suites {
		out[i].Suite = canonicalSuite(name)
		g.Go(func() {
			p := &out[i]
			var s *Head
			if s, p.Err = readRelease(ctx, f, src, p.Suite, true); p.Err != nil {
				return
			}
			p.Date, p.Signatures = s.Release.Date, s.Signatures()
			if info, ok := src.Keyring.Info(s.Release.How.Signer, now); ok {
				p.AptRefuses = info.AptRefuses
			}
		})
	}
	g.Wait()
	return src.Up, out, nil
}
