package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is a file or directory of an image.
type File struct {
	Path string // from the root, without first slash: usr/bin/mmoci
	Mode int64  // permissions
	UID  int    // and GID
	Dir  bool
	Data []byte
}

// Spec is what an image of one architecture is made of.
type Spec struct {
	Architecture string // as Go and OCI call it: amd64
	Variant      string
	Files        []File // in any order; parents that are missing are made, of root's
	Entrypoint   []string
	Command      []string
	Environment  []string
	User         string
	Labels       map[string]string
	Created      time.Time // of the image and its files
}

// Build makes an image with one layer. Equal specs make equal digests.
func Build(s Spec) (v1.Image, error) {
	if s.Created.IsZero() {
		return nil, errors.New("image: no time of creation")
	}
	data, err := layer(s.Files, s.Created)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("image: layer: %w", err)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{Created: v1.Time{Time: s.Created.UTC()}, CreatedBy: "mmoci"}, MediaType: types.OCILayer})
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Variant = "linux", s.Architecture, s.Variant
	cf.Created = v1.Time{Time: s.Created.UTC()}
	cf.Config = v1.Config{
		Entrypoint: s.Entrypoint, Cmd: s.Command, Env: s.Environment, User: s.User, WorkingDir: "/", Labels: s.Labels,
	}
	return mutate.ConfigFile(img, cf)
}

// layer is the tar of the files, sorted, each directory before what is in it.
func layer(files []File, at time.Time) ([]byte, error) {
	all := map[string]File{}
	for _, f := range files {
		if f.Path == "" || path.Clean("/"+f.Path) != "/"+f.Path {
			return nil, fmt.Errorf("path %q", f.Path)
		}
		if _, twice := all[f.Path]; twice {
			return nil, fmt.Errorf("%s: twice", f.Path)
		}
		all[f.Path] = f
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			switch parent, ok := all[dir]; {
			case !ok:
				all[dir] = File{Path: dir, Mode: 0o755, Dir: true}
			case !parent.Dir:
				return nil, fmt.Errorf("%s: below a file", f.Path)
			}
		}
	}
	sorted := make([]File, 0, len(all))
	for _, f := range all {
		sorted = append(sorted, f)
	}
	slices.SortFunc(sorted, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range sorted {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode, Uid: f.UID, Gid: f.UID, Size: int64(len(f.Data)), ModTime: at.UTC().Truncate(time.Second)}
		if f.Dir {
			h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Index joins images of several architectures, in the order given.
func Index(images ...v1.Image) (v1.ImageIndex, error) {
	idx := emptyIndex()
	for _, img := range images {
		cf, err := img.ConfigFile()
		if err != nil {
			return nil, err
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: cf.OS, Architecture: cf.Architecture, Variant: cf.Variant},
		}})
	}
	return idx, nil
}

// emptyIndex is an index that nothing was appended to yet.
func emptyIndex() v1.ImageIndex { return mutate.IndexMediaType(empty.Index, types.OCIImageIndex) }
