package imagebuild

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/internal/syncfiles"
	"example.org/mmoci/pkg/snapshot"
)

// built is the image of one architecture.
type built struct {
	Architecture
	image   *image.Image
	layerOf map[*rootfs.Note]snapshot.Digest // the diffID of the layer that has a package
}

// defaultPath is where programs are looked for if the plan's env: does not say.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lower are the layers of the packages, and those below them.
type lower struct {
	layers  []image.Layer
	notes   []*rootfs.Note
	groups  []stack.Group
	each    []packageLayer
	layerOf map[*rootfs.Note]snapshot.Digest
}

// buildArchitecture makes the layers from below: skeleton, packages, system, files; then the documents.
func buildArchitecture(ctx context.Context, o *Options, m *maker, c chosen, files []syncfiles.File) (*built, error) {
	exclude, err := rootfs.ParseExclude(o.Plan.Exclude)
	if err != nil {
		return nil, err
	}
	recipe := rootfs.Recipe{MergedUsr: c.merged, Exclude: exclude}
	most := o.Plan.Layers.Max - 1 // the system layer
	if c.merged {
		most--
	}
	if len(files) > 0 {
		most--
	}
	b := &built{Architecture: Architecture{Name: c.architecture, Scripts: c.scripts}}
	var system *stack.System
	var layer image.Layer
	var low *lower
	if c.scripts == imageplan.Run {
		low, system, layer, err = m.scripted(ctx, c, recipe, most, b)
	} else {
		if low, err = m.lower(ctx, c, recipe, most, m.workers()); err == nil {
			system, layer, err = m.unscripted(ctx, c, recipe, low, b, files)
		}
	}
	if err != nil {
		return nil, err
	}
	b.Account = o.accountBuilt(b.Account, c.packages)
	b.Packages, b.Notes, b.each, b.layerOf = len(low.notes), low.notes, low.each, low.layerOf
	b.Layers = append(low.layers, layer)
	if len(files) > 0 {
		top, err := syncfiles.Layer(files, stack.Below(c.merged, low.groups, system))
		if err != nil {
			return nil, err
		}
		layer, err := m.write(ctx, "files", func(_ context.Context, w io.Writer) (snapshot.Blob, error) { return top.WriteLayer(w, o.date()) })
		if err != nil {
			return nil, err
		}
		if b.Layers[len(b.Layers)-1].DiffID.IsZero() {
			layer = image.Layer{By: "files"} // its directories are repeated of what is not known
		}
		b.Layers = append(b.Layers, layer)
	}
	for _, l := range b.Layers {
		b.Bytes += l.Size
	}
	if err := b.tell(ctx, o, c, docsOf(low.groups)); err != nil {
		return nil, err
	}
	b.image, err = documents(o, b)
	return b, err
}

// lower makes the skeleton, and the packages' layers, at most so many of these.
func (m *maker) lower(ctx context.Context, c chosen, r rootfs.Recipe, most, workers int) (*lower, error) {
	made, err := m.packages(ctx, c.packages, r, most, workers)
	if err != nil {
		return nil, err
	}
	low := &lower{layerOf: map[*rootfs.Note]snapshot.Digest{}}
	one := map[*rootfs.Note]layercache.Layer{}
	for i, l := range made {
		one[l.Note] = l
		low.each = append(low.each, packageLayer{c.packages[i], r, l})
		low.notes = append(low.notes, l.Note)
	}
	if c.merged {
		skeleton, err := m.write(ctx, "skeleton", func(_ context.Context, w io.Writer) (snapshot.Blob, error) { return stack.WriteSkeleton(w) })
		if err != nil {
			return nil, err
		}
		low.layers = append(low.layers, skeleton)
	}
	if low.groups, err = stack.Arrange(low.notes, most); err != nil {
		return nil, err
	}
	for _, g := range low.groups {
		l, err := m.ofGroup(ctx, g, one)
		if err != nil {
			return nil, err
		}
		for _, n := range g.Notes {
			low.layerOf[n] = l.DiffID
		}
		low.layers = append(low.layers, l)
	}
	return low, nil
}

// documents are config and manifest.
func documents(o *Options, b *built) (*image.Image, error) {
	p, c := o.Plan, o.Plan.Config
	labels := map[string]string{}
	maps.Copy(labels, annotations(p, o.date()))
	maps.Copy(labels, c.Labels)
	env := c.Env
	if !slices.ContainsFunc(env, func(e string) bool { return len(e) >= 5 && e[:5] == "PATH=" }) {
		env = append([]string{defaultPath}, env...)
	}
	contents := image.Contents{
		Created: o.date(), Author: p.Author, Layers: b.Layers,
		Entrypoint: c.Entrypoint, Command: c.Command, Environment: env, Ports: c.Ports, Volumes: c.Volumes,
		User: c.User, WorkDir: cmp.Or(c.WorkDir, "/"), StopSignal: c.StopSignal, Labels: labels,
	}
	contents.Architecture, contents.Variant = image.Platform(b.Name)
	img := &image.Image{Architecture: contents.Architecture, Variant: contents.Variant}
	var err error
	if img.Config, img.Manifest, err = contents.Documents(); err != nil {
		return nil, fmt.Errorf("%w: %w", outcome.ErrUsage, err)
	}
	return img, nil
}
