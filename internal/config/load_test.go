package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config/document"
)

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

const example = `ref: registry.example.org/site/mirror:noble
sign: {key: keys/site.asc, passphrase-file: /run/secrets/pass}
trust: [keys/site.pub.asc]
archives:
- prefix: docker
  mode: curated                             # required: curated | verbatim
  url: https://download.docker.com/linux/debian/
  suites: [bookworm]
  components: [stable]
  architectures: [amd64]
  signed-by: keys/docker.asc
  packages: [docker-ce, "containerd.io (>= 1.6)"]
  packages-from: lists/base.txt
- prefix: debian
  mode: curated
  url: [http://u:p@mirror.example.org/debian, ../mirror]
  suites: [bookworm, bookworm-updates]
  components: [main]
  architectures: [amd64, arm64]
  signed-by: /usr/share/keyrings/debian-archive-keyring.gpg
  packages: none
  check-valid-until: no
  phased: no
  with-sources: yes
  languages: [en]
  origin: Site
  label: Ours
  ca: ca.pem
  client-cert: client.pem
  auth: auth.conf
- prefix: own
  mode: curated
  debs: ./debs
- prefix: sec
  mode: verbatim
  mirror: https://near.example.org/sec
  url: https://far.example.org/sec
  strategy: upstream-first
  suites: [bookworm-security]
  components: [updates/main]
  architectures: [amd64]
  signed-by: https://keys.example.org/pks/lookup?op=get&search=0xABC
  drop: [contents, dep11]
- prefix: flat
  mode: curated
  url: file:///srv/flat
  suites: [./]
  architectures: [amd64]
  packages: all
serve: {listen: "127.0.0.1:8000", policy: policy.yaml, mirrors: mirrors.yaml, state: state, registry: yes}
recommends: yes
valid-for: 14d
`

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{
		"site/mmoci.yaml":     example,
		"site/lists/base.txt": "\ufeff# what each host has\r\n\r\n  iptables  \r\nName (~ \"#x\") # quoted\n\ttini (= 0.19)#1\t\n",
	})
	file := filepath.Join(dir, "site", "mmoci.yaml")
	in := func(p string) string { return filepath.Join(dir, "site", p) }
	at := func(line int) document.Position { return document.At(file, line) }
	got, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	list := in("lists/base.txt")
	want := &Plan{
		File: file, Ref: "registry.example.org/site/mirror:noble", CommonList: "`packages:` at the top",
		Sign:  &Sign{Key: in("keys/site.asc"), PassphraseFile: "/run/secrets/pass"},
		Trust: []string{in("keys/site.pub.asc")},
		Archives: []Archive{
			{
				Position: at(5), Prefix: "docker", URLs: []string{"https://download.docker.com/linux/debian"},
				Suites: []string{"bookworm"}, Components: []string{"stable"}, Architectures: []string{"amd64"},
				SignedBy: in("keys/docker.asc"), CheckValidUntil: true,
				Packages: []Query{
					{"docker-ce", at(12), nil}, {"containerd.io (>= 1.6)", at(12), nil},
					{"iptables", document.At(list, 3), nil}, {`Name (~ "#x")`, document.At(list, 4), nil}, {"tini (= 0.19)#1", document.At(list, 5), nil},
				},
			},
			{
				Position: at(14), Prefix: "debian", URLs: []string{"http://u:p@mirror.example.org/debian", filepath.Join(dir, "mirror")},
				Suites: []string{"bookworm", "bookworm-updates"}, Components: []string{"main"}, Architectures: []string{"amd64", "arm64"},
				SignedBy: "/usr/share/keyrings/debian-archive-keyring.gpg", None: true, SkipPhased: true, WithSources: true,
				Languages: []string{"en"}, Origin: "Site", Label: "Ours", CAFile: in("ca.pem"), ClientCert: in("client.pem"), AuthFile: in("auth.conf"),
			},
			{Position: at(31), Prefix: "own", Debs: in("debs"), All: true, CheckValidUntil: true},
			{
				Position: at(34), Prefix: "sec", Verbatim: true, URLs: []string{"https://far.example.org/sec", "https://near.example.org/sec"},
				Mirrors: []string{"https://near.example.org/sec"}, upstreams: []string{"https://far.example.org/sec"},
				Suites: []string{"bookworm-security"}, Components: []string{"updates/main"}, Architectures: []string{"amd64"},
				SignedByURL: "https://keys.example.org/pks/lookup?op=get&search=0xABC", CheckValidUntil: true, Drop: []string{"contents", "dep11"},
			},
			{
				Position: at(44), Prefix: "flat", URLs: []string{"file:///srv/flat"}, Suites: []string{"./"}, Architectures: []string{"amd64"},
				All: true, CheckValidUntil: true,
			},
		},
		Serve:      Serve{Listen: []string{"127.0.0.1:8000"}, Policy: in("policy.yaml"), Mirrors: in("mirrors.yaml"), State: in("state"), Registry: true},
		Recommends: true, ValidFor: 14 * 24 * time.Hour,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLoadServeOnly(t *testing.T) {
	t.Parallel()
	p, err := Parse("mmoci.yaml", []byte("ref: h/r\nserve:\n  listen: [\":80\", \"[::1]:8000\"]\n"))
	if err != nil || len(p.Serve.Listen) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

// base is a good archive, to which a case adds or from which it takes.
const base = `archives:
- prefix: docker
  mode: curated
  url: https://u:hunter2@download.docker.com/linux/debian
  suites: [bookworm]
  components: [stable]
  architectures: [amd64]
  packages: [docker-ce]
`

// TestLoadErrors holds the place and the remedy of everything that is refused.
func TestLoadErrors(t *testing.T) {
	t.Parallel()
	without := func(key string) string {
		var b strings.Builder
		for l := range strings.Lines(base) {
			if !strings.HasPrefix(strings.TrimLeft(l, "- "), key+":") {
				b.WriteString(l)
			} else if strings.HasPrefix(l, "-") {
				b.WriteString("-\n")
			}
		}
		return b.String()
	}
	with := func(old, new string) string { return strings.ReplaceAll(base, old, new) }
	for _, tt := range []struct{ name, yaml, says string }{
		{"empty", "", `f:1: empty`},
		{"comment alone", "# x\n", `f:1: empty`},
		{"a list", "- a\n", `f:1: is a list, should be keys with values`},
		{"text", "hello\n", `f:1: is a single value, should be keys with values`},
		{"not YAML", "a: [1\n", `f:1: YAML: `},
		{"tab", "archives:\n\t- prefix: x\n", `f:2: YAML: `},
		{"not text", "a: \xff\n", `f:1: not UTF-8 text`},
		{"two documents", "ref: a/b\n---\nref: a/b\n", `f:3: a second document begins here`},
		{"deep", strings.Repeat("[", 100), `f:1: nested more than 64 deep`},
		{"deep dashes", "a: b\nx:\n " + strings.Repeat("- ", 100), `f:3: nested more than 64 deep`},
		{"anchor", "ref: &x a/b\n", `f:1: ref: anchors and aliases`},
		{"merge key", "<<: {ref: a/b}\n", `f:1: merge keys`},
		{"tag", "ref: !!str a/b\n", `f:1: ref: tags`},
		{"unknown key", "reff: a/b\n", `f:1: unknown key "reff"; did you mean "ref"?`},
		{"unknown key, foreign", base + "  keyring: x.asc\n", `f:9: unknown key "keyring"; did you mean "signed-by"?`},
		{"old key", "carry: [amd64]\n", `f:1: unknown key "carry"; did you mean "bundle"?`},
		{"unknown key, near", base + "  packges-from: x\n", `f:9: unknown key "packges-from"; did you mean "packages-from"?`},
		{"unknown key, underscore", base + "  check_valid_until: no\n", `f:9: unknown key "check_valid_until"; did you mean "check-valid-until"?`},
		{"unknown key, far", base + "  zzz: x\n", `f:9: unknown key "zzz"; known are architectures, auth, build-depends, ca,`},
		{"secret key", "sign: {passphrase: hunter2}\n", `f:1: unknown key "passphrase"; did you mean "passphrase-file"?`},
		{"twice below trust", "ref: a/b\ntrust:\n  keys: [x]\n  keys: [y]\n", `f:4: key "keys" stands twice, first in line 3`},
		{"twice", "ref: a/b\ntrust: [x]\nref: c/d\n", `f:3: key "ref" stands twice, first in line 1`},
		{"null", "ref:\n", `f:1: ref: has no value; give it a single value, or leave the key out`},
		{"null list", "trust: ~\n", `f:1: trust: has no value`},
		{"null archives", "archives:\n", `f:1: archives: has no value; give it a list`},
		{"empty archives", "archives: []\n", `f:1: archives: is an empty list`},
		{"archive null", "archives:\n-\n", `f:2: has no value`},
		{"empty text", "ref: \"\"\n", `f:1: ref: is empty`},
		{"control character", "ref: \"a\\0b\"\n", `f:1: ref: holds a control character`},
		{"no prefix", without("prefix"), `f:3: archive without prefix:; write prefix: NAME`},
		{"no mode", without("mode"), `f:2: archive docker: no mode:; write mode: curated`},
		{"no url", without("url"), `f:2: archive docker: neither url: nor debs:`},
		{"no suites", without("suites"), `f:2: archive docker: no suites:; write suites:`},
		{"no components", without("components"), `f:2: archive docker: no components:; write components: [main]`},
		{"no architectures", without("architectures"), `f:2: archive docker: no architectures:; write architectures: [amd64]`},
		{"no packages", without("packages"), `f:2: archive docker: no packages:; write packages: with a list, none`},
		{"wrong mode", with("curated", "mirror"), `f:3: mode: is "mirror", should be curated (`},
		{"packages null", with("[docker-ce]", ""), `f:8: packages: has no value; write none (only what others need of it), all, or a list`},
		{"packages empty", with("[docker-ce]", "[]"), `f:8: packages: is an empty list; name at least one, or leave the key out (or packages: none`},
		{"packages a word", with("[docker-ce]", "docker-ce"), `f:8: packages: is "docker-ce", should be none, all or a list; write packages: [docker-ce]`},
		{"packages all in a list", with("[docker-ce]", "[docker-ce, all]"), `f:8: packages: "all" stands in a list; write packages: all`},
		{"packages at the top, a word", "packages: all\n" + base, `f:1: packages: is "all", should be a list: at the top stand packages that any archive may give`},
		{"packages at the top, null", "packages:\n" + base, `f:1: packages: has no value`},
		{"packages at the top, empty", "packages: []\n" + base, `f:1: packages: is an empty list`},
		{"packages at the top, all in the list", "packages: [a, all]\n" + base, `f:1: packages: "all" is said of one archive; write packages: all there`},
		{"packages at the top, none in a file", "packages-from: words\n" + base, `/words:2: "none" is said of one archive`},
		{"packages at the top, an empty file", "packages-from: empty\n" + base, `/empty:1: no package in the list`},
		{"packages at the top, blank", "packages: [\" \"]\n" + base, `f:1: packages: `},
		{"packages at the top of verbatim archives", "packages: [a]\n" + strings.ReplaceAll(with("curated", "verbatim"), "  packages: [docker-ce]\n", ""), `f:1: packages at the top: no archive is curated`},
		{"packages at the top of nothing", "packages: [a]\n", `f:1: packages at the top: no archives:`},
		{"packages a mapping", with("[docker-ce]", "[{name: docker-ce}]"), `f:8: packages: is keys with values, should be a single value`},
		{"suites a word", with("[bookworm]", "bookworm"), `f:5: suites: is a single value, should be a list; write suites: [bookworm]`},
		{"suite twice", with("[bookworm]", "[bookworm, bookworm]"), `f:5: suites: bookworm stands twice in the list`},
		{"suite dists", with("[bookworm]", "[dists/bookworm]"), `f:2: archive docker: suites: "dists/bookworm" begins with dists/; write bookworm`},
		{"suite outside", with("[bookworm]", "[../x]"), `f:2: archive docker: suites: "../x" is no relative path`},
		{"suites and flat", with("[bookworm]", "[bookworm, ./]"), `make two archives of it`},
		{"flat with components", with("[bookworm]", "[./]"), `components: a flat archive (suite ./) has none; remove them`},
		{"component with blank", with("[stable]", "[main contrib]"), `components: "main contrib" holds a blank; separate names by commas`},
		{"architecture all", with("[amd64]", "[amd64, all]"), `architectures: "all" is no architecture of a host`},
		{"architecture source", with("[amd64]", "[source]"), `write with-sources: yes`},
		{"architecture odd", with("[amd64]", "[x86_64]"), `written like amd64, arm64`},
		{"prefix odd", with("prefix: docker", "prefix: Docker_CE"), `f:2: prefix "Docker_CE": not of the form [a-z0-9][a-z0-9.+-]*; write docker-ce`},
		{"prefix reserved", with("prefix: docker", "prefix: snapshot"), `f:2: prefix "snapshot": reserved; choose another`},
		{"prefix twice", base + strings.TrimPrefix(base, "archives:\n"), `f:9: archive docker (f:9) has the prefix of archive docker (f:2); give one of them another prefix`},
		{"scheme", with("https://u:hunter2@", "ftp://u:hunter2@"), `f:2: archive docker: url: ftp://***@download.docker.com/linux/debian: scheme "ftp"; known are http, https, file`},
		{"scheme of apt", with("https://u:hunter2@download.docker.com", "mirror+file:/etc/m"), `scheme "mirror+file"; known are http, https, file`},
		{"one slash", with("https://", "https:/"), `url: https:/***@download.docker.com/linux/debian: no host`},
		{"url with query", with("/linux/debian", "/linux/debian?token=hunter2"), `url: https://***@download.docker.com/linux/debian?***: has a query`},
		{"url unreadable", with("hunter2", "hunter2%zz/@"), `url: https://***@download.docker.com/linux/debian: not a URL; characters such as @ and /`},
		{"url twice", with("url: https://u:hunter2@download.docker.com/linux/debian", "url: [http://u:hunter2@h/, http://u:hunter2@h]"), `url: http://***@h stands twice`},
		{"url empty list", with("https://u:hunter2@download.docker.com/linux/debian", "[]"), `f:4: url: is an empty list`},
		{"strategy alone", base + "  strategy: mirror-first\n", `f:9: strategy: chooses between mirror: and url:`},
		{"strategy wrong", base + "  strategy: fastest\n  mirror: /m\n", `f:9: strategy: is "fastest", should be one of mirror, mirror-first`},
		{"flag", base + "  check-valid-until: never\n", `f:9: check-valid-until: is "never", should be yes or no`},
		{"drop in curated", base + "  drop: [contents]\n", `drop: is for mode verbatim`},
		{"drop unknown", with("packages: [docker-ce]", "drop: [Contents-amd64]"), `drop: is for mode verbatim`},
		{"verbatim with packages", with("curated", "verbatim"), `packages: a verbatim archive is taken whole`},
		{"verbatim with label", strings.ReplaceAll(with("curated", "verbatim"), "packages: [docker-ce]", "label: Ours"), `a verbatim archive keeps them`},
		{"verbatim with odd drop", strings.ReplaceAll(with("curated", "verbatim"), "packages: [docker-ce]", "drop: [content]"), `drop: "content" is no optional target; did you mean contents?`},
		{"debs with url", base + "  debs: d\n", `f:2: archive docker: url has no meaning for debs:`},
		{"none and list", with("[docker-ce]", "none\n  packages-from: list"), `f:8: packages: says none or all, but packages-from: names packages`},
		{"empty list file", with("[docker-ce]", "none\n  packages-from: empty"), `/empty:1: no package in the list; name packages`},
		{"no list file", with("[docker-ce]", "none\n  packages-from: nothing"), `/nothing: no such file or directory`},
		{"key a URL", "trust: [\"https://u:hunter2@h/k\"]\n", `f:1: trust: is a URL, should be a file: https://***@h/k`},
		{"sign a word", "sign: site.asc\n", `f:1: sign: is a single value; write sign: {key: site.asc}`},
		{"sign empty", "sign: {}\n", `f:1: sign: empty; it knows the keys command, key`},
		{"sign two", "sign: {key: k, command: [gpg]}\n", `f:1: sign: both key: and command:`},
		{"sign none", "sign: {passphrase-file: k}\n", `f:1: sign: neither key: nor command:`},
		{"sign two passphrases", "sign: {key: k, passphrase-file: k, passphrase-command: [pass]}\n", `f:1: sign: both passphrase-file:`},
		{"sign command line", "sign: {command: gpg --sign}\n", `f:1: command: is one text; write program and arguments as a list`},
		{"listen", "serve: {listen: 8000}\n", `f: serve: listen: "8000" is not of the form HOST:PORT`},
		{"listen port", "serve: {listen: \"h:http\"}\n", `f: serve: listen: "h:http" has no port number`},
		{"fresh for longer than it is stale after", "serve: {fresh-for: 10d, stale-after: 9d}\n", `f: serve: fresh-for: is more than stale-after`},
		{"valid-for", "valid-for: 14\n", `f:1: valid-for: is "14", should be a time such as 14d`},
		{"valid-for zero", "valid-for: 0d\n", `f:1: valid-for: is "0d"`},
		{"valid-for huge", "valid-for: 4000000000w\n", `f:1: valid-for: is "4000000000w"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := lay(t, map[string]string{"f": tt.yaml, "list": "a\n", "empty": "# nothing\n\n", "words": "a\nnone\n"})
			_, err := Load(filepath.Join(dir, "f"))
			if err == nil {
				t.Fatal("no error")
			}
			if !errors.Is(err, document.ErrUsage) {
				t.Errorf("%v is no ErrUsage", err)
			}
			if msg := strings.ReplaceAll(err.Error(), dir+"/f", "f"); !strings.Contains(msg, tt.says) || strings.HasPrefix(tt.says, "f:") && !strings.HasPrefix(msg, tt.says) {
				t.Errorf("says  %s\nwants %s", msg, tt.says)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
				t.Errorf("shows a secret, or more than a line: %v", err)
			}
		})
	}
}

// TestLoadAllFaults: an mmoci.yaml and the lists that it names tell all that is wrong with them at once.
func TestLoadAllFaults(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{"f": `reff: h/r
valid-for: 14
packages: [a, all]
packages-from: [one, two]
archives:
- {prefix: a, mode: both, url: /d}
- {prefix: b, mode: curated, url: ftp://h/d, suites: [dists/s], components: [main], architectures: [any], signed-by: k, packages: [x, none]}
`, "one": "ab 1.0\n", "two": "# none\n"})
	_, err := Load(filepath.Join(dir, "f"))
	got := faultsOf(err, dir)
	for i, want := range []string{
		`f:1: unknown key "reff"; did you mean "ref"?`,
		`f:2: valid-for: is "14"`,
		`f:3: packages: "all" is said of one archive`,
		`f:6: mode: is "both"`,
		`f:7: packages: "none" stands in a list`,
		`one:1: a name and a version without an operator`,
		`two:1: no package in the list`,
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("fault %d is not %s:\n%v", i, want, err)
		}
	}
	if len(got) != 7 {
		t.Errorf("%d faults: %v", len(got), err)
	}
	dir = lay(t, map[string]string{"f": `archives:
- {prefix: b, mode: curated, url: ftp://h/d, suites: [dists/s], components: [main], architectures: [any], signed-by: k}
- {prefix: b, mode: verbatim, url: /d, suites: [s], components: [main], architectures: [amd64], signed-by: k, packages: none}
`})
	_, err = Load(filepath.Join(dir, "f"))
	got = faultsOf(err, dir)
	for i, want := range []string{
		`f:2: archive b: url: ftp://h/d: scheme "ftp"`, `f:2: archive b: suites: "dists/s" begins with dists/`, `f:2: archive b: architectures: "any" is a wildcard`,
		`f:2: archive b: no packages:`, `f:3: archive b: packages: a verbatim archive is taken whole`, `f:3: archive b (f:3) has the prefix of archive b (f:2)`,
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("fault %d is not %s:\n%v", i, want, err)
		}
	}
	if len(got) != 6 {
		t.Errorf("%d faults: %v", len(got), err)
	}
}

// TestLoadTop holds that a list at the top asks over all archives, and that
// an archive beside it need not say what it gives.
func TestLoadTop(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{
		"f":    "packages-from: list\npackages: [\"web (>= 1)\"]\n" + strings.ReplaceAll(base, "  packages: [docker-ce]\n", ""),
		"own":  "packages: [web]\n" + base,
		"list": "tini # first\n",
	})
	p, err := Load(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Query{{"tini", document.At(filepath.Join(dir, "list"), 1), nil}, {"web (>= 1)", document.At(filepath.Join(dir, "f"), 2), nil}}
	if !reflect.DeepEqual(p.Packages, want) || !p.Archives[0].None || p.AsksNothing() {
		t.Errorf("asks for %v of all, archives %+v", p.Packages, p.Archives)
	}
	if p, err = Load(filepath.Join(dir, "own")); err != nil || p.Archives[0].None || len(p.Packages) != 1 || len(p.Archives[0].Packages) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestLoadNoFile(t *testing.T) {
	t.Parallel()
	_, err := Load(filepath.Join(t.TempDir(), "mmoci.yaml"))
	if !errors.Is(err, document.ErrUsage) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "mmoci init") {
		t.Errorf("got %v", err)
	}
}

func TestLoadTooLarge(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{"f": strings.Repeat("#", document.MaxYAML+1)})
	if _, err := Load(filepath.Join(dir, "f")); !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

// TestCRLF holds that a file edited elsewhere means the same.
func TestCRLF(t *testing.T) {
	t.Parallel()
	a, err := Parse("f", []byte(base))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse("f", document.Normalise([]byte("\ufeff"+strings.ReplaceAll(base, "\n", "\r\n"))))
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestStrategies(t *testing.T) {
	t.Parallel()
	for how, want := range map[string]string{
		"mirror": "/m", "mirror-first": "/m /u", "upstream": "/u", "upstream-first": "/u /m", "": "/m /u",
	} {
		y := strings.Replace(base, "url: https://u:hunter2@download.docker.com/linux/debian", "url: /u\n  mirror: /m", 1)
		if how != "" {
			y += "  strategy: " + how + "\n"
		}
		p, err := Parse("f", []byte(y))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(p.Archives[0].URLs, " "); got != want {
			t.Errorf("%s: %s, want %s", how, got, want)
		}
	}
}

// TestValidateFlags holds that a plan from flags is refused as one from a file, without a place in front.
func TestValidateFlags(t *testing.T) {
	t.Parallel()
	good := Archive{
		Prefix: "docker", URLs: []string{"https://h/"}, Suites: []string{"s"}, Components: []string{"c"}, Architectures: []string{"amd64"},
		Packages: []Query{{Text: "docker-ce", Position: document.Position{File: "--package"}}},
	}
	if err := (&Plan{Archives: []Archive{good}}).Validate(); err != nil {
		t.Error(err)
	}
	for says, spoil := range map[string]func(*Archive){
		"archive without a prefix; give it one":                     func(a *Archive) { a.Prefix = "" },
		"archive docker: neither url: nor debs:":                    func(a *Archive) { a.URLs = nil },
		"archive docker: packages: two of none, all and a list":     func(a *Archive) { a.All = true },
		"archive docker: signed-by: a file and a URL":               func(a *Archive) { a.SignedBy, a.SignedByURL = "f", "http://h/k" },
		"archive docker: signed-by: http:///k: not a URL":           func(a *Archive) { a.SignedByURL = "http:///k" },
		"archive docker: packages: an empty query":                  func(a *Archive) { a.Packages = []Query{{Text: " "}} },
		"archive docker: url: http:///x: no host":                   func(a *Archive) { a.URLs = []string{"http:///x"} },
		"archive docker: url: file://h/x: not of the form file:///": func(a *Archive) { a.URLs = []string{"file://h/x"} },
	} {
		a := good
		spoil(&a)
		err := (&Plan{Archives: []Archive{a}}).Validate()
		if !errors.Is(err, document.ErrUsage) || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("got %v, want %s", err, says)
		}
	}
}

func TestFind(t *testing.T) {
	dir := lay(t, map[string]string{"with/mmoci.yaml": "", "without/mmoci.yaml/x": ""})
	t.Chdir(filepath.Join(dir, "with"))
	if got := Find(); got != "mmoci.yaml" {
		t.Errorf("got %q", got)
	}
	t.Chdir(filepath.Join(dir, "without"))
	if got := Find(); got == "mmoci.yaml" {
		t.Errorf("a directory: %q", got)
	}
}

// FuzzLoad holds that no text brings Load down, that what is refused is ErrUsage, each fault on one line, and what is taken is valid.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(strings.Replace(example, "  packages-from: lists/base.txt\n", "", 1)))
	f.Add([]byte(base))
	for _, s := range []string{"a: &x [*x]\n", "? a\n: b\n", "ref: |\n  x\n", "%YAML 1.2\n---\nref: x\n", "{\"ref\": \"a/b\"}", "- - - x", "ref: 'a'\n...\n---\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "packages-from") {
			return // would read files of this machine
		}
		p, err := Parse("f", data)
		if err != nil {
			if !errors.Is(err, document.ErrUsage) {
				t.Errorf("%q", err)
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "f:") {
					t.Errorf("a fault on two lines: %q", err)
				}
			}
			return
		}
		if err := p.Validate(); err != nil {
			t.Error(err)
		}
	})
}

// A program beside the file is run from there, where the file is that of the current directory, too: not one of PATH.
func TestCommandBesideTheFile(t *testing.T) {
	t.Chdir(t.TempDir())
	text := "ref: oci:l:x\nsign: {command: [./sign.sh, arg]}\ntrust: [site.pub.asc]\narchives: [{prefix: own, mode: curated, debs: own}]\n"
	if err := os.MkdirAll("sub", 0o755); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"mmoci.yaml": "./sign.sh", "./sub/mmoci.yaml": "sub/sign.sh"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		plan, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.Sign.Command[0]; got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

// faultsOf are the faults of an error without the directory, in their order.
func faultsOf(err error, dir string) []string {
	if err == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(err.Error(), dir+"/", ""), "\n")
}
