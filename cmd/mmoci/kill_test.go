package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
)

// mortal is a site whose mmoci push runs in a process of its own, to be killed.
type mortal struct {
	t        *testing.T
	dir      string
	up       *testarchive.Server
	registry *testregistry.Registry
	ref      string
}

// newMortal has pushed the first of two days; upstream shows the second.
func newMortal(t *testing.T, layout bool) *mortal {
	t.Helper()
	m := &mortal{t: t, dir: testarchive.MemoryDir(t), registry: testregistry.New(t, testregistry.Options{})}
	if err := writeKeys(filepath.Join(m.dir, "keys")); err != nil {
		t.Fatal(err)
	}
	m.up = testarchive.Serve(t, mortalFiles(t, 0))
	m.ref = m.registry.Host() + "/site/mirror:day"
	if layout {
		m.ref = "oci:" + filepath.Join(m.dir, "layout") + ":day"
	}
	text := fmt.Sprintf(`ref: %s
sign: {key: keys/site.asc}
trust: [keys/site.pub.asc]
archives:
- prefix: docker
  mode: curated
  url: %s
  suites: [bookworm]
  components: [main]
  architectures: [amd64]
  signed-by: keys/docker.asc
  packages: all
`, m.ref, m.up.URL)
	if err := os.WriteFile(filepath.Join(m.dir, "mmoci.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.push(nil); err != nil {
		t.Fatal(err)
	}
	m.up.Replace(mortalFiles(t, 1))
	return m
}

// mortalFiles are the files of mortalArchive, which are built once.
func mortalFiles(t *testing.T, day int) testarchive.Files {
	t.Helper()
	built, ok := mortals.Load(day)
	if !ok {
		built, _ = mortals.LoadOrStore(day, mortalArchive(day).Build(t))
	}
	return built.(testarchive.Files).Clone()
}

var mortals sync.Map

func mortalArchive(day int) testarchive.Archive {
	s := testarchive.Suite{Dir: "bookworm", ByHash: true, Date: testarchive.DefaultDate().AddDate(0, 0, day)}
	for i := range 24 {
		p := testarchive.Package{Name: fmt.Sprintf("package%02d", i), Version: "1.0", Architecture: "amd64", Size: 2000}
		if i%2 == 0 {
			p.Version = fmt.Sprintf("1.%d", day)
		}
		s.Packages = append(s.Packages, p)
	}
	return testarchive.Archive{Suites: []testarchive.Suite{s}, Keys: []*testarchive.Key{testarchive.DockerKey()}}
}

// push runs mmoci push; started, if not nil, gets the process.
func (m *mortal) push(started func(*os.Process)) error {
	cmd := &exec.Cmd{Path: os.Args[0], Args: []string{"mmoci", "push"}, Dir: m.dir}
	cmd.Env = append(os.Environ(), "HOME="+m.dir, "XDG_STATE_HOME="+filepath.Join(m.dir, "state"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	if started != nil {
		started(cmd.Process)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, out.String())
	}
	return nil
}

// verify proves what the tag names, every byte, and tells its root.
func (m *mortal) verify() (string, error) {
	ref, err := artifact.ParseReference(m.ref)
	if err != nil {
		return "", err
	}
	ring, err := signer.ReadKeyrings(filepath.Join(m.dir, "keys/site.pub.asc"))
	if err != nil {
		return "", err
	}
	trust := prove.Trust{Site: ring, Now: testarchive.DefaultDate().AddDate(0, 0, 9)}
	o := artifact.Options{Anonymous: true}
	s, err := prove.Open(m.t.Context(), ref, trust, o)
	if err != nil {
		return "", err
	}
	_, err = prove.Verify(m.t.Context(), prove.Options{Ref: ref, Snapshot: s, Trust: trust, Hash: true, Artifact: o})
	return s.Root.String(), err
}

// killer kills the process at the n-th call.
type killer struct {
	process chan *os.Process // of one

	mu    sync.Mutex
	left  int
	phase string // where it hit, "" if it did not
}

func newKiller(n int) *killer { return &killer{process: make(chan *os.Process, 1), left: n} }

func (k *killer) started(p *os.Process) { k.process <- p }

func (k *killer) hit(phase string) testarchive.Broken {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left--; k.left != 0 {
		return testarchive.Broken{}
	}
	k.phase = phase
	_ = (<-k.process).Kill()
	return testarchive.Broken{Reset: true}
}

// everyNth keeps the test short: every request is an instant, every fifth is taken.
const everyNth = 5

// kill -9 while any request is being made, of upstream or registry: the tag
// names the old snapshot or the new one, whole; the rerun finishes, and what
// was uploaded before is not uploaded again.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"registry", "layout"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := newMortal(t, kind == "layout")
			m.registry.Requests()
			if err := m.push(nil); err != nil {
				t.Fatal(err)
			}
			clean := uploaded(m.registry.Requests())
			if kind == "registry" && clean < 12 {
				t.Fatalf("only %d uploads", clean)
			}
			phases := map[string]int{}
			for at := 1; ; at += everyNth {
				m := newMortal(t, kind == "layout")
				old, err := m.verify()
				if err != nil {
					t.Fatal(err)
				}
				m.registry.Requests()
				k := newKiller(at)
				m.registry.Fault(func(r testregistry.Request, _ int) testarchive.Broken { return k.hit(r.Method + " " + r.Kind) })
				m.up.Fault(func(p string, _ int) testarchive.Broken { return k.hit("read " + strings.SplitN(p, "/", 2)[0]) })
				err = m.push(k.started)
				m.registry.Fault(nil)
				m.up.Fault(nil)
				if k.phase == "" {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				phases[k.phase]++
				if err == nil {
					t.Fatalf("killed at %d (%s), and it ended well", at, k.phase)
				}
				m.after(old, clean, fmt.Sprintf("killed at %d (%s)", at, k.phase))
			}
			for _, p := range slices.Sorted(maps.Keys(phases)) {
				t.Logf("%3d %s", phases[p], p)
			}
			if len(phases) < 2 || kind == "registry" && len(phases) < 5 {
				t.Errorf("only the phases %v were hit", phases)
			}
		})
	}
}

// after holds what must be true after a kill, and after the rerun.
func (m *mortal) after(old string, clean int, what string) {
	m.t.Helper()
	if _, err := m.verify(); err != nil {
		m.t.Errorf("%s: %v", what, err)
	}
	before := uploaded(m.registry.Requests())
	if err := m.push(nil); err != nil {
		m.t.Fatalf("%s: the rerun: %v", what, err)
	}
	if now, err := m.verify(); err != nil || now == old {
		m.t.Errorf("%s: after the rerun: %s, %v", what, now, err)
	}
	if sent := before + uploaded(m.registry.Requests()); sent != clean {
		m.t.Errorf("%s: %d blobs were uploaded in all, without the kill it is %d", what, sent, clean)
	}
}

// uploaded counts the blobs that the registry took.
func uploaded(log testregistry.Requests) int {
	n := 0
	for _, r := range log {
		if r.Method == "PUT" && r.Kind == "upload" && r.Status == 201 {
			n++
		}
	}
	return n
}
