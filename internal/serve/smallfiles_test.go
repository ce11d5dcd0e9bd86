package serve

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

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
