package serve

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

func TestSmallFileCache(t *testing.T) {
	t.Parallel()
	c := smallFileCache{max: 10_000}
	blobs := make([]snapshot.Blob, 5)
	for i := range blobs {
		data := bytesOf(fmt.Sprint(i), 3000)
		blobs[i] = snapshot.BlobOf(data)
		if !c.put(blobs[i], data) {
			t.Errorf("%d: refused", i)
		}
		data[0] ^= 1 // the caller's buffer is its own
		if got := c.get(blobs[i]); snapshot.Sum(got) != blobs[i].Digest {
			t.Errorf("%d: not its bytes", i)
		}
		if c.size > c.max || c.size != 3000*len(c.by) {
			t.Errorf("%d bytes, %d files", c.size, len(c.by))
		}
	}
	if c.get(blobs[0]) != nil {
		t.Error("a full cache was not emptied")
	}
	if c.get(snapshot.Blob{Digest: blobs[4].Digest, Size: 1}) != nil {
		t.Error("another size is the same file")
	}
	if c.put(blobs[1], bytesOf("other", 3000)) || c.get(blobs[1]) != nil {
		t.Error("other bytes are kept under its digest")
	}
	if big := bytesOf("big", 20_000); !c.put(snapshot.BlobOf(big), big) || c.get(snapshot.BlobOf(big)) != nil {
		t.Error("a file larger than the cache is kept")
	}
}

// A small file is read once, and answered alike from memory: parts, conditions, rules.
func TestSmallFilesAnswerAlike(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	data := bytesOf("deb", 5000)
	sn := oneDeb(data).take(t, m)
	files := fileBlobs(t, m)
	opened := 0
	sn = sn.WithBlobs(func(snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			if b.Size == int64(len(data)) {
				opened++
			}
			return files.Open(ctx, b, 0)
		})
	})
	_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	first := ask(t, base, "GET", "/"+debPath)
	for range 3 {
		again := ask(t, base, "GET", "/"+debPath)
		first.header.Del("Date")
		again.header.Del("Date")
		if again.status != 200 || !bytes.Equal(again.body, data) || fmt.Sprint(again.header) != fmt.Sprint(first.header) {
			t.Errorf("%d %v, at first %v", again.status, again.header, first.header)
		}
	}
	if a := ask(t, base, "GET", "/"+debPath, "Range", "bytes=100-199"); a.status != 206 || !bytes.Equal(a.body, data[100:200]) {
		t.Errorf("a part: %d, %d bytes", a.status, len(a.body))
	}
	if opened != 1 {
		t.Errorf("opened %d times", opened)
	}
}
