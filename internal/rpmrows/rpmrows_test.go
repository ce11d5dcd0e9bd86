package rpmrows

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/rpm"
	"example.org/mmoci/pkg/snapshot"
)

// memory is a repository in memory.
type memory map[string]string

func (m memory) Open(_ context.Context, p string, _ int64) (io.ReadCloser, error) {
	text, ok := m[p]
	if !ok {
		return nil, fmt.Errorf("%s: %w", p, snapshot.ErrNotExist)
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func (m memory) Primary(ctx context.Context, d rpm.Data, parse func(io.Reader) error) (snapshot.Blob, error) {
	b, err := Hash(ctx, m, d.Path, d.Checksum, d.Size)
	if err != nil {
		return b, err
	}
	return b, parse(strings.NewReader(m[d.Path]))
}

func sha256Of(text string) string { return snapshot.Sum([]byte(text)).Hex() }

func sha512Of(text string) string {
	sum := sha512.Sum512([]byte(text))
	return hex.EncodeToString(sum[:])
}

// entry is a package of a primary.xml.
func entry(name, kind, sum, size, path string) string {
	return fmt.Sprintf(`<package type="rpm"><name>%s</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/>
<checksum type="%s">%s</checksum>%s<location href="%s"/></package>`, name, kind, sum, size, path)
}

const body = "a package\n"

// repository has a list of these packages.
func repository(open string, packages ...string) (memory, *rpm.Index) {
	text := `<metadata xmlns="http://linux.duke.edu/metadata/common">` + strings.Join(packages, "\n") + "</metadata>"
	m := memory{"repodata/primary.xml": text, "a.rpm": body, "b.rpm": "another\n", "repodata/other.xml": "other"}
	d := rpm.Data{Type: "primary", Path: "repodata/primary.xml", Checksum: rpm.Checksum{Type: rpm.SHA256, Hex: sha256Of(text)}, Size: -1, OpenSize: -1}
	if open != "" {
		d.Open = rpm.Checksum{Type: "sha512", Hex: open}
	}
	other := rpm.Data{Type: "other", Path: "repodata/other.xml", Checksum: rpm.Checksum{Type: rpm.SHA256, Hex: sha256Of("other")}, Size: 5, OpenSize: -1}
	return m, &rpm.Index{Data: []rpm.Data{other, d}}
}

// A file whose metadata has no SHA-256 or no size gets the row that its bytes have; one that stands twice is one.
func TestRows(t *testing.T) {
	t.Parallel()
	m, x := repository("",
		entry("a", rpm.SHA256, sha256Of(body), `<size package="10"/>`, "a.rpm"),
		entry("a", rpm.SHA256, sha256Of(body), `<size package="10"/>`, "./a.rpm"),
		entry("b", "sha512", sha512Of("another\n"), "", "b.rpm"))
	c, err := Read(t.Context(), "up/", x, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]snapshot.Blob{}
	for _, row := range c.Rows {
		got[row.Path] = row.Blob()
	}
	for p, text := range m {
		if got["up/"+p] != snapshot.BlobOf([]byte(text)) {
			t.Errorf("%s is %v", p, got["up/"+p])
		}
	}
	if len(got) != len(c.Rows) || len(got) != len(m) || c.Packages != 2 || len(c.Hashed) != 1 {
		t.Errorf("%d rows of %d paths, %d packages, %d read", len(c.Rows), len(got), c.Packages, len(c.Hashed))
	}
}

// Whatever contradicts itself is an integrity error, and no rows come of it.
func TestContradictions(t *testing.T) {
	t.Parallel()
	good := entry("a", rpm.SHA256, sha256Of(body), `<size package="10"/>`, "a.rpm")
	for name, make := range map[string]func() (memory, *rpm.Index){
		"two checksums of one path": func() (memory, *rpm.Index) {
			return repository("", good, entry("a", rpm.SHA256, sha256Of("x"), `<size package="10"/>`, "a.rpm"))
		},
		"two names of one path": func() (memory, *rpm.Index) {
			return repository("", good, entry("z", rpm.SHA256, sha256Of(body), `<size package="10"/>`, "a.rpm"))
		},
		"another SHA-512": func() (memory, *rpm.Index) {
			return repository("", entry("b", "sha512", sha512Of("x"), "", "b.rpm"))
		},
		"another size": func() (memory, *rpm.Index) {
			return repository("", entry("b", "sha512", sha512Of("another\n"), `<size package="9"/>`, "b.rpm"))
		},
		"another open checksum": func() (memory, *rpm.Index) { return repository(sha512Of("x"), good) },
		"another list": func() (memory, *rpm.Index) {
			m, x := repository("", good)
			m["repodata/primary.xml"] += " "
			return m, x
		},
		"no list": func() (memory, *rpm.Index) {
			m, x := repository("", good)
			m["repodata/primary.xml"] = "<html/>"
			x.Data[1].Checksum.Hex = sha256Of("<html/>")
			return m, x
		},
		"a package among the metadata": func() (memory, *rpm.Index) {
			return repository("", entry("a", rpm.SHA256, sha256Of(body), "", "repodata/a.rpm"))
		},
	} {
		m, x := make()
		if c, err := Read(t.Context(), "up/", x, m, nil); !errors.Is(err, pgp.ErrIntegrity) || c != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// liar gives wrong bytes first, and the right ones once it was told.
type liar struct {
	memory
	distrusted int
}

type lie struct {
	io.Reader
	l *liar
}

func (lie) Close() error { return nil }

func (l lie) Distrust(error) bool {
	l.l.distrusted++
	return true
}

func (l *liar) Open(ctx context.Context, p string, size int64) (io.ReadCloser, error) {
	if l.distrusted == 0 {
		return lie{bytes.NewReader([]byte("wrong")), l}, nil
	}
	return l.memory.Open(ctx, p, size)
}

// A place that gives other bytes is followed by the next.
func TestNextPlace(t *testing.T) {
	t.Parallel()
	l := &liar{memory: memory{"a.rpm": body}}
	b, err := Hash(t.Context(), l, "a.rpm", rpm.Checksum{Type: rpm.SHA256, Hex: sha256Of(body)}, -1)
	if err != nil || b != snapshot.BlobOf([]byte(body)) || l.distrusted != 1 {
		t.Error(b, err, l.distrusted)
	}
}

// What no directory can hold is refused, before anybody tries to write it.
func TestFilesBelowFiles(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"a.rpm/b.rpm", "a.rpm/c/d/b.rpm", "repodata/other.xml/b.rpm", "repodata/repomd.xml/b.rpm", "repodata/repomd.xml.asc/b.rpm"} {
		m, x := repository("",
			entry("b", rpm.SHA256, sha256Of(body), `<size package="10"/>`, at),
			entry("a", rpm.SHA256, sha256Of(body), `<size package="10"/>`, "a.rpm"))
		if _, err := Read(t.Context(), "dir/", x, m, nil); !errors.Is(err, pgp.ErrIntegrity) {
			t.Errorf("%s: %v", at, err)
		}
	}
	m, x := repository("", entry("a", rpm.SHA256, sha256Of(body), `<size package="10"/>`, "a.rpm"), entry("b", rpm.SHA256, sha256Of(body), `<size package="10"/>`, "a.rpm-b/b.rpm"))
	if _, err := Read(t.Context(), "dir/", x, m, nil); err != nil {
		t.Error(err)
	}
}
