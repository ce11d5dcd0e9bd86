package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/testarchive"
)

// The image for CI runners has the shell and the certificates of the .debs, and nothing else of them.
func TestWithShell(t *testing.T) {
	put := func(dir, file, name, arch string, content map[string]string) {
		t.Helper()
		deb := testarchive.Package{Name: name, Version: "1", Architecture: arch, Content: content}.Deb(t)
		if err := os.WriteFile(filepath.Join(dir, file), deb, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const certs = "usr/share/ca-certificates/mozilla/"
	for where, shell := range map[string]string{"bookworm": "bin/busybox", "trixie": "usr/bin/busybox"} {
		dir := t.TempDir()
		put(dir, "busybox-static_1_amd64.deb", "busybox-static", "amd64", map[string]string{shell: "busybox", "usr/share/doc/busybox-static/copyright": "x"})
		put(dir, "busybox-static_1_arm64.deb", "busybox-static", "arm64", map[string]string{shell: "of arm64"})
		put(dir, "ca-certificates_1_all.deb", "ca-certificates", "all", map[string]string{certs + "B.crt": "b", certs + "A.crt": "a\n", "usr/sbin/update-ca-certificates": "#!/bin/sh"})
		s, err := withShell(image.MMOCI("amd64", "v1", []byte("program"), image.Epoch()), dir)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		files := map[string]image.File{}
		for _, f := range s.Layers[len(s.Layers)-1] {
			files[f.Path] = f
		}
		if f := files["bin/busybox"]; string(f.Data) != "busybox" || f.Mode != 0o755 {
			t.Errorf("%s: busybox %+v", where, f)
		}
		if f := files["etc/ssl/certs/ca-certificates.crt"]; string(f.Data) != "a\nb\n" {
			t.Errorf("%s: certificates %q", where, f.Data)
		}
		if files["bin/sh"].Link != "busybox" || files["usr/bin/env"].Link != "/bin/busybox" || len(s.Entrypoint) != 0 || s.User != "" || s.Command[0] != "/bin/sh" {
			t.Errorf("%s: %+v", where, s)
		}
		if _, err := image.Build(s); err != nil {
			t.Errorf("%s: %v", where, err)
		}
		put(dir, "busybox-static_2_amd64.deb", "busybox-static", "amd64", nil)
		if _, err := withShell(s, dir); err == nil || !strings.Contains(err.Error(), "2 files") {
			t.Errorf("%s: two versions: %v", where, err)
		}
	}
	dir := t.TempDir()
	put(dir, "busybox-static_1_amd64.deb", "busybox-static", "amd64", map[string]string{"usr/bin/other": "x"})
	if _, err := withShell(image.MMOCI("amd64", "v1", nil, image.Epoch()), dir); err == nil || !strings.Contains(err.Error(), "has not the files") {
		t.Errorf("a package without busybox: %v", err)
	}
}
