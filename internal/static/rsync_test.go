//go:build real

package static

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact"
)

// The commands of the documentation carry a tree to another server, with each of its links and none that leads out of it.
func TestCarriedByRsync(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Fatal("rsync is not installed")
	}
	page, err := os.ReadFile("../../artifacts/docs/static.md")
	if err != nil {
		t.Fatal(err)
	}
	_, _, newer := two(t)
	dir, far := filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "far")
	mustExport(t, Options{Dir: dir, References: []artifact.Reference{newer}, Apt: true, Now: now})
	links := func(dir string) (all []string) {
		_ = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
			if err != nil {
				t.Fatal(err)
			}
			if d.Type()&os.ModeSymlink != 0 {
				to, _ := os.Readlink(name)
				all = append(all, strings.TrimPrefix(name, dir)+" -> "+to)
			}
			return nil
		})
		return all
	}
	want := strings.Join(links(dir), "\n")
	if want == "" {
		t.Fatal("the tree has no links")
	}
	for name, to := range map[string]string{strings.Repeat("a", 64): "/etc/passwd", strings.Repeat("b", 64): "../../../outside"} {
		if err := os.Symlink(to, filepath.Join(dir, "blobs/sha256", name)); err != nil {
			t.Fatal(err)
		}
	}
	commands := 0
	for line := range strings.Lines(string(page)) {
		if command, ok := strings.CutPrefix(line, "    rsync "); ok {
			commands++
			command = strings.NewReplacer("mirror.example.org:/srv/mmoci/", far+"/", "/srv/mmoci/", dir+"/").Replace(command)
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", "rsync "+command).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
	}
	if got := strings.Join(links(far), "\n"); commands != 2 || got != want {
		t.Errorf("%d commands; links:\n%s\nwant\n%s", commands, got, want)
	}
	whole(t, far)
}
