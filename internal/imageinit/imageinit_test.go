package imageinit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/pkg/snapshot"
)

const containerYAML = "- vars: {name: x, os: linux, arch: amd64}\n- package: {type: embedded, path: ./pkgs/a}\n- image: {type: oci, content: '{}'}\n"

func options(t *testing.T, container, pkg string) Options {
	dir := t.TempDir()
	for name, text := range map[string]string{imageplan.ListName: container, "pkgs/a/pkg.yaml": pkg, "pkgs/a/patches/a.patch": "--- a\n"} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Options{
		Dir: dir,
		Source: func(context.Context, string, string) (*Source, error) {
			return &Source{Version: "1-2", Profiles: []string{"pkg.nginx.ipv6"}}, nil
		},
		Fetch: func(_ context.Context, url string) ([]byte, error) { return []byte("of " + url), nil },
	}
}

// What is wrong is told by its line in the file that is there, not in the one that is written of it.
func TestLineOfFault(t *testing.T) {
	_, err := Rewrite(t.Context(), options(t, containerYAML, "suffix: ~p1\n# c\n# c\nbase: www/nginx-1.7\noptions: [BAD]\nenv: {PATH: /x}\n"))
	for _, want := range []string{"pkg.yaml:1: suffix: ", "pkg.yaml:5: options: ", "pkg.yaml:6: env: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// The digest of a patch from the network is that of what its URL gives; a flag that the source declares stays.
func TestFetched(t *testing.T) {
	o := options(t, containerYAML, "base: www/nginx-1.7\npatches: {\"https://example.org/x.patch\": Why}\nuse: {with: [ipv6, selinux]}\n")
	tree, err := Rewrite(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := tree.Write(out); err != nil {
		t.Fatal(err)
	}
	p, err := buildsource.Load(filepath.Join(out, "pkgs/a"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Source != "nginx" || p.Version != "1-2" || p.Suffix != "+p1" || len(p.With) != 1 || p.With[0].Text != "ipv6" {
		t.Errorf("%+v", p)
	}
	if len(p.Patches) != 1 || p.Patches[0].Digest != snapshot.Sum([]byte("of https://example.org/x.patch")) || p.Patches[0].Why != "Why" {
		t.Errorf("%+v", p.Patches)
	}
	var notes []string
	for _, n := range tree.Notes {
		notes = append(notes, n.String())
	}
	for _, want := range []string{"pkg.yaml:2: https://example.org/x.patch: sha256 ", "pkg.yaml:3: use: selinux is left out: nginx has no build profile pkg.nginx.selinux (it has pkg.nginx.ipv6)"} {
		if !strings.Contains(strings.Join(notes, "\n"), want) {
			t.Errorf("%q lacks %q", notes, want)
		}
	}
}

// Whatever a container.yaml and a pkg.yaml say, they are refused as an input, or rewritten into what is read.
func FuzzRewrite(f *testing.F) {
	const pkgYAML = "base: nginx (= 1)\nsuffix: +q\noptions: [nocheck]\nenv: {A: b}\nprofiles: [nodoc]\nbuild: any\n"
	f.Add(containerYAML, "base: www/nginx-1.7\nauthor: A\npatches: {patches/a.patch: Why, \"https://example.org/x\": {why: w}}\nuse: {with: [ipv6]}\n")
	f.Add(containerYAML, pkgYAML)
	f.Add(containerYAML, "base: [")
	f.Add("- vars: {name: x, version: '1', os: linux, arch: amd64}\n- package: {type: embedded, path: ./pkgs/a}\n- package: plain\n"+
		"- sync: {src: ./pkgs, dest: /etc/x, recursive: True, chmod: 0644}\n"+
		"- image: {type: aci, content: '{\"acKind\": \"ImageManifest\", \"name\": \"{{ name }}-{{ version }}\", \"app\": {\"exec\": [\"/bin/x\"], \"user\": \"0\", \"group\": \"0\"}}'}\n", pkgYAML)
	f.Fuzz(func(t *testing.T, container, pkg string) {
		tree, err := Rewrite(t.Context(), options(t, container, pkg))
		if err == nil {
			err = tree.Write(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatalf("%q, %q: %v", container, pkg, err)
			}
			return
		}
		if !errors.Is(err, document.ErrUsage) {
			t.Fatalf("%q, %q: %v", container, pkg, err)
		}
	})
}
