// Build makes mmoci's container image with the Go toolchain alone: an OCI
// layout of all architectures, a docker-archive of each, and with -push the image in a registry.
//
//	go run ./internal/image/build [-o dist] [-arch amd64,arm64] [-tag mmoci:devel] [-push HOST/REPO:TAG]
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/pkg/artifact"
)

func main() {
	out := flag.String("o", "dist", "`DIR` to write into: image/ (OCI layout), mmoci-ARCH.tar (docker-archive)")
	archs := flag.String("arch", "amd64,arm64", "architectures")
	tag := flag.String("tag", "mmoci:devel", "NAME:TAG of the image")
	push := flag.String("push", "", "`HOST/REPO:TAG` in a registry to push to; empty: nowhere")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	said, err := build(ctx, *out, strings.Split(*archs, ","), *tag, *push)
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
	fmt.Println(said)
}

// build writes everything and gives the digest of the index, or where it was pushed, by digest.
func build(ctx context.Context, out string, archs []string, tag, push string) (string, error) {
	_, version, ok := strings.Cut(tag, ":")
	if !ok {
		return "", fmt.Errorf("-tag %q is not NAME:TAG", tag)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", err
	}
	var images []*image.Image
	for _, arch := range archs {
		program, err := compile(out, arch)
		if err != nil {
			return "", fmt.Errorf("%s: %w", arch, err)
		}
		img, err := image.Build(image.MMOCI(arch, version, program, image.Epoch()))
		if err != nil {
			return "", fmt.Errorf("%s: %w", arch, err)
		}
		if err := image.WriteDockerArchive(filepath.Join(out, "mmoci-"+arch+".tar"), tag, img); err != nil {
			return "", err
		}
		images = append(images, img)
	}
	idx, err := image.NewIndex(images...)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(out, "image")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := image.WriteLayout(dir, version, idx); err != nil {
		return "", err
	}
	if push != "" {
		ref, err := image.Push(ctx, push, idx, artifact.Options{})
		return ref.String(), err
	}
	return idx.Digest().String(), nil
}

// compile makes the static program of an architecture; equal sources and toolchain make equal bytes.
func compile(out, arch string) ([]byte, error) {
	file := filepath.Join(out, "mmoci-"+arch)
	cmd := exec.Command(cmp.Or(os.Getenv("GO"), "go"), "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", file, "./cmd/mmoci")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go build: %w", err)
	}
	return os.ReadFile(file)
}
