package serve

import (
	"net/http"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// What may change under its name has the snapshot's date, which grows along the
// tag; a pool file has the same Last-Modified on every day.
func TestLastModified(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	const (
		deb    = "docker/pool/d/docker-ce_1_amd64.deb"
		inDist = "docker/dists/bookworm/pool/stable/amd64/containerd.io_1_amd64.deb"
		source = "docker/pool/d/docker-ce_1.dsc"
	)
	on := func(n int) *snapshot.Snapshot {
		return spec{
			date: day(n), debs: map[string][]byte{deb: []byte("deb"), inDist: []byte("deb in dists")}, signer: upstreamsKey(),
			files: map[string][]byte{
				source: []byte("source"),
				"docker/dists/bookworm/main/dep11/icons.tar": []byte("the same bytes every day"), // no name of an index that we know
				"mmoci/amd64": []byte("a program"),
			},
		}.take(t, m)
	}
	first := on(1)
	g := newTag(first)
	s, base := run(t, Options{Sources: []Source{g}, Now: newClock().now}, false)
	indices := []string{
		"/docker/dists/bookworm/InRelease", "/docker/dists/bookworm/Release", "/docker/dists/bookworm/Release.gpg",
		"/docker/dists/bookworm/main/binary-amd64/Packages.gz", "/docker/dists/bookworm/main/dep11/icons.tar",
		"/upstream/docker/dists/bookworm/InRelease", "/upstream/docker/dists/bookworm/main/binary-amd64/Packages.gz",
		"/mmoci/amd64", "/mmoci/statement", "/mmoci/table", "/mmoci/lock",
	}
	at := func(path string, header ...string) (int, string) {
		t.Helper()
		a := ask(t, base, "GET", path, header...)
		return a.status, a.header.Get("Last-Modified")
	}
	pool := map[string]string{}
	for _, path := range []string{"/" + deb, "/" + inDist, "/" + source, "/upstream/" + deb} {
		_, pool[path] = at(path)
	}
	for n := 1; n <= 4; n++ {
		sn := on(n)
		g.move(sn)
		if err := s.check(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		want, before := day(n).Format(http.TimeFormat), day(n-1).Format(http.TimeFormat)
		paths := append([]string{byHash(t, sn)}, indices...)
		for _, path := range paths {
			if status, got := at(path); status != 200 || got != want {
				t.Errorf("day %d: %s: %d, of %s", n, path, status, got)
			}
			if status, _ := at(path, "If-Modified-Since", want); status != 304 {
				t.Errorf("day %d: %s: %d to who has it", n, path, status)
			}
			if status, _ := at(path, "If-Modified-Since", before); status != 200 {
				t.Errorf("day %d: %s: %d to who has the one of the day before", n, path, status)
			}
			if status, _ := at(path, "If-Modified-Since", day(n+1).Format(http.TimeFormat)); status != 200 {
				t.Errorf("day %d: %s: %d to who has a later one from elsewhere", n, path, status)
			}
		}
		for path, want := range pool {
			if status, got := at(path); status != 200 || got != want || want == "" {
				t.Errorf("day %d: %s: %d, of %s, the first day %s", n, path, status, got, want)
			}
		}
		// A snapshot that stays has its own date.
		if status, got := at("/snapshot/" + newServed(first).name + "/docker/dists/bookworm/InRelease"); status != 200 || got != day(1).Format(http.TimeFormat) {
			t.Errorf("day %d: of the first snapshot: %d, of %s", n, status, got)
		}
	}
}

// In the directory of a flat suite everything but packages may change.
func TestLastModifiedOfFlat(t *testing.T) {
	t.Parallel()
	h := newServed(&snapshot.Snapshot{Statement: &snapshot.Statement{Date: day(3), Archives: []snapshot.Archive{
		{Prefix: "flat", Suites: []snapshot.Suite{{Name: "./"}}},
		{Prefix: "deep", Suites: []snapshot.Suite{{Name: "deb/x/"}}},
	}}})
	for path, dated := range map[string]bool{
		"flat/InRelease": true, "flat/Packages.gz": true, "flat/Sources.gz": true, "deep/deb/x/Packages.gz": true, "upstream/deep/deb/x/InRelease": true,
		"flat/p_1_amd64.deb": false, "deep/deb/x/p_1_amd64.deb": false, "deep/pool/s_1.dsc": false, "deep/deb/xy/s_1.dsc": false,
	} {
		row := snapshot.Row{Path: path, Digest: snapshot.Sum([]byte(path)), Package: packageOfName(path)}
		want := snapshot.ModTime(row.Digest)
		if dated {
			want = day(3)
		}
		if got := h.modified(row); !got.Equal(want) {
			t.Errorf("%s: of %s", path, got)
		}
	}
}
