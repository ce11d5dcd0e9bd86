package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/pkg/deb"
)

// What the image for CI runners is made of, from the packages that have it in Debian and Ubuntu.
const (
	shellPackage = "busybox-static"
	shellFile    = "bin/busybox" // or below usr/, where bin is a link
	certPackage  = "ca-certificates"
	certDir      = "usr/share/ca-certificates/mozilla/"
)

// Bounds of what is taken of a .deb, in bytes.
const (
	maxShell = 16 << 20
	maxCerts = 16 << 20
)

// withShell makes the image for CI runners of one of mmoci. The .debs are those in
// dir; what is missing there is downloaded by the host's own apt, which verifies it.
func withShell(s image.Spec, dir string) (image.Spec, error) {
	arch := debianName(s.Architecture)
	shell, err := readDeb(dir, shellPackage, arch, maxShell, func(name string) bool {
		return name == shellFile || name == "usr/"+shellFile
	})
	if err != nil {
		return s, err
	}
	certs, err := readDeb(dir, certPackage, "all", maxCerts, func(name string) bool {
		return strings.HasPrefix(name, certDir) && path.Ext(name) == ".crt"
	})
	if err != nil {
		return s, err
	}
	return image.CI(s, slices.Collect(maps.Values(shell))[0], bundle(certs)), nil
}

// bundle joins certificates in the order of their files' names, as update-ca-certificates does.
func bundle(certs map[string][]byte) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(certs)) {
		b.Write(bytes.TrimSpace(certs[name]))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// readDeb reads files of a package's .deb, at least one.
func readDeb(dir, pkg, arch string, most int64, want func(string) bool) (map[string][]byte, error) {
	file, err := findDeb(dir, pkg, arch)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	files, err := deb.DataFiles(f, most, want)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("it has not the files that %s has in Debian", pkg)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return files, nil
}

// findDeb finds the one .deb of a package in dir, or downloads it.
func findDeb(dir, pkg, arch string) (string, error) {
	pattern := filepath.Join(dir, pkg+"_*_"+arch+".deb")
	for downloaded := false; ; downloaded = true {
		found, err := filepath.Glob(pattern)
		switch {
		case err != nil:
			return "", err
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return "", fmt.Errorf("%s: %d files, and one is wanted", pattern, len(found))
		case downloaded:
			return "", fmt.Errorf("%s: apt-get downloaded another file", pattern)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		name := pkg
		if arch != "all" {
			name += ":" + arch
		}
		cmd := exec.Command("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("apt-get download %s: %w (-debs names a directory that has it, where apt does not know it)", name, err)
		}
	}
}

// debianName is how Debian calls an architecture of Go's.
func debianName(arch string) string {
	return cmp.Or(map[string]string{"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"}[arch], arch)
}
