package serve

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// many is an unsigned snapshot of n packages whose stanzas are of Debian's length, each needing six others.
func many(t testing.TB, n int) *snapshot.Snapshot {
	words := []string{"library", "shared", "daemon", "tools", "network", "graphical", "editor", "documentation", "development", "bindings", "for", "the", "parsing", "of"}
	random := rand.New(rand.NewPCG(1, 2))
	var index bytes.Buffer
	var rows []snapshot.Row
	for i := range n {
		name, version := fmt.Sprintf("lib%s-%d", words[i%len(words)], i), fmt.Sprintf("%d.%d-%d", i%9, i%17, i%5)
		path := fmt.Sprintf("pool/main/l/%s/%s_%s_amd64.deb", name, name, version)
		d := snapshot.Sum([]byte(path))
		rows = append(rows, snapshot.Row{Path: "debian/" + path, Size: int64(i + 1), Digest: d, Package: snapshot.Package{Name: name, Version: version, Architecture: "amd64", Source: name}})
		fmt.Fprintf(&index, "Package: %s\nVersion: %s\nInstalled-Size: 100\nMaintainer: A Maintainer <maintainer%d@example.org>\nArchitecture: amd64\nDepends:", name, version, i%3000)
		for j := range 6 {
			k := random.IntN(n)
			if j > 0 {
				index.WriteByte(',')
			}
			fmt.Fprintf(&index, " lib%s-%d (>= 0)", words[k%len(words)], k)
		}
		fmt.Fprintf(&index, "\nDescription: %s %s %s %s %s\nHomepage: https://www.example.org/%s\nDescription-md5: %x\nSection: libs\nPriority: optional\nFilename: %s\nSize: %d\nMD5sum: %x\nSHA256: %s\n\n",
			words[random.IntN(len(words))], words[random.IntN(len(words))], words[random.IntN(len(words))], words[random.IntN(len(words))], words[random.IntN(len(words))],
			name, d[:16], path, i+1, d[:16], d.Hex())
	}
	return indexed(t, index.Bytes(), rows)
}

// indexed is an unsigned verbatim snapshot with one index; its pool files cannot be read.
func indexed(t testing.TB, index []byte, rows []snapshot.Row) *snapshot.Snapshot {
	return indexedOn(t, day(1), index, rows)
}

// indexedOn is the same, of another date.
func indexedOn(t testing.TB, date time.Time, index []byte, rows []snapshot.Row) *snapshot.Snapshot {
	return indexedAll(t, date, map[string][]byte{"debian bookworm": index}, rows)
}

// indexedAll is the same of several archives and suites: indices has the index of each "PREFIX SUITE".
func indexedAll(t testing.TB, date time.Time, indices map[string][]byte, rows []snapshot.Row) *snapshot.Snapshot {
	held := map[snapshot.Digest][]byte{}
	put := func(data []byte) snapshot.Blob {
		b := snapshot.BlobOf(data)
		held[b.Digest] = data
		return b
	}
	rows = slices.Clone(rows)
	var archives []snapshot.Archive
	for _, of := range slices.Sorted(maps.Keys(indices)) {
		prefix, suite, _ := strings.Cut(of, " ")
		dists := prefix + "/dists/" + suite + "/"
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(indices[of]); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		gz := put(packed.Bytes())
		release := put(fmt.Appendf(nil, "Suite: %s\nDate: %s\nSHA256:\n %s %d main/binary-amd64/Packages.gz\n", suite, date.Format(time.RFC1123), gz.Digest.Hex(), gz.Size))
		for path, b := range map[string]snapshot.Blob{dists + "Release": release, dists + "main/binary-amd64/Packages.gz": gz} {
			rows = append(rows, snapshot.Row{Path: path, Size: b.Size, Digest: b.Digest})
		}
		if n := len(archives); n == 0 || archives[n-1].Prefix != prefix {
			archives = append(archives, snapshot.Archive{Prefix: prefix, Mode: snapshot.Verbatim, Class: snapshot.Upstream, Format: "deb"})
		}
		a := &archives[len(archives)-1]
		a.Suites = append(a.Suites, snapshot.Suite{Name: suite, Files: []snapshot.SuiteFile{{Role: snapshot.Release, Blob: release, Date: date, Path: dists + "Release"}}})
	}
	s, err := snapshot.Take(snapshot.Frozen{
		Date: date, Encoder: 1, Files: rows, Lock: []byte("mmoci-lock-v1\n"), Archives: archives,
		Blobs: snapshot.BlobsFunc(func(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			data, ok := held[b.Digest]
			if !ok {
				return nil, snapshot.ErrNotExist
			}
			return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data))}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Root = snapshot.Sum(s.StatementBytes)
	return s
}

// BenchmarkPages has 32 clients ask for pages of a snapshot as large as Debian's main. It reports the 99th percentile of each
// kind, what processor time a request of it takes, client and server together, and what the resident memory grew by from the
// first page on.
func BenchmarkPages(b *testing.B) {
	const packages, clients = 63_440, 32
	sn := many(b, packages)
	_, base := run(b, Options{Sources: []Source{newTag(sn)}}, false)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	get := func(path string) time.Duration {
		start := time.Now()
		r, err := client.Get(base + path)
		if err != nil {
			b.Error(err)
			return 0
		}
		defer r.Body.Close()
		if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != 200 {
			b.Errorf("%s: %d %v", path, r.StatusCode, err)
		}
		return time.Since(start)
	}
	get("/readyz")
	debug.FreeOSMemory()
	before := resident(b)
	first := get("/debian/package/libdaemon-2")
	get("/")
	get("/?q=daemon")
	b.ReportMetric(first.Seconds(), "first-s")
	b.ReportMetric(float64(resident(b)-before), "resident-MiB")
	words := []string{"daemon", "network+editor", "libtools-3", "zzz", "library", "lib", "graph+net", "a", "bindings-12", "shared+docu"}
	for _, kind := range []struct {
		name string
		path func(i int) string
	}{
		{"front", func(int) string { return "/" }},
		{"package", func(i int) string { return fmt.Sprintf("/debian/package/libdaemon-%d", 2+14*(i%4000)) }},
		{"search", func(i int) string { return "/?q=" + words[i%len(words)] }},
	} {
		var mu sync.Mutex
		var took []time.Duration
		var wg sync.WaitGroup
		used := processor(b)
		for c := range clients {
			wg.Go(func() {
				for i := range 30 {
					d := get(kind.path(c*30 + i))
					mu.Lock()
					took = append(took, d)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		used = processor(b) - used
		slices.Sort(took)
		milliseconds := func(d time.Duration, what string) {
			b.ReportMetric(float64(d.Microseconds())/1000, kind.name+"-"+what+"-ms")
		}
		milliseconds(took[len(took)*99/100], "p99")
		milliseconds(took[len(took)/2], "p50")
		milliseconds(used/time.Duration(len(took)), "cpu")
		milliseconds(get(kind.path(7)), "alone")
	}
	b.ReportMetric(float64(resident(b)-before), "resident-at-the-end-MiB")
}

// processor is the processor time that this process used.
func processor(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
