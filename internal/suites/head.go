package suites

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Head is a suite's Release with its signatures, verified. Of an
// archive of own packages it has no release.
type Head struct {
	Source   *Source
	Name     string // as in the statement; flat ones end in "/"
	Dir      string // relative to the archive root: dists/NAME, or the flat path
	Release  *archive.Release
	Files    []SignedFile
	unlike   string             // verbatim: what does not fit InRelease and is left out
	Previous *snapshot.Snapshot // where it is read from in place of upstream; nil: upstream
}

// Suite is a suite with the indices and optional targets that were asked for.
type Suite struct {
	Head
	Indices []*Index
	Extra   []Extra  // verbatim: optional targets that upstream has
	Dropped []string // verbatim: what was left out, by name
}

// SignedFile is InRelease, Release or Release.gpg, byte for byte.
type SignedFile struct {
	Name string
	Role snapshot.Role // of the served file
	Data []byte
}

// Base is the suite's directory in the snapshot, with a final slash.
func (s *Head) Base(prefix string) string {
	return strings.TrimSuffix(path.Join(prefix, s.Dir), "/") + "/"
}

// Digest is what a lock pins a suite by.
func (s *Head) Digest() string { return snapshot.Sum(s.Files[0].Data).String() }

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

// readSuite reads a suite, and reads it again if upstream changed it meanwhile:
// only a mismatch under an unchanged InRelease is an integrity failure.
func readSuite(ctx context.Context, f Options, src *Source, name string) (*Suite, error) {
	for try := 1; ; try++ {
		var suite *Suite
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
			moved, err2 := rel.HasMoved(ctx)
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

// HasMoved tells whether upstream's signature file is another by now.
func (s *Head) HasMoved(ctx context.Context) (bool, error) {
	return s.Source.hasMoved(ctx, path.Join(s.Dir, s.Files[0].Name), s.Files[0].Data)
}

func (src *Source) hasMoved(ctx context.Context, name string, was []byte) (bool, error) {
	now, err := src.Up.Get(ctx, name, snapshot.MaxRelease, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return true, nil
	}
	return err == nil && !bytes.Equal(now, was), err
}

// readRelease fetches and verifies InRelease, or Release with Release.gpg where
// there is none; of a verbatim suite all three, see beside. last says that no
// other try follows.
func readRelease(ctx context.Context, f Options, src *Source, name string, last bool) (*Head, error) {
	s := Head{Source: src, Name: name, Dir: suiteDir(name)}
	at := func(file string) string { return path.Join(s.Dir, file) }
	// A key is judged by now, as the apt of the hosts will; but not for a file that the lock names.
	trust := func(data []byte) pgp.Trust {
		t := pgp.Trust{Keyring: src.Keyring, Now: f.Now}
		if pin := lockedRelease(f.Lock, src.Prefix, name); pin != nil && pin.Digest == snapshot.Sum(data).String() {
			t.Now = time.Time{}
		}
		return t
	}
	in, err := src.Up.Get(ctx, at("InRelease"), snapshot.MaxRelease, func(data []byte) (err error) {
		s.Release, err = archive.OpenInRelease(data, trust(data))
		return err
	})
	switch {
	case errors.Is(err, upstream.ErrNotFound):
		s.Release, s.Files, err = detached(ctx, src, at, trust)
	case err == nil:
		s.Files = []SignedFile{{"InRelease", snapshot.InRelease, in}}
		if src.Verbatim {
			var more []SignedFile
			more, s.unlike, err = beside(ctx, src, at, in, last)
			s.Files = append(s.Files, more...)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := prove.CheckSuite(s.Release, name, src.UnnamedRelease); err != nil {
		return nil, err
	}
	if s.Release.Date.IsZero() {
		return nil, fmt.Errorf("%w: %s has no Date, so nobody could tell an older one from a newer", outcome.ErrIntegrity, at(s.Files[0].Name))
	}
	return &s, s.Release.CheckDate(f.Now, src.CheckValidUntil)
}

// detached reads Release and Release.gpg of a suite without InRelease.
func detached(ctx context.Context, src *Source, at func(string) string, trust func([]byte) pgp.Trust) (*archive.Release, []SignedFile, error) {
	text, err := src.Up.Get(ctx, at("Release"), snapshot.MaxRelease, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return nil, nil, fmt.Errorf("%w: neither %s nor %s: %w", outcome.ErrNotFound, at("InRelease"), at("Release"), err)
	}
	if err != nil {
		return nil, nil, err
	}
	sig, err := src.Up.Get(ctx, at("Release.gpg"), snapshot.MaxRelease, nil)
	if errors.Is(err, upstream.ErrNotFound) {
		return nil, nil, fmt.Errorf("%w: %s is not signed: no %s", outcome.ErrIntegrity, at("Release"), at("Release.gpg"))
	}
	if err != nil {
		return nil, nil, err
	}
	release, err := archive.OpenRelease(text, sig, trust(text))
	if err == nil {
		return release, []SignedFile{{"Release", snapshot.Release, text}, {"Release.gpg", snapshot.ReleaseGPG, sig}}, nil
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
func beside(ctx context.Context, src *Source, at func(string) string, in []byte, last bool) (files []SignedFile, unlike string, err error) {
	var mismatch error
	judge := func(err error) error {
		if err != nil {
			mismatch = err
		}
		return err
	}
	text, err := src.Up.Get(ctx, at("Release"), snapshot.MaxRelease, func(data []byte) error { return judge(archive.SameRelease(in, data)) })
	if errors.Is(err, upstream.ErrNotFound) {
		return nil, "", nil
	}
	files = []SignedFile{{"Release", snapshot.Release, text}}
	if err == nil {
		var sig []byte
		sig, err = src.Up.Get(ctx, at("Release.gpg"), snapshot.MaxRelease, func(data []byte) error {
			_, err := archive.OpenRelease(text, data, pgp.Trust{Keyring: src.Keyring})
			return judge(err)
		})
		files = append(files, SignedFile{"Release.gpg", snapshot.ReleaseGPG, sig})
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
		return nil, "", fmt.Errorf("%s beside InRelease: %w: %w", at(files[len(files)-1].Name), errMoved, mismatch)
	}
	return nil, "Release, Release.gpg (not of one text with InRelease: " + mismatch.Error() + ")", nil
}

// Signatures is a digest over the signature files of a suite.
func (s *Head) Signatures() string {
	var all []byte
	for _, f := range s.Files {
		all = fmt.Appendf(all, "%s %s\n", f.Name, snapshot.Sum(f.Data))
	}
	return snapshot.Sum(all).String()
}

// IsSecurity tells a suite of security updates by its name or its label, as Debian's and Ubuntu's have them.
func (s *Head) IsSecurity() bool {
	return strings.HasSuffix(s.Name, "-security") || strings.HasSuffix(s.Name, "/updates") ||
		s.Release != nil && strings.HasSuffix(s.Release.Label, "-Security")
}
