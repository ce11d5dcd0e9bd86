package pgp

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// maxSignatures bounds the signatures tried on one text; Debian has three.
const maxSignatures = 64

// minRSABits is apt's APT::Key::Assert-Pubkey-Algo ">=rsa2048".
const minRSABits = 2048

// policy is what go-crypto is asked to enforce: no DSA, ElGamal or secp256k1,
// RSA of 2048 bits at least, no MD5 in self-signatures; keys without key
// flags may sign, as with gpg.
//
// at stands in for the clock, so that no result depends on the day: the
// creation of the signature in question. A snapshot that verified once
// verifies for ever; whether the key is still good today, and whether
// apt would say so, is what [Keyring.Info] and [Keyring.AptRefuses] tell.
func policy(at time.Time) *packet.Config {
	return &packet.Config{
		Time:                                func() time.Time { return at },
		MinRSABits:                          minRSABits,
		InsecureAllowAllKeyFlagsWhenMissing: true,
	}
}

// verifySignatures tries every signature of blocks over message. One good
// signature by a key of the keyring suffices, unless another spoils it; of several
// the newest is returned. The error says why each does not count; it is
// ErrExpired if one fails by its age alone.
func verifySignatures(message []byte, blocks [][]byte, t Trust) (How, error) {
	sigs, err := readSignatures(blocks)
	if err != nil {
		return How{}, fmt.Errorf("%w: %w", ErrIntegrity, err)
	}
	return verifyAll(sigs, t, func(i, _ int) (hash.Hash, error) {
		h, text, err := sigs[i].hasher()
		if err == nil {
			text.Write(message)
		}
		return h, err
	})
}

// verifyAll judges signatures. over gives the hash of the message for a signature, by its number, and a key of
// those that may have made it, by its number; each is asked for once.
func verifyAll(sigs []signature, t Trust, over func(sig, key int) (hash.Hash, error)) (How, error) {
	ring := t.Keyring
	var how, newest How
	var bad []string
	spoiled, kind := false, ErrIntegrity
	for i := range sigs {
		s := &sigs[i]
		h, err := s.verify(func(key int) (hash.Hash, error) { return over(i, key) }, ring)
		if err == nil {
			err = ring.expired(h, t.Now)
		}
		switch {
		case err != nil:
			if errors.Is(err, ErrExpired) {
				kind = ErrExpired
			}
			s.err = err
			bad = append(bad, s.name()+" "+err.Error())
			spoiled = spoiled || errors.Is(err, errUnreadable) && how.Kind != Signed
		default:
			if how.Kind != Signed {
				how = h
			}
			if newest.Kind != Signed || h.Time.After(newest.Time) {
				newest = h
			}
		}
	}
	spoiled = spoiled || slices.ContainsFunc(sigs, func(s signature) bool { return s.spoils(how, ring) })
	switch {
	case how.Kind != Signed && len(bad) == 0:
		bad = []string{"none at all"}
	case how.Kind == Signed && spoiled:
		return How{}, fmt.Errorf("%w: a good signature by %s, but apt would refuse it for another beside it: %s", ErrIntegrity, how.Signer, strings.Join(bad, "; "))
	case how.Kind == Signed:
		how = newest
		if len(bad) > 0 {
			how.Detail = fmt.Sprintf("%d of %d signatures do not count: %s", len(bad), len(sigs), strings.Join(bad, "; "))
		}
		return how, nil
	}
	return How{}, fmt.Errorf("%w: no good signature by a trusted key: signatures: %s; trusted: %s",
		kind, strings.Join(bad, "; "), ring.describe())
}

// Why a signature does not count, where it matters to those beside it.
var (
	errDoesNotFit = errors.New("is bad: the text was changed or the signature damaged")
	errUnreadable = errors.New("cannot be read")
	errWeakDigest = errors.New("is made with the weak digest")
)

// spoils tells whether s, which does not count, lets apt refuse what good, a signature by a
// key of ring, is over: it is by a trusted key and does not fit the text, or by
// the very key of the good one with a weak digest (MD5 packets do not tell the
// key). apt refuses what gpgv cannot read, too, if it comes before the good one. The signatures of other keys, of keys
// that expired or were revoked, and weak ones of other trusted keys leave a good one as it is.
func (s signature) spoils(good How, ring *Keyring) bool {
	switch {
	case errors.Is(s.err, errDoesNotFit):
		return true
	case errors.Is(s.err, errWeakDigest):
		return s.Signature == nil || slices.ContainsFunc(ring.issuers(s.Signature), func(k *publicKey) bool { return k.fingerprint == good.Signer })
	}
	return false
}

// describe lists the keys for an error.
func (k *Keyring) describe() string {
	const most = 12
	prints := k.Fingerprints()
	rest := len(prints) - most
	s := strings.Join(prints[:min(most, len(prints))], ", ")
	if s == "" {
		s = "no key"
	}
	if rest > 0 {
		s += fmt.Sprintf(" and %d more", rest)
	}
	if k.skipped > 0 {
		s += fmt.Sprintf(" (%d more keys could not be read)", k.skipped)
	}
	return s
}

// signature is one packet of a signature block, read or not.
type signature struct {
	*packet.Signature       // nil if it could not be read
	err               error // why it does not count
}

// readSignatures reads the packets one by one: a broken one does not hide the others.
func readSignatures(blocks [][]byte) ([]signature, error) {
	var sigs []signature
	for _, b := range blocks {
		packets, err := opaquePackets(b)
		if err != nil {
			return nil, fmt.Errorf("signature block: %w", err)
		}
		for _, p := range packets {
			switch p.Tag {
			case tagSignature:
				sigs = append(sigs, readSignature(p))
			case tagMarker, tagPadding:
			default:
				return nil, fmt.Errorf("packet of type %d among the signatures", p.Tag)
			}
		}
		if len(sigs) > maxSignatures {
			return nil, fmt.Errorf("more than %d signatures", maxSignatures)
		}
	}
	return sigs, nil
}

func readSignature(p *packet.OpaquePacket) signature {
	if weak := weakDigest(p.Contents); weak != "" {
		return signature{err: fmt.Errorf("%w %s", errWeakDigest, weak)}
	}
	parsed, err := p.Parse()
	if err != nil {
		return signature{err: fmt.Errorf("%w: %w", errUnreadable, err)}
	}
	sig, ok := parsed.(*packet.Signature)
	if !ok {
		return signature{err: errUnreadable}
	}
	return signature{Signature: sig}
}

// weakDigest looks for digests that go-crypto does not even parse (RFC 9580
// sections 5.2.3 and 9.5), to name them.
func weakDigest(body []byte) string {
	if len(body) < 4 || body[0] != 4 {
		return ""
	}
	switch body[3] {
	case 1:
		return "MD5"
	case 3:
		return "RIPEMD-160"
	}
	return ""
}

// name is how errors call a signature: by the key it says it was made with.
func (s signature) name() string {
	switch {
	case s.Signature == nil:
		return "one"
	case s.IssuerKeyId != nil:
		return fmt.Sprintf("0x%016X", *s.IssuerKeyId)
	case len(s.IssuerFingerprint) > 0:
		return fmt.Sprintf("0x%X", s.IssuerFingerprint)
	default:
		return "anonymous"
	}
}

// verify tries one signature against every key it may be by.
func (s signature) verify(over func(key int) (hash.Hash, error), ring *Keyring) (How, error) {
	if s.err != nil {
		return How{}, s.err
	}
	if err := s.acceptable(); err != nil {
		return How{}, err
	}
	keys := ring.issuers(s.Signature)
	if len(keys) == 0 {
		return How{}, errors.New("is not a trusted key")
	}
	var errs []error
	for i, k := range keys {
		key, err := s.verifyBy(func() (hash.Hash, error) { return over(i) }, k)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		return s.how(k, key), nil
	}
	return How{}, errors.Join(errs...)
}

func (s signature) how(k *publicKey, key *packet.PublicKey) How {
	h := How{Kind: Signed, Signer: k.fingerprint, Key: fingerprintOf(key), Time: s.CreationTime.UTC()}
	if s.SigLifetimeSecs != nil && *s.SigLifetimeSecs > 0 {
		h.Expires = h.Time.Add(time.Duration(*s.SigLifetimeSecs) * time.Second)
	}
	return h
}

// strongHashes are the digests apt takes with either of its verifiers (gpgv,
// sqv): not MD5, SHA1, RIPEMD-160, SHA224.
var strongHashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512}

// acceptable tells whether a signature is of a kind that counts, whatever key
// made it. go-crypto reads versions 4 and 6 only.
func (s signature) acceptable() error {
	switch {
	case s.SigType != packet.SigTypeBinary && s.SigType != packet.SigTypeText:
		return fmt.Errorf("is of type 0x%02x, not over a document", uint8(s.SigType))
	case !slices.Contains(strongHashes, s.Hash):
		return fmt.Errorf("%w %s", errWeakDigest, s.Hash)
	}
	for _, n := range s.Notations {
		if n.IsCritical {
			return fmt.Errorf("has the unknown critical notation %q", n.Name)
		}
	}
	return nil
}

// hasher is the hash that a signature is made over, and what takes the message for it.
func (s signature) hasher() (h hash.Hash, text io.Writer, err error) {
	if h, err = s.PrepareVerify(); err != nil {
		return nil, nil, err
	}
	if s.SigType == packet.SigTypeText {
		return h, openpgp.NewCanonicalTextHash(h), nil
	}
	return h, h, nil
}

// verifyBy verifies the signature with one key: first the mathematics, then
// whether the key could make it.
func (s signature) verifyBy(over func() (hash.Hash, error), k *publicKey) (*packet.PublicKey, error) {
	e, err := k.entity()
	if err != nil {
		return nil, err
	}
	pub := issuerKey(e, s.Signature)
	if pub == nil {
		return nil, errors.New("names a key that could not be read")
	}
	h, err := over()
	if err != nil {
		return nil, err
	}
	if err := pub.VerifySignature(h, s.Signature); err != nil {
		return nil, errDoesNotFit
	}
	if s.CreationTime.Before(pub.CreationTime) {
		return nil, errors.New("is older than its key")
	}
	if err := k.mayHaveSigned(pub, s.CreationTime); err != nil {
		return nil, err
	}
	return pub, nil
}

// maxRenewals bounds at how many later self-signatures a key is looked at.
const maxRenewals = 32

// issuerKey finds the primary key or subkey that sig names.
func issuerKey(e *openpgp.Entity, sig *packet.Signature) *packet.PublicKey {
	if names(sig, keyID{e.PrimaryKey.KeyId, e.PrimaryKey.Fingerprint}) {
		return e.PrimaryKey
	}
	for _, s := range e.Subkeys {
		if names(sig, keyID{s.PublicKey.KeyId, s.PublicKey.Fingerprint}) {
			return s.PublicKey
		}
	}
	return nil
}

// mayHaveSigned tells whether pub, the key itself or a subkey of it, was a
// valid signing key at t. If it was not, but the holder has renewed it since
// (a later self-signature: gpg replaces the earlier one when the expiry date is
// moved), the later state counts, as it does for gpgv. A revocation counts
// whenever it was made.
func (k *publicKey) mayHaveSigned(pub *packet.PublicKey, t time.Time) error {
	e, err := k.entity()
	if err != nil {
		return err
	}
	if revoked(e, pub) {
		return pgperrors.ErrKeyRevoked
	}
	first := signingProblem(e, pub, t)
	if first == nil {
		return nil
	}
	for _, later := range selfSignatureTimes(e, t) {
		e, err := k.entity() // go-crypto remembers answers of the time before
		if err != nil {
			return err
		}
		if signingProblem(e, pub, later) == nil {
			return nil
		}
	}
	return first
}

// signingProblem says why pub is no valid signing key of e at t.
func signingProblem(e *openpgp.Entity, pub *packet.PublicKey, t time.Time) error {
	cfg := policy(t)
	if _, err := e.VerifyPrimaryKey(t, cfg); err != nil {
		return err
	}
	key, ok := e.SigningKeyById(t, pub.KeyId, cfg)
	if ok && bytes.Equal(key.PublicKey.Fingerprint, pub.Fingerprint) {
		if !key.IsPrimary() && !key.SelfSignature.FlagSign {
			// Without the flag go-crypto asks for no cross-signature of the subkey.
			return errors.New("is by a subkey that is not marked for signing")
		}
		return nil
	}
	if weak := weakness(e.PrimaryKey); weak != "" {
		return errors.New("is by a weak key, " + weak)
	}
	if weak := weakness(pub); weak != "" {
		return errors.New("is by a weak key, " + weak)
	}
	for _, s := range e.Subkeys {
		if bytes.Equal(s.PublicKey.Fingerprint, pub.Fingerprint) {
			if _, err := s.Verify(t, cfg); err != nil {
				return fmt.Errorf("is by a subkey: %w", err)
			}
		}
	}
	return errors.New("is by a key that is not for signing")
}

// revoked tells whether the key, or pub where that is a subkey, was revoked by
// the key's own hand, at whatever time and for whatever reason.
func revoked(e *openpgp.Entity, pub *packet.PublicKey) bool {
	for _, r := range e.Revocations {
		if e.PrimaryKey.VerifyRevocationSignature(r.Packet) == nil {
			return true
		}
	}
	for _, s := range e.Subkeys {
		if !bytes.Equal(s.PublicKey.Fingerprint, pub.Fingerprint) {
			continue
		}
		for _, r := range s.Revocations {
			if e.PrimaryKey.VerifySubkeyRevocationSignature(r.Packet, s.PublicKey) == nil {
				return true
			}
		}
	}
	return false
}

// selfSignatureTimes lists when the key's self-signatures after t were made.
func selfSignatureTimes(e *openpgp.Entity, t time.Time) []time.Time {
	var sigs []*packet.VerifiableSignature
	for _, id := range e.Identities {
		sigs = append(sigs, id.SelfCertifications...)
	}
	sigs = append(sigs, e.DirectSignatures...)
	for _, s := range e.Subkeys {
		sigs = append(sigs, s.Bindings...)
	}
	var times []time.Time
	for _, s := range sigs {
		if s.Packet.CreationTime.After(t) {
			times = append(times, s.Packet.CreationTime)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	times = slices.CompactFunc(times, time.Time.Equal)
	return times[:min(len(times), maxRenewals)]
}
