// Package secrets reads what a server must keep to itself: its certificate, and the credentials that clients show.
package secrets

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
)

// MaxBytes bounds a certificate, key or credentials file.
const MaxBytes = 1 << 20

// ParseCertificate reads a certificate with its chain, and its key, both in PEM.
func ParseCertificate(pair [][]byte) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(pair[0], pair[1])
	return &c, err
}

// Credentials are hashes of what an Authorization header may say. Immutable.
type Credentials map[[sha256.Size]byte]struct{}

// ParseCredentials reads lines USER:PASSWORD and TOKEN; empty ones, and those that begin with #, say nothing.
func ParseCredentials(contents [][]byte) (Credentials, error) {
	c := Credentials{}
	for line := range strings.Lines(string(contents[0])) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		c[sha256.Sum256([]byte(line))] = struct{}{}
	}
	if len(c) == 0 {
		return nil, errors.New("no line USER:PASSWORD or TOKEN")
	}
	return c, nil
}

// Allow tells whether a request shows one of them: a user with a password as Basic, a token as Bearer.
func (c Credentials) Allow(r *http.Request) bool {
	if user, password, ok := r.BasicAuth(); ok {
		return c.has(user + ":" + password)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && !strings.Contains(token, ":") && c.has(token)
}

// has compares every entry, so that the time taken tells nothing.
func (c Credentials) has(secret string) bool {
	sum, found := sha256.Sum256([]byte(secret)), 0
	for entry := range c {
		found |= subtle.ConstantTimeCompare(entry[:], sum[:])
	}
	return found == 1
}
