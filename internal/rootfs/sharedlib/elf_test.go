//go:build real

package sharedlib

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadLikeDebugELF compares with the standard library over the machine's own.
func TestReadLikeDebugELF(t *testing.T) {
	files, _ := filepath.Glob("/usr/lib/*-linux-gnu/lib*.so.*")
	if len(files) == 0 {
		t.Fatal("no libraries of a multiarch system here")
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(f, info.Size())
		want, wantErr := elf.NewFile(f)
		if wantErr == nil && want.Type == elf.ET_DYN {
			sonames, _ := want.DynString(elf.DT_SONAME)
			if err != nil || got.Machine != want.Machine || got.Soname != strings.Join(sonames, " ") {
				t.Errorf("%s: %+v, %v; debug/elf has %v %v", name, got, err, want.Machine, sonames)
			}
			if filepath.Base(name) == "libc.so.6" && !strings.HasPrefix(got.Generator, "ldconfig (") {
				t.Errorf("%s: generator %q", name, got.Generator)
			}
		} else if err == nil {
			t.Errorf("%s: a library %+v, debug/elf says %v", name, got, wantErr)
		}
		f.Close()
	}
}
