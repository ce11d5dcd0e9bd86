// Package keypins reads and changes mmoci.keys, the pins of keys that came from the network.
package keypins

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/snapshot"
)

// maxBytes bounds that file, in bytes.
const maxBytes = 1 << 20

const head = "# Keys that came from the network, pinned by mmoci: PREFIX FINGERPRINT URL. Commit this file.\n"

// Read reads the pins of keys that came from the network, by prefix:
// lines PREFIX FINGERPRINT URL, "#" begins a comment. No file is no pin.
// It returns the text as well, for [Set].
func Read(file string) (map[string][]config.LockKey, []byte, error) {
	text, err := document.ReadFile(file, maxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string][]config.LockKey{}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	pins, err := parse(file, text)
	return pins, text, err
}

func parse(file string, text []byte) (map[string][]config.LockKey, error) {
	pins := map[string][]config.LockKey{}
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
		pins[f[0]] = append(pins[f[0]], config.LockKey{Fingerprint: f[1], URL: f[2]})
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

// Set is the text of a file of pins with those of one prefix replaced; all
// other lines stay.
func Set(text []byte, prefix string, keys []config.LockKey) []byte {
	out := []byte(head)
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
		out = append(out, Line(prefix, k)...)
	}
	return out
}

// Line is the line of one pin. Credentials in the URL are left out.
func Line(prefix string, k config.LockKey) string {
	return fmt.Sprintf("%s %s %s\n", prefix, k.Fingerprint, config.PublicURL(k.URL))
}
