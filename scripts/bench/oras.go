package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/file"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

// orasConcurrency equals mmoci's.
const orasConcurrency = 8

const debType = "application/vnd.debian.binary-package"

// partOrasPack makes an artifact of the files below a directory by stock
// oras-go: one layer each, in an OCI layout, tagged "files".
func partOrasPack(ctx context.Context, args []string) error {
	store, err := oci.New(args[1])
	if err != nil {
		return err
	}
	var layers []ocispec.Descriptor
	err = filepath.WalkDir(args[0], func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".deb" {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		desc := ocispec.Descriptor{MediaType: debType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		layers = append(layers, desc)
		if there, err := store.Exists(ctx, desc); err != nil || there {
			return err
		}
		return store.Push(ctx, desc, bytes.NewReader(data))
	})
	if err != nil {
		return err
	}
	root, err := packOras(ctx, store, layers)
	if err != nil {
		return err
	}
	return store.Tag(ctx, root, "files")
}

// partOrasPush makes an artifact of the .debs below a directory and pushes it,
// as stock oras-go does it from files: DIR DST TAG.
func partOrasPush(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("oras-push DIR DST TAG")
	}
	store, err := file.New(args[0])
	if err != nil {
		return err
	}
	defer store.Close()
	var layers []ocispec.Descriptor
	err = filepath.WalkDir(args[0], func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".deb" {
			return err
		}
		desc, err := store.Add(ctx, filepath.Base(name), debType, name)
		layers = append(layers, desc)
		return err
	})
	if err != nil {
		return err
	}
	root, err := packOras(ctx, store, layers)
	if err != nil {
		return err
	}
	if err := store.Tag(ctx, root, args[2]); err != nil {
		return err
	}
	dst, err := orasPlace(args[1])
	if err != nil {
		return err
	}
	_, err = oras.Copy(ctx, store, args[2], dst, args[2], orasOptions())
	return err
}

func packOras(ctx context.Context, store oras.Target, layers []ocispec.Descriptor) (ocispec.Descriptor, error) {
	return oras.PackManifest(ctx, store, oras.PackManifestVersion1_1, "application/vnd.example.files", oras.PackManifestOptions{
		Layers: layers, ManifestAnnotations: map[string]string{ocispec.AnnotationCreated: "2026-11-01T00:00:00Z"},
	})
}

func orasOptions() oras.CopyOptions {
	o := oras.DefaultCopyOptions
	o.Concurrency = orasConcurrency
	return o
}

// partOrasStock is oras.Copy as it comes.
func partOrasStock(ctx context.Context, args []string) error {
	return orasCopy(ctx, args, oras.DefaultCopyOptions)
}

// partOrasCopy is oras.Copy with mmoci's concurrency.
func partOrasCopy(ctx context.Context, args []string) error {
	return orasCopy(ctx, args, orasOptions())
}

// orasCopy copies between a layout (a path) and a repository (HOST/NAME, plain HTTP): SRC TAG DST TAG.
func orasCopy(ctx context.Context, args []string, o oras.CopyOptions) error {
	if len(args) != 4 {
		return fmt.Errorf("oras-copy SRC TAG DST TAG")
	}
	src, err := orasPlace(args[0])
	if err != nil {
		return err
	}
	dst, err := orasPlace(args[2])
	if err != nil {
		return err
	}
	_, err = oras.Copy(ctx, src, args[1], dst, args[3], o)
	return err
}

func orasPlace(name string) (oras.Target, error) {
	if filepath.IsAbs(name) {
		return oci.New(name)
	}
	r, err := remote.NewRepository(name)
	if err != nil {
		return nil, err
	}
	r.PlainHTTP = true
	return r, nil
}
