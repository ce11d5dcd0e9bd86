package artifact

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact/layout"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// TestDelta: the next day's delta holds what changed only, and completes each
// kind of place that holds the old snapshot, to the same root.
func TestDelta(t *testing.T) {
	t.Parallel()
	files := synthFiles(300)
	old := takeOf(t, files)
	for p := range files {
		if strings.HasSuffix(p, ".deb") && strings.Contains(p, "7") && len(p)%7 == 0 {
			delete(files, p)
			files[strings.TrimSuffix(p, "_amd64.deb")+"+b1_amd64.deb"] = []byte("new " + p)
		}
	}
	now := takeOf(t, files)
	src := layoutRef(t)
	mustPush(t, src, old, PushOptions{})
	src.Tag = "next"
	want := mustPush(t, src, now, PushOptions{}).Root
	src.Tag = "noble"
	before, after := src, src
	after.Tag = "next"

	delta := archiveRef(t)
	copied, err := CopySince(t.Context(), after, before, delta, PushOptions{})
	if err != nil || copied.Root != want {
		t.Fatalf("%+v, %v", copied, err)
	}
	had, err := ReadGraph(t.Context(), before, Options{})
	if err != nil {
		t.Fatal(err)
	}
	in := map[snapshot.Digest]bool{}
	for r := tar.NewReader(bytes.NewReader(mustRead(t, delta.Name))); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		if d, err := snapshot.ParseDigest("sha256:" + path.Base(h.Name)); err == nil {
			in[d] = true
		}
	}
	p, err := Pack(now)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range p.tops { // always there, so that a delta can be looked at
		delete(in, l.Digest)
	}
	for _, b := range slices.Concat(had.Manifests, had.Files) {
		if in[b.Digest] {
			t.Errorf("%s is in the delta and in what is there", b.Digest)
		}
	}
	deltaLayout := layoutRef(t)
	if _, err := CopySince(t.Context(), after, before, deltaLayout, PushOptions{}); err != nil {
		t.Fatal(err)
	}

	f := newFakeRegistry(t)
	for _, dst := range []Reference{layoutRef(t), archiveRef(t), f.ref(t, "noble")} {
		mustPush(t, dst, old, PushOptions{})
		for _, from := range []Reference{delta, deltaLayout} {
			copied, err := Copy(t.Context(), from, dst, PushOptions{})
			if err != nil || copied.Root != want {
				t.Fatalf("%s: %+v, %v", dst, copied, err)
			}
			if err := snapshottest.Equal(t.Context(), now, reopen(t, dst)); err != nil {
				t.Errorf("%s: %v", dst, err)
			}
		}
	}

	// A place that does not hold the old one: what is missing is named, nothing is written.
	empty := layoutRef(t)
	_, err = Copy(t.Context(), delta, empty, PushOptions{})
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "pool/") {
		t.Errorf("got %v", err)
	}
	if _, err := Resolve(t.Context(), empty, Options{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a tag was written: %v", err)
	}
	if _, err := CopySince(t.Context(), after, before, f.ref(t, "delta"), PushOptions{}); !errors.Is(err, ErrReference) {
		t.Errorf("a delta in a registry: %v", err)
	}
}

// TestParts: parts are read as the archive they were, each is verified by
// itself, and what is wrong is named.
func TestParts(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(60))
	whole := archiveRef(t)
	mustPush(t, whole, s, PushOptions{})
	bytesBefore, err := os.ReadFile(whole.Name)
	if err != nil {
		t.Fatal(err)
	}
	split := func(size int64) Reference {
		ref := archiveRef(t)
		if err := os.WriteFile(ref.Name, bytesBefore, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := layout.Split(t.Context(), ref.Name, size); err != nil {
			t.Fatal(err)
		}
		return ref
	}
	for _, size := range []int64{1 << 30, int64(len(bytesBefore)), int64(len(bytesBefore) - 1), 4097, 1000} {
		ref := split(size)
		var joined []byte
		parts, _ := filepath.Glob(ref.Name + ".[0-9][0-9][0-9]")
		for _, p := range parts {
			data, err := os.ReadFile(p)
			if err != nil || int64(len(data)) > size {
				t.Fatalf("%s: %d bytes, %v", p, len(data), err)
			}
			joined = append(joined, data...)
		}
		if !bytes.Equal(joined, bytesBefore) {
			t.Errorf("size %d: cat makes other bytes", size)
		}
		if err := snapshottest.Equal(t.Context(), s, reopen(t, ref)); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
		if _, err := os.Stat(ref.Name); err == nil {
			t.Errorf("size %d: the whole is still there", size)
		}
	}
	for what, spoil := range map[string]func(name string) error{
		"missing":  func(n string) error { return os.Remove(n + ".002") },
		"damaged":  func(n string) error { return flipFile(n + ".002") },
		"short":    func(n string) error { return os.Truncate(n+".002", 999) },
		"shuffled": func(n string) error { return os.Rename(n+".003", n+".002") },
	} {
		ref := split(20_000)
		if err := spoil(ref.Name); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), ref, Options{})
		if err == nil || !strings.Contains(err.Error(), ".002") {
			t.Errorf("%s: %v", what, err)
		}
		if what == "damaged" && !errors.Is(err, snapshot.ErrIntegrity) || what == "missing" && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ref := split(20_000)
	if _, err := layout.Split(t.Context(), ref.Name+".001", 1); !errors.Is(err, ErrReference) {
		t.Errorf("too many parts: %v", err)
	}
}

func flipFile(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(name, data, 0o644)
}

// TestCarriedInTar: what is carried stands in an oci-archive by its own name, so
// that tar alone makes a program of it; a delta that leaves its blob out has no such name.
func TestCarriedInTar(t *testing.T) {
	t.Parallel()
	files := synthFiles(3)
	files["mmoci/amd64"], files["mmoci/bootstrap.sh"] = []byte("a program"), []byte("#!/bin/sh\n")
	s := takeOf(t, files)
	src := layoutRef(t)
	mustPush(t, src, s, PushOptions{})
	pushed, copied, delta := archiveRef(t), archiveRef(t), archiveRef(t)
	mustPush(t, pushed, s, PushOptions{})
	vouched := Options{Vouched: mustPush(t, src, s, PushOptions{}).Root}
	if _, err := Copy(t.Context(), src, copied, PushOptions{Options: vouched}); err != nil {
		t.Fatal(err)
	}
	if _, err := CopySince(t.Context(), src, src, delta, PushOptions{Options: vouched}); err != nil {
		t.Fatal(err)
	}
	// Whoever vouches for another root, or for none, gets no names.
	unnamed, other := archiveRef(t), archiveRef(t)
	if c, err := Copy(t.Context(), src, unnamed, PushOptions{}); err != nil || len(c.Runnable) > 0 {
		t.Fatal(c.Runnable, err)
	}
	if c, err := Copy(t.Context(), src, other, PushOptions{Options: Options{Vouched: snapshot.Sum([]byte("another"))}}); err != nil || len(c.Runnable) > 0 {
		t.Fatal(c.Runnable, err)
	}
	if one, two := mustRead(t, pushed.Name), mustRead(t, copied.Name); !bytes.Equal(one, two) {
		t.Error("pushed and copied differ")
	}
	for _, c := range []struct {
		ref  Reference
		want int
	}{{pushed, 2}, {delta, 0}, {unnamed, 0}, {other, 0}} {
		links, modes := 0, map[string]int64{}
		r := tar.NewReader(bytes.NewReader(mustRead(t, c.ref.Name)))
		for {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			modes[h.Name] = h.Mode
			if h.Typeflag != tar.TypeLink {
				continue
			}
			links++
			if want := layoutBlobs + "/" + snapshot.Sum(files[h.Name]).Hex(); h.Linkname != want || modes[want] != 0o755 {
				t.Errorf("%s leads to %s (mode %o), want %s", h.Name, h.Linkname, modes[want], want)
			}
		}
		if links != c.want {
			t.Errorf("%d links, want %d", links, c.want)
		}
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
