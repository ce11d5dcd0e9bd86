package pgp

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// KeyInfo is what a report says of a key.
type KeyInfo struct {
	Fingerprint string
	UserID      string
	Created     time.Time
	Expires     time.Time // zero: never
	Revoked     bool
	// AptRefuses says why apt's gpgv/sqv policy would refuse signatures of this
	// key at the given time ("expired 2026-01-01", "rsa1024"), "" if it would not.
	AptRefuses string
}

// Dates of the policy that Debian's apt hands to sqv
// (/usr/share/apt/default-sequoia.config).
func sqvRefusesSHA1() time.Time      { return time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC) }
func sqvRefusesBrainpool() time.Time { return time.Date(2028, 2, 1, 0, 0, 0, 0, time.UTC) }
func sqvRefusesRSA2048() time.Time   { return time.Date(2030, 2, 1, 0, 0, 0, 0, time.UTC) }

// Info describes the key with this primary fingerprint as of time now.
func (k *Keyring) Info(fingerprint string, now time.Time) (KeyInfo, bool) {
	key := k.find(fingerprint)
	if key == nil {
		return KeyInfo{}, false
	}
	e, err := key.entity()
	if err != nil { // it could be read when it was added
		return KeyInfo{}, false
	}
	return KeyInfo{
		Fingerprint: key.fingerprint,
		UserID:      userID(e, now),
		Created:     e.PrimaryKey.CreationTime.UTC(),
		Expires:     expiry(e, now),
		Revoked:     revoked(e, e.PrimaryKey),
		AptRefuses:  key.aptRefuses("", now),
	}, true
}

// AptRefuses says why apt would refuse, at time now, a signature that was
// verified with this keyring: its key or subkey has expired or was revoked
// since, or apt's policy has turned against it; "" if it would not.
func (k *Keyring) AptRefuses(h How, now time.Time) string {
	key := k.find(h.Signer)
	switch {
	case h.Kind != Signed:
		return "not signed"
	case key == nil:
		return "unknown key " + h.Signer
	}
	if err := signatureExpired(h, now); err != nil {
		return err.Error()
	}
	return key.aptRefuses(h.Key, now)
}

// errExpired marks the reasons of [Keyring.AptRefuses] that are a matter of time.
var errExpired = errors.New("expired")

// expired tells why apt would not let a signature count at time now that was good
// when it was made: its key or itself has expired since ([ErrExpired]), or the key is not
// valid yet. The zero time asks for nothing.
func (k *Keyring) expired(h How, now time.Time) error {
	if now.IsZero() {
		return nil
	}
	key := k.find(h.Signer)
	if key == nil {
		return errors.New("unknown key " + h.Signer)
	}
	err := signatureExpired(h, now)
	if err == nil {
		err = key.refusedAt(h.Key, now)
	}
	switch {
	case errors.Is(err, errExpired):
		return fmt.Errorf("is good no longer: %w: %w", err, ErrExpired)
	case err != nil:
		return fmt.Errorf("does not count today: %w", err)
	}
	return nil
}

func signatureExpired(h How, now time.Time) error {
	if h.Expires.IsZero() || !now.After(h.Expires) {
		return nil
	}
	return fmt.Errorf("signature %w %s", errExpired, h.Expires.Format(time.DateOnly))
}

// find looks a primary key up by its fingerprint.
func (k *Keyring) find(fingerprint string) *publicKey {
	if k == nil {
		return nil
	}
	i := slices.IndexFunc(k.keys, func(p *publicKey) bool { return strings.EqualFold(p.fingerprint, fingerprint) })
	if i < 0 {
		return nil
	}
	return k.keys[i]
}

// aptRefuses judges the key, and its subkey with the fingerprint sub; with
// sub == "" whichever of them could sign best.
func (k *publicKey) aptRefuses(sub string, now time.Time) string {
	if err := k.refusedAt(sub, now); err != nil {
		return err.Error()
	}
	e, err := k.entity()
	if err != nil {
		return err.Error()
	}
	return sqvRefuses(e, signingKeyFor(e, sub, now), now)
}

// refusedAt is what every apt says of the key, whether it verifies with gpgv or with sqv.
func (k *publicKey) refusedAt(sub string, now time.Time) error {
	e, err := k.entity()
	if err != nil {
		return err
	}
	pub := signingKeyFor(e, sub, now)
	if revoked(e, pub) {
		return errors.New("revoked")
	}
	for _, p := range []*packet.PublicKey{e.PrimaryKey, pub} {
		if weak := weakness(p); weak != "" {
			return errors.New(weak)
		}
		if p.CreationTime.After(now) {
			return errors.New("created " + p.CreationTime.UTC().Format(time.DateOnly) + ", in the future")
		}
	}
	if t := expiry(e, now); !t.IsZero() && now.After(t) {
		return fmt.Errorf("%w %s", errExpired, t.Format(time.DateOnly))
	}
	if t := subkeyExpiry(e, pub, now); !t.IsZero() && now.After(t) {
		return fmt.Errorf("subkey %w %s", errExpired, t.Format(time.DateOnly))
	}
	return signingProblem(e, pub, now)
}

// signingKeyFor finds the (sub)key with fingerprint sub, or the one that
// signs at time now, or the primary key.
func signingKeyFor(e *openpgp.Entity, sub string, now time.Time) *packet.PublicKey {
	if sub == "" {
		if key, ok := e.SigningKeyById(now, 0, policy(now)); ok {
			return key.PublicKey
		}
		return e.PrimaryKey
	}
	for _, s := range e.Subkeys {
		if fingerprintOf(s.PublicKey) == sub {
			return s.PublicKey
		}
	}
	return e.PrimaryKey
}

// weakness names an algorithm that apt never takes ("rsa1024", "dsa"), or "".
func weakness(k *packet.PublicKey) string {
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoDSA:
		return "dsa"
	case packet.PubKeyAlgoElGamal:
		return "elgamal"
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly, packet.PubKeyAlgoRSAEncryptOnly:
		if bits, err := k.BitLength(); err != nil || bits < minRSABits {
			return fmt.Sprintf("rsa%d", bits)
		}
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA:
		if curve, err := k.Curve(); err != nil || curve == packet.CurveSecP256k1 {
			return "curve " + string(curve)
		}
	}
	return ""
}

// sqvRefuses tells what only newer apts, which verify with sqv, refuse.
func sqvRefuses(e *openpgp.Entity, pub *packet.PublicKey, now time.Time) string {
	self, err := e.PrimarySelfSignature(now, policy(now))
	if err == nil && self.Hash == crypto.SHA1 && !now.Before(sqvRefusesSHA1()) {
		return "self-signature made with SHA1 (apt with sqv)"
	}
	for _, p := range []*packet.PublicKey{e.PrimaryKey, pub} {
		bits, _ := p.BitLength()
		curve, _ := p.Curve()
		switch {
		case bits < 3072 && isRSA(p) && !now.Before(sqvRefusesRSA2048()):
			return fmt.Sprintf("rsa%d (apt with sqv)", bits)
		case strings.HasPrefix(strings.ToLower(string(curve)), "brainpool") && !now.Before(sqvRefusesBrainpool()):
			return string(curve) + " (apt with sqv)"
		}
	}
	return ""
}

func isRSA(k *packet.PublicKey) bool {
	return k.PubKeyAlgo == packet.PubKeyAlgoRSA || k.PubKeyAlgo == packet.PubKeyAlgoRSASignOnly
}

// expiry is when the primary key expires, by its self-signature valid at now.
func expiry(e *openpgp.Entity, now time.Time) time.Time {
	sig, err := e.PrimarySelfSignature(now, policy(now))
	if err != nil {
		return time.Time{}
	}
	t := lifetime(e.PrimaryKey, sig)
	if direct, err := e.LatestValidDirectSignature(now, policy(now)); err == nil {
		if d := lifetime(e.PrimaryKey, direct); !d.IsZero() && (t.IsZero() || d.Before(t)) {
			t = d
		}
	}
	return t
}

// subkeyExpiry is when pub expires, if it is a subkey.
func subkeyExpiry(e *openpgp.Entity, pub *packet.PublicKey, now time.Time) time.Time {
	for _, s := range e.Subkeys {
		if bytes.Equal(s.PublicKey.Fingerprint, pub.Fingerprint) {
			if sig, err := s.LatestValidBindingSignature(now, policy(now)); err == nil {
				return lifetime(s.PublicKey, sig)
			}
		}
	}
	return time.Time{}
}

func lifetime(k *packet.PublicKey, sig *packet.Signature) time.Time {
	if sig.KeyLifetimeSecs == nil || *sig.KeyLifetimeSecs == 0 {
		return time.Time{}
	}
	return k.CreationTime.Add(time.Duration(*sig.KeyLifetimeSecs) * time.Second).UTC()
}

// userID picks the user ID to show: marked primary, then newest, then first by
// name; of those valid at now, else of all.
func userID(e *openpgp.Entity, now time.Time) string {
	best, bestRank := "", ""
	for name, id := range e.Identities {
		rank := "0"
		if sig, err := id.Verify(now, policy(now)); err == nil {
			primary := sig.IsPrimaryId != nil && *sig.IsPrimaryId
			rank = fmt.Sprintf("1 %t %020d", primary, sig.CreationTime.Unix())
		}
		if rank > bestRank || rank == bestRank && name < best {
			best, bestRank = name, rank
		}
	}
	return best
}
