package pgp

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// fixture reads a file that testdata/make.sh had GnuPG 2.2 write.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/gpg/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ring joins the public keys of that names.
func ring(t testing.TB, names ...string) *Keyring {
	t.Helper()
	all := JoinKeyrings()
	for _, n := range names {
		k, err := ReadKeyring(fixture(t, n+".gpg"))
		if err != nil {
			t.Fatal(err)
		}
		all = JoinKeyrings(all, k)
	}
	return all
}

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

// newSigner makes a fresh site key.
func newSigner(t testing.TB) Signer {
	t.Helper()
	private, _, err := NewKey("Site <site@example.org>", day("2000-01-01"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadSigner(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// secretKey reads the first secret key packet of a fixture, to forge with.
func secretKey(t testing.TB, name string) *packet.PrivateKey {
	t.Helper()
	blocks, err := findBlocks(fixture(t, name), armorPrivate)
	if err != nil || len(blocks) != 1 {
		t.Fatalf("%s: %d blocks, %v", name, len(blocks), err)
	}
	p, err := packet.Read(bytes.NewReader(blocks[0]))
	if err != nil {
		t.Fatal(err)
	}
	return p.(*packet.PrivateKey)
}

// forge makes a signature block with whatever template says, over message.
func forge(t testing.TB, key *packet.PrivateKey, template packet.Signature, message []byte) []byte {
	t.Helper()
	sig := template
	sig.Version, sig.PubKeyAlgo, sig.IssuerKeyId = key.Version, key.PubKeyAlgo, &key.KeyId
	h := sig.Hash.New()
	h.Write(message)
	if err := sig.Sign(h, key, signConfig(sig.CreationTime)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := sig.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	block, err := armored(armorSignature, b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return block
}

// wantErr checks an error: nil for want == "", else one that contains want.
func wantErr(t testing.TB, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("error %v, want none", err)
	case want != "" && err == nil:
		t.Fatalf("no error, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Fatalf("error %q, want %q in it", err, want)
	}
}
