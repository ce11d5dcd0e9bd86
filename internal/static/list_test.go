package static

import (
	"bytes"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

func sample(t testing.TB) *rootList {
	t.Helper()
	var m listMaker
	root := snapshot.BlobOf([]byte("root"))
	m.document(oci.Describe(oci.TypeIndex, root))
	m.document(oci.Describe(oci.TypeDockerManifest, snapshot.BlobOf([]byte("manifest"))))
	m.blob(snapshot.BlobOf([]byte("layer")))
	l, err := m.list(root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestList(t *testing.T) {
	t.Parallel()
	text := string(sample(t).encode())
	if _, err := parseList([]byte(text)); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(text, "\n")
	for what, bad := range map[string]string{
		"nothing":          "",
		"no root":          strings.Join(lines[1:], ""),
		"two roots":        lines[0] + text,
		"a blob twice":     text + lines[len(lines)-2],
		"out of order":     lines[0] + lines[2] + lines[1] + strings.Join(lines[3:], ""),
		"no end":           strings.TrimSuffix(text, "\n"),
		"a size of zero":   strings.Replace(text, " 5\n", " 0\n", 1),
		"a sign":           strings.Replace(text, " 5\n", " +5\n", 1),
		"another type":     strings.Replace(text, "docker-manifest", "docker", 1),
		"an unlisted blob": strings.Join(lines[:len(lines)-3], ""),
		"carriage returns": strings.ReplaceAll(text, "\n", "\r\n"),
	} {
		if _, err := parseList([]byte(bad)); err == nil {
			t.Errorf("%s is read", what)
		}
	}
	var m listMaker
	m.document(oci.Describe("text/html", snapshot.BlobOf([]byte("x"))))
	if _, err := m.list(snapshot.Sum([]byte("x"))); err == nil {
		t.Error("a document of any type is taken")
	}
}

func FuzzList(f *testing.F) {
	f.Add(sample(f).encode())
	f.Add([]byte(listMagic + " sha256:" + strings.Repeat("1", 64) + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseList(data)
		if err == nil && !bytes.Equal(l.encode(), data) {
			t.Errorf("%q is read as %q", data, l.encode())
		}
	})
}

func FuzzLeft(f *testing.F) {
	f.Add(formatLeft(now))
	f.Add([]byte("2026-01-01T00:00:00+01:00\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if at, ok := parseLeft(data); ok && !bytes.Equal(formatLeft(at), data) {
			t.Errorf("%q is read as %s", data, at)
		}
	})
}
