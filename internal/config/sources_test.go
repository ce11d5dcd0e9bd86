package config

import (
	"errors"
	"example.org/mmoci/internal/config/document"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// placeless removes what differs between two spellings of one wish.
func placeless(p *Plan) *Plan {
	q := *p
	q.File, q.CommonList = "", ""
	q.Archives = nil
	for _, a := range p.Archives {
		a.Position = document.Position{}
		var qs []Query
		for _, x := range a.Packages {
			qs = append(qs, Query{Text: x.Text})
		}
		a.Packages = qs
		q.Archives = append(q.Archives, a)
	}
	return &q
}

func TestLoadSources(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{
		"docker/docker/source.txt":           "https://download.docker.com/linux/ubuntu https://download.docker.com/linux/ubuntu/gpg bionic stable\n",
		"docker/docker/packages.txt":         "docker-ce\npackage3 (>=3.6)\n",
		"ubuntu/bionic/source.txt":           "http://archive.example.org/ubuntu/ ../key.asc bionic main universe\n",
		"ubuntu/bionic/packages.txt":         "# base\r\n\r\nceph-common  \r\n  nginx | apache2 # one of them\r\n",
		"ubuntu/bionic-updates/source.txt":   "http://archive.example.org/ubuntu ../key.asc bionic-updates main restricted",
		"ubuntu/bionic-updates/packages.txt": "ceph-common\nlinux-firmware\n",
		"tools/aptly/source.txt":             "# one line\n\nfile:///srv/aptly  file:///keys/aptly.asc\t./ \n",
		"tools/aptly/packages.txt":           "all # the whole of it",
		"tools/aptly/aptly.conf":             `{"architectures": ["arm64", "amd64", "source"], "gpgDisableVerify": true, "downloadConcurrency": 4}`,
		".git/x/source.txt":                  "not ours",
		"README":                             "not a source",
	})
	got, err := LoadSources(dir)
	if err != nil {
		t.Fatal(err)
	}
	at := func(p string, line int) document.Position { return document.At(filepath.Join(dir, p), line) }
	want := &Plan{File: dir, CommonList: filepath.Join(dir, "packages.txt"), Archives: []Archive{
		{
			Position: at("docker/docker/source.txt", 1), Prefix: "docker", URLs: []string{"https://download.docker.com/linux/ubuntu"},
			Suites: []string{"bionic"}, Components: []string{"stable"}, Architectures: []string{"amd64"},
			SignedByURL: "https://download.docker.com/linux/ubuntu/gpg", CheckValidUntil: true,
			Packages: []Query{{"docker-ce", at("docker/docker/packages.txt", 1)}, {"package3 (>=3.6)", at("docker/docker/packages.txt", 2)}},
		},
		{
			Position: at("tools/aptly/source.txt", 3), Prefix: "tools", URLs: []string{"file:///srv/aptly"}, Suites: []string{"./"},
			Architectures: []string{"amd64", "arm64"}, SignedBy: "/keys/aptly.asc", CheckValidUntil: true, All: true, WithSources: true,
		},
		{
			Position: at("ubuntu/bionic/source.txt", 1), Prefix: "ubuntu", URLs: []string{"http://archive.example.org/ubuntu"},
			Suites: []string{"bionic", "bionic-updates"}, Components: []string{"main", "restricted", "universe"}, Architectures: []string{"amd64"},
			SignedBy: filepath.Join(dir, "ubuntu/key.asc"), CheckValidUntil: true,
			Packages: []Query{
				{"ceph-common", at("ubuntu/bionic/packages.txt", 3)}, {"nginx | apache2", at("ubuntu/bionic/packages.txt", 4)},
				{"linux-firmware", at("ubuntu/bionic-updates/packages.txt", 2)},
			},
		},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestLoadSourcesCommon holds that the list of a whole tree asks over all sources.
func TestLoadSourcesCommon(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{
		"packages.txt":              "web\n# comment\nweb\ntini (>= 1)\n",
		"debian/stable/source.txt":  "http://h/debian key.asc stable main\n",
		"debian/updates/source.txt": "http://h/debian ../stable/key.asc updates main\n",
		"other/x/source.txt":        "http://h/other key.asc x main\n",
		"other/x/packages.txt":      "own\n",
	})
	p, err := LoadSources(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := textsOf(p.Packages); len(got) != 2 || got[0] != "web" || got[1] != "tini (>= 1)" {
		t.Errorf("asked for over all: %q", got)
	}
	if d, o := p.Archives[0], p.Archives[1]; !d.None || len(d.Suites) != 2 || o.None || len(o.Packages) != 1 {
		t.Errorf("archives %+v", p.Archives)
	}
}

func TestLoadSourcesErrors(t *testing.T) {
	t.Parallel()
	const line = "http://u:hunter2@h/d key.asc s c\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		says  string
	}{
		{"nothing", map[string]string{"README": ""}, `: no sources; lay it out as PREFIX/NAME/source.txt`},
		{"empty prefix", map[string]string{"p/README": ""}, `/p: no source below it; make `},
		{"one level", map[string]string{"aptly-example/source.txt": line, "aptly-example/packages.txt": "a"}, `/aptly-example/source.txt: one directory too high; move it to `},
		{"no source.txt", map[string]string{"p/n/packages.txt": "a"}, `/p/n/source.txt: no such file`},
		{"no packages.txt", map[string]string{"p/n/source.txt": line}, `/p/n/packages.txt: no such file`},
		{"empty source.txt", map[string]string{"p/n/source.txt": "\n# x\n", "p/n/packages.txt": "a"}, `/p/n/source.txt:1: empty; write one line: URL KEY SUITE COMPONENT...`},
		{"two lines", map[string]string{"p/n/source.txt": line + line, "p/n/packages.txt": "a"}, `/p/n/source.txt:2: a second line`},
		{"few fields", map[string]string{"p/n/source.txt": "http://u:hunter2@h/d key s", "p/n/packages.txt": "a"}, `/p/n/source.txt:1: 3 fields, should be URL KEY SUITE COMPONENT...`},
		{"empty list", map[string]string{"p/n/source.txt": line, "p/n/packages.txt": "# none\n\n"}, `/p/n/packages.txt:1: no package in the list; name at least one, or write the line "all"`},
		{"all and more", map[string]string{"p/n/source.txt": line, "p/n/packages.txt": "a\nall\n"}, `/p/n/packages.txt:2: "all" stands beside other packages`},
		{"not text", map[string]string{"p/n/source.txt": line, "p/n/packages.txt": "a\xff"}, `/p/n/packages.txt:1: not UTF-8 text`},
		{"bad prefix", map[string]string{"P/n/source.txt": line, "P/n/packages.txt": "a"}, `/P/n/source.txt:1: prefix "P": not of the form [a-z0-9][a-z0-9.+-]*; write p`},
		{"two URLs", map[string]string{
			"p/a/source.txt": line, "p/a/packages.txt": "a",
			"p/b/source.txt": "http://u:hunter2@other/d key.asc s2 c", "p/b/packages.txt": "a",
		}, `/p/b/source.txt:1: URL "http://***@other/d", but under the same prefix`},
		{"list and whole", map[string]string{
			"p/a/source.txt": line, "p/a/packages.txt": "a",
			"p/b/source.txt": "http://u:hunter2@h/d ../a/key.asc s2 c", "p/b/packages.txt": "all",
		}, `/p/b/source.txt:1: of the sources of prefix p this one and `},
		{"aptly.conf recommends", map[string]string{"p/n/source.txt": line, "p/n/packages.txt": "a", "p/n/aptly.conf": `{"dependencyFollowRecommends": true}`},
			`/p/n/aptly.conf:1: aptly configuration: dependencyFollowRecommends is not supported; it holds for a whole snapshot`},
		{"aptly.conf no JSON", map[string]string{"p/n/source.txt": line, "p/n/packages.txt": "a", "p/n/aptly.conf": `x`}, `/p/n/aptly.conf:1: aptly configuration: not JSON`},
		{"aptly.conf architecture", map[string]string{"p/n/source.txt": line, "p/n/packages.txt": "a", "p/n/aptly.conf": `{"architectures": ["x_y"]}`}, `architectures: "x_y" is no architecture`},
	} {
		_, err := LoadSources(lay(t, tt.files))
		if !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.name, err, tt.says)
		}
	}
}

const miniMirror = `---
name: docker
url: https://download.docker.com/linux/ubuntu
key_url: https://download.docker.com/linux/ubuntu/gpg
aptly_config: |
  {
    "rootDir": "/opt/.aptly",
    "architectures": ["amd64"],
    "dependencyFollowRecommends": false,
    "gpgDisableVerify": true
  }
components:
  - stable
subrepos:
  - distribution: bionic
    packages:
      - name: docker-ce
        version: 20.10.9~3-0~ubuntu-bionic
      - name: containerd.io
      - name: old
        version: 1.10
      - name: exact
        version: 1.0-1_amd64
...
---
name: ubuntu
url: http://archive.example.org/ubuntu/
key_url: keys/ubuntu.asc
components: [main, universe]
subrepos:
  - distribution: bionic-updates
    packages: [{name: linux-firmware}]
  - distribution: bionic
    packages:
      - {name: ceph-common}
      - {name: package3 (>=3.6)}
...
# the end
`

func miniMirrorTree(t *testing.T, base string) string {
	return lay(t, map[string]string{
		"docker/bionic/source.txt":           "https://download.docker.com/linux/ubuntu https://download.docker.com/linux/ubuntu/gpg bionic stable\n",
		"docker/bionic/packages.txt":         "docker-ce (= 20.10.9~3-0~ubuntu-bionic)\ncontainerd.io\nold (= 1.10)\nexact_1.0-1_amd64\n",
		"ubuntu/base/source.txt":             "http://archive.example.org/ubuntu " + filepath.Join(base, "keys/ubuntu.asc") + " bionic universe main\n",
		"ubuntu/base/packages.txt":           "ceph-common\npackage3 (>=3.6)\n",
		"ubuntu/bionic-updates/source.txt":   "http://archive.example.org/ubuntu " + filepath.Join(base, "keys/ubuntu.asc") + " bionic-updates main universe\n",
		"ubuntu/bionic-updates/packages.txt": "linux-firmware\n",
	})
}

// TestMiniMirrorYAML holds A7: bare or wrapped, the YAML form is the tree.
func TestMiniMirrorYAML(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{"bare.yaml": miniMirror, "wrapped.yaml": deckhand(miniMirror)})
	tree, err := LoadSources(miniMirrorTree(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bare.yaml", "wrapped.yaml"} {
		p, err := LoadSources(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(placeless(p), placeless(tree)) {
			t.Errorf("%s: got %+v\nwant %+v", name, placeless(p), placeless(tree))
		}
		if got := p.Archives[0].Packages[1].Line; name == "bare.yaml" && got != 19 {
			t.Errorf("containerd.io in line %d", got)
		}
	}
}

// deckhand wraps each document, among others that are not ours.
func deckhand(bare string) string {
	out := "---\nschema: deckhand/Passphrase/v1\nmetadata: {schema: metadata/Document/v1, name: x, layeringDefinition: {abstract: true, layer: site}}\ndata: secret\n"
	for doc := range strings.SplitSeq(bare, "---\n") {
		body, _, ok := strings.Cut(doc, "...\n")
		if !ok {
			continue
		}
		out += "---\nschema: nc/MiniMirrorSource/v1\nmetadata:\n  schema: metadata/Document/v1\n  name: s\n  layeringDefinition: {abstract: false, layer: global}\n  storagePolicy: cleartext\ndata:\n"
		for line := range strings.Lines(body) {
			out += "  " + line
		}
		out += "...\n"
	}
	return out
}

func TestMiniMirrorOverrides(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"codename", "code_name"} {
		p, err := parseMiniMirror("f", []byte("name: p\nurl: /d\nkey_url: k\nlabel: Ours\n"+key+": bionic\ncomponents: [main]\nsubrepos:\n- distribution: s\n  packages: all\n"))
		if err != nil {
			t.Fatal(err)
		}
		if a := p.Archives[0]; a.Label != "Ours" || a.Codename != "bionic" || !a.All || a.SignedBy != "k" {
			t.Errorf("%+v", a)
		}
	}
}

func TestMiniMirrorErrors(t *testing.T) {
	t.Parallel()
	const head = "name: p\nurl: http://u:hunter2@h/d\nkey_url: k\ncomponents: [main]\n"
	const wrap = "schema: nc/MiniMirrorSource/v1\n"
	for _, tt := range []struct{ yaml, says string }{
		{"", `f:1: no source`},
		{"schema: deckhand/Passphrase/v1\ndata: x\n", `f:1: no source`},
		{"- a\n", `f:1: is a list`},
		{head, `f:1: source p: no subrepos:`},
		{strings.Replace(head, "name: p\n", "", 1) + "subrepos: [{distribution: s, packages: all}]\n", `: no name:`},
		{strings.Replace(head, "key_url: k\n", "", 1) + "subrepos: [{distribution: s, packages: all}]\n", `f:1: source p: no key_url:`},
		{head + "subrepos: []\n", `f:5: subrepos: is an empty list`},
		{head + "subrepos:\n- packages: all\n", `f:6: subrepo of p: no distribution:`},
		{head + "subrepos:\n- distribution: s\n", `f:6: subrepo s of p: no packages:; name them, or write packages: all`},
		{head + "subrepos:\n- distribution: s\n  packages:\n", `f:7: packages: has no value; give it a list`},
		{head + "subrepos:\n- distribution: s\n  packages: []\n", `packages: all takes the whole component`},
		{head + "subrepos:\n- distribution: s\n  packages: [docker-ce]\n", `f:7: is a single value, should be keys with values`},
		{head + "subrepos:\n- distribution: s\n  packages: [{name: a, version: \">= 2\"}]\n", `f:7: package a: version ">= 2" is no exact version; write the condition into name`},
		{head + "subrepos:\n- distribution: s\n  packages: [{name: a (>= 1), version: 2}]\n", `f:7: package a (>= 1): a query cannot have a version: beside it`},
		{head + "subrepos:\n- distribution: s\n  packages: [{version: 2}]\n", `f:7: package without name:`},
		{head + "subrepos:\n- distribution: s\n  packages: [{name: a, vesion: 2}]\n", `f:7: unknown key "vesion"; did you mean "version"?`},
		{head + "codename: a\ncode_name: b\nsubrepos: [{distribution: s, packages: all}]\n", `codename and code_name differ`},
		{head + "aptly_config: {}\nsubrepos: [{distribution: s, packages: all}]\n", `f:5: aptly_config: is keys with values, should be the JSON text`},
		{head + "aptly_config: '{\"dependencyFollowSuggests\": true}'\nsubrepos: [{distribution: s, packages: all}]\n", `f:5: aptly configuration: dependencyFollowSuggests is not supported`},
		{wrap, `f:1: a document of schema nc/MiniMirrorSource/v1 without data:`},
		{wrap + "metadata: {substitutions: [x]}\ndata: {name: p}\n", `f:2: substitutions: is for Deckhand; render the documents first`},
		{wrap + "metadata: {layeringDefinition: {parentSelector: {name: x}}}\ndata: {name: p}\n", `parentSelector: is for Deckhand`},
		{wrap + "metadata: {layeringDefinition: {abstract: true}}\ndata: {name: p}\n", `abstract: is for Deckhand`},
		{wrap + "data: {nam: p}\n", `unknown key "nam"; did you mean "name"?`},
	} {
		_, err := parseMiniMirror("f", []byte(tt.yaml))
		if !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q:\ngot  %v\nwant %s", tt.yaml, err, tt.says)
		}
	}
}

// FuzzMiniMirror is FuzzLoad for the mini-mirror's YAML.
func FuzzMiniMirror(f *testing.F) {
	f.Add([]byte(miniMirror))
	f.Add([]byte(deckhand(miniMirror)))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseMiniMirror("f", data)
		if err != nil {
			if !errors.Is(err, document.ErrUsage) {
				t.Errorf("%q", err)
			}
			return
		}
		if err := p.Validate(); err != nil || len(p.Archives) == 0 {
			t.Error(p, err)
		}
	})
}

// FuzzList holds that lists and source.txt lines are read or refused, and that comments and blanks do not count.
func FuzzList(f *testing.F) {
	for _, s := range []string{"a\nb # c\n", "Name (~ \"#\") # x", "\ufeffa\r\n", "http://h/ k s c", "'# x", "\ufeff\ufeff", "a\tb", "#", "it's # so"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = document.Normalise(data)
		qs, err := parseList("f", data)
		if err != nil {
			return
		}
		var clean strings.Builder
		for _, q := range qs {
			clean.WriteString(q.Text + "\n")
		}
		again, err := parseList("f", []byte(clean.String()))
		if err != nil || len(again) != len(qs) {
			t.Fatalf("%q: %q, %v", data, again, err)
		}
		for i := range qs {
			if again[i].Text != qs[i].Text {
				t.Errorf("%q became %q", qs[i].Text, again[i].Text)
			}
		}
		_, _ = parseSourceLine("f", data)
	})
}
