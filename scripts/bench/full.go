package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fullIndices extracts where the index names a whole release: docker.io by
// upstream's own index, and a package of a whole release, curated and verbatim.
func (b *bench) fullIndices(ctx context.Context, top, ref string) error {
	bare, err := fresh(filepath.Join(top, "bare"))
	if err != nil {
		return err
	}
	args := []string{b.mmoci, "pull", "-q", ref, "--extract", "docker.io", "--host-status", "none"}
	keys, err := filepath.Glob(filepath.Join(b.real, "keyring-*.gpg"))
	if err != nil {
		return err
	}
	for _, key := range keys {
		prefix := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(key), "keyring-"), ".gpg")
		args = append(args, "--keyring", prefix+"="+key)
	}
	if err := b.extracting(ctx, "pull --extract docker.io, by upstream's keys and indices alone", bare, args); err != nil {
		return err
	}
	g := generated{packages: b.size(63440), bytes: int64(60e6 * b.scale), suite: "bookworm"}
	archive := filepath.Join(top, "release")
	if err := b.generate(ctx, g, archive, 0); err != nil {
		return err
	}
	for _, mode := range []string{"curated", "verbatim"} {
		site := filepath.Join(top, mode)
		if err := b.site(site, archive, "oci:layout:bench", "all"); err != nil {
			return err
		}
		config := filepath.Join(site, "mmoci.yaml")
		text, err := os.ReadFile(config)
		if err != nil {
			return err
		}
		if mode == "verbatim" {
			text = []byte(strings.NewReplacer("mode: curated", "mode: verbatim", "  packages: all\n", "").Replace(string(text)))
		}
		if err := os.WriteFile(config, text, 0o644); err != nil {
			return err
		}
		env := []string{"XDG_STATE_HOME=" + filepath.Join(site, "state")}
		if _, err := runAll(ctx, command{dir: site, env: env, args: []string{b.mmoci, "push", "-q"}}); err != nil {
			return err
		}
		args := []string{b.mmoci, "pull", "-q", "--extract", g.members(0)[g.packages/2].name, "--host-status", "none"}
		if err := b.extracting(ctx, fmt.Sprintf("pull --extract of a package, %s, index of %d", mode, g.packages), site, args); err != nil {
			return err
		}
	}
	return nil
}

// extracting measures one pull in a directory.
func (b *bench) extracting(ctx context.Context, name, dir string, args []string) error {
	wall := b.table.figure(figure{name: name, unit: millis})
	peak := b.table.figure(figure{name: name + ": peak memory", unit: mebi})
	args = append(args, "-o", filepath.Join(dir, "debs"))
	for range b.pairs {
		if _, err := fresh(filepath.Join(dir, "debs")); err != nil {
			return err
		}
		took, err := runAll(ctx, command{dir: dir, env: []string{"XDG_STATE_HOME=" + filepath.Join(dir, "state")}, args: args})
		if err != nil {
			return err
		}
		wall.alone(inMillis(took.wall))
		peak.alone(inMebi(took.peak))
	}
	return nil
}
