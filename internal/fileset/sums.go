package fileset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/fileplan"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/archive/sums"
	"example.org/mmoci/pkg/snapshot"
)

// maxSignature bounds a detached signature, in bytes.
const maxSignature = pgp.MaxSignatureSize

// rereads is how often a list and its signature are read that do not fit: its upstream may be putting new ones there.
const rereads = 3

// sums reads a signed list of digests, verifies it, keeps it as provenance, and gives the files that are taken of it.
func (r *reader) sums(ctx context.Context, s *fileplan.Sums) ([]*file, error) {
	var text, stored, sig []byte
	var how pgp.How
	var err error
	for range rereads {
		text, stored, sig, how, err = r.verified(ctx, s)
		if !errors.Is(err, outcome.ErrIntegrity) || s.Signature == "" {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Position, err)
	}
	lines, err := sums.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w: %w", s.Position, shown(s.URLs[0]), outcome.ErrIntegrity, err)
	}
	suite := snapshot.Suite{Name: s.Dir + "/"}
	if s.Dir == "" {
		suite.Name = "./"
	}
	at := snapshot.RolePath(r.Plan.Prefix, suite.Name, snapshot.UpstreamSums)
	suite.Files = append(suite.Files, snapshot.SuiteFile{Role: snapshot.UpstreamSums, Blob: r.set.small(at, stored), Date: how.Time, Path: at})
	if sig != nil {
		at := snapshot.RolePath(r.Plan.Prefix, suite.Name, snapshot.UpstreamSumsSig)
		suite.Files = append(suite.Files, snapshot.SuiteFile{Role: snapshot.UpstreamSumsSig, Blob: r.set.small(at, sig), Date: how.Time, Path: at})
	}
	r.set.Archive.Suites = append(r.set.Archive.Suites, suite)
	if how.Time.After(r.set.Newest) {
		r.set.Newest = how.Time
	}
	if how.Detail != "" {
		r.set.Notes = append(r.set.Notes, fmt.Sprintf("%s: %s", shown(s.URLs[0]), how.Detail))
	}
	before := r.set.Moved
	r.set.Moved = func(ctx context.Context) (bool, error) {
		if before != nil {
			if moved, err := before(ctx); moved || err != nil {
				return moved, err
			}
		}
		now, err := r.readSmall(ctx, path.Base(shown(s.URLs[0])), s.URLs, sums.MaxSize, nil)
		return err == nil && !bytes.Equal(now, stored), err
	}
	return r.taken(s, lines)
}

// verified reads the list and its signature once. stored is the list as it is kept, text what was signed of it.
func (r *reader) verified(ctx context.Context, s *fileplan.Sums) (text, stored, sig []byte, how pgp.How, err error) {
	trust := pgp.Trust{Keyring: r.ring, Now: r.Now}
	if s.Signature == "" {
		stored, err = r.readSmall(ctx, path.Base(shown(s.URLs[0])), s.URLs, sums.MaxSize, func(data []byte) (err error) {
			text, how, err = pgp.VerifyClearsigned(data, trust)
			return err
		})
		return text, stored, nil, how, err
	}
	if stored, err = r.readSmall(ctx, path.Base(shown(s.URLs[0])), s.URLs, sums.MaxSize, nil); err != nil {
		return nil, nil, nil, how, err
	}
	_, err = r.readSmall(ctx, path.Base(shown(s.Signature)), beside(s), maxSignature, func(data []byte) (err error) {
		if sig, err = pgp.ArmorSignature(data); err == nil {
			how, err = pgp.VerifyDetached(stored, sig, trust)
		}
		return err
	})
	return stored, stored, sig, how, err
}

// beside are the addresses of the signature: where it is relative to the list, beside each mirror of that.
func beside(s *fileplan.Sums) []string {
	base, err := url.Parse(s.Of)
	if err != nil {
		return []string{s.Signature}
	}
	sig, err := url.Parse(s.Signature)
	if err != nil || sig.Host != base.Host || path.Dir(sig.Path) != path.Dir(base.Path) || sig.RawQuery != "" {
		return []string{s.Signature}
	}
	var out []string
	for _, list := range s.URLs {
		u, err := url.Parse(list)
		if err != nil {
			continue
		}
		u.Path, u.RawPath, u.RawQuery = path.Join(path.Dir(u.Path), path.Base(sig.Path)), "", ""
		out = append(out, u.String())
	}
	return out
}

// taken are the files of a list that its globs want. A glob that fits none is an error: an installer that is not
// called as it was must not go missing silently.
func (r *reader) taken(s *fileplan.Sums, lines []sums.Line) ([]*file, error) {
	var out []*file
	used := make([]bool, len(s.Take))
	first := map[string]snapshot.Digest{}
	for _, l := range lines {
		name := strings.TrimPrefix(l.Name, "./")
		wanted := false
		for i, glob := range s.Take {
			ok, err := path.Match(glob, name)
			if err == nil && !ok && !strings.Contains(glob, "/") {
				ok, err = path.Match(glob, path.Base(name))
			}
			if err != nil {
				return nil, fmt.Errorf("%w: %s: take: %q: %w", outcome.ErrUsage, s.Position, glob, err)
			}
			used[i] = used[i] || ok
			wanted = wanted || ok
		}
		if was, again := first[name]; !wanted || again && was == l.Digest { // x and ./x are one name
			continue
		}
		first[name] = l.Digest
		at := path.Join(s.Dir, name)
		if err := snapshot.ValidPath(name); err != nil {
			return nil, fmt.Errorf("%s: %s, line %d: %w: it cannot be kept as a file: %w", s.Position, shown(s.URLs[0]), l.Number, outcome.ErrUsage, err)
		}
		if err := fileplan.CheckPath(at); err != nil {
			return nil, fmt.Errorf("%s: %s, line %d: %w: it cannot be kept as a file (leave it out of take:, or give the list to: DIRECTORY): %w", s.Position, shown(s.URLs[0]), l.Number, outcome.ErrUsage, err)
		}
		p, err := s.Taken(name)
		if err != nil {
			return nil, err
		}
		out = append(out, &file{
			Place: p, at: s.Position, path: at, known: true, wanted: "the signed list has", blob: snapshot.Blob{Digest: l.Digest},
		})
	}
	for i, ok := range used {
		if ok {
			continue
		}
		var names []string
		for _, l := range lines {
			names = append(names, strings.TrimPrefix(l.Name, "./"))
		}
		slices.Sort(names)
		more := ""
		if len(names) > 10 {
			names, more = names[:10], ", .."
		}
		err := fmt.Errorf("%w: %s: take: %s fits no name in %s; there are %s%s", outcome.ErrNotFound, s.Position, s.Take[i], shown(s.URLs[0]), strings.Join(names, ", "), more)
		if !r.KeepGoing {
			return nil, err
		}
		r.set.Missing = append(r.set.Missing, err.Error())
	}
	return out, nil
}
