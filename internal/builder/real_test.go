//go:build real

package builder

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
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

// embedsYear are sources that put the year of the build into a program (hello: "date +%Y" in its configure.ac), so that builds of
// one year alone can be the same.
var embedsYear = map[string]bool{"hello": true}

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
			forward := shift
			if now := time.Now().UTC(); embedsYear[name] {
				forward = time.Date(now.Year()+1, 1, 1, 0, 0, 0, 0, time.UTC).Sub(now) / 2
			}
			job.Env = []string{"LD_PRELOAD=" + lib, fmt.Sprintf("FAKETIME=+%d", int64(forward.Seconds())), "NO_FAKE_STAT=1", "DONT_FAKE_MONOTONIC=1"}
			again := built(t, job, name+".2", filepath.Join(dir, "again", name))
			if !maps.Equal(first, again) {
				t.Errorf("the .debs of two builds are not the same:\n%v\n%v", first, again)
			}
			if a, b := buildDate(t, kept), buildDate(t, filepath.Join(dir, "again", name)); b.Sub(a) < forward {
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

// TestRealNewUsers: a user that is added to the machine while something is built takes nothing from the build.
func TestRealNewUsers(t *testing.T) {
	dir := t.TempDir()
	files := filepath.Join(dir, "etc")
	if err := os.Mkdir(files, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"subuid", "subgid"} {
		if err := os.WriteFile(filepath.Join(files, name), []byte("somebody:1:65536\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := "cat /etc/subuid && id -un && readlink -e /etc/os-release && touch begun && while [ ! -e go ]; do sleep 0.05; done && cat /etc/subuid /etc/subgid"
	var said bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- supervise(t.Context(), supervised{Args: []string{"sh", "-ec", script}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: dir, Files: files}, &said)
	}()
	for {
		if _, err := os.Stat(filepath.Join(dir, "begun")); err == nil {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("%v: %s", err, said.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	for _, name := range []string{"/etc/subuid", "/etc/subgid"} { // as useradd does
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name+".mmoci-test", data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".mmoci-test", name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const line = "somebody:1:65536\n"
	if err := <-done; err != nil || said.String() != line+"root\n/usr/lib/os-release\n"+line+line {
		t.Errorf("%v: %s", err, said.String())
	}
}

// demo writes a native source package whose build runs a shell script.
func demo(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	var data bytes.Buffer
	z := gzip.NewWriter(&data)
	w := tar.NewWriter(z)
	for name, text := range map[string]string{
		"debian/changelog":     "demo (1) unstable; urgency=medium\n\n  * First.\n\n -- A <a@example.org>  Mon, 26 Dec 2022 16:30:00 +0100\n",
		"debian/control":       "Source: demo\nMaintainer: A <a@example.org>\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\nPackage: demo\nArchitecture: any\nDescription: x\n",
		"debian/rules":         "#!/usr/bin/make -f\nclean:\nbuild build-arch build-indep binary binary-arch binary-indep:\n\tsh build.sh\n",
		"debian/source/format": "3.0 (native)\n",
		"build.sh":             script,
	} {
		mode := int64(0o644)
		if name == "debian/rules" {
			mode = 0o755
		}
		if err := w.WriteHeader(&tar.Header{Name: "demo-1/" + name, Mode: mode, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	dsc := fmt.Sprintf("Format: 3.0 (native)\nSource: demo\nBinary: demo\nArchitecture: any\nVersion: 1\nMaintainer: A <a@example.org>\nPackage-List:\n demo deb misc optional arch=any\nChecksums-Sha256:\n %x %d demo_1.tar.gz\nFiles:\n %x %d demo_1.tar.gz\n",
		sha256.Sum256(data.Bytes()), data.Len(), md5.Sum(data.Bytes()), data.Len())
	for name, data := range map[string][]byte{"demo_1.tar.gz": data.Bytes(), "demo_1.dsc": []byte(dsc)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRealHang: a build that hangs in sbuild, and left somebody running there, is ended whole when its time is over: no process is left, and
// no scratch directory.
func TestRealHang(t *testing.T) {
	a := openSnapshot(t)
	src, p := source(t, a, strings.Fields(os.Getenv("MMOCI_REAL_SOURCES"))[0])
	root, text := environment(t, a, src, p.Date())
	scratch, err := os.MkdirTemp("", "mmoci-hang-") // a directory of the test's own has parents that are closed to sbuild's root
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(scratch)
	if err := os.Chmod(scratch, 0o711); err != nil {
		t.Fatal(err)
	}
	job := Job{Identity: []byte("x"), EnvironmentText: text, Name: "demo", Version: "1", Date: p.Date(), Architecture: "amd64", What: "any", Environment: root,
		Source: demo(t, "setsid sleep 471147 &\necho it hangs now\nexec sleep 471148\n")}
	var said bytes.Buffer
	start := time.Now()
	_, err = Build(t.Context(), job, Options{Timeout: 3 * time.Minute, Dir: scratch, Log: &said}, t.TempDir())
	e, ok := errors.AsType[*Error](err)
	if !ok || !strings.Contains(e.Why, "took longer than 3m0s") || !strings.Contains(said.String(), "it hangs now") {
		t.Fatalf("%v", err)
	}
	if took := time.Since(start); took > 4*time.Minute {
		t.Errorf("it took %s to end it", took)
	}
	if found := processes(t, "sleep\x00471147", "sleep\x00471148", scratch); len(found) > 0 {
		t.Errorf("left running: %q", found)
	}
	if left, _ := os.ReadDir(scratch); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// processes are command lines that have one of these texts.
func processes(t *testing.T, texts ...string) (out []string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err == nil && slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(string(data), s) }) {
			out = append(out, string(data))
		}
	}
	return out
}
