package image

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// refAnnotation names a tag in a layout's index.json (image-spec, annotations).
const refAnnotation = "org.opencontainers.image.ref.name"

// WriteLayout puts an index into a new OCI layout, under a tag.
func WriteLayout(dir, tag string, idx v1.ImageIndex) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("layout %s: there is something already", dir)
	}
	l, err := layout.Write(dir, emptyIndex())
	if err != nil {
		return fmt.Errorf("layout %s: %w", dir, err)
	}
	if err := l.AppendIndex(idx, layout.WithAnnotations(map[string]string{refAnnotation: tag})); err != nil {
		return fmt.Errorf("layout %s: %w", dir, err)
	}
	return nil
}

// WriteDockerArchive writes what `docker load`, `ctr image import` and `podman load` read.
func WriteDockerArchive(file, ref string, img v1.Image) error {
	tag, err := name.NewTag(ref, name.WithDefaultRegistry(""))
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
