package serve

import (
	"container/list"
	"sync"

	"example.org/mmoci/pkg/snapshot"
)

const (
	// defaultHot bounds the memory for small files that were asked for lately, in bytes.
	defaultHot = 4 << 20
	// maxHot is the size up to which a file is kept there: what is copied anyway, rather than sent by the kernel.
	maxHot = copyBuffer
)

// hot keeps small files that were verified, the most recently used ones: most
// of the cost of sending one is opening it. Bytes are kept by their digest, so
// hashed again before they are kept, so they are right whatever becomes of the place that they came from. Safe for concurrent use.
type hot struct {
	max int64

	mu   sync.Mutex
	size int64
	by   map[snapshot.Digest]*list.Element // of *hotFile
	used *list.List                        // the latest first
}

type hotFile struct {
	digest snapshot.Digest
	data   []byte
}

// newHot keeps at most limit bytes; less than 0: nothing.
func newHot(limit int64) *hot {
	return &hot{max: limit, by: map[snapshot.Digest]*list.Element{}, used: list.New()}
}

// get is the content of a blob, not to be changed; nil if it is not here.
func (h *hot) get(b snapshot.Blob) []byte {
	if b.Size > maxHot || b.Size > h.max {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.by[b.Digest]
	if e == nil {
		return nil
	}
	h.used.MoveToFront(e)
	f := e.Value.(*hotFile)
	if int64(len(f.data)) != b.Size {
		return nil // somebody's table lies about the size
	}
	return f.data
}

// put keeps a copy of content if it is the blob's: it was read from a file that
// was verified once, and would be handed out from here for long. It tells whether it is.
func (h *hot) put(b snapshot.Blob, data []byte) bool {
	size := int64(len(data))
	if size > maxHot || size > h.max {
		return true // it is handed out once, as larger files are
	}
	if snapshot.BlobOf(data) != b {
		return false
	}
	f := &hotFile{b.Digest, append([]byte(nil), data...)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by[b.Digest] != nil {
		return true
	}
	h.by[b.Digest] = h.used.PushFront(f)
	for h.size += size; h.size > h.max; {
		last := h.used.Back()
		old := h.used.Remove(last).(*hotFile)
		delete(h.by, old.digest)
		h.size -= int64(len(old.data))
	}
	return true
}
