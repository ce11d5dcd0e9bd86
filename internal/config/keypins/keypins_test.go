package keypins

import (
	"errors"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
)

// FuzzParse holds that pins are read or refused as bad input, and that setting those of one prefix leaves the others.
func FuzzParse(f *testing.F) {
	line := "debian " + strings.Repeat("AB", 20) + " https://example.org/key.asc"
	for _, s := range []string{head + line + "\n", line + " # why\r\n\n# x", "debian", "de/bian " + line, strings.ToLower(line)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pins, err := parse("f", data)
		if err != nil {
			if !errors.Is(err, document.ErrUsage) {
				t.Errorf("%q", err)
			}
			return
		}
		key := config.LockKey{Fingerprint: strings.Repeat("C", 40), URL: "https://example.org/new.asc"}
		again, err := parse("f", Set(data, "new", []config.LockKey{key}))
		if err != nil || len(again["new"]) != 1 || again["new"][0] != key {
			t.Fatalf("%q: %v, %v", data, again, err)
		}
		for prefix, keys := range pins {
			if prefix != "new" && len(again[prefix]) != len(keys) {
				t.Errorf("%q: %s has %d pins, not %d", data, prefix, len(again[prefix]), len(keys))
			}
		}
	})
}
