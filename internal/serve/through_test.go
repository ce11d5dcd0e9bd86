package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/mmoci/internal/store"
	"example.org/mmoci/pkg/snapshot"
)

// A registry behind a store behind the server: each blob is asked for once,
// wrong bytes are never completed nor kept, and what is held outlives the registry.
func TestThroughStore(t *testing.T) {
	t.Parallel()
	data := bytesOf("deb", 3<<20)
	m := newMemoryBlobs()
	sn := oneDeb(data).take(t, m)
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	sn = sn.WithBlobs(func(b snapshot.Blobs) snapshot.Blobs { return st.Through(named(b, "registry.example.org/site/mirror")) })
	log := &lockedWriter{w: &bytes.Buffer{}}
	_, base := run(t, Options{Sources: []Source{newTag(sn)}, Store: st.Stats, Access: slog.New(slog.NewJSONHandler(log, nil))}, false)

	m.fault = func(_ snapshot.Blob, d []byte) (io.Reader, error) {
		d = slices.Clone(d)
		d[len(d)-1] ^= 1
		return bytes.NewReader(d), nil
	}
	for _, rng := range []string{"bytes=0-", "bytes=5-10", "bytes=2000000-"} {
		if a := ask(t, base, "GET", "/"+debPath, "Range", rng); a.err == nil && a.status != 502 {
			t.Errorf("wrong bytes, %s: %d, %d bytes", rng, a.status, len(a.body))
		}
	}
	m.fault, m.opened = nil, 0
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			header, want, status := []string{}, data, 200
			if i%3 == 0 {
				header, want, status = []string{"Range", "bytes=1000-2999999"}, data[1000:3000000], 206
			}
			if a := ask(t, base, "GET", "/"+debPath, header...); a.err != nil || a.status != status || !bytes.Equal(a.body, want) {
				t.Errorf("%d, %d bytes, %v", a.status, len(a.body), a.err)
			}
		})
	}
	wg.Wait()
	if m.opened != 1 {
		t.Errorf("fetched %d times", m.opened)
	}
	m.fault = func(snapshot.Blob, []byte) (io.Reader, error) { return nil, errors.New("connection refused") }
	if a := ask(t, base, "GET", "/"+debPath); a.status != 200 || !bytes.Equal(a.body, data) {
		t.Errorf("registry away, held: %d", a.status)
	}
	// The access log tells who gave the bytes.
	for _, want := range []string{`"from":"registry.example.org/site/mirror"`, `"from":"store"`} {
		eventually(t, func() bool { return strings.Contains(log.String(), want) })
	}
	a := ask(t, base, "GET", "/docker/dists/bookworm/main/binary-amd64/Packages.gz")
	if a.status != 502 || len(a.body) == 0 || a.header.Get("Retry-After") == "" {
		t.Errorf("registry away, not held: %d %q", a.status, a.body)
	}
}

// named are blobs that say where they come from.
func named(b snapshot.Blobs, from string) snapshot.Blobs {
	return snapshot.BlobsFunc(func(ctx context.Context, blob snapshot.Blob) (*snapshot.Content, error) {
		c, err := b.Open(ctx, blob, 0)
		if err == nil {
			c.From = from
		}
		return c, err
	})
}
