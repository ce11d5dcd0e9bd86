package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// refAnnotation names a tag in a layout's index.json (image-spec, annotations).
const refAnnotation = "org.opencontainers.image.ref.name"

// WriteLayout puts an index into a new OCI layout, under a tag.
func WriteLayout(dir, tag string, idx *Index) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("layout %s: there is something already", dir)
	}
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return fmt.Errorf("layout %s: %w", dir, err)
	}
	content, documents := idx.parts()
	for _, p := range append(content, documents...) {
		if err := os.WriteFile(filepath.Join(blobs, digestOf(p).Hex()), p.Data, 0o644); err != nil {
			return fmt.Errorf("layout %s: %w", dir, err)
		}
	}
	root := describe(idx.Document)
	root.Notes = map[string]string{refAnnotation: tag}
	top, err := index([]descriptor{root})
	if err != nil {
		return fmt.Errorf("layout %s: %w", dir, err)
	}
	for name, data := range map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": top.Data} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("layout %s: %w", dir, err)
		}
	}
	return nil
}

// member is a file of a docker-archive.
type member struct {
	name string
	data []byte
}

// WriteDockerArchive writes what `docker load`, `ctr image import` and `podman
// load` read: the format of `docker save`.
func WriteDockerArchive(file, ref string, img *Image) error {
	config := digestOf(img.Config).Hex() + ".json"
	members := []member{{config, img.Config.Data}}
	var layers []string
	for _, l := range img.Layers {
		name := digestOf(l).Hex() + ".tar.gz"
		layers = append(layers, name)
		members = append(members, member{name, l.Data})
	}
	list, err := json.Marshal([]struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{{config, []string{ref}, layers}})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	members = append(members, member{"manifest.json", list})
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, m := range members {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Mode: 0o644, Size: int64(len(m.data))}); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if _, err := w.Write(m.data); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return f.Close()
}
