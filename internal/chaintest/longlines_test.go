package chaintest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// longLine is how long the lines of these tests are, in bytes.
const longLine = 100 << 20

// long generates a text with one line of longLine bytes between head and tail.
type long struct{ head, tail string }

func (l long) reader() io.Reader {
	return io.MultiReader(strings.NewReader(l.head), io.LimitReader(same('x'), longLine), strings.NewReader("\n"+l.tail))
}

func (l long) blob() snapshot.Blob {
	h := sha256.New()
	n, _ := io.Copy(h, l.reader())
	return snapshot.Blob{Digest: snapshot.Digest(h.Sum(nil)), Size: n}
}

// same is an endless run of a byte.
type same byte

func (s same) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s)
	}
	return len(p), nil
}

// generated serves small files and long ones.
func generated(t *testing.T, files map[string][]byte, longs map[string]long) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		if l, ok := longs[name]; ok {
			_, _ = io.Copy(w, l.reader())
			return
		}
		if data, ok := files[name]; ok {
			if strings.Contains(name, "/manifests/") {
				w.Header().Set("Content-Type", mediaTypeOf(data))
			}
			_, _ = w.Write(data)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func mediaTypeOf(doc []byte) string {
	if bytes.Contains(doc, []byte(`"manifests":`)) {
		return "application/vnd.oci.image.index.v1+json"
	}
	return "application/vnd.oci.image.manifest.v1+json"
}

// TestLongLinesOfUpstream pushes from upstreams that send a line of 100 MiB. What
// is allocated in all, which no peak exceeds, is bounded: by the limit of a Release and
// what a buffer that doubles takes up to it; by the index, which is held in memory as it is listed.
func TestLongLinesOfUpstream(t *testing.T) {
	key := testarchive.DockerKey()
	date := testarchive.DefaultDate()
	release := func(l long) []byte {
		b := l.blob()
		return fmt.Appendf(nil, "Suite: toy\nCodename: toy\nDate: %s\nComponents: main\nArchitectures: amd64\nSHA256:\n %s %d main/binary-amd64/Packages\n",
			date.Format(http.TimeFormat), b.Digest.Hex(), b.Size)
	}
	stanza := long{head: "Package: top\nVersion: 1\nArchitecture: amd64\nFilename: pool/top.deb\nSize: 1\nSHA256: " + strings.Repeat("0", 64) + "\nDescription: "}
	const dists, packages = "dists/toy/", "dists/toy/main/binary-amd64/Packages"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.Copy(z, stanza.reader())
	z.Close()
	text := release(stanza)
	withGz := append(bytes.Clone(text), fmt.Sprintf(" %s %d main/binary-amd64/Packages.gz\n", snapshot.Sum(packed.Bytes()).Hex(), packed.Len())...)
	for _, tc := range []struct {
		name  string
		files map[string][]byte
		longs map[string]long
		exit  int
		want  string
		bound uint64 // of all that is allocated; under the race detector that is up to twice as much
	}{
		{"InRelease", nil, map[string]long{dists + "InRelease": {head: "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: "}}, 1, "InRelease", 96 << 20},
		{"a header of InRelease", nil, map[string]long{dists + "InRelease": {head: "-----BEGIN PGP SIGNED MESSAGE-----\nHash: "}}, 1, "InRelease", 96 << 20},
		{"Release", map[string][]byte{dists + "Release.gpg": key.Detach(t, text, date)}, map[string]long{dists + "Release": {head: "Origin: "}}, 1, "Release", 96 << 20},
		{"Release.gpg", map[string][]byte{dists + "Release": text}, map[string]long{dists + "Release.gpg": {head: "-----BEGIN PGP SIGNATURE-----\nComment: "}}, 1, "Release.gpg", 96 << 20},
		{"Packages", map[string][]byte{dists + "InRelease": key.Clearsign(t, text, date)}, map[string]long{packages: stanza}, 1, "line over 1048576 bytes", 6 * longLine},
		{"Packages.gz", map[string][]byte{dists + "InRelease": key.Clearsign(t, withGz, date), packages + ".gz": packed.Bytes()}, nil, 1, "line over 1048576 bytes", 9 * longLine},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := generated(t, tc.files, tc.longs)
			dir := t.TempDir()
			keyring := filepath.Join(dir, "key.asc")
			if err := os.WriteFile(keyring, key.Public(), 0o600); err != nil {
				t.Fatal(err)
			}
			var err error
			took := allocated(func() {
				_, err = push.Run(t.Context(), push.Options{
					Plan: &config.Plan{Archives: []config.Archive{{
						Prefix: "toy", URLs: []string{up.URL}, Suites: []string{"toy"}, Components: []string{"main"},
						Architectures: []string{"amd64"}, SignedBy: keyring, Packages: []config.Query{{Text: "top"}},
					}}},
					Ref:    artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(dir, "mirror"), Tag: "latest"},
					Signer: world.SignerOf(t, testarchive.SiteKey()), Now: date.AddDate(0, 0, 1),
				})
			})
			if exitOf(err) != tc.exit || err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("exit %d: %v", exitOf(err), err)
			}
			if took > tc.bound {
				t.Errorf("%d MiB allocated, want at most %d", took>>20, tc.bound>>20)
			}
			t.Logf("%d MiB allocated: %.200s", took>>20, fmt.Sprint(err))
		})
	}
}

// TestLongLinesOfRegistry opens artifacts whose statement is a line of 100 MiB, of
// which core and root know, or do not, with a key of the site's and without any.
func TestLongLinesOfRegistry(t *testing.T) {
	s := world.Freeze(t, world.Good())
	d := forge.Open(t, s)
	statement := long{head: "mmoci-statement-v1\ndate "}
	for _, tc := range []struct {
		name string
		tell bool // the core says the true size
		want string
	}{
		{"as the core says", true, "want 1 to 1048576"},
		{"longer than the core says", false, "more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(testarchive.MemoryDir(t), "layout")
			ref := forge.Write(t, d.Seal(forge.Resigned), dir, "x")
			is := statement.blob()
			if !tc.tell {
				is.Size = 1000
			}
			forge.EditDocuments(t, ref, func(doc *forge.Documents) {
				parts := strings.SplitN(string(doc.Core), `"layers":[`, 2)
				end := strings.Index(parts[1], "}")
				doc.Core = fmt.Appendf(nil, `%s"layers":[{"mediaType":"application/vnd.mmoci.statement.v1+pgp","digest":"%s","size":%d%s`, parts[0], is.Digest, is.Size, parts[1][end:])
			})
			root, err := artifact.Resolve(t.Context(), ref, artifact.Options{})
			if err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{}
			blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range blobs {
				data, digest := read(t, b), "sha256:"+filepath.Base(b)
				files["v2/x/blobs/"+digest], files["v2/x/manifests/"+digest] = data, data
			}
			files["v2/x/manifests/latest"] = files["v2/x/manifests/"+root.String()]
			server := generated(t, files, map[string]long{"v2/x/blobs/" + is.Digest.String(): statement})
			at, err := artifact.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/x")
			if err != nil {
				t.Fatal(err)
			}
			for who, open := range map[string]func() error{
				"with a key": func() error {
					_, err := prove.Open(context.Background(), at, world.SiteTrust(t), artifact.Options{Anonymous: true})
					return err
				},
				"without": func() error {
					_, err := place.OpenUnverified(context.Background(), at, artifact.Options{Anonymous: true})
					return err
				},
			} {
				var opened error
				took := allocated(func() { opened = open() })
				if !errors.Is(opened, outcome.ErrIntegrity) || !strings.Contains(opened.Error(), tc.want) || strings.Contains(opened.Error(), "\n") {
					t.Error(opened)
				}
				if bound := uint64(32 << 20); took > bound {
					t.Errorf("%s: %d MiB allocated, want at most %d", who, took>>20, bound>>20)
				}
				t.Logf("%s: %d MiB allocated: %.200s", who, took>>20, fmt.Sprint(opened))
			}
		})
	}
}
