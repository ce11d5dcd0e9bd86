package signer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// Rotate adds a new key to a file of secret keys. Both sign from then on, so that
// hosts which know either accept what is pushed, until all have the new public half.
func Rotate(ctx context.Context, file, user string, passphrase []byte) error {
	old, err := readSecrets(file)
	if err != nil {
		return err
	}
	if len(secretBlock.FindAll(old, -1)) == 0 {
		return fmt.Errorf("%s: %w: it holds no armoured secret key", file, outcome.ErrUsage)
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

// FinishRotation leaves the newest key of a file, the last one in it. The secret
// halves of the others go to the file that it returns.
func FinishRotation(ctx context.Context, file string) (retired string, err error) {
	old, err := readSecrets(file)
	if err != nil {
		return "", err
	}
	blocks := secretBlock.FindAll(old, -1)
	if len(blocks) < 2 {
		return "", fmt.Errorf("%s: %w: it holds one key; nothing is being rotated", file, outcome.ErrUsage)
	}
	last := len(blocks) - 1
	retired = file + ".retired"
	old = slices.Concat(blocks[:last]...)
	there, err := os.ReadFile(retired)
	if same := err == nil && bytes.Equal(there, old); !same && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%w: %s is there; a key is never overwritten", outcome.ErrUsage, retired)
	}
	if err := ctx.Err(); err != nil {
		return "", err // what follows is written as a whole
	}
	// First, so that no key is lost if this dies before the next step; a rerun completes it.
	if err := durable.WriteFile(retired, old, 0o600); err != nil {
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
