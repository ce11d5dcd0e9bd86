package serve

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"example.org/mmoci/internal/serve/web"
)

func testKey(t *testing.T) []byte {
	t.Helper()
	armor, err := upstreamsKey().Public().Armor()
	if err != nil {
		t.Fatal(err)
	}
	return armor
}

// Hosts that are sent to mirrors are told to ask again at once; apt 2.6 may wait for ever else.
func TestRecipesOfFront(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"", mirrorsFile(t, "http://192.0.2.1/", "")} {
		base, _, _ := pageServer(t, Options{SiteKey: testKey(t), Mirrors: list})
		for _, name := range []string{"cloud-init.yaml", "autoinstall.yaml", "Dockerfile", "ansible.yaml"} {
			text := string(ask(t, base, "GET", "/setup/"+name).body)
			if strings.Contains(text, "/etc/apt/apt.conf.d/90mmoci-retries") != (list != "") || strings.Contains(text, `Acquire::Retries::Delay`) != (list != "") {
				t.Errorf("mirrors %q, %s:\n%s", list, name, text)
			}
		}
		cloud := readCloudConfig(t, ask(t, base, "GET", "/setup/cloud-init.yaml").body)
		if last := cloud.WriteFiles[len(cloud.WriteFiles)-1]; list != "" && !strings.HasSuffix(last.Content, "\nAcquire::Retries::Delay \"false\";\n") {
			t.Errorf("%+v", last)
		}
		page := ask(t, base, "GET", "/setup/", "Accept", "text/html")
		if got := strings.Count(string(page.body), "90mmoci-retries"); (got > 0) != (list != "") {
			t.Errorf("mirrors %q: %d times on the page", list, got)
		}
	}
}

// Every recipe has the sources and the key in it, and the fingerprint to compare;
// the YAML ones are YAML whose content is the .sources text itself. None of them has a host
// ask the server for something to believe, or write a file that its distribution has.
func TestRecipes(t *testing.T) {
	t.Parallel()
	base, _, _ := pageServer(t, Options{SiteKey: testKey(t), Policy: writeRules(t, "rules:\n- {name: old, deny: docker-ce, reason: 'it''s: \"old\"'}\n")})
	sources := string(ask(t, base, "GET", "/setup/docker.sources").body)
	list := string(ask(t, base, "GET", "/setup/").body)
	for _, name := range web.Recipes() {
		a := ask(t, base, "GET", "/setup/"+name)
		if a.status != 200 || a.header.Get("Content-Type") != plainText {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
		text := string(a.body)
		serves := "http://site.example.org/docker"
		if name == "armada.yaml" { // which serves what this server does
			serves = "references:"
		}
		for _, want := range []string{serves, "-----BEGIN PGP PUBLIC KEY BLOCK-----", "\n# " + upstreamsKey().Public().Fingerprints()[0] + "\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		for _, never := range []string{"/setup/", "curl", "ADD ", "get_url", "sources.list.d/docker.sources"} {
			if strings.Contains(text, never) {
				t.Errorf("%s: has %q:\n%s", name, never, text)
			}
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
	cloud := readCloudConfig(t, ask(t, base, "GET", "/setup/cloud-init.yaml").body)
	if len(cloud.WriteFiles) != 2 || cloud.WriteFiles[0].Path != "/etc/apt/sources.list.d/mmoci-docker.sources" || cloud.WriteFiles[0].Content != sources {
		t.Errorf("cloud-init writes %+v, want\n%s", cloud.WriteFiles, sources)
	}
	if !strings.Contains(cloud.WriteFiles[1].Content, "Pin-Priority: -1") {
		t.Errorf("preferences: %+v", cloud.WriteFiles[1])
	}
	maas := string(ask(t, base, "GET", "/setup/maas.sh").body)
	if want := "name=docker url=http://site.example.org/docker \\\n\tdistributions=bookworm components=main arches=amd64 "; !strings.Contains(maas, want) {
		t.Errorf("maas.sh:\n%s", maas)
	}
	// What a shell or Ansible writes is the same text.
	var install struct {
		Autoinstall struct {
			LateCommands []string `yaml:"late-commands"`
		} `yaml:"autoinstall"`
	}
	if err := yaml.Unmarshal(ask(t, base, "GET", "/setup/autoinstall.yaml").body, &install); err != nil || len(install.Autoinstall.LateCommands) != 4 {
		t.Fatalf("%v %q", err, install)
	}
	dir := t.TempDir()
	runs := func(name, script string) {
		t.Helper()
		cmd := exec.Command("sh", "-eu", "-c", script)
		cmd.Env = append(os.Environ(), "ROOT="+dir+"/root", "PATH="+dir+"/bin:"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s\n%s", name, err, out, script)
		}
	}
	written := func(name, file, want string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
			t.Errorf("%s: %v, wrote\n%s", name, err, got)
		}
	}
	runs("autoinstall", strings.ReplaceAll(install.Autoinstall.LateCommands[1], "/target/etc/apt/sources.list.d/", dir+"/"))
	written("autoinstall", "mmoci-docker.sources", sources)
	docker := string(ask(t, base, "GET", "/setup/Dockerfile").body)
	_, command, _ := strings.Cut(docker, "\nRUN printf")
	command, _, _ = strings.Cut(command, "\nRUN ")
	runs("Dockerfile", strings.ReplaceAll("printf"+command, "/etc/apt/sources.list.d/", dir+"/docker-"))
	written("Dockerfile", "docker-mmoci-docker.sources", sources)
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	fake := "#!/bin/sh\nfor f; do case $f in *.sources) cat \"$f\" >" + dir + "/debstrapped ;; esac; done\n"
	if err := os.WriteFile(filepath.Join(dir, "bin", "mmdebstrap"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	runs("mmdebstrap", string(ask(t, base, "GET", "/setup/mmdebstrap.sh").body))
	written("mmdebstrap", "debstrapped", sources)
	ansible := string(ask(t, base, "GET", "/setup/ansible.yaml").body)
	if want := "      dest: \"/etc/apt/sources.list.d/mmoci-docker.sources\"\n      mode: \"0644\"\n      content: !unsafe |\n" + strings.TrimSuffix(strings.ReplaceAll("\n"+sources, "\n", "\n        "), "\n        ")[1:] + "\n"; !strings.Contains(ansible, want) {
		t.Errorf("ansible.yaml:\n%s", ansible)
	}
}

// Without a key the reader is told so.
func TestRecipesWithoutKey(t *testing.T) {
	t.Parallel()
	base, _, _ := pageServer(t, Options{})
	for _, name := range web.Recipes() {
		if a := ask(t, base, "GET", "/setup/"+name); a.status != 200 || !strings.Contains(string(a.body), "# The server was not told the site's key") {
			t.Errorf("%s:\n%s", name, a.body)
		}
	}
	if _, err := New(t.Context(), Options{Sources: []Source{newTag(oneDeb([]byte("x")).take(t, newMemoryBlobs()))}, SiteKey: []byte("no key")}); err == nil {
		t.Error("no key was taken for one")
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
