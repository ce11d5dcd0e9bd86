package serve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/serve/condition"
	"example.org/mmoci/pkg/snapshot"
)

const debPath = "docker/pool/stable/d/docker-ce/docker-ce_27.3.1-1~debian.12~bookworm_amd64.deb"

// big is longer than what a reader holds back, and not a multiple of any buffer.
var bigSize = 3*snapshot.HoldBack + 4711

func oneDeb(data []byte) spec {
	return spec{date: day(21), debs: map[string][]byte{debPath: data}}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	data := bytesOf("deb", bigSize)
	size := len(data)
	for _, verified := range []bool{true, false} {
		m := newMemoryBlobs()
		sn := oneDeb(data).take(t, m)
		if verified {
			files := fileBlobs(t, m)
			sn = sn.WithBlobs(func(snapshot.Blobs) snapshot.Blobs { return files })
		}
		_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
		d := snapshot.Sum(data)
		etag, mod := `"`+d.String()+`"`, snapshot.ModTime(d).UTC()
		at := func(off time.Duration) string { return mod.Add(off).Format(http.TimeFormat) }
		whole := section(0, int64(size))
		cases := []struct {
			name   string
			header []string
			status int
			part   condition.Section
		}{
			{"plain", nil, 200, whole},
			{"same time", []string{"If-Modified-Since", at(0)}, 304, condition.Section{}},
			{"same time, RFC 850", []string{"If-Modified-Since", mod.Format("Monday, 02-Jan-06 15:04:05 GMT")}, 304, condition.Section{}},
			{"later time", []string{"If-Modified-Since", at(time.Second)}, 200, whole},
			{"much later time", []string{"If-Modified-Since", at(1e6 * time.Hour)}, 200, whole},
			{"earlier time", []string{"If-Modified-Since", at(-time.Second)}, 200, whole},
			{"no time", []string{"If-Modified-Since", "yesterday"}, 200, whole},
			{"same tag", []string{"If-None-Match", etag}, 304, condition.Section{}},
			{"weak tag", []string{"If-None-Match", "W/" + etag}, 304, condition.Section{}},
			{"tag in a list", []string{"If-None-Match", `"a", W/"b",` + etag}, 304, condition.Section{}},
			{"any tag", []string{"If-None-Match", "*"}, 304, condition.Section{}},
			{"other tag, same time", []string{"If-None-Match", `"a"`, "If-Modified-Since", at(0)}, 200, whole},
			{"required tag", []string{"If-Match", etag}, 200, whole},
			{"required weak tag", []string{"If-Match", "W/" + etag}, 412, condition.Section{}},
			{"required other tag", []string{"If-Match", `"a"`}, 412, condition.Section{}},
			{"unmodified, same time", []string{"If-Unmodified-Since", at(0)}, 200, whole},
			{"unmodified, later time", []string{"If-Unmodified-Since", at(time.Hour)}, 412, condition.Section{}},
			{"part", []string{"Range", "bytes=10-19"}, 206, section(10, 10)},
			{"first byte", []string{"Range", "bytes=0-0"}, 206, section(0, 1)},
			{"open part", []string{"Range", fmt.Sprintf("bytes=%d-", size-5)}, 206, section(int64(size-5), 5)},
			{"long open part", []string{"Range", "bytes=100-"}, 206, section(100, int64(size-100))},
			{"everything", []string{"Range", "bytes=0-"}, 206, whole},
			{"end beyond", []string{"Range", "bytes=7-99999999999999999999"}, 206, section(7, int64(size-7))},
			{"part before the end", []string{"Range", fmt.Sprintf("bytes=1-%d", size-2)}, 206, section(1, int64(size-2))},
			{"suffix", []string{"Range", "bytes=-7"}, 206, section(int64(size-7), 7)},
			{"long suffix", []string{"Range", "bytes=-999999999"}, 206, whole},
			{"empty suffix", []string{"Range", "bytes=-0"}, 416, condition.Section{}},
			{"behind the end", []string{"Range", fmt.Sprintf("bytes=%d-", size)}, 416, condition.Section{}},
			{"several parts", []string{"Range", "bytes=0-1,5-6"}, 200, whole},
			{"backwards", []string{"Range", "bytes=5-3"}, 200, whole},
			{"other unit", []string{"Range", "lines=1-2"}, 200, whole},
			{"signs", []string{"Range", "bytes=+1-+2"}, 200, whole},
			{"if same tag", []string{"Range", "bytes=10-19", "If-Range", etag}, 206, section(10, 10)},
			{"if weak tag", []string{"Range", "bytes=10-19", "If-Range", "W/" + etag}, 200, whole},
			{"if other tag", []string{"Range", "bytes=10-19", "If-Range", `"a"`}, 200, whole},
			{"if same time", []string{"Range", "bytes=10-19", "If-Range", at(0)}, 206, section(10, 10)},
			{"if later time", []string{"Range", "bytes=10-19", "If-Range", at(time.Hour)}, 200, whole},
			{"if other time, behind the end", []string{"Range", fmt.Sprintf("bytes=%d-", size), "If-Range", at(1)}, 416, condition.Section{}},
			{"unchanged wins over part", []string{"Range", "bytes=1-2", "If-None-Match", etag}, 304, condition.Section{}},
		}
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s, verified %t", c.name, verified), func(t *testing.T) {
				get := ask(t, base, "GET", "/"+debPath, c.header...)
				checkAnswer(t, get, c.status, data, c.part, d)
				head := ask(t, base, "HEAD", "/"+debPath, c.header...)
				want := get
				if c.status == 206 { // a Range is for GET only
					want = ask(t, base, "GET", "/"+debPath)
				}
				if c.status == 416 {
					return
				}
				if head.status != want.status || len(head.body) != 0 || !equalHeaders(head.header, want.header) {
					t.Errorf("HEAD: %d %v, GET %d %v", head.status, head.header, want.status, want.header)
				}
			})
		}
	}
}

func section(start, length int64) condition.Section {
	return condition.Section{Start: start, Length: length}
}

func checkAnswer(t *testing.T, a answer, status int, data []byte, part condition.Section, d snapshot.Digest) {
	t.Helper()
	if a.err != nil || a.status != status {
		t.Fatalf("status %d, error %v", a.status, a.err)
	}
	if status == 200 || status == 206 || status == 304 {
		if got := a.header.Get("Etag"); got != `"`+d.String()+`"` {
			t.Errorf("ETag %s", got)
		}
		if got := a.header.Get("Last-Modified"); got != snapshot.ModTime(d).UTC().Format(http.TimeFormat) {
			t.Errorf("Last-Modified %s", got)
		}
		if a.header.Get("Content-Encoding") != "" || a.header.Get("Transfer-Encoding") != "" {
			t.Errorf("encoded: %v", a.header)
		}
		if want := data[part.Start : part.Start+part.Length]; !bytes.Equal(a.body, want) {
			t.Errorf("%d bytes, not the %d wanted", len(a.body), len(want))
		}
	}
	want := ""
	switch status {
	case 206:
		want = fmt.Sprintf("bytes %d-%d/%d", part.Start, part.Start+part.Length-1, len(data))
	case 416:
		want = fmt.Sprintf("bytes */%d", len(data))
	}
	if got := a.header.Get("Content-Range"); got != want {
		t.Errorf("Content-Range %q, want %q", got, want)
	}
}

func equalHeaders(a, b http.Header) bool {
	skip := func(h http.Header) http.Header {
		h = h.Clone()
		h.Del("Date")
		return h
	}
	return fmt.Sprint(skip(a)) == fmt.Sprint(skip(b))
}

func TestPaths(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	s := oneDeb([]byte("the deb"))
	s.debs["docker/pool/stable/c/c++/g++_4:12.2.0-3_amd64.deb"] = []byte("g++")
	s.files = map[string][]byte{"docker/dists/bookworm/main/i18n/Translation-de.gz": {}}
	sn := s.take(t, m)
	_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	name := newServed(sn).name
	packages := snapshot.Sum(m.blobs[mustFind(t, sn, "docker/dists/bookworm/main/binary-amd64/Packages.gz").Digest])
	cases := []struct {
		target string
		status int
	}{
		{"/" + debPath, 200},
		{"/" + strings.ReplaceAll(debPath, "~", "%7e"), 200},
		{"/" + strings.ReplaceAll(debPath, "~", "%7E"), 200},
		{"/%64ocker" + strings.TrimPrefix(debPath, "docker"), 200},
		{"/" + strings.ReplaceAll(debPath, "/", "%2f"), 200}, // decoded, it is the same path
		{"http://elsewhere.example.org/" + debPath, 200},
		{"/docker/pool/stable/c/c%2b%2b/g%2B+_4%3a12.2.0-3_amd64.deb", 200},
		{"/upstream/" + debPath, 200},
		{"/snapshot/" + name + "/" + debPath, 200},
		{"/snapshot/noble-" + name + "/" + debPath, 200},
		{"/snapshot/" + sn.Root.String() + "/upstream/" + debPath, 200},
		{"/docker/dists/bookworm/main/i18n/Translation-de.gz", 200},
		{"/docker/dists/bookworm/main/binary-amd64/by-hash/SHA256/" + packages.Hex(), 200},
		{"/upstream/docker/dists/bookworm/InRelease", 200},
		{"//" + debPath, 404},
		{"/docker//pool" + strings.TrimPrefix(debPath, "docker/pool"), 404},
		{"/./" + debPath, 404},
		{"/docker/../" + debPath, 404},
		{"/docker/%2e%2e/" + debPath, 404},
		{"/x/%2E%2E/" + debPath, 404},
		{"/docker/dists/bookworm/main/binary-amd64/by-hash/SHA256/" + strings.ToUpper(packages.Hex()), 404},
		{"/docker/dists/bookworm/main/binary-amd64/Packages", 404},
		{"/docker/dists/bookworm/InRelease", 404}, // not signed
		{"/docker/pool/%00", 404},
		{"/docker/pool/a%0d%0aX-Evil:%20b", 404},
		{"/%ff", 404},
		{"/docker/etc/passwd", 404},
		{"/nothing/pool/x_1_amd64.deb", 404},
		{"/snapshot/20261121T091340Z-000000000000/" + debPath, 404},
		{"/snapshot/noble/" + debPath, 404},
		{"/snapshot/..%2f..%2f" + debPath, 404},
		{"/" + strings.Repeat("a/", 4000), 404},
	}
	for _, c := range cases {
		a := ask(t, base, "GET", c.target)
		if a.status != c.status || a.err != nil {
			t.Errorf("%.200s: %d %s", c.target, a.status, a.phrase)
		}
		if len(a.body) == 0 && !strings.Contains(c.target, "Translation") {
			t.Errorf("%.200s: no body", c.target)
		}
	}
	if a := ask(t, base, "POST", "/"+debPath); a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", a.status)
	}
}

func mustFind(t *testing.T, sn *snapshot.Snapshot, path string) snapshot.Row {
	t.Helper()
	row, ok := sn.Table.Find(path)
	if !ok {
		t.Fatalf("no %s", path)
	}
	return row
}

func TestReasonInStatusLine(t *testing.T) {
	t.Parallel()
	sn := oneDeb([]byte("the deb")).take(t, newMemoryBlobs())
	_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	a := ask(t, base, "GET", "/docker/pool/x/gone_1.0_amd64.deb")
	want := "gone_1.0_amd64.deb is not in snapshot " + newServed(sn).name
	if a.status != 404 || a.phrase != want || string(a.body) != want+"\n" {
		t.Errorf("%d %q, body %q", a.status, a.phrase, a.body)
	}
	if a := ask(t, base, "GET", "/docker/pool/%c3%a4_1.0_amd64.deb"); a.phrase != "??_1.0_amd64.deb is not in snapshot "+newServed(sn).name {
		t.Errorf("phrase %q", a.phrase)
	}
	if a := ask(t, base, "GET", "/"+debPath); a.phrase != "OK" {
		t.Errorf("phrase %q", a.phrase)
	}
}

// A connection goes on after answers with a phrase of our own, also when
// several requests were sent before the first answer.
func TestKeepAliveAndPipelining(t *testing.T) {
	t.Parallel()
	data := bytesOf("deb", bigSize)
	m := newMemoryBlobs()
	sn := oneDeb(data).take(t, m)
	_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	c := dial(t, base)
	var out strings.Builder
	targets := []string{"/docker/pool/a_1_all.deb", "/" + debPath, "/docker/pool/b_1_all.deb", "/docker/dists/bookworm/Release", "/nowhere/x", "/" + debPath}
	for _, target := range targets {
		fmt.Fprintf(&out, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target)
	}
	if _, err := io.WriteString(c, out.String()); err != nil {
		t.Fatal(err)
	}
	r := newReader(c)
	var got []string
	for range targets {
		a := readAnswer(t, r, "GET")
		got = append(got, fmt.Sprint(a.status, " ", a.phrase, " ", len(a.body) > 0))
	}
	name := newServed(sn).name
	want := []string{
		"404 a_1_all.deb is not in snapshot " + name + " true", "200 OK true",
		"404 b_1_all.deb is not in snapshot " + name + " true", "200 OK true",
		`404 no archive "nowhere" here true`, "200 OK true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// Wrong, short, long or interrupted content never makes a complete answer.
func TestNothingWrongIsCompleted(t *testing.T) {
	t.Parallel()
	faults := map[string]func(data []byte) (io.Reader, error){
		"first byte": func(d []byte) (io.Reader, error) { return flipped(d, 0), nil },
		"last byte":  func(d []byte) (io.Reader, error) { return flipped(d, len(d)-1), nil },
		"short":      func(d []byte) (io.Reader, error) { return bytes.NewReader(d[:len(d)-1]), nil },
		"long":       func(d []byte) (io.Reader, error) { return bytes.NewReader(append(slices.Clip(d), 0)), nil },
		"reset": func(d []byte) (io.Reader, error) {
			return io.MultiReader(bytes.NewReader(d[:len(d)/2]), failing{errors.New("connection reset")}), nil
		},
		"gone":    func([]byte) (io.Reader, error) { return nil, snapshot.ErrNotExist },
		"refused": func([]byte) (io.Reader, error) { return nil, errors.New("connection refused") },
	}
	for name, fault := range faults {
		for _, size := range []int{1, 1000, snapshot.HoldBack, snapshot.HoldBack + 1, bigSize} {
			for _, rng := range []string{"", "bytes=0-0", "bytes=0-", fmt.Sprintf("bytes=%d-", size/2), fmt.Sprintf("bytes=0-%d", max(0, size-2)), "bytes=-1"} {
				t.Run(fmt.Sprintf("%s of %d %s", name, size, rng), func(t *testing.T) {
					t.Parallel()
					m := newMemoryBlobs()
					sn := oneDeb(bytesOf("deb", size)).take(t, m)
					target := mustFind(t, sn, debPath).Digest
					m.fault = func(b snapshot.Blob, data []byte) (io.Reader, error) {
						if b.Digest != target {
							return bytes.NewReader(data), nil
						}
						return fault(data)
					}
					_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
					var header []string
					if rng != "" {
						header = []string{"Range", rng}
					}
					a := ask(t, base, "GET", "/"+debPath, header...)
					if a.err != nil {
						return // broken off
					}
					if a.status != 502 || len(a.body) == 0 || a.header.Get("Etag") != "" || a.header.Get("Content-Range") != "" {
						t.Errorf("%d %s, %d bytes, %v", a.status, a.phrase, len(a.body), a.header)
					}
				})
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func flipped(d []byte, i int) io.Reader {
	d = slices.Clone(d)
	d[i] ^= 1
	return bytes.NewReader(d)
}

// Two servers, one from memory, one from files, answer alike.
func TestReplicasAnswerAlike(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sn := oneDeb(bytesOf("deb", bigSize)).take(t, m)
	files := fileBlobs(t, m)
	_, a := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	_, b := run(t, Options{Sources: []Source{newTag(sn.WithBlobs(func(snapshot.Blobs) snapshot.Blobs { return files }))}}, false)
	targets := []string{"/docker/pool/none.deb", "/x/y", "//", "/snapshot/x/y", "/mmoci/statement", "/mmoci/table", "/setup/docker.sources"}
	for row := range sn.Table.Rows() {
		targets = append(targets, (&url.URL{Path: "/" + row.Path}).String(), "/snapshot/"+sn.Root.String()+"/"+row.Path)
	}
	for _, target := range targets {
		for _, header := range [][]string{nil, {"Range", "bytes=3-"}, {"If-None-Match", "*"}} {
			x, y := ask(t, a, "GET", target, header...), ask(t, b, "GET", target, header...)
			if x.status != y.status || x.phrase != y.phrase || !bytes.Equal(x.body, y.body) || !equalHeaders(x.header, y.header) {
				t.Errorf("%s %q: %d %s %v, %d %s %v", target, header, x.status, x.phrase, x.header, y.status, y.phrase, y.header)
			}
		}
	}
}
