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
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/config/rpmplan"
	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/snapshot"
)

// sign signs the repomd.xml of a repository, and says where the key is.
func sign(t *testing.T, dir string, key *testarchive.Key, at time.Time) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "repodata/repomd.xml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "repodata/repomd.xml.asc", string(key.Detach(t, text, at)))
	file := filepath.Join(t.TempDir(), "key.asc")
	if err := os.WriteFile(file, key.Public(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// serveDir serves a directory; hits counts the requests.
func serveDir(t *testing.T, dir string) (url string, hits *atomic.Int64) {
	t.Helper()
	hits = &atomic.Int64{}
	files := http.FileServer(http.Dir(dir))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, hits
}

// Of several places the first is taken whose repomd.xml and signature fit each other, whatever is wrong with those before it; its
// files are asked for there, and what it lacks of the next.
func TestPlaces(t *testing.T) {
	t.Parallel()
	key, other := testarchive.NewKey("Upstream"), testarchive.NewKey("Another")
	good := t.TempDir()
	publish(t, good, "one", "first", day)
	keyFile := sign(t, good, key, day)
	goodURL, _ := serveDir(t, good)
	for name, spoil := range map[string]func(dir string){
		"empty":          func(string) {},
		"unsigned":       func(dir string) { publish(t, dir, "two", "second", day.Add(time.Hour)) },
		"of another key": func(dir string) { publish(t, dir, "two", "second", day.Add(time.Hour)); sign(t, dir, other, day) },
		"between two days": func(dir string) {
			publish(t, dir, "one", "first", day)
			sign(t, dir, key, day)
			publish(t, dir, "two", "second", day.Add(time.Hour))
		},
		"no XML": func(dir string) {
			write(t, dir, "repodata/repomd.xml", "<html>503</html>")
			sign(t, dir, key, day)
		},
		"ahead of the clock": func(dir string) {
			publish(t, dir, "two", "second", now.AddDate(1, 0, 0))
			sign(t, dir, key, now.AddDate(1, 0, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			spoil(dir)
			url, hits := serveDir(t, dir)
			o := options(t)
			o.Record = true
			a := &rpmplan.Archive{Prefix: "up", URLs: []string{url, goodURL}, SignedBy: keyFile}
			ready, err := Read(t.Context(), a, o)
			if err != nil {
				t.Fatal(err)
			}
			asked := hits.Load()
			if text, err := body(t, ready); text != "first" || err != nil {
				t.Errorf("%q, %v", text, err)
			}
			if hits.Load() != asked {
				t.Error("the wrong place was asked for a package, though the right one is known")
			}
			if files := ready.Fetched(); len(files) != 1 || files[0].Kind != fetchreport.Upstream || files[0].From != goodURL || files[0].Tries != 1 {
				t.Errorf("%+v", files)
			}
		})
	}
	// With none that is right, the mismatch is told, not the place that is gone.
	bad := t.TempDir()
	publish(t, bad, "two", "second", day)
	sign(t, bad, other, day)
	_, err := Read(t.Context(), &rpmplan.Archive{Prefix: "up", URLs: []string{t.TempDir(), bad}, SignedBy: keyFile}, options(t))
	if !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "no good signature") || !strings.HasSuffix(err.Error(), "; 1 other place failed, too") {
		t.Error(err)
	}
	_, err = Read(t.Context(), &rpmplan.Archive{Prefix: "up", URLs: []string{t.TempDir(), t.TempDir()}, SignedBy: keyFile}, options(t))
	if !errors.Is(err, outcome.ErrNotFound) || errors.Is(err, outcome.ErrIntegrity) {
		t.Error(err)
	}
}

// A metalink is read anew where no place has what it knows: it may be of the day before. A place that is no URL is passed over.
func TestMetalinkOfYesterday(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	publish(t, dir, "one", "first", day)
	url, _ := serveDir(t, dir)
	link := filepath.Join(t.TempDir(), "metalink")
	write := func() {
		text, err := os.ReadFile(filepath.Join(dir, "repodata/repomd.xml"))
		if err != nil {
			t.Fatal(err)
		}
		metalink := fmt.Sprintf(`<metalink xmlns="http://www.metalinker.org/"><files><file name="repomd.xml"><verification><hash type="sha256">%s</hash></verification>`+
			`<resources><url preference="100">http://{HOST}:x/repodata/repomd.xml</url><url preference="50">%s/repodata/repomd.xml</url></resources></file></files></metalink>`, snapshot.Sum(text).Hex(), url)
		if err := os.WriteFile(link, []byte(metalink), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	publish(t, dir, "two", "second", day.Add(time.Hour))
	nothing := httptest.NewServer(http.NotFoundHandler())
	defer nothing.Close()
	if _, err := Read(t.Context(), &rpmplan.Archive{Prefix: "up", Metalink: nothing.URL + "/metalink"}, options(t)); !errors.Is(err, outcome.ErrNotFound) {
		t.Errorf("a metalink that is not there: %v", err)
	}
	a := &rpmplan.Archive{Prefix: "up", Metalink: link}
	if _, err := Read(t.Context(), a, options(t)); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "none that the metalink knows") {
		t.Errorf("a repomd.xml that the metalink does not know, and stays so: %v", err)
	}
	o := options(t)
	o.Record = true
	o.Sleep = func(context.Context, time.Duration) error { write(); return nil }
	ready, err := Read(t.Context(), a, o)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := body(t, ready); text != "second" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if f := ready.Fetched(); f[0].Kind != fetchreport.Mirror || f[0].From != url {
		t.Errorf("%+v", f)
	}
}

// Another size than the signed metadata says is a mismatch, wherever it shows, if repomd.xml stays as it is.
func TestOtherSizes(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"repodata/one.xml", "a.rpm"} {
		dir := t.TempDir()
		publish(t, dir, "one", "first", day)
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, file, string(text)+" ")
		ready, err := Read(t.Context(), &rpmplan.Archive{Prefix: "up", URLs: []string{dir}}, options(t))
		if err == nil {
			_, err = body(t, ready)
		}
		if !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// withSHA1 makes the list of packages one that has SHA-1 alone, of a package that is there and one that is not.
func withSHA1(t *testing.T, dir string) {
	t.Helper()
	entry := func(name, sum string) string {
		return fmt.Sprintf(`<package type="rpm"><name>%s</name><arch>noarch</arch><version ver="1" rel="1"/><checksum type="sha">%s</checksum><location href="%s.rpm"/></package>`, name, sum, name)
	}
	primary := `<metadata xmlns="http://linux.duke.edu/metadata/common">` + entry("a", "e0996a37c13d44c3b06074939d43fa3759bd32c1") + entry("gone", strings.Repeat("0", 40)) + `</metadata>`
	write(t, dir, "repodata/one.xml", primary)
	write(t, dir, "repodata/repomd.xml", fmt.Sprintf(`<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary"><checksum type="sha256">%s</checksum>`+
		`<location href="repodata/one.xml"/><timestamp>%d</timestamp></data></repomd>`, snapshot.Sum([]byte(primary)).Hex(), day.Unix()))
}

// What must be read to know its digest, and is not there, ends a push, unless that goes on: then it is named, and the rest is there.
func TestKeepGoing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	publish(t, dir, "one", "first", day)
	withSHA1(t, dir)
	a := &rpmplan.Archive{Prefix: "up", URLs: []string{dir}}
	if _, err := Read(t.Context(), a, options(t)); err == nil || !strings.Contains(err.Error(), "gone.rpm") {
		t.Errorf("a package that is gone: %v", err)
	}
	o := options(t)
	o.KeepGoing = true
	ready, err := Read(t.Context(), a, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(ready.Missing) != 1 || !strings.HasPrefix(ready.Missing[0], "up gone 1-1 noarch: listed, but ") {
		t.Errorf("missing: %q", ready.Missing)
	}
	if text, err := body(t, ready); text != "first" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if slices.ContainsFunc(ready.Rows, func(r snapshot.Row) bool { return r.Name == "gone" || r.Digest.IsZero() }) {
		t.Errorf("%+v", ready.Rows)
	}
	write(t, dir, "gone.rpm", "other bytes") // wrong is not missing
	if _, err := Read(t.Context(), a, o); !errors.Is(err, outcome.ErrIntegrity) {
		t.Errorf("a package of other bytes: %v", err)
	}
}

// An own RPM that somebody writes to while it is pushed is named with what to do; it is no mismatch of a signature.
func TestOwnChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.rpm")
	write(t, dir, "a.rpm", "first")
	was, err := copyFile(file, filepath.Join(t.TempDir(), "copy"))
	if err != nil || was.digest != snapshot.Sum([]byte("first")) {
		t.Fatal(err)
	}
	read := func() (string, error) {
		r, err := was.open(file)
		if err != nil {
			return "", err
		}
		defer r.Close()
		text, err := io.ReadAll(r)
		return string(text), err
	}
	if text, err := read(); text != "first" || err != nil {
		t.Fatalf("%q, %v", text, err)
	}
	r, err := was.open(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a.rpm", "first, and more")
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "changed while it was pushed") {
		t.Errorf("while it is read: %v", err)
	}
	r.Close()
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "a.rpm changed while it was pushed: 5 bytes of ") || errors.Is(err, outcome.ErrIntegrity) {
		t.Errorf("before it is read: %v", err)
	}
	write(t, dir, "a.rpm", "other")
	if err := os.Chtimes(file, day, day); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "a.rpm changed while it was pushed") {
		t.Errorf("of the same size: %v", err)
	}
	// With the same time it shows by its digest, and what to do is said then, too.
	if err := os.Chtimes(file, was.stat.ModTime(), was.stat.ModTime()); err != nil {
		t.Fatal(err)
	}
	blob := snapshot.BlobOf([]byte("first"))
	c, err := blobs{blob.Digest: func(context.Context) (io.ReadCloser, error) { return was.open(file) }}.Open(t.Context(), blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	sure := c.Reader(blob)
	if _, err := io.ReadAll(sure); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "a.rpm is another file than it was when its metadata was made; push again") {
		t.Errorf("of the same size and time: %v", err)
	}
	sure.Close()
	remove(t, dir, "a.rpm")
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "a.rpm went away while it was pushed") {
		t.Errorf("gone: %v", err)
	}
}
