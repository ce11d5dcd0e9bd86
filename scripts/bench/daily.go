package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// daily is the every-day work: a whole archive, curated and signed, then the
// next day, then a day without change, against aptly's mirror, snapshot and publish.
func (b *bench) daily(ctx context.Context, where, work string) error {
	g := generated{packages: b.size(20000), bytes: int64(400e6 * b.scale), changed: 0.01, suite: "bookworm"}
	up, err := newMirror(ctx, b, "upstream", g, 2)
	if err != nil {
		return err
	}
	defer up.stop()
	title := func(what string) string {
		return fmt.Sprintf("%s, %d packages, %s", what, g.packages, where)
	}
	const with = "aptly: mirror update, snapshot, publish"
	cold := b.table.figure(figure{name: title("cold push to a layout"), unit: seconds, bar: 0.3, with: with})
	peak := b.table.figure(figure{name: title("cold push: peak memory"), unit: mebi, bar: 0.4, with: "aptly"})
	next := b.table.figure(figure{name: title("next day, 1% changed"), unit: seconds, bar: 0.1, with: "aptly: mirror update, snapshot, publish switch"})
	same := b.table.figure(figure{name: title("nothing changed"), unit: millis, most: 150})
	synced := work == b.disk
	var ours, peers [2]cost
	err = b.inTurn(func(i int) (err error) {
		var idle cost
		ours, idle, err = b.dailyOurs(ctx, up, work, synced)
		if err == nil {
			same.alone(inMillis(idle.wall))
			if i%2 == 1 {
				cold.pair(inSeconds(ours[0].wall), inSeconds(peers[0].wall))
				peak.pair(inMebi(ours[0].peak), inMebi(peers[0].peak))
				next.pair(inSeconds(ours[1].wall), inSeconds(peers[1].wall))
			}
		}
		return err
	}, func(i int) (err error) {
		peers, err = b.dailyAptly(ctx, up, work, synced)
		if err == nil && i%2 == 0 {
			cold.pair(inSeconds(ours[0].wall), inSeconds(peers[0].wall))
			peak.pair(inMebi(ours[0].peak), inMebi(peers[0].peak))
			next.pair(inSeconds(ours[1].wall), inSeconds(peers[1].wall))
		}
		return err
	})
	return err
}

// dailyOurs returns the costs of day 0 and day 1, and of day 1 again.
func (b *bench) dailyOurs(ctx context.Context, up *mirror, work string, synced bool) (days [2]cost, idle cost, err error) {
	dir, err := fresh(filepath.Join(work, "mmoci"))
	if err != nil {
		return days, idle, err
	}
	defer os.RemoveAll(dir)
	if err := b.site(dir, up.url, "oci:layout:bench", "all"); err != nil {
		return days, idle, err
	}
	push := []command{{dir: dir, env: []string{"XDG_STATE_HOME=" + filepath.Join(dir, "state")}, args: []string{b.mmoci, "push", "-q"}}}
	if synced {
		push = append(push, command{args: []string{"sync", "-f", dir}})
	}
	for d := range days {
		if err := up.show(d); err != nil {
			return days, idle, err
		}
		if days[d], err = runAll(ctx, push...); err != nil {
			return days, idle, err
		}
	}
	idle, err = runAll(ctx, push[0])
	return days, idle, err
}

// dailyAptly does the same with aptly.
func (b *bench) dailyAptly(ctx context.Context, up *mirror, work string, synced bool) (days [2]cost, err error) {
	dir, err := fresh(filepath.Join(work, "aptly"))
	if err != nil {
		return days, err
	}
	defer os.RemoveAll(dir)
	a, err := newAptly(ctx, dir)
	if err != nil {
		return days, err
	}
	defer runAll(context.WithoutCancel(ctx), command{env: a.env(), args: []string{"gpgconf", "--kill", "gpg-agent"}})
	if err := up.show(0); err != nil {
		return days, err
	}
	if _, err := runAll(ctx, a.command("mirror", "create", "-keyring="+a.trusted, "-architectures=amd64", "bench", up.url, "bookworm", "main")); err != nil {
		return days, err
	}
	for d := range days {
		if err := up.show(d); err != nil {
			return days, err
		}
		name := fmt.Sprintf("day%d", d)
		cs := []command{
			a.command("mirror", "update", "-keyring="+a.trusted, "bench"),
			a.command("snapshot", "create", name, "from", "mirror", "bench"),
			a.command("publish", "snapshot", "-batch", "-skip-contents", "-gpg-key="+a.key, "-distribution=bookworm", name),
		}
		if d > 0 {
			cs[2] = a.command("publish", "switch", "-batch", "-skip-contents", "-gpg-key="+a.key, "bookworm", name)
		}
		if synced {
			cs = append(cs, command{args: []string{"sync", "-f", dir}})
		}
		if days[d], err = runAll(ctx, cs...); err != nil {
			return days, err
		}
	}
	return days, nil
}

// aptly is a root of its own with a signing key of its own.
type aptly struct {
	dir, home, trusted, key string
}

func newAptly(ctx context.Context, dir string) (*aptly, error) {
	a := &aptly{dir: dir, home: filepath.Join(dir, "gnupg"), trusted: filepath.Join(dir, "trusted.gpg"), key: "bench@example.org"}
	if err := os.MkdirAll(a.home, 0o700); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`{"rootDir": %q, "downloadConcurrency": 8, "architectures": ["amd64"], "skipContentsPublishing": true, "gpgProvider": "gpg2"}`, filepath.Join(dir, "root"))
	if err := os.WriteFile(filepath.Join(dir, "aptly.conf"), []byte(conf), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(a.trusted, archiveKey().PublicBinary(), 0o644); err != nil {
		return nil, err
	}
	_, err := runAll(ctx, command{env: a.env(), args: []string{"gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", a.key, "ed25519", "sign", "never"}})
	return a, err
}

func (a *aptly) env() []string { return []string{"GNUPGHOME=" + a.home} }

func (a *aptly) command(args ...string) command {
	return command{dir: a.dir, env: a.env(), args: append([]string{"aptly", "-config=" + filepath.Join(a.dir, "aptly.conf")}, args...)}
}

// registry pushes 133 files to a registry, as mmoci from an archive's directory and as stock
// oras-go from the same files, with equal concurrency; and against oras.Copy alone, of what was packed before.
func (b *bench) registry(ctx context.Context) error {
	g := generated{packages: b.size(133), bytes: int64(111e6 * b.scale), suite: "bookworm"}
	top, err := fresh(filepath.Join(b.tmp, "few"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	archive, layout, site := filepath.Join(top, "archive"), filepath.Join(top, "oras"), filepath.Join(top, "site")
	if err := b.generate(ctx, g, archive, 0); err != nil {
		return err
	}
	debs := filepath.Join(archive, "pool")
	if _, err := runAll(ctx, command{args: []string{b.self, "oras-pack", debs, layout}}); err != nil {
		return err
	}
	name := fmt.Sprintf("push of %d .debs, %.0f MB, to distribution", g.packages, float64(g.bytes)/1e6)
	wall := b.table.figure(figure{name: name, unit: seconds, bar: 1, with: "oras.PackManifest and oras.Copy of the same files"})
	copied := b.table.figure(figure{name: name + ", against blobs known", unit: seconds, with: "oras.Copy alone of an artifact packed before"})
	asked := b.table.figure(figure{name: name + ": requests", unit: count, with: "oras.Copy"})
	pushes := []func(host string) (command, error){
		func(host string) (command, error) {
			if err := b.site(site, archive, host+"/site/bench:few", "all"); err != nil {
				return command{}, err
			}
			state := filepath.Join(site, "state")
			return command{dir: site, env: []string{"XDG_STATE_HOME=" + state}, args: []string{b.mmoci, "push", "-q"}}, os.RemoveAll(state)
		},
		func(host string) (command, error) {
			return command{args: []string{b.self, "oras-push", debs, host + "/site/oras", "files"}}, nil
		},
		func(host string) (command, error) {
			return command{args: []string{b.self, "oras-copy", layout, "files", host + "/site/oras", "files"}}, nil
		},
	}
	for i := range b.pairs {
		var took [3]cost
		var requests [3]float64
		for j := range pushes {
			k := (i + j) % len(pushes)
			if took[k], requests[k], err = toEmpty(ctx, filepath.Join(top, "registry"), pushes[k]); err != nil {
				return err
			}
		}
		wall.pair(inSeconds(took[0].wall), inSeconds(took[1].wall))
		copied.pair(inSeconds(took[0].wall), inSeconds(took[2].wall))
		asked.pair(requests[0], requests[1])
	}
	return nil
}

// toEmpty pushes to a registry that holds nothing yet, and counts its requests.
func toEmpty(ctx context.Context, dir string, push func(host string) (command, error)) (cost, float64, error) {
	if _, err := fresh(dir); err != nil {
		return cost{}, 0, err
	}
	r, err := distribution(dir)
	if err != nil {
		return cost{}, 0, err
	}
	defer r.stop()
	c, err := push(r.host())
	if err != nil {
		return cost{}, 0, err
	}
	var took cost
	asked, err := r.asked(func() (err error) {
		took, _, err = c.run(ctx)
		return err
	})
	return took, asked, err
}
