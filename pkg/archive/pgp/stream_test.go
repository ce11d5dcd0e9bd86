package pgp

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

// TestDetached: a text that is written in pieces is judged as the whole one is.
func TestDetached(t *testing.T) {
	t.Parallel()
	text := fixture(t, "Release")
	crlf := bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	good := 0
	for _, sig := range []string{"rsa2048.sig", "rsa2048.text.sig", "binary.sig"} {
		armoured, err := ArmorSignature(fixture(t, sig))
		wantErr(t, err, "")
		if sig != "binary.sig" && !bytes.Equal(armoured, fixture(t, sig)) {
			t.Errorf("%s: an armoured signature was changed", sig)
		}
		for _, ring := range []*Keyring{ring(t, "rsa2048"), ring(t, "other"), ring(t, "other", "rsa2048")} {
			for _, text := range [][]byte{text, crlf, append([]byte("x"), text...), nil} {
				want, wantErr := VerifyDetached(text, armoured, Trust{Keyring: ring})
				d, err := NewDetached(armoured, Trust{Keyring: ring})
				if err != nil {
					t.Fatal(err)
				}
				for piece := range slices.Chunk(text, 7) {
					if _, err := d.Write(piece); err != nil {
						t.Fatal(err)
					}
				}
				how, err := d.How()
				if how != want || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
					t.Errorf("%s: %+v, %v; of the whole text %+v, %v", sig, how, err, want, wantErr)
				}
				if err == nil {
					good++
				}
			}
		}
	}
	if good < 6 {
		t.Errorf("only %d good signatures", good)
	}
	for _, bad := range [][]byte{nil, []byte("x"), []byte("-----BEGIN PGP MESSAGE-----\n"), bytes.Repeat([]byte("x"), MaxSignatureSize+1)} {
		if _, err := ArmorSignature(bad); !errors.Is(err, ErrIntegrity) {
			t.Errorf("ArmorSignature(%.20q): %v", bad, err)
		}
		if _, err := NewDetached(bad, Trust{Keyring: ring(t, "other")}); !errors.Is(err, ErrIntegrity) {
			t.Errorf("NewDetached(%.20q): %v", bad, err)
		}
	}
	if _, err := NewDetached(fixture(t, "rsa2048.sig"), Trust{}); err == nil {
		t.Error("without a key")
	}
	var _ io.Writer = (*Detached)(nil)
}
