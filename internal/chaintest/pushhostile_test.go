package chaintest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/artifact"
)

// TestPushHostileArchives pushes every hostile archive to a layout: the ones that
// are honest are taken, others are refused with the right class, and then nothing has a tag.
func TestPushHostileArchives(t *testing.T) {
	for _, h := range testarchive.HostileArchives() {
		t.Run(h.Name, func(t *testing.T) {
			t.Parallel()
			ref, err := pushHostile(t, h)
			want := h.Want
			if h.Stage == testarchive.AtExtract {
				want = testarchive.Taken // only a host sees what is wrong
			}
			switch {
			case want == testarchive.Taken:
				if err != nil {
					t.Errorf("%s: %v", h.Why, err)
				}
				return
			case err == nil:
				t.Errorf("%s: was pushed", h.Why)
			case want == testarchive.Integrity && !errors.Is(err, outcome.ErrIntegrity):
				t.Errorf("%s: is no integrity failure: %v", h.Why, err)
			case want == testarchive.Expired && (errors.Is(err, outcome.ErrIntegrity) || !errors.Is(err, outcome.ErrExpired)):
				t.Errorf("%s: is not told as too old: %v", h.Why, err)
			case !strings.Contains(err.Error(), h.Names):
				t.Errorf("%s: %q is not named: %v", h.Why, h.Names, err)
			}
			if _, err := artifact.Resolve(t.Context(), ref, artifact.Options{}); !errors.Is(err, artifact.ErrNotFound) {
				t.Errorf("%s: there is a tag (%v)", h.Why, err)
			}
		})
	}
}

// pushHostile pushes one hostile archive, whose package top is asked for.
func pushHostile(t *testing.T, h testarchive.Hostile) (artifact.Reference, error) {
	dir := t.TempDir()
	h.Files(t).Write(t, filepath.Join(dir, "up"))
	key := filepath.Join(dir, "key.asc")
	if err := os.WriteFile(key, h.Keyring, 0o600); err != nil {
		t.Fatal(err)
	}
	ref := artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(dir, "mirror"), Tag: "latest"}
	_, err := push.Run(t.Context(), push.Options{
		Plan: &config.Plan{Archives: []config.Archive{{
			Prefix: "toy", URLs: []string{filepath.Join(dir, "up")}, Suites: []string{"toy"}, Components: []string{"main"},
			Architectures: []string{"amd64"}, SignedBy: key, Packages: []config.Query{{Text: "top"}}, CheckValidUntil: true,
		}}},
		Ref: ref, Signer: world.SignerOf(t, testarchive.SiteKey()), Now: testarchive.HostileNow(),
	})
	return ref, err
}
