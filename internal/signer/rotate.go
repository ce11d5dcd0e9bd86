package signer

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
)

// One armoured secret key.
var secretBlock = regexp.MustCompile(`(?s)-----BEGIN PGP PRIVATE KEY BLOCK-----.*?-----END PGP PRIVATE KEY BLOCK-----\n?`)

// Rotated is a key file's next content.
type Rotated struct {
	Secret, Public []byte // of all keys that sign from now on
	Retired        []byte // secret halves that sign no more; nil: none
	New            string // fingerprint of a new key, "" if none was made
}

// RotateKey adds a new key to a file of secret keys: both sign, so that hosts
// which know either accept what is pushed, until all have the new public half.
// added is the new key's armoured secret half.
func RotateKey(file, added []byte) (*Rotated, error) {
	if len(secretBlock.FindAll(file, -1)) == 0 {
		return nil, fmt.Errorf("%w: it holds no armoured secret key", outcome.ErrUsage)
	}
	joined := slices.Concat(bytes.TrimRight(file, "\n"), []byte("\n"), added)
	r, err := describeKeys(joined)
	if err != nil {
		return nil, err
	}
	ring, err := publicOf(added)
	if err != nil {
		return nil, err
	}
	r.New = ring.Fingerprints()[0]
	return r, nil
}

// FinishRotation leaves the newest key of a file, the last one in it; the others retire.
func FinishRotation(file []byte) (*Rotated, error) {
	blocks := secretBlock.FindAll(file, -1)
	if len(blocks) < 2 {
		return nil, fmt.Errorf("%w: it holds one key; nothing is being rotated", outcome.ErrUsage)
	}
	r, err := describeKeys(blocks[len(blocks)-1])
	if err != nil {
		return nil, err
	}
	r.Retired = slices.Concat(blocks[:len(blocks)-1]...)
	return r, nil
}

func describeKeys(secret []byte) (*Rotated, error) {
	ring, err := publicOf(secret)
	if err != nil {
		return nil, err
	}
	public, err := ring.Armor()
	return &Rotated{Secret: secret, Public: public}, err
}

func publicOf(secret []byte) (*pgp.Keyring, error) {
	ring, err := pgp.PublicHalves(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", outcome.ErrUsage, err)
	}
	return ring, nil
}
