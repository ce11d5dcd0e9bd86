package serve

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

func TestHot(t *testing.T) {
	t.Parallel()
	h := newHot(10_000)
	blobs := make([]snapshot.Blob, 5)
	for i := range blobs {
		data := bytesOf(fmt.Sprint(i), 3000)
		blobs[i] = snapshot.BlobOf(data)
		if !h.put(blobs[i], data) {
			t.Errorf("%d: refused", i)
		}
		data[0] ^= 1 // the caller's buffer is its own
		if i > 0 && h.get(blobs[0]) == nil {
			t.Fatalf("the one in use went at %d", i)
		}
	}
	if h.size > h.max || len(h.by) != 3 || h.used.Len() != 3 {
		t.Errorf("%d bytes, %d files", h.size, len(h.by))
	}
	for _, b := range []snapshot.Blob{blobs[0], blobs[3], blobs[4]} {
		if got := h.get(b); snapshot.Sum(got) != b.Digest {
			t.Errorf("%s: not its bytes", b.Digest)
		}
	}
	if h.get(blobs[1]) != nil {
		t.Error("the least recently used one is still here")
	}
	if h.get(snapshot.Blob{Digest: blobs[0].Digest, Size: 1}) != nil {
		t.Error("another size is the same file")
	}
	big := bytesOf("big", maxHot+1)
	h.put(snapshot.BlobOf(big), big)
	newHot(-1).put(blobs[0], bytes.Repeat([]byte{1}, 10))
	if h.put(blobs[1], bytesOf("other", 3000)) || h.get(blobs[1]) != nil {
		t.Error("other bytes are kept under its digest")
	}
	if h.get(snapshot.BlobOf(big)) != nil {
		t.Error("a large file is kept")
	}
}

// A small file is read once, and answered alike from memory: parts, conditions, rules.
func TestHotFilesAnswerAlike(t *testing.T) {
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
			return files.Open(ctx, b)
		})
	})
	_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	first := request(t, base, "GET", "/"+debPath)
	for range 3 {
		again := request(t, base, "GET", "/"+debPath)
		first.header.Del("Date")
		again.header.Del("Date")
		if again.status != 200 || !bytes.Equal(again.body, data) || fmt.Sprint(again.header) != fmt.Sprint(first.header) {
			t.Errorf("%d %v, at first %v", again.status, again.header, first.header)
		}
	}
	if a := request(t, base, "GET", "/"+debPath, "Range", "bytes=100-199"); a.status != 206 || !bytes.Equal(a.body, data[100:200]) {
		t.Errorf("a part: %d, %d bytes", a.status, len(a.body))
	}
	if opened != 1 {
		t.Errorf("opened %d times", opened)
	}
}
