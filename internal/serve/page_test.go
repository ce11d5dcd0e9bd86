package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

const hostile = `docker/pool/x/<img src=x onerror=alert(1)>"'&#_1_amd64.deb`

func pageServer(t *testing.T, o Options) (string, *snapshot.Snapshot, *snapshot.Snapshot) {
	m := newMemoryBlobs()
	first := spec{date: day(1), debs: map[string][]byte{
		"docker/pool/stable/d/docker-ce/docker-ce_26_amd64.deb": []byte("26"), "docker/pool/stable/g/gone_1_all.deb": []byte("gone"),
	}}.take(t, m)
	second := spec{date: day(2), debs: map[string][]byte{
		"docker/pool/stable/d/docker-ce/docker-ce_27~x+y_amd64.deb": []byte("27"), hostile: []byte("hostile"),
		"docker/pool/y/turned\u202egnp.exe_1_all.deb": []byte("turned"),
	}}.take(t, m)
	g := newTag(first)
	o.Sources = []Source{g}
	s, base := run(t, o, false)
	g.move(second)
	if err := s.check(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	return base, first, second
}

func TestPages(t *testing.T) {
	t.Parallel()
	c := newClock()
	base, first, second := pageServer(t, Options{
		Now: c.now, SiteKey: testKey(t),
		Policy: writeRules(t, "rules:\n- {name: old, deny: docker-ce, version: << 28, reason: '<b>too old</b>'}\n"),
	})
	for target, wants := range map[string][]string{
		"/": {newServed(second).name, second.Root.String(), "28 days old", "cat &gt;/etc/apt/sources.list.d/mmoci-docker.sources &lt;&lt;'END-OF-SOURCES'\n",
			"URIs: http://site.example.org/docker", "BEGIN PGP PUBLIC KEY BLOCK", "the tag is followed", `href="./docker/"`, "policy.pref", "<h1>site.example.org</h1>"},
		"/?q=docker":                       {"1 package for", `href="./docker/package/docker-ce/27~x+y?arch=amd64"`, "denied by rule old: &lt;b&gt;too old"},
		"/?q=":                             {"<h1>3 packages</h1>", ">docker-ce<", `href="./setup/"`},
		"/?q=DOCKER":                       {"<h1>1 package for “DOCKER”</h1>", ">docker-ce<"},
		"/?q=%3Cimg":                       {"&lt;img src=x onerror=alert(1)&gt;", "%3Cimg%20src=x"},
		"/?q=turned":                       {">turned\ufffdgnp.exe<", "turned%E2%80%AEgnp.exe"},
		"/?q=%22%3E%3Cscript%3E":           {"0 packages", `value="&#34;&gt;&lt;script&gt;"`},
		"/docker/":                         {`href="./dists/"`, `href="./pool/"`, `href="../mmoci/page.css"`},
		"/docker/pool/x/":                  {"&lt;img src=x", `href="../../../mmoci/page.css"`},
		"/upstream/docker/":                {`href="./dists/"`, `href="./pool/"`},
		"/upstream/docker/dists/bookworm/": {"InRelease"},
		"/upstream/docker/pool/":           {`href="./stable/"`},
		"/mmoci/changes":                   {newServed(first).name, newServed(second).name, "gone", ">26<", ">27~x"},
		"/mmoci/changes?from=" + newServed(first).name:    {newServed(first).name, newServed(second).name, "gone", ">26<", ">27~x"},
		"/snapshot/" + newServed(first).name + "/":        {first.Root.String(), "http://site.example.org/snapshot/" + newServed(first).name + "/docker\n", `href="./docker/"`},
		"/snapshot/" + newServed(first).name + "/docker/": {`href="./pool/"`, `href="../../../mmoci/page.css"`},
		"/snapshot/": {"http://site.example.org/snapshot/ID/PREFIX"},
	} {
		a := ask(t, base, "GET", target)
		if a.status != 200 || a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("Content-Security-Policy") != web.SecurityPolicy {
			t.Errorf("%s: %d %v", target, a.status, a.header)
		}
		for _, want := range wants {
			if !bytes.Contains(a.body, []byte(want)) {
				t.Errorf("%s: no %q in\n%s", target, want, a.body)
			}
		}
		for _, not := range []string{"<img", "<script", "<b>", "style=", "ZgotmplZ"} {
			if bytes.Contains(a.body, []byte(not)) {
				t.Errorf("%s: has %q", target, not)
			}
		}
	}
	if a := ask(t, base, "GET", "/mmoci/page.css"); a.status != 200 || a.header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("style sheet: %d %v", a.status, a.header)
	}
	for target, want := range map[string]string{"/docker": "./docker/", "/docker/dists/bookworm": "./bookworm/", "/snapshot/" + newServed(first).name: "./" + newServed(first).name + "/"} {
		if a := ask(t, base, "GET", target); a.status != 301 || a.header.Get("Location") != want {
			t.Errorf("%s: %d to %q", target, a.status, a.header.Get("Location"))
		}
	}
	for _, target := range []string{"/docker/none/", "/none/", "/upstream/", "/docker/dists/bookworm/Release/"} {
		if a := ask(t, base, "GET", target); a.status != 404 {
			t.Errorf("%s: %d", target, a.status)
		}
	}
}

// Upstream's view has its indices of its own and the pool files in common with
// the archive, wherever these lie: a listing shows both, and nothing of the site's.
func TestUpstreamListings(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	site := spec{date: day(1), prefix: "docker", debs: map[string][]byte{
		"docker/dists/bookworm/pool/stable/amd64/docker-ce_1_amd64.deb": []byte("below dists"), // as Docker's own archive has it
		"docker/dists/bookworm/main/binary-amd64/odd_1_amd64.deb":       []byte("beside an index"),
		"docker/pool/p/plain_1_amd64.deb":                               []byte("below pool"),
	}, files: map[string][]byte{"docker/dists/bookworm/site/only/Packages.xz": []byte("the site's")}}.take(t, m)
	own := spec{date: day(1), prefix: "own", verbatim: true, debs: map[string][]byte{"own/pool/o/own_1_all.deb": []byte("own")}}.take(t, m)
	second := newTag(own)
	second.name = "registry.example.org/site/other:noble"
	_, base := run(t, Options{Sources: []Source{newTag(site), second}}, false)
	id := newServed(site).name
	name := regexp.MustCompile(`<td class="name"><a href="\./([^"]*)">`)
	for dir, want := range map[string]string{
		"docker/":                                  "dists/ pool/",
		"docker/dists/bookworm/":                   "InRelease main/ pool/",
		"docker/dists/bookworm/main/":              "binary-amd64/",
		"docker/dists/bookworm/main/binary-amd64/": "Packages.gz odd_1_amd64.deb",
		"docker/dists/bookworm/pool/stable/":       "amd64/",
		"docker/dists/bookworm/pool/stable/amd64/": "docker-ce_1_amd64.deb",
		"docker/pool/":                             "p/",
		"docker/pool/p/":                           "plain_1_amd64.deb",
		"own/dists/bookworm/":                      "Release main/",
		"own/pool/o/":                              "own_1_all.deb",
	} {
		places := []string{"/upstream/"}
		if strings.HasPrefix(dir, "docker/") {
			places = append(places, "/snapshot/"+id+"/upstream/")
		}
		for _, place := range places {
			a := ask(t, base, "GET", place+dir)
			var got []string
			for _, found := range name.FindAllSubmatch(a.body, -1) {
				got = append(got, string(found[1]))
				if a := ask(t, base, "GET", place+dir+string(found[1])); a.status != 200 {
					t.Errorf("%s%s%s: listed, and %d", place, dir, found[1], a.status)
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s%s: %q, want %q (%d)", place, dir, got, want, a.status)
			}
			if a := ask(t, base, "GET", strings.TrimSuffix(place+dir, "/")); a.status != 301 {
				t.Errorf("%s%s without its slash: %d", place, dir, a.status)
			}
		}
	}
	for _, none := range []string{"/upstream/docker/dists/bookworm/site/", "/upstream/docker/dists/bookworm/site", "/upstream/none/"} {
		if a := ask(t, base, "GET", none); a.status != 404 {
			t.Errorf("%s: %d", none, a.status)
		}
	}
}

// Below a path the page has one address, with which its links hold.
func TestFrontPageBelowPath(t *testing.T) {
	t.Parallel()
	base, _, _ := pageServer(t, Options{BaseURL: "https://site.example.org/apt/mirror"})
	if a := ask(t, base, "GET", "/apt/mirror"); a.status != 301 || a.header.Get("Location") != "./mirror/" {
		t.Errorf("%d to %q", a.status, a.header.Get("Location"))
	}
	if a := ask(t, base, "GET", "/apt/mirror/"); a.status != 200 || !bytes.Contains(a.body, []byte(`href="./docker/"`)) {
		t.Errorf("%d\n%s", a.status, a.body)
	}
}

var hrefs = regexp.MustCompile(`(?:href|action)="([^"]*)"`)

// Every link leads somewhere, also behind a proxy that puts the server below a path.
func TestLinks(t *testing.T) {
	t.Parallel()
	base, _, _ := pageServer(t, Options{BaseURL: "https://site.example.org/apt/mirror/"})
	for _, under := range []string{"/", "/apt/mirror/"} {
		seen := map[string]bool{}
		todo := []string{under}
		for len(todo) > 0 && len(seen) < 200 {
			at := todo[0]
			todo = todo[1:]
			if seen[at] {
				continue
			}
			seen[at] = true
			a := ask(t, base, "GET", at)
			if a.status != 200 {
				t.Errorf("%s: %d %s", at, a.status, a.phrase)
			}
			if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
				continue
			}
			from := &url.URL{Path: at}
			for _, m := range hrefs.FindAllSubmatch(a.body, -1) {
				ref, err := url.Parse(strings.NewReplacer("&#43;", "+", "&amp;", "&").Replace(string(m[1])))
				if err != nil {
					t.Errorf("%s: link %s: %v", at, m[1], err)
					continue
				}
				from, _ = url.Parse(at)
				to := from.ResolveReference(ref)
				if !strings.HasPrefix(to.Path, under) {
					t.Errorf("%s: link %s leaves %s", at, m[1], under)
				}
				if to.Path != at+"../" {
					todo = append(todo, to.EscapedPath())
				}
			}
		}
		if len(seen) < 15 {
			t.Errorf("%s: only %d pages", under, len(seen))
		}
	}
}

func TestSourcesText(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	s := spec{date: day(1), verbatim: true, files: map[string][]byte{
		"docker/dists/bookworm/contrib/binary-arm64/Packages.xz": []byte("p"), "docker/dists/bookworm/contrib/binary-all/Packages.xz": []byte("q"),
		"docker/dists/bookworm/main/source/Sources.xz": []byte("s"), "docker/dists/bookworm/main/i18n/Translation-de.bz2": []byte("t"),
		"docker/dists/bookworm/main/Contents-amd64.gz": []byte("c"),
	}}
	sn := s.take(t, m)
	_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	want := map[string]string{
		"Types": "deb deb-src", "URIs": "http://site.example.org/docker", "Suites": "bookworm", "Components": "contrib main",
		"Architectures": "amd64 arm64", "Languages": "de", "Targets": "Contents-deb Packages Sources Translations", "Signed-By": "/etc/apt/keyrings/docker.asc",
	}
	got := fieldsOf(ask(t, base, "GET", "/setup/docker.sources").body)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: %q, want %q", name, got[name], value)
		}
	}
	at := "/snapshot/" + sn.Root.String()
	if got := fieldsOf(ask(t, base, "GET", at+"/setup/docker-upstream.sources").body); got["URIs"] != "http://site.example.org"+at+"/upstream/docker" {
		t.Errorf("URIs: %s", got["URIs"])
	}
	for _, target := range []string{"/setup/none.sources", "/setup/docker", "/setup/../docker.sources", "/setup/site.asc"} {
		if a := ask(t, base, "GET", target); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", target, a.status)
		}
	}
	list := strings.Fields(string(ask(t, base, "GET", "/setup/").body))
	if len(list) != 1+len(web.Recipes()) || list[0] != "http://site.example.org/setup/docker.sources" {
		t.Errorf("list %q", list)
	}
	evil := ask(t, base, "GET", "/setup/docker.sources", "X-Forwarded-Proto", "https")
	if !bytes.Contains(evil.body, []byte("URIs: http://site")) {
		t.Errorf("a client that is no proxy chose the scheme: %s", evil.body)
	}
}

func fieldsOf(text []byte) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && line[0] != '#' && line[0] != ' ' {
			fields[name] = value
		}
	}
	return fields
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	base, _, second := pageServer(t, Options{})
	ask(t, base, "GET", "/docker/pool/none_1_all.deb")
	ask(t, base, "GET", "/made-up/pool/none_1_all.deb")
	a := ask(t, base, "GET", "/metrics")
	for _, want := range []string{
		`mmoci_requests_total{archive="docker",method="GET",status="404"} 1`, `mmoci_requests_total{archive="",method="GET",status="404"} 1`,
		"mmoci_build_info{", "mmoci_snapshot_age_seconds{", "mmoci_sent_bytes_total{", "go_goroutines",
		`mmoci_snapshot_ready{reference="registry.example.org/site/mirror:noble"} 1`,
	} {
		if !bytes.Contains(a.body, []byte(want)) {
			t.Errorf("no %s in\n%s", want, a.body)
		}
	}
	if bytes.Contains(a.body, []byte("made-up")) {
		t.Errorf("a client made up a label:\n%s", a.body)
	}
	statement := ask(t, base, "GET", "/mmoci/statement")
	if !bytes.Equal(statement.body, second.StatementBytes) {
		t.Errorf("statement: %s", statement.body)
	}
}

// apt refuses a whole file of which one stanza has no Components.
func TestSourcesLeaveOutUnusedSuites(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sn := spec{date: day(1), unused: "bookworm-updates"}.take(t, m)
	_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	text := string(ask(t, base, "GET", "/setup/docker-upstream.sources").body)
	if got := fieldsOf([]byte(text)); got["Suites"] != "bookworm" || got["Components"] != "main" || strings.Count(text, "URIs:") != 1 {
		t.Errorf("sources:\n%s", text)
	}
}

// When what clients rely on ends: keys, upstream's Release.
func TestMetricsOfValidity(t *testing.T) {
	t.Parallel()
	private, public, err := pgp.NewKey("site", day(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := pgp.ReadKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := pgp.ReadSigner(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	release, err := signer.Clearsign(append(releaseText("bookworm", day(1), "upstream", nil), "Valid-Until: Fri, 08 Nov 2024 09:13:40 UTC\n"...), day(1))
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := ring.Fingerprints()[0]
	m := newMemoryBlobs()
	sn := spec{date: day(1), release: release, keys: []string{fingerprint}, signer: signer}.take(t, m)
	_, base := run(t, Options{Sources: []Source{newTag(sn)}, Keyrings: map[string]*pgp.Keyring{"": ring, "docker": ring}}, false)
	a := ask(t, base, "GET", "/metrics")
	for _, want := range []string{
		fmt.Sprintf("mmoci_release_valid_until_seconds{archive=\"docker\",suite=\"bookworm\"} %v\n", float64(day(8).Unix())),
		fmt.Sprintf("mmoci_key_expires_seconds{archive=\"\",fingerprint=%q} +Inf\n", fingerprint),
		fmt.Sprintf("mmoci_key_expires_seconds{archive=\"docker\",fingerprint=%q} +Inf\n", fingerprint),
	} {
		if !bytes.Contains(a.body, []byte(want)) {
			t.Errorf("no %s in\n%s", want, a.body)
		}
	}
}
