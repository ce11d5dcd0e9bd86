package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"example.org/mmoci/internal/config"
)

// passphrase gets the signing key's passphrase: from the file, the command, or
// the environment (RELEASE_SIGN_KEY_PASSPHRASE is mini-mirror's name for it).
// Never from the argument vector, which every user of the machine can read.
func passphrase(s *config.Sign, env func(string) string) ([]byte, error) {
	switch {
	case s.PassphraseFile != "":
		data, err := os.ReadFile(s.PassphraseFile)
		if err != nil {
			return nil, fmt.Errorf("passphrase: %w", err)
		}
		return bytes.TrimRight(data, "\r\n"), nil
	case len(s.PassphraseCmd) > 0:
		cmd := exec.Command(s.PassphraseCmd[0], s.PassphraseCmd[1:]...)
		cmd.Stderr = os.Stderr
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
