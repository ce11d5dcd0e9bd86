package extract

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// signedDeb is a .deb whose digest a signed index gives for a package.
type signedDeb struct {
	p   *resolve.Package
	deb []byte
}

func signedAs(name, version, arch string, deb []byte) signedDeb {
	p := &resolve.Package{PackageFile: archive.PackageFile{Name: name, Version: version, Architecture: arch,
		Size: int64(len(deb)), SHA256: snapshot.Sum(deb).Hex()}}
	return signedDeb{p, deb}
}

func goodDeb(t testing.TB, name string) signedDeb {
	return signedAs(name, "1:2.0-1", "amd64", testarchive.Package{Name: name, Version: "1:2.0-1", Architecture: "amd64", Size: 3000}.Deb(t))
}

// memoryBlobs gives bytes by digest; wrap, if not nil, may spoil them.
func memoryBlobs(debs []signedDeb, wrap func(snapshot.Blob, []byte) io.Reader) *snapshot.Snapshot {
	data := map[snapshot.Digest][]byte{}
	for _, d := range debs {
		data[snapshot.Sum(d.deb)] = d.deb
	}
	return (&snapshot.Snapshot{}).WithBlobs(func(snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			var r io.Reader = bytes.NewReader(data[b.Digest])
			if wrap != nil {
				r = wrap(b, data[b.Digest])
			}
			if s, ok := r.(io.ReadSeeker); ok && wrap != nil {
				return &snapshot.Content{R: seekable{s}}, nil
			}
			return &snapshot.Content{R: io.NopCloser(r)}, nil
		})
	})
}

// seekable is a blob at a place that knows Range.
type seekable struct{ io.ReadSeeker }

func (seekable) Close() error { return nil }

// fetching is a selection of the given .debs.
func fetching(t testing.TB, s *snapshot.Snapshot, debs ...signedDeb) *Selection {
	t.Helper()
	sel := &Selection{o: Options{Snapshot: s}, Chosen: &resolve.Result{}}
	for _, d := range debs {
		sel.pkgs = append(sel.pkgs, d.p)
	}
	var err error
	if sel.files, err = debFiles(sel.pkgs); err != nil {
		t.Fatal(err)
	}
	return sel
}

// names lists what is in a directory, temporary names too.
func names(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && p != dir {
			rel, _ := filepath.Rel(dir, p)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// withControl is a .deb with that control.tar.
func withControl(t testing.TB, ending, compression string, control []byte) []byte {
	data := testarchive.Compress(t, "gz", emptyTar(t))
	return testarchive.Ar(testarchive.ArMember{Name: "debian-binary", Data: []byte("2.0\n")},
		testarchive.ArMember{Name: "control.tar" + ending, Data: testarchive.Compress(t, compression, control)},
		testarchive.ArMember{Name: "data.tar.gz", Data: data})
}

func emptyTar(t testing.TB) []byte { return tarOf(t) }

// tarOf is a tar of entries; one with Size but no bytes given is filled with zeros.
func tarOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		text := h.Linkname
		h.Linkname, h.Typeflag, h.Mode = "", tar.TypeReg, 0o644
		h.Size = max(h.Size, int64(len(text)))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(append([]byte(text), make([]byte, h.Size-int64(len(text)))...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func control(name, version, arch string) string {
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: A <a@example.org>\nDescription: d\n", name, version, arch)
}

// TestHostileDebs: bytes that are what the signed index says, and no honest
// .deb of that package. Exit code 3, the package named, nothing left.
func TestHostileDebs(t *testing.T) {
	t.Parallel()
	good := testarchive.Package{Name: "evil", Version: "1.0-1", Architecture: "amd64"}.Deb(t)
	member := func(n string, b []byte) testarchive.ArMember { return testarchive.ArMember{Name: n, Data: b} }
	format := member("debian-binary", []byte("2.0\n"))
	tgz := func(text string) []byte {
		return testarchive.Compress(t, "gz", tarOf(t, tar.Header{Name: "./control", Linkname: text}))
	}
	honest := tgz(control("evil", "1.0-1", "amd64"))
	data := member("data.tar.gz", testarchive.Compress(t, "gz", emptyTar(t)))
	lying := bytes.Clone(good)
	copy(lying[8+48:], "9999999999") // size of the first member

	cases := map[string][]byte{
		"other package":       withControl(t, ".gz", "gz", tarOf(t, tar.Header{Name: "./control", Linkname: control("other", "1.0-1", "amd64")})),
		"other version":       withControl(t, ".gz", "gz", tarOf(t, tar.Header{Name: "./control", Linkname: control("evil", "1.0-2", "amd64")})),
		"other architecture":  withControl(t, ".gz", "gz", tarOf(t, tar.Header{Name: "./control", Linkname: control("evil", "1.0-1", "arm64")})),
		"two control files":   withControl(t, ".gz", "gz", tarOf(t, tar.Header{Name: "./control", Linkname: control("evil", "1.0-1", "amd64")}, tar.Header{Name: "control", Linkname: control("evil", "6.6", "amd64")})),
		"two control members": testarchive.Ar(format, member("control.tar.gz", honest), member("control.tar.gz", tgz(control("other", "6", "amd64"))), data),
		"data before control": testarchive.Ar(format, data, member("control.tar.gz", honest)),
		"no data":             testarchive.Ar(format, member("control.tar.gz", honest)),
		"no format":           testarchive.Ar(member("control.tar.gz", honest), data),
		"format 3":            testarchive.Ar(member("debian-binary", []byte("3.0\n")), member("control.tar.gz", honest), data),
		"duplicate field":     withControl(t, ".gz", "gz", tarOf(t, tar.Header{Name: "./control", Linkname: "Package: evil\n" + control("evil", "1.0-1", "amd64")})),
		"no control file":     withControl(t, ".gz", "gz", emptyTar(t)),
		"control too long":    withControl(t, ".gz", "gz", tarOf(t, tar.Header{Name: "./control", Linkname: control("evil", "1.0-1", "amd64"), Size: 5 << 20})),
		"lying size":          lying,
		"not a .deb":          []byte("#!/bin/sh\n"),
		"empty":               []byte{0},
	}
	for _, c := range []struct{ ending, compression string }{{".gz", "gz"}, {".xz", "xz"}, {".zst", "zst"}} {
		bomb := testarchive.Bomb(t, c.compression)
		cases["bomb"+c.ending] = testarchive.Ar(format, member("control.tar"+c.ending, bomb), data)
	}
	for n := 1000; n < len(good); n += 1000 {
		cases[fmt.Sprintf("truncated at %d", n)] = good[:n]
	}
	for name, deb := range cases {
		t.Run(name, func(t *testing.T) {
			debs := []signedDeb{signedAs("evil", "1.0-1", "amd64", deb), goodDeb(t, "other")}
			dir := filepath.Join(testarchive.MemoryDir(t), "out")
			_, err := fetching(t, memoryBlobs(debs, nil), debs...).Fetch(t.Context(), dir)
			if !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "package evil 1.0-1 amd64") {
				t.Errorf("got %v, want an integrity error that names the package", err)
			}
			if left := names(t, dir); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestExtractKilled ends a run at each of its reads; a rerun has to finish, and
// in between nothing may stand under a final name that is not whole. What was
// read stays under a temporary name, and is not read again.
func TestExtractKilled(t *testing.T) {
	t.Parallel()
	debs := []signedDeb{goodDeb(t, "a"), goodDeb(t, "b"), goodDeb(t, "c")}
	right := map[string][]byte{}
	for _, d := range debs {
		right[debName(d.p.Name, d.p.Version, d.p.Architecture)] = d.deb
	}
	for step := range 12 {
		dir := testarchive.MemoryDir(t)
		ctx, cancel := context.WithCancel(t.Context())
		reads := make(chan struct{}, step)
		for range step {
			reads <- struct{}{}
		}
		killing := func(_ snapshot.Blob, data []byte) io.Reader {
			return readerFunc(func(p []byte) (int, error) {
				select {
				case <-reads:
				default:
					cancel()
					return 0, context.Canceled
				}
				n := copy(p[:min(len(p), 1500)], data)
				data = data[n:]
				if n == 0 {
					return 0, io.EOF
				}
				return n, nil
			})
		}
		_, err := fetching(t, memoryBlobs(debs, killing), debs...).Fetch(ctx, dir)
		if err == nil {
			t.Fatalf("step %d: not killed", step)
		}
		for _, name := range names(t, dir) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			final, part := strings.CutPrefix(name, tempMark)
			if part && !bytes.HasPrefix(right[final], data) || !part && !bytes.Equal(right[final], data) {
				t.Fatalf("step %d: %s stands there", step, name)
			}
		}
		got, err := fetching(t, memoryBlobs(debs, nil), debs...).Fetch(t.Context(), dir)
		if err != nil {
			t.Fatalf("step %d: rerun: %v", step, err)
		}
		if left := names(t, dir); len(left) != len(debs) || len(got.Groups) != len(debs) {
			t.Fatalf("step %d: rerun has %q, groups %q", step, left, got.Groups)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestExtractLeftovers: a killed process could not clean up after itself.
func TestExtractLeftovers(t *testing.T) {
	t.Parallel()
	debs := []signedDeb{goodDeb(t, "a"), goodDeb(t, "b")}
	dir := testarchive.MemoryDir(t)
	half := filepath.Join(dir, tempMark+debName("a", "1:2.0-1", "amd64"))
	whole := filepath.Join(dir, debName("b", "1:2.0-1", "amd64"))
	for name, data := range map[string][]byte{half: debs[0].deb[:700], whole: debs[1].deb} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	asked := 0
	counting := func(_ snapshot.Blob, data []byte) io.Reader { asked++; return bytes.NewReader(data) }
	got, err := fetching(t, memoryBlobs(debs, counting), debs...).Fetch(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if left := names(t, dir); len(left) != 2 || asked != 1 || got.Reused != int64(len(debs[1].deb)) {
		t.Errorf("there is %q, %d blobs were asked for, %d bytes reused", left, asked, got.Reused)
	}
}

// TestExtractRefuses: what is not ours stays untouched, and is named before
// anything is fetched.
func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	d := goodDeb(t, "a")
	name := debName("a", "1:2.0-1", "amd64")
	never := memoryBlobs(nil, func(snapshot.Blob, []byte) io.Reader {
		t.Error("a blob was asked for")
		return bytes.NewReader(nil)
	})
	for _, c := range []struct {
		what, says string
		prepare    func(dir string) error
	}{
		{"a foreign file", "notes.txt", func(dir string) error { return os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o644) }},
		{"a foreign directory", "old", func(dir string) error { return os.Mkdir(filepath.Join(dir, "old"), 0o755) }},
		{"other bytes", name, func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644) }},
		{"a symlink in its place", name, func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, name)) }},
	} {
		dir := t.TempDir()
		leftover := filepath.Join(dir, tempMark+"x")
		if err := errors.Join(c.prepare(dir), os.WriteFile(leftover, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		before := names(t, dir)
		_, err := fetching(t, never, d).Fetch(t.Context(), dir)
		if !errors.Is(err, outcome.ErrRefused) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
		if after := names(t, dir); strings.Join(after, " ") != strings.Join(before, " ") {
			t.Errorf("%s: before %q, after %q", c.what, before, after)
		}
	}
}

// TestExtractNoRoom: a disk that cannot hold it is said before, and a second
// run in the same directory waits for nobody.
func TestExtractNoRoom(t *testing.T) {
	t.Parallel()
	huge := map[string]snapshot.Blob{"a.deb": {Digest: snapshot.Sum([]byte("a")), Size: 1 << 60}}
	if _, err := openDir(t.Context(), t.TempDir(), huge); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v, want %v", err, unix.ENOSPC)
	}
	dir := t.TempDir()
	one, err := openDir(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDir(t.Context(), dir, nil); !errors.Is(err, outcome.ErrRefused) {
		t.Errorf("second run: %v", err)
	}
	one.close()
	two, err := openDir(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	two.close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openDir(t.Context(), file, nil); err == nil {
		t.Error("a file was taken for a directory")
	}
}
