// Package mirror holds the use cases of mmoci, one function each: Push, Pull,
// Extract, Verify, List and the rest. It joins both sides of the waist: what
// reads upstreams and what reads artifacts. It prints nothing; commands do.
package mirror

import (
	"errors"
	"fmt"
	"os"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

var (
	// ErrIntegrity is [archive.ErrIntegrity]: stop and look (exit code 3).
	ErrIntegrity = archive.ErrIntegrity
	// ErrExpired is [archive.ErrExpired]: genuine, and too old (exit code 5).
	ErrExpired = archive.ErrExpired
	// ErrUsage marks a question that cannot be asked so (exit code 2).
	ErrUsage = errors.New("usage")
	// ErrNotFound marks something asked for that is not there (exit code 4).
	ErrNotFound = errors.New("not found")
	// ErrRefused marks a request that would undo something, with the way to insist (exit code 1).
	ErrRefused = errors.New("refused")
)

// workers is how many transfers of one use case run at once. Enough to hide
// the latency of a registry, few enough to be a polite client.
const workers = 8

// maxRelease bounds InRelease, Release and Release.gpg: what a statement can name.
const maxRelease = snapshot.MaxRelease

// maxIndex bounds a decompressed index whose plain size is not listed. The
// largest real one, Contents-source, is 816 MB; Packages are under 100 MB.
const maxIndex = 1 << 30

// maxUnproven bounds what is read of indices that nothing given can prove, in
// bytes: one of them; and in a closure, where they only tell which key is missing, all of
// them with their Releases, as they are stored and as they are unpacked. A whole release has under 100 MB.
const maxUnproven = 256 << 20

// maxKey bounds a key file.
const maxKey = 4 << 20

// Log takes one line for people; nil is silence.
type Log func(format string, args ...any)

func (l Log) printf(format string, args ...any) {
	if l != nil {
		l(format, args...)
	}
}

// ReadKeyrings reads key files into one keyring.
func ReadKeyrings(files ...string) (*pgp.Keyring, error) {
	var rings []*pgp.Keyring
	for _, f := range files {
		data, err := readKeyFile(f)
		if err != nil {
			return nil, err
		}
		k, err := pgp.ReadKeyring(data)
		if err != nil {
			return nil, fmt.Errorf("%w: keyring %s: %w", ErrUsage, f, err)
		}
		rings = append(rings, k)
	}
	return pgp.JoinKeyrings(rings...), nil
}

func readKeyFile(file string) ([]byte, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("%w: keyring: %w", ErrUsage, err)
	}
	if st.Size() > maxKey {
		return nil, fmt.Errorf("%w: keyring %s: %d bytes is more than a keyring should have", ErrUsage, file, st.Size())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: keyring: %w", ErrUsage, err)
	}
	return data, nil
}

// Signer loads the site's signing key as the plan says; nil if it says
// unsigned. trust are the site's public key files, by which a signing command is verified.
func Signer(s *config.Sign, trust []string, env func(string) string) (pgp.Signer, error) {
	if s == nil {
		return nil, nil
	}
	if len(s.Command) > 0 {
		return commandSigner(s, trust)
	}
	data, err := os.ReadFile(s.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: signing key: %w (make one with: mmoci key new -o %s)", ErrUsage, err, s.Key)
	}
	signer, err := pgp.ReadSigner(data, func() ([]byte, error) { return passphrase(s, env) })
	if err != nil {
		return nil, fmt.Errorf("%w: signing key %s: %w", ErrUsage, s.Key, err)
	}
	return signer, nil
}
