package serve

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/snapshot"
)

// benchmark serves one verified file of size bytes to a number of connections,
// with access log, metrics and fifty rules, and reports what a client sees.
func benchmark(b *testing.B, size, connections int) {
	m := newMemoryBlobs()
	sn := oneDeb(bytesOf("deb", size)).take(b, m)
	files := fileBlobs(b, m)
	sn = sn.WithBlobs(func(snapshot.Blobs) snapshot.Blobs { return files })
	log, err := os.Create(filepath.Join(b.TempDir(), "access.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	var rules strings.Builder
	rules.WriteString("rules:\n")
	for i := range 50 {
		fmt.Fprintf(&rules, "- {deny: [name-%d, 'some-%d-*'], version: '<< 1.0', reason: x}\n", i, i)
	}
	policy := filepath.Join(b.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte(rules.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	_, base := run(b, Options{Sources: []Source{newTag(sn)}, Access: slog.New(slog.NewJSONHandler(log, nil)), Policy: policy}, false)
	b.SetBytes(int64(size))
	before := cpuTime(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range connections {
		n := b.N / connections
		if i < b.N%connections {
			n++
		}
		wg.Go(func() { download(b, strings.TrimPrefix(base, "http://"), n) })
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	// Of server and clients together; unlike the rate it says something on a machine that others use, too.
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

func cpuTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// download gets the file n times over one connection.
func download(b *testing.B, addr string, n int) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	get := []byte("GET /" + debPath + " HTTP/1.1\r\nHost: x\r\n\r\n")
	for range n {
		if _, err := c.Write(get); err != nil {
			b.Error(err)
			return
		}
		length := int64(-1)
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				b.Error(err)
				return
			}
			if len(line) == 2 {
				break
			}
			fmt.Sscanf(string(line), "Content-Length: %d", &length)
		}
		if _, err := io.CopyN(io.Discard, r, length); err != nil {
			b.Error(err)
			return
		}
	}
}

func BenchmarkSmallFile32Connections(b *testing.B) { benchmark(b, 20_000, 32) }
func BenchmarkTinyFile32Connections(b *testing.B)  { benchmark(b, 2_300, 32) }
func BenchmarkBigFile8Connections(b *testing.B)    { benchmark(b, 36_000_000, 8) }
