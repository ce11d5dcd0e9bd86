package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
)

// Media types of image-spec 1.1 (manifest.md, image-index.md, layer.md, config.md).
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"

	TypeLayer     = "application/vnd.oci.image.layer.v1.tar"
	TypeGzipLayer = TypeLayer + "+gzip"
	TypeZstdLayer = TypeLayer + "+zstd"
)

// File is a file or directory of an image.
type File struct {
	Path string // from the root, without first slash: usr/bin/mmoci
	Mode int64  // permissions
	UID  int    // and GID
	Dir  bool
	Link string // target of a symbolic link, "" if it is none
	Data []byte
}

// Spec is what an image of one architecture is made of.
type Spec struct {
	Architecture string // as Go and OCI call it: amd64
	Variant      string
	// Layers are the files by layer, lowest first, in any order within one;
	// parents that are missing are made, of root's. What changes often belongs above what does not.
	Layers      [][]File
	Entrypoint  []string
	Command     []string
	Environment []string
	Ports       []string // that it listens on: 8000/tcp
	User        string
	Labels      map[string]string
	Created     time.Time // of the image and its files
}

// Part is a blob or document of an image.
type Part = remote.ImagePart

func digestOf(p Part) snapshot.Digest { return snapshot.Sum(p.Data) }

// Image is an image of one architecture. It is not changed once it is made.
type Image struct {
	Architecture, Variant string
	Config                Part
	Layers                []Part // lowest first
	Manifest              Part
}

// Digest is that of the manifest.
func (i *Image) Digest() snapshot.Digest { return digestOf(i.Manifest) }

// descriptor is how documents name a part (image-spec, descriptor.md).
type descriptor struct {
	MediaType string            `json:"mediaType"`
	Digest    string            `json:"digest"`
	Size      int64             `json:"size"`
	Platform  *platform         `json:"platform,omitempty"`
	Notes     map[string]string `json:"annotations,omitempty"`
}

func describe(p Part) descriptor {
	return descriptor{MediaType: p.MediaType, Digest: digestOf(p).String(), Size: int64(len(p.Data))}
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// Build makes an image. Equal specs make equal digests.
func Build(s Spec) (*Image, error) {
	img := &Image{Architecture: s.Architecture, Variant: s.Variant}
	c := Contents{
		Architecture: s.Architecture, Variant: s.Variant, Created: s.Created,
		Entrypoint: s.Entrypoint, Command: s.Command, Environment: s.Environment, Ports: s.Ports, User: s.User, WorkDir: "/", Labels: s.Labels,
	}
	for _, files := range s.Layers {
		data, err := layer(files, s.Created)
		if err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
		compressed, err := compress(data)
		if err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
		part := Part{MediaType: TypeGzipLayer, Data: compressed}
		img.Layers = append(img.Layers, part)
		c.Layers = append(c.Layers, Layer{MediaType: part.MediaType, Blob: snapshot.BlobOf(part.Data), DiffID: snapshot.Sum(data), By: "mmoci"})
	}
	var err error
	img.Config, img.Manifest, err = c.Documents()
	return img, err
}

func document(mediaType string, v any) (Part, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return Part{}, fmt.Errorf("image: %w", err)
	}
	if len(data) > oci.MaxDocument {
		return Part{}, fmt.Errorf("image: document of %d bytes, more than %d", len(data), oci.MaxDocument)
	}
	return Part{MediaType: mediaType, Data: data}, nil
}

// compress packs a layer. The header has neither name nor time.
func compress(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err := w.Close()
	return b.Bytes(), err
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
		switch {
		case f.Dir:
			h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
		case f.Link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
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

// Index is images of several architectures as one.
type Index struct {
	Images   []*Image
	Document Part
}

// Digest is that of the document.
func (i *Index) Digest() snapshot.Digest { return digestOf(i.Document) }

// NewIndex joins images of several architectures, in the order given.
func NewIndex(images ...*Image) (*Index, error) {
	var entries []descriptor
	for _, img := range images {
		d := describe(img.Manifest)
		d.Platform = &platform{img.Architecture, "linux", img.Variant}
		entries = append(entries, d)
	}
	doc, err := index(entries)
	return &Index{images, doc}, err
}

// index is an image index (image-spec, image-index.md).
func index(entries []descriptor) (Part, error) {
	return document(typeIndex, struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}{2, typeIndex, entries})
}

// parts are the blobs of the images, and the documents: manifests, and last the index.
func (i *Index) parts() (blobs, documents []Part) {
	for _, img := range i.Images {
		blobs = append(append(blobs, img.Config), img.Layers...)
		documents = append(documents, img.Manifest)
	}
	return blobs, append(documents, i.Document)
}
