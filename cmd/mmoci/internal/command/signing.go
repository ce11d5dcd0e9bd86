package command

import (
	"os"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/site"
	"example.org/mmoci/pkg/archive/pgp"
)

// Signer loads the site's signing key: of the flag, or of the configuration.
func Signer(a *App, plan *config.Plan, file string) (pgp.Signer, error) {
	var sign *config.Sign
	var trust []string
	if plan != nil {
		trust = plan.Trust
	}
	switch {
	case file != "":
		sign = &config.Sign{Key: file}
	case plan != nil:
		sign = plan.Sign
	}
	s, err := LoadKey(a, sign, trust)
	if s != nil {
		warnOfKeys(a, s.Public())
	}
	return s, err
}

// LoadKey loads a signing key, or the command that signs.
func LoadKey(a *App, sign *config.Sign, trust []string) (pgp.Signer, error) {
	return signer.Signer(sign, trust, os.Getenv, a.Terminal)
}

// warnOfKeys speaks of keys whose signatures apt refuses, or soon will.
func warnOfKeys(a *App, ring *pgp.Keyring) {
	now := time.Now()
	for _, fp := range ring.Fingerprints() {
		info, _ := ring.Info(fp, now)
		switch {
		case info.AptRefuses != "":
			a.Log("key %s: apt would refuse: %s (mmoci key rotate makes the next one)", fp, info.AptRefuses)
		case !info.Expires.IsZero() && info.Expires.Sub(now) < site.KeySoon:
			a.Log("key %s expires on %s; from then on apt would refuse (mmoci key rotate makes the next one)", fp, info.Expires.Format(time.DateOnly))
		}
	}
}
