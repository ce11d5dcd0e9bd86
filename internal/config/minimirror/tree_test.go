package minimirror

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
)

// placeless removes what differs between two spellings of one wish.
func placeless(p *config.Plan) *config.Plan {
	q := *p
	q.File, q.CommonList = "", ""
	q.Archives = nil
	for _, a := range p.Archives {
		a.Position = document.Position{}
		var qs []config.Query
		for _, x := range a.Packages {
			qs = append(qs, config.Query{Text: x.Text})
		}
		a.Packages = qs
		q.Archives = append(q.Archives, a)
	}
	return &q
}

func TestLoad(t *testing.T) {
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
	got, err := Load(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := func(p string, line int) document.Position { return document.At(filepath.Join(dir, p), line) }
	want := &config.Plan{File: dir, CommonList: filepath.Join(dir, "packages.txt"), Archives: []config.Archive{
		{
			Position: at("docker/docker/source.txt", 1), Prefix: "docker", URLs: []string{"https://download.docker.com/linux/ubuntu"},
			Suites: []string{"bionic"}, Components: []string{"stable"}, Architectures: []string{"amd64"},
			SignedByURL: "https://download.docker.com/linux/ubuntu/gpg", CheckValidUntil: true,
			Packages: []config.Query{{Text: "docker-ce", Position: at("docker/docker/packages.txt", 1)}, {Text: "package3 (>=3.6)", Position: at("docker/docker/packages.txt", 2)}},
		},
		{
			Position: at("tools/aptly/source.txt", 3), Prefix: "tools", URLs: []string{"file:///srv/aptly"}, Suites: []string{"./"},
			Architectures: []string{"amd64", "arm64"}, SignedBy: "/keys/aptly.asc", CheckValidUntil: true, All: true, WithSources: true,
		},
		{
			Position: at("ubuntu/bionic/source.txt", 1), Prefix: "ubuntu", URLs: []string{"http://archive.example.org/ubuntu"},
			Suites: []string{"bionic", "bionic-updates"}, Components: []string{"main", "restricted", "universe"}, Architectures: []string{"amd64"},
			SignedBy: filepath.Join(dir, "ubuntu/key.asc"), CheckValidUntil: true,
			Packages: []config.Query{
				{Text: "ceph-common", Position: at("ubuntu/bionic/packages.txt", 3)}, {Text: "nginx | apache2", Position: at("ubuntu/bionic/packages.txt", 4)},
				{Text: "linux-firmware", Position: at("ubuntu/bionic-updates/packages.txt", 2)},
			},
		},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestLoadCommon holds that the list of a whole tree asks over all sources.
func TestLoadCommon(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{
		"packages.txt":              "web\n# comment\nweb\ntini (>= 1)\n",
		"debian/stable/source.txt":  "http://h/debian key.asc stable main\n",
		"debian/updates/source.txt": "http://h/debian ../stable/key.asc updates main\n",
		"other/x/source.txt":        "http://h/other key.asc x main\n",
		"other/x/packages.txt":      "own\n",
	})
	p, err := Load(dir, Options{})
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

// faultsOf are the faults of an error without the directory, in their order.
func faultsOf(err error, dir string) []string {
	if err == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(err.Error(), dir+"/", ""), "\n")
}

// TestAllFaults: a tree, and its YAML form, tell all their faults at once, each with its place.
func TestAllFaults(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{
		"Up/n/source.txt":       "http://h/d key.asc s c\n",
		"Up/n/packages.txt":     "a (>= 1\nb\n)\n",
		"broken/n/source.txt":   "http://h/d key.asc\nppa:a/b\n",
		"broken/n/packages.txt": "a (>= 1\n",
		"both/a/source.txt":     "http://h/d key.asc s c\n",
		"both/a/packages.txt":   "# none\n",
		"both/a/aptly.conf":     "{\n\"architectures\": [\"arm64\"],\n\"arch\": 1\n}",
		"both/b/source.txt":     "http://other/d other.asc s2 c\n",
		"both/b/packages.txt":   "x\nall\n",
		"ftp/n/source.txt":      "ftp://h/d key.asc dists/s c\n",
		"high/source.txt":       "x",
		"none/README":           "x",
		"missing/n/source.txt":  "ppa:o/n key.asc s c\n",
		"conf":                  "downloadSourcePackages: true\n",
	})
	_, err := Load(dir, Options{AptlyConf: filepath.Join(dir, "conf"), AptlyConfFrom: "APTLY_CONFIG_PATH"})
	got := faultsOf(err, dir)
	for _, want := range []string{
		`conf:1: aptly configuration: unknown key "downloadSourcePackages"; did you mean "download_sourcepackages"?`,
		`both/a/packages.txt:1: no package in the list`,
		`both/a/aptly.conf:3: aptly configuration: unknown key "arch"; did you mean "architectures"?`,
		`both/b/packages.txt:2: "all" stands beside other packages`,
		`both/b/source.txt:1: URL "http://other/d", but under the same prefix both/a/source.txt:1 has "http://h/d"`,
		`both/b/source.txt:1: key "both/b/other.asc", but under`,
		`both/b/source.txt:1: architectures "amd64", but under`,
		`broken/n/source.txt:1: 2 fields, should be URL KEY SUITE COMPONENT...`,
		`broken/n/source.txt:2: a second line`,
		`broken/n/packages.txt:1: query: column `,
		`ftp/n/packages.txt: no such file`,
		`ftp/n/source.txt:1: archive ftp: url: ftp://h/d: scheme "ftp"`,
		`ftp/n/source.txt:1: archive ftp: suites: "dists/s" begins with dists/; write s`,
		`high/source.txt: one directory too high; move it to high/NAME/source.txt`,
		`missing/n/source.txt:1: ppa:o/n is aptly's short form of an archive; write its address`,
		`missing/n/packages.txt: no such file`,
		`none: no source below it; make none/NAME/source.txt`,
		`Up/n/source.txt:1: prefix "Up": not of the form [a-z0-9][a-z0-9.+-]*; write up`,
		`Up/n/packages.txt:1: query: column `,
		`Up/n/packages.txt:3: query: column `,
	} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("not told: %s", want)
		}
	}
	told := 0
	for _, s := range got {
		if !strings.HasPrefix(s, " ") { // the picture of a query
			told++
		}
	}
	if told != 20 || !errors.Is(err, document.ErrUsage) {
		t.Errorf("%d faults:\n%v", told, err)
	}

	_, err = parseMiniMirror("f", []byte(`---
nam: one
url: http://h/d
components: [main, main]
aptly_config: |
  {
    "architectures": [],
    "depVerbose": 1
  }
subrepos:
- distribution: s
  packages:
  - {name: a, version: ">= 2"}
  - {nam: b}
  - {name: "c (>= 1"}
- {distribution: t}
---
name: two
url: /d
key_url: k
components: [main]
subrepos:
- {distribution: s, packages: [{name: "c (>= 1"}]}
- {distribution: dists/s, packages: [{name: c}], x: 1}
`), Options{AptlyConf: filepath.Join(dir, "gone"), AptlyConfFrom: "APTLY_CONFIG_PATH"})
	got = faultsOf(err, dir)
	for i, want := range []string{
		`gone: file does not exist; it is the aptly.conf that APTLY_CONFIG_PATH names`,
		`f:2: unknown key "nam"; did you mean "name"?`,
		`f:2: source: no key_url:`,
		`f:4: components: main stands twice in the list`,
		`f:7: aptly configuration: architectures is empty`,
		`f:8: aptly configuration: unknown key "depVerbose"`,
		`f:13: package a: version ">= 2" is no exact version`,
		`f:14: unknown key "nam"; did you mean "name"?`,
		`f:15: query: column `,
		"  ", "  ",
		`f:16: subrepo t of the source: no packages:`,
		`f:23: query: column `,
		"  ", "  ",
		`f:24: unknown key "x"`,
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("fault %d is not %s:\n%v", i, want, err)
		}
	}
	if len(got) != 16 {
		t.Errorf("%d lines:\n%v", len(got), err)
	}
}

// TestAptlyDefault: the named aptly.conf holds for sources without their own.
func TestAptlyDefault(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{
		"sources/own/n/source.txt":   "http://h/own key.asc s c\n",
		"sources/own/n/packages.txt": "a\n",
		"sources/own/n/aptly.conf":   `{"architectures": ["amd64"], "dependencyFollowRecommends": true}`,
		"sources/new/n/source.txt":   "http://h/new key.asc s c\n",
		"sources/new/n/packages.txt": "a\n",
		"aptly.conf":                 `{"architectures": ["arm64", "source"], "dependencyFollowRecommends": true}`,
		"f.yaml":                     "name: p\nurl: /d\nkey_url: k\ncomponents: [main]\nsubrepos: [{distribution: s, packages: all}]\n",
	})
	o := Options{AptlyConf: filepath.Join(dir, "aptly.conf"), AptlyConfFrom: "APTLY_CONFIG_PATH"}
	p, err := Load(filepath.Join(dir, "sources"), o)
	if err != nil {
		t.Fatal(err)
	}
	fresh, own := p.Archives[0], p.Archives[1]
	if fresh.Architectures[0] != "arm64" || !fresh.WithSources || own.Architectures[0] != "amd64" || own.WithSources || !p.Recommends {
		t.Errorf("%+v", p)
	}
	p, err = Load(filepath.Join(dir, "f.yaml"), o)
	if err != nil || p.Archives[0].Architectures[0] != "arm64" || !p.Recommends {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestLoadErrors(t *testing.T) {
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
		{"aptly.conf recommends", map[string]string{
			"p/n/source.txt": line, "p/n/packages.txt": "a", "p/n/aptly.conf": `{"dependencyFollowRecommends": true}`,
			"q/n/source.txt": line, "q/n/packages.txt": "a",
		}, `/p/n/aptly.conf:1: aptly configuration: dependencyFollowRecommends holds for a whole snapshot here, and the source of `},
		{"aptly.conf no JSON", map[string]string{"p/n/source.txt": line, "p/n/packages.txt": "a", "p/n/aptly.conf": `x`}, `/p/n/aptly.conf:1: aptly configuration: not JSON`},
		{"aptly.conf architecture", map[string]string{"p/n/source.txt": line, "p/n/packages.txt": "a", "p/n/aptly.conf": `{"architectures": ["x_y"]}`}, `architectures: "x_y" is no architecture`},
	} {
		_, err := Load(lay(t, tt.files), Options{})
		if !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.name, err, tt.says)
		}
	}
}

const miniMirrorText = `---
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
	dir := lay(t, map[string]string{"bare.yaml": miniMirrorText, "wrapped.yaml": deckhand(miniMirrorText)})
	tree, err := Load(miniMirrorTree(t, dir), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bare.yaml", "wrapped.yaml"} {
		p, err := Load(filepath.Join(dir, name), Options{})
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
		p, err := parseMiniMirror("f", []byte("name: p\nurl: /d\nkey_url: k\nlabel: Ours\n"+key+": bionic\ncomponents: [main]\nsubrepos:\n- distribution: s\n  packages: all\n"), Options{})
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
		{head + "subrepos:\n- packages: all\n", `f:6: subrepo of the source p: no distribution:`},
		{head + "subrepos:\n- distribution: s\n", `f:6: subrepo s of the source p: no packages:; name them, or write packages: all`},
		{head + "subrepos:\n- distribution: s\n  packages:\n", `f:7: packages: has no value; give it a list`},
		{head + "subrepos:\n- distribution: s\n  packages: []\n", `packages: all takes the whole component`},
		{head + "subrepos:\n- distribution: s\n  packages: [docker-ce]\n", `f:7: is a single value, should be keys with values`},
		{head + "subrepos:\n- distribution: s\n  packages: [{name: a, version: \">= 2\"}]\n", `f:7: package a: version ">= 2" is no exact version; write the condition into name`},
		{head + "subrepos:\n- distribution: s\n  packages: [{name: a (>= 1), version: 2}]\n", `f:7: package a (>= 1): a query cannot have a version: beside it`},
		{head + "subrepos:\n- distribution: s\n  packages: [{version: 2}]\n", `f:7: package without name:`},
		{head + "subrepos:\n- distribution: s\n  packages: [{name: a, vesion: 2}]\n", `f:7: unknown key "vesion"; did you mean "version"?`},
		{head + "codename: a\ncode_name: b\nsubrepos: [{distribution: s, packages: all}]\n", `codename and code_name differ`},
		{head + "aptly_config: {}\nsubrepos: [{distribution: s, packages: all}]\n", `f:5: aptly_config: is keys with values, should be the text of an aptly.conf`},
		{head + "aptly_config: '{\"dependencyFollowSuggests\": true}'\nsubrepos: [{distribution: s, packages: all}]\n", `f:5: aptly configuration: dependencyFollowSuggests is not supported`},
		{wrap, `f:1: a document of schema nc/MiniMirrorSource/v1 without data:`},
		{wrap + "metadata: {substitutions: [x]}\ndata: {name: p}\n", `f:2: substitutions: is for Deckhand; render the documents first`},
		{wrap + "metadata: {layeringDefinition: {parentSelector: {name: x}}}\ndata: {name: p}\n", `parentSelector: is for Deckhand`},
		{wrap + "metadata: {layeringDefinition: {abstract: true}}\ndata: {name: p}\n", `abstract: is for Deckhand`},
		{wrap + "data: {nam: p}\n", `unknown key "nam"; did you mean "name"?`},
	} {
		_, err := parseMiniMirror("f", []byte(tt.yaml), Options{})
		if !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q:\ngot  %v\nwant %s", tt.yaml, err, tt.says)
		}
	}
}

// FuzzMiniMirror is FuzzLoad for the mini-mirror's YAML.
func FuzzMiniMirror(f *testing.F) {
	f.Add([]byte(miniMirrorText))
	f.Add([]byte(deckhand(miniMirrorText)))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseMiniMirror("f", data, Options{})
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
		qs, err := config.ParseList("f", data)
		if err != nil {
			return
		}
		var clean strings.Builder
		for _, q := range qs {
			clean.WriteString(q.Text + "\n")
		}
		again, err := config.ParseList("f", []byte(clean.String()))
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

// lay writes files under a new directory and returns it.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func textsOf(qs []config.Query) []string {
	var out []string
	for _, q := range qs {
		out = append(out, q.Text)
	}
	return out
}
