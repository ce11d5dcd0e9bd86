package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// realSite writes an mmoci.yaml over the real upstream.
func (b *bench) realSite(dir, ref string) error {
	if err := b.site(dir, "http://127.0.0.1", ref, "none"); err != nil { // for its keys
		return err
	}
	archives, err := os.ReadFile(filepath.Join(b.real, "mmoci.yaml"))
	if err != nil {
		return err
	}
	text := "ref: " + ref + "\nsign: {key: keys/site.asc}\ntrust: [keys/site.pub.asc]\n" + string(archives)
	return os.WriteFile(filepath.Join(dir, "mmoci.yaml"), []byte(text), 0o644)
}

// extract takes docker.io to a bare host: from a registry against oras.Copy of
// the same blobs, and against apt-get from nginx.
func (b *bench) extract(ctx context.Context) error {
	if b.real == "" {
		return fmt.Errorf("needs a real upstream (-real)")
	}
	top, err := fresh(filepath.Join(b.tmp, "extract"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	r, err := distribution(filepath.Join(top, "registry"))
	if err != nil {
		return err
	}
	defer r.stop()
	site := filepath.Join(top, "site")
	if err := b.realSite(site, r.host()+"/site/bench:real"); err != nil {
		return err
	}
	state := []string{"XDG_STATE_HOME=" + filepath.Join(site, "state")}
	ours := func(args ...string) command {
		return command{dir: site, env: state, args: append([]string{b.mmoci}, args...)}
	}
	prepare := []command{
		ours("push", "-q"),
		ours("pull", "-q", "-o", filepath.Join(top, "tree")),
		ours("pull", "-q", "--extract", "docker.io", "--host-status", "none", "-o", filepath.Join(top, "debs")),
		{args: []string{b.self, "oras-pack", filepath.Join(top, "debs"), filepath.Join(top, "oras")}},
		{args: []string{b.self, "oras-copy", filepath.Join(top, "oras"), "files", r.host() + "/site/oras", "files"}},
	}
	if _, err := runAll(ctx, prepare...); err != nil {
		return err
	}
	n, err := nginx(filepath.Join(top, "nginx"), filepath.Join(top, "tree"))
	if err != nil {
		return err
	}
	defer n.stop()
	byOras := b.table.figure(figure{name: "pull --extract docker.io from a registry", unit: millis, bar: 1.15, with: "stock oras.Copy of the same blobs"})
	bySame := b.table.figure(figure{name: "pull --extract docker.io, concurrency alike", unit: millis, with: "oras.Copy, 8 at a time"})
	byApt := b.table.figure(figure{name: "pull --extract docker.io, against apt", unit: millis, bar: 0.6, with: "apt-get update and --download-only install, nginx"})
	peak := b.table.figure(figure{name: "pull --extract: peak memory", unit: mebi, most: 96})
	copied := func(how string) func() (cost, error) {
		return func() (cost, error) {
			if err := os.RemoveAll(filepath.Join(top, "got")); err != nil {
				return cost{}, err
			}
			return runAll(ctx, command{args: []string{b.self, how, r.host() + "/site/oras", "files", filepath.Join(top, "got"), "files"}})
		}
	}
	for i := range b.pairs {
		runs := []func() (cost, error){
			func() (cost, error) {
				if _, err := fresh(filepath.Join(top, "debs")); err != nil {
					return cost{}, err
				}
				return runAll(ctx, ours("pull", "-q", "--extract", "docker.io", "--host-status", "none", "-o", filepath.Join(top, "debs")))
			},
			copied("oras-stock"),
			copied("oras-copy"),
			func() (cost, error) { return b.byApt(ctx, top, n.url) },
		}
		took := make([]cost, len(runs))
		for j := range runs {
			k := (i + j) % len(runs)
			var err error
			if took[k], err = runs[k](); err != nil {
				return err
			}
		}
		byOras.pair(inMillis(took[0].wall), inMillis(took[1].wall))
		bySame.pair(inMillis(took[0].wall), inMillis(took[2].wall))
		byApt.pair(inMillis(took[0].wall), inMillis(took[3].wall))
		peak.alone(inMebi(took[0].peak))
	}
	return b.fullIndices(ctx, top, r.host()+"/site/bench:real")
}

// byApt updates and downloads in a root of apt's own that knows nothing yet.
func (b *bench) byApt(ctx context.Context, top, url string) (cost, error) {
	dir, err := fresh(filepath.Join(top, "apt"))
	if err != nil {
		return cost{}, err
	}
	for _, d := range []string{"lists/partial", "archives/partial", "parts", "sources"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return cost{}, err
		}
	}
	inReleases, err := filepath.Glob(filepath.Join(top, "tree/*/dists/*/InRelease"))
	if err != nil {
		return cost{}, err
	}
	var sources strings.Builder
	for _, f := range inReleases {
		suite := filepath.Base(filepath.Dir(f))
		prefix := filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(f))))
		fmt.Fprintf(&sources, "deb [signed-by=%s] %s/%s %s main\n", filepath.Join(top, "site/keys/site.pub.asc"), url, prefix, suite)
	}
	conf := fmt.Sprintf(`Dir::State %[1]q; Dir::State::status "%[1]s/status"; Dir::Cache %[1]q; Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "%[1]s/sources"; Dir::Etc::parts "%[1]s/parts"; Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "%[1]s/parts";
Acquire::Languages "none"; Debug::NoLocking "true"; APT::Sandbox::User "root"; Acquire::http::Proxy "DIRECT"; Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
`, dir)
	for name, text := range map[string]string{"status": "", "sources.list": sources.String(), "apt.conf": conf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return cost{}, err
		}
	}
	env := []string{"APT_CONFIG=" + filepath.Join(dir, "apt.conf"), "LC_ALL=C"}
	return runAll(ctx,
		command{env: env, args: []string{"apt-get", "-q", "update"}},
		command{env: env, args: []string{"apt-get", "-y", "-q", "--no-install-recommends", "--download-only", "install", "docker.io"}})
}
