package pgp

import (
	"bytes"
	"crypto"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ProtonMail/go-crypto/openpgp/s2k"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// maxUserID is GnuPG's limit for a user ID, in bytes.
const maxUserID = 2048

// lockIterations is how many bytes the passphrase is hashed to: the most that
// the format can say. Argon2 would be better, but GnuPG 2.2 cannot read it.
const lockIterations = 65011712

// NewKey makes an Ed25519 (EdDSA, algorithm 22) signing key, v4, dated created
// and without expiry, as a key pair in ASCII armour. userID is
// by convention "Name <address>". With a passphrase the private half is locked
// by it (AES-256, iterated and salted SHA-256), as GnuPG can read it.
func NewKey(userID string, created time.Time, passphrase []byte) (private, public []byte, err error) {
	if userID == "" || len(userID) > maxUserID || strings.ContainsFunc(userID, unicode.IsControl) {
		return nil, nil, fmt.Errorf("user ID %.80q: empty, too long or with control characters", userID)
	}
	created = created.UTC().Truncate(time.Second)
	if created.Unix() < 0 || created.Unix() >= 1<<32 {
		return nil, nil, fmt.Errorf("key date %s: OpenPGP counts 32 bits of seconds since 1970", created.Format(time.DateOnly))
	}
	cfg := signConfig(created)
	cfg.Algorithm, cfg.Curve = packet.PubKeyAlgoEdDSA, packet.Curve25519
	e, err := openpgp.NewEntity("mmoci", "", "", cfg) // its user ID and encryption subkey are not taken over
	if err != nil {
		return nil, nil, err
	}
	sig, err := certify(userID, e.PrivateKey, cfg)
	if err != nil {
		return nil, nil, err
	}
	if public, err = assemble(armorPublic, e.PrimaryKey, userID, sig); err != nil {
		return nil, nil, err
	}
	if len(passphrase) > 0 {
		if err := lock(e.PrivateKey, passphrase); err != nil {
			return nil, nil, err
		}
	}
	private, err = assemble(armorPrivate, e.PrivateKey, userID, sig)
	return private, public, err
}

// certify makes the self-signature over the user ID: a key to certify and sign with.
func certify(userID string, key *packet.PrivateKey, cfg *packet.Config) (*packet.Signature, error) {
	primary := true
	sig := &packet.Signature{
		Version:              key.Version,
		SigType:              packet.SigTypePositiveCert,
		PubKeyAlgo:           key.PubKeyAlgo,
		Hash:                 cfg.Hash(),
		CreationTime:         cfg.Now(),
		IssuerKeyId:          &key.KeyId,
		FlagsValid:           true,
		FlagCertify:          true,
		FlagSign:             true,
		IsPrimaryId:          &primary,
		PreferredHash:        []uint8{10, 9, 8}, // SHA512, SHA384, SHA256 (RFC 9580 section 9.5)
		PreferredSymmetric:   []uint8{uint8(packet.CipherAES256), uint8(packet.CipherAES128)},
		PreferredCompression: []uint8{uint8(packet.CompressionNone)},
	}
	return sig, sig.SignUserId(userID, &key.PublicKey, key, cfg)
}

// assemble writes a key of one user ID: key, user ID, self-signature.
func assemble(kind string, key packetWriter, userID string, sig *packet.Signature) ([]byte, error) {
	var b bytes.Buffer
	for _, p := range []packetWriter{key, &packet.UserId{Id: userID}, sig} {
		if err := p.Serialize(&b); err != nil {
			return nil, err
		}
	}
	return armored(kind, b.Bytes())
}

// packetWriter is what go-crypto's packets have in common.
type packetWriter interface{ Serialize(w io.Writer) error }

// lock encrypts the private half in place.
func lock(key *packet.PrivateKey, passphrase []byte) error {
	return key.EncryptWithConfig(passphrase, &packet.Config{
		DefaultCipher: packet.CipherAES256,
		S2KConfig: &s2k.Config{
			S2KMode:  s2k.IteratedSaltedS2K,
			Hash:     crypto.SHA256,
			S2KCount: lockIterations,
		},
	})
}
