package pgp

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// MaxKeyringSize bounds a file of keys, in bytes. Debian's whole archive
// keyring has 60 kB; keys flooded with foreign certifications reach megabytes.
const MaxKeyringSize = 8 << 20

// Keyring is a set of OpenPGP public keys. Immutable; safe for concurrent use.
// A nil Keyring holds no key.
type Keyring struct {
	keys    []*publicKey // by fingerprint, each primary key once
	skipped int          // keys in the file that could not be read
}

// publicKey keeps the packets of a key as they were read. go-crypto's own
// Entity is no home for them: verifying with it caches results that depend on
// the time asked for, and it gives user IDs back in map order. So each use
// parses the packets anew, which takes well under a millisecond.
type publicKey struct {
	fingerprint string
	owners      []keyID // primary key and subkeys
	sections    []section
}

// keyID names a primary key or subkey.
type keyID struct {
	id          uint64
	fingerprint []byte
}

// section is a packet (primary key, user ID, attribute, subkey) and the
// signatures that follow it, each serialised.
type section struct {
	head []byte
	sigs [][]byte
}

// Packet types (RFC 9580 section 5).
const (
	tagSignature     = 2
	tagSecretKey     = 5
	tagPublicKey     = 6
	tagSecretSubkey  = 7
	tagMarker        = 10
	tagUserID        = 13
	tagPublicSubkey  = 14
	tagUserAttribute = 17
	tagPadding       = 21
)

// ReadKeyring reads one or several public keys, binary or armoured (.gpg,
// .asc; several armoured blocks in one file are taken together). A key that
// cannot be read (of an unknown version or algorithm) is passed over as long
// as another can; a secret key is an error.
func ReadKeyring(data []byte) (*Keyring, error) {
	if len(data) > MaxKeyringSize {
		return nil, fmt.Errorf("keyring of %d bytes, over the limit of %d", len(data), MaxKeyringSize)
	}
	data, err := dearmorKeys(data, armorPublic)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	packets, err := opaquePackets(data)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	ring, err := keyringOf(packets)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return ring, nil
}

// dearmorKeys gives the packets of a key file, which is binary or armoured.
func dearmorKeys(data []byte, kind string) ([]byte, error) {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("empty file")
	case data[0]&0x80 != 0: // every packet begins with the high bit set
		return data, nil
	case len(data) > 12 && string(data[8:12]) == "KBXf":
		return nil, errors.New("a GnuPG keybox, which apt does not read either: use gpg --export")
	}
	blocks, err := findBlocks(data, kind)
	if err != nil {
		return nil, err
	}
	if len(blocks) > 0 {
		return slices.Concat(blocks...), nil
	}
	if kind == armorPublic && bytes.Contains(data, []byte("-----BEGIN "+armorPrivate)) {
		return nil, errSecretKey
	}
	return nil, fmt.Errorf("no %s", kind)
}

var errSecretKey = errors.New("a secret key where public keys are wanted")

// opaquePackets splits a file into its packets.
func opaquePackets(data []byte) ([]*packet.OpaquePacket, error) {
	var all []*packet.OpaquePacket
	r := packet.NewOpaqueReader(bytes.NewReader(data))
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

// keyringOf groups packets to keys and reads those it can.
func keyringOf(packets []*packet.OpaquePacket) (*Keyring, error) {
	groups, err := groupPackets(packets)
	if err != nil {
		return nil, err
	}
	ring := &Keyring{}
	var lastErr error
	for _, g := range groups {
		k := merge(&publicKey{}, &publicKey{sections: g}) // a user ID given twice becomes one
		if err := k.identify(); err != nil {
			lastErr = err
			ring.skipped++
			continue
		}
		ring.add(k)
	}
	if len(ring.keys) == 0 {
		return nil, errors.Join(errors.New("no usable public key"), lastErr)
	}
	return ring, nil
}

// groupPackets makes sections of packets and keys of sections. Packets that
// are private to gpg (trust) or mean nothing (marker, padding) are left out.
func groupPackets(packets []*packet.OpaquePacket) ([][]section, error) {
	var keys [][]section
	for _, p := range packets {
		var b bytes.Buffer
		if err := p.Serialize(&b); err != nil {
			return nil, err
		}
		switch p.Tag {
		case tagSecretKey, tagSecretSubkey:
			return nil, errSecretKey
		case tagPublicKey:
			keys = append(keys, []section{{head: b.Bytes()}})
		case tagUserID, tagUserAttribute, tagPublicSubkey, tagSignature:
			if len(keys) == 0 {
				return nil, errors.New("does not begin with a public key")
			}
			k := &keys[len(keys)-1]
			if p.Tag == tagSignature {
				s := &(*k)[len(*k)-1]
				s.sigs = append(s.sigs, b.Bytes())
			} else {
				*k = append(*k, section{head: b.Bytes()})
			}
		}
	}
	return keys, nil
}

// bytes gives the packets of the key.
func (k *publicKey) bytes() []byte {
	var b []byte
	for _, s := range k.sections {
		b = append(b, s.head...)
		b = append(b, slices.Concat(s.sigs...)...)
	}
	return b
}

// entity parses the packets. The result belongs to the caller.
func (k *publicKey) entity() (*openpgp.Entity, error) {
	return openpgp.ReadEntity(packet.NewReader(bytes.NewReader(k.bytes())))
}

// identify reads the key once for its fingerprints.
func (k *publicKey) identify() error {
	e, err := k.entity()
	if err != nil {
		return err
	}
	k.fingerprint = fingerprintOf(e.PrimaryKey)
	k.owners = []keyID{{e.PrimaryKey.KeyId, e.PrimaryKey.Fingerprint}}
	for _, s := range e.Subkeys {
		k.owners = append(k.owners, keyID{s.PublicKey.KeyId, s.PublicKey.Fingerprint})
	}
	return nil
}

func fingerprintOf(k *packet.PublicKey) string {
	return strings.ToUpper(hex.EncodeToString(k.Fingerprint))
}

// add inserts a key in order, or merges it with the one that is there: copies
// of a key may differ in user IDs, expiry and revocations, and all of them hold.
func (r *Keyring) add(k *publicKey) {
	i, found := slices.BinarySearchFunc(r.keys, k, func(a, b *publicKey) int {
		return cmp.Compare(a.fingerprint, b.fingerprint)
	})
	if found {
		r.keys[i] = merge(r.keys[i], k)
		return
	}
	r.keys = slices.Insert(r.keys, i, k)
}

// merge makes the union of two copies of a key.
func merge(a, b *publicKey) *publicKey {
	m := &publicKey{fingerprint: a.fingerprint, owners: slices.Clone(a.owners)}
	for _, s := range a.sections {
		m.sections = append(m.sections, section{s.head, slices.Clone(s.sigs)})
	}
	for _, s := range b.sections {
		i := slices.IndexFunc(m.sections, func(t section) bool { return bytes.Equal(t.head, s.head) })
		if i < 0 {
			m.sections = append(m.sections, section{s.head, slices.Clone(s.sigs)})
			continue
		}
		for _, sig := range s.sigs {
			if !slices.ContainsFunc(m.sections[i].sigs, func(t []byte) bool { return bytes.Equal(t, sig) }) {
				m.sections[i].sigs = append(m.sections[i].sigs, sig)
			}
		}
	}
	for _, o := range b.owners {
		if !slices.ContainsFunc(m.owners, func(p keyID) bool { return bytes.Equal(p.fingerprint, o.fingerprint) }) {
			m.owners = append(m.owners, o)
		}
	}
	return m
}

// JoinKeyrings is the union of several keyrings; nil ones count as empty.
func JoinKeyrings(ks ...*Keyring) *Keyring {
	all := &Keyring{}
	for _, k := range ks {
		if k == nil {
			continue
		}
		all.skipped += k.skipped
		for _, key := range k.keys {
			all.add(key)
		}
	}
	return all
}

// Fingerprints lists the primary keys, 40 upper-case hex digits, sorted.
func (k *Keyring) Fingerprints() []string {
	if k == nil {
		return nil
	}
	var all []string
	for _, key := range k.keys {
		all = append(all, key.fingerprint)
	}
	return all
}

// Armor gives the public keys in ASCII armour, deterministically: in the order
// of their fingerprints, each as it was read.
func (k *Keyring) Armor() ([]byte, error) {
	if k == nil || len(k.keys) == 0 {
		return nil, errors.New("empty keyring")
	}
	var all []byte
	for _, key := range k.keys {
		all = append(all, key.bytes()...)
	}
	return armored(armorPublic, all)
}

// issuers finds the keys that sig names as its maker: by fingerprint if it
// gives one, else by the 64-bit key ID, which several keys may share.
func (k *Keyring) issuers(sig *packet.Signature) []*publicKey {
	var all []*publicKey
	for _, key := range k.keys {
		if slices.ContainsFunc(key.owners, func(o keyID) bool { return names(sig, o) }) {
			all = append(all, key)
		}
	}
	return all
}

func names(sig *packet.Signature, o keyID) bool {
	if len(sig.IssuerFingerprint) > 0 {
		return bytes.Equal(sig.IssuerFingerprint, o.fingerprint)
	}
	return sig.IssuerKeyId != nil && *sig.IssuerKeyId == o.id
}

// PublicHalves reads the public halves of the secret keys in a file, locked or not.
func PublicHalves(secret []byte) (*Keyring, error) {
	data, err := dearmorKeys(secret, armorPrivate)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	packets, err := opaquePackets(data)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	public, _, err := splitSecret(packets)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	ring, err := keyringOf(public)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return ring, nil
}
