package policy

import (
	"iter"
	"strings"
	"testing"

	"example.org/mmoci/internal/host"
	"example.org/mmoci/pkg/snapshot"
)

const rulesText = `
default: allow
rules:
- name: no-telnet
  deny: [telnetd, "telnet*"]
  reason: use ssh
- allow: openssl
  version: ">= 3.0.15-1~deb12u1, << 3.1"
  reason: the fixed one
- name: old-openssl
  deny: "*"
  source: openssl
  version: "<< 3.0.15-1~deb12u1"
  reason: CVE-2024-5535
- deny: "*-dbg"
  archive: [debian, debian-*]
  architecture: amd64
  reason: no room
- deny: "?im"
  version: (= 2:9.0)
  reason: neither
`

func parse(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecide(t *testing.T) {
	t.Parallel()
	p := parse(t, rulesText)
	for _, c := range []struct {
		name, version, arch, source, archive string
		allow                                bool
		rule                                 string
	}{
		{"telnetd", "1", "amd64", "netkit-telnet", "debian", false, "no-telnet"},
		{"telnet-ssl", "1", "all", "netkit-telnet", "debian", false, "no-telnet"},
		{"inetutils-telnet", "1", "amd64", "inetutils", "debian", true, "default"},
		{"openssl", "3.0.15-1~deb12u1", "amd64", "openssl", "debian", true, "rule 2"},
		{"openssl", "3.0.14-1~deb12u2", "amd64", "openssl", "debian", false, "old-openssl"},
		{"libssl3", "3.0.14-1~deb12u2", "arm64", "openssl", "security", false, "old-openssl"},
		{"libssl3", "3.0.15-1~deb12u1", "arm64", "openssl", "security", true, "default"},
		{"libssl3", "3.0.15-1", "arm64", "openssl", "security", true, "default"},
		{"libssl3", "1:1.0", "arm64", "openssl", "security", true, "default"},
		{"libc6-dbg", "2.36", "amd64", "glibc", "debian", false, "rule 4"},
		{"libc6-dbg", "2.36", "amd64", "glibc", "debian-security", false, "rule 4"},
		{"libc6-dbg", "2.36", "amd64", "glibc", "ubuntu", true, "default"},
		{"libc6-dbg", "2.36", "arm64", "glibc", "debian", true, "default"},
		{"vim", "2:9.0", "amd64", "vim", "debian", false, "rule 5"},
		{"vim", "2:9.0-1", "amd64", "vim", "debian", true, "default"},
		{"neovim", "2:9.0", "amd64", "vim", "debian", true, "default"},
	} {
		d := p.Decide(snapshot.Package{Name: c.name, Version: c.version, Architecture: c.arch, Source: c.source}, c.archive)
		if d.Allow != c.allow || d.Rule != c.rule {
			t.Errorf("%v: %+v", c, d)
		}
	}
	d := parse(t, "default: deny\nrules:\n- {allow: docker-ce, reason: asked for}\n").Decide(snapshot.Package{Name: "x"}, "a")
	if d.Allow || d.Rule != "default" || d.Reason == "" {
		t.Errorf("allow list: %+v", d)
	}
	var none *Policy
	if d := none.Decide(snapshot.Package{Name: "x"}, "a"); !d.Allow || d.Rule != "" {
		t.Errorf("no policy: %+v", d)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                          "p.yaml: empty",
		"# nothing":                 "p.yaml: empty",
		"- a":                       "p.yaml:1: policy: not a mapping",
		"default: maybe":            `p.yaml:1: default: "maybe" is neither`,
		"default:":                  "p.yaml:1: no value",
		"rules:":                    "p.yaml:1: rules: null",
		"rules: x":                  "p.yaml:1: rules: not a list",
		"default: allow\nrule: []":  `p.yaml:2: policy: unknown key "rule"`,
		"a: b: c":                   "p.yaml:1: ",
		"default: allow\n---\na: b": "p.yaml:3: a second document",
		"default: allow\x00\nx: y":  "p.yaml:1: a NUL byte",
		"rules:\n- {deny: x}":       "p.yaml:2: rule 1: no reason",
		"rules:\n- {reason: x}":     "p.yaml:2: rule 1: neither allow nor deny",
		"rules:\n- {reason: x, deny: a, allow: b}":                                 "p.yaml:2: rule 1: neither allow nor deny, or both",
		"rules:\n- {reason: x, deny: a}\n- {reason: y, deny: []}":                  "p.yaml:3: an empty list",
		"rules:\n- {reason: x, deny: '[a'}":                                        `p.yaml:2: "[a": syntax error in pattern`,
		"rules:\n- deny: x\n  reason: y\n  version: '>='":                          "p.yaml:4: \">=\" is no condition",
		"rules:\n- deny: x\n  reason: y\n  version: 'x y z'":                       "p.yaml:4: ",
		"rules:\n- deny: x\n  reason: y\n  version: '>= 1 | << 2'":                 "p.yaml:4: ",
		"rules:\n- deny: x\n  reason: y\n  verison: '>= 1'":                        `p.yaml:4: rule 1: unknown key "verison"`,
		"rules:\n- deny: x\n  reason: |\n    two\n    lines":                       "p.yaml:3: more than one line",
		"rules:\n- deny: x\n  reason: \"a\\r\\nX-Evil: b\"":                        "p.yaml:3: more than one line, or a control character",
		"rules:\n- {deny: x, reason: y, name: n}\n- {deny: x, reason: y, name: n}": `p.yaml:3: a second rule is called "n"`,
		"rules:\n- {deny: x, reason: y, name: default}":                            `p.yaml:2: a second rule is called "default"`,
		"rules:\n- {deny: {a: b}, reason: y}":                                      "p.yaml:2: not a single value",
		"rules:\n- {deny: docker, image: 'a/*', reason: y}":                        "p.yaml:2: rule 1: package names beside image:",
		"rules:\n- {deny: '*', image: 'a/*', archive: a, reason: y}":               "p.yaml:2: rule 1: image: beside version, architecture",
		"rules:\n- {deny: '*', image: [], reason: y}":                              "p.yaml:2: an empty list",
		"rules:\n- {image: 'a/*', reason: y}":                                      "p.yaml:2: rule 1: neither allow nor deny",
	} {
		_, err := Parse("p.yaml", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Rules about images decide on images alone, and the others on packages alone.
func TestDecideImage(t *testing.T) {
	t.Parallel()
	p := parse(t, `rules:
- {deny: "*", reason: no packages at all}
- {allow: "*", image: registry.example.org/legacy/kept, reason: needed}
- {name: no-legacy, deny: "*", image: "registry.example.org/legacy/*", reason: not maintained}
- {name: no-latest, deny: "*", image: "*:latest", reason: say which}
- {deny: "*", image: ["registry.example.org:5000/x:[12]", "other.example/?pp"], reason: old}
`)
	for name, want := range map[string]string{
		"registry.example.org/legacy/kept:1":      "",
		"registry.example.org/legacy/kept:2":      "",
		"registry.example.org/legacy/a/b:1":       "no-legacy",
		"registry.example.org/legacyx:1":          "",
		"registry.example.org/app:latest":         "no-latest",
		"registry.example.org/app/latest:1":       "",
		"registry.example.org:5000/x:1":           "rule 5",
		"registry.example.org:5000/x:3":           "",
		"registry.example.org/x:1":                "",
		"other.example/app:7":                     "rule 5",
		"other.example/a/pp:7":                    "",
		"mirror.example/registry.example.org/x:1": "",
	} {
		d := p.DecideImage(name)
		if rule := d.Rule; d.Allow != (want == "") || !d.Allow && rule != want {
			t.Errorf("%s: %+v, want %q", name, d, want)
		}
	}
	if d := p.Decide(snapshot.Package{Name: "a", Version: "1", Architecture: "all", Source: "a"}, "debian"); d.Rule != "rule 1" {
		t.Errorf("package: %+v", d)
	}
	only := parse(t, "default: deny\nrules:\n- {allow: '*', image: '*/pause', reason: kubelet needs it}\n- {allow: bash, reason: shell}\n")
	for name, want := range map[string]bool{"registry.example.org/pause:3.9": true, "registry.example.org/app:1": false} {
		if d := only.DecideImage(name); d.Allow != want || !want && (d.Rule != "default" || d.Reason == "") {
			t.Errorf("allow list: %s: %+v", name, d)
		}
	}
	if d := only.Decide(snapshot.Package{Name: "pause", Version: "1", Architecture: "all", Source: "a"}, "debian"); d.Allow {
		t.Errorf("allow list: package: %+v", d)
	}
	if d := (*Policy)(nil).DecideImage("a/b:1"); !d.Allow || d.Rule != "" {
		t.Errorf("no policy: %+v", d)
	}
}

// packages are the values of a table, in the order given.
func packages(ps ...snapshot.Package) iter.Seq2[string, snapshot.Package] {
	return func(yield func(string, snapshot.Package) bool) {
		for _, p := range ps {
			if !yield("debian", p) {
				return
			}
		}
	}
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	p := parse(t, rulesText)
	got := p.Preferences(packages(
		snapshot.Package{Name: "telnetd", Version: "1", Architecture: "amd64", Source: "t"},
		snapshot.Package{Name: "telnetd", Version: "2", Architecture: "arm64", Source: "t"},
		snapshot.Package{Name: "telnetd", Version: "2", Architecture: "source", Source: "t"},
		snapshot.Package{Name: "openssl", Version: "3.0.14", Architecture: "amd64", Source: "openssl"},
		snapshot.Package{Name: "openssl", Version: "3.0.15-1", Architecture: "amd64", Source: "openssl"},
		snapshot.Package{Name: "libc6-dbg", Version: "2.36", Architecture: "amd64", Source: "glibc"},
		snapshot.Package{Name: "libc6-dbg", Version: "2.36", Architecture: "arm64", Source: "glibc"},
		snapshot.Package{Name: "bash", Version: "5", Architecture: "amd64", Source: "bash"},
	))
	want := `Explanation: rule 4: no room
Package: libc6-dbg:amd64
Pin: version 2.36
Pin-Priority: -1

Explanation: old-openssl: CVE-2024-5535
Package: openssl
Pin: version 3.0.14
Pin-Priority: -1

Explanation: no-telnet: use ssh
Package: telnetd
Pin: version 1
Pin-Priority: -1

Explanation: no-telnet: use ssh
Package: telnetd
Pin: version 2
Pin-Priority: -1
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
	denied, err := host.ParsePolicy([]byte(got))
	if err != nil || len(denied) != 4 || denied[3] != (host.Denied{Package: "telnetd", Version: "2"}) {
		t.Errorf("a host takes %v of it: %v", denied, err)
	}
}

// Denied in one archive and allowed in another, a version is not pinned.
func TestPreferencesOfTwoArchives(t *testing.T) {
	t.Parallel()
	p := parse(t, "rules:\n- {deny: docker-ce, archive: debian, reason: docker's own}\n")
	pkg := snapshot.Package{Name: "docker-ce", Version: "1", Architecture: "amd64", Source: "docker-ce"}
	both := func(yield func(string, snapshot.Package) bool) { _ = yield("debian", pkg) && yield("docker", pkg) }
	if got := p.Preferences(both); got != "" {
		t.Errorf("got %s", got)
	}
}

func BenchmarkDecideFiftyRules(b *testing.B) {
	var text strings.Builder
	text.WriteString("rules:\n")
	for range 25 {
		text.WriteString("- {deny: \"some-*-name\", reason: x}\n- {deny: other, source: more, version: \"<< 1.0\", reason: y}\n")
	}
	p, err := Parse("p", []byte(text.String()))
	if err != nil {
		b.Fatal(err)
	}
	pkg := snapshot.Package{Name: "docker-ce", Version: "5:27.3.1-1~debian.12~bookworm", Architecture: "amd64", Source: "docker-ce"}
	for b.Loop() {
		p.Decide(pkg, "docker")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(rulesText))
	f.Add([]byte("default: deny"))
	f.Add([]byte("rules:\n- &a {deny: x, reason: y}\n- *a"))
	f.Add([]byte("rules:\n- {deny: '*', image: ['*/app:[0-9]', 'a/b'], reason: y}"))
	f.Add([]byte("rules: !!seq [{deny: 1, reason: 2}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p", data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error of several lines: %q", err)
			}
			return
		}
		d := p.Decide(snapshot.Package{Name: "x", Version: "1", Architecture: "all", Source: "x"}, "a")
		if d.Rule == "" || (!d.Allow && d.Reason == "") {
			t.Errorf("%+v", d)
		}
		if d := p.DecideImage("registry.example.org/app:1"); d.Rule == "" || (!d.Allow && d.Reason == "") {
			t.Errorf("image: %+v", d)
		}
	})
}
