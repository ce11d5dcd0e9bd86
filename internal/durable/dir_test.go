package durable

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPutDir: a directory gets a name that nothing has, or an empty directory. A file or a symlink of that name stays, and so does what is in a directory.
func TestPutDir(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{"file": "precious", "full/file": "precious"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"empty", "linked"} {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("linked", "link"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"new": "", "empty/": "", "file": "is there, and no directory", "link": "is there, and no directory",
		"full": "full is not empty", ".": "is the working directory", dir: "is the working directory", "file/below": "not a directory",
	} {
		if err := os.MkdirAll("made/d", 0o755); err != nil {
			t.Fatal(err)
		}
		vacant, put := Vacant(name), PutDir("made", name)
		_, there := os.Stat(filepath.Join(name, "d"))
		if want == "" && (vacant != nil || put != nil || there != nil) {
			t.Errorf("%s: %v, %v, %v", name, vacant, put, there)
		}
		if want != "" && (vacant == nil || !strings.Contains(vacant.Error(), want) || put == nil || there == nil) {
			t.Errorf("%s: %v, %v, %v", name, vacant, put, there)
		}
	}
	for name, want := range map[string]string{"file": "precious", "full/file": "precious"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if to, err := os.Readlink("link"); to != "linked" {
		t.Errorf("link: %q, %v", to, err)
	}
}
