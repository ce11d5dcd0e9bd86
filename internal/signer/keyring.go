package signer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
)

// maxKey bounds a key file.
const maxKey = 4 << 20

// ReadKeyrings reads key files into one keyring.
func ReadKeyrings(files ...string) (*pgp.Keyring, error) {
	var rings []*pgp.Keyring
	for _, f := range files {
		data, err := ReadKeyFile(f)
		if err != nil {
			return nil, err
		}
		k, err := pgp.ReadKeyring(data)
		if err != nil {
			return nil, fmt.Errorf("%w: keyring %s: %w", outcome.ErrUsage, f, err)
		}
		rings = append(rings, k)
	}
	return pgp.JoinKeyrings(rings...), nil
}

func ReadKeyFile(file string) ([]byte, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("%w: keyring: %w", outcome.ErrUsage, err)
	}
	if st.Size() > maxKey {
		return nil, fmt.Errorf("%w: keyring %s: %d bytes is more than a keyring should have", outcome.ErrUsage, file, st.Size())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: keyring: %w", outcome.ErrUsage, err)
	}
	return data, nil
}

// Signer loads the site's signing key as the plan says; nil if it says
// unsigned. trust are the site's public key files, by which a signing command is verified.
func Signer(s *config.Sign, trust []string, env func(string) string, stderr io.Writer) (pgp.Signer, error) {
	if s == nil {
		return nil, nil
	}
	if len(s.Command) > 0 {
		return newCommand(s, trust, stderr)
	}
	data, err := os.ReadFile(s.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: signing key: %w (make one with: mmoci key new -o %s)", outcome.ErrUsage, err, s.Key)
	}
	signer, err := pgp.ReadSigner(data, func() ([]byte, error) { return passphrase(s, env, stderr) })
	if err != nil {
		return nil, fmt.Errorf("%w: signing key %s: %w", outcome.ErrUsage, s.Key, err)
	}
	return signer, nil
}

// passphrase gets the signing key's passphrase: from the file, the command, or
// the environment (RELEASE_SIGN_KEY_PASSPHRASE is mini-mirror's name for it).
// Never from the argument vector, which every user of the machine can read.
func passphrase(s *config.Sign, env func(string) string, stderr io.Writer) ([]byte, error) {
	switch {
	case s.PassphraseFile != "":
		data, err := os.ReadFile(s.PassphraseFile)
		if err != nil {
			return nil, fmt.Errorf("passphrase: %w", err)
		}
		return bytes.TrimRight(data, "\r\n"), nil
	case len(s.PassphraseCmd) > 0:
		cmd := exec.Command(s.PassphraseCmd[0], s.PassphraseCmd[1:]...)
		cmd.Stderr = stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("passphrase command %s: %w", s.PassphraseCmd[0], err)
		}
		return bytes.TrimRight(out, "\r\n"), nil
	}
	for _, name := range []string{"MMOCI_SIGN_PASSPHRASE", "RELEASE_SIGN_KEY_PASSPHRASE"} {
		if v := env(name); v != "" {
			return []byte(v), nil
		}
	}
	return nil, errors.New("the key is locked: set MMOCI_SIGN_PASSPHRASE or sign.passphrase-file")
}
