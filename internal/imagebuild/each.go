package imagebuild

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// packageLayer is the layer of one package, whether or not the image has it in a group. In a group it may have no blob yet.
type packageLayer struct {
	of     *resolve.Package
	recipe rootfs.Recipe
	layercache.Layer
}

// Each is an image of one layer for each package of an image, ready to be put.
type Each struct {
	im   *Image
	list []packageImage
}

// packageImage is the image of one version of a package, over the architectures that have it.
type packageImage struct {
	name, version string
	to            artifact.Reference
	images        []packageOf
	before        snapshot.Digest // what the tag names now; zero: nothing
	kept          *images.Image   // of which others' architectures are kept; nil: nothing is there
}

// packageOf is the image of a package for one architecture: one that is made, or one that is there.
type packageOf struct {
	image.Image
	deb    string
	diffID snapshot.Digest
}

// labelDeb names, in the config of a package's image, the .deb that its layer was made of.
const labelDeb = "org.mmoci.deb"

// Each looks at the images of single packages below a repository of a registry, REPO/NAME:VERSION, and says what is to be put there:
// for all architectures that have this version, beside those that are there already. Nothing is written.
//
// Errors: outcome.ErrUsage for a package whose name or version no reference can have; outcome.ErrRefused where a tag names the package with another
// .deb or another layer, which is not replaced under those who use it.
func (im *Image) Each(ctx context.Context, repo artifact.Reference, o artifact.Options) (*Each, error) {
	if repo.Kind != artifact.Registry {
		return nil, fmt.Errorf("%w: %s: an image for each package goes to a registry, whose repositories are named by packages", outcome.ErrUsage, repo)
	}
	each := &Each{im: im}
	at := map[string]int{}
	for _, a := range im.Architectures {
		for _, p := range a.each {
			if p.Digest.IsZero() {
				var err error
				if p.Layer, err = im.blobs.ofPackage(ctx, p.of, p.recipe, true); err != nil {
					return nil, err
				}
			}
			one, err := p.image(a.Name)
			if err != nil {
				return nil, err
			}
			name, version := p.Note.Name(), p.Note.Version()
			key := name + " " + version
			i, there := at[key]
			if !there {
				to, err := referenceOf(repo, name, version)
				if err != nil {
					return nil, err
				}
				i = len(each.list)
				at[key] = i
				each.list = append(each.list, packageImage{name: name, version: version, to: to})
			}
			each.list[i].images = append(each.list[i].images, packageOf{*one, p.Note.Deb.Digest.String(), p.DiffID})
		}
	}
	g, asking := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(im.blobs.o.Workers, 4))
	for i := range each.list {
		g.Go(func() error { return each.list[i].join(asking, o) })
	}
	return each, cmp.Or(g.Wait(), context.Cause(ctx))
}

// Put writes the images, one package at a time: their layers are copied from the image, or mounted. dpkg's own files of the package are
// among its files. done is told of each.
func (e *Each) Put(ctx context.Context, o artifact.PushOptions, done func(artifact.Copied)) error {
	for i := range e.list {
		p := &e.list[i]
		var documents [][]byte
		configs := map[snapshot.Digest][]byte{}
		var over []*image.Image
		for n := range p.images {
			one := &p.images[n].Image
			over = append(over, one)
			documents = append(documents, one.Manifest.Data)
			configs[snapshot.Sum(one.Config.Data)] = one.Config.Data
		}
		doc, err := image.IndexOf(map[string]string{"org.opencontainers.image.title": p.name, "org.opencontainers.image.version": p.version}, over...)
		if err != nil {
			return err
		}
		if root := snapshot.Sum(doc.Data); root == p.before {
			there := artifact.Copied{Root: root, Reference: p.to}
			there.Reference.Digest = root
			done(there)
			continue
		}
		blobs := opener(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			if data, ok := configs[b.Digest]; ok {
				return inMemory(data), nil
			}
			c, err := e.im.Open(ctx, b, 0)
			if errors.Is(err, snapshot.ErrNotExist) && p.kept != nil {
				return p.kept.Open(ctx, b, 0)
			}
			return c, err
		})
		made, err := images.New(ctx, doc.Data, documents, nil, blobs)
		if err != nil {
			return err
		}
		o.Expect = &p.before
		put, err := images.Put(ctx, made, p.to, e.im.blobs.o.Cache.MountFrom(p.to), o)
		if err != nil {
			return fmt.Errorf("package %s %s: %w", p.name, p.version, err)
		}
		done(put)
	}
	return nil
}

// join adds the architectures of the image that the tag names now.
func (p *packageImage) join(ctx context.Context, o artifact.Options) error {
	now, err := images.Read(ctx, p.to, images.Options{Options: o, WithoutReferrers: true})
	if errors.Is(err, artifact.ErrNotFound) {
		err = nil
	} else if err == nil {
		p.before, p.kept = now.Root.Digest, now
		err = p.keep(ctx, now)
	}
	if err != nil {
		return fmt.Errorf("package %s %s: %w", p.name, p.version, err)
	}
	slices.SortFunc(p.images, func(a, b packageOf) int {
		return cmp.Or(strings.Compare(a.Architecture, b.Architecture), strings.Compare(a.Variant, b.Variant))
	})
	return nil
}

func (p *packageImage) keep(ctx context.Context, now *images.Image) error {
	refused := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s %s; put these packages below another repository, or remove the tag", outcome.ErrRefused, p.to, fmt.Sprintf(format, args...))
	}
	for _, d := range now.Documents {
		if d.Document.IsIndex() {
			continue
		}
		there, err := readPackageOf(ctx, now, d)
		if err != nil {
			return err
		}
		if there.deb == "" {
			return refused("is an image that mmoci did not make of a package")
		}
		i := slices.IndexFunc(p.images, func(o packageOf) bool { return o.Architecture == there.Architecture && o.Variant == there.Variant })
		switch {
		case i < 0:
			p.images = append(p.images, *there)
		case p.images[i].deb != there.deb:
			return refused("has the package of %s as %s, and this one is %s", there.deb, there.Architecture, p.images[i].deb)
		case p.images[i].diffID != there.diffID:
			return refused("has another layer of the same package for %s: exclude: or /usr was another one", there.Architecture)
		default:
			p.images[i] = *there // as it is, though another encoder may have packed it
		}
	}
	return nil
}

// maxPackageConfig bounds the config of a package's image, in bytes.
const maxPackageConfig = 1 << 20

// readPackageOf reads the image of a package that is there. Its deb is "" if it is another image.
func readPackageOf(ctx context.Context, from *images.Image, manifest oci.ImagePart) (*packageOf, error) {
	out, config := &packageOf{}, manifest.Document.Config.Blob
	if config.Size > maxPackageConfig {
		return out, nil
	}
	content, err := from.Open(ctx, config, 0)
	if err != nil {
		return nil, err
	}
	r := content.Reader(config)
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var c struct {
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
		Config       struct {
			Labels map[string]string `json:"Labels"`
		} `json:"config"`
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if json.Unmarshal(data, &c) != nil || len(c.RootFS.DiffIDs) != 1 {
		return out, nil
	}
	if out.diffID, err = snapshot.ParseDigest(c.RootFS.DiffIDs[0]); err != nil {
		return out, nil //nolint:nilerr // it is another image
	}
	out.Architecture, out.Variant, out.deb = c.Architecture, c.Variant, c.Config.Labels[labelDeb]
	out.Config, out.Manifest = image.Part{Data: data}, image.Part{MediaType: manifest.MediaType, Data: manifest.Data}
	return out, nil
}

// image is the image of one package for one architecture. Its config says no more than which package it is, and follows from the .deb: another
// snapshot with the same package makes the same.
func (p *packageLayer) image(arch string) (*image.Image, error) {
	c := image.Contents{Created: p.Note.Time(), Layers: []image.Layer{p.Layer.Layer}, WorkDir: "/", Labels: map[string]string{
		"org.opencontainers.image.title": p.Note.Name(), "org.opencontainers.image.version": p.Note.Version(), labelDeb: p.Note.Deb.Digest.String(),
	}}
	c.Architecture, c.Variant = image.Platform(arch)
	one := &image.Image{Architecture: c.Architecture, Variant: c.Variant}
	var err error
	one.Config, one.Manifest, err = c.Documents()
	return one, err
}

// referenceOf is where the image of a package goes.
func referenceOf(repo artifact.Reference, name, version string) (artifact.Reference, error) {
	text := repo.Name + "/" + repositoryOf(name) + ":" + tagOf(version)
	to, err := artifact.ParseReference(text)
	if err != nil {
		return to, fmt.Errorf("%w: package %s %s has a name or version that no reference of a registry can have: %w", outcome.ErrUsage, name, version, err)
	}
	return to, nil
}

// repositoryOf is a package's name as a registry takes it (distribution-spec, "Pulling manifests"): plus signs are written out. No
// two names are one, for no name has an underline.
func repositoryOf(name string) string { return strings.ReplaceAll(name, "+", "_plus") }

// tagOf is a version as a registry takes it for a tag. No two versions are one, for no version has an underline.
func tagOf(version string) string {
	return strings.NewReplacer(":", "__", "~", "_.", "+", "_-").Replace(version)
}
