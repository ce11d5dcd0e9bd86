package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/snapshot"
)

// Every field of a stanza is words on the page, whatever it says; nothing is lost, and no address but http is a link.
func TestHostileStanza(t *testing.T) {
	t.Parallel()
	const attack = `</pre></title><script>alert(1)</script><img src=x onerror=alert(2)>"'{{.}}` + "\u202e"
	long := strings.Repeat("long ", 200_000)
	row := snapshot.Row{Path: "debian/pool/e/evil_1_amd64.deb", Size: 4, Digest: snapshot.Sum([]byte("evil")), Package: snapshot.Package{Name: "evil", Version: "1", Architecture: "amd64", Source: "evil"}}
	var index bytes.Buffer
	fmt.Fprintf(&index, "Package: evil\nVersion: 1\nArchitecture: amd64\nFilename: pool/e/evil_1_amd64.deb\nSize: 4\nSHA256: %s\nHomepage: javascript:alert(3)\nSection: %s\nMaintainer: %s\nDepends: %s\nRecommends: evil\nX-Long: %s\nTag: %s\nDescription: %s\n %s\n",
		row.Digest.Hex(), attack, attack, attack, long, attack, attack, attack)
	_, base := run(t, Options{Sources: []Source{newTag(indexed(t, index.Bytes(), []snapshot.Row{row}))}}, false)
	for _, target := range []string{"/debian/package/evil", "/debian/package/evil/1?show=history", "/debian/package/evil?show=changelog&arch=amd64", "/debian/package/", "/?q=evil", "/?q=alert(1)"} {
		a := ask(t, base, "GET", target)
		if a.status != 200 || a.header.Get("Content-Security-Policy") != web.SecurityPolicy {
			t.Errorf("%s: %d %v", target, a.status, a.header)
		}
		for _, not := range []string{"<script", "<img", "href=\"javascript", "\u202e", "ZgotmplZ"} {
			if bytes.Contains(a.body, []byte(not)) {
				t.Errorf("%s: has %q", target, not)
			}
		}
		if !bytes.Contains(a.body, []byte("&lt;script&gt;alert(1)")) {
			t.Errorf("%s: the words of the attack are lost", target)
		}
	}
	body := ask(t, base, "GET", "/debian/package/evil").body
	for _, want := range []string{"javascript:alert(3)", long[:900_000], ">evil</a>", "not verified"} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("no %.40q on the page", want)
		}
	}
}

// The page of a package, and a front that was made before, do not wait for pages that read whole tables.
func TestSmallPagesDoNotWait(t *testing.T) {
	t.Parallel()
	s, base := run(t, Options{Sources: []Source{newTag(many(t, 20))}, Now: newClock().now}, false)
	ask(t, base, "GET", "/")
	for range maxPages {
		s.making <- struct{}{}
	}
	for _, target := range []string{"/", "/debian/package/libdaemon-2"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		r, err := http.NewRequestWithContext(ctx, "GET", base+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "site.example.org"
		if status, _, body := answeredTo(t, r); status != 200 {
			t.Errorf("%s: %d %s", target, status, body)
		}
		cancel()
	}
	for range maxPages {
		<-s.making
	}
}

// Browsers get errors in the frame of the pages, apt gets them as ever.
func TestErrorPages(t *testing.T) {
	t.Parallel()
	base, _, _ := pageServer(t, Options{Policy: writeRules(t, "rules:\n- {name: old, deny: docker-ce, reason: '<b>too old</b>'}\n")})
	get := func(target, accept string) (int, http.Header, string) {
		r, err := http.NewRequest("GET", base+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		return answeredTo(t, r)
	}
	const browser = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
	// The page of an error says the same before the indices were read and afterwards.
	const file = "/docker/pool/stable/d/docker-ce/docker-c_27_amd64.deb"
	_, _, before := get(file, browser)
	if status, _, body := get("/?q=docker", "text/html"); status != 200 || !strings.Contains(body, "docker-ce") { // reads the indices
		t.Fatal(status, body)
	}
	if _, _, after := get(file, browser); before != after || !strings.Contains(after, ">docker-ce</a>?") {
		t.Errorf("before %s\nafterwards %s", before, after)
	}
	for _, c := range []struct{ target, accept, want, not string }{
		{"/docker/package/docker-c", browser, `Did you mean <a href="../../docker/package/docker-ce">docker-ce</a>?`, ""},
		{"/docker/pool/stable/d/docker-ce/docker-ce_27~x+y_amd64.deb", browser, "The rule <code>old</code>", "<b>"},
		{"/none/x", browser, "<h1>404 Not Found</h1>", ""},
		{"/docker/package/docker-c", "text/*", "no package \"docker-c\" in archive docker", "<html"},
		{"/docker/pool/stable/d/docker-ce/docker-ce_27~x+y_amd64.deb", "", "Denied by rule old: <b>too old</b>\n", "<html"},
		{"/none/x", "*/*", "no archive \"none\" here\n", "<html"},
	} {
		status, header, body := get(c.target, c.accept)
		if status < 400 || !strings.Contains(body, c.want) || c.not != "" && strings.Contains(body, c.not) {
			t.Errorf("%s for %q: %d\n%s", c.target, c.accept, status, body)
		}
		if header.Get("Vary") != "Accept" {
			t.Errorf("%s for %q: Vary %q", c.target, c.accept, header.Get("Vary"))
		}
		if c.accept == browser && (header.Get("Cache-Control") != "no-store" || header.Get("Content-Security-Policy") != web.SecurityPolicy) {
			t.Errorf("%s: %v", c.target, header)
		}
	}
}

// What is asked for beyond the last page is answered with that; what is too long to be searched for is refused, and is not the front page.
func TestAskedTooMuch(t *testing.T) {
	t.Parallel()
	_, base := run(t, Options{Sources: []Source{newTag(many(t, 120))}}, false)
	last := ask(t, base, "GET", "/?q=lib&page=3")
	for _, page := range []string{"4", "5", "999999"} {
		if got := ask(t, base, "GET", "/?q=lib&page="+page); !bytes.Equal(got.body, last.body) || !bytes.Contains(got.body, []byte("101 to 120 of 120")) {
			t.Errorf("page %s: %s", page, got.body)
		}
		if got := ask(t, base, "GET", "/debian/package/?page="+page); !bytes.Contains(got.body, []byte(`<span>101 to 120 of 120</span><a href="./?page=2" rel="prev">`)) {
			t.Errorf("packages, page %s: %s", page, got.body)
		}
		if got := ask(t, base, "GET", "/?q=libdaemon-2&page="+page); !bytes.Contains(got.body, []byte("libdaemon-2</a>")) {
			t.Errorf("one hit, page %s: %s", page, got.body)
		}
	}
	long := strings.Repeat("x", web.MaxQuery)
	for target, want := range map[string]int{"/?q=" + long: 200, "/?q=" + long + "x": 400, "/?format=json&q=" + long + "x": 400} {
		if got := ask(t, base, "GET", target); got.status != want {
			t.Errorf("%.30s: %d", target, got.status)
		}
	}
}

// A search as JSON names the next page, and names that are like one that nothing has.
func TestSearchForPrograms(t *testing.T) {
	t.Parallel()
	_, base := run(t, Options{Sources: []Source{newTag(many(t, 120))}}, false)
	type answer struct {
		Total    int
		Packages []struct{ Name string }
		Next     string
		Near     []struct{ Name, Href string }
	}
	of := func(target string) (a answer) {
		t.Helper()
		if err := json.Unmarshal(ask(t, base, "GET", "/"+strings.TrimPrefix(target, "./")).body, &a); err != nil {
			t.Fatal(target, err)
		}
		return a
	}
	var names []string
	for next, pages := "./?format=json&q=lib", 0; next != "" && pages < 5; pages++ {
		a := of(next)
		for _, p := range a.Packages {
			names = append(names, p.Name)
		}
		next = a.Next
	}
	slices.Sort(names)
	if all := slices.Compact(slices.Clone(names)); len(names) != 120 || len(all) != 120 {
		t.Errorf("%d names, %d different", len(names), len(all))
	}
	a := of("./?format=json&q=libdaemno-2")
	if a.Total != 0 || len(a.Near) == 0 || ask(t, base, "GET", "/"+strings.TrimPrefix(a.Near[0].Href, "./")).status != 200 {
		t.Errorf("%+v", a)
	}
}

// The changelog of a package that is denied lies in what nobody gets; that is no failure to read it.
func TestDeniedChangelog(t *testing.T) {
	t.Parallel()
	base, _, _ := pageServer(t, Options{Policy: writeRules(t, "rules:\n- {name: old, deny: docker-ce, reason: old}\n")})
	body := string(ask(t, base, "GET", "/docker/package/docker-ce?show=changelog").body)
	if !strings.Contains(body, "which the policy denies") || strings.Contains(body, "The .deb cannot be read") {
		t.Error(body)
	}
}

// The page of an RPM tells dnf of it, and accuses nobody of an index that is not there.
func TestPageOfRPM(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	primary := m.put([]byte("primary"))
	repomd := m.put(fmt.Appendf(nil, `<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>%d</revision><data type="primary"><checksum type="sha256">%s</checksum>`+
		`<location href="repodata/primary.xml"/><size>%d</size></data></repomd>`, day(1).Unix(), primary.Digest.Hex(), primary.Size))
	s, err := snapshot.Take(snapshot.Frozen{
		Date: day(1), Encoder: 1, Lock: []byte("mmoci-lock-v1\n"), Blobs: m,
		Files: []snapshot.Row{
			{Path: "el/Packages/tree-2.1-1.x86_64.rpm", Size: 4, Digest: snapshot.Sum([]byte("tree")), Package: snapshot.Package{Name: "tree", Version: "2.1-1", Architecture: "x86_64", Source: "tree"}},
			{Path: "el/repodata/primary.xml", Size: primary.Size, Digest: primary.Digest},
			{Path: "el/repodata/repomd.xml", Size: repomd.Size, Digest: repomd.Digest},
		},
		Archives: []snapshot.Archive{{Prefix: "el", Mode: snapshot.Verbatim, Class: snapshot.Site, Format: snapshot.FormatRPM, Suites: []snapshot.Suite{{
			Name: "./", Files: []snapshot.SuiteFile{{Role: snapshot.Repomd, Blob: repomd, Date: day(1), Path: "el/repodata/repomd.xml"}},
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Root = snapshot.Sum(s.StatementBytes)
	_, base := run(t, Options{Sources: []Source{newTag(s)}}, false)
	body := string(ask(t, base, "GET", "/el/package/tree").body)
	for want, there := range map[string]bool{
		"dnf install tree-2.1-1": true, "curl -fsSo /etc/yum.repos.d/mmoci-el.repo ": true, "/setup/el.repo": true, ">wrong<": false, "apt-get": false, ".deb": false, "show=changelog": false,
	} {
		if strings.Contains(body, want) != there {
			t.Errorf("%q: %t\n%s", want, !there, body)
		}
	}
}

// answeredTo is the answer to a request.
func answeredTo(t *testing.T, r *http.Request) (int, http.Header, string) {
	t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(body)
}

// However many alternatives a stanza has, few are looked for and shown.
func TestManyAlternatives(t *testing.T) {
	t.Parallel()
	row := snapshot.Row{Path: "debian/pool/e/evil_1_amd64.deb", Size: 4, Digest: snapshot.Sum([]byte("evil")), Package: snapshot.Package{Name: "evil", Version: "1", Architecture: "amd64", Source: "evil"}}
	var index bytes.Buffer
	fmt.Fprintf(&index, "Package: evil\nVersion: 1\nArchitecture: amd64\nFilename: pool/e/evil_1_amd64.deb\nSize: 4\nSHA256: %s\nDepends: a", row.Digest.Hex())
	for i := range 50_000 {
		fmt.Fprintf(&index, " | alternative-%d", i)
	}
	index.WriteString("\nDescription: many\n")
	_, base := run(t, Options{Sources: []Source{newTag(indexed(t, index.Bytes(), []snapshot.Row{row}))}}, false)
	a := ask(t, base, "GET", "/debian/package/evil")
	needs, _, _ := bytes.Cut(a.body, []byte("<details>"))
	if a.status != 200 || bytes.Count(needs, []byte("alternative-")) > 300 || !bytes.Contains(needs, []byte("There are more.")) {
		t.Errorf("%d, %d alternatives", a.status, bytes.Count(needs, []byte("alternative-")))
	}
}
