package host

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUmask: apt reads keys and settings as another user, also where root's files are for root alone. What was there keeps its mode.
func TestUmask(t *testing.T) {
	old := unix.Umask(0o077) // of the process: no parallel test runs meanwhile
	defer unix.Umask(old)
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := &Host{Root: root}
	if _, err := h.UseMirror(Apt{Archives: []Archive{{Prefix: "docker", Key: []byte("key")}}, Mirror: "http://127.0.0.1:8000", KeyFiles: true}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		"etc": 0o700, "etc/apt": 0o755, "etc/apt/keyrings": 0o755, "etc/apt/sources.list.d": 0o755, "etc/apt/apt.conf.d": 0o755,
		"etc/apt/keyrings/mmoci-docker.asc": 0o644, "etc/apt/sources.list.d/mmoci-docker.sources": 0o644,
	} {
		st, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Mode().Perm(); got != want {
			t.Errorf("%s: %o, want %o", name, got, want)
		}
	}
}

// TestRootIsTheWorld: below a root directory nothing is read, written, moved or
// removed by way of a link that leads out of it; a link that stays inside is followed.
func TestRootIsTheWorld(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	lay(t, outside, "sources.list.d/theirs.list", "deb http://mirror.example.org x y\n")
	lay(t, outside, "mmoci/kept.deb", "x")
	lay(t, outside, "status", "Package: x\nStatus: install ok installed\n")
	before := listed(t, outside)
	apt := Apt{Archives: []Archive{{Prefix: "docker", Key: []byte("key")}}, Mirror: "http://127.0.0.1:8000", Alone: true}
	for name, make := range map[string]func(t *testing.T, root string){
		"etc":          func(t *testing.T, root string) { link(t, outside, root, "etc") },
		"etc/apt":      func(t *testing.T, root string) { link(t, outside, root, "etc/apt") },
		"relative":     func(t *testing.T, root string) { link(t, relative(t, root, outside), root, "etc/apt") },
		"sources dir":  func(t *testing.T, root string) { link(t, outside+"/sources.list.d", root, "etc/apt/sources.list.d") },
		"conf dir":     func(t *testing.T, root string) { link(t, outside, root, "etc/apt/apt.conf.d") },
		"the manifest": func(t *testing.T, root string) { link(t, outside, root, "var/lib/mmoci-host") },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			make(t, root)
			h := &Host{Root: root}
			if changed, err := h.UseMirror(apt); err == nil {
				t.Errorf("written: %q", changed)
			}
			_, _, _ = h.Undo()
			if after := listed(t, outside); after != before {
				t.Errorf("outside there is now %s, before %s", after, before)
			}
		})
	}
	root := t.TempDir()
	link(t, outside, root, "var/cache")
	link(t, outside, root, "var/lib/dpkg")
	h := &Host{Root: root}
	if dir, err := h.makeDir("var/cache/mmoci/new"); err == nil {
		t.Errorf("made %s", dir)
	}
	if err := h.ClearDebs(); err == nil {
		t.Error("removed")
	}
	if _, err := h.ReadStatus(); err == nil {
		t.Error("a status from outside was read")
	}
	if unlock, err := h.lock(); err == nil {
		unlock()
		t.Error("a lock outside was taken")
	}
	if after := listed(t, outside); after != before {
		t.Errorf("outside there is now %s, before %s", after, before)
	}

	// What stays inside is followed.
	root = t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "usr/etc/apt"), 0o755); err != nil {
		t.Fatal(err)
	}
	link(t, "usr/etc", root, "etc")
	h = &Host{Root: root}
	if changed, err := h.UseMirror(apt); err != nil || len(changed) == 0 {
		t.Fatal(changed, err)
	}
	if _, err := os.Stat(filepath.Join(root, "usr/etc/apt/sources.list.d/mmoci-docker.sources")); err != nil {
		t.Error(err)
	}
}

func lay(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, root, name string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, file); err != nil {
		t.Fatal(err)
	}
}

// relative leads from root/etc to outside.
func relative(t *testing.T, root, outside string) string {
	t.Helper()
	rel, err := filepath.Rel(filepath.Join(root, "etc"), outside)
	if err != nil {
		t.Fatal(err)
	}
	return rel
}

func listed(t *testing.T, dir string) (all string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		all += name + "\n"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
