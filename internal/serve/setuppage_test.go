package serve

import (
	"html"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.org/mmoci/internal/serve/web"
)

// The page says of every text what it changes. What it has people paste writes the files that it names and no other, with the text
// that programs get, and what it says undoes that leaves nothing.
func TestSetupPage(t *testing.T) {
	t.Parallel()
	base, first, _ := pageServer(t, Options{SiteKey: testKey(t), Policy: writeRules(t, "rules:\n- {name: old, deny: docker-ce, reason: old}\n")})
	get := func(target, accept string) (http.Header, string) {
		r, err := http.NewRequest("GET", base+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		_, header, body := answeredTo(t, r)
		return header, body
	}
	header, list := get("/setup/", "*/*")
	if !strings.HasPrefix(list, base+"/setup/docker.sources\n") || header.Get("Vary") != "Accept" {
		t.Errorf("for programs: %v\n%s", header, list)
	}
	_, page := get("/setup/", "text/html")
	of := "/snapshot/" + newServed(first).name
	if _, fixed := get(of+"/setup/", "text/html"); !strings.Contains(fixed, "URIs: "+base+of+"/docker") {
		t.Errorf("of a snapshot:\n%s", fixed)
	}
	for _, name := range web.Recipes() {
		row := regexp.MustCompile(`<a href="../setup/` + regexp.QuoteMeta(name) + `">[^<]+</a></td><td class="text">([^<]{30,})</td><td class="text">([^<]{10,})</td>`).FindStringSubmatch(page)
		if row == nil || strings.Contains(row[0], "FILES") {
			t.Errorf("%s: %q", name, row)
		}
	}
	blocks := regexp.MustCompile(`(?s)<(?:/summary><pre tabindex="0"|pre class="command")>(.*?)</pre>`).FindAllStringSubmatch(page, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks to paste\n%s", len(blocks), page)
	}
	root := t.TempDir()
	for _, dir := range []string{"etc/apt/sources.list.d", "bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "bin/apt-get"), []byte("#!/bin/sh\n[ \"$*\" = update ]\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(text string) (files []string) {
		text = strings.ReplaceAll(html.UnescapeString(text), "/etc/apt/", root+"/etc/apt/")
		cmd := exec.Command("sh", "-euc", text)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s\n%s", err, out, text)
		}
		err := filepath.WalkDir(filepath.Join(root, "etc"), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files = append(files, strings.TrimPrefix(p, root))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	files := run(blocks[0][1])
	if len(files) != 1 || !strings.Contains(page, "<code>"+files[0]+"</code>, and nothing else") {
		t.Fatalf("%q", files)
	}
	written, err := os.ReadFile(root + files[0])
	if _, want := get("/setup/docker.sources", "*/*"); err != nil || string(written) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, written, want)
	}
	if left := run(blocks[1][1]); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}
