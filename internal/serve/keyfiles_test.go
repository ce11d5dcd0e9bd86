package serve

import (
	"strings"
	"testing"

	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/archive/pgp"
)

// TestKeyFiles: where a suite is of a release whose apt takes no key inline, or the client asks for it, no text has a
// key in a .sources, and each recipe writes the file that the sources name.
func TestKeyFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		suite, at string
		files     bool
	}{
		{"bookworm", "/setup/", false}, {"bookworm", "/setup/key-files/", true}, {"bullseye", "/setup/", true}, {"focal-updates", "/setup/", true},
		{"bullseyes", "/setup/", false},
	} {
		sn := spec{date: day(1), suite: c.suite}.take(t, newMemoryBlobs())
		_, base := run(t, Options{Sources: []Source{newTag(sn)}, SiteKey: testKey(t)}, false)
		text := string(ask(t, base, "GET", c.at+"docker.sources").body)
		if named := strings.Contains(text, "\nSigned-By: /etc/apt/keyrings/mmoci-docker.asc\n"); named != c.files {
			t.Errorf("%s of %s: key in a file: %v\n%s", c.at, c.suite, named, text)
		}
		if inline := strings.Contains(text, "-----BEGIN PGP"); inline == c.files {
			t.Errorf("%s of %s: key inline: %v", c.at, c.suite, inline)
		}
		if !c.files {
			continue
		}
		if !strings.Contains(text, "# Put http://site.example.org/setup/keys/docker.asc there") {
			t.Errorf("%s: it is not said where the key is:\n%s", c.at, text)
		}
		if key := ask(t, base, "GET", "/setup/keys/docker.asc"); string(key.body) != string(testKey(t)) {
			t.Errorf("key: %d %s", key.status, key.body)
		}
		for _, name := range web.Recipes() {
			recipe := string(ask(t, base, "GET", c.at+name).body)
			if strings.Contains(recipe, "/setup/") {
				t.Errorf("%s has hosts fetch something:\n%s", name, recipe)
			}
			if strings.Contains(recipe, "Signed-By:\n") {
				t.Errorf("%s has an inline key:\n%s", name, recipe)
			}
			if strings.Contains(recipe, "Signed-By: ") && strings.Count(recipe, "BEGIN PGP PUBLIC") != 1 {
				t.Errorf("%s lacks the key:\n%s", name, recipe)
			}
		}
	}
}

// TestUpstreamsKeyIsHandedOut: a verbatim archive, and upstream's view of a curated one, name upstream's key where the
// server knows it; and armada.yaml, whose siteKey vouches for whole snapshots, never has it.
func TestUpstreamsKeyIsHandedOut(t *testing.T) {
	t.Parallel()
	upstream := strings.TrimSpace(string(testKey(t)))
	ring, err := pgp.ReadKeyring([]byte(upstream))
	if err != nil {
		t.Fatal(err)
	}
	rings := map[string]*pgp.Keyring{"docker": ring}
	for _, c := range []struct {
		verbatim bool
		name     string
		rings    map[string]*pgp.Keyring
		code     int
	}{
		{true, "docker", rings, 200}, {true, "docker", nil, 404}, {false, "docker-upstream", rings, 200}, {false, "docker", rings, 404}, {false, "none", rings, 404},
	} {
		sn := spec{date: day(1), verbatim: c.verbatim}.take(t, newMemoryBlobs())
		_, base := run(t, Options{Sources: []Source{newTag(sn)}, Keyrings: c.rings}, false)
		key := ask(t, base, "GET", "/setup/keys/"+c.name+".asc")
		if key.status != c.code {
			t.Errorf("%+v: %d %s", c, key.status, key.body)
		}
		text := string(ask(t, base, "GET", "/setup/"+c.name+".sources").body)
		if has := strings.Contains(text, "\nSigned-By:\n -----BEGIN PGP"); has != (c.code == 200) {
			t.Errorf("%+v: key in the text: %v\n%s", c, has, text)
		}
		if c.code == 200 && strings.TrimSpace(string(key.body)) != upstream {
			t.Errorf("%+v: %s", c, key.body)
		}
		if list := string(ask(t, base, "GET", "/setup/").body); strings.Contains(list, "/setup/keys/"+c.name+".asc\n") != (c.code == 200) {
			t.Errorf("%+v: listed:\n%s", c, list)
		}
		if c.verbatim && c.rings == nil && !strings.Contains(text, "# Debian's is /usr/share/keyrings/debian-archive-keyring.gpg") {
			t.Errorf("it is not said where keys are:\n%s", text)
		}
		if armada := string(ask(t, base, "GET", "/setup/armada.yaml").body); strings.Contains(armada, "siteKey") {
			t.Errorf("%+v: upstream's key vouches for snapshots:\n%s", c, armada)
		}
	}
}
