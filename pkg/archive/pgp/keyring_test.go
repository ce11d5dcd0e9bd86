package pgp

import (
	"bytes"
	"slices"
	"testing"
)

func TestReadKeyring(t *testing.T) {
	t.Parallel()
	rsa := ring(t, "rsa2048").Fingerprints()[0]
	two := JoinKeyrings(ring(t, "ed25519"), ring(t, "other")).Fingerprints()
	asc := fixture(t, "rsa2048.pub.asc")
	for _, tc := range []struct {
		name string
		data []byte
		keys []string
		want string
	}{
		{"binary", fixture(t, "rsa2048.gpg"), []string{rsa}, ""},
		{"armour", asc, []string{rsa}, ""},
		{"two keys in one block", fixture(t, "two.pub.asc"), two, ""},
		{"two blocks", slices.Concat(asc, fixture(t, "two.pub.asc")), append([]string{rsa}, two...), ""},
		{"prose around", slices.Concat([]byte("Our key:\n\n"), asc, []byte("Bye.\n")), []string{rsa}, ""},
		{"the same twice", slices.Concat(asc, asc), []string{rsa}, ""},
		{"with a key of an unknown version", slices.Concat([]byte{0xc6, 6, 2, 0, 0, 0, 0, 1}, fixture(t, "rsa2048.gpg")), []string{rsa}, ""},
		{"only such a key", []byte{0xc6, 6, 2, 0, 0, 0, 0, 1}, nil, "no usable public key"},
		{"secret key", fixture(t, "rsa2048.key.asc"), nil, "secret key"},
		{"binary secret key", fixture(t, "subkey.key"), nil, "secret key"},
		{"empty", nil, nil, "empty"},
		{"white space", []byte(" \n"), nil, "empty"},
		{"text", []byte("hello"), nil, "no PGP PUBLIC KEY BLOCK"},
		{"signature", fixture(t, "binary.sig"), nil, "does not begin with a public key"},
		{"keybox", append([]byte{0, 0, 0, 32, 1, 1, 0, 2}, "KBXf and so on"...), nil, "keybox"},
		{"cut off", fixture(t, "rsa2048.gpg")[:100], nil, "EOF"},
		{"too long", make([]byte, MaxKeyringSize+1), nil, "over the limit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k, err := ReadKeyring(tc.data)
			wantErr(t, err, tc.want)
			slices.Sort(tc.keys)
			if got := k.Fingerprints(); !slices.Equal(got, tc.keys) {
				t.Errorf("keys %v, want %v", got, tc.keys)
			}
		})
	}
}

func TestKeyringArmor(t *testing.T) {
	t.Parallel()
	names := []string{"subkey", "rsa2048", "ed25519", "revoked"}
	a, err := ring(t, names...).Armor()
	wantErr(t, err, "")
	slices.Reverse(names)
	b, err := JoinKeyrings(ring(t, names...), nil, ring(t, "rsa2048")).Armor()
	wantErr(t, err, "")
	if !bytes.Equal(a, b) {
		t.Errorf("the armour depends on the order of joining:\n%s\n%s", a, b)
	}
	again, err := ReadKeyring(a)
	wantErr(t, err, "")
	if got := again.Fingerprints(); !slices.Equal(got, ring(t, names...).Fingerprints()) {
		t.Errorf("%v", got)
	}
	if _, err := JoinKeyrings().Armor(); err == nil {
		t.Error("armour of nothing")
	}
}

// TestJoinKeepsRevocations: an old copy of a key must not bring it back to life.
func TestJoinKeepsRevocations(t *testing.T) {
	t.Parallel()
	revoked := ring(t, "revoked")
	old := &Keyring{keys: []*publicKey{merge(revoked.keys[0], revoked.keys[0])}}
	old.keys[0].sections[0].sigs = nil // before the revocation
	_, _, err := VerifyClearsigned(fixture(t, "revoked.asc"), Trust{Keyring: old})
	wantErr(t, err, "")
	for _, both := range []*Keyring{JoinKeyrings(old, revoked), JoinKeyrings(revoked, old)} {
		_, _, err = VerifyClearsigned(fixture(t, "revoked.asc"), Trust{Keyring: both})
		wantErr(t, err, "revoked")
	}
}

func FuzzKeyring(f *testing.F) {
	for _, n := range []string{"rsa2048.gpg", "revoked.gpg", "subkey.gpg", "dsa.gpg", "two.pub.asc", "rsa2048.key.asc", "offline.key"} {
		f.Add(fixture(f, n))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := ReadSigner(data, nil); err != nil && len(err.Error()) == 0 {
			t.Fatal("empty error")
		}
		k, err := ReadKeyring(data)
		if err != nil {
			return
		}
		for _, p := range k.Fingerprints() {
			if _, ok := k.Info(p, day("2026-01-01")); !ok {
				t.Fatalf("no info of %s", p)
			}
		}
		a, err := k.Armor()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ReadKeyring(a)
		if err != nil || !slices.Equal(again.Fingerprints(), k.Fingerprints()) {
			t.Fatalf("%v became %v, %v", k.Fingerprints(), again.Fingerprints(), err)
		}
	})
}
