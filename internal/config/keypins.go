package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/snapshot"
)

// KeyPinsFile is the name of the file of pinned keys, beside the configuration.
const KeyPinsFile = "mmoci.keys"

// maxKeyPins bounds that file, in bytes.
const maxKeyPins = 1 << 20

const keyPinsHead = "# Keys that came from the network, pinned by mmoci: PREFIX FINGERPRINT URL. Commit this file.\n"

// KeyPinsPath is where the pins of keys from the network are kept: beside the
// configuration, or beside a tree of sources; in the working directory if there is neither.
func (p *Plan) KeyPinsPath() string {
	if p.File == "" {
		return KeyPinsFile
	}
	return filepath.Join(filepath.Dir(filepath.Clean(p.File)), KeyPinsFile)
}

// ReadKeyPins reads the pins of keys that came from the network, by prefix:
// lines PREFIX FINGERPRINT URL, "#" begins a comment. No file is no pin.
// It returns the text as well, for [SetKeyPins].
func ReadKeyPins(file string) (map[string][]LockKey, []byte, error) {
	text, err := document.ReadFile(file, maxKeyPins)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string][]LockKey{}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	pins, err := parseKeyPins(file, text)
	return pins, text, err
}

func parseKeyPins(file string, text []byte) (map[string][]LockKey, error) {
	pins := map[string][]LockKey{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		at := document.At(file, n)
		f := pinFields(line)
		switch {
		case len(f) == 0:
			continue
		case len(f) != 3:
			return nil, document.Errorf(at, "%d fields, should be 3: PREFIX FINGERPRINT URL", len(f))
		}
		if err := snapshot.ValidPrefix(f[0]); err != nil {
			return nil, document.Errorf(at, "%w", err)
		}
		if len(f[1]) != 40 || strings.Trim(f[1], "0123456789ABCDEF") != "" {
			return nil, document.Errorf(at, "fingerprint %.80q: not 40 upper-case hexadecimal digits", f[1])
		}
		pins[f[0]] = append(pins[f[0]], LockKey{Fingerprint: f[1], URL: f[2]})
	}
	return pins, nil
}

// pinFields are the fields of a line before a comment.
func pinFields(line []byte) []string {
	f := strings.Fields(string(line))
	if i := slices.IndexFunc(f, func(w string) bool { return w[0] == '#' }); i >= 0 {
		f = f[:i]
	}
	return f
}

// SetKeyPins is the text of a file of pins with those of one prefix replaced; all
// other lines stay.
func SetKeyPins(text []byte, prefix string, keys []LockKey) []byte {
	out := []byte(keyPinsHead)
	if len(text) > 0 {
		out = nil
	}
	for line := range bytes.Lines(text) {
		if f := pinFields(line); len(f) > 0 && f[0] == prefix {
			continue
		}
		out = append(bytes.TrimRight(append(out, line...), "\n"), '\n')
	}
	for _, k := range keys {
		out = append(out, KeyPinLine(prefix, k)...)
	}
	return out
}

// KeyPinLine is the line of one pin. Credentials in the URL are left out.
func KeyPinLine(prefix string, k LockKey) string {
	return fmt.Sprintf("%s %s %s\n", prefix, k.Fingerprint, publicURL(k.URL))
}
