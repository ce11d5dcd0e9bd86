package artifact

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

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
	tops   []layer // what is below the core: config, statement, table, lock, signature files
	shards []shard
	memory map[snapshot.Digest][]byte // blobs that are at hand
	// carried are files that an oci-archive also names by their paths.
	carried []CarriedFile
	// omit are blobs and shards that a delta leaves out; nil: none.
	omit   map[snapshot.Digest]struct{}
	source opener // all others; ends in a verified EOF or an error
}

// layer is a blob of the artifact with the first path that has it, "" if none.
type layer struct {
	descriptor
	path string
}

// name is what errors call it.
func (l layer) name() string {
	if l.path != "" {
		return l.path
	}
	return l.Digest.String()
}

// shard is the descriptor of a shard and what it holds.
type shard struct {
	descriptor
	layers []layer
}

// sending is the order in which a shard's blobs are sent: the largest first, so
// that none of them is still under way when all others are done.
func (s *shard) sending() []layer {
	order := slices.Clone(s.layers)
	slices.SortStableFunc(order, func(a, b layer) int { return cmp.Compare(b.Size, a.Size) })
	return order
}

func (s *shard) encode() []byte {
	m := manifest{artifactType: typeShard, config: emptyConfigDescriptor(), layers: make([]descriptor, len(s.layers))}
	for i, l := range s.layers {
		m.layers[i] = l.descriptor
	}
	return m.encode()
}

// An opener opens a blob; what it yields ends in a verified EOF or an error.
type opener func(ctx context.Context, b snapshot.Blob) (io.ReadCloser, error)

// Root is the digest of the root.
func (p *Packed) Root() snapshot.Digest { return snapshot.Sum(p.root) }

// Shards is how many shards the artifact has, Size how many bytes its root has.
func (p *Packed) Shards() int { return len(p.shards) }

// Size of the root in bytes; the format's limit is MaxDocument.
func (p *Packed) Size() int { return len(p.root) }

// Blobs is every distinct blob but the manifests: the core's, then the shards' in order, the empty config included.
func (p *Packed) Blobs() []snapshot.Blob {
	var bs []snapshot.Blob
	for l := range p.layers() {
		bs = append(bs, l.Blob)
	}
	return bs
}

// layers ranges over all distinct blobs: core first, then shards in order.
func (p *packed) layers() func(yield func(layer) bool) {
	return func(yield func(layer) bool) {
		for _, l := range p.tops {
			if !yield(l) {
				return
			}
		}
		if len(p.shards) > 0 && !yield(layer{descriptor: emptyConfigDescriptor()}) {
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

// open yields a blob's verified bytes, from memory if they are there.
func (p *packed) open(ctx context.Context, b snapshot.Blob) (io.ReadCloser, error) {
	if data, ok := p.memory[b.Digest]; ok {
		return memoryReader(data), nil
	}
	return p.source(ctx, b)
}

// Pack computes the artifact's documents without writing anything: the root
// digest is known before a blob is fetched. Deterministic. An error says which limit of SPEC section 11 the snapshot exceeds.
func Pack(s *snapshot.Snapshot) (*Packed, error) {
	p := &Packed{packed{
		date:   s.Statement.Date,
		config: encodeConfig(s.Statement.Date, s.Statement.Encoder),
		memory: map[snapshot.Digest][]byte{},
		source: func(ctx context.Context, b snapshot.Blob) (io.ReadCloser, error) {
			f, err := s.OpenBlob(ctx, b)
			if err != nil {
				return nil, err
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
func (p *packed) keep(mediaType string, data []byte) descriptor {
	d := descriptor{mediaType, snapshot.Blob{Digest: snapshot.Sum(data), Size: int64(len(data))}}
	p.memory[d.Digest] = data
	return d
}

// packCore makes the core manifest: statement, table, lock, then the
// statement's signature files, distinct, in order of their first path.
func (p *packed) packCore(s *snapshot.Snapshot) error {
	p.keep(typeEmpty, []byte(emptyConfig))
	statement := typeStatement
	if s.Signed {
		statement = typeSignedStatement
	}
	p.tops = []layer{
		{descriptor: p.keep(typeConfig, p.config)},
		{descriptor: p.keep(statement, s.StatementBytes)},
		{descriptor: p.keep(typeTable, s.Table.Bytes())},
		{descriptor: descriptor{typeLock, s.Statement.Lock}},
	}
	if got := p.tops[2].Blob; got != s.Statement.Table {
		return fmt.Errorf("table: the statement binds %s, the snapshot has %s", s.Statement.Table.Digest, got.Digest)
	}
	p.tops = append(p.tops, signatureFiles(s.Statement)...)
	m := manifest{config: p.tops[0].descriptor}
	for i, l := range p.tops[1:] {
		if most := coreLimit(i, l.mediaType); l.Size <= 0 || l.Size > most {
			return fmt.Errorf("%s (%s) has %d bytes, want 1 to %d", l.name(), l.mediaType, l.Size, most)
		}
		m.layers = append(m.layers, l.descriptor)
	}
	if len(m.layers) > MaxLayers {
		return fmt.Errorf("%d distinct blobs, the limit is %d: take fewer suites into one snapshot", len(m.layers), MaxLayers)
	}
	p.core = m.encode()
	return nil
}

func signatureFiles(st *snapshot.Statement) []layer {
	var files []layer
	for _, a := range st.Archives {
		for _, suite := range a.Suites {
			for _, f := range suite.Files {
				files = append(files, layer{descriptor{typeRelease, f.Blob}, f.Path})
			}
		}
	}
	slices.SortFunc(files, func(a, b layer) int { return cmp.Compare(a.path, b.path) })
	seen := make(map[snapshot.Digest]struct{}, len(files))
	return slices.DeleteFunc(files, func(l layer) bool {
		_, twice := seen[l.Digest]
		seen[l.Digest] = struct{}{}
		return twice
	})
}

// shardFiles lists the files that are in neither the core nor empty, each digest at its first path.
func (p *packed) shardFiles(t *snapshot.Table) ([]layer, error) {
	sizes := make(map[snapshot.Digest]int64, t.Len())
	for _, l := range p.tops {
		sizes[l.Digest] = l.Size
	}
	files := make([]layer, 0, t.Len())
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
		mediaType := typeOctets
		if strings.HasSuffix(row.Path, ".deb") {
			mediaType = typeDeb
		}
		files = append(files, layer{descriptor{mediaType, snapshot.Blob{Digest: row.Digest, Size: row.Size}}, row.Path})
	}
	return files, nil
}

func (p *packed) packShards(files []layer) error {
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = f.path
	}
	root := []descriptor{{typeManifest, snapshot.Blob{Digest: snapshot.Sum(p.core), Size: int64(len(p.core))}}}
	start := 0
	for _, end := range cutShards(paths) {
		s := shard{layers: files[start:end:end]}
		data := s.encode()
		s.descriptor = descriptor{typeManifest, snapshot.Blob{Digest: snapshot.Sum(data), Size: int64(len(data))}}
		p.shards = append(p.shards, s)
		root = append(root, s.descriptor)
		start = end
	}
	p.root = encodeIndex(root)
	if len(p.root) > MaxDocument {
		return fmt.Errorf("root of %d bytes over %d shards, the limit is %d: split the archives over several snapshots",
			len(p.root), len(p.shards), MaxDocument)
	}
	return nil
}
