package testarchive

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Key is an OpenPGP signing key: Ed25519 (EdDSA, algorithm 22), v4, dated 2000-01-01.
// Immutable; safe for concurrent use.
type Key struct{ entity *openpgp.Entity }

// NewKey makes a key deterministically from its name, so that digests of tests are stable.
// The name is the user ID too; it must not hold any of "()<>".
// Each is made once.
func NewKey(name string) *Key {
	made, ok := keys.Load(name)
	if !ok {
		made, _ = keys.LoadOrStore(name, newKey(name, time.Time{}))
	}
	return made.(*Key)
}

// keys are what NewKey made, by name.
var keys sync.Map

// NewExpiringKey makes a key that expires at that time.
func NewExpiringKey(name string, expires time.Time) *Key { return newKey(name, expires) }

// NewExpiredKey makes a key that expired on 2001-01-01, before anything it signs here.
func NewExpiredKey(name string) *Key {
	return newKey(name, time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))
}

// NewRevokedKey makes a key that was revoked as compromised on 2000-07-01.
func NewRevokedKey(name string) *Key {
	k := newKey(name, time.Time{})
	must(k.entity.Revoke(packet.KeyCompromised, "test", config(time.Date(2000, 7, 1, 0, 0, 0, 0, time.UTC))))
	return k
}

// NewEncryptionKey makes a key whose self-signature allows encryption only;
// it signs nevertheless.
func NewEncryptionKey(name string) *Key {
	k := newKey(name, time.Time{})
	for id, identity := range k.entity.Identities {
		sig := identity.SelfCertifications[0].Packet
		sig.FlagSign, sig.FlagCertify, sig.FlagEncryptStorage, sig.FlagEncryptCommunications = false, false, true, true
		must(sig.SignUserId(id, k.entity.PrimaryKey, k.entity.PrivateKey, config(epoch())))
	}
	return k
}

func newKey(name string, expires time.Time) *Key {
	c := config(epoch())
	seed := sha256.Sum256([]byte("mmoci test key " + name))
	// The primary key takes the first 32 bytes; the subkey that the library adds is dropped.
	c.Rand = io.MultiReader(bytes.NewReader(seed[:]), bytes.NewReader(make([]byte, 1024)))
	c.Algorithm = packet.PubKeyAlgoEdDSA
	if !expires.IsZero() {
		c.KeyLifetimeSecs = uint32(expires.Sub(epoch()) / time.Second)
	}
	e, err := openpgp.NewEntity(name, "", "", c)
	must(err)
	e.Subkeys = nil
	return &Key{e}
}

// config dates what is made and keeps it deterministic.
func config(at time.Time) *packet.Config {
	salt := false
	return &packet.Config{
		Time:                                  func() time.Time { return at },
		DefaultHash:                           crypto.SHA256,
		NonDeterministicSignaturesViaNotation: &salt,
	}
}

// must is for what cannot fail with the constant inputs of this package.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("testarchive: %v", err))
	}
}

// Public is the armoured public half.
func (k *Key) Public() []byte { return armored(openpgp.PublicKeyType, k.PublicBinary()) }

// PublicBinary is the public half as packets, the form of a .gpg keyring.
func (k *Key) PublicBinary() []byte {
	var out bytes.Buffer
	must(k.entity.Serialize(&out))
	return out.Bytes()
}

// Private is the armoured secret half, without passphrase.
func (k *Key) Private() []byte {
	var out bytes.Buffer
	must(k.entity.SerializePrivateWithoutSigning(&out, config(epoch())))
	return armored(openpgp.PrivateKeyType, out.Bytes())
}

// Fingerprint of the primary key, 40 upper-case hex digits.
func (k *Key) Fingerprint() string { return fmt.Sprintf("%X", k.entity.PrimaryKey.Fingerprint) }

// Clearsign is text signed by this key alone at that time.
func (k *Key) Clearsign(t testing.TB, text []byte, at time.Time) []byte {
	t.Helper()
	return ClearsignAll(t, text, at, k)
}

// Detach is this key's armoured detached signature.
func (k *Key) Detach(t testing.TB, text []byte, at time.Time) []byte {
	t.Helper()
	return DetachAll(t, text, at, k)
}

// ClearsignAll signs text as gpg does (RFC 9580 section 7): one armour block with
// a signature per key, in their order. The text's last line end is not signed.
func ClearsignAll(t testing.TB, text []byte, at time.Time, keys ...*Key) []byte {
	t.Helper()
	var sigs bytes.Buffer
	for _, k := range keys {
		k.sign(t, &sigs, packet.SigTypeText, canonical(text), at, crypto.SHA256)
	}
	return FrameClearsigned(text, "SHA256", sigs.Bytes())
}

// SignText is this key's signature packet, made with hash, over text as a clear-signed message has it.
func (k *Key) SignText(t testing.TB, text []byte, at time.Time, hash crypto.Hash) []byte {
	t.Helper()
	var sig bytes.Buffer
	k.sign(t, &sig, packet.SigTypeText, canonical(text), at, hash)
	return sig.Bytes()
}

// FrameClearsigned puts a text and its signature packets into the cleartext framework, unchecked.
func FrameClearsigned(text []byte, hash string, signatures []byte) []byte {
	var out bytes.Buffer
	out.WriteString("-----BEGIN PGP SIGNED MESSAGE-----\nHash: " + hash + "\n\n")
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "-") {
			out.WriteString("- ")
		}
		out.WriteString(line)
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		out.WriteByte('\n')
	}
	out.Write(armored(openpgp.SignatureType, signatures))
	return out.Bytes()
}

// DetachAll is an armoured detached signature by each key, in their order.
func DetachAll(t testing.TB, text []byte, at time.Time, keys ...*Key) []byte {
	t.Helper()
	var sigs bytes.Buffer
	for _, k := range keys {
		k.sign(t, &sigs, packet.SigTypeBinary, text, at, crypto.SHA256)
	}
	return armored(openpgp.SignatureType, sigs.Bytes())
}

// canonical is the text as a signature of type 0x01 covers it: lines without
// trailing blanks, ended by CR LF, the last without an end.
func canonical(text []byte) []byte {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t\r")
	}
	return []byte(strings.Join(lines, "\r\n"))
}

// sign appends a signature packet to out.
func (k *Key) sign(t testing.TB, out io.Writer, typ packet.SignatureType, signed []byte, at time.Time, hash crypto.Hash) {
	t.Helper()
	pub := k.entity.PrimaryKey
	sig := &packet.Signature{
		Version: pub.Version, SigType: typ, PubKeyAlgo: pub.PubKeyAlgo, Hash: hash, CreationTime: at,
		IssuerKeyId: &pub.KeyId, IssuerKeyVersion: uint8(pub.Version), IssuerFingerprint: pub.Fingerprint,
	}
	h := hash.New()
	h.Write(signed)
	if err := sig.Sign(h, k.entity.PrivateKey, config(at)); err != nil {
		t.Fatal(err)
	}
	if err := sig.Serialize(out); err != nil {
		t.Fatal(err)
	}
}

// armored is ASCII armour with a line end behind it.
func armored(blockType string, data []byte) []byte {
	var out bytes.Buffer
	w, err := armor.Encode(&out, blockType, nil)
	must(err)
	_, err = w.Write(data)
	must(err)
	must(w.Close())
	out.WriteByte('\n')
	return out.Bytes()
}
