package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"example.org/mmoci/internal/builds"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Find gives the identity of what a pkg.yaml builds for an architecture. Nothing is asked for and nothing built.
func (s *Sources) Find(ctx context.Context, dir, arch string) (snapshot.Digest, error) {
	src, err := s.resolve(ctx, dir, arch)
	if err != nil {
		return snapshot.Digest{}, err
	}
	return src.Identity.Digest(), nil
}

// Take writes builds that count into a directory, each in one of its own, and removes what is there of others. What is there already and
// is the same is not written again, so that its files keep their dates. With sources the patched source package comes along.
//
// It returns what is known of each .deb, by its SHA256: the identity that it was built of, and who signed it.
//
// Errors: those of [builds.Use]; outcome.ErrUsage for two builds of one package in one version.
func (s *Sources) Take(ctx context.Context, dir string, ids []snapshot.Digest, sources bool) (map[string]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := durable.Lock(ctx, filepath.Join(dir, ".lock"), 0o600)
	if err != nil {
		return nil, err
	}
	defer unlock()
	known, names := map[string]string{}, map[string]bool{".lock": true}
	of := map[string]variant{}
	for _, id := range ids {
		if names[id.Hex()] {
			continue
		}
		names[id.Hex()] = true
		found, err := s.o.Use(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, p := range found.Debs() {
			st, err := stanza(ctx, found.Identity, p, found)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", id, err)
			}
			if err := alone(of, st, variant{id, p.Digest}); err != nil {
				return nil, err
			}
			known[p.Digest.Hex()] = fmt.Sprintf("built of %s, signed by %s", id, strings.Join(found.Builders, ", "))
		}
		if err := keep(ctx, filepath.Join(dir, id.Hex()), found, sources); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !names[e.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return known, nil
}

// variant is a .deb and what it was built of.
type variant struct{ identity, deb snapshot.Digest }

// alone refuses a package that another build has in the same version with other bytes.
func alone(of map[string]variant, st deb.Stanza, v variant) error {
	name := st.Get("Package") + " " + st.Get("Version") + " " + st.Get("Architecture")
	was, twice := of[name]
	if twice && was.deb != v.deb {
		return fmt.Errorf("%w: %s is built of %s and, with other bytes, of %s; no suite has two variants of one version: give one of them another suffix: in its pkg.yaml", outcome.ErrUsage, name, was.identity, v.identity)
	}
	of[name] = v
	return nil
}

// keep writes the parts of a build that a mirror has, unless they are there.
func keep(ctx context.Context, dir string, f *builds.Found, sources bool) error {
	wanted := map[string]snapshot.Digest{}
	take := func(p builds.Part) bool {
		if sources && (p.Type == builds.TypeSource && (f.Identity.Version == f.Identity.Base || !strings.HasSuffix(p.Title, ".dsc")) || p.Type == builds.TypeRecord && p.Title != builds.AboutName) {
			return true
		}
		return p.Type == builds.TypeDeb || p.Type == builds.TypeRecord && (strings.HasSuffix(p.Title, ".changes") || strings.HasSuffix(p.Title, ".buildinfo"))
	}
	for _, p := range f.Parts {
		if take(p) {
			wanted[p.Title] = p.Digest
		}
	}
	there, err := digestsIn(dir)
	if err != nil {
		return err
	}
	if maps.Equal(wanted, there) {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return f.WriteTo(ctx, dir, take)
}

// digestsIn are the digests of the files of a directory; none if it is not there.
func digestsIn(dir string) (map[string]snapshot.Digest, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	out := map[string]snapshot.Digest{}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		b, err := builds.Hashed(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		out[e.Name()] = b.Digest
	}
	return out, err
}
