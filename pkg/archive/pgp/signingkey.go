package pgp

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

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
