package testarchive_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"pault.ag/go/debian/control"

	"example.org/mmoci/internal/testarchive"
)

func sumAndSize(b []byte) string { return fmt.Sprintf("%x %d", sha256.Sum256(b), len(b)) }

// listing is path to "digest size" of a Release's SHA256 list.
func listing(release []byte) map[string]string {
	m := map[string]string{}
	_, list, _ := strings.Cut(string(release), "\nSHA256:\n")
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) == 3 && line[0] == ' ' {
			m[f[2]] = f[0] + " " + f[1]
		}
	}
	return m
}

func unpacker(t *testing.T, name string, data []byte) io.Reader {
	t.Helper()
	var r io.Reader = bytes.NewReader(data)
	var err error
	switch strings.TrimPrefix(path.Ext("."+name), ".") {
	case "xz":
		r, err = xz.NewReader(r)
	case "gz":
		r, err = gzip.NewReader(r)
	case "zst":
		r, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// walk goes the chain of an archive by other people's code: Release, index, stanza, .deb, control.
// It returns NAME=VERSION of each stanza whose file is there.
func walk(t *testing.T, f testarchive.Files, root string) []string {
	t.Helper()
	var found []string
	for p, want := range listing(f[root+"Release"]) {
		b, ok := f[root+p]
		if !ok {
			continue
		}
		if sumAndSize(b) != want {
			t.Errorf("%s%s is not what is listed", root, p)
		}
		if !strings.HasPrefix(path.Base(p), "Packages.") || strings.HasSuffix(p, "Index") {
			continue
		}
		stanzas, err := control.ParseBinaryIndex(bufio.NewReader(unpacker(t, p, b)))
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		for _, s := range stanzas {
			if data, ok := f[strings.TrimPrefix(s.Filename, "./")]; ok {
				checkDeb(t, s, data)
				found = append(found, s.Package+"="+s.Version.String())
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func checkDeb(t *testing.T, s control.BinaryIndex, data []byte) {
	t.Helper()
	if got := sumAndSize(data); got != fmt.Sprintf("%s %d", s.SHA256, s.Size) {
		t.Errorf("%s is not what the stanza says: %s", s.Filename, got)
	}
	want := fmt.Sprintf("Package: %s\n", s.Package)
	c := controlOf(t, data)
	if !strings.HasPrefix(c, want) || !strings.Contains(c, "\nVersion: "+s.Version.String()+"\n") ||
		!strings.Contains(c, "\nArchitecture: "+s.Architecture.String()+"\n") {
		t.Errorf("%s: control says %s", s.Filename, c)
	}
}

// controlOf reads the members of a .deb, all of its data.tar, and returns its control file.
func controlOf(t *testing.T, data []byte) (stanza string) {
	t.Helper()
	if !bytes.HasPrefix(data, []byte("!<arch>\n")) {
		t.Fatal("no ar")
	}
	for rest := data[8:]; len(rest) >= 60; {
		var size int
		if _, err := fmt.Sscan(string(rest[48:58]), &size); err != nil || string(rest[58:60]) != "`\n" || 60+size > len(rest) {
			t.Fatalf("header %q: %v", rest[:60], err)
		}
		name, body := strings.TrimSpace(string(rest[:16])), rest[60:60+size]
		rest = rest[60+size+size%2:]
		if !strings.Contains(name, ".tar") {
			continue
		}
		r := tar.NewReader(unpacker(t, name, body))
		for {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if h.Name == "./control" {
				stanza = string(b)
			}
		}
	}
	return stanza
}

func TestArchivesHoldTogether(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		archive testarchive.Archive
		suites  map[string]int
	}{
		{"docker", testarchive.Docker(), map[string]int{"bookworm": 6}},
		{"debian", testarchive.Debian(), map[string]int{"bookworm": 45, "bookworm-updates": 2}},
		{"security", testarchive.Security(), map[string]int{"bookworm-security": 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := c.archive.Build(t)
			for suite, n := range c.suites {
				if got := walk(t, f, "dists/"+suite+"/"); len(got) != n {
					t.Errorf("%s: %d packages, want %d: %v", suite, len(got), n, got)
				}
				key := c.archive.Keys[0].Public()
				if !naive(t, f["dists/"+suite+"/InRelease"], key) || !detached(t, f, "dists/"+suite+"/", key) {
					t.Errorf("%s: the signature does not hold", suite)
				}
			}
			again := c.archive.Build(t)
			if !maps.EqualFunc(f, again, bytes.Equal) {
				t.Error("built twice, it differs")
			}
		})
	}
}

func detached(t *testing.T, f testarchive.Files, root string, key []byte) bool {
	t.Helper()
	keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(key))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = openpgp.VerifyArmoredDetachedSignature(keys, bytes.NewReader(f[root+"Release"]), bytes.NewReader(f[root+"Release.gpg"]), nil)
	return err == nil
}

func TestFlatArchive(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"./", "sub/"} {
		a := testarchive.Archive{Keys: []*testarchive.Key{testarchive.NewKey("flat")}, Suites: []testarchive.Suite{{
			Dir: dir, Packages: []testarchive.Package{{Name: "x", Version: "1", Architecture: "all"}, {Name: "y", Version: "1", Architecture: "arm64"}}}}}
		f := a.Build(t)
		root := strings.TrimPrefix(dir, "./")
		if got := walk(t, f, root); len(got) != 2 {
			t.Errorf("%s: %v in %v", dir, got, f.Paths())
		}
	}
}

func TestSuiteOptions(t *testing.T) {
	t.Parallel()
	a := testarchive.Archive{Keys: []*testarchive.Key{testarchive.NewKey("k")}, Suites: []testarchive.Suite{{
		Dir: "s", Architectures: []string{"amd64", "arm64"}, SHA512: true, ByHash: true, NoInRelease: true, Compressions: []string{"plain"},
		Packages: []testarchive.Package{{Name: "x", Version: "1", Architecture: "all", Size: 5000}},
	}}}
	f := a.Build(t)
	if _, ok := f["dists/s/InRelease"]; ok {
		t.Error("there is an InRelease")
	}
	release := string(f["dists/s/Release"])
	if strings.Contains(release, "SHA256") || !strings.Contains(release, "\nSHA512:\n") {
		t.Errorf("lists: %s", release)
	}
	for _, arch := range a.Suites[0].Architectures {
		p := string(f["dists/s/main/binary-"+arch+"/Packages"])
		if !strings.Contains(p, "\nSHA512: ") || strings.Contains(p, "SHA256") {
			t.Errorf("%s: %q", arch, p)
		}
	}
	n := 0
	for p := range f {
		if strings.Contains(p, "/by-hash/SHA512/") {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d files by hash, want one for each architecture", n)
	}
	if size := len(f["pool/main/x/x/x_1_all.deb"]); size < 5000 || size > 6500 {
		t.Errorf("the padded package has %d bytes", size)
	}
}

// The fingerprints and one .deb are golden: golden root digests elsewhere stand on them.
func TestGolden(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		testarchive.DebianKey().Fingerprint():    "2D92F800F252E26E31FFCC9FAFE5FA8A97BFB2E2",
		testarchive.DockerKey().Fingerprint():    "3139D6C9E17996331A4D3018F23F4EEB98C2AE2D",
		goldenSum(testarchive.Docker().Build(t)): "742795971e22febb3daa14bbfa0aa73ea68758eba6d577a52bdc86142f8a60fc",
		goldenSum(testarchive.Debian().Build(t)): "cf55af4f0908bbc76821b524845d061ff2c6b4bbc3485bb9f4f5e587cbb4bee2",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// goldenSum is one digest over paths and bytes.
func goldenSum(f testarchive.Files) string {
	h := sha256.New()
	for _, p := range f.Paths() {
		fmt.Fprintf(h, "%s %s\n", p, sumAndSize(f[p]))
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestKeysReadBack(t *testing.T) {
	t.Parallel()
	k := testarchive.SiteKey()
	for name, armour := range map[string][]byte{"public": k.Public(), "private": k.Private()} {
		keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(armour))
		if err != nil || len(keys) != 1 {
			t.Fatalf("%s: %v", name, err)
		}
		if got := fmt.Sprintf("%X", keys[0].PrimaryKey.Fingerprint); got != k.Fingerprint() {
			t.Errorf("%s: %s", name, got)
		}
		if (keys[0].PrivateKey != nil) != (name == "private") {
			t.Errorf("%s: private half there: %v", name, keys[0].PrivateKey != nil)
		}
	}
}

func TestDebMembers(t *testing.T) {
	t.Parallel()
	p := testarchive.Package{Name: "p", Version: "1", Architecture: "all",
		Content:      map[string]string{"usr/bin/run": "#!/bin/sh\n", "etc/p.conf": "x\n"},
		ControlFiles: map[string]string{"conffiles": "/etc/p.conf\n", "postinst": "#!/bin/sh\nexit 0\n"}}
	for _, c := range []string{"xz", "gz", "zst", "none"} {
		p.Compression = c
		b := p.Deb(t)
		if !bytes.HasPrefix(b, []byte("!<arch>\ndebian-binary   ")) || len(b)%2 != 0 {
			t.Errorf("%s: not an ar", c)
		}
	}
	at := bytes.Index(p.Deb(t), []byte("data.tar "))
	r := tar.NewReader(bytes.NewReader(p.Deb(t)[at+60:]))
	var names []string
	for {
		h, err := r.Next()
		if err != nil {
			break
		}
		names = append(names, fmt.Sprintf("%s %o", h.Name, h.Mode))
	}
	want := "[./ 755 ./etc/ 755 ./etc/p.conf 644 ./usr/ 755 ./usr/bin/ 755 ./usr/bin/run 755]"
	if fmt.Sprint(names) != want {
		t.Errorf("got  %v\nwant %s", names, want)
	}
}

func TestReal(t *testing.T) {
	t.Parallel()
	f := testarchive.RealFiles(t)
	release := f["dists/"+testarchive.RealSuite+"/InRelease"]
	if !bytes.Contains(release, []byte("Date: "+testarchive.RealDate().Format("Mon, 02 Jan 2006 15:04:05")+" UTC\n")) {
		t.Error("RealDate is not its Date")
	}
	f["dists/"+testarchive.RealSuite+"/Release"] = release
	var names []string
	for _, p := range walk(t, f, "dists/"+testarchive.RealSuite+"/") {
		name, _, _ := strings.Cut(p, "=")
		names = append(names, name)
	}
	if !slices.Equal(names, testarchive.RealPackages()) {
		t.Errorf("its packages are %v", names)
	}
	keys, err := openpgp.ReadKeyRing(bytes.NewReader(testarchive.RealKeyring(t)))
	if err != nil || len(keys) != 2 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	readme, err := os.ReadFile(filepath.Join(testarchive.Real(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	delete(f, "dists/"+testarchive.RealSuite+"/Release")
	for _, p := range f.Paths() {
		sum, size, _ := strings.Cut(sumAndSize(f[p]), " ")
		if line := "| " + p + " | " + size + " | " + sum + " |"; !strings.Contains(string(readme), line) {
			t.Errorf("README.md lacks %s", line)
		}
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	s := testarchive.Serve(t, testarchive.Files{"pool/a+b~1.deb": []byte("0123456789")})
	get := func(path string, header ...string) string {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/"+path, nil)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			return "error"
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			b = append(b, '!')
		}
		return fmt.Sprint(resp.StatusCode, " ", string(b))
	}
	modified := testarchive.DefaultDate().Format(http.TimeFormat)
	for _, c := range []struct{ path, header, value, want string }{
		{"pool/a+b~1.deb", "", "", "200 0123456789"},
		{"pool/a%2bb%7e1.deb", "", "", "200 0123456789"},
		{"pool/a+b~1.deb", "Range", "bytes=4-", "206 456789"},
		{"pool/a+b~1.deb", "If-Modified-Since", modified, "304 "},
		{"pool/", "", "", "404 404 not found: pool/\n"},
	} {
		var h []string
		if c.header != "" {
			h = []string{c.header, c.value}
		}
		if got := get(c.path, h...); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.path, c.header, got, c.want)
		}
	}
	if got := get("pool/a+b~1.deb", "Range", "bytes=4-", "If-Range", `"other"`); got != "200 0123456789" {
		t.Errorf("If-Range: %q", got)
	}
	s.Replace(testarchive.Files{"pool/a+b~1.deb": []byte("new")})
	if got := get("pool/a+b~1.deb", "If-Modified-Since", modified); got != "200 new" {
		t.Errorf("after Replace: %q", got)
	}
	faults := []testarchive.Broken{{Status: 500}, {Reset: true}, {CutAfter: 1}, {Flip: true}, {Body: []byte("evil")}, {NoRange: true}, {Stall: time.Millisecond}}
	first := 0
	s.Fault(func(_ string, n int) testarchive.Broken {
		if first == 0 {
			first = n
		}
		return faults[n-first]
	})
	var got []string
	for range faults {
		got = append(got, get("pool/a+b~1.deb", "Range", "bytes=1-"))
	}
	want := []string{"500 Internal Server Error\n", "error", "206 e!", "206 dw", "206 vil", "200 new", "206 ew"}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	log := s.Requests()
	if len(log) != 14 || log[0] != "GET pool/a+b~1.deb 200" || log[8] != "GET pool/a+b~1.deb 0" {
		t.Errorf("%q", log)
	}
}
