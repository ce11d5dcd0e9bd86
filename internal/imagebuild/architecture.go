package imagebuild

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/stack"
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

// buildArchitecture makes the layers from below: skeleton, packages, system, files; then the documents.
func buildArchitecture(ctx context.Context, o *Options, m *maker, c chosen, files []file) (*built, error) {
	exclude, err := rootfs.ParseExclude(o.Plan.Exclude)
	if err != nil {
		return nil, err
	}
	recipe := rootfs.Recipe{MergedUsr: c.merged, Exclude: exclude}
	made, err := m.packages(ctx, c.packages, recipe)
	if err != nil {
		return nil, err
	}
	one := map[*rootfs.Note]layerMade{}
	var notes []*rootfs.Note
	var each []packageLayer
	for _, l := range made {
		one[l.note] = l
		each = append(each, packageLayer{l.note.Name(), l.note.Version(), l.note.Architecture(), l.note.Deb, l.note.Time(), l.Layer})
		notes = append(notes, l.note)
	}
	b := &built{Architecture: Architecture{Name: c.architecture, Packages: len(notes), Notes: notes, Scripts: c.scripts, each: each}, layerOf: map[*rootfs.Note]snapshot.Digest{}}
	withFiles := len(files) > 0
	most := o.Plan.Layers.Max - 1 // the system layer
	if c.merged {
		most--
		skeleton, err := m.write(ctx, "skeleton", func(_ context.Context, w io.Writer) (snapshot.Blob, error) { return stack.WriteSkeleton(w) })
		if err != nil {
			return nil, err
		}
		b.Layers = append(b.Layers, skeleton)
	}
	if withFiles {
		most--
	}
	groups, err := stack.Arrange(notes, most)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		l, err := m.ofGroup(ctx, g, one)
		if err != nil {
			return nil, err
		}
		for _, n := range g.Notes {
			b.layerOf[n] = l.DiffID
		}
		b.Layers = append(b.Layers, l)
	}
	system, layer, err := m.system(ctx, c, recipe, notes, groups, b, files)
	if err != nil {
		return nil, err
	}
	b.Layers = append(b.Layers, layer)
	if withFiles {
		top, err := filesLayer(files, stack.Below(c.merged, groups, system))
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
	if err := b.tell(ctx, o, c, stack.Below(c.merged, groups, nil)); err != nil {
		return nil, err
	}
	b.image, err = documents(o, b)
	return b, err
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
