package mirrors

import (
	"sync"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// maxKnown bounds what is known of blobs at mirrors; each entry takes about 100 bytes.
const maxKnown = 1 << 17

// verdict is what is known of a blob at a mirror.
type verdict uint8

const (
	unknown verdict = iota
	whole           // it has the blob, of the right size
	missing         // it has not
	wrong           // it has something else
)

// knowledge is a verdict and until when it holds.
type knowledge struct {
	verdict verdict
	bytes   bool      // the bytes were hashed, not only counted
	at      time.Time // of the look
	hashed  time.Time // of the look at the bytes
	until   time.Time
}

type knownKey struct {
	mirror uint64 // id of a member
	digest snapshot.Digest
}

// generations is a map of a bounded size: of the older half of what it was told goes what nobody asked for since.
// Safe for concurrent use.
type generations[K comparable, V any] struct {
	max int

	mu           sync.Mutex
	young, older map[K]V
}

func newGenerations[K comparable, V any](max int) *generations[K, V] {
	return &generations[K, V]{max: max, young: map[K]V{}}
}

func (g *generations[K, V]) get(key K) (V, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v, ok := g.young[key]
	if !ok {
		if v, ok = g.older[key]; ok {
			g.put(key, v)
		}
	}
	return v, ok
}

func (g *generations[K, V]) set(key K, v V) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.put(key, v)
}

// put is set with mu held.
func (g *generations[K, V]) put(key K, v V) {
	if _, there := g.young[key]; !there && len(g.young) >= g.max/2 {
		g.young, g.older = map[K]V{}, g.young
	}
	g.young[key] = v
}

func (g *generations[K, V]) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.young) + len(g.older)
}
