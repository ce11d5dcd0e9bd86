package chaintest

import (
	"crypto"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
)

// signed is an InRelease of several signatures, one after another in one block,
// and what comes of it where Docker's and Debian's keys are trusted. SPEC
// section 12; scripts/e2e/45-forgeries.sh shows each to apt, which must not be stricter.
type signed struct {
	name, signatures string // words of signaturePackets
	good             bool
}

func signaturesBeside() []signed {
	return []signed{
		{"good", "docker", true},
		{"two-good", "docker debian", true},
		{"good-bad", "docker docker-bad", false},
		{"bad-good", "docker-bad docker", false},
		{"good-bad-other", "docker debian-bad", false},
		{"bad-other-good", "debian-bad docker", false},
		{"good-unknown", "docker mallory", true},
		{"unknown-good", "mallory docker", true},
		{"good-unknown-bad", "docker mallory-bad", true},
		{"unknown-bad-good", "mallory-bad docker", true},
		{"good-weak", "docker docker-weak", false},
		{"good-weak-other", "docker debian-weak", true},
		{"weak-other-good", "debian-weak docker", true},
		{"garbage-good", "garbage docker", false},
		{"good-garbage", "docker garbage", true},
		{"bad", "docker-bad", false},
		{"weak", "docker-weak", false},
		{"unknown", "mallory", false},
	}
}

// signaturePackets makes what a word of signed says: KEY, KEY-bad (over another text), KEY-weak (SHA-1), garbage.
func signaturePackets(t testing.TB, text []byte, word string) []byte {
	t.Helper()
	name, kind, _ := strings.Cut(word, "-")
	hash := crypto.SHA256
	switch kind {
	case "bad":
		text = append([]byte("Origin: evil\n"), text...)
	case "weak":
		hash = crypto.SHA1
	}
	key := map[string]*testarchive.Key{"docker": testarchive.DockerKey(), "debian": testarchive.DebianKey(), "mallory": forge.Mallory()}[name]
	if key == nil {
		return []byte{0xc2, 3, 4, 1, 1} // a signature packet that ends early
	}
	return key.SignText(t, text, world.Date, hash)
}

// inRelease makes the file.
func (s signed) inRelease(t testing.TB, text []byte) []byte {
	t.Helper()
	var packets []byte
	for word := range strings.FieldsSeq(s.signatures) {
		packets = append(packets, signaturePackets(t, text, word)...)
	}
	return testarchive.FrameClearsigned(text, "SHA256", packets)
}

// TestSignaturesBeside holds SPEC section 12: what stands beside a good signature.
func TestSignaturesBeside(t *testing.T) {
	t.Parallel()
	text := []byte("Suite: bookworm\nSHA256:\n " + strings.Repeat("0", 64) + " 0 x\n")
	for _, s := range signaturesBeside() {
		_, err := archive.OpenInRelease(s.inRelease(t, text), pgp.Trust{Keyring: world.Ring(t, testarchive.DockerKey(), testarchive.DebianKey())})
		if (err == nil) != s.good || err != nil && exitOf(err) != 3 {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

// writeSignatures lays out an archive for each of them, below dir, and signatures.tsv: name, good or refused.
func writeSignatures(t testing.TB, dir string) {
	t.Helper()
	var table strings.Builder
	for _, s := range signaturesBeside() {
		root := filepath.Join(dir, s.name)
		testarchive.Docker().Build(t).Write(t, root)
		suite := filepath.Join(root, "dists/bookworm")
		text, _, err := pgp.VerifyClearsigned(read(t, filepath.Join(suite, "InRelease")), pgp.Trust{})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Release", "Release.gpg"} {
			if err := os.Remove(filepath.Join(suite, name)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(suite, "InRelease"), s.inRelease(t, slices.Clone(text)), 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&table, "%s\t%s\n", s.name, map[bool]string{true: "good", false: "refused"}[s.good])
	}
	if err := os.WriteFile(filepath.Join(dir, "signatures.tsv"), []byte(table.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
