package sharedlib

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"strings"
	"testing"
)

// seed is made by: gcc -shared -nostdlib -s -Wl,-soname,libseed.so.1
// -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,x86-64-v3
func seed(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/libseed.so.1")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRead(t *testing.T) {
	b := seed(t)
	got, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	want := Library{Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_X86_64, Soname: "libseed.so.1", ISA: 2}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, name := range []string{"../ed.so.1", "lib\nseed.so", ".."} {
		name += strings.Repeat("\x00", len("libseed.so.1")-len(name))
		hostile := bytes.Replace(b, []byte("libseed.so.1"), []byte(name), 1)
		if l, err := Read(bytes.NewReader(hostile), int64(len(b))); !errors.Is(err, ErrNone) {
			t.Errorf("soname %q: %+v, %v", name, l, err)
		}
	}
	for n := range b {
		if _, err := Read(bytes.NewReader(b[:n]), int64(n)); err != nil && !errors.Is(err, ErrNone) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func TestErrorsOfTheReader(t *testing.T) {
	b := seed(t)
	if _, err := Read(bytes.NewReader(b[:100]), int64(len(b))); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("a file that is cut under reading: %v", err)
	}
}

func TestHasName(t *testing.T) {
	for name, want := range map[string]bool{
		"libz.so.1": true, "libz.so": true, "ld-linux-x86-64.so.2": true, "ld.so.1": true, "libz.a": false, "zlib.so": false, "libz.so.1.dpkg-new": false,
	} {
		if HasName(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(seed(f))
	f.Add([]byte("\x7fELF\x01\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		back, err := Parse(l.String())
		if err != nil || back != l {
			t.Errorf("%+v is written as %q and read as %+v, %v", l, l, back, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("2/1/62/0/libc6/0/libz.so.1/")
	f.Add("2/1/62/0/libc6/0/libc.so.6/ldconfig (Debian GLIBC 2.36-9) stable release version 2.36")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := Parse(s)
		if err == nil && l.String() != s {
			t.Errorf("%q is read and written as %q", s, l)
		}
	})
}
