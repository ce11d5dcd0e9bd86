package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// controls are the packages of the synthetic archive: name, version,
// architecture and fields. A name that ends in "-udeb" is a package of the installer.
var controls = []string{
	"nginx 1.22.1-9 amd64; Section: httpd; Priority: optional; Depends: libc6 (>= 2.36), iproute2 | net-tools; Pre-Depends: dpkg (>= 1.17); Recommends: nginx-doc; Suggests: fcgiwrap; Maintainer: Web Team <web@example.org>; Tag: role::program, web::server",
	"nginx 1.18.0-6 i386; Section: httpd; Priority: optional",
	"nginx-light 1.22.1-9 amd64; Section: httpd; Priority: extra; Source: nginx; Provides: nginx, httpd; Homepage: https://example.org/a/b",
	"nginx-extras 3.0-1 amd64; Section: httpd; Source: nginx; Provides: nginx (= 0.9), httpd (= 2.4)",
	"nginx-doc 1.22.1-9 all; Section: doc; Source: nginx (1.22.1-8); Homepage: https://example.org",
	"libc6 2.36-9 amd64; Section: libs; Source: glibc; Multi-Arch: same; Installed-Size: 1000",
	"libc6 2.36-9 i386; Section: libs; Source: glibc; Multi-Arch: same; Installed-Size: 900",
	"libc6-dev 2.36-9 amd64; Section: libdevel; Source: glibc; Depends: libc6 (= 2.36-9); Provides: libc-dev; Multi-Arch: same; Installed-Size: 90",
	"libc6-dev 2.36-10 amd64; Section: libdevel; Source: glibc; Provides: libc-dev; Installed-Size: 100",
	"libc6-dev 2.37~rc1-1 amd64; Section: libdevel; Source: glibc; Provides: libc-dev; Installed-Size: 110",
	"dpkg 1.21~rc1 amd64; Section: admin; Priority: required; Essential: yes; Task: minimal",
	"tar 1.34 amd64; Section: utils; Priority: required; Essential: yes; Pre-Depends: libc6 (>= 2.34)",
	"apt 2.6.1 amd64; Section: admin; Priority: important; Suggests: aptitude | synaptic; Recommends: ca-certificates",
	"less 590 amd64; Section: text; Priority: standard; Homepage: https://example.org/less; Task: server",
	"exim4 1:4.96-15 amd64; Section: mail; Provides: mail-transport-agent, smtp (= 5)",
	"postfix 3.7 amd64; Section: contrib/mail; Provides: mail-transport-agent (= 9); Tag: role::program",
	"python3.11 3.11.2-6 amd64; Section: python; Multi-Arch: allowed; Maintainer: Python Team <py@example.org>",
	"libstdc++6 12.2.0-14 amd64; Section: libs; Source: gcc-12",
	"epoch 2:1.0-1 all; Section: misc; Source: era (1:1.0-1)",
	"disk-udeb 1.0 amd64; Section: debian-installer; Source: disk; Provides: disk-driver",
	"tzdata 2024a-0+deb12u1 all; Section: localization; Provides: tzdata-bookworm; Description: time zones 0:1",
}

// build makes the packages below dir and gives their index.
func build(dir string) ([]byte, error) {
	var index bytes.Buffer
	for _, line := range controls {
		head, fields, _ := strings.Cut(line, ";")
		var name, version, arch string
		if _, err := fmt.Sscan(head, &name, &version, &arch); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\n", name, version, arch)
		for f := range strings.SplitSeq(fields, ";") {
			if f = strings.TrimSpace(f); f != "" {
				control += f + "\n"
			}
		}
		for _, f := range []string{"Maintainer: Somebody <somebody@example.org>", "Priority: optional", "Description: synthetic"} {
			if field, _, _ := strings.Cut(f, ":"); !strings.Contains(control, "\n"+field+": ") {
				control += f + "\n"
			}
		}
		kind := "deb"
		if strings.HasSuffix(name, "-udeb") {
			kind = "udeb"
		}
		file := fmt.Sprintf("%s_%s_%s.%s", name, strings.ReplaceAll(version, ":", "%3a"), arch, kind)
		data, err := pack(dir, file, control)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&index, "%sFilename: pool/%s\nSize: %d\nSHA256: %x\n\n", control, file, len(data), sha256.Sum256(data))
	}
	return index.Bytes(), nil
}

// pack lets dpkg-deb make one package.
func pack(dir, file, control string) ([]byte, error) {
	tree := filepath.Join(dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "DEBIAN"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(tree, "DEBIAN/control"), []byte(control), 0o644); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "debs", file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, path).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("dpkg-deb: %w\n%s", err, out)
	}
	return os.ReadFile(path)
}
