package signer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/keypins"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive/pgp"
)

// UpstreamKeyring reads the keyring of an archive and, of a key that comes from the
// network, which keys it has. Such a key has nothing that vouches for it but that it is the
// one of before: whoever can change the archive on the way could change it too. keys
// knows that; nil knows none, and keeps none.
func UpstreamKeyring(ctx context.Context, a *config.Archive, keys *NetworkKeys, log outcome.Log) (*pgp.Keyring, []config.LockKey, error) {
	if a.SignedByURL == "" {
		if a.SignedBy == "" {
			return nil, nil, outcome.NameKeyring.For(fmt.Errorf("%w: no key is named to verify it by", outcome.ErrUsage))
		}
		ring, err := ReadKeyrings(a.SignedBy)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("%w: signed-by: %w", outcome.ErrUsage, err)
		} else if err != nil {
			return nil, nil, fmt.Errorf("%w: it cannot be verified: %w", outcome.ErrIntegrity, err)
		}
		return ring, nil, nil
	}
	ring, err := keys.fetch(ctx, place.UpstreamOptions(a, log), a.Prefix, a.SignedByURL, log)
	if err != nil {
		return nil, nil, err
	}
	var seen []config.LockKey
	for _, fpr := range ring.Fingerprints() {
		seen = append(seen, config.LockKey{Fingerprint: fpr, URL: a.SignedByURL})
	}
	return ring, seen, nil
}

// NetworkKeys are the keys that come from the network and the fingerprints that
// they are pinned by: those of a file that is kept beside the configuration, for a
// prefix that it does not have those of a lock, both written on this side. A snapshot at
// a registry pins nothing. Safe for concurrent use.
type NetworkKeys struct {
	file   string
	pins   map[string][]config.LockKey
	locked map[string][]string
	accept []string

	mu      sync.Mutex
	fetched map[string]*pgp.Keyring     // by prefix, for as long as the command runs
	fresh   map[string][]config.LockKey // that the file does not pin yet, by prefix
}

// OpenNetworkKeys reads the pins of file, which need not be there, and of a lock,
// which may be nil. accept are fingerprints that a key may have in place of those it had.
func OpenNetworkKeys(file string, lock *config.Lock, accept []string) (*NetworkKeys, error) {
	k := &NetworkKeys{
		file: file, accept: accept, locked: map[string][]string{}, fetched: map[string]*pgp.Keyring{}, fresh: map[string][]config.LockKey{},
	}
	if lock != nil {
		for _, a := range lock.Archives {
			for _, key := range a.KeyURLs {
				k.locked[a.Prefix] = append(k.locked[a.Prefix], key.Fingerprint)
			}
		}
	}
	var err error
	k.pins, _, err = keypins.Read(file)
	return k, err
}

// known are the fingerprints that the key of a prefix may have, and where they stand.
func (k *NetworkKeys) known(prefix string) (known []string, where string) {
	known = fingerprints(k.pins[prefix])
	if len(known) > 0 {
		return known, k.file
	}
	return k.locked[prefix], "the lock"
}

func fingerprints(keys []config.LockKey) []string {
	var out []string
	for _, key := range keys {
		out = append(out, key.Fingerprint)
	}
	return out
}

// fetch gets the key of a prefix and holds it against what is pinned. The first one is
// taken as it comes: nobody has seen another.
func (k *NetworkKeys) fetch(ctx context.Context, o upstream.Options, prefix, url string, log outcome.Log) (*pgp.Keyring, error) {
	if k == nil {
		k = &NetworkKeys{fetched: map[string]*pgp.Keyring{}, fresh: map[string][]config.LockKey{}}
	}
	if ring := k.memory(prefix); ring != nil {
		return ring, nil
	}
	data, err := upstream.Fetch(ctx, o, url, maxKey)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	ring, err := pgp.ReadKeyring(data)
	if err != nil {
		return nil, fmt.Errorf("%w: key %s: %w", outcome.ErrIntegrity, url, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	known, where := k.known(prefix)
	var unknown []string
	var keys []config.LockKey
	for _, fpr := range ring.Fingerprints() {
		keys = append(keys, config.LockKey{Fingerprint: fpr, URL: url})
		if !slices.Contains(known, fpr) {
			unknown = append(unknown, fpr)
		}
	}
	switch {
	case len(unknown) == 0:
	case len(known) == 0:
		clear := ""
		if strings.HasPrefix(strings.ToLower(url), "http:") {
			clear = " It came in the clear, and whoever changes the archive on the way can change it: compare it with what its owner says."
		}
		log.Printf("archive %s: key %s from %s is seen for the first time; %s pins it from now on.%s", prefix, strings.Join(unknown, " "), keys[0].URL, k.file, clear)
		k.fresh[prefix] = keys
	case slices.ContainsFunc(unknown, func(fpr string) bool { return !k.accepted(fpr) }):
		return nil, outcome.AcceptKey.For(fmt.Errorf("%w: the key at %s is %s, before it was %s, says %s",
			outcome.ErrIntegrity, url, strings.Join(unknown, " "), strings.Join(known, " "), where), unknown)
	default:
		k.fresh[prefix] = keys
	}
	k.fetched[prefix] = ring
	return ring, nil
}

func (k *NetworkKeys) memory(prefix string) *pgp.Keyring {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fetched[prefix]
}

func (k *NetworkKeys) accepted(fingerprint string) bool {
	return slices.ContainsFunc(k.accept, func(s string) bool {
		return strings.EqualFold(strings.ReplaceAll(s, " ", ""), fingerprint)
	})
}

// Keep writes the pins of keys that were seen for the first time, or accepted,
// into the file. It is called once their archives have verified under them, before
// anything is made of these. An error says which lines to add by hand.
func (k *NetworkKeys) Keep() error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.fresh) == 0 {
		return nil
	}
	// Read again: somebody else may have pinned other keys meanwhile.
	now, text, err := keypins.Read(k.file)
	if err != nil {
		return err
	}
	lines := ""
	for _, prefix := range slices.Sorted(maps.Keys(k.fresh)) {
		if is := fingerprints(now[prefix]); !slices.Equal(is, fingerprints(k.pins[prefix])) && !slices.Equal(is, fingerprints(k.fresh[prefix])) {
			return fmt.Errorf("%w: archive %s: %s was changed meanwhile, and pins another key than was fetched; run the same command again", outcome.ErrRefused, prefix, k.file)
		}
		text = keypins.Set(text, prefix, k.fresh[prefix])
		for _, key := range k.fresh[prefix] {
			lines += "\n" + keypins.Line(prefix, key)
		}
	}
	if err := durable.WriteFile(k.file, text, 0o644); err != nil {
		return fmt.Errorf("keys from the network cannot be pinned: %s; put into %s, in place of what it has for the prefix:%s",
			err.Error(), k.file, strings.ReplaceAll(lines, "\n\n", "\n"))
	}
	k.fresh = map[string][]config.LockKey{}
	return nil
}
