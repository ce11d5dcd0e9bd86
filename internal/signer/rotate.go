package signer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
)

// keyCreated back-dates new keys, so that no signature at an upstream's Date is older
// than its key, and hosts with slow clocks accept them.
var keyCreated = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// PublicFile returns where the public half of a key file lies: keys/site.pub.asc beside keys/site.asc.
func PublicFile(file string) string { return strings.TrimSuffix(file, ".asc") + ".pub.asc" }

// NewKeyFile makes a signing key, locked with a passphrase if there is one, and
// writes both halves. It overwrites nothing.
func NewKeyFile(file, user string, passphrase []byte) (fingerprint string, err error) {
	for _, f := range []string{file, PublicFile(file)} {
		if _, err := os.Lstat(f); !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("%w: %s is there; a key is never overwritten", outcome.ErrUsage, f)
		}
	}
	secret, public, err := pgp.NewKey(user, keyCreated, passphrase)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	if err := durable.WriteFile(file, secret, 0o600); err != nil {
		return "", err
	}
	if err := durable.WriteFile(PublicFile(file), public, 0o644); err != nil {
		return "", err
	}
	ring, err := pgp.ReadKeyring(public)
	if err != nil {
		return "", err
	}
	return ring.Fingerprints()[0], nil
}

// Rotate adds a new key to a file of secret keys. All of them sign from then on, so that
// hosts which know any accept what is pushed, until all have the new public half.
// The new key is locked with passphrase, which has to open the keys that are there if they are locked.
func Rotate(ctx context.Context, file, user string, passphrase []byte) error {
	unlock, err := lockKeys(ctx, file)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := readSecrets(file)
	if err != nil {
		return err
	}
	if len(secretBlock.FindAll(old, -1)) == 0 {
		return fmt.Errorf("%s: %w: it holds no armoured secret key", file, outcome.ErrUsage)
	}
	// One passphrase opens a file: a push asks for it once.
	if _, err := pgp.ReadSigner(old, func() ([]byte, error) {
		if len(passphrase) == 0 {
			return nil, errors.New("the key is locked, and the new one needs the same passphrase: set MMOCI_SIGN_PASSPHRASE")
		}
		return passphrase, nil
	}); err != nil {
		return fmt.Errorf("%s: %w: %w", file, outcome.ErrUsage, err)
	}
	added, _, err := pgp.NewKey(user, keyCreated, passphrase)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := ctx.Err(); err != nil {
		return err // what follows is written as a whole
	}
	return writeKeys(file, slices.Concat(bytes.TrimRight(old, "\n"), []byte("\n"), added))
}

// lockKeys keeps two rotations of one file apart: the later one would lose the key of the other.
func lockKeys(ctx context.Context, file string) (unlock func(), err error) {
	if unlock, err = durable.Lock(ctx, filepath.Dir(file), 0); err != nil {
		return nil, fmt.Errorf("%w: %w", outcome.ErrUsage, err)
	}
	return unlock, nil
}

// FinishRotation leaves the newest key of a file, the last one in it. The secret
// halves of the others are added to the file that it returns, which keeps those of
// earlier rotations.
func FinishRotation(ctx context.Context, file string) (retired string, err error) {
	unlock, err := lockKeys(ctx, file)
	if err != nil {
		return "", err
	}
	defer unlock()
	old, err := readSecrets(file)
	if err != nil {
		return "", err
	}
	blocks := secretBlock.FindAll(old, -1)
	if len(blocks) < 2 {
		return "", fmt.Errorf("%s: %w: it holds one key; nothing is being rotated", file, outcome.ErrUsage)
	}
	retired = file + ".retired"
	kept, err := os.ReadFile(retired)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %w", outcome.ErrUsage, err)
	}
	last := len(blocks) - 1
	for _, b := range blocks[:last] {
		if !bytes.Contains(kept, bytes.TrimSpace(b)) { // there already if the rotation before died half-way
			kept = slices.Concat(kept, bytes.TrimRight(b, "\n"), []byte("\n"))
		}
	}
	if err := ctx.Err(); err != nil {
		return "", err // what follows is written as a whole
	}
	// First, so that no key is lost if this dies before the next step; a rerun completes it.
	if err := durable.WriteFile(retired, kept, 0o600); err != nil {
		return "", err
	}
	return retired, writeKeys(file, blocks[last])
}

// writeKeys writes the secret halves, then the public ones. If it dies in between, the
// public file holds the keys of before, and one of them signs still.
func writeKeys(file string, secret []byte) error {
	ring, err := pgp.PublicHalves(secret)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", file, outcome.ErrUsage, err)
	}
	public, err := ring.Armor()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(file, secret, 0o600); err != nil {
		return err
	}
	return durable.WriteFile(PublicFile(file), public, 0o644)
}

// secretBlock matches one armoured secret key.
var secretBlock = regexp.MustCompile(`(?s)-----BEGIN PGP PRIVATE KEY BLOCK-----.*?-----END PGP PRIVATE KEY BLOCK-----\n?`)

func readSecrets(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", outcome.ErrUsage, err)
	}
	return data, nil
}
