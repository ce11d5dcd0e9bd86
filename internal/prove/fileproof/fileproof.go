// Package fileproof proves an archive of plain files: by the site's list of digests and, where upstream signs, by its
// lists and detached signatures.
package fileproof

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove/byformat"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/archive/sums"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/verified"
)

// prover proves one archive.
type prover struct {
	byformat.Input
	res    byformat.Result
	proven map[string]snapshot.Digest // by path below the archive, what upstream's lists say
}

// Prove is a byformat.Prover. The site's list must be the one that is made of the files that it names; with upstream's
// key each of these is named by a list that upstream signed, or has a detached signature, which costs reading it.
func Prove(ctx context.Context, in byformat.Input) (byformat.Result, error) {
	p := &prover{Input: in, proven: map[string]snapshot.Digest{}}
	lines, err := p.site(ctx)
	if err != nil {
		return p.res, err
	}
	if in.Archive.Class == snapshot.Upstream {
		if err := p.upstream(ctx); err != nil {
			return p.res, err
		}
	}
	for _, l := range lines {
		row, ok := in.Snapshot.Table.Find(in.Archive.Prefix + "/" + l.Name)
		if !ok {
			return p.res, fmt.Errorf("%w: SHA256SUMS names %s, which is not in the snapshot", outcome.ErrIntegrity, l.Name)
		}
		p.res.Files = append(p.res.Files, snapshot.Row{Path: row.Path, Size: row.Size, Digest: l.Digest})
		if in.Archive.Class == snapshot.Upstream {
			if err := p.file(ctx, l, row); err != nil {
				return p.res, err
			}
		}
	}
	p.res.Packages = len(lines)
	return p.res, nil
}

// role is the file of a role; nil if the suite has none.
func role(s *snapshot.Suite, role snapshot.Role) *snapshot.SuiteFile {
	i := slices.IndexFunc(s.Files, func(f snapshot.SuiteFile) bool { return f.Role == role })
	if i < 0 {
		return nil
	}
	return &s.Files[i]
}

// read reads a file of a role.
func (p *prover) read(ctx context.Context, f *snapshot.SuiteFile) ([]byte, error) {
	data, err := p.Snapshot.ReadBlob(ctx, f.Blob, sums.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	p.res.Files = append(p.res.Files, snapshot.Row{Path: f.Path, Size: f.Blob.Size, Digest: f.Blob.Digest})
	return data, nil
}

// site reads the site's list.
func (p *prover) site(ctx context.Context) ([]sums.Line, error) {
	i := slices.IndexFunc(p.Archive.Suites, func(s snapshot.Suite) bool { return s.Name == "./" })
	if i < 0 {
		return nil, fmt.Errorf("%w: no suite ./", outcome.ErrIntegrity)
	}
	suite := &p.Archive.Suites[i]
	list := role(suite, snapshot.Sums)
	if list == nil {
		return nil, fmt.Errorf("%w: no SHA256SUMS", outcome.ErrIntegrity)
	}
	text, err := p.read(ctx, list)
	if err != nil {
		return nil, err
	}
	signed := byformat.Signed{Suite: suite.Name, Path: list.Path, Date: list.Date, How: pgp.How{Detail: "neither key nor digest given"}}
	if p.Believed {
		signed.How = pgp.How{Kind: pgp.Pinned, Detail: "by the statement"}
	}
	if f := role(suite, snapshot.SumsSig); f != nil {
		sig, err := p.read(ctx, f)
		if err != nil {
			return nil, err
		}
		if p.Site != nil {
			if signed.How, err = pgp.VerifyDetached(text, sig, pgp.Trust{Keyring: p.Site}); err != nil {
				return nil, fmt.Errorf("%s: %w", list.Path, err)
			}
		}
	}
	p.res.Signed = append(p.res.Signed, signed)
	lines, err := sums.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", list.Path, outcome.ErrIntegrity, err)
	}
	if !bytes.Equal(sums.Format(lines), text) {
		return nil, fmt.Errorf("%w: %s is not as it is made of the files that it names", outcome.ErrIntegrity, list.Path)
	}
	return lines, nil
}

// upstream reads the lists that upstream signed.
func (p *prover) upstream(ctx context.Context) error {
	for i := range p.Archive.Suites {
		suite := &p.Archive.Suites[i]
		list := role(suite, snapshot.UpstreamSums)
		if list == nil {
			continue
		}
		data, err := p.read(ctx, list)
		if err != nil {
			return err
		}
		text, how := data, pgp.How{Detail: "no key of upstream's is given"}
		if f := role(suite, snapshot.UpstreamSumsSig); f != nil {
			sig, err := p.read(ctx, f)
			if err == nil && p.Upstream != nil {
				how, err = pgp.VerifyDetached(text, sig, pgp.Trust{Keyring: p.Upstream})
			}
			if err != nil {
				return fmt.Errorf("%s: %w", list.Path, err)
			}
		} else if text, how, err = pgp.VerifyClearsigned(data, pgp.Trust{Keyring: p.Upstream}); err != nil {
			return fmt.Errorf("%s: %w", list.Path, err)
		}
		if how.Kind == pgp.Signed && !how.Time.Equal(list.Date) {
			return fmt.Errorf("%w: %s is signed on %s, the statement says %s", outcome.ErrIntegrity, list.Path, snapshot.FormatDate(how.Time), snapshot.FormatDate(list.Date))
		}
		lines, err := sums.Parse(text)
		if err != nil {
			return fmt.Errorf("%s: %w: %w", list.Path, outcome.ErrIntegrity, err)
		}
		for _, l := range lines {
			p.proven[path.Join(suite.Name, strings.TrimPrefix(l.Name, "./"))] = l.Digest
		}
		p.res.Signed = append(p.res.Signed, byformat.Signed{Suite: suite.Name, Path: list.Path, Date: list.Date, How: how, Upstream: true})
	}
	return nil
}

// file proves a file of an archive that upstream signs.
func (p *prover) file(ctx context.Context, l sums.Line, row snapshot.Row) error {
	sig, detached := p.Snapshot.Table.Find("upstream/" + p.Archive.Prefix + "/" + l.Name + ".asc")
	if detached {
		p.res.Files = append(p.res.Files, sig)
	}
	said, listed := p.proven[l.Name]
	switch {
	case listed && said != snapshot.Digest(l.Digest):
		return fmt.Errorf("%w: %s is %s in SHA256SUMS, upstream's list says %s", outcome.ErrIntegrity, l.Name, snapshot.Digest(l.Digest), said)
	case listed && !detached:
		return nil
	case !detached:
		return fmt.Errorf("%w: %s: no list of upstream's names it, and it has no signature of its own", outcome.ErrIntegrity, l.Name)
	case p.Upstream == nil || row.Digest != snapshot.Digest(l.Digest):
		return nil // the caller tells of another digest in the table
	}
	data, err := p.Snapshot.ReadBlob(ctx, sig.Blob(), pgp.MaxSignatureSize)
	if err != nil {
		return fmt.Errorf("%s: %w", sig.Path, err)
	}
	return verified.Again(func() error {
		check, err := pgp.NewDetached(data, pgp.Trust{Keyring: p.Upstream})
		if err != nil {
			return fmt.Errorf("%s: %w", sig.Path, err)
		}
		f, err := p.Snapshot.OpenBlob(ctx, row.Blob())
		if err != nil {
			return fmt.Errorf("%s: %w", row.Path, err)
		}
		defer f.Close()
		if _, err := io.Copy(check, f); err != nil {
			return fmt.Errorf("%s: %w", row.Path, err)
		}
		if _, err := check.How(); err != nil {
			return fmt.Errorf("%s: %w", sig.Path, err)
		}
		p.res.Read = append(p.res.Read, row.Digest)
		return nil
	})
}
