package memory

import (
	"bytes"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	c := Files{Max: 10_000}
	blobs := make([]snapshot.Blob, 5)
	for i := range blobs {
		data := bytes.Repeat([]byte{byte(i)}, 3000)
		blobs[i] = snapshot.BlobOf(data)
		if !c.Put(blobs[i], data) {
			t.Errorf("%d: refused", i)
		}
		data[0] ^= 1 // the caller's buffer is its own
		if got := c.Get(blobs[i]); snapshot.Sum(got) != blobs[i].Digest {
			t.Errorf("%d: not its bytes", i)
		}
		if c.size > c.Max || c.size != 3000*len(c.by) {
			t.Errorf("%d bytes, %d files", c.size, len(c.by))
		}
	}
	if c.Get(blobs[0]) != nil {
		t.Error("a full cache was not emptied")
	}
	if c.Get(snapshot.Blob{Digest: blobs[4].Digest, Size: 1}) != nil {
		t.Error("another size is the same file")
	}
	if c.Put(blobs[1], bytes.Repeat([]byte{99}, 3000)) || c.Get(blobs[1]) != nil {
		t.Error("other bytes are kept under its digest")
	}
	if big := bytes.Repeat([]byte{99}, 20_000); !c.Put(snapshot.BlobOf(big), big) || c.Get(snapshot.BlobOf(big)) != nil {
		t.Error("a file larger than the cache is kept")
	}
}
