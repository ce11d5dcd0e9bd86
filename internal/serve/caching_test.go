package serve

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// What caches may keep without asking: what can never differ, and packages as long as nothing restricts who gets them.
func TestCacheControl(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sn := spec{date: day(1), verbatim: true, debs: map[string][]byte{debPath: []byte("deb")}}.take(t, m)
	own := spec{date: day(1), prefix: "own", debs: map[string][]byte{"own/pool/main/o/own/own_1_all.deb": []byte("own")}}.take(t, m)
	own.Statement.Archives[0].Class = snapshot.Site
	fixed, fixedOwn := "/snapshot/"+newServed(sn).name+"/", "/snapshot/"+newServed(own).name+"/"
	const (
		day     = "public, max-age=86400, immutable"
		forever = "public, max-age=31536000, immutable"
		private = "private, max-age=31536000, immutable"
		no      = "no-cache"
	)
	credentials := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(credentials, []byte("host:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name                      string
		o                         Options
		pool, fixedPool, document string
	}{
		{"open", Options{}, day, day, forever},
		{"rules without a denial", Options{Policy: writeRules(t, "default: allow\nrules: []\n")}, day, day, forever},
		{"rules", Options{Policy: writeRules(t, "rules:\n- {deny: telnet, reason: none}\n")}, no, no, forever},
		{"only what is listed", Options{Policy: writeRules(t, "default: deny\nrules:\n- {allow: '*', reason: needed}\n")}, no, no, forever},
		{"rules that are tried", Options{Policy: writeRules(t, "rules:\n- {deny: telnet, reason: none}\n"), PolicyLogOnly: true}, no, no, forever},
		{"credentials", Options{Credentials: credentials}, no, no, private},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Sources = []Source{newTag(sn), tagOf("registry.example.org/site/own:noble", own)}
			_, base := run(t, c.o, false)
			for path, want := range map[string]string{
				"/" + debPath:                                  c.pool,
				fixed + debPath:                                c.fixedPool,
				"/own/pool/main/o/own/own_1_all.deb":           no, // the site may build it again under the same name
				fixedOwn + "own/pool/main/o/own/own_1_all.deb": c.fixedPool,
				"/docker/dists/bookworm/Release":               no,
				fixed + "docker/dists/bookworm/Release":        c.document,
				fixed + "mmoci/statement":                      c.document,
				fixed + "docker/dists/bookworm/none":           no,
				fixed + "setup/docker.sources":                 no,
				"/mmoci/statement":                             no,
			} {
				a := ask(t, base, "GET", path, "Authorization", "Basic aG9zdDpzZWNyZXQ=")
				if got := a.header.Get("Cache-Control"); got != want {
					t.Errorf("%s: %d %s, want %s", path, a.status, got, want)
				}
			}
		})
	}
}

// Another version of a package whose file has none in its name lies at the same path.
func TestCachingOfUnversionedNames(t *testing.T) {
	t.Parallel()
	h := newServed(spec{date: day(1), verbatim: true, debs: map[string][]byte{debPath: []byte("deb")}}.take(t, newMemoryBlobs()))
	req := &request{s: &Server{}, r: httptest.NewRequest("GET", "/docker/agent.deb", nil)}
	pkg := snapshot.Package{Name: "agent", Version: "1", Architecture: "amd64", Source: "agent"}
	for name, want := range map[string]bool{"agent.deb": false, "agent_1_amd64.deb": true} {
		row := snapshot.Row{Path: "docker/" + name, Package: pkg}
		if got := req.cacheControl(h, row, false); strings.Contains(got, "immutable") != want {
			t.Errorf("%s: %s", name, got)
		}
		if got := req.cacheControl(h, row, true); !strings.Contains(got, "immutable") {
			t.Errorf("%s below an ID: %s", name, got)
		}
	}
}

// Rules that are loaded while the server runs end what caches may do from the next answer on.
func TestRulesEndCaching(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sn := spec{date: day(1), verbatim: true, debs: map[string][]byte{debPath: []byte("deb")}}.take(t, m)
	file := writeRules(t, "rules: []\n")
	_, base := run(t, Options{Sources: []Source{newTag(sn)}, Policy: file, look: 5 * time.Millisecond}, false)
	kept := func() bool {
		return strings.Contains(ask(t, base, "GET", "/"+debPath).header.Get("Cache-Control"), "immutable")
	}
	if !kept() {
		t.Error("not cacheable without rules")
	}
	if err := os.WriteFile(file, []byte("rules:\n- {deny: telnet, reason: none}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return !kept() })
}

func tagOf(name string, sn *snapshot.Snapshot) *tag {
	g := newTag(sn)
	g.name = name
	return g
}
