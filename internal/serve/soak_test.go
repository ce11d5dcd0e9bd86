package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	places "example.org/mmoci/internal/place"
	"example.org/mmoci/internal/store"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
)

const (
	soakSnapshots = 12
	soakClients   = 12
	soakStore     = 8 << 20 // less than there is: it evicts all the time
)

// soak is the state of a soak.
type soak struct {
	t        *testing.T
	base     string
	registry *testregistry.Registry
	roots    []string          // digests, of equal Date: the tag may go to any
	names    []string          // DATE-HEX12
	files    map[string][]byte // pool files that every snapshot has, by path
	client   *http.Client

	good, failed, moved, wrong atomic.Int64
}

// sampled is what must not grow.
type sampled struct{ heap, resident, goroutines, descriptors int }

// soakLength is how long TestSoak loads the server: SOAK_MINUTES (make soak),
// else just long enough that everything happens once.
func soakLength(t *testing.T) time.Duration {
	text := os.Getenv("SOAK_MINUTES")
	if text == "" {
		return 5 * time.Second
	}
	minutes, err := strconv.ParseFloat(text, 64)
	if err != nil || minutes <= 0 {
		t.Fatalf("SOAK_MINUTES: %q is not a number of minutes", text)
	}
	return time.Duration(minutes * float64(time.Minute))
}

func TestSoak(t *testing.T) {
	s := newSoak(t)
	rules := writeRules(t, "rules: []\n")
	dir := t.TempDir()
	kept, err := store.Open(filepath.Join(dir, "store"), store.Options{MaxBytes: soakStore})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	ref, err := artifact.ParseReference(s.registry.Host() + "/" + faultRepo + ":noble")
	if err != nil {
		t.Fatal(err)
	}
	source := &places.Source{Ref: ref, Options: artifact.Options{Connections: &artifact.Connections{}}, Through: kept.Through, Keep: filepath.Join(dir, "snapshots")}
	_, s.base = run(t, Options{
		Sources: []Source{source}, StateDir: dir, Policy: rules, Store: kept.Stats,
		Follow: 500 * time.Millisecond, Grace: 5 * time.Second, Patience: 2 * time.Second,
	}, false)

	length := soakLength(t)
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var wg sync.WaitGroup
	for i := range soakClients {
		wg.Go(func() { s.load(ctx, rand.New(rand.NewPCG(1, uint64(i)))) })
	}
	wg.Go(func() { s.move(ctx) })
	wg.Go(func() { s.misbehave(ctx) })
	wg.Go(func() { s.change(ctx, rules) })
	samples := s.watch(ctx, kept, filepath.Join(dir, "store"), min(length/12, 10*time.Second))
	wg.Wait()
	s.judge(samples)
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, registry: testregistry.New(t, testregistry.Options{}), files: map[string][]byte{}, client: &http.Client{Timeout: time.Minute}}
	common := map[string][]byte{}
	for i := range 40 {
		common[fmt.Sprintf("docker/pool/c/c%d_1_amd64.deb", i)] = bytesOf(fmt.Sprint("common", i), 50_000+i*10_000)
	}
	common["docker/pool/c/big_1_amd64.deb"] = bytesOf("big", 5<<20)
	for n := range soakSnapshots {
		debs := map[string][]byte{}
		for p, data := range common {
			debs[p], s.files[p] = data, data
		}
		debs[fmt.Sprintf("docker/pool/o/own%d_1_amd64.deb", n)] = bytesOf(fmt.Sprint("own", n), 30_000)
		ref, err := artifact.ParseReference(s.registry.Host() + "/" + faultRepo + ":noble")
		if err != nil {
			t.Fatal(err)
		}
		sn := spec{date: day(1), debs: debs}.take(t, newMemoryBlobs())
		pushed, err := artifact.Push(t.Context(), ref, sn, artifact.PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.roots = append(s.roots, pushed.Root.String())
		s.names = append(s.names, day(1).Format(nameTime)+"-"+pushed.Root.Hex()[:nameHex])
	}
	return s
}

// load asks for what clients ask for until ctx ends.
func (s *soak) load(ctx context.Context, r *rand.Rand) {
	paths := make([]string, 0, len(s.files))
	for p := range s.files {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for ctx.Err() == nil {
		p := paths[r.IntN(len(paths))]
		switch r.IntN(10) {
		case 0:
			s.get(ctx, "/docker/dists/bookworm/Release", "", nil)
		case 1:
			s.get(ctx, "/snapshot/"+s.names[r.IntN(len(s.names))]+"/"+p, "", s.files[p])
		case 2:
			s.get(ctx, "/?q=c1", "", nil)
		case 3:
			s.get(ctx, "/metrics", "", nil)
		case 4:
			at := r.IntN(len(s.files[p]) - 1)
			s.get(ctx, "/"+p, fmt.Sprintf("bytes=%d-", at), s.files[p][at:])
		case 5:
			short, stop := context.WithTimeout(ctx, time.Duration(r.IntN(20))*time.Millisecond) // who goes away
			s.get(short, "/"+p, "", s.files[p])
			stop()
		case 6:
			s.get(ctx, "/docker/pool/none_1_amd64.deb", "", nil)
		default:
			s.get(ctx, "/"+p, "", s.files[p])
		}
		time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
	}
}

// get asks; a complete answer must be the bytes wanted.
func (s *soak) get(ctx context.Context, target, rng string, want []byte) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+target, nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	if rng != "" {
		req.Header.Set("Range", rng)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.failed.Add(1)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil || resp.StatusCode >= 500:
		s.failed.Add(1)
	case want == nil:
		s.good.Add(1)
	case resp.StatusCode == 403 && strings.HasSuffix(target, "/c7_1_amd64.deb"): // what the rules deny at times
		s.good.Add(1)
	case resp.StatusCode != 200 && resp.StatusCode != 206, !bytes.Equal(body, want):
		s.wrong.Add(1)
		s.t.Errorf("%s: %s, %d bytes, want %d", target, resp.Status, len(body), len(want))
	default:
		s.good.Add(1)
	}
}

func (s *soak) every(ctx context.Context, d time.Duration, do func(n int)) {
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(d):
			do(n)
		}
	}
}

func (s *soak) move(ctx context.Context) {
	s.every(ctx, time.Second, func(n int) {
		s.registry.SetTag(faultRepo, "noble", s.roots[n%len(s.roots)])
		s.moved.Add(1)
		s.registry.Requests() // its log is not ours to keep
	})
}

// misbehave has the registry fail for three seconds of ten, in one way after the other, a quarter of its answers.
func (s *soak) misbehave(ctx context.Context) {
	faults := []testarchive.Broken{{Status: 500}, {Reset: true}, {Flip: true}, {CutAfter: 5000}, {Stall: time.Second}, {Status: 429, RetryAfter: "1"}}
	s.every(ctx, 7*time.Second, func(n int) {
		broken := faults[n%len(faults)]
		s.registry.Fault(func(testregistry.Request, int) testarchive.Broken {
			if rand.IntN(4) == 0 {
				return broken
			}
			return testarchive.Broken{}
		})
		time.Sleep(3 * time.Second)
		s.registry.Fault(nil)
	})
}

// change writes the rules anew, every fourth time badly.
func (s *soak) change(ctx context.Context, file string) {
	s.every(ctx, 2*time.Second, func(n int) {
		text := []string{"rules: []\n", "rules:\n- {deny: c7, reason: at times}\n", "rules: [\n", "default: allow\n"}[n%4]
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err == nil {
			_ = os.Rename(file+".new", file)
		}
	})
}

// watch samples at an interval.
func (s *soak) watch(ctx context.Context, kept *store.Store, dir string, interval time.Duration) (samples []sampled) {
	s.every(ctx, interval, func(int) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			s.t.Error(err)
		}
		p := sampled{int(m.HeapAlloc >> 20), resident(s.t), runtime.NumGoroutine(), len(open)}
		samples = append(samples, p)
		st, disk := kept.Stats(), onDisk(s.t, dir)
		if disk > soakStore || st.Cached > soakStore {
			s.t.Errorf("the store has %d bytes on disk and counts %d, its bound is %d", disk, st.Cached, soakStore)
		}
		fmt.Printf("heap %d MiB, resident %d MiB, %d goroutines, %d descriptors; %d answers, %d failed, %d wrong, %d moves; store: %d bytes on disk of %d, %d counted, %d fetched, %d evicted, %d failed\n",
			p.heap, p.resident, p.goroutines, p.descriptors, s.good.Load(), s.failed.Load(), s.wrong.Load(), s.moved.Load(), disk, soakStore, st.Cached, st.Fetched, st.Evicted, st.Failed)
	})
	return samples
}

// resident is the process's memory in MiB: server, clients and registry.
func resident(t testing.TB) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Error(err)
		return 0
	}
	var all, pages int
	if _, err := fmt.Sscan(string(text), &all, &pages); err != nil {
		t.Error(err)
	}
	return pages * os.Getpagesize() >> 20
}

// onDisk is how many bytes the files below dir have. Files come and go while it
// looks, so one that leaves may be counted beside the one it left for: of
// three looks the least is taken.
func onDisk(t *testing.T, dir string) int64 {
	least := int64(math.MaxInt64)
	for range 3 {
		var sum int64
		err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				var info fs.FileInfo
				if info, err = d.Info(); err == nil {
					sum += info.Size()
				}
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		least = min(least, sum)
	}
	return least
}

// judge compares the second quarter with the last.
func (s *soak) judge(samples []sampled) {
	if s.good.Load() == 0 || s.moved.Load() == 0 {
		s.t.Error("nothing happened")
	}
	if os.Getenv("SOAK_MINUTES") == "" {
		return // growth shows over minutes only
	}
	if len(samples) < 8 {
		s.t.Fatalf("%d samples are too few", len(samples))
	}
	q := len(samples) / 4
	compare := func(what string, slack int, of func(sampled) int) {
		middle := func(part []sampled) int {
			var v []int
			for _, p := range part {
				v = append(v, of(p))
			}
			slices.Sort(v)
			return v[len(v)/2]
		}
		before, after := middle(samples[q:2*q]), middle(samples[3*q:])
		fmt.Printf("%s: %d, then %d\n", what, before, after)
		if after > before*5/4+slack {
			s.t.Errorf("%s grew from %d to %d", what, before, after)
		}
	}
	compare("heap MiB", 8, func(p sampled) int { return p.heap })
	compare("resident MiB", 16, func(p sampled) int { return p.resident })
	compare("goroutines", 50, func(p sampled) int { return p.goroutines })
	compare("descriptors", 50, func(p sampled) int { return p.descriptors })
}
