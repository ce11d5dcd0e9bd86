//go:build real

package builder

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

// TestRealSources builds the sources that MMOCI_REAL_SOURCES names, and keeps what came of it in MMOCI_REAL_DIR.
func TestRealSources(t *testing.T) {
	a := openSnapshot(t)
	for _, name := range strings.Fields(os.Getenv("MMOCI_REAL_SOURCES")) {
		src, p := source(t, a, name)
		dir, out := t.TempDir(), t.TempDir()
		if _, err := p.Write(dir); err != nil {
			t.Fatal(err)
		}
		tar, text := environment(t, a, src, p.Date())
		log, err := os.Create(filepath.Join(os.Getenv("MMOCI_REAL_DIR"), name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		r, err := Build(t.Context(), Job{Identity: []byte("x"), EnvironmentText: text, Name: p.Name, Version: p.Version, Date: p.Date(), Architecture: "amd64", What: "any+all", Environment: tar, Source: dir}, Options{Log: log}, out)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.0f s", name, time.Since(start).Seconds())
		for _, f := range r.Files {
			b, _ := os.ReadFile(filepath.Join(out, f))
			t.Logf("%x %s", sha256.Sum256(b), f)
			os.MkdirAll(filepath.Join(os.Getenv("MMOCI_REAL_DIR"), "built"), 0o755)
			os.WriteFile(filepath.Join(os.Getenv("MMOCI_REAL_DIR"), "built", f), b, 0o644)
		}
	}
}
