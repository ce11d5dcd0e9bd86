package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
)

// The images of a snapshot are files of it. Beside that a place calls them by name, so that engines and copiers
// find them: entries REPO:TAG of index.json, and tags in repositories below the snapshot's. These
// names follow the statement, and are set before the snapshot's own tags move; nobody believes them.

// Stated reads the images that a statement names, signed or not, without verifying it.
func Stated(statement []byte) (images []snapshot.Image, err error) {
	for line := range bytes.Lines(statement) {
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), " ")
		var b snapshot.Blob
		switch {
		case f[0] == "image" && len(f) == 4:
			if _, _, _, ok := snapshot.CutImageName(f[1]); !ok {
				return nil, oci.Integrity("statement: image %.200q", f[1])
			}
			if b, err = statedBlob(f[2], f[3]); err == nil {
				images = append(images, snapshot.Image{Name: f[1], Blob: b})
			}
		case f[0] == "referrer" && len(f) == 3 && len(images) > 0:
			last := &images[len(images)-1]
			if b, err = statedBlob(f[1], f[2]); err == nil {
				last.Referrers = append(last.Referrers, b)
			}
		}
		if err != nil {
			return nil, oci.Integrity("statement: %s: %v", f[0], err)
		}
	}
	return images, nil
}

func statedBlob(digest, size string) (snapshot.Blob, error) {
	d, err := snapshot.ParseDigest(digest)
	if err != nil {
		return snapshot.Blob{}, err
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err == nil && (n < 1 || n > oci.MaxImageDocument) {
		err = fmt.Errorf("%d bytes", n)
	}
	return snapshot.Blob{Digest: d, Size: n}, err
}

// imageTag is the tag that only ever names one image, beside TAG: TAG-HEX12, of which TAG is cut where it is too
// long. It keeps the image where a registry collects what no tag names, when TAG has moved on.
func imageTag(tag string, d snapshot.Digest) string {
	return tag[:min(len(tag), oci.MaxTag-len("-0123456789ab"))] + "-" + d.Hex()[:12]
}

// imageReference is where a registry has an image of a snapshot: below to, or if that is "" below the
// snapshot's own repository as images/REPO:TAG.
func imageReference(ref oci.Reference, to, short string) (oci.Reference, error) {
	if to == "" {
		to = ref.Name + "/images"
	}
	at, err := oci.ParseReference(to + "/" + short)
	if err == nil && (at.Kind != oci.Registry || !at.Digest.IsZero()) {
		err = fmt.Errorf("%w: no repository of a registry", oci.ErrReference)
	}
	if err != nil {
		return oci.Reference{}, fmt.Errorf("image %s below %s: %w", short, to, err)
	}
	return at, nil
}

// checkShort refuses two images that a place would call by one name.
func checkShort(images []snapshot.Image) error {
	names := map[string]string{}
	for _, m := range images {
		if other, taken := names[m.Short()]; taken {
			return fmt.Errorf("images %s and %s are both %s in a place", other, m.Name, m.Short())
		}
		names[m.Short()] = m.Name
	}
	return nil
}

// Namer names the images of one snapshot in the place of Ref.
type Namer struct {
	Ref     oci.Reference
	Images  []snapshot.Image
	Open    oci.Opener // of the snapshot's blobs
	Options *places.PushOptions
	Sent    func(oci.Layer, int64) // told of what was sent for it; nil: nobody
}

// walk reads the documents of an image, or of what refers to it, as far as the budget of the image goes.
func (n *Namer) walk(ctx context.Context, root snapshot.Blob, b *budget) (*oci.ImageGraph, error) {
	return oci.WalkImage(ctx, func(ctx context.Context, d oci.Descriptor) ([]byte, error) {
		if err := b.take(d); err != nil {
			return nil, err
		}
		return readOpened(ctx, n.Open, d.Blob)
	}, oci.Describe("", root))
}

func readOpened(ctx context.Context, open oci.Opener, b snapshot.Blob) ([]byte, error) {
	r, err := open(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("document %s: %w", b.Digest, err)
	}
	defer r.Close()
	data, err := oci.ReadLimited(oci.WithContext(ctx, r), oci.MaxImageDocument)
	if err != nil {
		return nil, fmt.Errorf("document %s: %w", b.Digest, err)
	}
	return data, nil
}

// document reads one document, for its media type.
func (n *Namer) document(ctx context.Context, b snapshot.Blob) (oci.Descriptor, *oci.ImageDocument, error) {
	data, err := readOpened(ctx, n.Open, b)
	if err != nil {
		return oci.Descriptor{}, nil, err
	}
	doc, err := oci.ParseImageDocument(data)
	if err != nil {
		return oci.Descriptor{}, nil, fmt.Errorf("%s: %w", b.Digest, err)
	}
	return oci.Describe(doc.MediaType, b), doc, nil
}

// Entries are those of an index.json: one for each image under its name, and one for each referrer, without a name
// or under cosign's tag. Images whose manifest is in omit are left out: a delta does not have them.
func (n *Namer) Entries(ctx context.Context, omit map[snapshot.Digest]struct{}) ([]oci.NamedImage, error) {
	if err := checkShort(n.Images); err != nil {
		return nil, err
	}
	var out []oci.NamedImage
	for _, m := range n.Images {
		if _, out := omit[m.Digest]; out {
			continue
		}
		d, _, err := n.document(ctx, m.Blob)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", m.Name, err)
		}
		out = append(out, oci.NamedImage{Descriptor: d, Tag: m.Short(), Name: m.Name})
		for _, r := range m.Referrers {
			if _, out := omit[r.Digest]; out {
				continue
			}
			d, doc, err := n.document(ctx, r)
			if err != nil {
				return nil, fmt.Errorf("image %s: %w", m.Name, err)
			}
			out = append(out, oci.NamedImage{Descriptor: d, Tag: oci.CosignTag(m.Digest, doc)})
		}
	}
	return out, nil
}

// inRegistry puts each image into its repository, as far as its tag does not name it there already, with all that
// refers to it: one question for an image and for each of its referrers. Dying in it leaves the images before the one
// under way named, which harms nobody.
func (n *Namer) inRegistry(ctx context.Context) error {
	if err := checkShort(n.Images); err != nil {
		return err
	}
	there := make([]bool, len(n.Images))
	targets := make([]*remote.Target, len(n.Images))
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(n.Options.Workers())
	for i, m := range n.Images {
		at, err := imageReference(n.Ref, n.Options.ImagesTo, m.Short())
		if err != nil {
			return err
		}
		mountFrom := ""
		if at.Host() == n.Ref.Host() {
			mountFrom = n.Ref.Repository()
		}
		if targets[i], err = remote.OpenTarget(at, mountFrom, n.Options.Remote()); err != nil {
			return fmt.Errorf("image %s: %w", m.Name, err)
		}
		g.Go(func() error {
			now, err := targets[i].Resolve(each, at)
			if errors.Is(err, oci.ErrNotFound) {
				err = nil
			}
			there[i] = err == nil && now == m.Digest && !n.Options.Recheck
			for _, r := range m.Referrers {
				if err != nil || !there[i] {
					break
				}
				there[i], err = targets[i].Has(each, oci.Describe(oci.TypeManifest, r))
			}
			return n.refused(m, at, err)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, m := range n.Images {
		if there[i] {
			continue
		}
		if err := oci.Interrupted(ctx); err != nil {
			return err
		}
		at, err := imageReference(n.Ref, n.Options.ImagesTo, m.Short())
		if err == nil {
			err = n.refused(m, at, n.putImage(ctx, targets[i], at.Tag, m))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refused says what to do if a registry does not take an image.
func (n *Namer) refused(m snapshot.Image, at oci.Reference, err error) error {
	switch {
	case err == nil:
		return nil
	case remote.Refuses(err):
		return fmt.Errorf("image %s as %s: %w; nothing was tagged: allow repositories below %s to be made, or name another one for the images (images-to: in mmoci.yaml)",
			m.Name, at, err, strings.TrimSuffix(at.Name, "/"+strings.TrimPrefix(at.Name, n.base()+"/")))
	}
	return fmt.Errorf("image %s as %s: %w", m.Name, at, err)
}

// base is the repository below which the images are.
func (n *Namer) base() string {
	if n.Options.ImagesTo != "" {
		return n.Options.ImagesTo
	}
	return n.Ref.Name + "/images"
}

// putImage puts all of an image, then what refers to it, and names it last.
func (n *Namer) putImage(ctx context.Context, t *remote.Target, tag string, m snapshot.Image) error {
	b := &budget{}
	image, err := n.walk(ctx, m.Blob, b)
	if err != nil {
		return err
	}
	var referrers []*oci.ImageGraph
	for _, r := range m.Referrers {
		graph, err := n.walk(ctx, r, b)
		if err != nil {
			return err
		}
		referrers = append(referrers, graph)
	}
	if err := putGraph(ctx, t, image, n.Open, n.Options.Workers(), n.Sent); err != nil {
		return err
	}
	if err := putReferrers(ctx, t, m.Digest, referrers, n.Open, n.Options.Workers(), n.Sent); err != nil {
		return err
	}
	root := image.Root()
	return t.Name(ctx, root.Descriptor, root.Data, nil, imageTag(tag, m.Digest), tag)
}

// putGraph puts the blobs of an image that are not there, and its documents, each after what it names.
func putGraph(ctx context.Context, t places.Target, graph *oci.ImageGraph, open oci.Opener, workers int, sent func(oci.Layer, int64)) error {
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for _, d := range graph.Blobs {
		if each.Err() != nil {
			break
		}
		g.Go(func() error {
			l := oci.Layer{Descriptor: d}
			there, err := t.Has(each, d)
			if err != nil {
				return err
			}
			n := int64(0)
			if !there {
				if n, err = t.Put(each, l, open); err != nil {
					return err
				}
			}
			if sent != nil {
				sent(l, n)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, d := range graph.Documents {
		if err := oci.Interrupted(ctx); err != nil {
			return err
		}
		if err := t.PutDocument(ctx, d.Descriptor, d.Data); err != nil {
			return err
		}
	}
	return nil
}

// putReferrers puts what refers to an image: by its subject, which the registry lists, or under cosign's tag.
func putReferrers(ctx context.Context, t *remote.Target, image snapshot.Digest, referrers []*oci.ImageGraph, open oci.Opener, workers int, sent func(oci.Layer, int64)) error {
	for _, r := range referrers {
		if err := putGraph(ctx, t, r, open, workers, sent); err != nil {
			return err
		}
		root := r.Root()
		if tag := oci.CosignTag(image, root.Document); tag != "" {
			if err := t.Name(ctx, root.Descriptor, root.Data, nil, tag); err != nil {
				return err
			}
		}
	}
	return nil
}

// Name names the images, but for those in omit; the step of every writer before the snapshot's tags move. An
// oci-archive has its entries already: it is laid out beforehand.
func (n *Namer) Name(ctx context.Context, t places.Destination, omit map[snapshot.Digest]struct{}) error {
	if len(n.Images) == 0 {
		return nil
	}
	switch n.Ref.Kind {
	case oci.Registry:
		return n.inRegistry(ctx)
	case oci.Layout:
		entries, err := n.Entries(ctx, omit)
		if err != nil {
			return err
		}
		return t.Layout.NameImages(ctx, entries)
	}
	return nil
}

// Going says whose names go with snapshots that are removed.
type Going struct {
	Going []snapshot.Image // of the snapshots that are removed
	Kept  []snapshot.Image // of all that stay in the place: no name that they need is removed
	To    string           // below which repository they are, as [places.PushOptions].ImagesTo says
}

// remaining are the names that go: those of images which no kept snapshot has under that name. A name that a
// kept snapshot has for another image stays, too, whatever it names now; loose tells of each whether it is not that.
type goingName struct {
	snapshot.Image
	loose bool
}

func (g Going) names() []goingName {
	type key struct {
		short  string
		digest snapshot.Digest
	}
	kept, short := map[key]bool{}, map[string]bool{}
	for _, m := range g.Kept {
		kept[key{m.Short(), m.Digest}], short[m.Short()] = true, true
	}
	var out []goingName
	for _, m := range g.Going {
		if k := (key{m.Short(), m.Digest}); !kept[k] {
			kept[k] = true // once
			out = append(out, goingName{m, !short[m.Short()]})
		}
	}
	return out
}

// FromLayout are the entries of index.json that go, by name and digest.
func (g Going) FromLayout() []oci.NamedImage {
	var out []oci.NamedImage
	digests := map[snapshot.Digest]bool{}
	for _, m := range g.Kept {
		digests[m.Digest] = true
		for _, r := range m.Referrers {
			digests[r.Digest] = true
		}
	}
	for _, m := range g.names() {
		if m.loose {
			out = append(out, oci.NamedImage{Descriptor: oci.Describe("", m.Blob), Tag: m.Short(), Name: m.Name})
		}
	}
	for _, m := range g.Going { // an image that stays may have lost one of them
		for _, r := range m.Referrers {
			if digests[r.Digest] {
				continue
			}
			out = append(out, oci.NamedImage{Descriptor: oci.Describe("", r)})
			for _, ending := range cosignEndings {
				out = append(out, oci.NamedImage{Descriptor: oci.Describe("", r), Tag: digestTag(m.Digest, ending)})
			}
		}
	}
	return out
}

// RemoveFromRegistry removes the tags of images that no kept snapshot names, in their repositories. A manifest that is
// part of a kept image keeps its tags: where a registry can delete manifests only, they would take it with them.
func (g Going) RemoveFromRegistry(ctx context.Context, ref oci.Reference, o *places.Options) (oci.Removed, error) {
	names := g.names()
	if len(names) == 0 {
		return oci.Removed{}, nil
	}
	parts, err := g.partsOfKept(ctx, ref, o)
	if err != nil {
		return oci.Removed{}, err
	}
	p, err := places.Open(ctx, ref, o)
	if err != nil {
		return oci.Removed{}, err
	}
	var order []string
	tags, referrers := map[string][]oci.Tag{}, map[string][]snapshot.Blob{}
	for _, m := range names {
		if parts[m.Digest] {
			continue
		}
		at, err := imageReference(ref, g.To, m.Short())
		if err != nil {
			return oci.Removed{}, err
		}
		if tags[at.Name] == nil {
			order = append(order, at.Name)
		}
		going := []oci.Tag{{Name: imageTag(at.Tag, m.Digest), Digest: m.Digest}}
		if m.loose {
			going = append(going, oci.Tag{Name: at.Tag, Digest: m.Digest})
		}
		for _, r := range m.Referrers {
			for _, ending := range cosignEndings {
				going = append(going, oci.Tag{Name: digestTag(m.Digest, ending), Digest: r.Digest})
			}
		}
		tags[at.Name] = append(tags[at.Name], going...)
		referrers[at.Name] = append(referrers[at.Name], m.Referrers...)
	}
	removed := make([]oci.Removed, len(order))
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(o.Workers())
	for i, name := range order {
		group.Go(func() (err error) {
			lists, err := listsOf(each, p, name, referrers[name], parts, o)
			if err == nil {
				removed[i], err = remote.RemoveImages(each, oci.Reference{Kind: oci.Registry, Name: name}, append(tags[name], lists...), o.Remote())
			}
			return err
		})
	}
	err = group.Wait()
	var all oci.Removed
	for i, r := range removed {
		for _, t := range r.Tags {
			all.Tags = append(all.Tags, order[i]+":"+t)
		}
		for _, t := range r.Refused {
			all.Refused = append(all.Refused, order[i]+":"+t)
		}
		if r.Reason != nil {
			all.Reason = r.Reason
		}
	}
	return all, err
}

// listsOf are the tags sha256-HEX under which a registry without a referrers API lists
// what refers to the manifests of images that go.
func listsOf(ctx context.Context, p places.Place, repository string, referrers []snapshot.Blob, kept map[snapshot.Digest]bool, o *places.Options) ([]oci.Tag, error) {
	var lists []oci.Tag
	n := Namer{Open: oci.VerifiedFrom(p)}
	for _, r := range referrers {
		_, doc, err := n.document(ctx, r)
		if ended := oci.Interrupted(ctx); ended != nil {
			return nil, ended
		}
		if err != nil || doc.Subject.Digest.IsZero() || kept[doc.Subject.Digest] {
			continue // lost, or no list has it, or one that stays
		}
		at := oci.Reference{Kind: oci.Registry, Name: repository, Tag: digestTag(doc.Subject.Digest, "")}
		if slices.ContainsFunc(lists, func(t oci.Tag) bool { return t.Name == at.Tag }) {
			continue
		}
		d, err := resolve(ctx, at, o)
		if errors.Is(err, oci.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		lists = append(lists, oci.Tag{Name: at.Tag, Digest: d})
	}
	return lists, nil
}

// partsOfKept are the documents that kept images consist of, read of the snapshots' own blobs.
func (g Going) partsOfKept(ctx context.Context, ref oci.Reference, o *places.Options) (map[snapshot.Digest]bool, error) {
	p, err := places.Open(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	parts := map[snapshot.Digest]bool{}
	for _, m := range g.Kept {
		for _, b := range append([]snapshot.Blob{m.Blob}, m.Referrers...) {
			if parts[b.Digest] {
				continue
			}
			n := Namer{Open: oci.VerifiedFrom(p)}
			graph, err := n.walk(ctx, b, &budget{})
			if err != nil {
				return nil, fmt.Errorf("image %s of a snapshot that stays: %w; nothing was removed", m.Name, err)
			}
			for _, d := range graph.Documents {
				parts[d.Digest] = true
			}
		}
	}
	return parts, nil
}

// resolve reads which digest a reference names.
func resolve(ctx context.Context, ref oci.Reference, o *places.Options) (snapshot.Digest, error) {
	p, err := places.Open(ctx, ref, o)
	if err != nil {
		return snapshot.Digest{}, err
	}
	return p.Resolve(ctx, ref)
}
