// Package rpmproof proves an RPM repository of a snapshot: repomd.xml by its signature or the statement, what it lists by its
// checksums, each package by the list of packages.
package rpmproof

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"example.org/mmoci/internal/prove/byformat"
	"example.org/mmoci/internal/rpmrows"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/rpm"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/verified"
)

// Prove is a [byformat.Prover]. A file whose metadata has no SHA-256 is read, and held against the checksum that it has.
func Prove(ctx context.Context, in byformat.Input) (byformat.Result, error) {
	var out byformat.Result
	for _, s := range in.Archive.Suites {
		if err := suite(ctx, in, s, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

func suite(ctx context.Context, in byformat.Input, s snapshot.Suite, out *byformat.Result) error {
	var repomd, asc *snapshot.SuiteFile
	for i := range s.Files {
		switch s.Files[i].Role {
		case snapshot.Repomd:
			repomd = &s.Files[i]
		case snapshot.RepomdAsc:
			asc = &s.Files[i]
		}
	}
	if repomd == nil {
		return fmt.Errorf("%w: the statement has no repomd.xml", pgp.ErrIntegrity)
	}
	text, err := in.Snapshot.ReadBlob(ctx, repomd.Blob, rpm.MaxRepomd)
	if err != nil {
		return fmt.Errorf("%s: %w", repomd.Path, err)
	}
	how, err := verify(ctx, in, text, asc)
	if err != nil {
		return fmt.Errorf("%s: %w", repomd.Path, err)
	}
	x, err := rpm.ReadRepomd(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%w: %w", pgp.ErrIntegrity, err)
	}
	ofUpstream := in.Archive.Mode == snapshot.Verbatim
	if ofUpstream {
		if err := dated(in, x, how, repomd.Date); err != nil {
			return fmt.Errorf("%s: %w", repomd.Path, err)
		}
	}
	for _, f := range s.Files {
		out.Files = append(out.Files, snapshot.Row{Path: f.Path, Size: f.Size, Digest: f.Digest})
	}
	base := strings.TrimSuffix(repomd.Path, rpm.Repomd)
	c, err := rpmrows.Read(ctx, base, x, files{in.Snapshot, base}, nil)
	if err != nil {
		return err
	}
	out.Files = append(out.Files, c.Rows...)
	out.Packages += c.Packages
	out.Read = append(out.Read, c.Hashed...)
	out.Signed = append(out.Signed, byformat.Signed{Suite: s.Name, Path: repomd.Path, Date: repomd.Date, How: how, Upstream: ofUpstream && in.Archive.Class == snapshot.Upstream})
	return nil
}

// verify says by what repomd.xml is believed: the key of who signs the repository, where one is given, else the statement.
func verify(ctx context.Context, in byformat.Input, text []byte, asc *snapshot.SuiteFile) (pgp.How, error) {
	var ring *pgp.Keyring
	switch {
	case in.Archive.Class == snapshot.Upstream:
		ring = in.Upstream
	case in.Archive.Mode == snapshot.Curated:
		ring = in.Site
	}
	if ring == nil {
		if !in.Believed {
			return pgp.How{Detail: "no key was given, and the statement is not verified"}, nil
		}
		return pgp.How{Kind: pgp.Pinned}, nil
	}
	if asc == nil {
		return pgp.How{}, fmt.Errorf("%w: it is not signed", pgp.ErrIntegrity)
	}
	sig, err := in.Snapshot.ReadBlob(ctx, asc.Blob, pgp.MaxReleaseSize)
	if err != nil {
		return pgp.How{}, err
	}
	return pgp.VerifyDetached(text, sig, pgp.Trust{Keyring: ring})
}

// dated holds the date that the statement has of a repomd.xml against its own, its signature against that, and, where upstream's
// signature is all that it is believed by, that against the clock: whoever took one of next year would take no other until then.
func dated(in byformat.Input, x *rpm.Index, how pgp.How, date time.Time) error {
	if newest := x.Newest(); !newest.Equal(date) {
		return fmt.Errorf("%w: it is of %s, the statement says %s", pgp.ErrIntegrity, snapshot.FormatDate(newest), snapshot.FormatDate(date))
	}
	if how.Kind != pgp.Signed {
		return nil
	}
	if !in.Believed {
		if err := x.CheckAhead(in.Now); err != nil {
			return fmt.Errorf("%w: %w", pgp.ErrIntegrity, err)
		}
	}
	return how.CheckDated(date)
}

// files are those of the repository at base in a snapshot, verified by the digests of its table. That these are the right ones is
// what is proved.
type files struct {
	s    *snapshot.Snapshot
	base string
}

func (f files) row(p string) (snapshot.Row, error) {
	row, ok := f.s.Table.Find(f.base + p)
	if !ok {
		return row, fmt.Errorf("%w: it is named in the metadata, and not in the snapshot", pgp.ErrIntegrity)
	}
	return row, nil
}

// Open makes files an [rpmrows.Files].
func (f files) Open(ctx context.Context, p string, _ int64) (io.ReadCloser, error) {
	row, err := f.row(p)
	if err != nil {
		return nil, err
	}
	if row.Size == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	file, err := f.s.OpenBlob(ctx, row.Blob())
	if err != nil {
		return nil, err
	}
	return file.Reader, nil
}

// Primary makes files an [rpmrows.Files].
func (f files) Primary(ctx context.Context, d rpm.Data, parse func(io.Reader) error) (snapshot.Blob, error) {
	row, err := f.row(d.Path)
	if err != nil {
		return snapshot.Blob{}, err
	}
	if d.Checksum.Type != rpm.SHA256 {
		if _, err := rpmrows.Hash(ctx, f, d.Path, d.Checksum, d.Size); err != nil {
			return snapshot.Blob{}, err
		}
	} else if d.Checksum.Hex != row.Digest.Hex() || d.Size >= 0 && d.Size != row.Size {
		return snapshot.Blob{}, fmt.Errorf("%w: it is %s in the table, repomd.xml says %s", pgp.ErrIntegrity, row.Blob(), d.Checksum)
	}
	err = verified.Again(func() error {
		in, err := f.Open(ctx, d.Path, d.Size)
		if err != nil {
			return err
		}
		defer in.Close()
		return parse(in)
	})
	return row.Blob(), err
}
