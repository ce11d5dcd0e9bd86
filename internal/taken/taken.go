// Package taken takes archives out of other snapshots, whole and as they are: layers of what a site has. What the
// other snapshot's site signed is signed by this one's.
package taken

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Reader opens each snapshot once, whatever number of archives is taken out of it. Not for concurrent use.
type Reader struct {
	Site     *pgp.Keyring // keys that other snapshots are signed by, where their entries name none; nil: none
	Artifact artifact.Options

	open map[string]opened // by reference and keys
}

// opened is what became of opening a snapshot: a place that is silent is waited for once.
type opened struct {
	snapshot *snapshot.Snapshot
	err      error
}

// Read takes the archive o.Prefix out of the snapshot o.From. The snapshot must be pinned, by o.From itself or by
// f.Lock, or its statement must be signed by a key that is given. Nothing is taken but what that statement says.
func (r *Reader) Read(ctx context.Context, f freeze.Options, o *config.Other) (freeze.ReadyArchive, error) {
	ready, err := r.read(ctx, f, o)
	if err == nil || errors.Is(err, document.ErrUsage) {
		return ready, err
	}
	return ready, fmt.Errorf("archive %s: %w", o.Prefix, err)
}

// Probe opens the snapshot as Read does, and tells in words which archive of when it has.
func (r *Reader) Probe(ctx context.Context, f freeze.Options, o *config.Other) (string, error) {
	s, _, err := r.find(ctx, f, o)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("in %s, of %s", o.From, snapshot.FormatDate(s.Statement.Date)), nil
}

// find opens the snapshot and finds the archive in it.
func (r *Reader) find(ctx context.Context, f freeze.Options, o *config.Other) (*snapshot.Snapshot, *snapshot.Archive, error) {
	ref, err := artifact.ParseReference(o.From)
	if err != nil {
		return nil, nil, document.Errorf(o.Position, "archive %s: from: %w", o.Prefix, err)
	}
	if pin := locked(f.Lock, o.Prefix); pin != "" && ref.Digest.IsZero() {
		if ref.Digest, err = snapshot.ParseDigest(pin); err != nil {
			return nil, nil, err
		}
	}
	s, err := r.snapshot(ctx, ref, f, o)
	if err != nil {
		return nil, nil, err
	}
	a := s.Statement.Archive(o.Prefix)
	switch {
	case a == nil:
		var there []string
		for _, a := range s.Statement.Archives {
			there = append(there, a.Prefix)
		}
		return nil, nil, fmt.Errorf("%w: %s has no such archive; it has %s", outcome.ErrNotFound, ref, strings.Join(there, ", "))
	case a.Class == snapshot.Merged:
		return nil, nil, document.Errorf(o.Position, "archive %s: it is merged in %s: take %s out of it, and merge them here", o.Prefix, ref, strings.Join(a.Merge, ", "))
	case s.Statement.Encoder != archive.EncoderGeneration:
		return nil, nil, fmt.Errorf("%s is of encoder generation %d, and this mmoci writes %d: push it again first", ref, s.Statement.Encoder, archive.EncoderGeneration)
	}
	return s, a, nil
}

func (r *Reader) read(ctx context.Context, f freeze.Options, o *config.Other) (out freeze.ReadyArchive, err error) {
	s, a, err := r.find(ctx, f, o)
	if err != nil {
		return out, err
	}
	out = freeze.ReadyArchive{Archive: *a, Blobs: s.Blobs(), Newest: s.Statement.Date}
	if err := signedAnew(ctx, s, &out); err != nil {
		return out, err
	}
	rows(s, &out)
	if out.Locked, err = lockOf(ctx, s, o.Prefix); err != nil {
		return out, err
	}
	if a.Format == snapshot.FormatDeb {
		chain := &prove.Chain{Snapshot: s, Trust: prove.Trust{Unsigned: true, Now: f.Now}} // it is believed already
		out.Indices, err = chain.AllIndices(ctx, *a)
	}
	return out, err
}

// snapshot opens what a reference names, and believes its statement or refuses it.
func (r *Reader) snapshot(ctx context.Context, ref artifact.Reference, f freeze.Options, o *config.Other) (*snapshot.Snapshot, error) {
	id := strings.Join(append([]string{ref.String()}, o.Trust...), " ")
	if was, ok := r.open[id]; ok {
		return was.snapshot, was.err
	}
	s, err := r.believed(ctx, ref, f, o)
	if r.open == nil {
		r.open = map[string]opened{}
	}
	r.open[id] = opened{s, err}
	return s, err
}

// believed is snapshot, asked anew.
func (r *Reader) believed(ctx context.Context, ref artifact.Reference, f freeze.Options, o *config.Other) (*snapshot.Snapshot, error) {
	trust := prove.Trust{Site: r.Site, Now: f.Now}
	if len(o.Trust) > 0 {
		var err error
		if trust.Site, err = signer.ReadKeyrings(o.Trust...); err != nil {
			return nil, fmt.Errorf("%w: trust: %w", outcome.ErrUsage, err)
		}
	}
	f.Log.Printf("archive %s: reading %s", o.Prefix, ref)
	s, err := prove.Open(ctx, ref, trust, r.Artifact)
	if errors.Is(err, artifact.ErrNotFound) {
		return nil, &gone{err}
	}
	if err != nil {
		return nil, err
	}
	if ref.Digest.IsZero() {
		f.Log.Printf("archive %s: %s is %s now; the lock pins it", o.Prefix, ref, s.Root)
	}
	return s, nil
}

// gone is that a snapshot is not there: outcome.ErrNotFound, in the words of the place.
type gone struct{ error }

func (g *gone) Unwrap() []error { return []error{g.error, outcome.ErrNotFound} }

// locked is the root that a lock pins for an archive; "": none.
func locked(l *config.Lock, prefix string) string {
	if l != nil {
		for _, a := range l.Archives {
			if a.Prefix == prefix {
				return a.From
			}
		}
	}
	return ""
}

// signedAnew takes the texts that the site signs out of the archive's suites.
func signedAnew(ctx context.Context, s *snapshot.Snapshot, out *freeze.ReadyArchive) error {
	if out.Archive.Mode == snapshot.Verbatim {
		return nil
	}
	suites := make([]snapshot.Suite, len(out.Archive.Suites))
	for i, suite := range out.Archive.Suites {
		suites[i].Name = suite.Name
		for _, f := range suite.Files {
			if f.Role.IsUpstream() {
				suites[i].Files = append(suites[i].Files, f)
				continue
			}
			if !freeze.IsSigned(f.Role) {
				continue
			}
			text, err := s.ReadBlob(ctx, f.Blob, snapshot.MaxRelease)
			if err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
			out.Signed = append(out.Signed, freeze.SiteText{Suite: suite.Name, Text: text})
		}
	}
	out.Archive.Suites = suites
	return nil
}

// rows lists the archive's files but those that are signed anew.
func rows(s *snapshot.Snapshot, out *freeze.ReadyArchive) {
	anew := map[string]bool{}
	if out.Archive.Mode == snapshot.Curated {
		for _, suite := range s.Statement.Archive(out.Archive.Prefix).Suites {
			for _, f := range suite.Files {
				anew[f.Path] = !f.Role.IsUpstream()
			}
		}
	}
	for _, dir := range []string{out.Archive.Prefix + "/", "upstream/" + out.Archive.Prefix + "/"} {
		for row := range s.Table.Under(dir) {
			if !anew[row.Path] {
				out.Rows = append(out.Rows, row)
			}
		}
	}
}

// lockOf is the archive's share of the snapshot's lock, with the pin of the snapshot.
func lockOf(ctx context.Context, s *snapshot.Snapshot, prefix string) (config.LockArchive, error) {
	text, err := s.ReadLock(ctx)
	if err != nil {
		return config.LockArchive{}, err
	}
	l, err := config.ParseLock("lock", text)
	if err != nil {
		return config.LockArchive{}, fmt.Errorf("%w: its %w", outcome.ErrIntegrity, err)
	}
	for _, a := range l.Archives {
		if a.Prefix == prefix {
			a.From = s.Root.String()
			return a, nil
		}
	}
	return config.LockArchive{}, fmt.Errorf("%w: its lock has no archive %s", outcome.ErrIntegrity, prefix)
}
