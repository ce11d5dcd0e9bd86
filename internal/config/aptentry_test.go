package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/document"
)

const dockerSources = `Types: deb
URIs: https://download.docker.com/linux/debian
Suites: bookworm
Components: stable
Architectures: amd64
Signed-By: /etc/apt/keyrings/docker.asc
`

const debianSources = `Types: deb deb-src
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`

func entry(lines string) string {
	return "archives:\n- prefix: x\n  mode: curated\n  packages: none\n" + lines
}

// TestFromAptEntry holds that an entry that names apt's file is the same as
// one that says everything itself.
func TestFromAptEntry(t *testing.T) {
	dir := lay(t, map[string]string{
		"docker.sources": dockerSources, "debian.sources": debianSources,
		"docker.list": "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/debian bookworm stable\n",
		"two.list":    "deb [signed-by=/k.gpg] http://a.example.org/x one main\ndeb [signed-by=/k.gpg] http://a.example.org/x two main\n",
	})
	docker := entry("  url: https://download.docker.com/linux/debian\n  suites: [bookworm]\n  components: [stable]\n  architectures: [amd64]\n  signed-by: /etc/apt/keyrings/docker.asc\n")
	for _, c := range []struct{ name, apt, plain string }{
		{"deb822", entry("  from-apt: docker.sources\n"), docker},
		{"one line", entry("  from-apt: docker.list\n"), docker},
		{"chosen by url", entry("  from-apt: debian.sources\n  url: http://mirror.example.org/debian-security/\n  architectures: [arm64]\n"),
			entry("  url: http://mirror.example.org/debian-security\n  suites: [bookworm-security]\n  components: [main]\n  architectures: [arm64]\n  signed-by: /usr/share/keyrings/debian-archive-keyring.gpg\n")},
		{"own components and key", entry("  from-apt: debian.sources\n  url: http://mirror.example.org/debian\n  components: [main]\n  signed-by: /k.gpg\n  architectures: [amd64]\n"),
			entry("  url: http://mirror.example.org/debian\n  suites: [bookworm, bookworm-updates]\n  components: [main]\n  architectures: [amd64]\n  signed-by: /k.gpg\n")},
		{"suites of several lines", entry("  from-apt: two.list\n  architectures: [amd64]\n"),
			entry("  url: http://a.example.org/x\n  suites: [one, two]\n  components: [main]\n  architectures: [amd64]\n  signed-by: /k.gpg\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(filepath.Join(dir, "f"), []byte(c.apt))
			if err != nil {
				t.Fatal(err)
			}
			want, err := Parse(filepath.Join(dir, "f"), []byte(c.plain))
			if err != nil {
				t.Fatal(err)
			}
			a, b := got.Archives[0], want.Archives[0]
			for _, x := range [][2][]string{{a.URLs, b.URLs}, {a.Suites, b.Suites}, {a.Components, b.Components}, {a.Architectures, b.Architectures}, {{a.SignedBy}, {b.SignedBy}}} {
				if strings.Join(x[0], " ") != strings.Join(x[1], " ") {
					t.Errorf("got %v, want %v", x[0], x[1])
				}
			}
		})
	}
}

func TestFromAptEntryErrors(t *testing.T) {
	dir := lay(t, map[string]string{
		"debian.sources": debianSources, "docker.sources": dockerSources,
		"src.list":     "deb-src http://a.example.org/x one main\n",
		"nokey.list":   "deb [arch=amd64] http://a.example.org/x one main\n",
		"broken.list":  "deb [arch=amd64 http://a.example.org/x one main\n",
		"inline.list":  "deb [arch=amd64 signed-by=ABCD] http://a.example.org/x one main\n",
		"mixed.list":   "deb [arch=amd64 signed-by=/k] http://a.example.org/x one main\ndeb [arch=amd64 signed-by=/k] http://a.example.org/x two contrib\n",
		"strange.list": "deb [arch=amd64 signed-by=/k] tor+http://a.example.org/x one main\n",
	})
	for lines, want := range map[string]string{
		"  from-apt: nowhere.list\n":                                    "nowhere.list",
		"  from-apt: debian.sources\n":                                  "names no architectures",
		"  from-apt: debian.sources\n  architectures: [amd64]\n":        "several archives",
		"  from-apt: docker.sources\n  url: http://b.example.org/\n":    "no source of type deb with this url:",
		"  from-apt: docker.sources\n  suites: [bookworm]\n":            "cannot stand beside it",
		"  from-apt: docker.sources\n  mirror: http://b.example.org/\n": "cannot stand beside it",
		"  from-apt: src.list\n":                                        "no source of type deb",
		"  from-apt: nokey.list\n":                                      "write signed-by:",
		"  from-apt: inline.list\n":                                     "write signed-by:",
		"  from-apt: broken.list\n":                                     "broken.list:1",
		"  from-apt: mixed.list\n":                                      "several archives",
		"  from-apt: strange.list\n":                                    "tor+http",
		"  from-apt: [a, b]\n":                                          "from-apt",
	} {
		_, err := Parse(filepath.Join(dir, "f"), []byte(entry(lines)))
		if !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "f:5: ") {
			t.Errorf("%q: got %v, want %q at line 5", lines, err, want)
		}
	}
}
