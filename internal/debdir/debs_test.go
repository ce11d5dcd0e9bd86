package debdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/testarchive"
)

// A Filename with %3a would be another file to a client that asks for it as it stands, as debootstrap does.
func TestDebsNameTheEpoch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, version := range []string{"1:2.0-1", "2.0-1"} {
		data := testarchive.Package{Name: "own", Version: version, Architecture: "amd64"}.Deb(t)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("own", i, ".deb")), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own, err := ReadDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"pool/main/own/own_2.0-1_amd64.deb", "pool/main/own/own_1:2.0-1_amd64.deb"}
	for i, sf := range own.Packages {
		if sf.Filename != want[i] {
			t.Errorf("Filename %s, want %s", sf.Filename, want[i])
		}
	}
	if len(own.Packages) != 2 {
		t.Errorf("%d packages", len(own.Packages))
	}
}

// What it takes to read own .debs grows with their number, not with its square:
// of 5,000 each is looked at as often as its name comes again.
func TestManyDebs(t *testing.T) {
	t.Parallel()
	const many = 5000
	dir := t.TempDir()
	write := func(name, version, arch string) {
		t.Helper()
		data := testarchive.Package{Name: name, Version: version, Architecture: arch}.Deb(t)
		if err := os.WriteFile(filepath.Join(dir, name+"_"+version+"_"+arch+".deb"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range many {
		write(fmt.Sprint("own", i), "1.0", "all")
	}
	write("own7", "2.0", "all")
	write("own7", "1.0", "arm64")
	own, err := ReadDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(own.Packages) != many+2 || own.names.looked != 1 {
		t.Errorf("%d packages, %d were looked at", len(own.Packages), own.names.looked)
	}
	for _, sf := range own.Packages {
		if got := own.File(sf.SHA256); got != sf.File {
			t.Fatalf("%s is found as %q", sf.File, got)
		}
	}
}

// A pipe among them is told, not waited for.
func TestPipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "x.deb"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDir(t.Context(), dir); !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), "x.deb: no file") {
		t.Error(err)
	}
}
