package pgp

import "fmt"

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
