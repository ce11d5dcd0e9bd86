package imagefind

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Tags that are no one's choice: those that mmoci sets beside a tag, under way, and those of what refers to an image. A tag that only
// looks so is one.
func TestKept(t *testing.T) {
	d := snapshot.Sum([]byte("image"))
	hex := d.Hex()
	names := map[string]bool{"1": true, "web": true}
	for name, want := range map[string]bool{
		"1-" + hex[:12]:           true,
		"2-" + hex[:12]:           false, // whose tag is gone: nothing else names it
		"1-0123456789ab":          false, // another image's digits
		"web-ckpt-0123456789ab-3": true,
		"web-ckpt-3":              false,
		"1":                       false,
		strings.Repeat("x", 115) + "-" + hex[:12]: true, // of a tag that was cut
	} {
		if got := kept(artifact.Tag{Name: name, Digest: d}, names); got != want {
			t.Errorf("%s is kept beside another one: %v", name, got)
		}
	}
	for name, want := range map[string]bool{"sha256-" + hex: true, "sha256-" + hex + ".sig": true, "sha256-" + hex[:20]: false, "x-sha256-" + hex: false} {
		if got := attached.MatchString(name); got != want {
			t.Errorf("%s is of what refers to an image: %v", name, got)
		}
	}
}

// What a name stands for, without asking anybody; and what means nothing.
func TestListRefuses(t *testing.T) {
	got, err := List(t.Context(), "registry.example.org/site/web:1", Options{})
	if err != nil || len(got) != 1 || got[0].Listed {
		t.Errorf("%+v, %v", got, err)
	}
	for _, name := range []string{"*", "/*", ":*", "registry.example.org/*/web", "registry.example.org/web:*:1", "a**"} {
		if got, err := List(t.Context(), name, Options{}); err == nil {
			t.Errorf("%s is %+v", name, got)
		}
	}
	r := testregistry.New(t, testregistry.Options{Catalog: 1})
	if _, err := List(t.Context(), r.Host()+"/*", Options{}); !errors.Is(err, outcome.ErrNotFound) {
		t.Errorf("of an empty registry: %v", err)
	}
	none := testregistry.New(t, testregistry.Options{})
	if _, err := List(t.Context(), none.Host()+"/*", Options{}); err == nil || errors.Is(err, outcome.ErrNotFound) || errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("of a registry that lists nothing: %v", err)
	}
}

func TestReadReferences(t *testing.T) {
	file := filepath.Join(t.TempDir(), "refs")
	if err := os.WriteFile(file, []byte("# all\r\n\nregistry.example.org/a:1 # one\n  oci:b\noci:c"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ReadReferences(file)
	if want := []string{"registry.example.org/a:1", "oci:b", "oci:c"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}
