package artifact

import (
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Documents are the OCI documents of a snapshot, for who hands them out one by one. Shards are
// encoded when they are asked for: four bytes are kept for each file. Immutable; safe for concurrent use.
type Documents struct {
	s      *snapshot.Snapshot
	root   []byte
	core   []byte
	tops   map[snapshot.Digest]coreBlob
	shards map[snapshot.Digest]span
	files  []uint32 // row numbers, shard by shard
}

// coreBlob is a blob of the core: its size, and its bytes where they are at hand.
type coreBlob struct {
	size int64
	data []byte
}

// span is a shard's part of Documents.files.
type span struct{ from, to uint32 }

// DocumentsOf packs a snapshot, as [Pack] does and at its price in memory, and keeps little
// of it. If the documents are not those of the snapshot's root, the error wraps snapshot.ErrIntegrity.
func DocumentsOf(s *snapshot.Snapshot) (*Documents, error) {
	p, err := Pack(s)
	if err != nil {
		return nil, err
	}
	if p.Root() != s.Root {
		return nil, oci.Integrity("the documents of snapshot %s are those of %s", s.Root, p.Root())
	}
	d := &Documents{
		s: s, root: p.root, core: p.core, tops: map[snapshot.Digest]coreBlob{},
		shards: make(map[snapshot.Digest]span, len(p.shards)),
	}
	for _, l := range p.tops {
		d.tops[l.Digest] = coreBlob{l.Size, p.memory[l.Digest]}
	}
	if len(p.shards) > 0 {
		empty := oci.EmptyConfigDescriptor()
		d.tops[empty.Digest] = coreBlob{empty.Size, p.memory[empty.Digest]}
	}
	d.number(p.shards)
	if len(d.shards) != len(p.shards) {
		return nil, oci.Integrity("the files of %s do not stand in its table in order", s.Root) // impossible: they came from there
	}
	return d, nil
}

// number notes which rows of the table the shards' files are: both are in order of path.
func (d *Documents) number(shards []shard) {
	n, from, file := uint32(0), uint32(0), 0
	for row := range d.s.Table.Rows() {
		if len(shards) == 0 {
			return
		}
		if row.Path == shards[0].layers[file].Path {
			d.files = append(d.files, n)
			file++
		}
		if file == len(shards[0].layers) {
			d.shards[shards[0].Digest] = span{from, uint32(len(d.files))}
			shards, from, file = shards[1:], uint32(len(d.files)), 0
		}
		n++
	}
}

// Document returns the root, the core or a shard with its media type; nil if the snapshot
// has no such document.
func (d *Documents) Document(digest snapshot.Digest) (data []byte, mediaType string, err error) {
	if digest == d.s.Root {
		return d.root, oci.TypeIndex, nil
	}
	part, ok := d.shards[digest]
	switch {
	case ok:
		data = d.shard(part)
	case snapshot.Sum(d.core) == digest:
		data = d.core
	default:
		return nil, "", nil
	}
	if got := snapshot.Sum(data); got != digest {
		return nil, "", oci.Integrity("shard %s is encoded as %s", digest, got)
	}
	return data, oci.TypeManifest, nil
}

// CoreBlob returns a blob of the core, and its bytes if they are at hand; false if it is none.
// The config of all shards counts as one.
func (d *Documents) CoreBlob(digest snapshot.Digest) (b snapshot.Blob, data []byte, ok bool) {
	t, ok := d.tops[digest]
	return snapshot.Blob{Digest: digest, Size: t.size}, t.data, ok
}

func (d *Documents) shard(part span) []byte {
	s := shard{layers: make([]oci.Layer, 0, part.to-part.from)}
	for _, n := range d.files[part.from:part.to] {
		row := d.s.Table.Row(int(n))
		s.layers = append(s.layers, oci.Layer{Descriptor: oci.Describe(fileType(row.Path), row.Blob())})
	}
	return s.encode()
}
