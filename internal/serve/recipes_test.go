package serve

import (
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
	var cloud struct {
		WriteFiles []struct{ Path, Content string } `yaml:"write_files"`
	}
	if err := yaml.Unmarshal(request(t, base, "GET", "/setup/cloud-init.yaml").body, &cloud); err != nil {
		t.Fatal(err)
	}
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
