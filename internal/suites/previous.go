package suites

import (
	"context"
	"fmt"
	"io"
	"path"
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

// lockedSuite is the suite as the lock names it. Where that is not what
// upstream has now, it comes from the previous snapshot if that has it: so a lock
// gives the same snapshot, to the byte, on another day, and a version that
// vanished upstream stays provable by the index that upstream signed then.
// Upstream's key must verify it all the same; Valid-Until does not count, for
// the lock names the very file.
func lockedSuite(ctx context.Context, f Options, now *Head) (*Head, error) {
	src := now.Source
	pin := lockedRelease(f.Lock, src.Prefix, now.Name)
	if pin == nil || pin.Digest == now.Digest() {
		return now, nil
	}
	files := previousFiles(f.Previous, src.Prefix, now.Name)
	i := slices.IndexFunc(files, func(file snapshot.SuiteFile) bool { return file.Digest.String() == pin.Digest })
	if i < 0 {
		f.Log.Printf("archive %s, suite %s: has moved since the lock, from %s to %s", src.Prefix, now.Name, snapshot.FormatDate(pin.Date), snapshot.FormatDate(now.Release.Date))
		return now, nil
	}
	s := Head{Source: src, Name: now.Name, Dir: now.Dir, Previous: f.Previous}
	data := map[snapshot.Role][]byte{}
	for _, file := range files[i:] { // in order of path: InRelease, Release, Release.gpg
		b, err := f.Previous.ReadBlob(ctx, file.Blob, snapshot.MaxRelease)
		if err != nil {
			return nil, err
		}
		role := snapshot.Role(strings.TrimPrefix(string(file.Role), "upstream-"))
		s.Files = append(s.Files, SignedFile{path.Base(file.Path), role, b})
		data[role] = b
	}
	var err error
	unsigned := src.Verbatim && !slices.ContainsFunc(now.Files, func(f SignedFile) bool { return f.Role == snapshot.ReleaseGPG })
	if s.Release, err = openAll(data, pgp.Trust{Keyring: src.Keyring}, unsigned); err != nil {
		return nil, fmt.Errorf("in the snapshot to be replaced: %w", err)
	}
	f.Log.Printf("archive %s, suite %s: of %s, as locked; read from the snapshot to be replaced", src.Prefix, s.Name, snapshot.FormatDate(s.Release.Date))
	return &s, prove.CheckSuite(s.Release, s.Name, src.UnnamedRelease)
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
			return nil, fmt.Errorf("file Release: %w", err)
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

// previousFiles are the signature files of upstream's that a snapshot has of a
// suite, the first of them the one that a lock names.
func previousFiles(previous *snapshot.Snapshot, prefix, suite string) []snapshot.SuiteFile {
	if previous == nil {
		return nil
	}
	a := previous.Statement.Archive(prefix)
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

// openPrevious opens a listed file where the previous snapshot has it.
func (s *Head) openPrevious(ctx context.Context, f archive.ReleaseFile) (io.ReadCloser, error) {
	for _, base := range []string{s.Base("upstream/" + s.Source.Prefix), s.Base(s.Source.Prefix)} {
		row, ok := s.Previous.Table.Find(base + f.Path)
		if !ok {
			continue
		}
		blob, err := snapshot.ListedBlob(f)
		if err != nil || blob != row.Blob() {
			continue // the curated index of the same name
		}
		return s.Previous.OpenBlob(ctx, blob)
	}
	return nil, fmt.Errorf("%s in the snapshot to be replaced: %w", f.Path, upstream.ErrNotFound)
}

// lockedIndex is an index that the lock names and nothing was chosen from: the
// previous snapshot does not need it and does not hold it. Its line of the lock stays.
func lockedIndex(lock *config.Lock, s *Head, w wantedIndex) *Index {
	for _, a := range lock.Archives {
		if a.Prefix != s.Source.Prefix {
			continue
		}
		for _, ix := range a.Indices {
			if ix.Suite != s.Name || archive.PlainName(ix.Path) != w.path {
				continue
			}
			if d, err := snapshot.ParseDigest(ix.Digest); err == nil {
				return &Index{Component: w.component, Arch: w.arch, Path: ix.Path, Digest: d}
			}
		}
	}
	return nil
}
