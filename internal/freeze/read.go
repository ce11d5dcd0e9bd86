package freeze

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Rereads is how often a suite is read anew when upstream moved meanwhile. An
// archive is published in seconds and at most a few times a day.
const Rereads = 3

// reader reads archives from their upstreams.
type reader struct{ Options }

// errMoved marks a file that does not fit its Release, so that the question is
// put whether the Release has changed meanwhile.
var errMoved = errors.New("does not fit its Release")

// archive reads one upstream archive: signatures, Dates and indices verified.
func (r *reader) archive(ctx context.Context, cfg *config.Archive) (*upstreamArchive, error) {
	fa := &upstreamArchive{Archive: cfg}
	var err error
	if fa.Keyring, fa.urlKeys, err = signer.UpstreamKeyring(ctx, cfg, r.Keys, r.Log); err != nil {
		return nil, fmt.Errorf("archive %s: %w", cfg.Prefix, err)
	}
	if fa.up, err = upstream.New(place.UpstreamOptions(cfg, r.Log)); err != nil {
		return nil, fmt.Errorf("archive %s: %w", cfg.Prefix, err)
	}
	var names []string
	for _, s := range cfg.Suites {
		names = append(names, canonicalSuite(s))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	fa.suites = make([]*upstreamSuite, len(names))
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		g.Go(func() (err error) {
			if fa.suites[i], err = r.suite(ctx, fa, name); err != nil {
				return fmt.Errorf("archive %s, suite %s: %w", cfg.Prefix, name, err)
			}
			return nil
		})
	}
	return fa, g.Wait()
}

// suite reads a suite, anew if it changed under our hands: only a mismatch
// under an unchanged InRelease is an integrity failure.
func (r *reader) suite(ctx context.Context, fa *upstreamArchive, name string) (*upstreamSuite, error) {
	for try := 1; ; try++ {
		fs, err := r.readSuite(ctx, fa, name, try > Rereads)
		if errors.Is(err, archive.ErrSHA512Alone) {
			return nil, fmt.Errorf("%w: every file needs a SHA256, by which it is found: %v", outcome.ErrUsage, err)
		}
		if err == nil || !errors.Is(err, errMoved) || try > Rereads {
			return fs, err
		}
		if fs != nil { // else Release itself was caught between two days
			moved, err2 := hasMoved(ctx, fa, fs)
			if err2 != nil {
				return nil, fmt.Errorf("%w (then, whether it changed meanwhile: %w)", err, err2)
			}
			if !moved {
				return nil, err
			}
		}
		r.Log.Printf("archive %s, suite %s: changed while it was read; reading it anew", fa.Prefix, name)
	}
}

// hasMoved asks upstream whether the signature file that a suite was read by is another by now.
func hasMoved(ctx context.Context, fa *upstreamArchive, fs *upstreamSuite) (bool, error) {
	now, err := fa.up.Get(ctx, path.Join(fs.dir, fs.signed[0].name), snapshot.MaxRelease, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return true, nil
	}
	return err == nil && !bytes.Equal(now, fs.signed[0].data), err
}

func (r *reader) readSuite(ctx context.Context, fa *upstreamArchive, name string, last bool) (*upstreamSuite, error) {
	fs, err := r.release(ctx, fa, name, last)
	if err != nil {
		return nil, err
	}
	if held, err := r.held(ctx, fa, fs); held != nil || err != nil {
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		fs = held
	}
	wanted, err := wantedIndices(fa, fs)
	if err != nil {
		return nil, err
	}
	fs.indices = make([]*upstreamIndex, len(wanted))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for i, w := range wanted {
		g.Go(func() (err error) {
			fs.indices[i], err = r.index(gctx, fa, fs, w)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fs, err
	}
	fs.indices = slices.DeleteFunc(fs.indices, func(ix *upstreamIndex) bool { return ix == nil })
	if fa.Verbatim {
		err = r.extras(ctx, fa, fs)
	}
	return fs, err
}

// release fetches and verifies InRelease, or Release with Release.gpg where
// there is none; of a verbatim suite all three, see beside.
func (r *reader) release(ctx context.Context, fa *upstreamArchive, name string, last bool) (*upstreamSuite, error) {
	fs := &upstreamSuite{name: name, dir: suiteDir(name)}
	at := func(file string) string { return path.Join(fs.dir, file) }
	// A key is judged by now, as the apt of the hosts will; but not for a file that the lock names.
	trust := func(data []byte) pgp.Trust {
		t := pgp.Trust{Keyring: fa.Keyring, Now: r.Now}
		if pin := lockedRelease(r.Lock, fa.Prefix, name); pin != nil && pin.Digest == snapshot.Sum(data).String() {
			t.Now = time.Time{}
		}
		return t
	}
	data, err := fa.up.Get(ctx, at("InRelease"), snapshot.MaxRelease, func(data []byte) (err error) {
		fs.release, err = archive.OpenInRelease(data, trust(data))
		return err
	})
	switch {
	case err == nil:
		fs.signed = []signedFile{{"InRelease", snapshot.InRelease, data}}
		if fa.Verbatim {
			err = r.beside(ctx, fa, fs, at, last)
		}
	case errors.Is(err, upstream.ErrNotFound):
		err = r.detached(ctx, fa, fs, at, trust)
	}
	if err != nil {
		return nil, err
	}
	if err := prove.CheckSuite(fs.release, name, fa.UnnamedRelease); err != nil {
		return nil, err
	}
	if fs.release.Date.IsZero() {
		return nil, fmt.Errorf("%w: %s has no Date, so nobody could tell an older one from a newer", outcome.ErrIntegrity, at(fs.signed[0].name))
	}
	return fs, fs.release.CheckDate(r.Now, fa.CheckValidUntil)
}

// indexedComponents are the components that a Release has indices of. Its field
// may spell them otherwise ("updates/main" for main).
func indexedComponents(rel *archive.Release) []string {
	var out []string
	for _, f := range rel.Files {
		if c, _, ok := archive.IndexName(f.Path); ok && c != "" && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

func (r *reader) detached(ctx context.Context, fa *upstreamArchive, fs *upstreamSuite, at func(string) string, trust func([]byte) pgp.Trust) error {
	text, err := fa.up.Get(ctx, at("Release"), snapshot.MaxRelease, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return fmt.Errorf("%w: neither %s nor %s: %w", outcome.ErrNotFound, at("InRelease"), at("Release"), err)
	}
	if err != nil {
		return err
	}
	sig, err := fa.up.Get(ctx, at("Release.gpg"), snapshot.MaxRelease, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return fmt.Errorf("%w: %s is not signed: no %s", outcome.ErrIntegrity, at("Release"), at("Release.gpg"))
	}
	if err != nil {
		return err
	}
	fs.signed = []signedFile{{"Release", snapshot.Release, text}, {"Release.gpg", snapshot.ReleaseGPG, sig}}
	if fs.release, err = archive.OpenRelease(text, sig, trust(text)); err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", at("Release"), err)
	// The two may be of different days only while upstream publishes.
	if moved, err2 := hasMoved(ctx, fa, fs); err2 == nil && moved {
		return fmt.Errorf("%w: %w", errMoved, err)
	}
	return err
}

// wantedIndex is an index to be read, its path without compression ending.
type wantedIndex struct{ component, arch, path string }

// wantedIndices lists the Packages (and Sources) indices of the chosen
// components and architectures; one that the suite does not have is said here,
// before anything is fetched.
func wantedIndices(fa *upstreamArchive, fs *upstreamSuite) ([]wantedIndex, error) {
	if snapshot.IsFlat(fs.name) {
		out := []wantedIndex{{"", "", "Packages"}}
		if fa.WithSources {
			out = append(out, wantedIndex{"", "source", "Sources"})
		}
		return out, nil
	}
	var out []wantedIndex
	for _, c := range slices.Sorted(slices.Values(fa.Components)) {
		archs := slices.Sorted(slices.Values(fa.Architectures))
		if slices.Contains(fs.release.Architectures, "all") && !fs.release.NoSupportForAll {
			archs = append(archs, "all")
		}
		found := false
		for _, a := range archs {
			w := wantedIndex{c, a, c + "/binary-" + a + "/Packages"}
			if len(fs.release.Compressions(w.path)) > 0 {
				out, found = append(out, w), true
			} else if a != "all" && !slices.Contains(fs.release.Architectures, a) {
				return nil, fmt.Errorf("%w: architecture %s; it has %s", outcome.ErrNotFound, a, strings.Join(fs.release.Architectures, " "))
			}
		}
		if !found {
			return nil, fmt.Errorf("%w: component %s; it has %s", outcome.ErrNotFound, c, strings.Join(indexedComponents(fs.release), " "))
		}
		if fa.WithSources {
			w := wantedIndex{c, "source", c + "/source/Sources"}
			if len(fs.release.Compressions(w.path)) == 0 {
				return nil, fmt.Errorf("%w: with-sources: component %s has no %s", outcome.ErrNotFound, c, w.path)
			}
			out = append(out, w)
		}
	}
	return out, nil
}
