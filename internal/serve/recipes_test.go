package serve

import (
	"bytes"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const testKey = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nkey\n-----END PGP PUBLIC KEY BLOCK-----\n"

// Every recipe has the URL that it was asked at, and the YAML ones are YAML
// whose content is the .sources text itself.
func TestRecipes(t *testing.T) {
	t.Parallel()
	base, _, _ := pageServer(t, Options{SiteKey: []byte(testKey), Policy: writeRules(t, "rules:\n- {name: old, deny: docker-ce, reason: 'it''s: \"old\"'}\n")})
	sources := string(request(t, base, "GET", "/setup/docker.sources").body)
	list := string(request(t, base, "GET", "/setup/").body)
	for _, name := range recipeNames {
		a := request(t, base, "GET", "/setup/"+name)
		if a.status != 200 || a.header.Get("Content-Type") != plainText {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
		if want := "http://site.example.org/setup/docker.sources"; name != "maas.sh" && name != "cloud-init.yaml" && !strings.Contains(string(a.body), want) {
			t.Errorf("%s: no %s in\n%s", name, want, a.body)
		}
		if strings.Contains(string(a.body), "<no value>") {
			t.Errorf("%s:\n%s", name, a.body)
		}
		if !strings.Contains(list, "http://site.example.org/setup/"+name+"\n") {
			t.Errorf("%s is not listed", name)
		}
		if strings.HasSuffix(name, ".yaml") {
			var v any
			if err := yaml.Unmarshal(a.body, &v); err != nil {
				t.Errorf("%s: %v\n%s", name, err, a.body)
			}
		}
	}
	cloud := readCloudConfig(t, request(t, base, "GET", "/setup/cloud-init.yaml").body)
	if len(cloud.WriteFiles) != 2 || cloud.WriteFiles[0].Path != "/etc/apt/sources.list.d/docker.sources" || cloud.WriteFiles[0].Content != sources {
		t.Errorf("cloud-init writes %+v, want\n%s", cloud.WriteFiles, sources)
	}
	if !strings.Contains(cloud.WriteFiles[1].Content, "Pin-Priority: -1") {
		t.Errorf("preferences: %+v", cloud.WriteFiles[1])
	}
	maas := string(request(t, base, "GET", "/setup/maas.sh").body)
	if want := "name=docker url=http://site.example.org/docker \\\n\tdistributions=bookworm components=main arches=amd64 "; !strings.Contains(maas, want) {
		t.Errorf("maas.sh:\n%s", maas)
	}
	ansible := string(request(t, base, "GET", "/setup/ansible.yaml").body)
	if !strings.Contains(ansible, "url: \"http://site.example.org/setup/docker.sources\"") {
		t.Errorf("ansible.yaml:\n%s", ansible)
	}
}

// cloudConfig has those keys of cloud-init's configuration that the recipe
// needs, with their types (module reference of its documentation: Bootcmd, Apt
// Configure, Write Files, Package Update Upgrade Install). scripts/e2e asks cloud-init itself.
type cloudConfig struct {
	Bootcmd [][]string `yaml:"bootcmd"`
	Apt     struct {
		SourcesList string `yaml:"sources_list"`
	} `yaml:"apt"`
	WriteFiles []struct {
		Path        string `yaml:"path"`
		Permissions string `yaml:"permissions"`
		Content     string `yaml:"content"`
	} `yaml:"write_files"`
	PackageUpdate bool `yaml:"package_update"`
}

// readCloudConfig takes no key that is not documented, nor one that is there twice.
func readCloudConfig(t *testing.T, data []byte) cloudConfig {
	t.Helper()
	if !bytes.HasPrefix(data, []byte("#cloud-config\n")) {
		t.Errorf("cloud-init does not know this for its own:\n%s", data)
	}
	var c cloudConfig
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&c); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.WriteFiles {
		if f.Permissions != "0644" {
			t.Errorf("%s: permissions %q", f.Path, f.Permissions)
		}
	}
	// What is removed is removed before ours are written, and never again.
	for _, words := range c.Bootcmd {
		if len(words) < 4 || words[0] != "cloud-init-per" || words[1] != "instance" {
			t.Errorf("bootcmd %q would be run at each start", words)
		}
	}
	// A template without a source: apt.sources_list.
	if len(c.Bootcmd) != 1 || strings.Contains(c.Apt.SourcesList, "deb") || !strings.HasPrefix(c.Apt.SourcesList, "#") || !c.PackageUpdate {
		t.Errorf("%+v", c)
	}
	return c
}

func TestQuoting(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"http://h:8000/a_b": "http://h:8000/a_b", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "a\nb": "'a\nb'"} {
		if got := quoteShell(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
	for _, in := range []string{`a"b`, "a: b", "<&>", "a\nb", "{{"} {
		q, err := quoteYAML(in)
		var out string
		if err != nil || yaml.Unmarshal([]byte(q), &out) != nil || out != in {
			t.Errorf("%q: %s, %q", in, q, out)
		}
	}
}
