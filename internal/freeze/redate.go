package freeze

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Redate freezes an old snapshot's files under another date.
func Redate(ctx context.Context, old *snapshot.Snapshot, date time.Time, signer pgp.Signer) (*snapshot.Snapshot, error) {
	st := old.Statement
	text, err := old.ReadLock(ctx)
	if err != nil {
		return nil, err
	}
	lock, err := config.ParseLock("lock", text)
	if err != nil {
		return nil, err
	}
	lock.Date = date
	in := snapshot.Frozen{Date: date, Encoder: st.Encoder, Lock: lock.Encode(), Blobs: old.Blobs(), Signer: signer}
	if !st.ValidUntil.IsZero() {
		in.ValidUntil = date.Add(st.ValidUntil.Sub(st.Date))
	}
	replaced := map[string]bool{} // paths that are made anew
	for _, a := range st.Archives {
		a.Suites = slices.Clone(a.Suites)
		for i, s := range a.Suites {
			if a.Mode == snapshot.Verbatim {
				continue
			}
			if a.Suites[i], err = redateSuite(ctx, old, s, &in, replaced); err != nil {
				return nil, fmt.Errorf("archive %s, suite %s: %w", a.Prefix, s.Name, err)
			}
		}
		in.Archives = append(in.Archives, a)
	}
	for row := range old.Table.Rows() {
		if !replaced[row.Path] {
			in.Files = append(in.Files, row)
		}
	}
	return snapshot.Take(in)
}

// redateSuite makes the signature files of one curated suite anew.
func redateSuite(ctx context.Context, old *snapshot.Snapshot, s snapshot.Suite, in *snapshot.Frozen, replaced map[string]bool) (snapshot.Suite, error) {
	out := snapshot.Suite{Name: s.Name}
	i := slices.IndexFunc(s.Files, func(f snapshot.SuiteFile) bool { return f.Role == snapshot.Release })
	if i < 0 {
		return out, fmt.Errorf("%w: it has no Release", outcome.ErrIntegrity)
	}
	text, err := old.ReadBlob(ctx, s.Files[i].Blob, snapshot.MaxRelease)
	if err != nil {
		return out, err
	}
	if text, err = redateRelease(text, in.Date, in.ValidUntil); err != nil {
		return out, err
	}
	var made collected
	signed, err := signRelease(in.Signer, text, in.Date)
	if err != nil {
		return out, err
	}
	for _, f := range s.Files {
		if f.Role.IsUpstream() {
			out.Files = append(out.Files, f)
		} else {
			replaced[f.Path] = true
		}
	}
	base := strings.TrimSuffix(s.Files[i].Path, "Release")
	out.Files = append(out.Files, made.signatures(signed, base, in.Date, false)...)
	for _, f := range out.Files {
		replaced[f.Path] = replaced[f.Path] || !f.Role.IsUpstream()
	}
	in.Files, in.Small = append(in.Files, made.rows...), append(in.Small, made.small...)
	slices.SortFunc(out.Files, func(x, y snapshot.SuiteFile) int { return strings.Compare(x.Path, y.Path) })
	return out, nil
}

var (
	releaseDate  = regexp.MustCompile(`(?m)^Date: .*$`)
	releaseUntil = regexp.MustCompile(`(?m)^Valid-Until: .*$`)
)

// redateRelease changes Date and Valid-Until of a Release that this program wrote.
func redateRelease(text []byte, date, until time.Time) ([]byte, error) {
	const layout = "Mon, 02 Jan 2006 15:04:05 UTC"
	if len(releaseDate.FindAll(text, 2)) != 1 || !bytes.HasSuffix(text, []byte("\n")) {
		return nil, fmt.Errorf("%w: its Release has not one Date", outcome.ErrIntegrity)
	}
	text = releaseDate.ReplaceAllLiteral(text, []byte("Date: "+date.UTC().Format(layout)))
	return releaseUntil.ReplaceAllLiteral(text, []byte("Valid-Until: "+until.UTC().Format(layout))), nil
}
