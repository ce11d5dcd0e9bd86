package rpmrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/rpmplan"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/rpmrows"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/spool"
	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/rpm"
	"example.org/mmoci/pkg/snapshot"
)

// maxPlaces bounds how many places of a metalink are used. Each may be asked for each file.
const maxPlaces = 20

// between is how long an upstream gets that was caught between two days: repomd.xml is replaced first, its signature then.
// Each wait is as long again as the one before.
const between = time.Second

// patience is how often it is asked again.
const patience = 2

// maxAhead is how far upstream's clock may be ahead of this host's.
const maxAhead = 24 * time.Hour

// repository is one of an upstream's while it is read.
type repository struct {
	Options
	cfg      *rpmplan.Archive
	source   *config.Archive // the same, as those take it that read .deb archives
	up       *upstream.Upstream
	metalink *rpm.Metalink // nil: none
	keyring  *pgp.Keyring  // nil: the site vouches for it
	urlKeys  []config.LockKey
}

// head is a repomd.xml with its signature, as far as somebody signed it.
type head struct {
	repomd, asc []byte
	index       *rpm.Index
	date        time.Time
	held        *snapshot.Snapshot // where it is from in place of upstream; nil: upstream
}

// upstream reads a repository of somebody else's.
func (o Options) upstream(ctx context.Context, cfg *rpmplan.Archive) (*freeze.ReadyArchive, error) {
	r := &repository{Options: o, cfg: cfg, source: sourceOf(cfg)}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		h, err := r.head(ctx)
		if err != nil {
			return nil, err
		}
		ready, err := r.content(ctx, h)
		if err == nil || h.held != nil || try > freeze.Rereads || !freeze.UpstreamsFault(err) {
			return ready, err
		}
		moved, err2 := r.moved(ctx, h)
		if err2 != nil {
			return nil, fmt.Errorf("%w (then, whether it changed meanwhile: %w)", err, err2)
		}
		if !moved {
			return nil, err
		}
		o.Log.Printf("archive %s: changed while it was read (%s); reading it anew", cfg.Prefix, err)
	}
}

func sourceOf(cfg *rpmplan.Archive) *config.Archive {
	return &config.Archive{
		Prefix: cfg.Prefix, URLs: cfg.URLs, SignedBy: cfg.SignedBy, SignedByURL: cfg.SignedByURL, CAFile: cfg.CAFile, ClientCert: cfg.ClientCert, AuthFile: cfg.AuthFile,
	}
}

// open finds the keys and the servers.
func (r *repository) open(ctx context.Context) (err error) {
	if r.cfg.SignedBy != "" || r.cfg.SignedByURL != "" {
		if r.keyring, r.urlKeys, err = signer.UpstreamKeyring(ctx, r.source, r.Keys, r.Log); err != nil {
			return err
		}
	}
	o := place.UpstreamOptions(r.source, r.Log)
	if link := r.cfg.Metalink; link != "" {
		if r.metalink, err = readMetalink(ctx, o, r.cfg); err != nil {
			return fmt.Errorf("metalink %s: %w", transfer.Redact(link), err)
		}
		urls := r.metalink.URLs
		o.URLs = append(o.URLs[:len(o.URLs):len(o.URLs)], urls[:min(len(urls), maxPlaces)]...)
	}
	r.up, err = upstream.New(o)
	return err
}

func readMetalink(ctx context.Context, o upstream.Options, a *rpmplan.Archive) (*rpm.Metalink, error) {
	var data []byte
	var err error
	if strings.HasPrefix(a.Metalink, "http://") || strings.HasPrefix(a.Metalink, "https://") {
		data, err = upstream.Fetch(ctx, o, a.Metalink, rpm.MaxMetalink)
	} else {
		data, err = os.ReadFile(strings.TrimPrefix(a.Metalink, "file://"))
	}
	if err != nil {
		return nil, err
	}
	m, err := rpm.ReadMetalink(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	return m, nil
}

// head reads repomd.xml and its signature: upstream's present ones, or those that the lock names.
func (r *repository) head(ctx context.Context) (*head, error) {
	h, err := r.present(ctx)
	pin := r.pin()
	if pin == nil || err == nil && snapshot.Sum(h.repomd).String() == pin.Digest {
		return h, err
	}
	held, err2 := r.held(ctx, pin)
	switch {
	case err2 != nil:
		return nil, fmt.Errorf("the snapshot that holds the repomd.xml of the lock: %w", err2)
	case held != nil:
		return held, nil
	case err == nil && r.Locked:
		return nil, outcome.UpdateLock.For(fmt.Errorf("%w: the lock names the repomd.xml %s of %s; upstream has %s of %s by now, and no snapshot at hand has that one",
			outcome.ErrNotFound, pin.Digest, snapshot.FormatDate(pin.Date), snapshot.Sum(h.repomd), snapshot.FormatDate(h.date)))
	case err == nil:
		r.Log.Printf("archive %s: upstream has another repomd.xml by now than the lock names (of %s), and no snapshot at hand has that one; upstream's is taken", r.cfg.Prefix, snapshot.FormatDate(pin.Date))
	}
	return h, err
}

// pin is what the lock says of repomd.xml; nil: nothing.
func (r *repository) pin() *config.LockRelease {
	if l := lockOf(r.Lock, r.cfg.Prefix); l != nil && len(l.Releases) == 1 {
		return &l.Releases[0]
	}
	return nil
}

// present reads what upstream has now. repomd.xml is published before its signature, so one that does not fit is asked for again.
func (r *repository) present(ctx context.Context) (*head, error) {
	for try := 1; ; try++ {
		h, err := r.presentOnce(ctx)
		if err == nil || try > patience || !errors.Is(err, outcome.ErrIntegrity) {
			return h, err
		}
		if err := r.Sleep(ctx, time.Duration(try)*between); err != nil {
			return nil, err
		}
	}
}

func (r *repository) presentOnce(ctx context.Context) (*head, error) {
	h := &head{}
	var err error
	h.repomd, err = r.up.Get(ctx, rpm.Repomd, rpm.MaxRepomd, func(data []byte) error {
		if r.metalink != nil && !r.metalink.Knows(data) {
			return fmt.Errorf("%w: repomd.xml is none that the metalink knows", outcome.ErrIntegrity)
		}
		return nil
	})
	if errors.Is(err, upstream.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w (url: names the directory with %s in it)", outcome.ErrNotFound, err, rpm.Repodata)
	}
	if err != nil {
		return nil, err
	}
	h.asc, err = r.up.Get(ctx, rpm.RepomdAsc, pgp.MaxReleaseSize, func(asc []byte) error {
		if r.keyring == nil {
			return nil
		}
		_, err := r.verify(h.repomd, asc, r.Now)
		return err
	})
	switch {
	case errors.Is(err, upstream.ErrNotFound) && r.keyring != nil:
		return nil, fmt.Errorf("%w: repomd.xml is not signed: no %s; without signed-by: the site vouches for the repository, and hosts go by the site's word",
			outcome.ErrIntegrity, rpm.RepomdAsc)
	case errors.Is(err, upstream.ErrNotFound):
		h.asc = nil
	case err != nil:
		return nil, err
	case r.keyring == nil: // nobody can say whether the two fit; that repomd.xml stayed says so most of the time
		if moved, err := r.moved(ctx, h); err != nil || moved {
			return nil, errors.Join(err, fmt.Errorf("%w: repomd.xml changed while its signature was read", outcome.ErrIntegrity))
		}
	}
	return h, r.parse(h)
}

// verify verifies the signature of repomd.xml; a zero now judges the key as of the signature's own time.
func (r *repository) verify(repomd, asc []byte, now time.Time) (pgp.How, error) {
	how, err := pgp.VerifyDetached(repomd, asc, pgp.Trust{Keyring: r.keyring, Now: now})
	if err != nil {
		return how, fmt.Errorf("%s: %w", rpm.Repomd, err)
	}
	return how, nil
}

// parse reads a repomd.xml that was verified, as far as it can be.
func (r *repository) parse(h *head) (err error) {
	if h.index, err = rpm.ReadRepomd(bytes.NewReader(h.repomd)); err != nil {
		return fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	if h.date = h.index.Newest(); h.date.IsZero() {
		return fmt.Errorf("%w: repomd.xml has no time, so nobody could tell an older one from a newer", outcome.ErrIntegrity)
	}
	if h.date.After(r.Now.Add(maxAhead)) {
		return fmt.Errorf("%w: repomd.xml is of %s, and it is %s: nothing that upstream publishes until then would be newer (set this host's clock, or ask upstream)",
			outcome.ErrIntegrity, snapshot.FormatDate(h.date), snapshot.FormatDate(r.Now.UTC().Truncate(time.Second)))
	}
	if r.keyring == nil {
		return nil
	}
	how, err := r.verify(h.repomd, h.asc, time.Time{})
	if err == nil {
		err = how.CheckDated(h.date)
	}
	return err
}

// held reads the repomd.xml that the lock names from a snapshot, its signature verified; nil if that has it not.
func (r *repository) held(ctx context.Context, pin *config.LockRelease) (*head, error) {
	if r.Previous == nil {
		return nil, nil
	}
	row, ok := r.Previous.Table.Find(r.cfg.Prefix + "/" + rpm.Repomd)
	if !ok || row.Digest.String() != pin.Digest {
		return nil, nil
	}
	h := &head{held: r.Previous}
	var err error
	if h.repomd, err = r.Previous.ReadBlob(ctx, row.Blob(), rpm.MaxRepomd); err != nil {
		return nil, err
	}
	if row, ok := r.Previous.Table.Find(r.cfg.Prefix + "/" + rpm.RepomdAsc); ok {
		if h.asc, err = r.Previous.ReadBlob(ctx, row.Blob(), pgp.MaxReleaseSize); err != nil {
			return nil, err
		}
	}
	if h.asc == nil && r.keyring != nil {
		return nil, fmt.Errorf("%w: its repomd.xml is not signed", outcome.ErrIntegrity)
	}
	return h, r.parse(h)
}

// moved tells whether upstream's repomd.xml is another by now.
func (r *repository) moved(ctx context.Context, h *head) (bool, error) {
	now, err := r.up.Get(ctx, rpm.Repomd, rpm.MaxRepomd, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return true, nil
	}
	return err == nil && !bytes.Equal(now, h.repomd), err
}

// content reads the list of packages and makes the archive.
func (r *repository) content(ctx context.Context, h *head) (*freeze.ReadyArchive, error) {
	prefix := r.cfg.Prefix + "/"
	src := &files{repository: r, held: h.held}
	c, err := rpmrows.Read(ctx, prefix, h.index, src)
	if err != nil {
		return nil, err
	}
	out := &freeze.ReadyArchive{
		Archive: snapshot.Archive{Prefix: r.cfg.Prefix, Mode: snapshot.Verbatim, Class: snapshot.Site, Format: snapshot.FormatRPM},
		Small:   [][]byte{h.repomd},
		Newest:  h.date,
		Moved: func(ctx context.Context) (bool, error) {
			if h.held != nil {
				return false, nil
			}
			return r.moved(ctx, h)
		},
	}
	if r.keyring != nil {
		out.Archive.Class, out.Archive.UpstreamKeys = snapshot.Upstream, r.keyring.Fingerprints()
	}
	suite := snapshot.Suite{Name: rpmrows.Suite}
	signed := func(role snapshot.Role, name string, data []byte) {
		row := snapshot.Row{Path: prefix + name, Size: int64(len(data)), Digest: snapshot.Sum(data)}
		out.Rows = append(out.Rows, row)
		suite.Files = append(suite.Files, snapshot.SuiteFile{Role: role, Blob: row.Blob(), Date: h.date, Path: row.Path})
	}
	signed(snapshot.Repomd, rpm.Repomd, h.repomd)
	if h.asc != nil {
		signed(snapshot.RepomdAsc, rpm.RepomdAsc, h.asc)
		out.Small = append(out.Small, h.asc)
	} else {
		out.Notes = append(out.Notes, fmt.Sprintf("archive %s: upstream does not sign its repomd.xml; the site vouches for it", r.cfg.Prefix))
	}
	out.Archive.Suites = []snapshot.Suite{suite}
	open := make(blobs, len(c.Rows))
	for _, row := range c.Rows {
		if _, ok := open[row.Digest]; ok {
			continue
		}
		if b := src.primary; b != nil && row.Path == prefix+h.index.Primary().Path {
			open[row.Digest] = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(b.Open()), nil }
			continue
		}
		at, size := row.Path[len(prefix):], row.Size
		blob := row.Blob()
		open[row.Digest] = func(ctx context.Context) (io.ReadCloser, error) { return src.open(ctx, at, size, blob) }
	}
	out.Rows = append(out.Rows, c.Rows...)
	out.Blobs = open
	out.Locked = config.LockArchive{
		Prefix: r.cfg.Prefix, Mode: string(out.Archive.Mode), Class: string(out.Archive.Class), Format: snapshot.FormatRPM, KeyURLs: r.urlKeys,
		Releases: []config.LockRelease{{Suite: rpmrows.Suite, Digest: snapshot.Sum(h.repomd).String(), Date: h.date}},
	}
	if n := len(c.Hashed); n > 0 {
		r.Log.Printf("archive %s: %d files have no SHA-256 in the metadata; they were read to know it", r.cfg.Prefix, n)
	}
	return out, nil
}

// files are those of a repository at its upstream, or in a snapshot that holds it.
type files struct {
	*repository
	held    *snapshot.Snapshot // asked first; nil: upstream alone
	primary *spool.Bytes
}

// Open makes files an [rpmrows.Files].
func (f *files) Open(ctx context.Context, p string, size int64) (io.ReadCloser, error) {
	if f.held != nil {
		if row, ok := f.held.Table.Find(path.Join(f.cfg.Prefix, p)); ok {
			if file, err := f.held.OpenBlob(ctx, row.Blob()); err == nil {
				return file.Reader, nil
			}
		}
	}
	return f.up.Open(ctx, p, size)
}

// open opens a file whose digest is known. What upstream has no more may be in the snapshot that is replaced.
func (f *files) open(ctx context.Context, p string, size int64, b snapshot.Blob) (io.ReadCloser, error) {
	r, err := f.up.Open(ctx, p, size)
	if err == nil || f.Previous == nil || !errors.Is(err, upstream.ErrNotFound) {
		if errors.Is(err, upstream.ErrChanged) {
			err = fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
		}
		return r, err
	}
	c, err2 := f.Previous.Blobs().Open(ctx, b, 0)
	if err2 != nil {
		return nil, err
	}
	return c.R, nil
}

// Primary makes files an [rpmrows.Files]: the list of packages is verified before it is read, and kept for the push.
func (f *files) Primary(ctx context.Context, d rpm.Data, parse func(io.Reader) error) (snapshot.Blob, error) {
	for try := 1; ; try++ {
		in, err := f.Open(ctx, d.Path, d.Size)
		if err != nil {
			return snapshot.Blob{}, err
		}
		var w spool.Writer
		b, err := rpmrows.HashReader(in, &w, d.Checksum, d.Size)
		again := err != nil && rpmrows.Distrust(in, err) && try < maxPlaces
		_ = in.Close() // it was read to its end, or what is wrong is known
		if again {
			continue
		}
		if err != nil {
			return b, err
		}
		f.primary = w.Done()
		return b, parse(f.primary.Open())
	}
}
