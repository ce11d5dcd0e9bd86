package pgp

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
)

// MaxSignatureSize bounds a file of detached signatures, in bytes.
const MaxSignatureSize = 256 << 10

// maxStreamHashes bounds how many hashes of one text are computed side by side.
const maxStreamHashes = 64

// Detached verifies a detached signature over a text of any length, which is written to it and not kept.
// Not safe for concurrent use.
type Detached struct {
	sigs   []signature
	trust  Trust
	hashes map[[2]int]hash.Hash // by signature and key that may have made it
	text   []io.Writer
}

// NewDetached begins a verification by an ASCII-armoured signature. The trust must have a keyring; a pin is not
// looked at. A signature that cannot be read wraps [ErrIntegrity].
func NewDetached(sig []byte, t Trust) (*Detached, error) {
	if t.Keyring == nil {
		return nil, errors.New("detached signature: no keyring to verify it with")
	}
	if len(sig) > MaxSignatureSize {
		return nil, fmt.Errorf("%w: detached signature: over the limit of %d bytes", ErrIntegrity, MaxSignatureSize)
	}
	blocks, err := signatureBlocks(&lineScanner{rest: sig}, true)
	if err != nil {
		return nil, fmt.Errorf("%w: detached signature: %w", ErrIntegrity, err)
	}
	d := &Detached{trust: t, hashes: map[[2]int]hash.Hash{}}
	if d.sigs, err = readSignatures(blocks); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIntegrity, err)
	}
	for i, s := range d.sigs {
		if s.err != nil || s.acceptable() != nil {
			continue // verifyAll says why
		}
		for j := range t.Keyring.issuers(s.Signature) {
			h, text, err := s.hasher()
			if err != nil {
				continue
			}
			if len(d.text) == maxStreamHashes {
				return nil, fmt.Errorf("%w: detached signature: more than %d signatures and keys to try", ErrIntegrity, maxStreamHashes)
			}
			d.hashes[[2]int{i, j}] = h
			d.text = append(d.text, text)
		}
	}
	return d, nil
}

// Write implements io.Writer; it takes all of p.
func (d *Detached) Write(p []byte) (int, error) {
	for _, w := range d.text {
		_, _ = w.Write(p) // a hash takes everything
	}
	return len(p), nil
}

// How judges what was written, as [VerifyDetached] does. It must be called once, after the whole text.
func (d *Detached) How() (How, error) {
	return verifyAll(d.sigs, d.trust, func(sig, key int) (hash.Hash, error) {
		if h := d.hashes[[2]int{sig, key}]; h != nil {
			return h, nil
		}
		_, _, err := d.sigs[sig].hasher()
		return nil, errors.Join(errors.New("no hash of the text"), err)
	})
}

// ArmorSignature is a detached signature in ASCII armour: as it is if it is armoured, else its packets, armoured.
// What is no signature wraps [ErrIntegrity].
func ArmorSignature(sig []byte) ([]byte, error) {
	if len(sig) > MaxSignatureSize {
		return nil, fmt.Errorf("%w: detached signature: over the limit of %d bytes", ErrIntegrity, MaxSignatureSize)
	}
	if bytes.HasPrefix(bytes.TrimLeft(sig, "\r\n \t"), []byte("-----BEGIN")) {
		_, err := signatureBlocks(&lineScanner{rest: sig}, true)
		if err != nil {
			return nil, fmt.Errorf("%w: detached signature: %w", ErrIntegrity, err)
		}
		return sig, nil
	}
	sigs, err := readSignatures([][]byte{sig})
	if err == nil && len(sigs) == 0 {
		err = errors.New("no signature")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: detached signature: %w", ErrIntegrity, err)
	}
	return armored(armorSignature, sig)
}
