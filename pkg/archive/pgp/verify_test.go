package pgp

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// TestVerifyGPG judges what GnuPG signed with good, weak, revoked and foreign keys.
func TestVerifyGPG(t *testing.T) {
	for _, tc := range []struct {
		file string
		keys []string
		want string // in the error; "" is good
	}{
		{"rsa2048.asc", []string{"rsa2048"}, ""},
		{"rsa2048.asc", []string{"other", "rsa2048", "dsa"}, ""},
		{"ed25519.asc", []string{"ed25519"}, ""},
		{"nistp256.asc", []string{"nistp256"}, ""},
		{"subkey.asc", []string{"subkey"}, ""},
		{"three.asc", []string{"other"}, ""},
		{"three.asc", []string{"rsa2048"}, ""},
		{"three.asc", []string{"ed25519"}, ""},
		{"expiring.asc", []string{"expiring"}, ""}, // signed before the key expired
		{"renewed.asc", []string{"renewed"}, ""},   // its self-signature is younger than the signature
		{"sigexpires.asc", []string{"rsa2048"}, ""},
		{"rsa2048.asc", []string{"other"}, "is not a trusted key"},
		{"rsa2048.asc", nil, "trusted: no key"},
		{"three.asc", []string{"expiring"}, "is not a trusted key"},
		{"MD5.asc", []string{"rsa2048"}, "weak digest MD5"},
		{"SHA1.asc", []string{"rsa2048"}, "weak digest SHA-1"},
		{"RIPEMD160.asc", []string{"rsa2048"}, "weak digest RIPEMD-160"},
		{"SHA224.asc", []string{"rsa2048"}, "weak digest SHA-224"},
		{"rsa1024.asc", []string{"rsa1024"}, "rsa1024"},
		{"dsa.asc", []string{"dsa"}, "dsa"},
		{"revoked.asc", []string{"revoked"}, "revoked"},   // compromised
		{"retired.asc", []string{"retired"}, "revoked"},   // no longer used, since after the signature: gpgv refuses too
		{"halfgone.asc", []string{"halfgone"}, "revoked"}, // only the signing subkey
	} {
		t.Run(fmt.Sprint(tc.file, tc.keys), func(t *testing.T) {
			t.Parallel()
			text, how, err := VerifyClearsigned(fixture(t, tc.file), Trust{Keyring: ring(t, tc.keys...)})
			wantErr(t, err, tc.want)
			if tc.want != "" {
				if !errors.Is(err, ErrIntegrity) || text != nil || how != (How{}) {
					t.Fatalf("text %q, %+v, error %v", text, how, err)
				}
				return
			}
			if !bytes.Equal(text, fixture(t, "Release")) {
				t.Errorf("text %q", text)
			}
			if how.Kind != Signed || !how.Time.Equal(day("2021-01-01")) || !slices.Contains(ring(t, tc.keys...).Fingerprints(), how.Signer) {
				t.Errorf("%+v", how)
			}
		})
	}
}

// TestVerifyErrorText: who reads it must see who signed and who is trusted.
func TestVerifyErrorText(t *testing.T) {
	t.Parallel()
	trusted := ring(t, "other")
	_, _, err := VerifyClearsigned(fixture(t, "rsa2048.asc"), Trust{Keyring: trusted})
	signer := ring(t, "rsa2048").Fingerprints()[0]
	for _, want := range []string{"0x" + signer[24:], trusted.Fingerprints()[0]} {
		wantErr(t, err, want)
	}
}

// TestHow checks what is told of a good signature besides that it is good.
func TestHow(t *testing.T) {
	t.Parallel()
	_, how, err := VerifyClearsigned(fixture(t, "subkey.asc"), Trust{Keyring: ring(t, "subkey")})
	wantErr(t, err, "")
	if how.Key == how.Signer || len(how.Key) != 40 || len(how.Signer) != 40 {
		t.Errorf("subkey: %+v", how)
	}
	_, how, err = VerifyClearsigned(fixture(t, "sigexpires.asc"), Trust{Keyring: ring(t, "rsa2048")})
	wantErr(t, err, "")
	if !how.Expires.Equal(day("2021-01-31")) {
		t.Errorf("expires %v", how.Expires)
	}
	_, how, err = VerifyClearsigned(fixture(t, "three.asc"), Trust{Keyring: ring(t, "ed25519")})
	wantErr(t, err, "")
	if !strings.HasPrefix(how.Detail, "2 of 3 signatures do not count") {
		t.Errorf("detail %q", how.Detail)
	}
}

func TestVerifyDetached(t *testing.T) {
	t.Parallel()
	text := fixture(t, "Release")
	sig := fixture(t, "rsa2048.sig")
	crlf := bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	keys := ring(t, "rsa2048")
	for _, tc := range []struct {
		name      string
		text, sig []byte
		ring      *Keyring
		want      string
	}{
		{"good", text, sig, keys, ""},
		{"text mode", text, fixture(t, "rsa2048.text.sig"), keys, ""},
		{"text mode does not cover line ends", crlf, fixture(t, "rsa2048.text.sig"), keys, ""},
		{"changed", append([]byte("x"), text...), sig, keys, "is bad"},
		{"line ends changed", crlf, sig, keys, "is bad"},
		{"foreign key", text, sig, ring(t, "other"), "is not a trusted key"},
		{"none", text, nil, keys, "none at all"},
		{"empty", text, []byte{}, keys, "no signature"},
		{"not armoured", text, fixture(t, "binary.sig"), keys, "text before the signature"},
		{"text before", text, append([]byte("hello\n"), sig...), keys, "text before the signature"},
		{"text after", text, append(bytes.Clone(sig), "hello\n"...), keys, "text after the signature"},
		{"blank lines after", text, append(bytes.Clone(sig), "\n \r\n"...), keys, ""},
		{"a message instead", text, fixture(t, "rsa2048.asc"), keys, "text before the signature"},
		{"cut off", text, sig[:len(sig)-40], keys, "without END line"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			how, err := VerifyDetached(tc.text, tc.sig, Trust{Keyring: tc.ring})
			wantErr(t, err, tc.want)
			if err != nil && !errors.Is(err, ErrIntegrity) {
				t.Errorf("%v is no ErrIntegrity", err)
			}
			if (how.Kind == Signed) != (tc.want == "") {
				t.Errorf("%+v", how)
			}
		})
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	data := fixture(t, "rsa2048.asc")
	pin := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	wrong := "sha256:" + strings.Repeat("0", 64)
	keys, foreign := ring(t, "rsa2048"), ring(t, "other")
	for _, tc := range []struct {
		name  string
		trust Trust
		kind  Kind
		want  string
	}{
		{"nothing", Trust{}, Unverified, ""},
		{"pin", Trust{Digest: pin}, Pinned, ""},
		{"wrong pin", Trust{Digest: wrong}, 0, "is pinned"},
		{"key", Trust{Keyring: keys}, Signed, ""},
		{"both", Trust{Keyring: keys, Digest: pin}, Signed, ""},
		{"key, wrong pin", Trust{Keyring: keys, Digest: wrong}, 0, "is pinned"},
		{"foreign key, pin", Trust{Keyring: foreign, Digest: pin}, 0, "is not a trusted key"},
		{"odd pin", Trust{Digest: pin[:20]}, 0, "64 hex digits"},
		{"other algorithm", Trust{Digest: "sha512:" + strings.Repeat("0", 128)}, 0, "64 hex digits"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, how, err := VerifyClearsigned(data, tc.trust)
			wantErr(t, err, tc.want)
			if how.Kind != tc.kind {
				t.Errorf("%+v", how)
			}
			how, err = VerifyDetached(fixture(t, "Release"), fixture(t, "rsa2048.sig"), tc.trust)
			if err == nil && tc.trust.Digest == pin { // it is the digest of another file
				t.Errorf("%+v", how)
			}
		})
	}
}

// TestForgedSignatures are ones that GnuPG would not make.
func TestForgedSignatures(t *testing.T) {
	t.Parallel()
	text := []byte("Suite: stable\n")
	rsa, locked := secretKey(t, "rsa2048.key.asc"), unlocked(t)
	ok := packet.Signature{SigType: packet.SigTypeBinary, Hash: crypto.SHA256, CreationTime: day("2021-01-01")}
	for _, tc := range []struct {
		name string
		edit func(*packet.Signature)
		want string
	}{
		{"as it should be", func(*packet.Signature) {}, ""},
		{"older than the key", func(s *packet.Signature) { s.CreationTime = day("2019-01-01") }, "older than its key"},
		{"standalone", func(s *packet.Signature) { s.SigType = 2 }, "type 0x02"},
		{"a certification", func(s *packet.Signature) { s.SigType = packet.SigTypeGenericCert }, "type 0x10"},
		{"critical notation", func(s *packet.Signature) {
			s.Notations = []*packet.Notation{{Name: "x@example.org", Value: []byte("y"), IsCritical: true}}
		}, "critical notation"},
		{"notation", func(s *packet.Signature) {
			s.Notations = []*packet.Notation{{Name: "x@example.org", Value: []byte("y")}}
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sig := ok
			tc.edit(&sig)
			_, err := VerifyDetached(text, forge(t, rsa, sig, text), Trust{Keyring: ring(t, "rsa2048")})
			wantErr(t, err, tc.want)
		})
	}
	t.Run("another key's name", func(t *testing.T) {
		block := forge(t, locked, ok, text) // then say that rsa2048 made it
		_, err := VerifyDetached(text, bytes.Clone(block), Trust{Keyring: ring(t, "locked")})
		wantErr(t, err, "")
		liar := *locked
		liar.KeyId, liar.Fingerprint = rsa.KeyId, rsa.Fingerprint
		_, err = VerifyDetached(text, forge(t, &liar, ok, text), Trust{Keyring: ring(t, "rsa2048", "locked")})
		wantErr(t, err, "is bad")
	})
}

// unlocked is the secret half of the key locked.
func unlocked(t *testing.T) *packet.PrivateKey {
	t.Helper()
	key := secretKey(t, "locked.key.asc")
	wantErr(t, key.Decrypt([]byte("correct horse")), "")
	return key
}

// certified makes a keyring of one key whose self-signature edit may change,
// and its secret half.
func certified(t *testing.T, edit func(*packet.Signature)) (*Keyring, *packet.PrivateKey) {
	t.Helper()
	key := secretKey(t, "rsa2048.key.asc")
	cfg := signConfig(day("2020-01-01"))
	sig, err := certify("Edited <edited@example.org>", key, cfg)
	wantErr(t, err, "")
	edit(sig)
	wantErr(t, sig.SignUserId("Edited <edited@example.org>", &key.PublicKey, key, cfg), "")
	pub, err := assemble(armorPublic, &key.PublicKey, "Edited <edited@example.org>", sig)
	wantErr(t, err, "")
	k, err := ReadKeyring(pub)
	wantErr(t, err, "")
	return k, key
}

// TestKeyPurpose: what a key's self-signature says it is for.
func TestKeyPurpose(t *testing.T) {
	t.Parallel()
	text := []byte("Suite: stable\n")
	year := uint32(366 * 24 * 3600)
	for _, tc := range []struct {
		name string
		edit func(*packet.Signature)
		want string
	}{
		{"signing", func(*packet.Signature) {}, ""},
		{"no flags", func(s *packet.Signature) { s.FlagsValid = false }, ""},
		{"encryption", func(s *packet.Signature) {
			s.FlagSign, s.FlagCertify, s.FlagEncryptCommunications = false, false, true
		}, "not for signing"},
		{"certification", func(s *packet.Signature) { s.FlagSign = false }, "not for signing"},
		{"expired when it signed", func(s *packet.Signature) { s.KeyLifetimeSecs = &year }, "expired"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k, key := certified(t, tc.edit)
			sig := forge(t, key, packet.Signature{Hash: crypto.SHA256, CreationTime: day("2022-01-01")}, text)
			_, err := VerifyDetached(text, sig, Trust{Keyring: k})
			wantErr(t, err, tc.want)
		})
	}
}

// TestSubkeyPurpose: a subkey signs if its binding says so and it has signed the binding itself.
func TestSubkeyPurpose(t *testing.T) {
	t.Parallel()
	text := []byte("Suite: stable\n")
	primary, sub := secretKey(t, "rsa2048.key.asc"), unlocked(t)
	asSubkey := sub.PublicKey
	asSubkey.IsSubkey = true
	cfg := signConfig(day("2020-01-02"))
	for _, tc := range []struct {
		name string
		edit func(*packet.Signature)
		want string
	}{
		{"signing", func(s *packet.Signature) { s.FlagsValid, s.FlagSign = true, true }, ""},
		{"no flags", func(*packet.Signature) {}, "not marked for signing"},
		{"encryption", func(s *packet.Signature) { s.FlagsValid, s.FlagEncryptStorage = true, true }, "not for signing"},
		{"not signed back", func(s *packet.Signature) {
			s.FlagsValid, s.FlagSign, s.EmbeddedSignature = true, true, nil
		}, "no valid binding signature"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			binding := &packet.Signature{
				Version: 4, SigType: packet.SigTypeSubkeyBinding, PubKeyAlgo: primary.PubKeyAlgo, Hash: crypto.SHA256,
				CreationTime: day("2020-01-02"), IssuerKeyId: &primary.KeyId,
				EmbeddedSignature: &packet.Signature{
					Version: 4, SigType: packet.SigTypePrimaryKeyBinding, PubKeyAlgo: sub.PubKeyAlgo, Hash: crypto.SHA256,
					CreationTime: day("2020-01-02"), IssuerKeyId: &sub.KeyId,
				},
			}
			wantErr(t, binding.EmbeddedSignature.CrossSignKey(&asSubkey, &primary.PublicKey, sub, cfg), "")
			tc.edit(binding)
			wantErr(t, binding.SignKey(&asSubkey, primary, cfg), "")
			packets, err := dearmorKeys(fixture(t, "rsa2048.pub.asc"), armorPublic)
			wantErr(t, err, "")
			b := bytes.NewBuffer(packets)
			wantErr(t, errors.Join(asSubkey.Serialize(b), binding.Serialize(b)), "")
			k, err := ReadKeyring(b.Bytes())
			wantErr(t, err, "")
			sig := forge(t, sub, packet.Signature{Hash: crypto.SHA256, CreationTime: day("2022-01-01")}, text)
			_, err = VerifyDetached(text, sig, Trust{Keyring: k})
			wantErr(t, err, tc.want)
		})
	}
}

// TestSeveralBlocks: apt takes several signature blocks after one text. What spoils a good
// signature is what lets apt 2.6 refuse, in whichever order (scripts/e2e/45-forgeries.sh shows such to apt).
func TestSeveralBlocks(t *testing.T) {
	t.Parallel()
	good := fixture(t, "rsa2048.asc")
	at := bytes.Index(good, []byte("-----BEGIN PGP SIGNATURE"))
	message, goodSig := good[:at], good[at:]
	other := fixture(t, "ed25519.asc")
	otherSig := other[bytes.Index(other, []byte("-----BEGIN PGP SIGNATURE")):]
	badSig := forge(t, secretKey(t, "rsa2048.key.asc"),
		packet.Signature{SigType: packet.SigTypeText, Hash: crypto.SHA256, CreationTime: day("2021-01-01")}, []byte("another text"))
	garbage, err := armored(armorSignature, []byte{0xc2, 3, 4, 1, 1}) // a signature packet that ends early
	wantErr(t, err, "")
	sigOf := func(file string) []byte {
		data := fixture(t, file)
		return data[bytes.Index(data, []byte("-----BEGIN PGP SIGNATURE")):]
	}
	foreignBad := forge(t, unlocked(t), packet.Signature{SigType: packet.SigTypeText, Hash: crypto.SHA256, CreationTime: day("2021-01-01")}, []byte("another text"))
	weakOther := forge(t, unlocked(t), packet.Signature{SigType: packet.SigTypeText, Hash: crypto.SHA1, CreationTime: day("2021-01-01")}, []byte("another text"))
	packets := func(b ...byte) []byte {
		block, err := armored(armorSignature, b)
		wantErr(t, err, "")
		return block
	}
	many := slices.Repeat([][]byte{goodSig}, maxSignatures)
	hashes := bytes.Replace(message, []byte("Hash: SHA256\n"), []byte("Hash: SHA512\nHash: SHA256,SHA1\n"), 1)
	for _, tc := range []struct {
		name  string
		parts [][]byte
		keys  []string
		want  string
	}{
		{"good, foreign", [][]byte{message, goodSig, otherSig}, []string{"rsa2048"}, ""},
		{"foreign, good", [][]byte{message, otherSig, goodSig}, []string{"rsa2048"}, ""},
		{"bad, good", [][]byte{message, badSig, goodSig}, []string{"rsa2048"}, "apt would refuse it for another beside it"},
		{"good, bad", [][]byte{message, goodSig, badSig}, []string{"rsa2048"}, "apt would refuse it for another beside it"},
		{"good, bad by another trusted key", [][]byte{message, goodSig, foreignBad}, []string{"rsa2048", "locked"}, "is bad"},
		{"good, bad by a foreign key", [][]byte{message, goodSig, foreignBad}, []string{"rsa2048"}, ""},
		{"bad by a foreign key, good", [][]byte{message, foreignBad, goodSig}, []string{"rsa2048"}, ""},
		{"garbage, good", [][]byte{message, garbage, goodSig}, []string{"rsa2048"}, "cannot be read"},
		{"good, garbage", [][]byte{message, goodSig, garbage}, []string{"rsa2048"}, ""},
		{"version 3 only", [][]byte{message, packets(0xc2, 7, 3, 5, 0, 0, 0, 0, 0)}, []string{"rsa2048"}, "version 3"},
		{"version 5 only", [][]byte{message, packets(0xc2, 8, 5, 0, 1, 8, 0, 0, 0, 0)}, []string{"rsa2048"}, "v5"},
		{"good, another packet", [][]byte{message, goodSig, packets(0xcd, 1, 'x')}, []string{"rsa2048"}, "packet of type 13"},
		{"as many as are tried", append([][]byte{message}, many...), []string{"rsa2048"}, ""},
		{"more", append([][]byte{message, goodSig}, many...), []string{"rsa2048"}, "more than 64 signatures"},
		{"good, weak", [][]byte{message, goodSig, sigOf("SHA1.asc")}, []string{"rsa2048"}, "weak digest SHA-1"},
		{"weak, good", [][]byte{message, sigOf("SHA1.asc"), goodSig}, []string{"rsa2048"}, "weak digest SHA-1"},
		{"good, MD5", [][]byte{message, goodSig, sigOf("MD5.asc")}, []string{"rsa2048"}, "weak digest MD5"},
		{"good, weak by another trusted key", [][]byte{message, goodSig, weakOther}, []string{"rsa2048", "locked"}, ""},
		{"good, by a revoked key", [][]byte{message, goodSig, sigOf("revoked.asc")}, []string{"rsa2048", "revoked"}, ""},
		{"by a revoked key, good", [][]byte{message, sigOf("revoked.asc"), goodSig}, []string{"rsa2048", "revoked"}, ""},
		{"second block alone counts", [][]byte{message, otherSig, goodSig}, []string{"ed25519"}, ""},
		{"bad only", [][]byte{message, badSig}, []string{"rsa2048"}, "is bad"},
		{"bad, foreign", [][]byte{message, badSig, otherSig}, []string{"rsa2048"}, "is bad"},
		{"blank line at the end", [][]byte{message, goodSig, []byte("\n")}, []string{"rsa2048"}, "empty line after the signature"},
		{"what the Hash header says does not count", [][]byte{hashes, goodSig}, []string{"rsa2048"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := VerifyClearsigned(slices.Concat(tc.parts...), Trust{Keyring: ring(t, tc.keys...)})
			wantErr(t, err, tc.want)
		})
	}
}

// TestVerifyIsPure: no order of questions and no number of askers changes an
// answer (go-crypto's own entities remember what they were asked before).
func TestVerifyIsPure(t *testing.T) {
	t.Parallel()
	k := ring(t, "renewed", "expiring", "rsa2048", "subkey")
	files := []string{"renewed.asc", "expiring.asc", "rsa2048.asc", "subkey.asc"}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range files {
				f := files[(i+j)%len(files)]
				k.Info(k.Fingerprints()[j], day("2019-01-01").AddDate(i, 0, 0))
				if _, _, err := VerifyClearsigned(fixture(t, f), Trust{Keyring: k}); err != nil {
					t.Errorf("%s: %v", f, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAptRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		key  string
		now  time.Time
		want string
	}{
		{"rsa2048", day("2021-01-01"), ""},
		{"rsa2048", day("2019-12-31"), "created 2020-01-01, in the future"},
		{"rsa2048", day("2030-02-01"), "rsa2048 (apt with sqv)"},
		{"expiring", day("2021-12-31"), ""},
		{"expiring", day("2022-01-02"), "expired 2022-01-01"},
		{"renewed", day("2026-01-01"), ""},
		{"revoked", day("2021-01-01"), "revoked"},
		{"retired", day("2021-01-01"), "revoked"},
		{"rsa1024", day("2021-01-01"), "rsa1024"},
		{"dsa", day("2021-01-01"), "dsa"},
		{"ed25519", day("2035-01-01"), ""},
		{"subkey", day("2021-01-01"), ""},
		{"halfgone", day("2021-01-01"), "revoked"},
	} {
		k := ring(t, tc.key)
		info, ok := k.Info(k.Fingerprints()[0], tc.now)
		if !ok || info.AptRefuses != tc.want || info.UserID != tc.key+" <"+tc.key+"@example.org>" || !info.Created.Equal(day("2020-01-01")) {
			t.Errorf("%s at %v: %+v, want %q", tc.key, tc.now, info, tc.want)
		}
	}
	k := ring(t, "expiring")
	if info, _ := k.Info(k.Fingerprints()[0], day("2021-01-01")); info.Expires.Format(time.DateOnly) != "2022-01-01" || info.Revoked {
		t.Errorf("%+v", info)
	}
	if _, ok := k.Info(strings.Repeat("0", 40), day("2021-01-01")); ok {
		t.Error("unknown key is known")
	}
	_, how, err := VerifyClearsigned(fixture(t, "sigexpires.asc"), Trust{Keyring: ring(t, "rsa2048")})
	wantErr(t, err, "")
	for now, want := range map[string]string{"2021-01-02": "", "2021-02-02": "signature expired 2021-01-31"} {
		if got := ring(t, "rsa2048").AptRefuses(how, day(now)); got != want {
			t.Errorf("at %s: %q, want %q", now, got, want)
		}
	}
	if got := ring(t, "other").AptRefuses(how, day("2021-01-02")); got != "unknown key "+how.Signer {
		t.Errorf("%q", got)
	}
}

// TestJudgedByNow holds that keys and signatures that have expired by a given time do not count then.
func TestJudgedByNow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		file, key string
		want      string // in the error when judged by 2100
	}{
		{"rsa2048.asc", "rsa2048", ""},
		{"expiring.asc", "expiring", "is good no longer: expired "},
		{"sigexpires.asc", "rsa2048", "is good no longer: signature expired "},
	} {
		for _, now := range []time.Time{{}, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)} {
			_, how, err := VerifyClearsigned(fixture(t, tc.file), Trust{Keyring: ring(t, tc.key), Now: now})
			if now.IsZero() || tc.want == "" {
				if err != nil || how.Kind != Signed {
					t.Errorf("%s at %s: %v", tc.file, now, err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, ErrExpired) || errors.Is(err, ErrIntegrity) {
				t.Errorf("%s at %s: %v, want %q", tc.file, now, err, tc.want)
			}
		}
	}
}
