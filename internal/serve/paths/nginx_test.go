//go:build real

package paths

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What nginx lets caches keep of a tree of files is what a server lets them keep, or less: nothing whose name stays while its
// content changes.
func TestNginxCaching(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatal("nginx is not installed")
	}
	hex := strings.Repeat("0a", 32)
	kept := map[string]bool{
		"debian/pool/main/h/hello/hello_1_amd64.deb": true, "debian/pool/main/h/hello/hello_1.dsc": true, "debian/pool/x/y_1.orig.tar.xz": true,
		"debian/pool/x/y_1.orig.tar.xz.asc": true, "debian/pool/x/y_1.diff.gz": true, "debian/pool/x/y_1_amd64.udeb": true,
		"debian/dists/b/main/binary-amd64/by-hash/SHA256/" + hex: true,
		"debian/dists/b/InRelease":                               false, "debian/dists/b/Release.asc": false, "debian/dists/b/main/dep11/icons-64x64.tar.gz": false,
		"debian/dists/b/main/installer-amd64/current/images/netboot.tar.gz": false, "debian/dists/b/main/binary-amd64/Packages.xz": false,
		"flat/hello.deb": false, "flat/Packages.gz": false, "flat/pool/Packages.gz": false, "flat/pool/Release": false,
	}
	conf, err := os.ReadFile("../../../artifacts/nginx/static.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const before = "flat/gone.deb" // yesterday's Release lists it
	for name := range kept {
		write("tree/apt/site/m:t/"+name, name)
	}
	write("tree/apt-previous/site/m:t/"+before, before)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	_ = l.Close()
	conf = bytes.Replace(conf, []byte("listen 80;"), []byte("listen "+at+";"), 1)
	conf = bytes.Replace(conf, []byte("/srv/mmoci;"), []byte(dir+"/tree;"), 1)
	write("static.conf", string(conf))
	write("nginx.conf", fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 64; }
http {
	access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	include %[1]s/static.conf;
}
`, dir))
	nginx := exec.CommandContext(t.Context(), program, "-c", dir+"/nginx.conf", "-e", dir+"/error.log")
	if err := nginx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nginx.Process.Kill(); _ = nginx.Wait() })
	get := func(name string) (int, string) {
		var err error
		for range 100 {
			answer, e := http.Get("http://" + at + "/apt/site/m:t/" + name)
			if err = e; err == nil {
				_ = answer.Body.Close()
				return answer.StatusCode, answer.Header.Get("Cache-Control")
			}
			time.Sleep(50 * time.Millisecond)
		}
		log, _ := os.ReadFile(dir + "/error.log")
		t.Fatalf("%v\n%s", err, log)
		return 0, ""
	}
	for name, want := range kept {
		status, control := get(name)
		if is := strings.Contains(control, "max-age"); status != 200 || is != want || !is && control != "no-cache" || is && !Lasting(name) {
			t.Errorf("%s: %d, Cache-Control %q; a server says it lasts: %t", name, status, control, Lasting(name))
		}
	}
	if status, control := get(before); status != 200 || control != "no-cache" {
		t.Errorf("%s, of the tree before: %d, %q", before, status, control)
	}
}
