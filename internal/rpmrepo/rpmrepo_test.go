package rpmrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/mmoci/internal/config/rpmplan"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

var (
	day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	now = day.Add(48 * time.Hour)
)

// publish writes a repository of one package, a.rpm, whose list of packages has a name of its own each time.
func publish(t *testing.T, dir, list, body string, date time.Time) {
	t.Helper()
	sum := func(s string) string { return snapshot.Sum([]byte(s)).Hex() }
	primary := fmt.Sprintf(`<metadata xmlns="http://linux.duke.edu/metadata/common"><package type="rpm"><name>a</name><arch>noarch</arch><version ver="1" rel="1"/>`+
		`<checksum type="sha256">%s</checksum><size package="%d"/><location href="a.rpm"/></package></metadata>`, sum(body), len(body))
	repomd := fmt.Sprintf(`<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary"><checksum type="sha256">%s</checksum>`+
		`<location href="repodata/%s.xml"/><timestamp>%d</timestamp><size>%d</size></data></repomd>`, sum(primary), list, date.Unix(), len(primary))
	write(t, dir, "a.rpm", body)
	write(t, dir, "repodata/"+list+".xml", primary)
	write(t, dir, "repodata/repomd.xml", repomd)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func options(t *testing.T) Options {
	return Options{Now: now, Log: t.Logf, Sleep: func(context.Context, time.Duration) error { return nil }}
}

// body reads the package of an archive.
func body(t *testing.T, a *freeze.ReadyArchive) (string, error) {
	t.Helper()
	for _, row := range a.Rows {
		if row.IsPackage() {
			c, err := a.Blobs.Open(t.Context(), row.Blob(), 0)
			if err != nil {
				return "", err
			}
			defer c.R.Close()
			text, err := io.ReadAll(c.R)
			return string(text), err
		}
	}
	t.Fatal("no package")
	return "", nil
}

// An upstream that publishes while it is read is read anew: the list of packages of yesterday's repomd.xml is gone by then.
func TestMovingUpstream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	publish(t, dir, "one", "first", day)
	remove(t, dir, "repodata/one.xml")
	a := &rpmplan.Archive{Prefix: "up", URLs: []string{dir}}
	if _, err := Read(t.Context(), a, options(t)); !freeze.UpstreamsFault(err) {
		t.Errorf("an upstream that lacks its list of packages, and stays so: %v", err)
	}
	// The next day comes when the list is asked for.
	web := http.FileServer(http.Dir(dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/repodata/one.xml" {
			publish(t, dir, "two", "second", day.Add(time.Hour))
		}
		web.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	a.URLs = []string{server.URL}
	ready, err := Read(t.Context(), a, options(t))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := body(t, ready); text != "second" || err != nil || !ready.Newest.Equal(day.Add(time.Hour)) {
		t.Errorf("%q of %s, %v", text, ready.Newest, err)
	}
	if moved, err := ready.Moved(t.Context()); moved || err != nil {
		t.Errorf("it did not move: %v, %v", moved, err)
	}
	publish(t, dir, "three", "third", day.Add(2*time.Hour))
	if moved, err := ready.Moved(t.Context()); !moved || err != nil {
		t.Errorf("it moved: %v, %v", moved, err)
	}
}

// A file that upstream has lost is named when it is asked for; a list of packages with other bytes is a mismatch, as is a date ahead of the clock.
func TestWrongUpstream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := &rpmplan.Archive{Prefix: "up", URLs: []string{dir}}
	publish(t, dir, "one", "first", day)
	ready, err := Read(t.Context(), a, options(t))
	if err != nil {
		t.Fatal(err)
	}
	remove(t, dir, "a.rpm")
	if text, err := body(t, ready); err == nil || !strings.Contains(err.Error(), "a.rpm") {
		t.Errorf("a lost package: %q, %v", text, err)
	}
	write(t, dir, "a.rpm", "first and more")
	if text, err := body(t, ready); err == nil && text == "first" {
		t.Error("a package that was replaced is as it was")
	}
	list, err := os.ReadFile(filepath.Join(dir, "repodata/one.xml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "repodata/one.xml", strings.Replace(string(list), ">a<", ">b<", 1))
	if _, err := Read(t.Context(), a, options(t)); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "archive up: repodata/one.xml") {
		t.Errorf("a list of packages with another byte: %v", err)
	}
	for date, good := range map[time.Time]bool{now.Add(time.Hour): true, now.Add(25 * time.Hour): false, now.AddDate(80, 0, 0): false} {
		publish(t, dir, "one", "first", date)
		if _, err := Read(t.Context(), a, options(t)); (err == nil) != good || !good && !errors.Is(err, outcome.ErrIntegrity) {
			t.Errorf("of %s, at %s: %v", date, now, err)
		}
	}
	publish(t, dir, "one", "first", time.Unix(0, 0))
	if _, err := Read(t.Context(), a, options(t)); !errors.Is(err, outcome.ErrIntegrity) {
		t.Errorf("without a date: %v", err)
	}
}

// Whether own RPMs can be pushed is known before: they are there, and so is the program that lists them.
func TestProbeOfOwn(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	t.Setenv("PATH", bin)
	a := &rpmplan.Archive{Prefix: "own", RPMs: dir}
	if _, _, err := Probe(t.Context(), a, options(t)); err == nil || !strings.Contains(err.Error(), "no .rpm is in it") {
		t.Errorf("without RPMs: %v", err)
	}
	write(t, dir, "a.rpm", "x")
	if _, _, err := Probe(t.Context(), a, options(t)); err == nil || !strings.Contains(err.Error(), "createrepo_c makes the metadata, and is not installed") {
		t.Errorf("without the program: %v", err)
	}
	if err := os.WriteFile(filepath.Join(bin, "createrepo_c"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if text, _, err := Probe(t.Context(), a, options(t)); err != nil || text != "1 RPM, and createrepo_c is here" {
		t.Errorf("%q, %v", text, err)
	}
}

// An upstream that fails between repomd.xml and its signature is no mismatch; one that has another repomd.xml by then is.
func TestFailsAfterSignature(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	publish(t, dir, "one", "first", day)
	write(t, dir, "repodata/repomd.xml.asc", "of a key that nobody gave")
	web := http.FileServer(http.Dir(dir))
	for _, another := range []bool{false, true} {
		signed := false
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch last := signed && strings.HasSuffix(r.URL.Path, ".xml"); {
			case last && another:
				fmt.Fprint(w, "<repomd/>")
			case last:
				w.WriteHeader(http.StatusForbidden)
			default:
				web.ServeHTTP(w, r)
			}
			signed = strings.HasSuffix(r.URL.Path, ".asc")
		}))
		t.Cleanup(server.Close)
		_, err := Read(t.Context(), &rpmplan.Archive{Prefix: "up", URLs: []string{server.URL}}, options(t))
		if err == nil || errors.Is(err, outcome.ErrIntegrity) != another || strings.Contains(err.Error(), "\n") {
			t.Errorf("another repomd.xml %t: %v", another, err)
		}
	}
}

// Own RPMs: what is no directory, and what is empty, is told before anything is run.
func TestNoRPMs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, ".hidden/a.rpm", "x")
	write(t, dir, "repodata/a.rpm", "x")
	for rpms, want := range map[string]string{dir: "no .rpm is in it", filepath.Join(dir, "none"): "no such file"} {
		if _, err := Read(t.Context(), &rpmplan.Archive{Prefix: "own", RPMs: rpms}, options(t)); !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", rpms, err)
		}
	}
	pipe := filepath.Join(dir, "pipe.rpm")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(t.Context(), &rpmplan.Archive{Prefix: "own", RPMs: dir}, options(t)); !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), "pipe.rpm is no file") {
		t.Errorf("a pipe: %v", err)
	}
	remove(t, dir, "pipe.rpm")
	write(t, dir, "a%20b.rpm", "x")
	if _, err := Read(t.Context(), &rpmplan.Archive{Prefix: "own", RPMs: dir}, options(t)); !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), "rename the file") {
		t.Errorf("a name with two spellings: %v", err)
	}
}
