package imagebuild

import (
	"context"
	"fmt"
	"strings"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/snapshot"
)

// packageLayer is the layer of one package, whether or not the image has it in a group.
type packageLayer struct {
	name, version, architecture string
	deb                         snapshot.Blob
	layer                       image.Layer
}

// PutEach writes an image of one layer for each package below a repository of a registry: REPO/NAME:VERSION, for all architectures
// that have this version. The layers are those of the image; a package's files are copied from there, or mounted, one package at a time. dpkg's own
// files of the package are among them. done is told of each.
func (im *Image) PutEach(ctx context.Context, repo artifact.Reference, o artifact.PushOptions, done func(artifact.Copied)) error {
	if repo.Kind != artifact.Registry {
		return fmt.Errorf("%w: %s: an image for each package goes to a registry, whose repositories are named by packages", outcome.ErrUsage, repo)
	}
	type key struct{ name, version string }
	var order []key
	index := map[key]*image.Index{}
	configs := map[snapshot.Digest][]byte{}
	for _, a := range im.Architectures {
		for _, p := range a.each {
			k := key{p.name, p.version}
			if index[k] == nil {
				order, index[k] = append(order, k), &image.Index{}
			}
			one, err := p.image(a.Name, im)
			if err != nil {
				return err
			}
			configs[snapshot.Sum(one.Config.Data)] = one.Config.Data
			index[k].Images = append(index[k].Images, one)
		}
	}
	blobs := opener(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
		if data, ok := configs[b.Digest]; ok {
			return inMemory(data), nil
		}
		return im.Open(ctx, b, 0)
	})
	for _, k := range order {
		doc, err := image.IndexOf(map[string]string{"org.opencontainers.image.title": k.name, "org.opencontainers.image.version": k.version}, index[k].Images...)
		if err != nil {
			return err
		}
		var documents [][]byte
		for _, one := range index[k].Images {
			documents = append(documents, one.Manifest.Data)
		}
		made, err := images.New(ctx, doc.Data, documents, nil, blobs)
		if err != nil {
			return err
		}
		to := repo
		to.Name, to.Tag, to.Digest = repo.Name+"/"+repositoryOf(k.name), tagOf(k.version), snapshot.Digest{}
		put, err := images.Put(ctx, made, to, im.blobs.o.Cache.mountFrom(to), o)
		if err != nil {
			return fmt.Errorf("package %s %s: %w", k.name, k.version, err)
		}
		done(put)
	}
	return nil
}

// image is the image of one package for one architecture; its config says no more than which package it is.
func (p *packageLayer) image(arch string, im *Image) (*image.Image, error) {
	c := image.Contents{Created: im.blobs.o.date(), Layers: []image.Layer{p.layer}, WorkDir: "/", Labels: map[string]string{
		"org.opencontainers.image.title": p.name, "org.opencontainers.image.version": p.version, "org.mmoci.deb": p.deb.Digest.String(),
	}}
	c.Architecture, c.Variant = image.Platform(arch)
	one := &image.Image{Architecture: c.Architecture, Variant: c.Variant}
	var err error
	one.Config, one.Manifest, err = c.Documents()
	return one, err
}

// repositoryOf is a package's name as a registry takes it (distribution-spec, "Pulling manifests"): plus signs are written out.
func repositoryOf(name string) string { return strings.ReplaceAll(name, "+", "-plus") }

// tagOf is a version as a registry takes it for a tag: what no tag may have is an underline.
func tagOf(version string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(":~+", r) {
			return '_'
		}
		return r
	}, version)
}
