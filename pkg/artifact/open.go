package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// Open reads root and core of an artifact, validates every document of it
// (SPEC section 7) and returns what they hold; shards are read when all of
// them are needed only (Copy, Blobs of Verify). Nothing is believed but digests.
//
// Errors: ErrNotFound if the place, tag or digest is not there; ErrNotOurs for
// foreign artifacts and newer versions; snapshot.ErrIntegrity for a broken one.
func Open(ctx context.Context, ref Reference, o Options) (*snapshot.Sealed, error) {
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	top, err := readTop(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	s, err := top.seal(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	s.Pinned = !ref.Digest.IsZero()
	return s, nil
}

// top is an artifact's root and core, validated.
type top struct {
	root     oci.Descriptor
	rootData []byte
	children []oci.Descriptor // core, shards
	core     *oci.Manifest
	coreData []byte
}

// readTop reads and validates root and core, after finding out whether they are ours.
func readTop(ctx context.Context, p places.Place, ref Reference) (*top, error) {
	d, data, err := p.Root(ctx, ref)
	if err != nil {
		return nil, places.Lost(ref, err)
	}
	t, err := parseTop(ctx, p, d, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return t, nil
}

func parseTop(ctx context.Context, p places.Place, d oci.Descriptor, data []byte) (*top, error) {
	if err := lookRoot(d.MediaType, data); err != nil {
		return nil, err
	}
	children, strict := oci.ParseRoot(data)
	if strict != nil {
		// Not ours, or ours and broken: its first child tells.
		first, err := oci.FirstChild(data)
		if errors.Is(err, snapshot.ErrPlaceholder) {
			return nil, strict
		}
		if err != nil {
			return nil, fmt.Errorf("%w: an image index without a usable first manifest", ErrNotOurs)
		}
		children = []oci.Descriptor{first}
	}
	core, err := p.Document(ctx, children[0])
	if err != nil && strict != nil {
		return nil, fmt.Errorf("%w: an image index (%w)", ErrNotOurs, err)
	} else if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	if err := lookCore(core, readNeeds(ctx, p, core)); err != nil {
		return nil, err
	}
	if strict != nil {
		return nil, strict
	}
	m, err := oci.ParseCore(core)
	if err != nil {
		return nil, err
	}
	d.MediaType = oci.TypeIndex
	return &top{d, data, children, m, core}, nil
}

// seal reads what the core holds.
func (t *top) seal(ctx context.Context, p places.Place) (*snapshot.Sealed, error) {
	s := &snapshot.Sealed{
		Root: t.root.Digest, Signed: strings.HasSuffix(t.core.Layers[0].MediaType, "+pgp"), Lock: t.core.Layers[2].Blob, Blobs: p,
	}
	g, each := errgroup.WithContext(ctx)
	for i, part := range []struct {
		what  string
		limit int64
		into  *[]byte
	}{{"statement", MaxStatement, &s.Statement}, {"table", MaxTable, &s.Table}} {
		g.Go(func() (err error) {
			*part.into, err = oci.ReadBlob(each, p, part.what, t.core.Layers[i].Blob, part.limit)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, l := range t.core.Layers[3:] {
		s.Release = append(s.Release, l.Blob)
	}
	data, err := t.config(ctx, p, s.Statement)
	if err != nil {
		return nil, err
	}
	config, err := oci.ParseConfig(data)
	if err == nil {
		err = t.checkType(config)
	}
	s.Date, s.Encoder, s.Needs = config.Date, config.Encoder, config.Needs
	return s, err
}

// checkType holds the version in the core's media types against that in its config.
func (t *top) checkType(c oci.Config) error {
	if mediaType, _ := c.Types(false); t.core.Config.MediaType != mediaType {
		return oci.Integrity("config of media type %q should be of %q", t.core.Config.MediaType, mediaType)
	}
	return nil
}

// config is the core's config. The statement determines it, so it is asked for only if
// it is not what the statement makes expect; either way its digest decides.
func (t *top) config(ctx context.Context, p places.Place, statement []byte) ([]byte, error) {
	if c := expectedConfig(statement); snapshot.BlobOf(c) == t.core.Config.Blob {
		return c, nil
	}
	return oci.ReadBlob(ctx, p, "config", t.core.Config.Blob, oci.MaxConfig)
}

// stated is the config, made of the statement: the date in it is what copies go by, and no
// reader would open a snapshot in which the two contradict each other.
//
// The images are those that the statement names.
func (t *top) stated(ctx context.Context, p places.Place) (config []byte, named []snapshot.Image, err error) {
	statement, err := oci.ReadBlob(ctx, p, "statement", t.core.Layers[0].Blob, MaxStatement)
	if err != nil {
		return nil, nil, err
	}
	config = expectedConfig(statement)
	if snapshot.BlobOf(config) != t.core.Config.Blob {
		return nil, nil, oci.Integrity("config is not that of the statement")
	}
	c, err := oci.ParseConfig(config)
	if err == nil {
		err = t.checkType(c)
	}
	if err == nil && c.Needs != "" { // version 1 has none
		named, err = images.Stated(statement)
	}
	return config, named, err
}

// expectedConfig makes the config of the date and encoder lines of a statement, signed or not.
func expectedConfig(statement []byte) []byte {
	_, rest, _ := bytes.Cut(statement, []byte("mmoci-statement-v"))
	_, rest, _ = bytes.Cut(rest, []byte("\n"))
	var c oci.Config
	for range 4 { // perhaps needs, date, perhaps valid-until, encoder; what stands in other places is not read
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		key, value, _ := bytes.Cut(line, []byte(" "))
		switch string(key) {
		case "needs":
			c.Needs = string(value)
		case "date":
			c.Date, _ = time.Parse(time.RFC3339, string(value))
		case "encoder":
			c.Encoder, _ = strconv.Atoi(string(value))
		}
	}
	return c.Encode()
}

// ReadDate returns the root that a reference names with the date input in its config, which
// nobody vouches for: it is the place's word. The statement is not read.
func ReadDate(ctx context.Context, ref Reference, o Options) (root snapshot.Digest, date time.Time, err error) {
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return root, date, err
	}
	t, err := readTop(ctx, p, ref)
	if err != nil {
		return root, date, err
	}
	data, err := oci.ReadBlob(ctx, p, "config", t.core.Config.Blob, oci.MaxConfig)
	if err != nil {
		return root, date, fmt.Errorf("%s: %w", ref, err)
	}
	config, err := oci.ParseConfig(data)
	if err != nil {
		return root, date, fmt.Errorf("%s: %w", ref, err)
	}
	return t.root.Digest, config.Date, nil
}

// Resolve returns the digest that a reference names now. It asks one question
// of the registry, and reads one file of a layout. Only a registry's answer to a
// reference by digest means that it is there.
func Resolve(ctx context.Context, ref Reference, o Options) (snapshot.Digest, error) {
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return snapshot.Digest{}, err
	}
	return p.Resolve(ctx, ref)
}

// Graph is every blob that an artifact consists of, read from its shards.
type Graph struct {
	Manifests []snapshot.Blob // root, core, shards
	Files     []snapshot.Blob // in order of the shards; core layers and configs included
}

// ReadGraph reads root, core, config and every shard and validates them.
func ReadGraph(ctx context.Context, ref Reference, o Options) (*Graph, error) {
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	a, err := readArtifact(ctx, p, ref, &o)
	if err != nil {
		return nil, err
	}
	// What was validated was made of the statement; the place may hold another.
	if _, err := oci.ReadBlob(ctx, p, "config", snapshot.BlobOf(a.config), oci.MaxConfig); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	g := &Graph{Manifests: []snapshot.Blob{snapshot.BlobOf(a.root), snapshot.BlobOf(a.core)}}
	for _, s := range a.shards {
		g.Manifests = append(g.Manifests, s.Blob)
	}
	for l := range a.layers() {
		g.Files = append(g.Files, l.Blob)
	}
	return g, nil
}

// readArtifact reads all documents of an artifact and validates them.
func readArtifact(ctx context.Context, p places.Place, ref Reference, o *Options) (*packed, error) {
	t, err := readTop(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	a := &packed{
		root: t.rootData, core: t.coreData, shards: make([]shard, len(t.children)-1),
		memory: map[snapshot.Digest][]byte{}, source: oci.VerifiedFrom(p),
	}
	a.keep(oci.TypeEmpty, []byte(oci.EmptyConfig))
	if a.config, a.images, err = t.stated(ctx, p); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	config, err := oci.ParseConfig(a.config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	a.date = config.Date
	for _, d := range append([]oci.Descriptor{t.core.Config}, t.core.Layers...) {
		a.tops = append(a.tops, oci.Layer{Descriptor: d})
	}
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(o.Workers())
	for i, child := range t.children[1:] {
		g.Go(func() error {
			s, err := readShard(each, p, child)
			a.shards[i] = s
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	if err := a.checkDistinct(); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return a, nil
}

func readShard(ctx context.Context, p places.Place, d oci.Descriptor) (shard, error) {
	data, err := p.Document(ctx, d)
	if err != nil {
		return shard{}, fmt.Errorf("shard: %w", err)
	}
	m, err := oci.ParseShard(data)
	if err != nil {
		return shard{}, fmt.Errorf("%s: %w", d.Digest, err)
	}
	s := shard{Descriptor: d, layers: make([]oci.Layer, len(m.Layers))}
	for i, l := range m.Layers {
		s.layers[i].Descriptor = l
	}
	return s, nil
}

// checkDistinct holds "one descriptor per distinct digest" over all manifests.
func (p *packed) checkDistinct() error {
	seen := map[snapshot.Digest]struct{}{}
	for l := range p.layers() {
		if _, twice := seen[l.Digest]; twice && l.MediaType != oci.TypeEmpty {
			return oci.Integrity("blob %s stands in two manifests", l.Digest)
		}
		seen[l.Digest] = struct{}{}
	}
	return nil
}

// Missing asks the place for every blob of the graph without reading it, and
// returns those that are not there or have another size, manifests first, in the graph's order.
func Missing(ctx context.Context, ref Reference, g *Graph, o Options) ([]snapshot.Blob, error) {
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	all := make([]oci.Descriptor, 0, len(g.Manifests)+len(g.Files))
	for i, b := range g.Manifests {
		mediaType := oci.TypeManifest
		if i == 0 {
			mediaType = oci.TypeIndex
		}
		all = append(all, oci.Describe(mediaType, b))
	}
	for _, b := range g.Files {
		all = append(all, oci.Describe(oci.TypeOctets, b))
	}
	there := make([]bool, len(all))
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(o.Workers())
	for i, d := range all {
		if each.Err() != nil {
			break
		}
		group.Go(func() (err error) {
			there[i], err = p.Has(each, d)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var missing []snapshot.Blob
	for i, d := range all {
		if !there[i] {
			missing = append(missing, d.Blob)
		}
	}
	return missing, ctx.Err()
}

// StatedImages returns the images that the statement of a snapshot names. Nothing is verified but
// digests: whoever wrote to the place may have written these names.
func StatedImages(ctx context.Context, ref Reference, o Options) ([]snapshot.Image, error) {
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	t, err := readTop(ctx, p, ref)
	if err != nil || t.core.Config.MediaType == oci.TypeConfig { // version 1, which has none
		return nil, err
	}
	statement, err := oci.ReadBlob(ctx, p, "statement", t.core.Layers[0].Blob, MaxStatement)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return images.Stated(statement)
}
