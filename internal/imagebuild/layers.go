package imagebuild

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// maker makes layers into files of a temporary directory, and opens them. A layer that is known by a note, and whose bytes are
// asked for after all, is taken from the cache or made again. Safe for concurrent use.
type maker struct {
	o      *Options
	dir    *os.File       // temporary
	kept   snapshot.Blobs // of the cache, then made
	copies copies         // of .debs, while scripts are run

	signed func() layercache.Notes // of an earlier build
	bad    sync.Once               // a note that counts for nothing was told

	mu    sync.Mutex
	notes layercache.Notes                                                    // of this build
	made  map[snapshot.Digest]string                                          // file names of layers that were made now
	again map[snapshot.Digest]func(context.Context) (layercache.Layer, error) // how others are made
}

func newMaker(ctx context.Context, o *Options) (*maker, error) {
	m := &maker{o: o, notes: layercache.Notes{}, made: map[snapshot.Digest]string{}, again: map[snapshot.Digest]func(context.Context) (layercache.Layer, error){}}
	var err error
	if m.dir, err = o.Cache.MkdirTemp(); err != nil {
		return nil, fmt.Errorf("layers: %w", err)
	}
	m.kept = o.Cache.Through(opener(m.open))
	m.signed = sync.OnceValue(func() layercache.Notes {
		if o.Signed == nil {
			return nil
		}
		return o.Signed(ctx)
	})
	return m, nil
}

func (m *maker) close() error {
	return errors.Join(os.RemoveAll(m.dir.Name()), m.dir.Close())
}

// opener is a snapshot.Blobs that opens blobs at their beginning.
type opener func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error)

// Open implements snapshot.Blobs.
func (f opener) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	return snapshot.BlobsFunc(f).Open(ctx, b, offset)
}

func inMemory(data []byte) *snapshot.Content {
	return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data))}
}

// Open opens a layer.
func (m *maker) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	return m.kept.Open(ctx, b, offset)
}

// open opens a layer that was made now, and makes one of which only the note was there.
func (m *maker) open(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
	m.mu.Lock()
	name, again := m.made[b.Digest], m.again[b.Digest]
	m.mu.Unlock()
	if name == "" && again != nil {
		l, err := again(ctx)
		if err != nil {
			return nil, err
		}
		if l.Blob != b {
			return nil, outcome.MakeAnew.For(fmt.Errorf("%w: layer %s, made again, is %s: its note is of another mmoci", outcome.ErrIntegrity, b.Digest, l.Digest))
		}
		m.mu.Lock()
		name = m.made[b.Digest]
		m.mu.Unlock()
	}
	if name == "" {
		return nil, fmt.Errorf("layer %s: %w", b.Digest, snapshot.ErrNotExist)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &snapshot.Content{R: f}, nil
}

// tarWriter writes the tar of a layer, now or later again.
type tarWriter func(ctx context.Context, w io.Writer) (snapshot.Blob, error)

// write makes a layer, packed, as a file.
func (m *maker) write(ctx context.Context, what string, write tarWriter) (image.Layer, error) {
	if m.o.Dry {
		return m.remember(ctx, what, write)
	}
	return m.writeFile(ctx, what, m.o.Plan.Layers.Compression, write)
}

// remember computes the tar alone, and how it is written if somebody asks for it.
func (m *maker) remember(ctx context.Context, what string, write tarWriter) (image.Layer, error) {
	blob, _, err := image.Pack(io.Discard, imageplan.Uncompressed, func(w io.Writer) (snapshot.Blob, error) { return write(ctx, w) })
	l := image.Layer{MediaType: image.TypeLayer, Blob: blob, DiffID: blob.Digest, By: what}
	if err != nil {
		return l, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.again[l.Digest] = func(ctx context.Context) (layercache.Layer, error) {
		l, err := m.writeFile(ctx, what, imageplan.Uncompressed, write)
		return layercache.Layer{Layer: l}, err
	}
	return l, nil
}

func (m *maker) writeFile(ctx context.Context, what, compression string, write tarWriter) (image.Layer, error) {
	f, err := os.CreateTemp(m.dir.Name(), "layer-")
	if err != nil {
		return image.Layer{}, err
	}
	blob, tar, err := image.Pack(f, compression, func(w io.Writer) (snapshot.Blob, error) { return write(ctx, w) })
	if err := cmp.Or(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return image.Layer{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, twice := m.made[blob.Digest]; twice {
		os.Remove(f.Name())
	} else {
		m.made[blob.Digest] = f.Name()
	}
	return image.Layer{MediaType: image.LayerType(compression), Blob: blob, DiffID: tar.Digest, By: what}, nil
}

// workers is how many packages are packed at once.
func (m *maker) workers() int { return cmp.Or(m.o.Workers, runtime.GOMAXPROCS(0)) }

// packages makes the layer of each package, or finds its note, several at once: the largest first, so that none is left for the end.
// Of packages that share a layer, where there are at most so many of these, it makes notes alone.
func (m *maker) packages(ctx context.Context, pkgs []*resolve.Package, r rootfs.Recipe, most, workers int) ([]layercache.Layer, error) {
	out := make([]layercache.Layer, len(pkgs))
	order := make([]int, len(pkgs))
	stanzas := make([]deb.Stanza, len(pkgs))
	for i, p := range pkgs {
		order[i], stanzas[i] = i, p.Stanza
	}
	grouped := stack.Grouped(stanzas, most)
	slices.SortStableFunc(order, func(a, b int) int { return -cmp.Compare(pkgs[a].Size, pkgs[b].Size) })
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for _, i := range order {
		if each.Err() != nil {
			break
		}
		g.Go(func() (err error) {
			out[i], err = m.ofPackage(each, pkgs[i], r, !grouped[i])
			if err != nil {
				return fmt.Errorf("package %s %s %s: %w", pkgs[i].Name, pkgs[i].Version, pkgs[i].Architecture, err)
			}
			return nil
		})
	}
	err := g.Wait()
	if err = cmp.Or(context.Cause(ctx), err); err != nil { // the loop may have been cut short with no package that failed
		return nil, err
	}
	for i, l := range out {
		if grouped[i] {
			l = l.Unpacked()
		}
		m.note(m.packageKey(l.Note.Deb, r), l)
	}
	return out, nil
}

func (m *maker) packageKey(b snapshot.Blob, r rootfs.Recipe) string {
	return layercache.PackageKey(b.Digest, r, m.o.Plan.Layers.Compression)
}

// note takes a note among those that are given to others.
func (m *maker) note(key string, l layercache.Layer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notes[key] = l
}

// find finds a note: one that is kept, else one that the site signed of an earlier build. One that check refuses is as good as none.
func (m *maker) find(key string, check func(*layercache.Layer) error) (layercache.Layer, bool) {
	l, err := m.o.Cache.Read(key)
	if err == nil {
		err = check(&l)
	}
	if err != nil {
		m.tellBad(key, err)
		if l, err = m.signed().Read(key); err == nil {
			err = check(&l)
		}
		m.tellBad(key, err)
	}
	return l, err == nil
}

func (m *maker) tellBad(key string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.bad.Do(func() { m.o.Log.Printf("note %s: %v; such notes are made anew", key, err) })
	}
}

// later says how a layer of which only the note is there is made if somebody asks for its bytes. A note of which it is not the layer is kept no more.
func (m *maker) later(key string, l image.Layer, again func(context.Context) (layercache.Layer, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.again[l.Digest] = func(ctx context.Context) (layercache.Layer, error) {
		made, err := again(ctx)
		if err == nil && made.Blob != l.Blob {
			m.o.Cache.Forget(key)
		}
		return made, err
	}
}

// ofPackage makes the layer of a package, or finds its note: with its blob, or the note alone.
func (m *maker) ofPackage(ctx context.Context, p *resolve.Package, r rootfs.Recipe, packed bool) (layercache.Layer, error) {
	b, err := blobOf(p)
	if err != nil {
		return layercache.Layer{}, err
	}
	again := func(ctx context.Context) (layercache.Layer, error) {
		l, err := m.fromDeb(ctx, b, r, packed)
		if err != nil {
			return l, err
		}
		return l, sameControl(l.Note, p)
	}
	key := m.packageKey(b, r)
	l, ok := m.find(key, func(l *layercache.Layer) error {
		if packed && l.Digest.IsZero() {
			return fs.ErrNotExist
		}
		if err := l.OfPackage(b, r); err != nil {
			return err
		}
		return sameControl(l.Note, p)
	})
	if ok {
		if packed {
			m.later(key, l.Layer, again)
		}
		return l, nil
	}
	if l, err = again(ctx); err == nil {
		m.o.Cache.Keep(key, l)
	}
	return l, err
}

func (m *maker) fromDeb(ctx context.Context, b snapshot.Blob, r rootfs.Recipe, packed bool) (l layercache.Layer, err error) {
	tar := func(ctx context.Context, w io.Writer) (snapshot.Blob, error) {
		note, err := rootfs.WriteLayer(w, rootfs.Deb{Blob: b, Open: m.openDeb(ctx, b)}, r)
		if err != nil {
			return snapshot.Blob{}, err
		}
		l.Note = note
		return note.Layer, nil
	}
	if packed {
		l.Layer, err = m.write(ctx, "", tar)
	} else {
		var blob snapshot.Blob
		blob, err = tar(ctx, io.Discard)
		l.DiffID = blob.Digest
	}
	if errors.Is(err, deb.ErrMalformed) {
		err = fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	if err == nil {
		l.By = "package " + l.Note.String()
	}
	return l, err
}

// sameControl compares the control file of a .deb with its stanza: its bytes are those that the index lists, but the
// index may list them for another package.
func sameControl(n *rootfs.Note, p *resolve.Package) error {
	if n.Name() != p.Name || n.Version() != p.Version || n.Architecture() != p.Architecture {
		return fmt.Errorf("%w: its control file names %s", outcome.ErrIntegrity, n)
	}
	return nil
}

// ofGroup makes the layer of several packages, or finds it.
func (m *maker) ofGroup(ctx context.Context, g stack.Group, one map[*rootfs.Note]layercache.Layer) (image.Layer, error) {
	if len(g.Notes) == 1 {
		return one[g.Notes[0]].Layer, nil
	}
	again := func(ctx context.Context) (l layercache.Layer, err error) {
		l.Layer, err = m.write(ctx, g.Name, func(ctx context.Context, w io.Writer) (snapshot.Blob, error) {
			return stack.WriteGroup(w, g, func(n *rootfs.Note) (io.ReadCloser, error) { return m.openDeb(ctx, n.Deb)() })
		})
		return l, err
	}
	key := layercache.GroupKey(g, m.o.Plan.Layers.Compression)
	l, ok := m.find(key, func(l *layercache.Layer) error {
		if len(l.Text) > 0 || l.Digest.IsZero() {
			return errors.New("it is of another layer")
		}
		return nil
	})
	if ok {
		l.By = g.Name
		m.note(key, l)
		m.later(key, l.Layer, again)
		return l.Layer, nil
	}
	l, err := again(ctx)
	if err != nil {
		return l.Layer, fmt.Errorf("%s: %w", g.Name, err)
	}
	m.o.Cache.Keep(key, l)
	m.note(key, l)
	return l.Layer, nil
}
