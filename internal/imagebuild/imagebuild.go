// Package imagebuild makes container images of the packages of a snapshot: it chooses them, makes a layer of each,
// the system and files layers above, and puts the image into a registry, layout or oci-archive.
//
// Every .deb is proved through the snapshot before a byte of it is unpacked. What goes in, snapshot, plan, files and lock,
// decides every byte that comes out; the day, the machine and what is kept of earlier runs do not.
package imagebuild

import (
	"context"
	"fmt"
	"time"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/sbom"
	"example.org/mmoci/internal/syncfiles"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/snapshot"
)

// Options say what an image is made of, and where to.
type Options struct {
	Plan     *imageplan.Plan
	Snapshot *snapshot.Snapshot
	Trust    prove.Trust
	// Architectures are Debian's names of those that are made, in the place of the plan's.
	Architectures []string
	// Native is the architecture of this machine, for which scripts are run unless the plan says otherwise.
	Native string
	// Scripts is run or none, in the place of the plan's.
	Scripts string
	// ScriptsOf is the same for single architectures, and counts more.
	ScriptsOf map[string]string
	// Twice runs scripts twice, and refuses what is not the same.
	Twice bool
	// Lock, if not nil, says exactly which packages.
	Lock *imagelock.Lock
	// Cache keeps notes and layers between runs; nil: nothing is kept.
	Cache *layercache.Cache
	// Signed gives notes of an earlier build, which the site signed: what they know is not made anew. It is asked once, when
	// a note is not in the cache; nil: there are none.
	Signed func(ctx context.Context) layercache.Notes
	// Sources gives what is built of the sources that the plan names; nil: the plan names none.
	Sources Sources
	// Signer signs what is said of the image; nil: nobody does.
	Signer pgp.Signer
	// Dry computes what the image has to be, and writes no layer: they are tars, made when they are opened. It uses no cache.
	// Where this machine cannot run the scripts that the image was made with, the layers that depend on them have no DiffID.
	Dry bool
	// Workers is how many packages are packed at once; 0: as many as there are processors.
	Workers int
	Log     outcome.Log

	built map[snapshot.Digest]*Built // packages that were built of sources, by their .debs
}

// Image is an image that was made: its documents, and how its layers are opened.
type Image struct {
	Lock          *imagelock.Lock // what it has
	Architectures []Architecture
	Index         image.Part
	companion     *companion
	annotations   map[string]string
	made          *image.Index
	blobs         *maker
	config        map[snapshot.Digest][]byte
}

// Architecture is what was made for one of them.
type Architecture struct {
	Name     string // Debian's
	Packages int
	Layers   []image.Layer
	Scripts  string         // run or none
	Account  []account.Line // what became of each script, and what scripts made that is not in the image
	Notes    []*rootfs.Note

	bill    []sbom.Package // in dpkg's order
	helpers []sbom.Package // that it was made with beside
	each    []packageLayer // in dpkg's order
	Bytes   int64          // of all layers
}

// Config is the config document of an architecture, by its place in Architectures.
func (im *Image) Config(i int) []byte { return im.made.Images[i].Config.Data }

// IndexOver is the image index that it has if its manifests are these, one for each architecture in their order.
func (im *Image) IndexOver(manifests [][]byte) (image.Part, error) {
	if len(manifests) != len(im.made.Images) {
		return image.Part{}, fmt.Errorf("%d manifests for %d architectures", len(manifests), len(im.made.Images))
	}
	var images []*image.Image
	for i, data := range manifests {
		one := *im.made.Images[i]
		one.Manifest.Data = data
		images = append(images, &one)
	}
	return image.IndexOf(im.annotations, images...)
}

// Digest is that of the image index.
func (im *Image) Digest() snapshot.Digest { return snapshot.Sum(im.Index.Data) }

// Close removes what was made and is not kept.
func (im *Image) Close() error { return im.blobs.close() }

// Build makes an image. Nothing is put anywhere.
//
// Errors: outcome.ErrNotFound for packages that are not in the snapshot, or contradict each other; outcome.ErrIntegrity
// for a .deb that is not what its archive signed; outcome.ErrUsage for a plan that cannot be honoured.
func Build(ctx context.Context, o Options) (_ *Image, err error) {
	lock, chosen, err := choose(ctx, &o)
	if err != nil {
		return nil, err
	}
	files, err := syncfiles.Read(o.Plan)
	if err != nil {
		return nil, err
	}
	own, err := sourceFiles(o.Plan)
	if err != nil {
		return nil, err
	}
	files.Sources = append(files.Sources, own...)
	m, err := newMaker(ctx, &o)
	if err != nil {
		return nil, err
	}
	im := &Image{Lock: lock, blobs: m, companion: &companion{}, config: map[snapshot.Digest][]byte{}, made: &image.Index{}}
	defer func() {
		if err != nil {
			im.Close()
		}
	}()
	for _, c := range chosen {
		a, err := buildArchitecture(ctx, &o, m, c, files.List)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.architecture, err)
		}
		im.Architectures = append(im.Architectures, a.Architecture)
		im.made.Images = append(im.made.Images, a.image)
		im.config[snapshot.Sum(a.image.Config.Data)] = a.image.Config.Data
	}
	im.annotations = annotations(o.Plan, o.date())
	im.Index, err = image.IndexOf(im.annotations, im.made.Images...)
	if err != nil {
		return nil, err
	}
	im.made.Document = im.Index
	if o.Dry {
		return im, nil // nothing is said of it
	}
	im.companion, err = newCompanion(&o, im, files)
	return im, err
}

// date is that of everything that is made: the snapshot's; with a lock that of its snapshot, so that every snapshot which has the
// packages makes the same image.
func (o *Options) date() time.Time {
	if o.Lock != nil {
		return o.Lock.Date.UTC()
	}
	return o.Snapshot.Statement.Date.UTC()
}

// annotations are those of the image index, and labels of the config.
func annotations(p *imageplan.Plan, date time.Time) map[string]string {
	out := map[string]string{"org.opencontainers.image.created": snapshot.FormatDate(date)}
	for key, value := range map[string]string{"title": p.Name, "version": p.Version, "authors": p.Author} {
		if value != "" {
			out["org.opencontainers.image."+key] = value
		}
	}
	return out
}

// Put writes an image under a tag, the tag last; what is there already is not sent, and what another repository of the registry
// got from here is mounted.
func (im *Image) Put(ctx context.Context, to artifact.Reference, o artifact.PushOptions) (artifact.Copied, error) {
	var documents [][]byte
	for _, i := range im.made.Images {
		documents = append(documents, i.Manifest.Data)
	}
	made, err := images.New(ctx, im.Index.Data, documents, [][]byte{im.companion.manifest.Data}, im)
	if err != nil {
		return artifact.Copied{}, err
	}
	put, err := images.Put(ctx, made, to, im.blobs.o.Cache.MountFrom(to), o)
	if err == nil {
		im.blobs.o.Cache.Remember(to)
	}
	return put, err
}

// Open implements snapshot.Blobs.
func (im *Image) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	if data, ok := im.config[b.Digest]; ok {
		return inMemory(data[offset:]), nil
	}
	if data, ok := im.companion.blobs[b.Digest]; ok {
		return inMemory(data[offset:]), nil
	}
	return im.blobs.Open(ctx, b, offset)
}
