package rpmrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/rpmplan"
	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/rpmrows"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/rpm"
	"example.org/mmoci/pkg/snapshot"
)

// maxPlaces bounds how many places of a metalink are used. Each may be asked for each file.
const maxPlaces = 20

// repository is one of an upstream's while it is read.
type repository struct {
	Options
	cfg      *rpmplan.Archive
	source   *config.Archive      // the same, as those take it that read .deb archives
	places   []*upstream.Upstream // each by itself, for repomd.xml and its signature
	urls     []string             // of the places
	up       *upstream.Upstream   // all of them, for the files
	metalink *rpm.Metalink        // nil: none
	// ofMetalink are the places that it names and the configuration does not, as an upstream shows them.
	ofMetalink []string
	keyring    *pgp.Keyring // nil: the site vouches for it
	urlKeys    []config.LockKey
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
		if err := r.order(h); err != nil {
			return nil, err
		}
		ready, err := r.content(ctx, h)
		if err == nil || h.held != nil || try > suites.Rereads || !freeze.UpstreamsFault(err) {
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
	return r.findPlaces(ctx)
}

// findPlaces reads the metalink, if there is one, and makes the places: those of the configuration first.
func (r *repository) findPlaces(ctx context.Context) (err error) {
	o := place.UpstreamOptions(r.source, r.Log)
	if link := r.cfg.Metalink; link != "" {
		r.metalink, err = readMetalink(ctx, o, r.cfg)
		if errors.Is(err, upstream.ErrNotFound) {
			err = fmt.Errorf("%w: %w", outcome.ErrNotFound, err)
		}
		if err != nil {
			return fmt.Errorf("metalink %s: %w", transfer.Redact(link), err)
		}
		urls := r.metalink.URLs
		o.URLs = append(o.URLs[:len(o.URLs):len(o.URLs)], urls[:min(len(urls), maxPlaces)]...)
	}
	r.places, r.urls, r.ofMetalink = nil, nil, nil
	for i, url := range o.URLs {
		one := o
		one.URLs = []string{url}
		if len(o.URLs) > 1 {
			one.Retries = 1 // the next place is asked soon
		}
		place, err := upstream.New(one)
		if err != nil && i >= len(r.cfg.URLs) {
			r.Log.Printf("archive %s: a place of the metalink is passed over: %v", r.cfg.Prefix, err)
			continue
		}
		if err != nil {
			return err
		}
		r.places, r.urls = append(r.places, place), append(r.urls, url)
		if i >= len(r.cfg.URLs) {
			r.ofMetalink = append(r.ofMetalink, place.String())
		}
	}
	if len(r.places) == 0 {
		return fmt.Errorf("metalink %s: none of its places has a URL that can be used", transfer.Redact(r.cfg.Metalink))
	}
	return nil
}

// order makes the places one upstream for the files: first the one that gave repomd.xml, whose files are those of its day.
func (r *repository) order(h *head) (err error) {
	o := place.UpstreamOptions(r.source, r.Log)
	o.URLs, o.Record = slices.Clone(r.urls), r.Record
	if i := slices.Index(r.places, h.from); i > 0 {
		o.URLs = slices.Insert(slices.Delete(o.URLs, i, i+1), 0, r.urls[i])
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

// content reads the list of packages and makes the archive.
func (r *repository) content(ctx context.Context, h *head) (*freeze.ReadyArchive, error) {
	prefix := r.cfg.Prefix + "/"
	src := &files{repository: r, head: h.held}
	out := &freeze.ReadyArchive{
		Archive: snapshot.Archive{Prefix: r.cfg.Prefix, Mode: snapshot.Verbatim, Class: snapshot.Site, Format: snapshot.FormatRPM},
		Small:   [][]byte{h.repomd},
		Newest:  h.date,
		Moved:   func(ctx context.Context) (bool, error) { return r.moved(ctx, h) },
	}
	var lacks rpmrows.Lacks
	if r.KeepGoing {
		lacks = func(path string, p snapshot.Package, err error) bool {
			if errors.Is(err, upstream.ErrNotFound) {
				out.Missing = append(out.Missing, missing(r.cfg.Prefix, path, p, err))
			}
			return errors.Is(err, upstream.ErrNotFound)
		}
	}
	c, err := rpmrows.Read(ctx, prefix, h.index, src, lacks)
	if err != nil {
		return nil, err
	}
	out.Fetched = func() []fetchreport.File { return src.fetched(c.Rows, h.index.Primary().Path) }
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
	}
	switch {
	case h.asc == nil:
		out.Notes = append(out.Notes, fmt.Sprintf("archive %s: upstream does not sign its repomd.xml; the site vouches for it", r.cfg.Prefix))
	case r.keyring == nil:
		out.Notes = append(out.Notes, fmt.Sprintf("archive %s: no signed-by:, so upstream's signature of repomd.xml was not verified; the site vouches for it", r.cfg.Prefix))
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
		at, blob := row.Path[len(prefix):], row.Blob()
		open[row.Digest] = func(ctx context.Context) (io.ReadCloser, error) { return src.open(ctx, at, blob) }
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

// missing is a line about a file that upstream lists and has not.
func missing(prefix, path string, p snapshot.Package, err error) string {
	if p.IsPackage() {
		return fmt.Sprintf("%s %s %s %s: listed, but %v", prefix, p.Name, p.Version, p.Architecture, err)
	}
	return fmt.Sprintf("%s/%s: %v", prefix, path, err)
}
