package freeze

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// source is an archive as configured, with the server and the keys it is read by.
type source struct {
	*config.Archive
	up      *upstream.Upstream // nil for debs
	keyring *pgp.Keyring
	urlKeys []config.LockKey // of a key that came from the network
}

// upstreamArchive is an archive as it was read and verified.
type upstreamArchive struct {
	*source
	suites []*upstreamSuite
	own    debdir.Dir // class site; else empty
}

// suiteRelease is a suite's Release with its signatures, verified. Of an
// archive of own packages it has no release.
type suiteRelease struct {
	src      *source
	name     string // as in the statement; flat ones end in "/"
	dir      string // relative to the archive root: dists/NAME, or the flat path
	release  *archive.Release
	signed   []signedFile
	unlike   string             // verbatim: what does not fit InRelease and is left out
	previous *snapshot.Snapshot // where it is read from in place of upstream; nil: upstream
}

// upstreamSuite is a suite with the indices and optional targets that were asked for.
type upstreamSuite struct {
	suiteRelease
	indices []*upstreamIndex
	extra   []extraFile // verbatim: optional targets that upstream has
	dropped []string    // verbatim: what was left out, by name
}

// signedFile is InRelease, Release or Release.gpg, byte for byte.
type signedFile struct {
	name string
	role snapshot.Role // of the served file
	data []byte
}

// base is the suite's directory in the snapshot, with a final slash.
func (s *suiteRelease) base(prefix string) string {
	return strings.TrimSuffix(path.Join(prefix, s.dir), "/") + "/"
}

// digest is what a lock pins a suite by.
func (s *suiteRelease) digest() string { return snapshot.Sum(s.signed[0].data).String() }

// canonicalSuite spells a flat suite as the statement does: "./" for the root.
func canonicalSuite(name string) string {
	if !snapshot.IsFlat(name) {
		return name
	}
	if dir := suiteDir(name); dir != "" {
		return dir + "/"
	}
	return "./"
}

// suiteDir maps a configured suite to its directory in the archive.
func suiteDir(name string) string {
	if flat, ok := strings.CutSuffix(name, "/"); ok {
		return strings.TrimPrefix(path.Clean("/"+flat), "/")
	}
	return "dists/" + name
}

// Rereads is how often a suite is read anew when upstream moved meanwhile. An
// archive is published in seconds and at most a few times a day.
const Rereads = 3

// errMoved marks a file that does not fit its Release. Whether that is an
// integrity failure depends on whether the Release has changed meanwhile.
var errMoved = errors.New("does not fit its Release")

// openSource finds the keys and the server of an archive.
func openSource(ctx context.Context, f Options, cfg *config.Archive) (*source, error) {
	src := &source{Archive: cfg}
	var err error
	if src.keyring, src.urlKeys, err = signer.UpstreamKeyring(ctx, cfg, f.Keys, f.Log); err != nil {
		return nil, err
	}
	o := place.UpstreamOptions(cfg, f.Log)
	o.Record = f.Record
	src.up, err = upstream.New(o)
	return src, err
}

// readArchive reads the suites of an upstream archive: signatures, Dates and indices verified.
func readArchive(ctx context.Context, f Options, cfg *config.Archive) (*upstreamArchive, error) {
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
	suites := make([]*upstreamSuite, len(names))
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		g.Go(func() (err error) {
			if suites[i], err = readSuite(ctx, f, src, name); err != nil {
				return fmt.Errorf("archive %s, suite %s: %w", cfg.Prefix, name, err)
			}
			return nil
		})
	}
	return &upstreamArchive{source: src, suites: suites}, g.Wait()
}

// readSuite reads a suite, and reads it again if upstream changed it meanwhile:
// only a mismatch under an unchanged InRelease is an integrity failure.
func readSuite(ctx context.Context, f Options, src *source, name string) (*upstreamSuite, error) {
	for try := 1; ; try++ {
		var suite *upstreamSuite
		rel, err := readRelease(ctx, f, src, name, try > Rereads)
		if err == nil {
			suite, err = readIndices(ctx, f, rel)
		}
		switch {
		case ctx.Err() != nil: // what is cut off does not fit, and has not changed
			return nil, context.Cause(ctx)
		case errors.Is(err, archive.ErrSHA512Alone):
			return nil, fmt.Errorf("%w: every file needs a SHA256, by which it is found: %v", outcome.ErrUsage, err)
		case err == nil || !errors.Is(err, errMoved) || try > Rereads:
			return suite, err
		}
		if rel != nil { // else Release itself was caught between two days
			moved, err2 := rel.hasMoved(ctx)
			if err2 != nil {
				return nil, fmt.Errorf("%w (then, whether it changed meanwhile: %w)", err, err2)
			}
			if !moved {
				return nil, err
			}
		}
		f.Log.Printf("archive %s, suite %s: changed while it was read; reading it anew", src.Prefix, name)
	}
}

// hasMoved tells whether upstream's signature file is another by now.
func (s *suiteRelease) hasMoved(ctx context.Context) (bool, error) {
	return s.src.hasMoved(ctx, path.Join(s.dir, s.signed[0].name), s.signed[0].data)
}

func (src *source) hasMoved(ctx context.Context, name string, was []byte) (bool, error) {
	now, err := src.up.Get(ctx, name, snapshot.MaxRelease, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return true, nil
	}
	return err == nil && !bytes.Equal(now, was), err
}

// readRelease fetches and verifies InRelease, or Release with Release.gpg where
// there is none; of a verbatim suite all three, see beside. last says that no
// other try follows.
func readRelease(ctx context.Context, f Options, src *source, name string, last bool) (*suiteRelease, error) {
	s := suiteRelease{src: src, name: name, dir: suiteDir(name)}
	at := func(file string) string { return path.Join(s.dir, file) }
	// A key is judged by now, as the apt of the hosts will; but not for a file that the lock names.
	trust := func(data []byte) pgp.Trust {
		t := pgp.Trust{Keyring: src.keyring, Now: f.Now}
		if pin := lockedRelease(f.Lock, src.Prefix, name); pin != nil && pin.Digest == snapshot.Sum(data).String() {
			t.Now = time.Time{}
		}
		return t
	}
	in, err := src.up.Get(ctx, at("InRelease"), snapshot.MaxRelease, func(data []byte) (err error) {
		s.release, err = archive.OpenInRelease(data, trust(data))
		return err
	})
	switch {
	case errors.Is(err, upstream.ErrNotFound):
		s.release, s.signed, err = detached(ctx, src, at, trust)
	case err == nil:
		s.signed = []signedFile{{"InRelease", snapshot.InRelease, in}}
		if src.Verbatim {
			var more []signedFile
			more, s.unlike, err = beside(ctx, src, at, in, last)
			s.signed = append(s.signed, more...)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := prove.CheckSuite(s.release, name, src.UnnamedRelease); err != nil {
		return nil, err
	}
	if s.release.Date.IsZero() {
		return nil, fmt.Errorf("%w: %s has no Date, so nobody could tell an older one from a newer", outcome.ErrIntegrity, at(s.signed[0].name))
	}
	return &s, s.release.CheckDate(f.Now, src.CheckValidUntil)
}

// detached reads Release and Release.gpg of a suite without InRelease.
func detached(ctx context.Context, src *source, at func(string) string, trust func([]byte) pgp.Trust) (*archive.Release, []signedFile, error) {
	text, err := src.up.Get(ctx, at("Release"), snapshot.MaxRelease, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return nil, nil, fmt.Errorf("%w: neither %s nor %s: %w", outcome.ErrNotFound, at("InRelease"), at("Release"), err)
	}
	if err != nil {
		return nil, nil, err
	}
	sig, err := src.up.Get(ctx, at("Release.gpg"), snapshot.MaxRelease, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return nil, nil, fmt.Errorf("%w: %s is not signed: no %s", outcome.ErrIntegrity, at("Release"), at("Release.gpg"))
	}
	if err != nil {
		return nil, nil, err
	}
	release, err := archive.OpenRelease(text, sig, trust(text))
	if err == nil {
		return release, []signedFile{{"Release", snapshot.Release, text}, {"Release.gpg", snapshot.ReleaseGPG, sig}}, nil
	}
	err = fmt.Errorf("%s: %w", at("Release"), err)
	// The two may be of different days only while upstream publishes.
	if moved, err2 := src.hasMoved(ctx, at("Release"), text); err2 == nil && moved {
		return nil, nil, fmt.Errorf("%w: %w", errMoved, err)
	}
	return nil, nil, err
}

// beside reads Release and Release.gpg beside the InRelease of a verbatim suite,
// as far as upstream has them: some clients ask for nothing else. They must be
// of InRelease's text; an error wrapping errMoved if they are not, for then one
// of them is of another day. At the last try such files are left out and named
// as unlike, so that an upstream that keeps an old Release can be carried.
func beside(ctx context.Context, src *source, at func(string) string, in []byte, last bool) (files []signedFile, unlike string, err error) {
	var mismatch error
	judge := func(err error) error {
		if err != nil {
			mismatch = err
		}
		return err
	}
	text, err := src.up.Get(ctx, at("Release"), snapshot.MaxRelease, func(data []byte) error { return judge(archive.SameRelease(in, data)) })
	if errors.Is(err, upstream.ErrNotFound) {
		return nil, "", nil
	}
	files = []signedFile{{"Release", snapshot.Release, text}}
	if err == nil {
		var sig []byte
		sig, err = src.up.Get(ctx, at("Release.gpg"), snapshot.MaxRelease, func(data []byte) error {
			_, err := archive.OpenRelease(text, data, pgp.Trust{Keyring: src.keyring})
			return judge(err)
		})
		files = append(files, signedFile{"Release.gpg", snapshot.ReleaseGPG, sig})
		if errors.Is(err, upstream.ErrNotFound) {
			files, err = files[:1], nil
		}
	}
	switch {
	case err == nil:
		return files, "", nil
	case mismatch == nil:
		return nil, "", err
	case !last:
		return nil, "", fmt.Errorf("%s beside InRelease: %w: %w", at(files[len(files)-1].name), errMoved, mismatch)
	}
	return nil, "Release, Release.gpg (not of one text with InRelease: " + mismatch.Error() + ")", nil
}

// signatures is a digest over the signature files of a suite.
func (s *suiteRelease) signatures() string {
	var all []byte
	for _, f := range s.signed {
		all = fmt.Appendf(all, "%s %s\n", f.name, snapshot.Sum(f.data))
	}
	return snapshot.Sum(all).String()
}

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
	f := Options{Now: now, Log: log}
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
			var s *suiteRelease
			if s, p.Err = readRelease(ctx, f, src, p.Suite, true); p.Err != nil {
				return
			}
			p.Date, p.Signatures = s.release.Date, s.signatures()
			if info, ok := src.keyring.Info(s.release.How.Signer, now); ok {
				p.AptRefuses = info.AptRefuses
			}
		})
	}
	g.Wait()
	return src.up, out, nil
}
