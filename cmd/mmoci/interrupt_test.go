package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// errSignal is what a signal makes the cause of a command's context.
var errSignal = fmt.Errorf("interrupt signal received: %w", context.Canceled)

// signalled is a command's context, which a signal ends: when the n-th thing happens (a request to upstream or registry, a
// look at the context), or after a time.
type signalled struct {
	context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	left  int
	count int
	when  time.Time
}

func newSignalled(t *testing.T, n int, after time.Duration) *signalled {
	s := &signalled{left: n}
	s.Context, s.cancel = context.WithCancelCause(t.Context())
	if after > 0 {
		time.AfterFunc(after, s.end)
	}
	return s
}

func (s *signalled) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.when.IsZero() {
		s.when = time.Now()
	}
	s.cancel(errSignal)
}

func (s *signalled) happens() {
	s.mu.Lock()
	s.count++
	s.left--
	now := s.left == 0
	s.mu.Unlock()
	if now {
		s.end()
	}
}

func (s *signalled) Err() error {
	s.happens()
	return s.Context.Err()
}

func (s *signalled) Done() <-chan struct{} {
	s.happens()
	return s.Context.Done()
}

// worksite is where a verb is tried: a configuration, an upstream of two days, a layout with a few snapshots.
type worksite struct {
	t        *testing.T
	dir      string
	up       *testarchive.Server
	registry *testregistry.Registry
	ref      string // what a push or copy writes to
	before   string // the root that ref names, "" for none
}

const siteLayout = "layout" // of the snapshots before (three of them) and day

// plan is the worksite's mmoci.yaml.
func (w *worksite) plan() {
	text := fmt.Sprintf(`sign: {key: %[1]s/keys/site.asc}
trust: [%[1]s/keys/site.pub.asc]
archives:
- prefix: docker
  mode: curated
  url: %[2]s
  suites: [bookworm]
  components: [main]
  architectures: [amd64]
  signed-by: %[1]s/keys/docker.asc
  packages: all
`, w.dir, w.up.URL)
	w.must(os.WriteFile(filepath.Join(w.dir, "mmoci.yaml"), []byte(text), 0o644))
}

func (w *worksite) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *worksite) path(name string) string { return filepath.Join(w.dir, name) }
func (w *worksite) layout(tag string) string {
	return "oci:" + w.path(siteLayout) + ":" + tag
}

// mmoci runs a command in this process, whose directory is not the worksite's.
func (w *worksite) mmoci(ctx context.Context, args ...string) (int, string) {
	var said lockedBuffer
	code := run(ctx, args, strings.NewReader(""), io.Discard, &said)
	return code, said.String()
}

// lockedBuffer may be written to by what is left behind.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// well runs a command that must end well.
func (w *worksite) well(args ...string) {
	w.t.Helper()
	if code, said := w.mmoci(w.t.Context(), args...); code != 0 {
		w.t.Fatalf("mmoci %s: %d: %s", strings.Join(args, " "), code, said)
	}
}

// root is what a reference names; every byte below it is verified.
func (w *worksite) root(ref string) (string, error) {
	parsed, err := artifact.ParseReference(ref)
	if err != nil {
		return "", err
	}
	ring, err := signer.ReadKeyrings(w.path("keys/site.pub.asc"))
	if err != nil {
		return "", err
	}
	trust := prove.Trust{Site: ring, Now: testarchive.DefaultDate().AddDate(0, 0, 9)}
	o := artifact.Options{Anonymous: true}
	s, err := prove.Open(w.t.Context(), parsed, trust, o)
	if err != nil {
		return "", err
	}
	_, err = prove.Verify(w.t.Context(), prove.Options{Ref: parsed, Snapshot: s, Trust: trust, Hash: true, Artifact: o})
	return s.Root.String(), err
}

// tags are what the worksite's layout has, each verified.
func (w *worksite) tags() ([]string, error) {
	ref, err := artifact.ParseReference(w.layout("day"))
	if err != nil {
		return nil, err
	}
	tags, err := artifact.Tags(w.t.Context(), ref, artifact.Options{})
	var names []string
	for _, tag := range tags {
		if _, err := w.root(w.layout(tag.Name)); err != nil {
			return nil, fmt.Errorf("tag %s: %w", tag.Name, err)
		}
		names = append(names, tag.Name)
	}
	return names, err
}

// verb is a command that writes.
type verb struct {
	name  string
	args  func(w *worksite) []string
	setup func(w *worksite)       // what it needs beside the worksite; nil: nothing
	done  func(w *worksite) error // nil: its work is there, whole
	// undone tells whether nothing that others see has changed; nil: what there is may be there in part.
	undone func(w *worksite) error
	once   bool // done again, it does something else
	// instants it is interrupted at, of a hundred over push and copy together.
	instants int
}

// verbs are all commands that write something that lasts.
func verbs() []verb {
	names := func(ref func(*worksite) string, want func(*worksite) string, same bool) func(*worksite) error {
		return func(w *worksite) error {
			now, err := w.root(ref(w))
			if err == nil && (now == want(w)) != same {
				err = fmt.Errorf("%s names %s", ref(w), now)
			}
			return err
		}
	}
	target := func(w *worksite) string { return w.ref }
	before := func(w *worksite) string { return w.before }
	var out []verb
	for _, kind := range []string{"layout", "archive", "registry"} {
		place := func(w *worksite) {
			switch kind {
			case "layout":
				w.ref = "oci:" + w.path("target") + ":day"
			case "archive":
				w.ref = "oci-archive:" + w.path("target.tar") + ":day"
			case "registry":
				w.ref = w.registry.Host() + "/site/mirror:day"
			}
			w.well("copy", w.layout("before"), w.ref)
			var err error
			w.before, err = w.root(w.ref)
			w.must(err)
		}
		out = append(out,
			verb{name: "push to " + kind, setup: place, instants: 17,
				args:   func(w *worksite) []string { return []string{"push", "-f", w.path("mmoci.yaml"), w.ref} },
				done:   names(target, before, false),
				undone: names(target, before, true)},
			verb{name: "copy to " + kind, setup: place, instants: 17,
				args:   func(w *worksite) []string { return []string{"copy", w.layout("day"), w.ref} },
				done:   names(target, before, false),
				undone: names(target, before, true)})
	}
	tree := func(dir string, args ...string) verb {
		return verb{
			args: func(w *worksite) []string {
				return append([]string{args[0], "-f", w.path("mmoci.yaml"), w.layout("day"), "-o", w.path(dir)}, args[1:]...)
			},
			done: func(w *worksite) error { return sameTree(w.path("want-"+dir), w.path(dir)) },
			setup: func(w *worksite) {
				w.well(append([]string{args[0], "-f", w.path("mmoci.yaml"), w.layout("day"), "-o", w.path("want-" + dir)}, args[1:]...)...)
			},
		}
	}
	pull, extract := tree("tree", "pull"), tree("debs", "pull", "--extract", "package01,package02,package03", "--host-status", "none", "--arch", "amd64")
	pull.name, extract.name = "pull", "extract"
	out = append(out, pull, extract,
		verb{name: "install",
			setup: func(w *worksite) {
				w.must(os.MkdirAll(w.path("host/var/lib/dpkg"), 0o755))
				w.must(os.WriteFile(w.path("host/var/lib/dpkg/status"), nil, 0o644))
			},
			args: func(w *worksite) []string {
				return []string{"install", "-f", w.path("mmoci.yaml"), "--ref", w.layout("day"), "--root", w.path("host"), "package01", "package02"}
			},
			done: func(w *worksite) error {
				status, err := os.ReadFile(w.path("host/var/lib/dpkg/status"))
				if n := bytes.Count(status, []byte("Status: install ok installed")); err == nil && n != 2 {
					err = fmt.Errorf("%d installed: %s", n, status)
				}
				return err
			}},
		verb{name: "prune",
			args: func(w *worksite) []string {
				return []string{"tag", "prune", "--keep-last", "1", "--min-age", "0s", w.layout("before")}
			},
			done: func(w *worksite) error {
				tags, err := w.tags()
				if n := len(tags); err == nil && n != 4 { // of five
					err = fmt.Errorf("%d tags: %q", n, tags)
				}
				return err
			}},
		verb{name: "rollback",
			setup: func(w *worksite) { w.before, _ = w.root(w.layout("day")) },
			args: func(w *worksite) []string {
				return []string{"tag", "rollback", "-f", w.path("mmoci.yaml"), w.layout("day"), "--to", "before"}
			},
			done:   names(func(w *worksite) string { return w.layout("day") }, before, false),
			undone: names(func(w *worksite) string { return w.layout("day") }, before, true)},
		verb{name: "promote",
			setup:  func(w *worksite) { w.before, _ = w.root(w.layout("before")) },
			args:   func(w *worksite) []string { return []string{"tag", "promote", w.layout("day"), "before"} },
			done:   names(func(w *worksite) string { return w.layout("before") }, before, false),
			undone: names(func(w *worksite) string { return w.layout("before") }, before, true)},
		verb{name: "key rotate", once: true,
			args:   func(w *worksite) []string { return []string{"key", "rotate", w.path("keys/site.asc")} },
			done:   func(w *worksite) error { return w.keys(2) },
			undone: func(w *worksite) error { return w.keys(1) }},
		verb{name: "lock",
			args: func(w *worksite) []string {
				return []string{"lock", "-f", w.path("mmoci.yaml"), "-o", w.path("mmoci.lock")}
			},
			done:  func(w *worksite) error { return sameFile(w.path("want.lock"), w.path("mmoci.lock")) },
			setup: func(w *worksite) { w.well("lock", "-f", w.path("mmoci.yaml"), "-o", w.path("want.lock")) },
			undone: func(w *worksite) error {
				if _, err := os.Stat(w.path("mmoci.lock")); !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("mmoci.lock is there: %w", err)
				}
				return nil
			}},
	)
	for i := range out {
		if out[i].instants == 0 {
			out[i].instants = 10
		}
	}
	return out
}

// keys tells whether the site's key file and its public half hold n keys.
func (w *worksite) keys(n int) error {
	secret, err := os.ReadFile(w.path("keys/site.asc"))
	if err != nil {
		return err
	}
	ring, err := signer.ReadKeyrings(w.path("keys/site.pub.asc"))
	if got := bytes.Count(secret, []byte("-----BEGIN PGP PRIVATE")); err == nil && (got != n || len(ring.Fingerprints()) != n) {
		err = fmt.Errorf("%d secret, %d public keys", got, len(ring.Fingerprints()))
	}
	return err
}

func sameFile(want, got string) error {
	a, err := os.ReadFile(want)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(got)
	if err == nil && !bytes.Equal(a, b) {
		err = fmt.Errorf("%s differs from %s", got, want)
	}
	return err
}

// sameTree compares files, all of them; what this program keeps for itself beside them is not looked at.
func sameTree(want, got string) error {
	list := func(dir string) (map[string]string, error) {
		files := map[string]string{}
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() && d.Name() == ".mmoci" {
				return filepath.SkipDir
			}
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(p)
			rel, _ := filepath.Rel(dir, p)
			files[rel] = snapshot.Sum(data).String()
			return err
		})
		return files, err
	}
	a, err := list(want)
	if err != nil {
		return err
	}
	b, err := list(got)
	if err != nil {
		return err
	}
	for name, sum := range a {
		if b[name] != sum {
			return fmt.Errorf("%s differs or is missing", name)
		}
		delete(b, name)
	}
	for name := range b {
		return fmt.Errorf("%s is left over", name)
	}
	return nil
}

// newWorksite makes the layout once; each worksite is a copy.
func newWorksite(t *testing.T, template string) *worksite {
	w := &worksite{t: t, dir: testarchive.MemoryDir(t), registry: testregistry.New(t, testregistry.Options{})}
	w.must(writeKeys(w.path("keys")))
	w.up = testarchive.Serve(t, mortalFiles(t, 2))
	w.plan()
	if template != "" {
		w.must(os.CopyFS(w.path(siteLayout), os.DirFS(filepath.Join(template, siteLayout))))
		return w
	}
	for day, tag := range []string{"before", "before", "day"} {
		w.up.Replace(mortalFiles(t, day))
		w.well("push", "-f", w.path("mmoci.yaml"), w.layout(tag))
	}
	return w
}

// Law 13, over every command that writes: at whatever instant it is interrupted it ends with 130 and says so, or it had done
// its work already; soon; all tags are whole; the same command completes.
func TestInterruptedVerbs(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("SEED=%d", seed)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_STATE_HOME", filepath.Join(home, "state"))
	template := newWorksite(t, "").dir
	for _, v := range verbs() {
		t.Run(v.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(len(v.name))))
			things, took := v.at(t, template, 0, 0)
			n := v.instants
			if os.Getenv("E2E_LONG") != "" {
				n *= 6
			}
			interrupted := 0
			for i := range n {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					at, after := 1+rng.IntN(things), time.Duration(0)
					if i%2 == 1 {
						at, after = 0, 1+time.Duration(rng.Int64N(int64(took)))
					}
					if _, d := v.at(t, template, at, after); d > 0 {
						interrupted++
					}
				})
			}
			if interrupted == 0 {
				t.Error("never interrupted")
			}
		})
	}
}

// at runs a verb, interrupted at the n-th thing that happens or after a time; both 0: not at all. It tells how many things
// happened and how long it took, 0 if it had done its work before it was interrupted.
func (v verb) at(t *testing.T, template string, n int, after time.Duration) (things int, took time.Duration) {
	t.Helper()
	w := newWorksite(t, template)
	if v.setup != nil {
		v.setup(w)
	}
	args := v.args(w)
	ctx := newSignalled(t, n, after)
	defer ctx.cancel(nil)
	w.up.Fault(func(string, int) testarchive.Broken { ctx.happens(); return testarchive.Broken{} })
	w.registry.Fault(func(testregistry.Request, int) testarchive.Broken { ctx.happens(); return testarchive.Broken{} })
	start := time.Now()
	code, said := w.mmoci(ctx, args...)
	ended := time.Now()
	took = ended.Sub(start)
	w.up.Fault(nil)
	w.registry.Fault(nil)
	ctx.mu.Lock()
	things = ctx.count
	when := ctx.when
	ctx.mu.Unlock()
	if strings.HasPrefix(strings.Join(args, " "), "tag ") {
		if _, err := w.tags(); err != nil {
			t.Errorf("a tag is not whole: %v", err)
		}
	}
	switch {
	case code == command.ExitInterrupted:
		if late := ended.Sub(when); late > obeyed {
			t.Errorf("it went on for %s", late)
		}
		if !strings.Contains(said, "mmoci: interrupted") {
			t.Errorf("says %q", said)
		}
		if v.undone != nil && !strings.Contains(said, "may be set") {
			if err := v.undone(w); err != nil {
				t.Errorf("interrupted: %v; %s", err, said)
			}
		}
	case code != 0:
		t.Errorf("exit code %d: %s", code, said)
	default:
		if err := v.done(w); err != nil {
			t.Errorf("it ended well, and its work is not done: %v; %s", err, said)
		}
		if n+int(after) > 0 {
			took = 0
		}
	}
	if code == 0 && v.once {
		return things, took
	}
	if code, said := w.mmoci(t.Context(), args...); code != 0 {
		t.Errorf("the rerun: %d: %s", code, said)
	} else if err := v.done(w); err != nil {
		t.Errorf("the rerun: %v; %s", err, said)
	}
	return things, took
}

// obeyed is within what time an interruption is obeyed; the machine that tests may be busy.
const obeyed = 5 * time.Second

// Every command is in the list above, or is known to write nothing that an interruption could leave in part.
func TestEveryVerbIsInterrupted(t *testing.T) {
	listed := map[string]bool{}
	w := &worksite{t: t, up: &testarchive.Server{}, registry: testregistry.New(t, testregistry.Options{})}
	for _, v := range verbs() {
		args := v.args(w)
		name := args[0]
		if name == "tag" || name == "key" {
			name += " " + args[1]
		}
		listed[name] = true
	}
	readers := []string{
		"serve", "verify", "ls", "why", "diff", "doctor", "prove", "check", "tag list", "tag digest", "key show", "policy test", "host wait",
		// Each writes one small file, as a whole, and asks nobody before.
		"init", "key new", "host sources", "host put", "host undo",
		// An image at a time, which the engine takes whole or not at all (TestImportInterrupted of internal/engine).
		"host images",
		"image verify", "image rebuild", "image diff", "image affected", "image sbom", "image scripts", "image lock",
		// The directory has its name when all of it is there.
		"image init",
		// They put an image by the code of copy, and the tag last (TestKilledAtEveryRequest of internal/imagebuild).
		"image build", "image update",
		// It gives a tag last, and a file its name when it is whole (TestInterruptedExport of internal/static).
		"export",
		// What is put is put below a tag that is set last (TestKilledAtEveryPut of internal/builds); a directory has its name when it is whole.
		"source hash", "source find", "source ls", "source build", "source push", "source pull", "source diff",
		"help", "completion",
	}
	a := &command.App{}
	for _, c := range commands(a).Commands() {
		names := []string{c.Name()}
		if len(c.Commands()) > 0 {
			names = nil
			for _, sub := range c.Commands() {
				names = append(names, c.Name()+" "+sub.Name())
			}
		}
		for _, name := range names {
			if !listed[name] && !slices.Contains(readers, name) && !slices.Contains(readers, c.Name()) {
				t.Errorf("mmoci %s: is it interrupted?", name)
			}
		}
	}
}

// A look at an upstream that is interrupted says so: what was cut off is no finding, and has no remedy.
func TestDoctorInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel(errSignal)
		<-r.Context().Done()
	}))
	t.Cleanup(up.Close)
	w := &worksite{t: t, dir: t.TempDir()}
	w.must(os.WriteFile(w.path("docker.asc"), testarchive.DockerKey().Public(), 0o600))
	w.must(os.WriteFile(w.path("mmoci.yaml"), fmt.Appendf(nil, `ref: oci:%s
archives:
- {prefix: docker, mode: curated, url: %s, suites: [bookworm], components: [main], architectures: [amd64], signed-by: docker.asc, packages: all}
- {prefix: files, format: files, files: [{path: f, sha256: "-", url: "%s/f"}]}
`, w.path("layout"), up.URL, up.URL), 0o644))
	var out bytes.Buffer
	var said lockedBuffer
	if code := run(ctx, []string{"doctor", "-f", w.path("mmoci.yaml")}, strings.NewReader(""), &out, &said); code != command.ExitInterrupted || out.Len() > 0 {
		t.Errorf("exit %d\n%s%s", code, out.String(), said.String())
	}
}
