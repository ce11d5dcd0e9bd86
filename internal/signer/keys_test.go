package signer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
)

// TestPinsOfTwoPushes: of two pushes side by side neither loses what the other pinned, nor replaces it.
func TestPinsOfTwoPushes(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mmoci.keys")
	pinning := func(prefix, letter string) *NetworkKeys {
		k, err := OpenNetworkKeys(file, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		k.fresh[prefix] = []config.LockKey{{Fingerprint: strings.Repeat(letter, 40), URL: "https://example.org/key.asc"}}
		return k
	}
	a, b, same, another := pinning("docker", "A"), pinning("debian", "B"), pinning("docker", "A"), pinning("docker", "C")
	for _, k := range []*NetworkKeys{a, b, same} {
		if err := k.Keep(); err != nil {
			t.Fatal(err)
		}
	}
	if err := another.Keep(); err == nil || !strings.Contains(err.Error(), "was changed meanwhile") {
		t.Errorf("another key of one prefix: %v", err)
	}
	text, err := os.ReadFile(file)
	for _, letter := range []string{"A", "B"} {
		if !strings.Contains(string(text), strings.Repeat(letter, 40)) {
			t.Errorf("a pin is lost (%v):\n%s", err, text)
		}
	}
	if strings.Contains(string(text), "CCCC") {
		t.Errorf("a pin was replaced:\n%s", text)
	}
}
