// Package memory keeps small files in memory, and what others unpack to.
package memory

import (
	"bytes"
	"sync"

	"example.org/mmoci/pkg/snapshot"
)

// MaxFile bounds a file that is kept, in bytes.
const MaxFile = 64 << 10

// Files keeps small files in memory, by digest: most of the cost of
// sending one is opening it. Each is hashed before it is kept, so its bytes are
// right whatever becomes of the file that they came from. Safe for concurrent use.
type Files struct {
	Max int // bytes of all together; less than 1: none is kept

	mu   sync.Mutex
	size int
	by   map[snapshot.Digest][]byte
}

// Get returns the content of a blob, not to be changed; nil if it is not here.
func (c *Files) Get(b snapshot.Blob) []byte {
	if b.Size > MaxFile {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if data := c.by[b.Digest]; int64(len(data)) == b.Size { // else a table lies about the size
		return data
	}
	return nil
}

// Put keeps a copy of data, and tells whether it is the content of the blob at
// all: the file was verified once, and this copy is sent for long. A full cache is emptied.
func (c *Files) Put(b snapshot.Blob, data []byte) bool {
	if len(data) > c.Max {
		return true
	}
	if snapshot.BlobOf(data) != b {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[b.Digest] != nil {
		return true
	}
	if c.by == nil || c.size+len(data) > c.Max {
		c.by, c.size = map[snapshot.Digest][]byte{}, 0
	}
	c.by[b.Digest] = bytes.Clone(data)
	c.size += len(data)
	return true
}
