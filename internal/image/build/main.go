// Build makes mmoci's container image with the Go toolchain alone: an OCI
// layout of all architectures, a docker-archive of each, and with -push the image in a registry.
// With -ci the image is one for CI runners, which has a shell and CA certificates,
// of .debs that the host's apt downloads; its name gets the suffix -ci.
//
//	go run ./internal/image/build [-o dist] [-arch amd64,arm64] [-tag mmoci:devel] [-push HOST/REPO:TAG] [-ci [-debs DIR]]
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
	"runtime"
	"strings"
	"syscall"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/pkg/artifact"
)

func main() {
	var o options
	flag.StringVar(&o.out, "o", "dist", "`DIR` to write into: image/ (OCI layout), mmoci-ARCH.tar (docker-archive)")
	archs := flag.String("arch", "", "architectures (default amd64,arm64; with -ci that of this host)")
	flag.StringVar(&o.tag, "tag", "mmoci:devel", "NAME:TAG of the image")
	flag.StringVar(&o.push, "push", "", "`HOST/REPO:TAG` in a registry to push to; empty: nowhere")
	flag.BoolVar(&o.ci, "ci", false, "an image for CI runners: with a shell and CA certificates; tags get the suffix -ci")
	flag.StringVar(&o.debs, "debs", "", "`DIR` of busybox-static and ca-certificates; what is missing there apt downloads (default: both, anew)")
	flag.Parse()
	switch {
	case *archs != "":
		o.archs = strings.Split(*archs, ",")
	case o.ci:
		o.archs = []string{runtime.GOARCH}
	default:
		o.archs = []string{"amd64", "arm64"}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	said, err := build(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
	fmt.Println(said)
}

type options struct {
	out, tag, push, debs string
	archs                []string
	ci                   bool
}

// build writes everything and gives the digest of the index, or where it was pushed, by digest.
func build(ctx context.Context, o options) (string, error) {
	suffix := ""
	if o.ci {
		suffix = "-ci"
		o.tag += suffix
		if o.push != "" {
			o.push += suffix
		}
	}
	_, version, ok := strings.Cut(o.tag, ":")
	if !ok {
		return "", fmt.Errorf("-tag %q is not NAME:TAG", o.tag)
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return "", err
	}
	if o.ci && o.debs == "" {
		dir, err := os.MkdirTemp("", "mmoci-image-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(dir)
		o.debs = dir
	}
	var images []*image.Image
	for _, arch := range o.archs {
		program, err := compile(o.out, arch)
		if err != nil {
			return "", fmt.Errorf("%s: %w", arch, err)
		}
		spec := image.MMOCI(arch, version, program, image.Epoch())
		if o.ci {
			if spec, err = withShell(spec, o.debs); err != nil {
				return "", fmt.Errorf("%s: %w", arch, err)
			}
		}
		img, err := image.Build(spec)
		if err != nil {
			return "", fmt.Errorf("%s: %w", arch, err)
		}
		if err := image.WriteDockerArchive(filepath.Join(o.out, "mmoci"+suffix+"-"+arch+".tar"), o.tag, img); err != nil {
			return "", err
		}
		images = append(images, img)
	}
	idx, err := image.NewIndex(images...)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(o.out, "image"+suffix)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := image.WriteLayout(dir, version, idx); err != nil {
		return "", err
	}
	if o.push != "" {
		ref, err := image.Push(ctx, o.push, idx, artifact.Options{})
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
