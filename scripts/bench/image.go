package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// image makes a container image of docker.io and what it needs, without their scripts, from a snapshot in a layout; the peer lays the
// same packages out from the same files, and packs them into one tar.
func (b *bench) image(ctx context.Context) error {
	if b.real == "" {
		return fmt.Errorf("needs a real upstream (-real)")
	}
	top, err := fresh(filepath.Join(b.tmp, "image"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	site := filepath.Join(top, "site")
	if err := b.realSite(site, "oci:"+filepath.Join(top, "snapshot")+":real"); err != nil {
		return err
	}
	plan := "name: docker\npackages: [docker.io]\narch: amd64\nscripts: none\n"
	if err := os.WriteFile(filepath.Join(site, "image.yaml"), []byte(plan), 0o644); err != nil {
		return err
	}
	ours := func(state string, args ...string) command {
		return command{dir: site, env: []string{"XDG_STATE_HOME=" + filepath.Join(top, state)}, args: append([]string{b.mmoci}, args...)}
	}
	if _, err := runAll(ctx, ours("state", "push", "-q")); err != nil {
		return err
	}
	_, lock, err := ours("state", "image", "lock", "-o", "-").run(ctx)
	if err != nil {
		return err
	}
	var names []string // by name, so that both take the same of several alternatives
	for line := range strings.Lines(string(lock)) {
		if f := strings.Fields(line); f[0] == "package" {
			names = append(names, f[1])
		}
	}
	cold := b.table.figure(figure{name: "image of docker.io, no scripts, cold", unit: seconds, bar: 0.4, with: "mmdebstrap extract, gzip -1"})
	peak := b.table.figure(figure{name: "image: peak memory", unit: mebi, most: 128})
	warm := b.table.figure(figure{name: "image, nothing changed", unit: millis, most: 150})
	verify := b.table.figure(figure{name: "image verify", unit: seconds, bar: 1.1, with: "the cold build of it"})
	out := filepath.Join(top, "out")
	build := []string{"image", "build", "-q", "oci:" + out + ":docker"}
	var colds, peers []cost
	err = b.inTurn(func(i int) error {
		state := fmt.Sprintf("state-%d", i)
		took, _, err := ours(state, build...).run(ctx)
		if err != nil {
			return err
		}
		colds = append(colds, took)
		peak.alone(inMebi(took.peak))
		again, _, err := ours(state, build...).run(ctx)
		if err != nil {
			return err
		}
		warm.alone(inMillis(again.wall))
		proof, printed, err := ours(state, "image", "verify", "-q", "oci:"+out+":docker").run(ctx)
		if err != nil {
			return err
		}
		if !strings.Contains(string(printed), "amd64: proved ") {
			return fmt.Errorf("image verify printed %q", printed)
		}
		verify.pair(inSeconds(proof.wall), inSeconds(took.wall))
		return os.RemoveAll(out)
	}, func(int) error {
		sources := filepath.Join(b.real, ".apt", "sources.list")
		tar := filepath.Join(top, "peer.tar.gz")
		took, _, err := command{args: []string{"sh", "-c", `sed 's, file:, copy:,' "$1" | mmdebstrap --quiet --variant=extract --include="$3" --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' --format=tar bookworm - - | gzip -1 >"$2"`, "sh", sources, tar, strings.Join(names, ",")}}.run(ctx)
		if err != nil {
			return err
		}
		info, err := os.Stat(tar)
		if err != nil || info.Size() < 1<<20 {
			return fmt.Errorf("mmdebstrap made nothing: %w", err)
		}
		peers = append(peers, took)
		return os.Remove(tar)
	})
	if err != nil {
		return err
	}
	for i := range colds {
		cold.pair(inSeconds(colds[i].wall), inSeconds(peers[i].wall))
	}
	return nil
}
