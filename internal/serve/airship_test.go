package serve

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"example.org/mmoci/pkg/snapshot"
)

// strictly reads YAML of one document; a key that v has not, or that stands twice, is an error.
func strictly(t *testing.T, text []byte, v any) {
	t.Helper()
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// document is what Deckhand wants of each document.
type document[T any] struct {
	Schema   string `yaml:"schema"`
	Metadata struct {
		Schema             string         `yaml:"schema"`
		Name               string         `yaml:"name"`
		LayeringDefinition map[string]any `yaml:"layeringDefinition"`
		StoragePolicy      string         `yaml:"storagePolicy"`
	} `yaml:"metadata"`
	Data T `yaml:"data"`
}

// hostSystem has those keys of promenade/HostSystem/v1 that its template needs.
type hostSystem struct {
	Packages struct {
		Common struct {
			Repositories []string          `yaml:"repositories"`
			Keys         []string          `yaml:"keys"`
			Required     map[string]string `yaml:"required"`
		} `yaml:"common"`
	} `yaml:"packages"`
}

// bell has those keys of divingbell's values that its template needs.
type bell struct {
	Conf struct {
		Apt struct {
			Repositories []struct {
				URL           string   `yaml:"url"`
				Distributions []string `yaml:"distributions"`
				Components    []string `yaml:"components"`
				GPGKey        string   `yaml:"gpgkey"`
			} `yaml:"repositories"`
			Packages []struct {
				Name    string `yaml:"name"`
				Version string `yaml:"version"`
			} `yaml:"packages"`
		} `yaml:"apt"`
	} `yaml:"conf"`
}

// chart has the keys of armada/Chart/v2 that its template needs.
type chart struct {
	Release   string         `yaml:"release"`
	Namespace string         `yaml:"namespace"`
	Wait      map[string]any `yaml:"wait"`
	Test      map[string]any `yaml:"test"`
	Source    struct {
		Type     string `yaml:"type"`
		Location string `yaml:"location"`
		Subpath  string `yaml:"subpath"`
	} `yaml:"source"`
	Values struct {
		References []string `yaml:"references"`
		SiteKey    string   `yaml:"siteKey"`
	} `yaml:"values"`
}

// airshipServer serves a snapshot of the reference.
func airshipServer(t *testing.T, o Options, reference string) (string, *snapshot.Snapshot) {
	t.Helper()
	m := newMemoryBlobs()
	deb := func(name, version, arch string) string {
		return "docker/pool/stable/x/" + name + "_" + version + "_" + arch + ".deb"
	}
	debs := map[string][]byte{}
	for _, path := range []string{
		deb("docker-ce", "5:28.5.1-1~x", "amd64"), deb("docker-ce", "5:28.10.0-1~x", "amd64"), deb("docker-ce", "5:29", "amd64"), deb("docker-ce", "5:28.10.0-1~x", "arm64"),
		deb("containerd.io", "1.7", "amd64"), deb("socat", "1.7.4", "amd64"), deb("telnet", "0.17", "all"), "docker/pool/stable/x/installer_9_amd64.udeb",
		// What a shell would run, or YAML read otherwise.
		deb("evil;reboot", "1", "amd64"), deb("evil$(reboot)", "1", "amd64"), deb("version", "1$(reboot)", "amd64"), deb("quote", `1"`, "amd64"), deb("blank", "1 2", "amd64"),
	} {
		debs[path] = []byte(path)
	}
	sn := spec{date: day(1), debs: debs}.take(t, m)
	source := newTag(sn)
	source.name = reference
	o.Sources, o.SiteKey = []Source{source}, testKey(t)
	_, base := run(t, o, false)
	return base, sn
}

// Names and versions in the templates for Airship are those of the snapshot that
// the policy allows, the highest of each; what dpkg does not take for a name
// or version, and so a shell might take for something else, is left out.
func TestAirship(t *testing.T) {
	t.Parallel()
	base, _ := airshipServer(t, Options{Policy: writeRules(t, "rules:\n- {name: no-telnet, deny: telnet, reason: use ssh}\n- {name: old, deny: docker-ce, version: '>= 5:29', reason: too new}\n")}, "oci:mirror:noble")
	key := string(testKey(t))

	var system document[hostSystem]
	strictly(t, ask(t, base, "GET", "/setup/promenade.yaml").body, &system)
	if system.Schema != "promenade/HostSystem/v1" || system.Metadata.Schema != "metadata/Document/v1" || system.Metadata.StoragePolicy != "cleartext" {
		t.Errorf("%+v", system)
	}
	common := system.Data.Packages.Common
	if want := []string{"deb [arch=amd64 lang=none] http://site.example.org/docker bookworm main"}; !slices.Equal(common.Repositories, want) {
		t.Errorf("repositories %q, want %q", common.Repositories, want)
	}
	if len(common.Keys) != 1 || strings.TrimSpace(common.Keys[0]) != strings.TrimSpace(key) {
		t.Errorf("keys %q", common.Keys)
	}
	// Its schema takes docker or runtime, and not both.
	if want := map[string]string{"docker": "docker-ce=5:28.10.0-1~x", "socat": "socat=1.7.4"}; !reflect.DeepEqual(common.Required, want) {
		t.Errorf("required %q, want %q", common.Required, want)
	}

	var values bell
	text := ask(t, base, "GET", "/setup/divingbell.yaml").body
	strictly(t, text, &values)
	apt := values.Conf.Apt
	if len(apt.Repositories) != 1 || apt.Repositories[0].URL != "http://site.example.org/docker" || !slices.Equal(apt.Repositories[0].Distributions, []string{"bookworm"}) ||
		!slices.Equal(apt.Repositories[0].Components, []string{"main"}) || strings.TrimSpace(apt.Repositories[0].GPGKey) != strings.TrimSpace(key) {
		t.Errorf("repositories %+v", apt.Repositories)
	}
	var got []string
	for _, p := range apt.Packages {
		got = append(got, p.Name+"="+p.Version)
	}
	if want := []string{"containerd.io=1.7", "docker-ce=5:28.10.0-1~x", "socat=1.7.4"}; !slices.Equal(got, want) {
		t.Errorf("packages %q, want %q\n%s", got, want, text)
	}
}

// The document for Armada has the references that the server follows, or of a
// fixed snapshot its digest, and values that the chart has.
func TestArmada(t *testing.T) {
	t.Parallel()
	var defaults map[string]any
	data, err := os.ReadFile("../../artifacts/chart/values.yaml")
	if err == nil {
		err = yaml.Unmarshal(data, &defaults)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"references", "siteKey"} {
		if _, ok := defaults[key]; !ok {
			t.Errorf("the chart has no value %s", key)
		}
	}
	for name, want := range map[string]string{
		"registry.example.org:5000/site/mirror:noble": "registry.example.org:5000/site/mirror:noble",
		"oci:/srv/mirror:noble":                       "registry.example.org/site/mirror:noble", // one to replace
	} {
		base, _ := airshipServer(t, Options{}, name)
		var c document[chart]
		text := ask(t, base, "GET", "/setup/armada.yaml").body
		strictly(t, text, &c)
		if c.Schema != "armada/Chart/v2" || c.Data.Release != "mmoci" || c.Data.Namespace == "" || c.Data.Source.Type != "local" ||
			!slices.Equal(c.Data.Values.References, []string{want}) || strings.TrimSpace(c.Data.Values.SiteKey) != strings.TrimSpace(string(testKey(t))) {
			t.Errorf("%s: %+v\n%s", name, c, text)
		}
		if told := strings.Contains(string(text), "is no reference of a registry"); told != strings.HasPrefix(name, "oci:") {
			t.Errorf("%s: %s", name, text)
		}
	}
	const name = "registry.example.org/site/mirror:noble"
	base, sn := airshipServer(t, Options{}, name)
	var c document[chart]
	strictly(t, ask(t, base, "GET", "/snapshot/"+sn.Root.String()+"/setup/armada.yaml").body, &c)
	if want := name + "@" + sn.Root.String(); !slices.Equal(c.Data.Values.References, []string{want}) {
		t.Errorf("of a fixed snapshot %q, want %q", c.Data.Values.References, want)
	}
}
