package memory

import (
	"sync"

	"example.org/mmoci/pkg/snapshot"
)

// maxUnpacked bounds the files of which it is remembered what they unpack to.
const maxUnpacked = 256

// Unpacked remembers the blobs that .gz files unpack to. Safe for concurrent use.
type Unpacked struct {
	mu sync.Mutex
	by map[snapshot.Digest]snapshot.Blob
}

// Get returns what a file unpacks to, and whether that is known.
func (u *Unpacked) Get(packed snapshot.Digest) (snapshot.Blob, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, ok := u.by[packed]
	return b, ok
}

// Put remembers what a file unpacks to.
func (u *Unpacked) Put(packed snapshot.Digest, b snapshot.Blob) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by == nil || len(u.by) >= maxUnpacked {
		u.by = map[snapshot.Digest]snapshot.Blob{}
	}
	u.by[packed] = b
}
