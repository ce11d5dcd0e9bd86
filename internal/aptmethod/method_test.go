package aptmethod

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// apt is the other side of a method that runs.
type apt struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *bufio.Reader
	done chan error
	user string // that the method was told to become
}

// start starts a method below a root directory and sends it a configuration.
func start(t *testing.T, root string, items ...string) *apt {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	a := &apt{t: t, in: inW, out: bufio.NewReader(outR), done: make(chan error, 1)}
	go func() {
		err := Run(t.Context(), Options{Stdin: inR, Stdout: outW, Root: root, Drop: func(user string) error { a.user = user; return nil }})
		outW.Close()
		a.done <- err
	}()
	if m := a.next(); m.code != codeCapabilities || m.get("Send-Config") != "true" || m.get("Pipeline") != "true" {
		t.Fatalf("%+v", m)
	}
	a.say("601 Configuration\nConfig-Item: APT::Sandbox::User=_apt\n")
	for _, item := range items {
		a.say("Config-Item: " + item + "\n")
	}
	a.say("\n")
	return a
}

func (a *apt) say(text string) { io.WriteString(a.in, text) }

func (a *apt) next() *message {
	a.t.Helper()
	m, err := readMessage(a.out)
	if err != nil {
		a.t.Fatal(err)
	}
	return m
}

// get asks for a file and returns the last answer.
func (a *apt) get(uri, filename string, fields ...string) *message {
	a.t.Helper()
	a.say("600 URI Acquire\nURI: " + uri + "\nFilename: " + filename + "\n" + strings.Join(append(fields, ""), "\n") + "\n")
	for {
		if m := a.next(); m.code != codeStart {
			if m.get("URI") != uri {
				a.t.Fatalf("asked for %s: %+v", uri, m)
			}
			return m
		}
	}
}

func (a *apt) end() {
	a.in.Close()
	if err := <-a.done; err != nil {
		a.t.Error(err)
	}
}

// pushed is a snapshot at a registry, with the URI that its files are below.
func pushed(t *testing.T, o testregistry.Options) (*testregistry.Registry, *snapshot.Snapshot, string) {
	t.Helper()
	r := testregistry.New(t, o)
	s := world.Freeze(t, world.Good())
	name := strings.TrimPrefix(r.URL, "http://") + "/site/mirror:t"
	ref, err := artifact.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := artifact.Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Push(t.Context(), ref, artifact.PushOptions{Options: artifact.Options{Anonymous: !o.Basic && !o.Bearer}}); err != nil {
		t.Fatal(err)
	}
	return r, s, "oci+http://" + name + "/"
}

func expected(row snapshot.Row) []string {
	return []string{"Expected-SHA256: " + row.Digest.String()[7:], fmt.Sprintf("Expected-Checksum-FileSize: %d", row.Size)}
}

// TestRequestsOfUpdate: an update reads root, core and statement once, then what it is about; of a tag that did not move
// these three alone. The table, which grows with the snapshot, is not read.
func TestRequestsOfUpdate(t *testing.T) {
	r, s, base := pushed(t, testregistry.Options{})
	var releases, indices []snapshot.Row
	for row := range s.Table.Rows() {
		switch {
		case strings.HasPrefix(row.Path, "upstream/"):
		case strings.HasSuffix(row.Path, "/InRelease"):
			releases = append(releases, row)
		case strings.Contains(row.Path, "/Packages."):
			indices = append(indices, row)
		}
	}
	if len(releases) < 3 || len(indices) < 2 {
		t.Fatalf("%d signature files, %d indices", len(releases), len(indices))
	}
	dir := t.TempDir()
	since := map[string]string{}
	for _, again := range []bool{false, true} {
		r.Requests()
		a := start(t, t.TempDir())
		files := 0
		for i, row := range releases {
			fields := []string{"Last-Modified: " + since[row.Path]}
			m := a.get(base+row.Path, filepath.Join(dir, fmt.Sprint("r", i)), fields...)
			if m.code != codeDone || (m.get("IMS-Hit") == "true") != again {
				t.Fatalf("%s: %+v", row.Path, m)
			}
			since[row.Path] = m.get("Last-Modified")
			files++
		}
		for i, row := range indices {
			if again {
				files = 0
				break
			}
			if m := a.get(base+row.Path, filepath.Join(dir, fmt.Sprint("i", i)), expected(row)...); m.code != codeDone {
				t.Fatalf("%s: %+v", row.Path, m)
			}
			files++
		}
		a.end()
		asked := r.Requests()
		if len(asked) != 3+files {
			t.Errorf("again %t: %d requests for %d files: %v", again, len(asked), files, asked)
		}
		for _, q := range asked {
			if strings.Contains(fmt.Sprint(q), s.Statement.Table.Digest.String()) {
				t.Errorf("the table is read: %v", q)
			}
		}
	}
}

// TestFaults: a registry that limits requests, knows no ranges, or sends elsewhere, makes nothing wrong.
func TestFaults(t *testing.T) {
	for what, o := range map[string]testregistry.Options{"429": {Every429: 3}, "no ranges": {NoRange: true}, "redirect": {Redirect: true}} {
		t.Run(what, func(t *testing.T) {
			r, s, base := pushed(t, o)
			a := start(t, t.TempDir())
			defer a.end()
			row, name := someDeb(t, s), filepath.Join(t.TempDir(), "f")
			right, _ := r.Blob("site/mirror", row.Digest.String())
			for _, n := range []int{0, 1, len(right) / 2, len(right) - 1} {
				if err := os.WriteFile(name, right[:n], 0o644); err != nil {
					t.Fatal(err)
				}
				m := a.get(base+row.Path, name, expected(row)...)
				if got, _ := os.ReadFile(name); m.code != codeDone || !bytes.Equal(got, right) {
					t.Errorf("%d bytes there: %+v", n, m)
				}
			}
		})
	}
}

// TestEveryFile: every path of a snapshot, asked for as apt does, with and without its digest, is the snapshot's bytes.
func TestEveryFile(t *testing.T) {
	r, s, base := pushed(t, testregistry.Options{Redirect: true})
	a := start(t, t.TempDir())
	defer a.end()
	dir := t.TempDir()
	n := 0
	for row := range s.Table.Rows() {
		f, err := s.OpenBlob(t.Context(), row.Blob())
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(f)
		if f.Close(); err != nil {
			t.Fatal(err)
		}
		for _, fields := range [][]string{nil, expected(row)} {
			name := filepath.Join(dir, fmt.Sprint("f", n))
			n++
			m := a.get(base+row.Path, name, fields...)
			if m.code != codeDone || (m.get("SHA256-Hash") != "") != (fields != nil) {
				t.Fatalf("%s: %+v", row.Path, m)
			}
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %d bytes, want %d, %v", row.Path, len(got), len(want), err)
			}
			m = a.get(base+row.Path, name+"x", append(fields, "Last-Modified: "+m.get("Last-Modified"))...)
			if _, err := os.Stat(name + "x"); m.code != codeDone || m.get("IMS-Hit") != "true" || err == nil {
				t.Fatalf("%s again: %+v", row.Path, m)
			}
		}
	}
	if n < 10 {
		t.Fatalf("only %d files", n)
	}
	if got := r.Requests().Count("GET", "manifest"); got != 2 {
		t.Errorf("%d manifests asked for, want root and core", got)
	}
	if a.user != "_apt" {
		t.Errorf("became %q", a.user)
	}
	if m := a.get(base+"debian/dists/bookworm/nothing", filepath.Join(dir, "x")); m.code != codeFailure || m.get("FailReason") != notFound || !strings.Contains(m.get("Message"), "nothing is not in snapshot") {
		t.Errorf("%+v", m)
	}
	if m := a.get(base+"nowhere/dists/x/InRelease", filepath.Join(dir, "x")); m.get("FailReason") != notFound || !strings.Contains(m.get("Message"), `no archive "nowhere"`) || !strings.Contains(m.get("Message"), ", which has debian") {
		t.Errorf("%+v", m)
	}
}

// someDeb is a package of a snapshot.
func someDeb(t *testing.T, s *snapshot.Snapshot) snapshot.Row {
	for row := range s.Table.Rows() {
		if row.IsPackage() {
			return row
		}
	}
	t.Fatal("no package")
	return snapshot.Row{}
}

// TestWrongBytes: bytes that are not the digest's are no file, whole ones neither; what is right at a second look is.
func TestWrongBytes(t *testing.T) {
	r, s, base := pushed(t, testregistry.Options{})
	a := start(t, t.TempDir())
	defer a.end()
	row, name := someDeb(t, s), filepath.Join(t.TempDir(), "f")
	right, _ := r.Blob("site/mirror", row.Digest.String())
	right = bytes.Clone(right)
	r.FlipBlob(t, "site/mirror", row.Digest.String())
	m := a.get(base+row.Path, name, expected(row)...)
	if m.code != codeFailure || !strings.Contains(m.get("Message"), row.Digest.String()) {
		t.Fatalf("%+v", m)
	}
	if data, err := os.ReadFile(name); err != nil || len(data) != 0 {
		t.Errorf("%d bytes stay, %v", len(data), err)
	}
	r.SetBlob("site/mirror", row.Digest.String(), right)
	for what, there := range map[string][]byte{"nothing": nil, "a begin": right[:len(right)/2], "all": right, "more": append(bytes.Clone(right), 0), "another begin": make([]byte, len(right)/2), "other bytes": make([]byte, len(right))} {
		if err := os.WriteFile(name, there, 0o644); err != nil {
			t.Fatal(err)
		}
		m := a.get(base+row.Path, name, expected(row)...)
		if got, _ := os.ReadFile(name); m.code != codeDone || !bytes.Equal(got, right) {
			t.Errorf("%s there: %+v", what, m)
		}
	}
}

// TestResume: what is there is not asked for again.
func TestResume(t *testing.T) {
	r, s, base := pushed(t, testregistry.Options{})
	a := start(t, t.TempDir())
	defer a.end()
	row, name := someDeb(t, s), filepath.Join(t.TempDir(), "f")
	right, _ := r.Blob("site/mirror", row.Digest.String())
	if err := os.WriteFile(name, right, 0o644); err != nil {
		t.Fatal(err)
	}
	r.Requests() // what was asked so far
	if m := a.get(base+row.Path, name, expected(row)...); m.code != codeDone {
		t.Fatalf("%+v", m)
	}
	if n := r.Requests().Count("", "blob"); n != 0 {
		t.Errorf("%d requests for a file that is there", n)
	}
}

// TestRefusedRequests: what makes no sense fails alone, and the method goes on.
func TestRefusedRequests(t *testing.T) {
	_, s, base := pushed(t, testregistry.Options{})
	a := start(t, t.TempDir())
	defer a.end()
	row, dir := someDeb(t, s), t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		uri, name string
		fields    []string
		text      string
	}{
		{"oci+http://127.0.0.1:1/a/b/debian/x", "x", nil, "neither tag nor digest"},
		{"oci+http://u:secret@127.0.0.1:1/a/b:t/x", "x", nil, "credentials"},
		{base + row.Path, "link", expected(row), "link"},
		{base + row.Path, ".", expected(row), "directory"},
		{base + row.Path, "none/x", expected(row), "none/x"},
		{base + row.Path, "x", append(expected(row), "Maximum-Size: 1"), "at most 1"},
		{base + row.Path, "x", []string{"Expected-SHA256: " + strings.Repeat("ab", 32)}, "apt wants"},
		{base + row.Path, "x", []string{"Expected-SHA256: " + strings.Repeat("ab", 32), "Expected-Checksum-FileSize: 5"}, "404"},
		{strings.Replace(base, ":t/", ":none/", 1) + row.Path, "x", nil, "404"},
	} {
		m := a.get(c.uri, filepath.Join(dir, c.name), c.fields...)
		if m.code != codeFailure || !strings.Contains(m.get("Message"), c.text) || strings.Contains(m.get("Message"), "secret") {
			t.Errorf("%s to %s: %+v", c.uri, c.name, m)
		}
	}
	if m := a.get(base+row.Path, filepath.Join(dir, "good"), expected(row)...); m.code != codeDone {
		t.Errorf("%+v", m)
	}
}

func TestGeneralFailures(t *testing.T) {
	for _, bad := range []string{"junk\n\n", "600 URI Acquire\nURI: x\nFilename: y\n\n", "601 Configuration\n\n600 URI Acquire\nURI: x\n\n",
		"601 Configuration\n\n600 URI Acquire\nURI: x\nFilename: y\nExpected-SHA256: zz\n\n", "601 Configuration\n\n600 URI Acquire\nURI: x\nFilename: y\nMaximum-Size: -1\n\n"} {
		var out bytes.Buffer
		err := Run(t.Context(), Options{Stdin: strings.NewReader(bad), Stdout: &out, Root: t.TempDir(), Drop: func(string) error { return nil }})
		if err == nil || strings.Count(out.String(), "401 General Failure\nMessage: mmoci: ") != 1 {
			t.Errorf("%q: %v, %q", bad, err, out.String())
		}
	}
	var out bytes.Buffer
	err := Run(t.Context(), Options{Stdin: strings.NewReader("601 Configuration\n\n"), Stdout: &out, Root: t.TempDir(), Drop: func(string) error { return errors.New("no way") }})
	if err == nil || !strings.Contains(out.String(), "no way") {
		t.Errorf("%v, %q", err, out.String())
	}
}

// TestCredentials: which of the files' entries a registry is sent.
func TestCredentials(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/apt/auth.conf", "machine a.example/site/ login u1 password p1\n")
	write("etc/apt/auth.conf.d/b.conf", "machine oci+http://b.example login u2 password p2\nmachine oci://c.example login u3 password p3\nmachine d.example login u4 password p4\n")
	write("etc/apt/auth.conf.d/not.txt", "machine a.example login x password x\n")
	write("etc/mmoci/auth.json", `{"auths": {"e.example/site": {"auth": "dTU6cDU6eA=="}, "a.example": {"auth": "dTY6cDY="}, "127.0.0.1:5000": {"auth": "dTc6cDc="}}}`)
	c, err := readCredentials(root, config{})
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"oci://a.example/site/m:t": "u1:p1", "oci+http://a.example/site/m:t": ":", "oci+http://e.example/site/m:t": ":",
		"oci+http://127.0.0.1:5000/m:t": "u7:p7", "oci://127.0.0.1:5000/m:t": "u7:p7", "oci://a.example/other:t": "u6:p6",
		"oci+http://b.example/m:t": "u2:p2", "oci://b.example/m:t": ":", "oci://c.example/m:t": "u3:p3", "oci+http://c.example/m:t": ":",
		"oci://d.example/m:t": "u4:p4", "oci://d.example:5000/m:t": "u4:p4", "oci://e.example/site/m:t": "u5:p5:x", "oci://e.example/m:t": ":", "oci://xa.example/site/m:t": ":",
	} {
		l, err := parseURI(ref + "/x")
		if err != nil {
			t.Fatal(err)
		}
		user, password := c.find(l.ref, l.plain)
		if got := user + ":" + password; got != want {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
	for _, host := range []string{"d.example/m", "e.example/site/m"} { // of auth.conf, of auth.json
		l, err := parseURI("oci+http://" + host + ":t/x")
		if err != nil || !c.onlyTLS(l.ref, true) {
			t.Errorf("%s by plain HTTP: %v", host, err)
		}
	}
	write("etc/mmoci/auth.json", `{"auths": {"e.example": {"auth": "geheim!"}}`)
	if _, err := readCredentials(root, config{}); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("a broken auth.json: %v", err)
	}
}

// TestLogin: a registry that wants credentials, directly or by a token, gets those of auth.conf, and never those of a user's own files.
func TestLogin(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"} {
		t.Setenv(name, home)
	}
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(home, "config.json"))
	for what, o := range map[string]testregistry.Options{"basic": {Basic: true}, "token": {Bearer: true}} {
		t.Run(what, func(t *testing.T) {
			r := testregistry.New(t, o)
			data := []byte("some bytes")
			digest := r.PutBlob("site/mirror", data)
			host := strings.TrimPrefix(r.URL, "http://")
			own := fmt.Sprintf(`{"auths": {%q: {"auth": "dXNlcjpzZWNyZXQ="}}}`, host) // the right ones
			if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(own), 0o600); err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			if err := os.MkdirAll(filepath.Join(root, "etc/apt"), 0o755); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(t.TempDir(), "f")
			for _, c := range []struct {
				text string
				code int
			}{{"", codeFailure}, {"machine " + host + " login user password secret", codeFailure}, {"machine http://" + host + " login user password wrong", codeFailure}, {"machine http://" + host + " login user password secret", codeDone}} {
				if err := os.WriteFile(filepath.Join(root, "etc/apt/auth.conf"), []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
				a := start(t, root)
				m := a.get("oci+http://"+host+"/site/mirror:t/p/x", name, "Expected-SHA256: "+digest[7:], fmt.Sprintf("Expected-Checksum-FileSize: %d", len(data)))
				a.end()
				if m.code != c.code || strings.Contains(m.get("Message"), "secret") {
					t.Errorf("with %q: %+v", c.text, m)
				}
			}
		})
	}
}

func TestURL(t *testing.T) {
	for ref, want := range map[string]string{
		"h.example/m:t": "oci://h.example/m:t", "127.0.0.1:5000/m:t": "oci+http://127.0.0.1:5000/m:t", "oci:dir:t": "",
		"h.example/m:t@sha256:" + strings.Repeat("ab", 32): "oci://h.example/m@sha256:" + strings.Repeat("ab", 32),
	} {
		r, err := artifact.ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := URL(r, false)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %s, %v", ref, got, err)
		}
		if want != "" {
			if _, err := parseURI(got + "/debian/x"); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestLies: a registry that says wrong things about what it sends is found out, whatever is there already; what it sends right is taken.
func TestLies(t *testing.T) {
	t.Parallel()
	r, s, base := pushed(t, testregistry.Options{})
	row := someDeb(t, s)
	right, _ := r.Blob("site/mirror", row.Digest.String())
	half := len(right) / 2
	part := func(w http.ResponseWriter, span string, data []byte) {
		w.Header().Set("Content-Range", span)
		w.WriteHeader(http.StatusPartialContent)
		w.Write(data)
	}
	size := fmt.Sprint(len(right))
	rest := fmt.Sprintf("bytes %d-%d/%d", half, len(right)-1, len(right))
	for what, c := range map[string]struct {
		blob func(w http.ResponseWriter, r *http.Request)
		text string // of the failure; "": the file comes
	}{
		"the begin, called the rest": {func(w http.ResponseWriter, _ *http.Request) { part(w, rest, right[:len(right)-half]) }, ""},
		"another range":              {func(w http.ResponseWriter, _ *http.Request) { part(w, "bytes 0-9/"+size, right[:10]) }, ""},
		"a range of a larger file":   {func(w http.ResponseWriter, _ *http.Request) { part(w, rest+"0", right[half:]) }, ""},
		"no range in a 206": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusPartialContent)
			w.Write(right[half:])
		}, ""},
		"the rest of the rest":         {func(w http.ResponseWriter, _ *http.Request) { part(w, rest, right[half:len(right)-1]) }, ""},
		"more than the rest":           {func(w http.ResponseWriter, _ *http.Request) { part(w, rest, append(bytes.Clone(right[half:]), 0)) }, ""},
		"all, although a rest will do": {func(w http.ResponseWriter, _ *http.Request) { w.Write(right) }, ""},
		"a longer file":                {func(w http.ResponseWriter, _ *http.Request) { w.Write(append(bytes.Clone(right), 0)) }, "bytes at the registry"},
		"a shorter file":               {func(w http.ResponseWriter, _ *http.Request) { w.Write(right[:len(right)-1]) }, "bytes at the registry"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			up, err := url.Parse(r.URL)
			if err != nil {
				t.Fatal(err)
			}
			through := httputil.NewSingleHostReverseProxy(up)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if strings.HasSuffix(q.URL.Path, row.Digest.String()) && (c.text != "" || q.Header.Get("Range") != "") {
					c.blob(w, q)
					return
				}
				through.ServeHTTP(w, q)
			}))
			t.Cleanup(srv.Close)
			a := start(t, t.TempDir())
			defer a.end()
			uri := strings.Replace(base, strings.TrimPrefix(r.URL, "http://"), strings.TrimPrefix(srv.URL, "http://"), 1) + row.Path
			for _, there := range [][]byte{right[:half], nil} {
				name := filepath.Join(t.TempDir(), "f")
				if err := os.WriteFile(name, there, 0o644); err != nil {
					t.Fatal(err)
				}
				m := a.get(uri, name, expected(row)...)
				got, _ := os.ReadFile(name)
				if c.text == "" && (m.code != codeDone || !bytes.Equal(got, right)) || c.text != "" && (m.code != codeFailure || !strings.Contains(m.get("Message"), c.text) || bytes.Equal(got, right)) {
					t.Errorf("%d bytes there: %+v", len(there), m)
				}
			}
		})
	}
}

// TestRootLies: by tag, a registry that calls a root by another digest is found out. apt is told to try again, and not that there is no Release.
func TestRootLies(t *testing.T) {
	t.Parallel()
	r, _, base := pushed(t, testregistry.Options{})
	up, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(up)
	var lies atomic.Bool
	lies.Store(true)
	through.ModifyResponse = func(resp *http.Response) error {
		if strings.HasSuffix(resp.Request.URL.Path, "/manifests/t") && lies.Load() {
			resp.Header.Set("Docker-Content-Digest", "sha256:"+strings.Repeat("ab", 32))
		}
		return nil
	}
	srv := httptest.NewServer(through)
	t.Cleanup(srv.Close)
	a := start(t, t.TempDir(), "Acquire::Retries::Delay=false")
	defer a.end()
	uri := strings.Replace(base, up.Host, strings.TrimPrefix(srv.URL, "http://"), 1) + "debian/dists/bookworm/InRelease"
	name := filepath.Join(t.TempDir(), "f")
	if m := a.get(uri, name); m.code != codeFailure || !strings.Contains(m.get("Message"), "the registry calls it sha256:abab") || m.get("Transient-Failure") != "true" {
		t.Errorf("%+v", m)
	}
	lies.Store(false)
	if m := a.get(uri, name); m.code != codeDone {
		t.Errorf("when it is right again: %+v", m)
	}
}
