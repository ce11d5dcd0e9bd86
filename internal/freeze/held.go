package freeze

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// held gives a suite as the lock names it, from the snapshot that holds its
// signature files, if upstream's are others by now; nil where upstream's are meant. So a lock gives the same
// snapshot, to the byte, on another day, and a version that vanished upstream stays
// provable: its stanza stands in the index that upstream signed then. Upstream's key must verify it all the
// same; Valid-Until does not count, for the lock names the very file.
func (r *reader) held(ctx context.Context, fa *upstreamArchive, now *upstreamSuite) (*upstreamSuite, error) {
	pin := lockedRelease(r.Lock, fa.Prefix, now.name)
	if pin == nil || pin.Digest == digestOf(now) {
		return nil, nil
	}
	files := heldFiles(r.Held, fa, now.name)
	i := slices.IndexFunc(files, func(f snapshot.SuiteFile) bool { return f.Digest.String() == pin.Digest })
	if i < 0 {
		r.Log.Printf("archive %s, suite %s: has moved since the lock, from %s to %s", fa.Prefix, now.name, snapshot.FormatDate(pin.Date), snapshot.FormatDate(now.release.Date))
		return nil, nil
	}
	fs := &upstreamSuite{name: now.name, dir: now.dir, held: r.Held}
	data := map[snapshot.Role][]byte{}
	for _, f := range files[i:] { // in order of path: InRelease, Release, Release.gpg
		b, err := r.Held.ReadBlob(ctx, f.Blob, snapshot.MaxRelease)
		if err != nil {
			return nil, err
		}
		role := snapshot.Role(strings.TrimPrefix(string(f.Role), "upstream-"))
		fs.signed = append(fs.signed, signedFile{f.Path[strings.LastIndexByte(f.Path, '/')+1:], role, b})
		data[role] = b
	}
	var err error
	unsigned := fa.Verbatim && !slices.ContainsFunc(now.signed, func(f signedFile) bool { return f.role == snapshot.ReleaseGPG })
	if fs.release, err = openAll(data, pgp.Trust{Keyring: fa.Keyring}, unsigned); err != nil {
		return nil, fmt.Errorf("held in the snapshot to be replaced: %w", err)
	}
	r.Log.Printf("archive %s, suite %s: of %s, as locked; read from the snapshot to be replaced", fa.Prefix, fs.name, snapshot.FormatDate(fs.release.Date))
	return fs, prove.CheckSuite(fs.release, fs.name, fa.UnnamedRelease)
}

// openAll verifies every form of a Release that is there: the lock names one of
// them, and the snapshot that holds them is nobody's word for the others. Where
// unsigned, a Release without Release.gpg passes that says what InRelease says: upstream has none.
func openAll(data map[snapshot.Role][]byte, trust pgp.Trust, unsigned bool) (*archive.Release, error) {
	in, text := data[snapshot.InRelease], data[snapshot.Release]
	var signed, plain *archive.Release
	var err error
	if in != nil {
		if signed, err = archive.OpenInRelease(in, trust); err != nil {
			return nil, fmt.Errorf("InRelease: %w", err)
		}
	}
	if text != nil {
		if in != nil && data[snapshot.ReleaseGPG] == nil && unsigned {
			trust = pgp.Trust{}
		}
		if plain, err = archive.OpenRelease(text, data[snapshot.ReleaseGPG], trust); err != nil {
			return nil, fmt.Errorf("Release: %w", err)
		}
	}
	switch {
	case signed == nil && plain == nil:
		return nil, fmt.Errorf("%w: neither InRelease nor Release", outcome.ErrIntegrity)
	case signed == nil:
		return plain, nil
	case plain != nil:
		err = archive.SameRelease(in, text)
	}
	return signed, err
}

func lockedRelease(l *config.Lock, prefix, suite string) *config.LockRelease {
	if l == nil {
		return nil
	}
	for _, a := range l.Archives {
		for i, rel := range a.Releases {
			if a.Prefix == prefix && rel.Suite == suite {
				return &a.Releases[i]
			}
		}
	}
	return nil
}

// heldFiles are the signature files of upstream's that a snapshot has of a
// suite, the first of them the one that a lock names.
func heldFiles(held *snapshot.Snapshot, fa *upstreamArchive, suite string) []snapshot.SuiteFile {
	if held == nil {
		return nil
	}
	a := held.Statement.Archive(fa.Prefix)
	if a == nil || a.Class != snapshot.Upstream {
		return nil
	}
	var out []snapshot.SuiteFile
	for _, s := range a.Suites {
		if s.Name != suite {
			continue
		}
		for _, f := range s.Files {
			if f.Role.IsUpstream() || a.Mode == snapshot.Verbatim {
				out = append(out, f)
			}
		}
	}
	return out
}

// openHeld opens a file that a held suite's Release lists, where the snapshot has it.
func openHeld(ctx context.Context, s *upstreamSuite, prefix string, f archive.ReleaseFile) (io.ReadCloser, error) {
	for _, base := range []string{s.base("upstream/" + prefix), s.base(prefix)} {
		row, ok := s.held.Table.Find(base + f.Path)
		if !ok {
			continue
		}
		blob, err := snapshot.ListedBlob(f)
		if err != nil || blob != row.Blob() {
			continue // the curated index of the same name
		}
		return s.held.OpenBlob(ctx, blob)
	}
	return nil, fmt.Errorf("%s in the snapshot to be replaced: %w", f.Path, upstream.ErrNotFound)
}

// heldIndex is an index that the lock names and nothing was chosen from: the
// snapshot has no need of it and does not hold it. Its line of the lock stays.
func (r *reader) heldIndex(fa *upstreamArchive, fs *upstreamSuite, w wantedIndex) *upstreamIndex {
	for _, a := range r.Lock.Archives {
		if a.Prefix != fa.Prefix {
			continue
		}
		for _, ix := range a.Indices {
			if ix.Suite != fs.name || archive.PlainName(ix.Path) != w.path {
				continue
			}
			if d, err := snapshot.ParseDigest(ix.Digest); err == nil {
				return &upstreamIndex{component: w.component, arch: w.arch, path: ix.Path, digest: d}
			}
		}
	}
	return nil
}
