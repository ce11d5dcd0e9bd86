package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// rereads is how often a suite is read anew when upstream moved meanwhile. An
// archive is published in seconds and at most a few times a day.
const rereads = 3

// reader reads archives from their upstreams.
type reader struct {
	now time.Time
	log Log
}

// errMoved marks an index that does not fit its InRelease, so that the
// question is put whether the InRelease has changed meanwhile.
var errMoved = errors.New("index does not fit its Release")

// archive reads one upstream archive: signatures, Dates and indices verified.
func (r *reader) archive(ctx context.Context, cfg *config.Archive) (*frozenArchive, error) {
	fa := &frozenArchive{Archive: cfg}
	var err error
	if fa.keyring, err = ReadKeyrings(cfg.SignedBy); err != nil {
		return nil, fmt.Errorf("%w: archive %s cannot be verified: %w", ErrIntegrity, cfg.Prefix, err)
	}
	fa.up, err = upstream.New(upstream.Options{
		URLs: cfg.URLs, CAFile: cfg.CAFile, ClientCert: cfg.ClientCert, AuthFile: cfg.AuthFile, Log: r.log,
	})
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", cfg.Prefix, err)
	}
	names := slices.Sorted(slices.Values(cfg.Suites))
	fa.suites = make([]*frozenSuite, len(names))
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
func (r *reader) suite(ctx context.Context, fa *frozenArchive, name string) (*frozenSuite, error) {
	for try := 1; ; try++ {
		fs, err := r.readSuite(ctx, fa, name)
		if err == nil || !errors.Is(err, errMoved) || try > rereads {
			return fs, err
		}
		again, err2 := r.release(ctx, fa, name)
		if err2 != nil {
			return nil, errors.Join(err, err2)
		}
		if bytes.Equal(again.signed[0].data, fs.signed[0].data) {
			return nil, err
		}
		r.log.printf("archive %s, suite %s: changed while it was read; reading it anew", fa.Prefix, name)
	}
}

func (r *reader) readSuite(ctx context.Context, fa *frozenArchive, name string) (*frozenSuite, error) {
	fs, err := r.release(ctx, fa, name)
	if err != nil {
		return nil, err
	}
	wanted, err := wantedIndices(fa, fs)
	if err != nil {
		return nil, err
	}
	fs.indices = make([]*frozenIndex, len(wanted))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i, w := range wanted {
		g.Go(func() (err error) {
			fs.indices[i], err = r.index(gctx, fa, fs, w)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fs, err
	}
	fs.indices = slices.DeleteFunc(fs.indices, func(ix *frozenIndex) bool { return ix == nil })
	if fa.Verbatim {
		err = r.extras(ctx, fa, fs)
	}
	return fs, err
}

// release fetches and verifies InRelease, or Release with Release.gpg where there is none.
func (r *reader) release(ctx context.Context, fa *frozenArchive, name string) (*frozenSuite, error) {
	fs := &frozenSuite{name: name, dir: suiteDir(name)}
	at := func(file string) string { return path.Join(fs.dir, file) }
	trust := archive.Trust{Keyring: fa.keyring}
	data, err := fa.up.Get(ctx, at("InRelease"), maxRelease)
	switch {
	case err == nil:
		fs.signed = []signedFile{{"InRelease", snapshot.InRelease, data}}
		fs.release, err = archive.OpenInRelease(data, trust)
	case errors.Is(err, upstream.ErrNotFound):
		err = r.detached(ctx, fa, fs, at, trust)
	}
	if err != nil {
		return nil, err
	}
	if err := fs.release.CheckSuite(name); err != nil {
		return nil, err
	}
	return fs, fs.release.CheckDate(r.now, fa.CheckValidUntil)
}

func (r *reader) detached(ctx context.Context, fa *frozenArchive, fs *frozenSuite, at func(string) string, trust archive.Trust) error {
	text, err := fa.up.Get(ctx, at("Release"), maxRelease)
	if errors.Is(err, upstream.ErrNotFound) {
		return fmt.Errorf("neither %s nor %s: %w", at("InRelease"), at("Release"), err)
	}
	if err != nil {
		return err
	}
	sig, err := fa.up.Get(ctx, at("Release.gpg"), maxRelease)
	if errors.Is(err, upstream.ErrNotFound) {
		return fmt.Errorf("%w: %s is not signed: no %s", ErrIntegrity, at("Release"), at("Release.gpg"))
	}
	if err != nil {
		return err
	}
	fs.signed = []signedFile{{"Release", snapshot.Release, text}, {"Release.gpg", snapshot.ReleaseGPG, sig}}
	fs.release, err = archive.OpenRelease(text, sig, trust)
	return err
}

// wantedIndex is an index to be read, its path without compression ending.
type wantedIndex struct{ component, arch, path string }

// wantedIndices lists the Packages (and Sources) indices of the chosen
// components and architectures; one that the suite does not have is said here,
// before anything is fetched.
func wantedIndices(fa *frozenArchive, fs *frozenSuite) ([]wantedIndex, error) {
	if isFlat(fs.name) {
		return []wantedIndex{{"", "", "Packages"}}, nil
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
			if len(listed(fs.release, w.path)) > 0 {
				out, found = append(out, w), true
			} else if a != "all" && !slices.Contains(fs.release.Architectures, a) {
				return nil, fmt.Errorf("%w: architecture %s; it has %s", ErrNotFound, a, strings.Join(fs.release.Architectures, " "))
			}
		}
		if !found {
			return nil, fmt.Errorf("%w: component %s; it has %s", ErrNotFound, c, strings.Join(fs.release.Components, " "))
		}
		if fa.WithSources {
			if w := (wantedIndex{c, "source", c + "/source/Sources"}); len(listed(fs.release, w.path)) > 0 {
				out = append(out, w)
			}
		}
	}
	return out, nil
}

// endings in order of preference: the first that upstream really has is taken.
var endings = []string{".xz", ".gz", ""}

func listed(rel *archive.Release, plain string) []archive.ReleaseFile {
	var out []archive.ReleaseFile
	for _, e := range endings {
		if f, ok := rel.File(plain + e); ok {
			out = append(out, f)
		}
	}
	return out
}

// index reads one index in the most preferred compression that upstream has.
// nil without error: listed as empty, or (arch "all") not there at all.
func (r *reader) index(ctx context.Context, fa *frozenArchive, fs *frozenSuite, w wantedIndex) (*frozenIndex, error) {
	files := listed(fs.release, w.path)
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: index %s is not listed in the Release", ErrNotFound, w.path)
	}
	for _, f := range files {
		if f.Size == 0 {
			return nil, nil
		}
		stored, err := fetchListed(ctx, fa, fs, f)
		if errors.Is(err, upstream.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		limit := int64(maxIndex)
		if plain, ok := fs.release.File(w.path); ok {
			limit = plain.Size
		}
		data, err := archive.Decompress(f.Path, stored, limit)
		if err != nil {
			return nil, fmt.Errorf("%w: index %s: %w", ErrIntegrity, f.Path, err)
		}
		ix := &frozenIndex{component: w.component, arch: w.arch, path: f.Path, stored: stored, digest: snapshot.Sum(stored), data: data}
		if f.SHA256 == "" {
			ix.sha512 = f.SHA512
		}
		return ix, nil
	}
	return nil, fmt.Errorf("%w: index %s is listed, but upstream has it in none of the compressions xz, gz, plain: %w", errMoved, w.path, upstream.ErrNotFound)
}

// fetchListed reads a listed file whole and verifies it by size and strongest digest.
func fetchListed(ctx context.Context, fa *frozenArchive, fs *frozenSuite, f archive.ReleaseFile) ([]byte, error) {
	rc, err := openListed(ctx, fa, fs, f)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, io.LimitReader(rc, f.Size+1)); err != nil {
		return nil, fmt.Errorf("index %s: %w", path.Join(fs.dir, f.Path), err)
	}
	if err := matches(f, buf.Bytes()); err != nil {
		return nil, fmt.Errorf("%w: %w: %s from %s: %w", ErrIntegrity, errMoved, path.Join(fs.dir, f.Path), fa.up, err)
	}
	return buf.Bytes(), nil
}

func openListed(ctx context.Context, fa *frozenArchive, fs *frozenSuite, f archive.ReleaseFile) (io.ReadCloser, error) {
	name := path.Join(fs.dir, f.Path)
	switch {
	case fs.release.AcquireByHash && f.SHA512 != "":
		return fa.up.OpenIndex(ctx, name, "SHA512", f.SHA512, f.Size)
	case fs.release.AcquireByHash:
		return fa.up.OpenIndex(ctx, name, "SHA256", f.SHA256, f.Size)
	}
	return fa.up.Open(ctx, name, f.Size)
}

// matches compares bytes with what a Release says of them.
func matches(f archive.ReleaseFile, data []byte) error {
	if int64(len(data)) != f.Size {
		if int64(len(data)) > f.Size {
			return fmt.Errorf("longer than the %d bytes listed", f.Size)
		}
		return fmt.Errorf("%d bytes, listed are %d", len(data), f.Size)
	}
	if f.SHA256 != "" {
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != f.SHA256 {
			return fmt.Errorf("SHA256 is %x, listed is %s", sum, f.SHA256)
		}
	}
	if f.SHA512 != "" {
		if sum := sha512.Sum512(data); hex.EncodeToString(sum[:]) != f.SHA512 {
			return fmt.Errorf("SHA512 is %x, listed is %s", sum, f.SHA512)
		}
	}
	return nil
}
