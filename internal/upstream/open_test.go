package upstream

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	const name = "pool/main/g/g++/g++_4:12~rc1+dfsg-1%3a_ä b#?&=;'.deb"
	s := newScript(t, map[string]string{"/a b/" + name: "x"})
	u, _ := open(t, Options{URLs: []string{s.URL + "/a%20b/"}})
	if got, err := read(u, name, 1); err != nil || got != "x" {
		t.Fatalf("%q, %v", got, err)
	}
	want := "/a%20b/pool/main/g/g%2b%2b/g%2b%2b_4:12~rc1%2bdfsg-1%253a_%c3%a4%20b%23%3f%26%3d%3b%27.deb"
	if got := s.asked()[0]; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	if got, want := u.String(), s.URL+"/a%20b"; got != want {
		t.Errorf("String is %s, want %s", got, want)
	}
}

func TestPathsBelowOnly(t *testing.T) {
	t.Parallel()
	s := newScript(t, map[string]string{"/a/InRelease": "x"})
	for _, place := range []string{s.URL + "/a", t.TempDir()} {
		u, _ := open(t, Options{URLs: []string{place}})
		for _, p := range []string{"", ".", "/etc/passwd", "../x", "a/../../x", "./..", "x\x00y"} {
			if _, err := u.Open(t.Context(), p, -1); err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("%s: path %q: %v", place, p, err)
			}
		}
	}
	if n := len(s.asked()); n != 0 {
		t.Errorf("%d requests", n)
	}
	u, _ := open(t, Options{URLs: []string{s.URL + "/a"}})
	if got, err := read(u, "./InRelease", -1); err != nil || got != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestFallback holds which of several places gives a file, and what it says
// when none does.
func TestFallback(t *testing.T) {
	t.Parallel()
	full := map[string]string{"/f": body, "/g": "g"}
	for _, tt := range []struct {
		name          string
		first, second *script
		want          string
		size          int64
		served        []int64 // bytes
		says          []string
		is            error
	}{
		{name: "first", first: newScript(t, full), second: newScript(t, full), want: body, size: -1, served: []int64{100_000, 0}},
		{name: "first lacks it", first: newScript(t, nil), second: newScript(t, full), want: body, size: -1, served: []int64{0, 100_000}},
		{name: "first fails", first: newScript(t, nil, slices.Repeat([]http.HandlerFunc{status(500)}, 9)...), second: newScript(t, full), want: body, size: -1, served: []int64{0, 100_000}},
		{name: "first denies", first: newScript(t, nil, status(403)), second: newScript(t, full), want: body, size: -1, served: []int64{0, 100_000}},
		{name: "first is stale", first: newScript(t, map[string]string{"/f": "old"}), second: newScript(t, full), want: body, size: 100_000, served: []int64{0, 100_000}},
		{name: "first breaks in the middle", first: newScript(t, nil, cut(body, 30_000), status(404)), second: newScript(t, full), want: body, size: 100_000, served: []int64{30_000, 70_000}},
		{name: "none has it", first: newScript(t, nil), second: newScript(t, nil), size: -1, is: ErrNotFound, says: []string{"/f: not found upstream; and ", "/f: not found upstream"}},
		{name: "one lacks, one denies", first: newScript(t, nil), second: newScript(t, nil, status(403)), size: -1, says: []string{"not found upstream; and ", "403 Forbidden"}},
		{name: "breaks, size unknown", first: newScript(t, nil, cut(body, 30_000), status(404)), second: newScript(t, full), size: -1, says: []string{"/f: changed upstream while it was read: it is gone now"}, is: ErrChanged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u, _ := open(t, Options{URLs: []string{tt.first.URL, tt.second.URL}})
			got, err := read(u, "f", tt.size)
			if tt.says == nil {
				if err != nil || got != tt.want {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				for i, s := range u.Served() {
					if s.Bytes != tt.served[i] {
						t.Errorf("served %+v", u.Served())
					}
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("says %v, want %q", err, s)
				}
			}
			for _, e := range []error{ErrNotFound, ErrChanged} {
				if is := errors.Is(err, e); is != (tt.is == e) {
					t.Errorf("%v: %v: %v", e, is, err)
				}
			}
		})
	}
}

// TestDownPlace holds that a place that cannot be reached costs its retries once.
func TestDownPlace(t *testing.T) {
	t.Parallel()
	first := newScript(t, nil, slices.Repeat([]http.HandlerFunc{reset}, 50)...)
	second := newScript(t, map[string]string{"/f": "f"})
	u, p := open(t, Options{URLs: []string{first.URL, second.URL}})
	u.downFor = 0
	for range 3 {
		if got, err := read(u, "f", 1); err != nil || got != "f" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if n := len(p.all()); n != maxElsewhere-1 {
		t.Errorf("slept %d times", n)
	}
	first.mu.Lock()
	first.answers, first.files = nil, map[string]string{"/f": "f", "/g": "g"}
	first.mu.Unlock()
	if _, err := read(u, "f", 1); err != nil {
		t.Fatal(err)
	}
	first.mu.Lock()
	first.answers = []http.HandlerFunc{reset}
	first.mu.Unlock()
	if _, err := read(u, "g", 1); err != nil { // it answered meanwhile, so it gets its retries again
		t.Fatal(err)
	}
	if s := u.Served(); s[0].Files != 2 || s[1].Files != 3 {
		t.Errorf("served %+v", s)
	}
}

func TestByHash(t *testing.T) {
	t.Parallel()
	const hash = "ABCD"
	index := func(u *Upstream, name string) (string, error) {
		r, err := u.OpenIndex(t.Context(), name, "SHA256", hash, -1)
		if err != nil {
			return "", err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		return string(b), err
	}
	t.Run("there", func(t *testing.T) {
		s := newScript(t, map[string]string{"/d/by-hash/SHA256/abcd": "new", "/d/P": "old", "/d/Q": "q"})
		u, _ := open(t, Options{URLs: []string{s.URL}})
		if got, err := index(u, "d/P"); got != "new" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		// One that is missing by hash does not make the directory one without.
		s.mu.Lock()
		delete(s.files, "/d/by-hash/SHA256/abcd")
		s.mu.Unlock()
		for range 2 {
			if got, err := index(u, "d/Q"); got != "q" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		}
		if want := []string{"/d/by-hash/SHA256/abcd", "/d/by-hash/SHA256/abcd", "/d/Q", "/d/by-hash/SHA256/abcd", "/d/Q"}; !slices.Equal(s.asked(), want) {
			t.Errorf("asked %q", s.asked())
		}
	})
	t.Run("not there", func(t *testing.T) {
		s := newScript(t, map[string]string{"/d/P": "p", "/e/P": "p"})
		u, _ := open(t, Options{URLs: []string{s.URL}})
		for _, name := range []string{"d/absent", "d/P", "d/P", "e/P"} {
			if got, err := index(u, name); got != "p" && !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		want := []string{"/d/by-hash/SHA256/abcd", "/d/absent", "/d/by-hash/SHA256/abcd", "/d/P", "/d/P", "/e/by-hash/SHA256/abcd", "/e/P"}
		if !slices.Equal(s.asked(), want) {
			t.Errorf("asked %q", s.asked())
		}
	})
	t.Run("denied", func(t *testing.T) {
		s := newScript(t, map[string]string{"/d/P": "p"}, status(403))
		u, _ := open(t, Options{URLs: []string{s.URL}})
		if got, err := index(u, "d/P"); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%q, %v", got, err)
		}
		if len(s.asked()) != 1 {
			t.Errorf("asked %q: only not found may lead to the plain name", s.asked())
		}
	})
	t.Run("two places", func(t *testing.T) {
		a, b := newScript(t, map[string]string{"/d/P": "plain"}), newScript(t, map[string]string{"/d/by-hash/SHA256/abcd": "hashed"})
		u, _ := open(t, Options{URLs: []string{a.URL, b.URL}})
		for range 2 {
			if got, err := index(u, "d/P"); got != "plain" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		}
		if len(b.asked()) != 0 {
			t.Errorf("asked %q of the second", b.asked())
		}
	})
}

func TestGet(t *testing.T) {
	t.Parallel()
	s := newScript(t, map[string]string{"/f": body, "/empty": ""})
	u, _ := open(t, Options{URLs: []string{s.URL}})
	if got, err := u.Get(t.Context(), "f", 100_000, nil); err != nil || string(got) != body {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := u.Get(t.Context(), "empty", 0, nil); err != nil || len(got) != 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := u.Get(t.Context(), "f", 99_999, nil); err == nil || !strings.Contains(err.Error(), "/f: larger than the limit of 99999 bytes") {
		t.Errorf("got %v", err)
	}
	if _, err := u.Get(t.Context(), "g", 1, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	// The second place starts anew where the first broke off.
	bad := newScript(t, nil, append([]http.HandlerFunc{cut("InRelease of another day", 9)}, slices.Repeat([]http.HandlerFunc{status(500)}, 9)...)...)
	u, _ = open(t, Options{URLs: []string{bad.URL, s.URL}})
	if got, err := u.Get(t.Context(), "f", 1<<20, nil); err != nil || string(got) != body {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestLie holds that an announced size is no allocation.
func TestLie(t *testing.T) {
	t.Parallel()
	s := newScript(t, nil, slices.Repeat([]http.HandlerFunc{raw("HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\nx")}, 9)...)
	u, _ := open(t, Options{URLs: []string{s.URL}, Retries: 1})
	if _, err := u.Get(t.Context(), "f", 1<<40, nil); err == nil {
		t.Error("no error")
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	d := filepath.Join(root, "archive")
	for name, content := range map[string]string{"archive/dists/s/InRelease": "in", "archive/pool/a+b.deb": "deb", "secret": "secret"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"inside": "dists", "outside": "../secret", "absolute": filepath.Join(root, "secret")} {
		if err := os.Symlink(to, filepath.Join(d, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(d, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{d, d + "/", "file://" + d, "file:" + d} {
		u, _ := open(t, Options{URLs: []string{place}})
		for _, tt := range []struct {
			path, want string
			size       int64
			is         error
		}{
			{"dists/s/InRelease", "in", -1, nil},
			{"pool/a+b.deb", "deb", 3, nil},
			{"inside/s/InRelease", "in", 2, nil},
			{"dists/s/InRelease", "", 3, ErrChanged},
			{"dists/s/Release", "", -1, ErrNotFound},
			{"dists/s", "", -1, ErrNotFound},
			{"dists/s/InRelease/x", "", -1, ErrNotFound},
		} {
			got, err := read(u, tt.path, tt.size)
			if got != tt.want || !errors.Is(err, tt.is) {
				t.Errorf("%s: %s: %q, %v", place, tt.path, got, err)
			}
		}
		for _, p := range []string{"outside", "absolute", "pipe"} {
			if got, err := read(u, p, -1); err == nil || errors.Is(err, ErrNotFound) || strings.Contains(got, "secret") || p != "pipe" && !strings.Contains(err.Error(), "leads out of the directory") {
				t.Errorf("%s: %s: %q, %v", place, p, got, err)
			}
		}
		if s := u.Served()[0]; s.Files != 3 || s.Bytes != 7 {
			t.Errorf("served %+v", s)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		o    Options
		says string
	}{
		{Options{}, "without URL"},
		{Options{URLs: []string{"ftp://u:pw@h/x"}}, `ftp://***@h/x: scheme "ftp"`},
		{Options{URLs: []string{"http://u:p w@h:x/"}}, "not a URL"},
		{Options{URLs: []string{"http://h/x?token=1"}}, "no query"},
		{Options{URLs: []string{"http:///x"}}, "needs a host"},
		{Options{URLs: []string{"file://h/x"}}, "file:///DIRECTORY"},
		{Options{URLs: []string{"/does/not/exist"}}, "/does/not/exist: no such file"},
		{Options{URLs: []string{"https://h"}, CAFile: "/does/not/exist"}, "ca: open /does/not/exist"},
		{Options{URLs: []string{"https://h"}, AuthFile: "/does/not/exist"}, "auth: open /does/not/exist"},
		{Options{URLs: []string{"https://h"}, CAFile: write(t, "ca", "x")}, "no certificate in it"},
		{Options{URLs: []string{"https://h"}, ClientCert: write(t, "c", "x")}, "should hold certificate and unlocked key"},
	} {
		_, err := New(tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%v: got %v, want %q", tt.o.URLs, err, tt.says)
		}
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	s := newScript(t, map[string]string{"/pks/lookup": "key", "/gpg": "key2"})
	for path, want := range map[string]string{"/pks/lookup?op=get&search=0xAB+C": "key", "/gpg": "key2"} {
		got, err := Fetch(t.Context(), Options{AuthFile: write(t, "auth", "")}, s.URL+path, 100)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		if a := s.asked(); a[len(a)-1] != path {
			t.Errorf("asked %q", a)
		}
	}
	for _, bad := range []string{"/gpg", "ftp://h/x", "http://h/", "http://h", "http://u:pw@/x"} {
		if _, err := Fetch(t.Context(), Options{}, bad, 100); err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
