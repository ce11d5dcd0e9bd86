// Package suites reads and verifies the archives of a plan: of each suite the Release with its signatures and its Date,
// and the indices that are asked for. A suite that a lock names is read as the lock has it, from the snapshot that is
// replaced if upstream has moved on. Nothing is chosen here, and no package is read.
package suites

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Options say how archives are read. Now is required.
type Options struct {
	Lock *config.Lock // pins the suites that it names; nil: none
	// Previous is a snapshot that may hold what upstream no longer has. It is not trusted: what is taken from it must
	// verify under upstream's key. nil: none.
	Previous *snapshot.Snapshot
	Keys     *signer.NetworkKeys // pins of keys that come from the network; nil: none is known, nor kept
	Record   bool                // remembers where each file came from
	Now      time.Time
	Log      outcome.Log
}

// Source is an archive as configured, with the server and the keys it is read by.
type Source struct {
	*config.Archive
	Up      *upstream.Upstream // nil for debs
	Keyring *pgp.Keyring
	URLKeys []config.LockKey // of a key that came from the network
}

// Archive is an archive as it was read and verified.
type Archive struct {
	*Source
	ReadSuites []*Suite
	Own        debdir.Dir // class site; else empty
}

// Read reads archives side by side and gives them in order of prefix: the order in which they are written down must not
// matter. Its errors name archive and suite; one of wrong bytes wraps outcome.ErrIntegrity.
func Read(ctx context.Context, f Options, of []config.Archive) ([]*Archive, error) {
	cfgs := slices.Clone(of)
	slices.SortStableFunc(cfgs, func(a, b config.Archive) int { return strings.Compare(a.Prefix, b.Prefix) })
	archives := make([]*Archive, len(cfgs))
	g, ctx := errgroup.WithContext(ctx)
	for i := range cfgs {
		g.Go(func() (err error) {
			if cfgs[i].Debs != "" {
				archives[i], err = readDebs(ctx, &cfgs[i])
			} else {
				archives[i], err = readArchive(ctx, f, &cfgs[i])
			}
			return err
		})
	}
	return archives, g.Wait()
}

// readDebs reads an archive of own packages: one suite, named by the prefix, that no upstream signs.
func readDebs(ctx context.Context, cfg *config.Archive) (*Archive, error) {
	own, err := debdir.ReadDir(ctx, cfg.Debs)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", cfg.Prefix, err)
	}
	src := &Source{Archive: cfg}
	suite := &Suite{Head: Head{Source: src, Name: cfg.Prefix, Dir: suiteDir(cfg.Prefix)}}
	return &Archive{Source: src, ReadSuites: []*Suite{suite}, Own: *own}, nil
}

// openSource finds the keys and the server of an archive.
func openSource(ctx context.Context, f Options, cfg *config.Archive) (*Source, error) {
	src := &Source{Archive: cfg}
	var err error
	if src.Keyring, src.URLKeys, err = signer.UpstreamKeyring(ctx, cfg, f.Keys, f.Log); err != nil {
		return nil, err
	}
	o := place.UpstreamOptions(cfg, f.Log)
	o.Record = f.Record
	src.Up, err = upstream.New(o)
	return src, err
}

// readArchive reads the suites of an upstream archive: signatures, Dates and indices verified.
func readArchive(ctx context.Context, f Options, cfg *config.Archive) (*Archive, error) {
	src, err := openSource(ctx, f, cfg)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", cfg.Prefix, err)
	}
	var names []string
	for _, s := range cfg.Suites {
		names = append(names, canonicalSuite(s))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	suites := make([]*Suite, len(names))
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		g.Go(func() (err error) {
			if suites[i], err = readSuite(ctx, f, src, name); err != nil {
				return fmt.Errorf("archive %s, suite %s: %w", cfg.Prefix, name, err)
			}
			return nil
		})
	}
	return &Archive{Source: src, ReadSuites: suites}, g.Wait()
}

// KindOf is what one of the archive's URLs is.
func (src *Source) KindOf(url string) string {
	switch {
	case slices.ContainsFunc(src.Mirrors, func(m string) bool { return withoutUser(m) == url }):
		return fetchreport.Mirror
	case src.Dated != "":
		return fetchreport.Dated
	}
	return fetchreport.Upstream
}

// withoutUser is a URL as an upstream shows it: without credentials and final slash.
func withoutUser(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	host, tail, _ := strings.Cut(rest, "/")
	host = host[strings.LastIndexByte(host, '@')+1:]
	return strings.TrimRight(scheme+"://"+host+"/"+tail, "/")
}

func (src *Source) ModeAndClass() (snapshot.Mode, snapshot.Class) {
	switch {
	case src.Verbatim:
		return snapshot.Verbatim, snapshot.Upstream
	case src.Debs != "":
		return snapshot.Curated, snapshot.Site
	}
	return snapshot.Curated, snapshot.Upstream
}

// AllArchitectures are those of the configuration and of own packages, each once,
// in this order.
func (a *Archive) AllArchitectures() (out []string) {
	for _, arch := range a.Architectures {
		if !slices.Contains(out, arch) {
			out = append(out, arch)
		}
	}
	for _, p := range a.Own.Packages {
		if p.Architecture != "all" && !slices.Contains(out, p.Architecture) {
			out = append(out, p.Architecture)
		}
	}
	return out
}
