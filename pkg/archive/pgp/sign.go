package pgp

import (
	"bytes"
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Signer signs with the site's keys. Safe for concurrent use.
type Signer interface {
	// Clearsign returns the clear-signed text, signature time t or when the key
	// began to be valid, if that is later. Equal input gives equal bytes. The
	// text consists of lines without white space at their ends, each ended by
	// "\n": then VerifyClearsigned gives it back byte for byte.
	Clearsign(text []byte, t time.Time) ([]byte, error)
	// Detach returns an ASCII-armoured detached signature.
	Detach(text []byte, t time.Time) ([]byte, error)
	// Public is the public half.
	Public() *Keyring
}

// signConfig is for signatures whose bytes depend on nothing but key, text and
// time: go-crypto would add a random notation to each.
func signConfig(at time.Time) *packet.Config {
	salted := false
	return &packet.Config{
		DefaultHash:                           crypto.SHA512,
		Time:                                  func() time.Time { return at },
		NonDeterministicSignaturesViaNotation: &salted,
	}
}

// siteSigner signs with each of its keys; apt takes several signatures in one block.
type siteSigner struct {
	public *Keyring
	keys   []siteKey // in the order of public
}

// siteKey is a primary key and those of its secret (sub)keys that can sign, in
// the order they are preferred: subkeys first, newer ones before older ones.
type siteKey struct {
	public  *publicKey
	private []*packet.PrivateKey
}

// Public implements Signer.
func (s *siteSigner) Public() *Keyring { return s.public }

// Clearsign implements Signer.
func (s *siteSigner) Clearsign(text []byte, t time.Time) ([]byte, error) {
	if err := clearsignable(text); err != nil {
		return nil, fmt.Errorf("clear-sign: %w", err)
	}
	sig, err := s.sign(clearsigned{text: text}.message(), packet.SigTypeText, t)
	if err != nil {
		return nil, fmt.Errorf("clear-sign: %w", err)
	}
	var b bytes.Buffer
	b.WriteString("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n")
	for line := range bytes.Lines(text) {
		if line[0] == '-' {
			b.WriteString("- ")
		}
		b.Write(line)
	}
	b.Write(sig)
	return b.Bytes(), nil
}

// clearsignable tells whether text survives clear-signing byte for byte.
func clearsignable(text []byte) error {
	if len(text) == 0 || text[len(text)-1] != '\n' {
		return errors.New("text does not end with a newline")
	}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(trimEnd(line)) != len(line) || bytes.ContainsAny(line, "\x00\r") {
			return fmt.Errorf("line %d ends in white space, or has a carriage return or a NUL byte", n)
		}
	}
	return nil
}

// Detach implements Signer.
func (s *siteSigner) Detach(text []byte, t time.Time) ([]byte, error) {
	sig, err := s.sign(text, packet.SigTypeBinary, t)
	if err != nil {
		return nil, fmt.Errorf("detached signature: %w", err)
	}
	return sig, nil
}

// sign makes one block with a signature by each key.
func (s *siteSigner) sign(message []byte, kind packet.SignatureType, t time.Time) ([]byte, error) {
	var b bytes.Buffer
	for _, k := range s.keys {
		key, at, err := k.at(t)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.public.fingerprint, err)
		}
		cfg := signConfig(at)
		sig := &packet.Signature{
			Version:      key.Version,
			SigType:      kind,
			PubKeyAlgo:   key.PubKeyAlgo,
			Hash:         cfg.Hash(),
			CreationTime: cfg.Now(),
			IssuerKeyId:  &key.KeyId,
		}
		h, err := sig.PrepareSign(cfg)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.public.fingerprint, err)
		}
		h.Write(message)
		if err := sig.Sign(h, key, cfg); err != nil {
			return nil, fmt.Errorf("key %s: %w", k.public.fingerprint, err)
		}
		if err := sig.Serialize(&b); err != nil {
			return nil, err
		}
	}
	return armored(armorSignature, b.Bytes())
}

// at picks the secret key to sign with at t and the signature's time: t, or the
// first moment after it at which the key is valid. That is the key's creation,
// or, where gpg has replaced its self-signature since, the time of that one;
// sqv takes nothing earlier.
func (k siteKey) at(t time.Time) (*packet.PrivateKey, time.Time, error) {
	e, err := k.public.entity()
	if err != nil {
		return nil, t, err
	}
	t = t.UTC().Truncate(time.Second)
	if e.PrimaryKey.CreationTime.After(t) {
		t = e.PrimaryKey.CreationTime.UTC()
	}
	var first error
	for _, at := range append([]time.Time{t}, selfSignatureTimes(e, t)...) {
		fresh, err := k.public.entity()
		if err != nil {
			return nil, t, err
		}
		for _, key := range k.private {
			err := signProblem(fresh, &key.PublicKey, at)
			if err == nil {
				return key, at.UTC(), nil
			}
			first = cmp.Or(first, err)
		}
	}
	return nil, t, first
}

// signProblem says why pub should not sign at time t.
func signProblem(e *openpgp.Entity, pub *packet.PublicKey, t time.Time) error {
	if pub.CreationTime.After(t) {
		return errors.New("is not yet valid")
	}
	if revoked(e, pub) {
		return errors.New("is revoked")
	}
	return signingProblem(e, pub, t)
}

// ReadSigner reads an armoured or binary secret key; passphrase is asked for
// only when it is locked, and once. Several secret keys in one file all sign.
//
// Keys are version 4, Ed25519 (algorithm 22) or RSA of 2048 bits at least:
// others either cannot sign the same text twice with the same bytes, or are
// not known to every apt in use.
func ReadSigner(data []byte, passphrase func() ([]byte, error)) (Signer, error) {
	s, err := readSigner(data, passphrase)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return s, nil
}

func readSigner(data []byte, passphrase func() ([]byte, error)) (*siteSigner, error) {
	if len(data) > MaxKeyringSize {
		return nil, fmt.Errorf("file of %d bytes, over the limit of %d", len(data), MaxKeyringSize)
	}
	data, err := dearmorKeys(data, armorPrivate)
	if err != nil {
		return nil, err
	}
	packets, err := opaquePackets(data)
	if err != nil {
		return nil, err
	}
	public, private, err := splitSecret(packets)
	if err != nil {
		return nil, err
	}
	s := &siteSigner{}
	if s.public, err = keyringOf(public); err != nil {
		return nil, err
	}
	for _, k := range s.public.keys {
		site := siteKey{k, usable(private[k.fingerprint])}
		if len(site.private) == 0 {
			return nil, fmt.Errorf("key %s: no secret key that can sign, of version 4, Ed25519 (EdDSA) or RSA", k.fingerprint)
		}
		s.keys = append(s.keys, site)
	}
	return s, s.unlock(passphrase)
}

// splitSecret makes public packets of secret ones, and gives the secret keys by
// the fingerprint of their primary key. Subkeys of unknown sorts are left out.
func splitSecret(packets []*packet.OpaquePacket) ([]*packet.OpaquePacket, map[string][]*packet.PrivateKey, error) {
	var public []*packet.OpaquePacket
	private := map[string][]*packet.PrivateKey{}
	primary, skip := "", false
	for _, p := range packets {
		if p.Tag == tagSignature && skip {
			continue
		}
		skip = false
		if p.Tag != tagSecretKey && p.Tag != tagSecretSubkey {
			public = append(public, p)
			continue
		}
		key, err := readSecret(p)
		if err != nil {
			if p.Tag == tagSecretKey {
				return nil, nil, err
			}
			skip = true
			continue
		}
		if p.Tag == tagSecretKey {
			primary = fingerprintOf(&key.PublicKey)
		}
		half, err := publicPacket(&key.PublicKey)
		if err != nil {
			return nil, nil, err
		}
		public = append(public, half)
		private[primary] = append(private[primary], key)
	}
	if len(private) == 0 {
		return nil, nil, errors.New("no secret key")
	}
	return public, private, nil
}

func readSecret(p *packet.OpaquePacket) (*packet.PrivateKey, error) {
	parsed, err := p.Parse()
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*packet.PrivateKey)
	if !ok {
		return nil, errors.New("not a secret key packet")
	}
	return key, nil
}

func publicPacket(key *packet.PublicKey) (*packet.OpaquePacket, error) {
	var b bytes.Buffer
	if err := key.Serialize(&b); err != nil {
		return nil, err
	}
	return packet.NewOpaqueReader(&b).Next()
}

// usable sorts out the keys that can sign, each once.
func usable(keys []*packet.PrivateKey) []*packet.PrivateKey {
	keys = slices.DeleteFunc(keys, func(k *packet.PrivateKey) bool {
		return k.Dummy() || k.Version != 4 || weakness(&k.PublicKey) != "" || !deterministic(&k.PublicKey)
	})
	slices.SortStableFunc(keys, func(a, b *packet.PrivateKey) int {
		return cmp.Or(-compareBool(a.IsSubkey, b.IsSubkey), b.CreationTime.Compare(a.CreationTime),
			bytes.Compare(a.Fingerprint, b.Fingerprint))
	})
	return slices.CompactFunc(keys, func(a, b *packet.PrivateKey) bool { return bytes.Equal(a.Fingerprint, b.Fingerprint) })
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// deterministic tells whether a key signs the same text with the same bytes.
func deterministic(k *packet.PublicKey) bool {
	if k.PubKeyAlgo == packet.PubKeyAlgoEdDSA {
		curve, err := k.Curve()
		return err == nil && curve == packet.Curve25519
	}
	return isRSA(k)
}

// unlock opens the secret keys that are locked.
func (s *siteSigner) unlock(passphrase func() ([]byte, error)) error {
	var phrase []byte
	asked := false
	for _, k := range s.keys {
		locked := slices.DeleteFunc(slices.Clone(k.private), func(p *packet.PrivateKey) bool { return !p.Encrypted })
		if len(locked) == 0 {
			continue
		}
		if !asked {
			if passphrase == nil {
				return fmt.Errorf("key %s is locked and no passphrase is given", k.public.fingerprint)
			}
			var err error
			if phrase, err = passphrase(); err != nil {
				return fmt.Errorf("passphrase of key %s: %w", k.public.fingerprint, err)
			}
			asked = true
		}
		if err := packet.DecryptPrivateKeys(locked, phrase); err != nil {
			return fmt.Errorf("key %s: the passphrase does not open it: %w", k.public.fingerprint, err)
		}
	}
	return nil
}
