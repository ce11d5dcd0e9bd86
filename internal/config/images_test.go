package config

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/document"
)

func TestImages(t *testing.T) {
	t.Parallel()
	plan, err := Parse("dir/mmoci.yaml", []byte(`
images-to: registry.example.org/site/images
image-platforms: [linux/arm64, linux/amd64]
images:
- Registry.Example.Org/pause:3.10
- docker.io/nginx
- registry.example.org:5000/b/c:v1@sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
- image: oci:dist/image:latest
  as: registry.example.org/mmoci:1.0
  platforms: [linux/arm/v7]
- {image: "oci-archive:/srv/x.tar", as: registry.example.org/x}
`))
	if err != nil {
		t.Fatal(err)
	}
	both := []string{"linux/amd64", "linux/arm64"}
	want := []Image{
		{From: "Registry.Example.Org/pause:3.10", Name: "registry.example.org/pause:3.10", Platforms: both},
		{From: "docker.io/nginx", Name: "docker.io/library/nginx:latest", Platforms: both},
		{From: "registry.example.org:5000/b/c:v1@sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", Name: "registry.example.org:5000/b/c:v1", Platforms: both},
		{From: "oci:" + filepath.Join("dir", "dist/image:latest"), Name: "registry.example.org/mmoci:1.0", Platforms: []string{"linux/arm/v7"}},
		{From: "oci-archive:/srv/x.tar", Name: "registry.example.org/x:latest", Platforms: both},
	}
	for i, m := range plan.Images {
		m.Position = document.Position{}
		if m.From != want[i].From || m.Name != want[i].Name || !slices.Equal(m.Platforms, want[i].Platforms) {
			t.Errorf("%d: %+v\nwant %+v", i, m, want[i])
		}
	}
	if len(plan.Images) != len(want) || plan.ImagesTo != "registry.example.org/site/images" {
		t.Errorf("%+v", plan)
	}
}

func TestImagesRefused(t *testing.T) {
	t.Parallel()
	for yaml, says := range map[string]string{
		"images: registry.example.org/a:1":                                         "f:1: images:",
		"images:\n- nginx":                                                         `f:2: images: "nginx" has no registry; write HOST/REPO:TAG, such as docker.io/library/nginx`,
		"images:\n- registry.example.org/A:1":                                      `f:2: images: "registry.example.org/A:1" is no HOST/REPO:TAG`,
		"images:\n- oci:dir:a":                                                     "f:2: images: oci:dir:a: a file tells no name",
		"images:\n- registry.example.org/a@sha256:00":                              "f:2: images: registry.example.org/a@sha256:00: a digest alone is no name",
		"images:\n- {as: registry.example.org/a:1}":                                "f:2: names no image",
		"images:\n- {image: oci:dir, as: \"b:1\"}":                                 `f:2: images: oci:dir: as: is "b:1", should be HOST/REPO:TAG`,
		"images:\n- {image: registry.example.org/a:1, platform: [linux/amd64]}":    `f:2: unknown key "platform"; did you mean "platforms"?`,
		"images:\n- {image: registry.example.org/a:1, platforms: [amd64]}":         `"amd64" is no platform`,
		"images:\n- registry.example.org/a:1\n- registry.example.org/a:1":          "f:3: images: registry.example.org/a:1 and registry.example.org/a:1 (line 2) would both be called a:1",
		"images:\n- registry.example.org/a:1\n- other.example.org/a:1":             "f:3: images: other.example.org/a:1 and registry.example.org/a:1 (line 2) would both be called a:1",
		"images-to: here\nimages:\n- registry.example.org/a:1":                     `images-to: is "here", should be HOST/REPO`,
		"images:\n- registry.example.org/" + strings.Repeat("a", 300) + ":1":       "is no HOST/REPO:TAG",
		"images:\n- registry.example.org/a:1\nimage-platforms: [linux/amd64/v1/x]": "is no platform",
	} {
		if _, err := Parse("f", []byte(yaml+"\n")); !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s:\ngot  %v\nwant %s", yaml, err, says)
		}
	}
}
