package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// imaging is a site of real packages, and one of its own that changes every day, of which images are made.
type imaging struct {
	*bench
	top, site string
	changing  generated
}

// imaged has f work on such a site: images from a snapshot in a layout; the peers lay the same packages out from the same files.
func (b *bench) imaged(ctx context.Context, f func(m *imaging) error) error {
	if b.real == "" {
		return fmt.Errorf("needs a real upstream (-real)")
	}
	top, err := fresh(filepath.Join(b.tmp, "image"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	m := &imaging{bench: b, top: top, site: filepath.Join(top, "site"), changing: generated{packages: 1, bytes: 60e3, changed: 1, suite: "local"}}
	if err := m.prepare(ctx); err != nil {
		return err
	}
	return f(m)
}

func (b *bench) image(ctx context.Context) error {
	return b.imaged(ctx, func(m *imaging) error {
		for _, name := range []string{"docker.io", "postgresql-15"} {
			if err := m.cold(ctx, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
}

// imageScripts needs root: mmdebstrap and we set a root up alike then.
func (b *bench) imageScripts(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root")
	}
	return b.imaged(ctx, func(m *imaging) error { return m.installed(ctx, "postgresql-15") })
}

func (b *bench) imageChanged(ctx context.Context) error {
	return b.imaged(ctx, func(m *imaging) error { return m.changed(ctx) })
}

// prepare makes the snapshot.
func (m *imaging) prepare(ctx context.Context) error {
	if err := m.realSite(m.site, "oci:"+filepath.Join(m.top, "snapshot")+":real"); err != nil {
		return err
	}
	if err := m.generate(ctx, m.changing, filepath.Join(m.top, "local"), 0); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(m.site, "mmoci.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, `- prefix: local
  mode: curated
  url: %s
  suites: [local]
  components: [main]
  architectures: [amd64]
  signed-by: keys/archive.asc
  packages: all
`, filepath.Join(m.top, "local"))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		_, err = runAll(ctx, m.ours("state", "push", "-q"))
	}
	return err
}

// ours is a command of mmoci with a state directory of that name.
func (m *imaging) ours(state string, args ...string) command {
	return command{dir: m.site, env: []string{"XDG_STATE_HOME=" + filepath.Join(m.top, state), "TMPDIR=" + m.top}, args: append([]string{m.mmoci}, args...)}
}

// plan writes a plan, and returns its file and the packages of its lock: NAME=VERSION, and their files.
func (m *imaging) plan(ctx context.Context, name, more string, packages ...string) (file string, names, files []string, err error) {
	file = filepath.Join(m.site, name+".yaml")
	text := fmt.Sprintf("name: %s\npackages: [%s]\narch: amd64\n%s", name, strings.Join(packages, ", "), more)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return "", nil, nil, err
	}
	_, lock, err := m.ours("state", "image", "lock", "-f", file, "-o", "-").run(ctx)
	if err != nil {
		return "", nil, nil, err
	}
	where, err := m.pool()
	if err != nil {
		return "", nil, nil, err
	}
	for line := range strings.Lines(string(lock)) {
		if f := strings.Fields(line); f[0] == "package" {
			names = append(names, f[1]+"="+f[2])
			if deb := where[f[1]+" "+f[2]]; deb != "" {
				files = append(files, deb)
			}
		}
	}
	return file, names, files, nil
}

// pool are the files of the real packages by name and version.
func (m *imaging) pool() (map[string]string, error) {
	table, err := os.ReadFile(filepath.Join(m.real, "closure.tsv"))
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(table)) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 6 {
			out[f[0]+" "+f[1]] = filepath.Join(m.real, f[5])
		}
	}
	return out, nil
}

// debstrap is what a shell runs to have mmdebstrap write a tar to standard output.
const debstrap = `sed 's, file:, copy:,' "$1" | mmdebstrap --quiet --variant="$3" --include="$4" --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' ` +
	`--setup-hook='for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d"; ln -s "usr/$d" "$1/$d"; done' --format=tar bookworm - -`

// shell runs a script with the file of sources as $1, a file to be made as $2, and the rest.
func (m *imaging) shell(ctx context.Context, script string, args ...string) (cost, error) {
	out := filepath.Join(m.top, "peer")
	full := append([]string{"sh", "-ec", script, "sh", filepath.Join(m.real, ".apt", "sources.list"), out}, args...)
	took, _, err := command{dir: m.top, env: []string{"LC_ALL=C.UTF-8", "TMPDIR=" + m.top}, args: full}.run(ctx)
	if err != nil {
		return took, err
	}
	info, err := os.Stat(out)
	if err != nil || info.Size() < 1<<20 {
		return took, fmt.Errorf("the peer made nothing: %w", err)
	}
	return took, os.Remove(out)
}

// cold makes an image without scripts, again, and proves it.
func (m *imaging) cold(ctx context.Context, name string) error {
	file, names, debs, err := m.plan(ctx, name, "scripts: none\n", name)
	if err != nil {
		return err
	}
	title := "image of " + name + ", no scripts"
	cold := m.table.figure(figure{name: title + ", cold", unit: seconds, bar: 0.4, with: "mmdebstrap extract, gzip -1, umoci raw add-layer"})
	cpu := m.table.figure(figure{name: title + ", cold, processor time", unit: seconds, with: "the same"})
	gzip := m.table.figure(figure{name: title + ", cold, against a tar alone", unit: seconds, with: "mmdebstrap extract, gzip -1"})
	floor := m.table.figure(figure{name: title + ", cold, against its packages by hand", unit: seconds, bar: 1.2, with: "dpkg-deb --fsys-tarfile, gzip -1, two at a time"})
	peak := m.table.figure(figure{name: title + ": peak memory", unit: mebi, most: 128})
	warm := m.table.figure(figure{name: fmt.Sprintf("%s, nothing changed, %d packages", title, len(names)), unit: millis, most: 150})
	verify := m.table.figure(figure{name: title + ", verify", unit: seconds, bar: 1.1, with: "the cold build of it"})
	work := m.table.figure(figure{name: title + ", verify, processor time", unit: seconds, with: "the same"})
	provePeak := m.table.figure(figure{name: title + ", verify: peak memory", unit: mebi, most: 128})
	out := filepath.Join(m.top, "out")
	build := []string{"image", "build", "-q", "-f", file, "oci:" + out + ":x"}
	var colds, tars, images, floors []cost
	err = m.inTurn(func(i int) error {
		state := fmt.Sprintf("state-%s-%d", name, i)
		defer os.RemoveAll(filepath.Join(m.top, state))
		defer os.RemoveAll(out)
		took, _, err := m.ours(state, build...).run(ctx)
		if err != nil {
			return err
		}
		colds = append(colds, took)
		peak.alone(inMebi(took.peak))
		again, _, err := m.ours(state, build...).run(ctx)
		if err != nil {
			return err
		}
		warm.alone(inMillis(again.wall))
		proof, printed, err := m.ours(state, "image", "verify", "-q", "oci:"+out+":x").run(ctx)
		if err != nil {
			return err
		}
		if !strings.Contains(string(printed), "amd64: proved ") {
			return fmt.Errorf("image verify printed %q", printed)
		}
		verify.pair(inSeconds(proof.wall), inSeconds(took.wall))
		work.pair(inSeconds(proof.cpu), inSeconds(took.cpu))
		provePeak.alone(inMebi(proof.peak))
		return nil
	}, func(int) error {
		tar, err := m.shell(ctx, debstrap+` >"$2.tar"; gzip -1 <"$2.tar" >"$2"`, "extract", strings.Join(names, ","))
		if err != nil {
			return err
		}
		layer, err := m.shell(ctx, `umoci init --layout "$2.oci"; umoci new --image "$2.oci:x"; umoci raw add-layer --image "$2.oci:x" "$2.tar"; tar cf "$2" "$2.oci"; rm -rf "$2.oci" "$2.tar"`)
		if err != nil {
			return err
		}
		tars, images = append(tars, tar), append(images, tar.plus(layer))
		hand, err := m.shell(ctx, `shift; out=$1; shift; mkdir "$out.d"; printf '%s\n' "$@" | xargs -P 2 -I % sh -c 'dpkg-deb --fsys-tarfile % | gzip -1 >"$1/${2##*/}"' sh "$out.d" %; cat "$out.d"/* >"$out"; rm -r "$out.d"`, debs...)
		floors = append(floors, hand)
		return err
	})
	if err != nil {
		return err
	}
	for i, c := range colds {
		cold.pair(inSeconds(c.wall), inSeconds(images[i].wall))
		cpu.pair(inSeconds(c.cpu), inSeconds(images[i].cpu))
		gzip.pair(inSeconds(c.wall), inSeconds(tars[i].wall))
		floor.pair(inSeconds(c.wall), inSeconds(floors[i].wall))
	}
	return nil
}

// installed makes an image with Essential and its scripts run.
func (m *imaging) installed(ctx context.Context, name string) error {
	file, names, _, err := m.plan(ctx, name+"-run", "essential: yes\nscripts: run\n", name)
	if err != nil {
		return err
	}
	title := "image of " + name + " and Essential, scripts run"
	cold := m.table.figure(figure{name: title + ", cold", unit: seconds, bar: 0.8, with: "mmdebstrap custom, gzip -1"})
	cpu := m.table.figure(figure{name: title + ", cold, processor time", unit: seconds, with: "the same"})
	peak := m.table.figure(figure{name: title + ": peak memory", unit: mebi, most: 128})
	warm := m.table.figure(figure{name: fmt.Sprintf("%s, nothing changed, %d packages", title, len(names)), unit: millis, most: 150})
	verify := m.table.figure(figure{name: title + ", verify", unit: seconds, bar: 1.1, with: "the cold build of it"})
	provePeak := m.table.figure(figure{name: title + ", verify: peak memory", unit: mebi, most: 128})
	out := filepath.Join(m.top, "out")
	build := []string{"image", "build", "-q", "-f", file, "oci:" + out + ":x"}
	var colds, peers []cost
	err = m.inTurn(func(i int) error {
		state := fmt.Sprintf("state-%s-run-%d", name, i)
		defer os.RemoveAll(filepath.Join(m.top, state))
		defer os.RemoveAll(out)
		took, _, err := m.ours(state, build...).run(ctx)
		if err != nil {
			return err
		}
		colds = append(colds, took)
		peak.alone(inMebi(took.peak))
		again, _, err := m.ours(state, build...).run(ctx)
		if err != nil {
			return err
		}
		warm.alone(inMillis(again.wall))
		proof, _, err := m.ours(state, "image", "verify", "-q", "oci:"+out+":x").run(ctx)
		if err != nil {
			return err
		}
		verify.pair(inSeconds(proof.wall), inSeconds(took.wall))
		provePeak.alone(inMebi(proof.peak))
		return nil
	}, func(int) error {
		took, err := m.shell(ctx, debstrap+` | gzip -1 >"$2"`, "custom", strings.Join(names, ","))
		peers = append(peers, took)
		return err
	})
	if err != nil {
		return err
	}
	for i, c := range colds {
		cold.pair(inSeconds(c.wall), inSeconds(peers[i].wall))
		cpu.pair(inSeconds(c.cpu), inSeconds(peers[i].cpu))
	}
	return nil
}

// changed puts an image of a hundred packages into a registry each time that one of them has changed.
func (m *imaging) changed(ctx context.Context) error {
	r, err := distribution(filepath.Join(m.top, "registry"))
	if err != nil {
		return err
	}
	defer r.stop()
	file, names, _, err := m.plan(ctx, "changing", "scripts: none\n", "postgresql-15", m.changing.members(0)[0].name)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("image of %d packages to a registry, one changed", len(names))
	wall := m.table.figure(figure{name: title, unit: millis, most: 400})
	sent := m.table.figure(figure{name: title + ": layers sent", unit: count, most: 2})
	asked := m.table.figure(figure{name: title + ": requests", unit: count})
	var before []string
	for day := range m.pairs + 1 {
		if err := m.generate(ctx, m.changing, filepath.Join(m.top, "local"), day); err != nil {
			return err
		}
		if _, err := runAll(ctx, m.ours("state", "push", "-q")); err != nil {
			return err
		}
		var took cost
		requests, err := r.asked(func() (err error) {
			took, err = runAll(ctx, m.ours("state", "image", "build", "-q", "-f", file, r.host()+"/images/changing:x"))
			return err
		})
		if err != nil {
			return err
		}
		now, err := layersAt(r.url, "images/changing", "x")
		if err != nil {
			return err
		}
		if day > 0 {
			wall.alone(inMillis(took.wall))
			sent.alone(float64(len(slices.DeleteFunc(slices.Clone(now), func(d string) bool { return slices.Contains(before, d) }))))
			asked.alone(requests)
		}
		before = now
	}
	return nil
}

// layersAt are the digests of the layers of the first image of an index.
func layersAt(url, repository, tag string) ([]string, error) {
	type descriptor struct{ Digest string }
	var index struct{ Manifests []descriptor }
	var manifest struct{ Layers []descriptor }
	get := func(ref string, into any) error {
		req, err := http.NewRequest(http.MethodGet, url+"/v2/"+repository+"/manifests/"+ref, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s:%s: %s", repository, ref, resp.Status)
		}
		return json.NewDecoder(resp.Body).Decode(into)
	}
	if err := get(tag, &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) == 0 {
		return nil, fmt.Errorf("%s:%s has no manifests", repository, tag)
	}
	if err := get(index.Manifests[0].Digest, &manifest); err != nil {
		return nil, err
	}
	var out []string
	for _, l := range manifest.Layers {
		out = append(out, l.Digest)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s@%s has no layers", repository, index.Manifests[0].Digest)
	}
	return out, nil
}
