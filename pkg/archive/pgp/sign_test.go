package pgp

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestNewKey(t *testing.T) {
	t.Parallel()
	created := day("2000-01-01")
	for _, phrase := range []string{"", "correct horse"} {
		private, public, err := NewKey("Site <site@example.org>", created, []byte(phrase))
		wantErr(t, err, "")
		k, err := ReadKeyring(public)
		wantErr(t, err, "")
		info, ok := k.Info(k.Fingerprints()[0], day("2026-07-11"))
		if !ok || info.UserID != "Site <site@example.org>" || !info.Created.Equal(created) || !info.Expires.IsZero() || info.AptRefuses != "" {
			t.Errorf("%+v", info)
		}
		asked := 0
		s, err := ReadSigner(private, func() ([]byte, error) { asked++; return []byte(phrase), nil })
		wantErr(t, err, "")
		if locked := phrase != ""; (asked == 1) != locked {
			t.Errorf("asked %d times for the passphrase %q", asked, phrase)
		}
		armor, err := s.Public().Armor()
		if err != nil || !bytes.Equal(armor, public) {
			t.Errorf("public half differs: %v", err)
		}
	}
	for _, id := range []string{"", "a\nb", string(make([]byte, maxUserID+1))} {
		if _, _, err := NewKey(id, created, nil); err == nil {
			t.Errorf("user ID %.20q is taken", id)
		}
	}
	for _, at := range []string{"1969-12-31", "2106-02-08"} {
		if _, _, err := NewKey("a", day(at), nil); err == nil {
			t.Errorf("key of %s", at)
		}
	}
}

// TestReadSigner reads secret keys as GnuPG 2.2 exports them, signs with them
// twice and verifies: equal input gives equal bytes.
func TestReadSigner(t *testing.T) {
	t.Parallel()
	text := []byte("Origin: x\n- dash\n")
	three := slices.Concat(fixture(t, "rsa2048.key.asc"), fixture(t, "locked.key.asc"), fixture(t, "locked.key.asc"))
	for _, tc := range []struct {
		name   string
		data   []byte
		phrase string
		keys   []string
		want   string
	}{
		{"RSA", fixture(t, "rsa2048.key.asc"), "", []string{"rsa2048"}, ""},
		{"Ed25519, locked", fixture(t, "locked.key.asc"), "correct horse", []string{"locked"}, ""},
		{"subkey, binary", fixture(t, "subkey.key"), "", []string{"subkey"}, ""},
		{"subkey, primary key elsewhere", fixture(t, "offline.key"), "", []string{"subkey"}, ""},
		{"renewed", fixture(t, "renewed.key"), "", []string{"renewed"}, ""},
		{"several, one given twice", three, "correct horse", []string{"rsa2048", "locked"}, ""},
		{"wrong passphrase", fixture(t, "locked.key.asc"), "battery", nil, "does not open it"},
		{"ECDSA", fixture(t, "nistp256.key.asc"), "", nil, "no secret key that can sign"},
		{"public key", fixture(t, "rsa2048.pub.asc"), "", nil, "no PGP PRIVATE KEY BLOCK"},
		{"binary public key", fixture(t, "rsa2048.gpg"), "", nil, "no secret key"},
		{"empty", nil, "", nil, "empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			read := func() Signer {
				s, err := ReadSigner(tc.data, func() ([]byte, error) { return []byte(tc.phrase), nil })
				wantErr(t, err, tc.want)
				return s
			}
			s, other := read(), read()
			if tc.want != "" {
				return
			}
			a, err := s.Clearsign(text, day("2026-07-11"))
			wantErr(t, err, "")
			b, err := other.Clearsign(text, day("2026-07-11"))
			wantErr(t, err, "")
			if !bytes.Equal(a, b) {
				t.Errorf("two signatures differ:\n%s\n%s", a, b)
			}
			d, err := s.Detach(text, day("2026-07-11"))
			wantErr(t, err, "")
			for _, name := range tc.keys {
				got, how, err := VerifyClearsigned(a, Trust{Keyring: ring(t, name)})
				if err != nil || !bytes.Equal(got, text) || !how.Time.Equal(day("2026-07-11")) {
					t.Errorf("%s: %q, %+v, %v", name, got, how, err)
				}
				if _, err := VerifyDetached(text, d, Trust{Keyring: ring(t, name)}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if got, want := s.Public().Fingerprints(), ring(t, tc.keys...).Fingerprints(); !slices.Equal(got, want) {
				t.Errorf("public half %v, want %v", got, want)
			}
		})
	}
}

// TestSignatureTime: the time asked for, or when the key began to be valid.
func TestSignatureTime(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		file     string
		at, want string
	}{
		{"rsa2048.key.asc", "2026-07-11", "2026-07-11"},
		{"rsa2048.key.asc", "2019-01-01", "2020-01-01"}, // its creation
		{"renewed.key", "2021-01-01", "2023-01-01"},     // its self-signature
	} {
		s, err := ReadSigner(fixture(t, tc.file), nil)
		wantErr(t, err, "")
		data, err := s.Clearsign([]byte("a\n"), day(tc.at).Add(time.Nanosecond))
		wantErr(t, err, "")
		_, how, err := VerifyClearsigned(data, Trust{Keyring: s.Public()})
		if err != nil || how.Time.Format(time.DateOnly) != tc.want {
			t.Errorf("%s at %s: %+v, %v", tc.file, tc.at, how, err)
		}
	}
}

func TestLockedSigner(t *testing.T) {
	t.Parallel()
	_, err := ReadSigner(fixture(t, "locked.key.asc"), nil)
	wantErr(t, err, "is locked")
	gone := errors.New("no terminal")
	if _, err = ReadSigner(fixture(t, "locked.key.asc"), func() ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

// TestSignerIsConcurrent is for the race detector.
func TestSignerIsConcurrent(t *testing.T) {
	t.Parallel()
	s, err := ReadSigner(fixture(t, "rsa2048.key.asc"), nil)
	wantErr(t, err, "")
	done := make(chan []byte)
	for range 4 {
		go func() {
			data, _ := s.Clearsign([]byte("a\n"), day("2026-07-11"))
			done <- data
		}()
	}
	first := <-done
	for range 3 {
		if !bytes.Equal(first, <-done) || first == nil {
			t.Error("signatures differ")
		}
	}
}
