//go:build real

package builder

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/builddeps"
	"example.org/mmoci/internal/buildenv"
	"example.org/mmoci/internal/debsource"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/pkg/artifact"
)

// openSnapshot opens the snapshot of real packages that MMOCI_REAL_SNAPSHOT names by digest.
func openSnapshot(t *testing.T) *buildenv.Archive {
	t.Helper()
	ref, err := artifact.ParseReference(os.Getenv("MMOCI_REAL_SNAPSHOT"))
	if err != nil {
		t.Fatal(err)
	}
	trust := prove.Trust{Now: time.Now()}
	s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := buildenv.Open(t.Context(), buildenv.Options{Snapshot: s, Trust: trust, Architecture: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// source is a source of the snapshot.
func source(t *testing.T, a *buildenv.Archive, name string) (*buildenv.Source, *debsource.Package) {
	t.Helper()
	src, err := a.Source(name, "")
	if err != nil {
		t.Fatal(err)
	}
	var files []debsource.File
	for _, f := range src.Files {
		files = append(files, debsource.File{Name: f.Name, Size: f.Size, Open: func() (io.ReadCloser, error) { return a.Open(context.Background(), f) }})
	}
	p, err := debsource.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	return src, p
}

// environment is the tar of what a build needs, kept in MMOCI_REAL_DIR.
func environment(t *testing.T, a *buildenv.Archive, src *buildenv.Source, date time.Time) (file string, text []byte) {
	t.Helper()
	e, err := a.Environment(t.Context(), src, builddeps.Needs{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(fmt.Appendf(e.Text(), "%d", date.Unix()))
	file = filepath.Join(os.Getenv("MMOCI_REAL_DIR"), hex.EncodeToString(sum[:8])+".tar")
	if _, err := os.Stat(file); err == nil {
		return file, e.Text()
	}
	f, err := os.Create(file + ".new")
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	start := time.Now()
	if _, err := e.WriteTar(t.Context(), w, buildenv.TarOptions{Date: date}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	t.Logf("environment of %s: %.1f s", src.Name, time.Since(start).Seconds())
	return file, e.Text()
}

// built is what a build made, by its names.
func built(t *testing.T, j Job, log, kept string) map[string]string {
	t.Helper()
	f, err := os.Create(filepath.Join(os.Getenv("MMOCI_REAL_DIR"), log+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := t.TempDir()
	start := time.Now()
	r, err := Build(t.Context(), j, Options{Log: f}, out)
	if err != nil {
		t.Fatalf("%s: %v", log, err)
	}
	t.Logf("%s: built in %.0f s", log, time.Since(start).Seconds())
	if err := os.MkdirAll(kept, 0o755); err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for _, name := range r.Files {
		data, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(kept, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".deb") {
			sum := sha256.Sum256(data)
			sums[name] = hex.EncodeToString(sum[:])
		}
	}
	return sums
}

// shift is by what the second build's clock and the times of its files are off.
const shift = 34567890 * time.Second

// otherTimes copies an environment, each file of it with another time, and with libfaketime, which the machine has to have.
func otherTimes(t *testing.T, from string) (to, lib string) {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if err != nil || len(found) != 1 {
		t.Fatal("libfaketime is not installed")
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	to = filepath.Join(t.TempDir(), "other.tar")
	w, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	buffered := bufio.NewWriterSize(w, 1<<20)
	out := tar.NewWriter(buffered)
	for in := tar.NewReader(bufio.NewReaderSize(r, 1<<20)); ; {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		h.ModTime = h.ModTime.Add(-shift)
		h.Format = tar.FormatUnknown
		if err := out.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
	}
	lib = "/opt/libfaketime.so.1"
	if err := out.WriteHeader(&tar.Header{Name: strings.TrimPrefix(lib, "/"), Mode: 0o644, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{second(out.Write(data)), out.Close(), buffered.Flush()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return to, lib
}

func second[T any](_ T, err error) error { return err }

// TestRealSources builds each of the sources that MMOCI_REAL_SOURCES names, as they are, twice: the second time another day, by
// libfaketime, among files of other times. The .debs have to be the same. What Debian's own builders made of it is compared as far as
// MMOCI_REAL_DEBS has it: the directory gets a table, of which are bit-identical and which files are not in the others.
func TestRealSources(t *testing.T) {
	a := openSnapshot(t)
	dir := os.Getenv("MMOCI_REAL_DIR")
	for _, name := range strings.Fields(os.Getenv("MMOCI_REAL_SOURCES")) {
		t.Run(name, func(t *testing.T) {
			src, p := source(t, a, name)
			written := t.TempDir()
			if _, err := p.Write(written); err != nil {
				t.Fatal(err)
			}
			root, text := environment(t, a, src, p.Date())
			job := Job{Identity: []byte("x"), EnvironmentText: text, Name: p.Name, Version: p.Version, Date: p.Date(), Architecture: "amd64", What: "any+all", Environment: root, Source: written}
			kept := filepath.Join(dir, "built", name)
			first := built(t, job, name+".1", kept)
			if len(first) == 0 {
				t.Fatal("no .debs")
			}

			var lib string
			job.Environment, lib = otherTimes(t, root)
			files, err := os.ReadDir(written)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				then := time.Now().Add(-shift)
				if err := os.Chtimes(filepath.Join(written, f.Name()), then, then); err != nil {
					t.Fatal(err)
				}
			}
			job.Env = []string{"LD_PRELOAD=" + lib, fmt.Sprintf("FAKETIME=+%d", int64(shift.Seconds())), "NO_FAKE_STAT=1", "DONT_FAKE_MONOTONIC=1"}
			again := built(t, job, name+".2", filepath.Join(dir, "again", name))
			if !maps.Equal(first, again) {
				t.Errorf("the .debs of two builds are not the same:\n%v\n%v", first, again)
			}
			if a, b := buildDate(t, kept), buildDate(t, filepath.Join(dir, "again", name)); b.Sub(a) < shift {
				t.Errorf("the clock of the second build was not another: %s after %s", b, a)
			}
			for _, line := range againstDebian(t, kept, first) {
				t.Log(line)
			}
		})
	}
}

// buildDate is when the builder says that it built.
func buildDate(t *testing.T, dir string) time.Time {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.buildinfo"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %d .buildinfo", dir, len(found))
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if s, ok := strings.CutPrefix(line, "Build-Date: "); ok {
			d, err := time.Parse(time.RFC1123Z, strings.TrimSpace(s))
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
	}
	t.Fatalf("%s has no Build-Date", found[0])
	return time.Time{}
}

// againstDebian says for each .deb whether Debian's is the same file, and else which files in it are not.
func againstDebian(t *testing.T, dir string, sums map[string]string) (lines []string) {
	t.Helper()
	theirs := os.Getenv("MMOCI_REAL_DEBS")
	equal, compared := 0, 0
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		pkg, rest, _ := strings.Cut(name, "_")
		_, arch, _ := strings.Cut(rest, "_")
		found, err := filepath.Glob(filepath.Join(theirs, pkg+"_*_"+arch))
		if err != nil || len(found) != 1 {
			lines = append(lines, name+": Debian's is not there")
			continue
		}
		compared++
		ours, debians := contents(t, filepath.Join(dir, name)), contents(t, found[0])
		data, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) == sums[name] {
			equal++
			lines = append(lines, name+": bit-identical")
			continue
		}
		var differ []string
		for path, what := range ours {
			if debians[path] != what {
				differ = append(differ, path)
			}
		}
		for path := range debians {
			if _, ok := ours[path]; !ok {
				differ = append(differ, path)
			}
		}
		slices.Sort(differ)
		lines = append(lines, fmt.Sprintf("%s: against %s: %s", name, filepath.Base(found[0]), strings.Join(differ, " ")))
	}
	return append(lines, fmt.Sprintf("%d of %d are bit-identical", equal, compared))
}

// contents are the members of a .deb, each with mode, time and digest.
func contents(t *testing.T, file string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, part := range []string{"--ctrl-tarfile", "--fsys-tarfile"} {
		data, err := exec.Command("dpkg-deb", part, file).Output()
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(bytes.NewReader(data)); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.New()
			if _, err := io.Copy(sum, r); err != nil {
				t.Fatal(err)
			}
			out[strings.TrimPrefix(h.Name, "./")] = fmt.Sprintf("%c %o %d %s %x", h.Typeflag, h.Mode, h.ModTime.Unix(), h.Linkname, sum.Sum(nil))
		}
	}
	return out
}
