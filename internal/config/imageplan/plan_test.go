package imageplan

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/document"
)

func none(string) ([]byte, error) { return nil, fs.ErrNotExist }

func mustParse(t *testing.T, text string) *Plan {
	t.Helper()
	p, err := parse("image.yaml", ".", []byte(text), none)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlan(t *testing.T) {
	p := mustParse(t, `
name: nginx-production
ref: registry.example.org/site/nginx-production
tags: [1.22.1-p1, latest]
version: 1.22.1-p1
author: Site <site@example.org>
from: registry.example.org/site/mirror:bookworm
arch: [amd64, arm64]
packages: ["nginx-light (>= 1.22)", ca-certificates]
essential: yes
scripts: run
scripts-for: {iproute2: skip, adduser: run}
users: [{name: web, uid: 10001}, {name: log, uid: 10002, gid: 4, home: /var/log, shell: /bin/sh}]
sync:
- {src: ./files/nginx.conf, dest: /etc/nginx/nginx.conf, mode: "0640", owner: web}
- {src: ./files/www, dest: /srv/www/, recursive: true, owner: "33:log"}
- {src: ./x, dest: /opt/x}
exclude: [man, docs]
config: {entrypoint: [/usr/sbin/nginx, -g, "daemon off;"], user: "0:0", env: {B: "2 3", A: ""}, expose: [443, 80/tcp], stop-signal: SIGQUIT, labels: {a.b: c}, workdir: /srv, volumes: [/data], command: [x]}
layers: {max: 40, compression: zstd}
`)
	if p.Name != "nginx-production" || p.Ref != "registry.example.org/site/nginx-production" || !slices.Equal(p.Tags, []string{"1.22.1-p1", "latest"}) || p.From == "" ||
		!slices.Equal(p.Architectures, []string{"amd64", "arm64"}) || len(p.Packages) != 2 || p.Packages[0].Line != 9 || !p.Essential || p.Scripts != Run {
		t.Errorf("plan %+v", p)
	}
	if len(p.ScriptsFor) != 2 || p.ScriptsFor[0].Package != "adduser" || p.ScriptsFor[1].What != Skip {
		t.Errorf("scripts-for %+v", p.ScriptsFor)
	}
	if u := p.Users; len(u) != 2 || u[0].GID != 10001 || u[0].Shell != "/usr/sbin/nologin" || u[1].GID != 4 || u[1].Home != "/var/log" {
		t.Errorf("users %+v", u)
	}
	want := []Sync{
		{Src: "./files/nginx.conf", Dest: "/etc/nginx/nginx.conf", Mode: 0o640, UID: 10001, GID: 10001},
		{Src: "./files/www", Dest: "/srv/www", Into: true, Recursive: true, Mode: -1, UID: 33, GID: 4},
		{Src: "./x", Dest: "/opt/x", Mode: -1},
	}
	for i, s := range p.Sync {
		s.At = document.Position{}
		if s != want[i] {
			t.Errorf("sync %+v, want %+v", s, want[i])
		}
	}
	c := p.Config
	if !slices.Equal(c.Env, []string{"A=", "B=2 3"}) || !slices.Equal(c.Ports, []string{"443/tcp", "80/tcp"}) || c.Entrypoint[2] != "daemon off;" || c.User != "0:0" || c.StopSignal != "SIGQUIT" || c.Labels["a.b"] != "c" || c.WorkDir != "/srv" {
		t.Errorf("config %+v", c)
	}
	if p.Layers != (Layers{40, Zstd}) || !slices.Equal(p.Exclude, []string{"docs", "man"}) {
		t.Errorf("layers %+v, exclude %q", p.Layers, p.Exclude)
	}
	if d := mustParse(t, "packages: [a-package]").Layers; d != (Layers{DefaultLayers, Gzip}) {
		t.Errorf("defaults %+v", d)
	}
}

// Each fault is told with its line and what to write; several at once.
func TestFaults(t *testing.T) {
	for text, wants := range map[string][]string{
		"":                                                                            {"image.yaml:1: empty"},
		"a":                                                                           {"image.yaml:1: is a single value, should be keys with values"},
		"packages: [a-b]\npackages: [c-d]":                                            {`image.yaml:2: key "packages" stands twice, first in line 1; keep one`},
		"packages: [{path: a, path: b}]":                                              {`image.yaml:1: key "path" stands twice`},
		"packages: [a-b]\n---\nx: 1":                                                  {"image.yaml:3: a second document"},
		"name: x":                                                                     {"image.yaml:1: no packages"},
		"packages: []":                                                                {"image.yaml:1: packages: is an empty list"},
		"packages: nginx":                                                             {"write packages: [nginx]"},
		"packages: [nginx=1.2]":                                                       {"image.yaml:1: \"nginx=1.2\" is how apt", "write nginx (= 1.2)"},
		"packages: [www-servers/nginx-1.7.6]":                                         {"is a Gentoo atom; write nginx (= VERSION)", "nginx (% 1.7.6*)"},
		"packages: [www-servers/nginx]":                                               {"is a Gentoo atom; write nginx"},
		"packages: [{path: ../pkgs/nginx}]":                                           {"image.yaml:1: path: ../pkgs/nginx is no directory below the one of the plan"},
		"packages: [{path: a}, {path: ./a}]":                                          {"image.yaml:1: path: a stands twice"},
		"packages: [{path: a, name: [b-c, b-c]}]":                                     {"image.yaml:1: name: b-c is no name of a package, or stands twice"},
		"packages: [{path: a, name: b=1}]":                                            {"is no name of a package"},
		"packages: [{name: a}]":                                                       {"or {path: DIR} with a pkg.yaml"},
		"packages: [{path: a, nam: b}]":                                               {"unknown key \"nam\"; did you mean \"name\"?"},
		"packages: [all]":                                                             {"an image of all packages"},
		"packages: [\"a-b ((\"]":                                                      {"image.yaml:1: "},
		"packages: [a-b]\narch: x86_64":                                               {"image.yaml:2: arch: \"x86_64\" is not how Debian calls it; write amd64"},
		"packages: [a-b]\nfoo: 1\nsyncs: []":                                          {"image.yaml:2: unknown key \"foo\"", "image.yaml:3: unknown key \"syncs\"; did you mean \"sync\"?"},
		"packages: [a-b]\nref: h/r:tag":                                               {"image.yaml:2: ref: \"h/r:tag\" has a tag", "tags: [tag]"},
		"packages: [a-b]\nlayers: {max: 121}":                                         {"\"121\", but it goes from 4 to 120"},
		"packages: [a-b]\nlayers: {compression: lz4}":                                 {"should be gzip or zstd or none"},
		"packages: [a-b]\nexclude: [doc]":                                             {"image.yaml:2: exclude: ", "neither docs, locales or man"},
		"packages: [a-b]\nscripts: emulate":                                           {"\"emulate\", should be run or none"},
		"packages: [a-b]\nscripts: none\nscripts-for: {x-y: run}":                     {"image.yaml:3: scripts-for: x-y: run, beside scripts: none"},
		"packages: [a-b]\nsync: [{src: ../x, dest: /x}]":                              {"lies outside of the directory"},
		"packages: [a-b]\nsync: [{src: /etc/x, dest: /x}]":                            {"lies outside of the directory"},
		"packages: [a-b]\nsync: [{src: x, dest: x}]":                                  {"no absolute path in the image"},
		"packages: [a-b]\nsync: [{src: x, dest: /a/../x}]":                            {"no absolute path in the image"},
		"packages: [a-b]\nsync: [{src: x, dest: /x, mode: 999}]":                      {"\"999\" is no mode"},
		"packages: [a-b]\nsync: [{src: x, dest: /x, owner: www-data}]":                {"\"www-data\" is neither root nor a name of users:; write its number"},
		"packages: [a-b]\nsync: [{dest: /x}]":                                         {"without src:"},
		"packages: [a-b]\nusers: [{name: web}]":                                       {"a user without uid:"},
		"packages: [a-b]\nusers: [{name: a, uid: 7}, {name: b, uid: 7}]":              {"a has this name or number already"},
		"packages: [a-b]\nusers: [{name: a, uid: 4294967295}]":                        {"no number of a user"},
		"packages: [a-b]\nusers: [{name: a, uid: 0}]":                                 {"root is there already"},
		"packages: [a-b]\nusers: [{name: \"a:b\", uid: 5}]":                           {"no name of a user"},
		"packages: [a-b]\nconfig: {entrypoint: /usr/sbin/nginx -x}":                   {"write program and arguments as a list: [/usr/sbin/nginx, -x]"},
		"packages: [a-b]\nconfig: {expose: [70000]}":                                  {"they go from 1 to 65535"},
		"packages: [a-b]\nconfig: {expose: [http]}":                                   {"is no port; write 80/tcp"},
		"packages: [a-b]\nconfig: {user: \"a b\"}":                                    {"is not USER or USER:GROUP"},
		"packages: [a-b]\nconfig: {env: {\"A=B\": c}}":                                {"no variable of an environment"},
		"packages: [a-b]\nconfig: {stop-signal: quit}":                                {"is no signal; write SIGQUIT"},
		"- vars: {os: windows}\n- package: a-b":                                       {"image.yaml:1: os: \"windows\", but Debian's packages make images of linux"},
		"- package: \"{{ who }}-b\"\n- vars: {a: b}":                                  {"vars: has no \"who\""},
		"- package: a-b\n- run: make":                                                 {"image.yaml:2: unknown step \"run\""},
		"- package: a-b\n- image: {type: docker, content: x}":                         {"\"docker\", should be aci or oci"},
		"- package: a-b\n- image:\n    type: aci\n    content: |\n      {\n      bad": {"image.yaml:6: content: "},
		"- package: a-b\n- image:\n    type: aci\n    content: |\n      {\n       \"acKind\": \"ImageManifest\",\n       \"foo\": 1}":       {"image.yaml:7: content: \"foo\": this key has no meaning here"},
		"- package: a-b\n- image:\n    type: aci\n    content: '{\"acKind\": \"ImageManifest\", \"dependencies\": [{}]}'":                   {"dependencies: an image is made of packages"},
		"- package: a-b\n- image:\n    type: aci\n    content: '{\"acKind\": \"ImageManifest\", \"app\": {\"isolators\": [{}]}}'":           {"app.isolators: limits are said by who runs"},
		"- package: a-b\n- image: {type: oci, content: '{\"config\": {\"User\": \"a b\", \"StopSignal\": \"x\", \"Env\": [\"novalue\"]}}'}": {"User: ", "StopSignal: ", "Env: "},
	} {
		_, err := parse("image.yaml", ".", []byte(text), none)
		if !errors.Is(err, document.ErrUsage) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q:\n%v\nlacks %s", text, err, want)
			}
		}
	}
}

// The list form is read as the same plan, its variables in scalars alone.
func TestListForm(t *testing.T) {
	list := mustParse(t, `---
- vars:
    author: Sysadmin42
    name: nginx-production
    version: 1.22.1-p1
    os: linux
    arch: amd64
    what: nginx
- package: "{{ what }}-light"
- package: {type: mirror, name: "ca-certificates (>= 2023)"}
- sync:
    src: ./files/{{what}}.conf
    dest: /etc/nginx/nginx.conf
    recursive: True
    chmod: 0644
- image:
    type: aci
    content: |
      {
        "acKind": "ImageManifest", "acVersion": "0.6.1", "name": "{{ name }}-{{ version }}",
        "labels": [ {"name": "os", "value": "{{ os }}"}, {"name": "arch", "value": "{{ arch }}"} ],
        "app": { "exec": [ "/sbin/nginx" ], "user": "0", "group": "0", "workingDirectory": "/srv",
                 "environment": [{"name": "A", "value": "b"}], "ports": [{"name": "www", "protocol": "tcp", "port": 80}],
                 "mountPoints": [{"name": "data", "path": "/data"}] }
      }
`)
	image := mustParse(t, `
name: nginx-production
version: 1.22.1-p1
author: Sysadmin42
tags: [1.22.1-p1]
arch: amd64
packages: [nginx-light, "ca-certificates (>= 2023)"]
sync: [{src: ./files/nginx.conf, dest: /etc/nginx/nginx.conf, mode: 0644, recursive: yes}]
config: {entrypoint: [/sbin/nginx], user: "0:0", workdir: /srv, env: {A: b}, expose: [80], volumes: [/data], labels: {org.opencontainers.image.title: nginx-production-1.22.1-p1}}
`)
	if a, b := string(list.Format()), string(image.Format()); a != b {
		t.Errorf("the list form is\n%s\nand image.yaml\n%s", a, b)
	}
	oci := mustParse(t, `
- package: nginx-light
- image: {type: oci, content: '{"architecture": "arm64", "os": "linux", "author": "A", "config": {"Entrypoint": ["/x"], "User": "web", "Env": ["A=b=c"], "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "Labels": {"a": "b"}, "StopSignal": "SIGQUIT", "Cmd": ["y"], "WorkingDir": "/"}}'}
`)
	if c := oci.Config; c.User != "web" || !slices.Equal(c.Env, []string{"A=b=c"}) || c.Ports[0] != "80/tcp" || c.Volumes[0] != "/data" || c.Labels["a"] != "b" || c.StopSignal != "SIGQUIT" || oci.Author != "A" || oci.Architectures[0] != "arm64" {
		t.Errorf("oci: %+v", oci)
	}
}

// The literal input of a build of a patched source: all that cannot be honoured at once, each with file, line and what to write.
func TestSeed(t *testing.T) {
	dir := filepath.Join("testdata", "seed")
	_, err := Load(dir)
	if !errors.Is(err, document.ErrUsage) {
		t.Fatalf("got %v", err)
	}
	pkg := filepath.Join(dir, "pkgs/nginx/pkg.yaml")
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{
		pkg + `:2: base: "www-servers/nginx-1.7.6" is a Gentoo atom; write nginx (= 1.7.6-..) with a version of Debian's that the snapshot has`,
		pkg + ":2: no suffix:, though the build differs from the archive's own; write suffix: +p1",
		pkg + ":6: patch https://git.example.org/nginx/commit/52e4dc2f74fd032dace01acbe5eb29ddf7c1ad96.patch comes from the network without a digest; write {why: .., sha256: ..}",
		filepath.Join(dir, ".buildit-config.yaml") + ":4: upload-type: ssh: an image goes to a registry by https",
	} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
	if len(lines) != 4 {
		t.Errorf("%d lines:\n%v", len(lines), err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); !errors.Is(err, document.ErrUsage) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "x.yaml")); !errors.Is(err, document.ErrUsage) {
		t.Errorf("no file: %v", err)
	}
	for _, name := range []string{ListName, Name} { // the latter is preferred
		if err := os.WriteFile(filepath.Join(dir, name), []byte("packages: [a-b]"), 0o644); err != nil {
			t.Fatal(err)
		}
		if p, err := Load(dir); err != nil || filepath.Base(p.File) != name || p.Dir != dir {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

// contents are documents of the list form; one that is no image.yaml's is refused.
var contents = map[string]string{
	`{"architecture": "386", "config": {"Labels": {"": "", "a\u0000": "\n"}}}`:     "",
	`{"config": {"WorkingDir": "srv"}}`:                                            `WorkingDir "srv" is no absolute path`,
	`{"config": {"WorkingDir": "/a:b"}}`:                                           `WorkingDir "/a:b" is no absolute path`,
	`{"config": {"Volumes": {"/a\nb": {}}}}`:                                       `is no absolute path`,
	`{"config": {"Entrypoint": ["a\u0000"]}}`:                                      "Entrypoint holds a NUL byte",
	`{"config": {"Cmd": ["a\u0000"]}}`:                                             "Cmd holds a NUL byte",
	`{"author": "A\nB"}`:                                                           `author "A\nB" is not one line`,
	`{"author": " A"}`:                                                             `author " A" is not one line`,
	`{"architecture": "arm64"}`:                                                    "architecture is arm64, but vars: says i386",
	`{"acKind": "ImageManifest", "app": {"exec": ["a\u0000"]}}`:                    "app.exec holds a NUL byte",
	`{"acKind": "ImageManifest", "app": {"workingDirectory": "/a:b"}}`:             `app.workingDirectory "/a:b" is no absolute path`,
	`{"acKind": "ImageManifest", "labels": [{"name": "version", "value": "1\n"}]}`: "label version",
	`{"acKind": "ImageManifest", "labels": [{"name": "arch", "value": "amd64"}]}`:  "label arch is amd64, but vars: says i386",
	`{"acKind": "ImageManifest", "app": {"mountPoints": [{"path": "/a\tb"}]}}`:     "app.mountPoints",
}

func listWith(content string) string {
	kind := "oci"
	if strings.Contains(content, "acKind") {
		kind = "aci"
	}
	return "- vars: {arch: i386}\n- package: a-b\n- image: {type: " + kind + ", content: '" + content + "'}\n"
}

// What the list form says can be said in an image.yaml, or is refused: the plan beside an image is read again.
func TestContents(t *testing.T) {
	for content, fault := range contents {
		p, err := parse("container.yaml", ".", []byte(listWith(content)), none)
		switch {
		case fault == "" && err != nil, fault != "" && (!errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), fault)):
			t.Errorf("%s: %v", content, err)
		case err == nil:
			again := mustParse(t, string(p.Format()))
			if string(again.Format()) != string(p.Format()) {
				t.Errorf("%s: %s then %s", content, p.Format(), again.Format())
			}
		}
	}
	for text, fault := range map[string]string{
		"packages: [a-b]\narch: [amd64, arm64, amd64]":        "amd64 stands twice",
		"packages: [a-b]\nref: oci.example.org/site/nginx:1":  "tags: [1]",
		"packages: [a-b]\nref: oci-archive.example.org/web:1": "tags: [1]",
	} {
		if _, err := parse("image.yaml", ".", []byte(text), none); !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Whatever is read without error is written so that it is read as the same plan.
func FuzzPlan(f *testing.F) {
	for _, name := range []string{"testdata/seed/container.yaml", "testdata/full.yaml", "testdata/list.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for content := range contents {
		f.Add([]byte(listWith(content)))
	}
	f.Add([]byte("packages: [a-b, {path: ./pkgs/x, name: [y-z]}]"))
	f.Add([]byte("packages: [a-b, \"c (>= 1)\"]\nconfig: {labels: {\"a: b\": \"{{ x }}\"}, env: {A: \"\\e\\n\"}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parse("image.yaml", ".", data, none)
		if err != nil {
			if !errors.Is(err, document.ErrUsage) {
				t.Fatalf("%v", err)
			}
			return
		}
		text := p.Format()
		again, err := parse("image.yaml", ".", text, none)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if got := again.Format(); string(got) != string(text) {
			t.Fatalf("%s\nthen\n%s", text, got)
		}
	})
}
