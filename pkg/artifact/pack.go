package artifact

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Packed is a snapshot's OCI documents. Immutable; safe for concurrent use.
type Packed struct{ packed }

// packed is an artifact as it is written: documents, the blobs below them, and
// a way to open each blob verified. Shards are kept as descriptors and encoded when
// they are needed: canonical encoding makes that safe, and it is a tenth of the bytes.
type packed struct {
	date   time.Time
	root   []byte
	core   []byte
	config []byte
	tops   []oci.Layer // what is below the core: config, statement, table, lock, signature files
	shards []shard
	memory map[snapshot.Digest][]byte // blobs that are at hand
	// images are those that the statement names.
	images []snapshot.Image
	// carried are files that an oci-archive also names by their paths.
	carried []CarriedFile
	// omit are blobs and shards that a delta leaves out; nil: none.
	omit   map[snapshot.Digest]struct{}
	source oci.Opener // all others; ends in a verified EOF or an error
}

// shard is the descriptor of a shard and what it holds.
type shard struct {
	oci.Descriptor
	layers []oci.Layer
}

// sending is the order in which a shard's blobs are sent: the largest first, so
// that none of them is still under way when all others are done.
func (s *shard) sending() []oci.Layer {
	order := slices.Clone(s.layers)
	slices.SortStableFunc(order, func(a, b oci.Layer) int { return cmp.Compare(b.Size, a.Size) })
	return order
}

func (s *shard) encode() []byte {
	m := oci.Manifest{ArtifactType: oci.TypeShard, Config: oci.EmptyConfigDescriptor(), Layers: make([]oci.Descriptor, len(s.layers))}
	for i, l := range s.layers {
		m.Layers[i] = l.Descriptor
	}
	return m.Encode()
}

// Root is the digest of the root.
func (p *Packed) Root() snapshot.Digest { return snapshot.Sum(p.root) }

// Shards is how many shards the artifact has, Size how many bytes its root has.
func (p *Packed) Shards() int { return len(p.shards) }

// Size of the root in bytes; the format's limit is MaxDocument.
func (p *Packed) Size() int { return len(p.root) }

// layers ranges over all distinct blobs: core first, then shards in order.
func (p *packed) layers() func(yield func(oci.Layer) bool) {
	return func(yield func(oci.Layer) bool) {
		for _, l := range p.tops {
			if !yield(l) {
				return
			}
		}
		if len(p.shards) > 0 && !yield(oci.Layer{Descriptor: oci.EmptyConfigDescriptor()}) {
			return
		}
		for _, s := range p.shards {
			for _, l := range s.layers {
				if !yield(l) {
					return
				}
			}
		}
	}
}

// contents describes what is to be written, without what a delta leaves out.
func (p *packed) contents() oci.Contents {
	documents := []snapshot.Blob{snapshot.BlobOf(p.root), snapshot.BlobOf(p.core)}
	for _, s := range p.shards {
		documents = append(documents, s.Blob)
	}
	return oci.Contents{Root: oci.Describe(oci.TypeIndex, documents[0]), Runnable: p.runnable(), Blobs: func(yield func(snapshot.Blob) bool) {
		for _, b := range documents {
			if _, out := p.omit[b.Digest]; !out && !yield(b) {
				return
			}
		}
		for l := range p.layers() {
			if _, out := p.omit[l.Digest]; !out && !yield(l.Blob) {
				return
			}
		}
	}}
}

// open yields a blob's verified bytes, from memory if they are there.
func (p *packed) open(ctx context.Context, b snapshot.Blob) (oci.Verified, error) {
	if data, ok := p.memory[b.Digest]; ok {
		return oci.InMemory(data), nil
	}
	return p.source(ctx, b)
}

// Pack computes the artifact's documents without writing anything:
// the root digest is known before a blob is fetched. Deterministic.
// An error says which limit of SPEC section 11 the snapshot exceeds.
func Pack(s *snapshot.Snapshot) (*Packed, error) {
	p := &Packed{packed{
		date:   s.Statement.Date,
		config: oci.ConfigOf(s.Statement).Encode(),
		images: s.Statement.Images,
		memory: map[snapshot.Digest][]byte{},
		source: func(ctx context.Context, b snapshot.Blob) (oci.Verified, error) {
			f, err := s.OpenBlob(ctx, b)
			if err != nil {
				return oci.Verified{}, err
			}
			return verifiedFile(f), nil
		},
	}}
	if err := p.packCore(s); err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	p.carried = carriedIn(s.Table)
	files, err := p.shardFiles(s.Table)
	if err != nil {
		return nil, err
	}
	if err := p.packShards(files); err != nil {
		return nil, err
	}
	return p, nil
}

// keep puts bytes at hand and describes them.
func (p *packed) keep(mediaType string, data []byte) oci.Descriptor {
	d := oci.Describe(mediaType, snapshot.BlobOf(data))
	p.memory[d.Digest] = data
	return d
}

// packCore makes the core manifest: statement, table, lock, then the
// statement's signature files, distinct, in order of their first path.
func (p *packed) packCore(s *snapshot.Snapshot) error {
	p.keep(oci.TypeEmpty, []byte(oci.EmptyConfig))
	config, statement := oci.ConfigOf(s.Statement).Types(s.Signed)
	p.tops = []oci.Layer{
		{Descriptor: p.keep(config, p.config)},
		{Descriptor: p.keep(statement, s.StatementBytes)},
		{Descriptor: p.keep(oci.TypeTable, s.Table.Bytes())},
		{Descriptor: oci.Describe(oci.TypeLock, s.Statement.Lock)},
	}
	if got := p.tops[2].Blob; got != s.Statement.Table {
		return fmt.Errorf("table: the statement binds %s, the snapshot has %s", s.Statement.Table.Digest, got.Digest)
	}
	p.tops = append(p.tops, signatureFiles(s.Statement)...)
	m := oci.Manifest{Config: p.tops[0].Descriptor}
	for i, l := range p.tops[1:] {
		if most := oci.CoreLimit(i, l.MediaType); l.Size <= 0 || l.Size > most {
			return fmt.Errorf("%s (%s) has %d bytes, want 1 to %d", l.Name(), l.MediaType, l.Size, most)
		}
		m.Layers = append(m.Layers, l.Descriptor)
	}
	if len(m.Layers) > oci.MaxLayers {
		return fmt.Errorf("%d distinct blobs, the limit is %d: take fewer suites into one snapshot", len(m.Layers), oci.MaxLayers)
	}
	p.core = m.Encode()
	return nil
}

func signatureFiles(st *snapshot.Statement) []oci.Layer {
	var files []oci.Layer
	for _, a := range st.Archives {
		for _, suite := range a.Suites {
			for _, f := range suite.Files {
				files = append(files, oci.Layer{Descriptor: oci.Describe(oci.TypeRelease, f.Blob), Path: f.Path})
			}
		}
	}
	slices.SortFunc(files, func(a, b oci.Layer) int { return cmp.Compare(a.Path, b.Path) })
	seen := make(map[snapshot.Digest]struct{}, len(files))
	return slices.DeleteFunc(files, func(l oci.Layer) bool {
		_, twice := seen[l.Digest]
		seen[l.Digest] = struct{}{}
		return twice
	})
}

// shardFiles lists the files that are in neither the core nor empty, each digest at its first path. A file
// that is the OCI empty config, as what refers to images may have, is there as the config of every shard.
func (p *packed) shardFiles(t *snapshot.Table) ([]oci.Layer, error) {
	sizes := make(map[snapshot.Digest]int64, t.Len())
	for _, l := range p.tops {
		sizes[l.Digest] = l.Size
	}
	sizes[oci.EmptyConfigDescriptor().Digest] = oci.EmptyConfigDescriptor().Size
	files := make([]oci.Layer, 0, t.Len())
	for row := range t.Rows() {
		if row.Size == 0 {
			continue
		}
		if size, known := sizes[row.Digest]; known {
			if size != row.Size {
				return nil, fmt.Errorf("%s: %s has %d bytes here and %d elsewhere", row.Path, row.Digest, row.Size, size)
			}
			continue
		}
		sizes[row.Digest] = row.Size
		files = append(files, oci.Layer{Descriptor: oci.Describe(fileType(row.Path), snapshot.Blob{Digest: row.Digest, Size: row.Size}), Path: row.Path})
	}
	return files, nil
}

// fileType is the media type of a file in a shard.
func fileType(path string) string {
	if strings.HasSuffix(path, ".deb") {
		return oci.TypeDeb
	}
	return oci.TypeOctets
}

func (p *packed) packShards(files []oci.Layer) error {
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = f.Path
	}
	root := []oci.Descriptor{oci.Describe(oci.TypeManifest, snapshot.BlobOf(p.core))}
	start := 0
	for _, end := range cutShards(paths) {
		s := shard{layers: files[start:end:end]}
		data := s.encode()
		s.Descriptor = oci.Describe(oci.TypeManifest, snapshot.BlobOf(data))
		p.shards = append(p.shards, s)
		root = append(root, s.Descriptor)
		start = end
	}
	p.root = oci.EncodeIndex(root)
	if len(p.root) > MaxDocument {
		return fmt.Errorf("root of %d bytes over %d shards, the limit is %d: split the archives over several snapshots",
			len(p.root), len(p.shards), MaxDocument)
	}
	return nil
}

// verifiedFile reads a snapshot's file, from the file itself where it was hashed before.
func verifiedFile(f *snapshot.File) oci.Verified {
	if file, ok := f.Seeker.(*os.File); ok {
		return oci.Verified{File: file, ReadCloser: struct {
			io.Reader
			io.Closer
		}{file, f}}
	}
	return oci.Verified{ReadCloser: f}
}

// A priority decides where a range is cut: the highest wins, the first of equals.
type priority struct {
	pos  int // the cut is before this position
	hash [sha256.Size]byte
}

// cutShards cuts sorted distinct paths into ranges of at most MaxLayers (SPEC
// section 7) and returns where each range ends. The rule is recursive; here
// the recursion is walked over a tree whose root is the highest priority of the
// range, left and right of it the same for what remains (a Cartesian tree,
// built in linear time), so that no choice of names makes it quadratic.
func cutShards(paths []string) (ends []int) {
	var dirs []priority
	for i := 1; i < len(paths); i++ {
		if dir := directory(paths[i]); dir != directory(paths[i-1]) {
			dirs = append(dirs, priority{i, sha256.Sum256([]byte(dir))})
		}
	}
	walkCuts(dirs, 0, len(paths), func(lo, hi int) {
		if hi-lo <= oci.MaxLayers {
			ends = append(ends, hi)
			return
		}
		files := make([]priority, 0, hi-lo-1) // one directory
		for i := lo + 1; i < hi; i++ {
			files = append(files, priority{i, sha256.Sum256([]byte(paths[i]))})
		}
		walkCuts(files, lo, hi, func(_, hi int) { ends = append(ends, hi) })
	})
	return ends
}

// directory is the path up to its last slash, without it.
func directory(path string) string {
	return path[:max(strings.LastIndexByte(path, '/'), 0)]
}

// walkCuts cuts lo..hi at the given positions until ranges are small enough
// or no position is left, and emits the ranges in order.
func walkCuts(cuts []priority, lo, hi int, emit func(lo, hi int)) {
	left, right, root := cartesian(cuts)
	type span struct{ node, lo, hi int }
	stack := []span{{root, lo, hi}}
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if s.node < 0 || s.hi-s.lo <= oci.MaxLayers {
			if s.hi > s.lo {
				emit(s.lo, s.hi)
			}
			continue
		}
		at := cuts[s.node].pos
		stack = append(stack, span{right[s.node], at, s.hi}, span{left[s.node], s.lo, at})
	}
}

// cartesian builds the tree: every node's hash is greater than those below it,
// or equal and earlier. -1 stands for none.
func cartesian(cuts []priority) (left, right []int, root int) {
	left, right = make([]int, len(cuts)), make([]int, len(cuts))
	var spine []int // the right spine, from the root down
	for i := range cuts {
		left[i], right[i] = -1, -1
		for len(spine) > 0 && bytes.Compare(cuts[spine[len(spine)-1]].hash[:], cuts[i].hash[:]) < 0 {
			left[i] = spine[len(spine)-1]
			spine = spine[:len(spine)-1]
		}
		if len(spine) > 0 {
			right[spine[len(spine)-1]] = i
		}
		spine = append(spine, i)
	}
	if len(spine) == 0 {
		return left, right, -1
	}
	return left, right, spine[0]
}

// carriedIn lists what a table says is carried. Its names are of SPEC section 3
// and no others: [snapshot.OpenTable] and [snapshot.Take] see to that.
func carriedIn(t *snapshot.Table) []CarriedFile {
	var out []CarriedFile
	for row := range t.Under(snapshot.CarriedDir) {
		out = append(out, CarriedFile{Path: row.Path, Blob: row.Blob()})
	}
	return out
}

// runnable are the carried files that an oci-archive
// names: those whose blobs a delta does not leave out.
func (p *packed) runnable() []CarriedFile {
	return slices.DeleteFunc(slices.Clone(p.carried), func(c CarriedFile) bool {
		_, out := p.omit[c.Digest]
		return out
	})
}
