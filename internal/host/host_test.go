package host

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

func write(t *testing.T, root, name, text string) {
	t.Helper()
	full := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWritable(t *testing.T) {
	t.Parallel()
	if err := (&Host{UID: 1000}).Writable(); !errors.Is(err, ErrNotRoot) {
		t.Errorf("as a user: %v", err)
	}
	if err := (&Host{UID: 0}).Writable(); err != nil {
		t.Errorf("as root: %v", err)
	}
	if err := (&Host{UID: 1000, Root: t.TempDir()}).Writable(); err != nil {
		t.Errorf("into a directory: %v", err)
	}
	if err := (&Host{Root: "/nowhere/at/all"}).Writable(); err == nil {
		t.Error("into no directory")
	}
}

// TestLock: fcntl's locks are of processes, so the other one is this test again.
func TestLock(t *testing.T) {
	root := t.TempDir()
	if dir := os.Getenv("MMOCI_TEST_LOCK"); dir != "" {
		if _, err := (&Host{Root: dir}).lock(); !errors.Is(err, ErrBusy) {
			t.Fatalf("second: %v", err)
		}
		return
	}
	write(t, root, "var/lib/dpkg/status", "")
	h := &Host{Root: root}
	unlock, err := h.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestLock$")
	cmd.Env = append(os.Environ(), "MMOCI_TEST_LOCK="+root)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := (&Host{Root: t.TempDir()}).lock(); err == nil {
		t.Error("a root without dpkg was locked")
	}
}

func TestSettled(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	h := &Host{Root: root}
	if err := h.Settled(); err != nil {
		t.Error(err)
	}
	write(t, root, "var/lib/dpkg/updates/tmp.i", "")
	if err := h.Settled(); err != nil {
		t.Error(err)
	}
	write(t, root, "var/lib/dpkg/updates/0003", "")
	if err := h.Settled(); !errors.Is(err, ErrDpkg) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	f := func(name, version, arch string) File { return File{Package: Package{name, version, arch}} }
	before := map[string]state{"a:amd64": {"1", "installed"}, "b:all": {"1", "half-configured"}, "hurt:all": {"1", "installed"}, "worse:amd64": {"1", "installed"}, "lost:amd64": {"1", "unpacked"}}
	after := map[string]state{"a:amd64": {"2", "installed"}, "b:all": {"1", "installed"}, "c:amd64": {"1", "triggers-pending"},
		"hurt:all": {"1", "unpacked"}, "worse:amd64": {"1", "half-configured"}, "lost:amd64": {"1", "unpacked"}, "d:amd64": {"1", "half-installed"}}
	done, missing := results([][]File{{f("a", "2", "amd64"), f("b", "1", "all")}, {f("c", "1", "amd64"), f("d", "1", "amd64"), f("e", "1", "all")}}, before, after)
	var said []string
	for _, c := range done {
		said = append(said, c.String())
	}
	if want := []string{"upgraded a 2 amd64 (was 1)", "configured b 1 all", "installed c 1 amd64"}; !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
	if !slices.Equal(missing, []string{"d", "e"}) {
		t.Errorf("missing %q", missing)
	}
	if got := deconfigured(before, after); !slices.Equal(got, []string{"hurt", "worse:amd64"}) {
		t.Errorf("deconfigured %q", got)
	}
}

// TestConflicts: packages that are half-way on the host count as they do for dpkg.
func TestConflicts(t *testing.T) {
	t.Parallel()
	const half = "Package: half\nStatus: install ok %s\nVersion: 2\nArchitecture: amd64\n%s\n"
	for _, c := range []struct{ word, fields, chosen, says string }{
		{"unpacked", "", "Package: new\nVersion: 1\nArchitecture: amd64\n", ""},
		{"unpacked", "", "Package: new\nVersion: 1\nArchitecture: amd64\nConflicts: half (<< 2)\nBreaks: other\n", ""},
		{"unpacked", "", "Package: new\nVersion: 1\nArchitecture: amd64\nConflicts: half (<= 2)\n", "new Conflicts: half (<= 2) stands against half"},
		{"half-configured", "Breaks: new (<< 2)\n", "Package: new\nVersion: 1\nArchitecture: all\n", "half Breaks: new (<< 2) stands against new"},
		{"installed", "Breaks: new (<< 2)\n", "Package: new\nVersion: 1\nArchitecture: all\n", ""}, // the resolver's to judge
		{"config-files", "Breaks: new (<< 2)\n", "Package: new\nVersion: 1\nArchitecture: all\n", ""},
		{"triggers-awaited", "Conflicts: mail\n", "Package: new\nVersion: 1\nArchitecture: all\nProvides: x, mail (= 3)\n", "half Conflicts: mail stands against new"},
		{"unpacked", "Conflicts: mail (<< 3)\n", "Package: new\nVersion: 1\nArchitecture: all\nProvides: mail (= 3)\n", ""},
		{"unpacked", "Conflicts: mail (<< 3)\n", "Package: new\nVersion: 1\nArchitecture: all\nProvides: mail\n", ""},
		{"unpacked", "", "Package: half\nVersion: 1\nArchitecture: amd64\n", "1 would take it back"},
		{"unpacked", "", "Package: half\nVersion: 2\nArchitecture: amd64\n", ""},
		{"unpacked", "", "Package: half\nVersion: 1\nArchitecture: arm64\n", ""},
		{"half-installed", "Conflicts: virtual\nProvides: virtual\n", "Package: half\nVersion: 3\nArchitecture: all\nProvides: virtual\n", ""},
	} {
		root := t.TempDir()
		write(t, root, "var/lib/dpkg/status", fmt.Sprintf(half, c.word, c.fields))
		err := (&Host{Root: root}).Conflicts([]deb.Stanza{deb.Stanza(c.chosen)})
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, ErrHalfInstalled) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "half 2 is "+c.word)) {
			t.Errorf("%s %q, %q: %v, want %q", c.word, c.fields, c.chosen, err, c.says)
		}
	}
	if err := (&Host{Root: t.TempDir()}).Conflicts(nil); err == nil {
		t.Error("a host without a status bears anything")
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	got := environment([]string{"HOME=/root", "PATH=/home/u/bin:/usr/bin:/bin", "DEBIAN_FRONTEND=dialog"})
	want := []string{"HOME=/root", "PATH=/home/u/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", "DEBIAN_FRONTEND=noninteractive", "DPKG_FRONTEND_LOCKED=true"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestPutKilled: whatever was written before a kill, undo takes it back and a
// rerun completes it.
func TestPutKilled(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{"etc/apt/sources.list.d/mmoci-a.sources": []byte("a"), "etc/apt/apt.conf.d/90mmoci": []byte("c")}
	for name := range files {
		for _, rerun := range []bool{false, true} {
			root := t.TempDir()
			h := &Host{Root: root}
			write(t, root, "etc/apt/sources.list", "theirs")
			if _, err := h.put(sourceFiles, files, []string{"etc/apt/sources.list"}, putOptions{}); err != nil {
				t.Fatal(err)
			}
			// As if killed before this file.
			if err := os.Remove(filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
			if rerun {
				if changed, err := h.put(sourceFiles, files, nil, putOptions{}); err != nil || !slices.Equal(changed, []string{name}) {
					t.Errorf("%s: rerun: %q, %v", name, changed, err)
				}
			}
			if _, kept, err := h.Undo(); err != nil || len(kept) > 0 {
				t.Errorf("%s: undo: %q, %v", name, kept, err)
			}
			if got := read(t, root, "etc/apt/sources.list"); got != "theirs" {
				t.Errorf("%s: %q", name, got)
			}
			for other := range files {
				if _, err := os.Stat(filepath.Join(root, other)); err == nil {
					t.Errorf("%s is still there", other)
				}
			}
		}
	}
}

func TestManifestDamaged(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x\n", manifestHead + "\nfile abc ../../etc/passwd\n", manifestHead + "\nfile abc /etc/passwd\n", manifestHead + "\nmoved ../x\n", manifestHead + "\nnothing\n"} {
		root := t.TempDir()
		write(t, root, string(sourceFiles), text)
		h := &Host{Root: root}
		if _, _, err := h.Undo(); err == nil {
			t.Errorf("undo by %q", text)
		}
		if _, err := h.put(sourceFiles, map[string][]byte{"etc/x": nil}, nil, putOptions{}); err == nil {
			t.Errorf("put over %q", text)
		}
	}
}

func TestUseMirror(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "localhost:8000", "ftp://x/", `http://x";evil/`, "http:///x"} {
		if _, err := (&Host{Root: t.TempDir()}).UseMirror(Apt{Mirror: bad}); err == nil {
			t.Errorf("mirror %q was taken", bad)
		}
	}
	root := t.TempDir()
	_, err := (&Host{Root: root}).UseMirror(Apt{
		Mirror: "https://mirror.example.org:8443/x", Policy: []byte("Package: *\n"),
		Archives: []Archive{{Prefix: "p", Key: []byte("KEY\n"), Sources: []archive.Source{{URI: "u", Suites: []string{"s"}, CheckValidUntil: true}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, root, confFile); !strings.Contains(got, "Acquire::https::Proxy::mirror.example.org \"DIRECT\";\n") {
		t.Error(got)
	}
	if got := read(t, root, "etc/apt/sources.list.d/mmoci-p.sources"); got != "Types: deb\nURIs: u\nSuites: s\nSigned-By:\n KEY\n" {
		t.Errorf("%q", got)
	}
	if got := read(t, root, prefFile); got != "Package: *\n" {
		t.Error(got)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || asked.Add(1) < 3 {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	if err := Wait(t.Context(), s.URL+"/", time.Millisecond); err != nil || asked.Load() != 3 {
		t.Errorf("%v after %d questions", err, asked.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Wait(ctx, s.URL, time.Hour); err == nil {
		t.Error("waited for a context that had ended")
	}
}

// What a killed run said that it would move, and did not, is nobody's change.
func TestUndoOfWhatWasNotMoved(t *testing.T) {
	t.Parallel()
	h := &Host{Root: t.TempDir()}
	const list = "etc/apt/sources.list"
	if err := errors.Join(h.replace(list, []byte("deb x\n")), h.writeManifest(sourceFiles, &manifest{moved: []string{list}})); err != nil {
		t.Fatal(err)
	}
	changed, kept, err := h.Undo()
	if len(changed) > 0 || len(kept) > 0 || err != nil {
		t.Errorf("changed %q, kept %q, %v", changed, kept, err)
	}
	if got := read(t, h.Root, list); got != "deb x\n" {
		t.Errorf("%q", got)
	}
}

// TestPutService: the unit gives way to the pod, what others wrote stays, and undo takes back what is left.
func TestPutService(t *testing.T) {
	t.Parallel()
	const unit, pod, key = "etc/systemd/system/mmoci-mirror.service", "etc/kubernetes/manifests/mmoci.yaml", "etc/mmoci/site.asc"
	h := &Host{Root: t.TempDir()}
	write(t, h.Root, key, "key")
	put := func(replace bool, name, text string) ([]string, error) {
		return h.PutService(map[string][]byte{key: []byte("key"), name: []byte(text)}, replace, false)
	}
	if changed, err := put(false, unit, "u"); err != nil || !slices.Equal(changed, []string{unit}) {
		t.Fatal(changed, err)
	}
	if changed, err := put(false, unit, "u"); err != nil || len(changed) > 0 {
		t.Error(changed, err)
	}
	if changed, err := h.PutService(map[string][]byte{"etc/mmoci/other": []byte("o")}, false, true); err != nil || len(changed) != 1 || read(t, h.Root, unit) != "u" {
		t.Error(changed, err)
	}
	write(t, h.Root, pod, "somebody's")
	if _, err := put(false, pod, "p"); !errors.Is(err, ErrForeign) || read(t, h.Root, pod) != "somebody's" {
		t.Error(err)
	}
	if changed, err := put(true, pod, "p"); err != nil || !slices.Equal(changed, []string{pod, "etc/mmoci/other", unit}) || read(t, h.Root, pod) != "p" {
		t.Error(changed, err)
	}
	if _, err := h.UseMirror(Apt{Mirror: "http://127.0.0.1:8000"}); err != nil {
		t.Fatal(err)
	}
	changed, kept, err := h.Undo()
	if err != nil || len(kept) > 0 || !slices.Equal(changed, []string{pod, confFile}) || read(t, h.Root, key) != "key" {
		t.Errorf("%q, %q, %v", changed, kept, err)
	}
}

func TestUseRegistry(t *testing.T) {
	t.Parallel()
	h := &Host{Root: t.TempDir()}
	images := []snapshot.Image{{Name: "docker.io/library/nginx:1"}, {Name: "registry.example.org/a:1"}, {Name: "registry.example.org:5000/b/c:2"}}
	for _, bad := range []string{"127.0.0.1:8000", "http://x/sub", "ftp://x", "http://u:p@x", "http://x\"y"} {
		if _, err := h.UseRegistry(bad, images); !errors.Is(err, outcome.ErrUsage) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	changed, err := h.UseRegistry("http://127.0.0.1:8000/", images)
	if err != nil || len(changed) != 4 {
		t.Fatal(changed, err)
	}
	if got, want := read(t, h.Root, certsDir+"/docker.io/hosts.toml"), "server = \"https://registry-1.docker.io\"\n\n[host.\"http://127.0.0.1:8000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"; !strings.HasSuffix(got, want) {
		t.Error(got)
	}
	if got, want := read(t, h.Root, registriesFile), "\n[[registry]]\nprefix = \"registry.example.org:5000\"\nlocation = \"registry.example.org:5000\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:8000\"\ninsecure = true\n"; !strings.Contains(got, want) {
		t.Error(got)
	}
	// One host fewer: its file goes, and with it its directory; then the rest.
	if changed, err = h.UseRegistry("http://127.0.0.1:8000/", images[1:]); err != nil || len(changed) != 2 {
		t.Error(changed, err)
	}
	if _, kept, err := h.Undo(); err != nil || len(kept) > 0 {
		t.Error(kept, err)
	}
	if left, _ := os.ReadDir(filepath.Join(h.Root, certsDir)); len(left) > 0 {
		t.Error(left)
	}
}

// TestOldApt: keys go into files where dpkg's status says that the host's apt takes none inline, and where it cannot be read.
func TestOldApt(t *testing.T) {
	t.Parallel()
	for status, files := range map[string]bool{
		"":                                     false,
		"Package: apt\nVersion: 2.2.4\n":       true,
		"Package: apt\nVersion: 2.0.11\n":      true,
		"Package: apt\nVersion: 2.3.10\n":      false,
		"Package: apt\nVersion: 2.6.1\n":       false,
		"Package: apt-utils\nVersion: 2.2.4\n": false,
		"no stanza\n":                          true,
	} {
		root := t.TempDir()
		if strings.HasPrefix(status, "Package") {
			status += "Status: hold ok installed\nArchitecture: amd64\n"
		}
		if status != "" {
			write(t, root, "var/lib/dpkg/status", status)
		}
		h := &Host{Root: root}
		src := archive.Source{URI: "http://127.0.0.1:8000/own", Suites: []string{"own"}, Components: []string{"main"}}
		if _, err := h.UseMirror(Apt{Mirror: "http://127.0.0.1:8000", Archives: []Archive{{Prefix: "own", Sources: []archive.Source{src}, Key: []byte("-----BEGIN\n")}}}); err != nil {
			t.Fatal(err)
		}
		text := read(t, root, "etc/apt/sources.list.d/mmoci-own.sources")
		_, err := os.Stat(filepath.Join(root, "etc/apt/keyrings/mmoci-own.asc"))
		if strings.Contains(text, "Signed-By: /etc/apt/keyrings/mmoci-own.asc\n") != files || (err == nil) != files {
			t.Errorf("%q: %v\n%s", status, err, text)
		}
	}
}
