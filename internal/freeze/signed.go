package freeze

import (
	"context"
	"errors"
	"fmt"

	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// beside adds Release and Release.gpg to a verbatim suite whose InRelease was
// read, as far as upstream has them: there are clients that ask for nothing else.
// They must be of InRelease's text; an error wrapping errMoved if they are not,
// for then one of them is of another day. At the last try such files are left out
// and named, so that an upstream that keeps an old Release can be carried.
func (r *reader) beside(ctx context.Context, fa *upstreamArchive, fs *upstreamSuite, at func(string) string, last bool) error {
	in := fs.signed[0].data
	var mismatch error
	judge := func(err error) error {
		if err != nil {
			mismatch = err
		}
		return err
	}
	text, err := fa.up.Get(ctx, at("Release"), snapshot.MaxRelease, func(data []byte) error { return judge(archive.SameRelease(in, data)) })
	if errors.Is(err, upstream.ErrNotFound) {
		return nil
	}
	files := []signedFile{{"Release", snapshot.Release, text}}
	if err == nil {
		var sig []byte
		sig, err = fa.up.Get(ctx, at("Release.gpg"), snapshot.MaxRelease, func(data []byte) error {
			_, err := archive.OpenRelease(text, data, pgp.Trust{Keyring: fa.Keyring})
			return judge(err)
		})
		files = append(files, signedFile{"Release.gpg", snapshot.ReleaseGPG, sig})
		if errors.Is(err, upstream.ErrNotFound) {
			files, err = files[:1], nil
		}
	}
	switch {
	case err == nil:
		fs.signed = append(fs.signed, files...)
	case mismatch == nil:
		return err
	case !last:
		return fmt.Errorf("%s beside InRelease: %w: %w", at(files[len(files)-1].name), errMoved, mismatch)
	default:
		fs.dropped = append(fs.dropped, "Release, Release.gpg (not of one text with InRelease: "+mismatch.Error()+")")
	}
	return nil
}
