package fileset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/fileplan"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/sums"
	"example.org/mmoci/pkg/snapshot"
)

// server serves files with ranges, and remembers what it was asked for.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	asked []string
}

func serve(t *testing.T, files map[string][]byte) *server {
	t.Helper()
	s := &server{files: files}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		data, ok := s.files[r.URL.Path]
		s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
		s.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"`+snapshot.Sum(data).Hex()+`"`)
		var start int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(data)-1, len(data)))
			w.Header().Set("Content-Length", fmt.Sprint(len(data)-start))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		}
		if r.Method == http.MethodGet {
			_, _ = w.Write(data[start:])
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.asked
	s.asked = nil
	return out
}

// options reads an entry of a configuration.
func options(t *testing.T, state, entry string) Options {
	t.Helper()
	docs, err := document.Parse("mmoci.yaml", []byte("prefix: files\nformat: files\n"+entry))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := fileplan.Reader{File: func(s string) string { return s }}.Read(docs[0])
	if err != nil {
		t.Fatal(err)
	}
	plan.AuthFile = filepath.Join(state, "auth")
	if err := os.WriteFile(plan.AuthFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return Options{Plan: plan, Dir: func() (string, error) { return state, nil }, Log: t.Logf}
}

func entry(digest, path string, urls ...string) string {
	return fmt.Sprintf("files: [{path: %s, sha256: '%s', url: ['%s']}]\n", path, digest, strings.Join(urls, "', '"))
}

func random(seed uint64, n int) []byte {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = r.Read(data)
	return data
}

// content reads a blob as a push does: anew as long as another place may have it.
func content(ctx context.Context, a *freeze.ReadyArchive, b snapshot.Blob, limit int64) ([]byte, error) {
	for {
		c, err := a.Blobs.Open(ctx, b, 0)
		if err != nil {
			return nil, err
		}
		again := false
		wrong := c.Wrong
		c.Wrong = func(why error) bool { again = wrong(why); return again }
		r := c.Reader(b)
		data, err := io.ReadAll(io.LimitReader(r, limit))
		r.Close()
		if err == nil || !again {
			return data, err
		}
	}
}

// TestGoesOn: what came of a long file is not asked for again, and is not believed.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	data := random(1, keepFrom+123_456)
	blob := snapshot.BlobOf(data)
	s := serve(t, map[string][]byte{"/x.iso": data})
	o := options(t, t.TempDir(), entry(blob.Digest.Hex(), "x.iso", s.URL+"/x.iso"))
	a, err := Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	const came = 5_000_000
	if _, err := content(t.Context(), a, blob, came); err != nil { // and then the process ends
		t.Fatal(err)
	}
	part := filepath.Join(must(o.Dir()), "files", partOf(blob.Digest))
	fi, err := os.Stat(part)
	if err != nil || fi.Size() < came {
		t.Fatalf("%v, %v: nothing is kept", fi, err)
	}
	s.requests()
	if a, err = Read(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got, err := content(t.Context(), a, blob, blob.Size+1)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	want := fmt.Sprintf("GET /x.iso bytes=%d-", fi.Size())
	if asked := s.requests(); asked[len(asked)-1] != want {
		t.Errorf("asked %q, want %s", asked, want)
	}

	// A part that is damaged shows by the digest, and the file is read anew.
	if err := os.WriteFile(part, append([]byte("damaged"), data[:came]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err = content(t.Context(), a, blob, blob.Size+1); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("after damage: %d bytes, %v", len(got), err)
	}
	a.Done()
	if _, err := os.Stat(part); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("kept when all was done: %v", err)
	}
}

// TestPlaces: whatever a place fails by, the next one gives the file, under another name and with a query, too.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, keepFrom + 1} {
		data := random(2, size)
		wrong := bytes.Clone(data)
		wrong[size/2] ^= 1
		blob := snapshot.BlobOf(data)
		s := serve(t, map[string][]byte{"/wrong.tgz": wrong, "/right-2.tar.gz": data})
		o := options(t, t.TempDir(), entry(blob.Digest.Hex(), "a/b.tgz", s.URL+"/gone.tgz", s.URL+"/wrong.tgz", s.URL+"/right-2.tar.gz?token=secret"))
		a, err := Read(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := content(t.Context(), a, blob, blob.Size+1); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		from := a.Fetched()
		if len(from) != 1 || from[0].From != s.URL+"/right-2.tar.gz" || len(from[0].Failures) != 2 {
			t.Errorf("%+v", from)
		}
		a.Done()
		s.mu.Lock()
		s.files["/right-2.tar.gz"] = wrong
		s.mu.Unlock()
		if _, err := content(t.Context(), a, blob, blob.Size+1); !errors.Is(err, outcome.ErrIntegrity) {
			t.Errorf("wrong everywhere: %v", err)
		}
	}
}

// TestNobodyThere: a place that does not answer is waited for by the first files of a list, and not by all of them; what is
// missing where it answers is told of each file.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	s, strange := serve(t, nil), httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(strange.Close)
	strange.Config.ErrorLog = log.New(io.Discard, "", 0) // it speaks of bad certificates
	for place, want := range map[string]string{strange.URL: "certificate not trusted", s.URL: "and 63 files more"} {
		var list strings.Builder
		for i := range 64 {
			fmt.Fprintf(&list, "- {path: f%d, sha256: '%s', url: '%s/f%d'}\n", i, strings.Repeat("ab", 32), place, i)
		}
		o := options(t, t.TempDir(), "files:\n"+list.String())
		if _, _, err := Probe(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("probe: %v", err)
		}
		_, err := Read(t.Context(), o)
		if n := strings.Count(fmt.Sprint(err), "\n") + 1; err == nil || place != s.URL && n > 8 || place == s.URL && n != 64 {
			t.Errorf("read: %d lines, %v", n, err)
		}
	}
}

// TestSecrets: what an address has beside host and path, which may be a token, is in no message, and not in the lock, which is public.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string][]byte{"/x": []byte("one")})
	o := options(t, t.TempDir(), entry("-", "x", strings.Replace(s.URL, "//", "//user:secret@", 1)+"/x?token=secret"))
	a, err := Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	o.Lock = &config.Lock{Date: time.Unix(1e9, 0).UTC(), Archives: []config.LockArchive{a.Locked}}
	if text := string(o.Lock.Format()); strings.Contains(text, "secret") || !strings.Contains(text, s.URL+"/x\n") {
		t.Errorf("lock: %s", text)
	}
	s.mu.Lock()
	s.files["/x"] = []byte("another")
	s.mu.Unlock()
	_, changed := Read(t.Context(), o)
	r := &reader{set: &set{}}
	list := &fileplan.Sums{Take: []string{"*.iso"}}
	list.URLs = []string{"https://user:secret@up.example.org/SHA256SUMS?token=secret"}
	_, none := r.taken(list, nil)
	list.Take = []string{"*"}
	_, invalid := r.taken(list, []sums.Line{{Name: "../x"}})
	for what, err := range map[string]error{"another file": changed, "a glob that fits nothing": none, "an invalid path": invalid} {
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestUnpinned: a digest that only the lock has is learned once, and a change is refused.
func TestUnpinned(t *testing.T) {
	t.Parallel()
	data := random(3, 2000)
	s := serve(t, map[string][]byte{"/x": data})
	o := options(t, t.TempDir(), entry("-", "x", s.URL+"/x"))
	a, err := Read(t.Context(), o)
	if err != nil || a.Rows[0].Digest != snapshot.Sum(data) {
		t.Fatalf("%+v, %v", a, err)
	}
	o.Lock = &config.Lock{Archives: []config.LockArchive{a.Locked}}
	s.requests()
	if _, err := Read(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if asked := s.requests(); len(asked) != 1 || !strings.HasPrefix(asked[0], "HEAD ") {
		t.Errorf("the same file was asked for by %q", asked)
	}
	s.mu.Lock()
	s.files["/x"] = random(4, 2000)
	s.mu.Unlock()
	if _, err := Read(t.Context(), o); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), snapshot.Sum(data).String()) {
		t.Errorf("changed: %v", err)
	}
	o.KeepGoing = true // a contradiction is no missing file
	if _, err := Read(t.Context(), o); !errors.Is(err, outcome.ErrIntegrity) {
		t.Errorf("changed, going on: %v", err)
	}
	s.mu.Lock()
	delete(s.files, "/x")
	s.mu.Unlock()
	o.Lock = nil
	if a, err := Read(t.Context(), o); err != nil || len(a.Missing) != 1 || len(a.Rows) != 0 {
		t.Errorf("gone, going on: %+v, %v", a, err)
	}
	o.KeepGoing = false
	if _, err := Read(t.Context(), o); !errors.Is(err, outcome.ErrNotFound) {
		t.Errorf("gone: %v", err)
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// A list of upstream's may name what the site writes itself, or what no directory holds: that is said, before the push.
func TestTakenNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"SHA256SUMS", "SHA256SUMS.asc", "./SHA256SUMS", "SHA256SUMS/x", "../x", "a b", "sub/.mmoci-tmp-x"} {
		s := &fileplan.Sums{Place: fileplan.Place{URLs: []string{"https://example.org/SHA256SUMS"}}, Take: []string{"*"}}
		r := &reader{set: &set{}}
		if files, err := r.taken(s, []sums.Line{{Name: name, Number: 7}}); !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), "line 7") {
			t.Errorf("%s: %v, %v", name, files, err)
		}
		if s.Dir = "sub"; strings.HasPrefix(name, "SHA256SUMS") {
			if files, err := r.taken(s, []sums.Line{{Name: name, Number: 7}}); err != nil || len(files) != 1 {
				t.Errorf("%s in a directory: %v, %v", name, files, err)
			}
		}
	}
}

// A list may have a name in two spellings.
func TestTakenOnce(t *testing.T) {
	t.Parallel()
	s := &fileplan.Sums{Place: fileplan.Place{URLs: []string{"https://example.org/SHA256SUMS"}}, Take: []string{"*"}}
	r := &reader{set: &set{}}
	lines := []sums.Line{{Name: "x.iso", Digest: [32]byte{1}}, {Name: "./x.iso", Digest: [32]byte{1}}}
	if files, err := r.taken(s, lines); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
	lines[1].Digest[0] = 2
	files, err := r.taken(s, lines)
	if err == nil {
		err = distinct(files)
	}
	if !errors.Is(err, outcome.ErrUsage) {
		t.Errorf("with two digests: %v", err)
	}
}

// A file that is not there is named as its address is, not as it would be called here.
func TestNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options(t, t.TempDir(), entry("-", "here", "file://"+dir+"/there"))
	if _, err := Read(t.Context(), o); !errors.Is(err, outcome.ErrNotFound) || !strings.Contains(err.Error(), dir+"/there:") {
		t.Error(err)
	}
}

// hashing counts the bytes that reading a blob as a push does has to hash, and returns what was read.
func hashing(t *testing.T, a *freeze.ReadyArchive, b snapshot.Blob) (data []byte, hashed int) {
	t.Helper()
	c, err := a.Blobs.Open(t.Context(), b, 0)
	if err != nil {
		t.Fatal(err)
	}
	if c.File != nil {
		defer c.R.Close()
		data, err = io.ReadAll(c.R)
	} else {
		c.R = counted{c.R, &hashed}
		r := c.Reader(b)
		defer r.Close()
		data, err = io.ReadAll(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data, hashed
}

type counted struct {
	io.ReadCloser
	n *int
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	*c.n += n
	return n, err
}

// TestOnePass: a file that had to be read to learn its digest is not hashed again to be pushed, whatever its length;
// one that somebody changed meanwhile is, and is never taken for the right one.
func TestOnePass(t *testing.T) {
	t.Parallel()
	for _, size := range []int{2000, keepFrom + 1} {
		data := random(5, size)
		blob := snapshot.BlobOf(data)
		s := serve(t, map[string][]byte{"/x": data})
		o := options(t, t.TempDir(), entry("-", "x", s.URL+"/x"))
		a, err := Read(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // a registry may ask for it twice
			got, hashed := hashing(t, a, blob)
			if hashed != 0 || !bytes.Equal(got, data) {
				t.Errorf("%d bytes: %d of them were hashed again, %d came", size, hashed, len(got))
			}
		}
		gets := 0
		for _, asked := range s.requests() {
			if strings.HasPrefix(asked, "GET ") {
				gets++
			}
		}
		if gets != 1 {
			t.Errorf("%d bytes: read %d times from its place", size, gets)
		}

		// At once, within the same tick of the clock that files are stamped by.
		part := filepath.Join(must(o.Dir()), "files", partOf(blob.Digest))
		f, err := os.OpenFile(part, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt([]byte{data[7] ^ 1}, 7)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		if c, err := a.Blobs.Open(t.Context(), blob, 0); err != nil || c.File != nil {
			t.Errorf("%d bytes: a part that was changed is believed, %v", size, err)
		} else {
			c.R.Close()
		}
		if got, err := content(t.Context(), a, blob, blob.Size+1); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: after a change %d bytes, %v", size, len(got), err)
		}
	}
}

// What changed in the very moment in which a part was remembered shows, too.
func TestChangedWithinATick(t *testing.T) {
	t.Parallel()
	k, err := openKeep(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data := random(6, 100)
	blob := snapshot.BlobOf(data)
	for range 200 {
		f := k.part(partOf(blob.Digest))
		if f == nil {
			t.Fatal("no part")
		}
		if _, err := f.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
		k.wasHashed(blob.Digest, f)
		if fi, err := f.Stat(); err != nil || time.Since(fi.ModTime()) < 30*time.Second {
			t.Fatalf("%v, %v: a kernel with a coarse clock could give the next write this time, too", fi, err)
		}
		if _, err := f.WriteAt([]byte{data[3] ^ 1}, 3); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if whole := k.whole(blob); whole != nil {
			whole.Close()
			t.Fatal("other bytes are taken for those that were hashed")
		}
	}
}
