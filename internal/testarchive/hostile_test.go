package testarchive_test

import (
	"bytes"
	"io"
	"path"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"example.org/mmoci/internal/testarchive"
)

// naive verifies an InRelease as one would who trusts the library for all of it.
func naive(t *testing.T, inRelease, keyring []byte) bool {
	t.Helper()
	keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(keyring))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := clearsign.Decode(inRelease)
	if block == nil {
		return false
	}
	_, _, err = openpgp.VerifyDetachedSignature(keys, bytes.NewReader(block.Bytes), block.ArmoredSignature.Body, &packet.Config{Time: testarchive.HostileNow})
	return err == nil
}

// A hostile archive is worth something if it gets past what it is meant to get
// past. Each is told by whether the naive verification of its InRelease holds,
// and by which of its files is not what its Release lists.
func TestHostileArchives(t *testing.T) {
	t.Parallel()
	unsigned := map[string]bool{
		"inrelease-flipped": true, "signature-flipped": true, "text-between": true, "message-first": true, "armor-header": true,
		"no-signature": true, "empty-inrelease": true, "foreign-key": true, "expired-key": true, "revoked-key": true,
		"encryption-key": true, "sha1": true, "bad-known-good-unknown": true,
		"release-gpg": true, "release-gpg-of-another-day": true,
	}
	unlisted := map[string]string{
		"index-flipped": "Packages.xz", "index-flipped-by-name": "Packages.xz", "index-truncated": "Packages.xz", "index-longer": "Packages.xz",
		"index-of-another-day": "Packages.xz", "release-size-off-by-one": "Packages.xz",
	}
	seen := map[string]bool{}
	for _, h := range testarchive.HostileArchives() {
		if seen[h.Name] {
			t.Errorf("%s is there twice", h.Name)
		}
		seen[h.Name] = true
		t.Run(h.Name, func(t *testing.T) {
			t.Parallel()
			f := h.Files(t)
			if got := naive(t, f["dists/toy/InRelease"], lastKey(h.Keyring)); got == unsigned[h.Name] {
				t.Errorf("naively verified: %v, want %v", got, !unsigned[h.Name])
			}
			if bad := notListed(f); bad != unlisted[h.Name] {
				t.Errorf("%q is not what is listed, want %q", bad, unlisted[h.Name])
			}
		})
	}
	for name := range unsigned {
		if !seen[name] {
			t.Errorf("no %s", name)
		}
	}
}

// notListed is the base name of a file that is not what Release lists, or "".
func notListed(f testarchive.Files) string {
	bad := ""
	for p, want := range listing(f["dists/toy/Release"]) {
		if b, ok := f["dists/toy/"+p]; ok && want != sumAndSize(b) {
			bad = path.Base(p)
		}
	}
	return bad
}

// lastKey is the last armoured block of a keyring: the library's reader takes one only.
func lastKey(keyring []byte) []byte {
	return keyring[bytes.LastIndex(keyring, []byte("-----BEGIN")):]
}

func TestBomb(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"xz", "gz", "zst"} {
		b := testarchive.Bomb(t, c)
		if len(b) > 2<<20 {
			t.Errorf("%s: %d bytes packed", c, len(b))
		}
		// Past the first stream there is more: it does unpack beyond 4 MiB.
		n, err := io.Copy(io.Discard, io.LimitReader(unpacker(t, c, b), 9<<20))
		if err != nil || n != 9<<20 {
			t.Errorf("%s: %d bytes, %v", c, n, err)
		}
	}
}
