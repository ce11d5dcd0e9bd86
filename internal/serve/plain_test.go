package serve

import (
	"bytes"
	"compress/gzip"
	"testing"
)

// An index under its plain name is what its .gz holds, with the same headers each time; what cannot be unpacked is not there.
func TestPlainIndex(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	text := []byte("Package: alpha\nVersion: 1\n")
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	sn := spec{date: day(1), files: map[string][]byte{"docker/dists/bookworm/extra/binary-amd64/Packages.gz": b.Bytes()}}.take(t, newMemoryBlobs())
	_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	for _, target := range []string{"/docker/dists/bookworm/extra/binary-amd64/Packages", "/snapshot/" + sn.Root.String() + "/docker/dists/bookworm/extra/binary-amd64/Packages"} {
		a := ask(t, base, "GET", target)
		if a.status != 200 || !bytes.Equal(a.body, text) {
			t.Errorf("%s: %d %q", target, a.status, a.body)
		}
		if again := ask(t, base, "GET", target, "If-None-Match", a.header.Get("ETag")); again.status != 304 {
			t.Errorf("%s: %d under its ETag", target, again.status)
		}
	}
	for _, target := range []string{"/docker/dists/bookworm/main/binary-amd64/Packages", "/docker/dists/bookworm/extra/binary-arm64/Packages", "/docker/pool/Packages"} {
		if a := ask(t, base, "GET", target); a.status != 404 {
			t.Errorf("%s: %d", target, a.status)
		}
	}
}
