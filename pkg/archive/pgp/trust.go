// Package pgp makes and verifies the OpenPGP signatures of Debian archives:
// clear-signed text, detached signatures, keyrings and signing keys (RFC 9580,
// RFC 4880, as gpgv and apt read them). Bytes go in, values come out; it opens
// no file and no connection.
//
// Nothing is taken from a signed text without [How] it was verified.
package pgp

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrIntegrity marks bytes that contradict what a signature or digest says of
// them: a bad, missing or foreign signature, a mismatching index. The program
// ends with exit code 3 on it.
var ErrIntegrity = errors.New("integrity")

// ErrExpired marks what is genuine but no longer good: past its Valid-Until or
// valid-until, older than --max-age, or signed by an expired signature. The
// program ends with exit code 5 on it.
var ErrExpired = errors.New("too old")

// timeLayout writes times in messages as a Release writes its Date.
const timeLayout = "Mon, 02 Jan 2006 15:04:05 UTC"

// Kind is how firmly something is believed.
type Kind uint8

const (
	Unverified Kind = iota // not at all: may be served, never written to a host
	Pinned                 // its digest was given by someone trusted (a reference by digest, a verified statement)
	Signed                 // a signature by a trusted key was verified over it
)

// String names the kind for reports: "unverified", "pinned", "signed".
func (k Kind) String() string {
	switch k {
	case Pinned:
		return "pinned"
	case Signed:
		return "signed"
	default:
		return "unverified"
	}
}

// How says how signed text was verified. The zero value is "not at all".
type How struct {
	Kind   Kind
	Signer string    // Signed: fingerprint of the primary key, 40 upper-case hex digits
	Time   time.Time // Signed: creation time of the signature, UTC
	Detail string    // why not, or remarks ("2 of 3 signatures by unknown keys"); for people

	Key     string    // Signed: fingerprint of the key that signed, Signer or one of its subkeys
	Expires time.Time // Signed: when the signature itself expires; zero: never
}

// Trust says by what a signed text may be believed. With neither Keyring nor
// Digest the text comes back Unverified: callers decide what may be done with
// that. With both, both must hold.
type Trust struct {
	Keyring *Keyring // one good signature by one of these keys suffices, unless a bad one stands beside it (SPEC section 12)
	Digest  string   // "sha256:<hex>" of the whole file (InRelease), believed as given
	// Now, if not zero, refuses keys and signatures that have expired by then, as
	// apt does. If it is zero, only the time of the signature counts, so that what
	// verified once verifies for ever.
	Now time.Time
}

// signatureSlack is how much older than its text's Date a signature may be:
// clocks and zones differ, and a signer may choose a later Date.
const signatureSlack = 24 * time.Hour

// CheckDated refuses a signature that is more than a day older than the date of
// its text. Verification judges a key by the time in the signature; without this
// check, an expired or stolen key could sign today's text with an old time.
func (h How) CheckDated(date time.Time) error {
	if h.Kind != Signed || date.IsZero() || !h.Time.Before(date.Add(-signatureSlack)) {
		return nil
	}
	return fmt.Errorf("%w: signed on %s, before the date of the text, %s", ErrIntegrity, h.Time.Format(timeLayout), date.UTC().Format(timeLayout))
}

// checkPin compares data with the pinned digest, if there is one.
func (t Trust) checkPin(data []byte) error {
	if t.Digest == "" {
		return nil
	}
	want, err := hex.DecodeString(strings.TrimPrefix(t.Digest, "sha256:"))
	if err != nil || !strings.HasPrefix(t.Digest, "sha256:") || len(want) != sha256.Size {
		return fmt.Errorf("pinned digest %q: not sha256:<64 hex digits>", t.Digest)
	}
	if got := sha256.Sum256(data); subtle.ConstantTimeCompare(got[:], want) == 0 {
		return fmt.Errorf("%w: sha256:%x where %s is pinned", ErrIntegrity, got, t.Digest)
	}
	return nil
}

// judge tells how signed text is verified under t. file is what a pin is the
// digest of, message what the signatures were made over.
func (t Trust) judge(file, message []byte, blocks [][]byte) (How, error) {
	if err := t.checkPin(file); err != nil {
		return How{}, err
	}
	if t.Keyring != nil {
		return verifySignatures(message, blocks, t)
	}
	if t.Digest != "" {
		return How{Kind: Pinned, Detail: t.Digest}, nil
	}
	return How{Detail: "neither key nor digest given"}, nil
}
