package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
)

// keys reads the keyring of an archive. A key that comes from the network has
// nothing that vouches for it but that it is the one of before: whoever can change the
// archive on the way could change it too.
func (r *reader) keys(ctx context.Context, fa *frozenArchive) (err error) {
	if fa.SignedByURL == "" {
		if fa.keyring, err = ReadKeyrings(fa.SignedBy); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: signed-by: %w", ErrUsage, err)
		} else if err != nil {
			return fmt.Errorf("%w: it cannot be verified: %w", ErrIntegrity, err)
		}
		return nil
	}
	data, err := upstream.Fetch(ctx, r.options(fa.Archive), fa.SignedByURL, maxKey)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if fa.keyring, err = archive.ReadKeyring(data); err != nil {
		return fmt.Errorf("%w: key %s: %w", ErrIntegrity, fa.SignedByURL, err)
	}
	known := r.Known[fa.Prefix]
	var unknown []string
	for _, fpr := range fa.keyring.Fingerprints() {
		fa.urlKeys = append(fa.urlKeys, config.LockKey{Fingerprint: fpr, URL: fa.SignedByURL})
		if !slices.Contains(known, fpr) && !r.accepted(fpr) {
			unknown = append(unknown, fpr)
		}
	}
	switch {
	case len(unknown) == 0:
	case len(known) == 0:
		clear := ""
		if strings.HasPrefix(strings.ToLower(fa.SignedByURL), "http:") {
			clear = " It came in the clear, and whoever changes the archive on the way can change it: compare it with what its owner says."
		}
		r.Log.printf("archive %s: key %s from %s is seen for the first time; the lock pins it from now on.%s", fa.Prefix, strings.Join(unknown, " "), fa.urlKeys[0].URL, clear)
	default:
		return fmt.Errorf("%w: the key at %s is %s, before it was %s (compare it with what its owner says; --accept-key %s takes it)",
			ErrIntegrity, fa.SignedByURL, strings.Join(unknown, " "), strings.Join(known, " "), strings.Join(unknown, " --accept-key "))
	}
	return nil
}

func (r *reader) accepted(fingerprint string) bool {
	return slices.ContainsFunc(r.AcceptKeys, func(s string) bool {
		return strings.EqualFold(strings.ReplaceAll(s, " ", ""), fingerprint)
	})
}

// KnownKeys are the fingerprints that a lock pins, by prefix.
func KnownKeys(l *config.Lock) map[string][]string {
	out := map[string][]string{}
	if l == nil {
		return out
	}
	for _, a := range l.Archives {
		for _, k := range a.KeyURLs {
			out[a.Prefix] = append(out[a.Prefix], k.Fingerprint)
		}
	}
	return out
}
