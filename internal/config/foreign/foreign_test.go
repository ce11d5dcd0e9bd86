package foreign

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/document"
)

func TestList(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"queries", "a\nb (>= 1)\nc | d\nName (~ \"#x\") # quoted\n{a_1.0_amd64}\na_1.0_amd64\nall\n", ""},
		{"YAML", "name: docker\nurl: http://h/d\nversion: 1.0\n- name: a\n", ""},
		{"source.txt", "http://h/d key.asc s c\n", ""},
		{"comments", "#a 1.0\n# a 1.0\n\n", ""},
		{"exact", "a-b 1:2.0-1+b2\n# base\nc.d  2~rc1 # why\n", "a-b (= 1:2.0-1+b2)\n# base\nc.d (= 2~rc1) # why\n"},
		{"by URL", "ab 1 https://h/ab_1.deb\n", "ab (= 1) # https://h/ab_1.deb\n"},
		{"a name", "ab 1\ncd\n", "ab (= 1)\ncd\n"},
		{"RPM", "ab-1.el7.x86_64.rpm\nab.rpm#http://h/ab.rpm\nx.tar.gz#dir#http://h/x.tar.gz\n", "# ab-1.el7.x86_64.rpm\n# ab.rpm#http://h/ab.rpm\n# x.tar.gz#dir#http://h/x.tar.gz\n"},
	} {
		err := List("f", []byte(tt.text))
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		files := Rewritten(err)
		if len(files) != 1 || files[0].Name != "f.mmoci" || string(files[0].Data) != tt.want || !errors.Is(err, document.ErrUsage) {
			t.Errorf("%s: %v, %q", tt.name, err, files)
			continue
		}
		if again := List("f.mmoci", files[0].Data); again != nil {
			t.Errorf("%s: what is rewritten is refused: %v", tt.name, again)
		}
		for line := range strings.Lines(err.Error()) {
			if !strings.HasPrefix(line, "f:") {
				t.Errorf("%s: no place: %s", tt.name, line)
			}
		}
	}
}

// seeds are the container builds of testdata.
const seeds = "../../../testdata/seeds/d-container-builds"

func TestYAML(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		faults int
		file   string
	}{
		{"nginx-prod/container.yaml", 12, "nginx (% 1.7.6*) # www-servers/nginx-1.7.6\n"},
		{"nginx-prod/pkgs/nginx/pkg.yaml", 5, "nginx (% 1.7.6*) # www-servers/nginx-1.7.6\n"},
		{".buildit-config.yaml", 5, "# a registry in the place of the repository\nref: mysuperbinhost.org/containers:latest\n"},
	} {
		name := filepath.Join(seeds, tt.name)
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		err = YAML(name, data)
		files := Rewritten(errors.Join(errors.New("other"), err))
		if err == nil || strings.Count(err.Error(), "\n")+1 != tt.faults || !errors.Is(err, document.ErrUsage) {
			t.Errorf("%s: not %d faults: %v", tt.name, tt.faults, err)
		}
		if len(files) != 1 || files[0].Name != name+".mmoci" || string(files[0].Data) != tt.file {
			t.Errorf("%s: %q", tt.name, files)
		}
	}
	if err := Dir(filepath.Join(seeds, "nginx-prod")); err == nil || !strings.Contains(err.Error(), `image: of type "aci"`) {
		t.Errorf("%v", err)
	}
	if err := Dir(seeds); err != nil {
		t.Error(err)
	}
}

func TestYAMLErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, says string }{
		{"", ""},
		{"archives: []\nrepository: x\n", ""},
		{"ref: h/r\n", ""},
		{"base: x\n", ""},
		{"- a\n- b\n", ""},
		{"- image: {type: oci}\n- vars: x\n- other: 1\n", `f:3: unknown step "other"; known are vars, package, sync, image`},
		{"- package: {type: other}\n", `package: of type "other"`},
		{"- package: {type: embedded}\n", `f:1: package: no path:`},
		{"- package: {type: embedded, path: gone}\n", `f:1: path: gone/pkg.yaml: `},
		{"base: nginx\nauthor: x\n", `f:1: base: "nginx" is not CATEGORY/NAME-VERSION`},
		{"base: w/n-1\nuse: {}\nx: 1\n", `f:3: unknown key "x"`},
		{"repository: {upload-path: /srv}\n", `f:1: upload-path: write ref:`},
		{"repository: x\n", `f:1: repository: is a single value`},
	} {
		err := YAML("f", []byte(tt.text))
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%q: %v, want %s", tt.text, err, tt.says)
		}
	}
}

// FuzzForeign holds that a foreign text is refused as bad input or not ours, and that a rewritten list is none that is refused.
func FuzzForeign(f *testing.F) {
	for _, s := range []string{"a 1.0\nbc\n", "ab 1 https://h/x # y", "x.rpm#u", "- image:\n    type: aci\n", "base: a/b-1\nuse:\n  with: [x]\n", "repository:\n  upload-path: a@b/c\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, err := range []error{List("f", data), YAML(filepath.Join(t.TempDir(), "f"), data)} {
			if err != nil && !errors.Is(err, document.ErrUsage) {
				t.Errorf("%q", err)
			}
			for _, file := range Rewritten(err) {
				if again := List("g", file.Data); again != nil {
					t.Errorf("%q became %q, which is refused: %v", data, file.Data, again)
				}
			}
		}
	})
}
