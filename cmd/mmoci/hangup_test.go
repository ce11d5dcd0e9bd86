package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/mmoci/internal/testarchive"
)

// SIGHUP ends no download that serve is sending, and has it look at tag and
// rules at once; SIGTERM then ends it well.
func TestHangup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeKeys(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	on := func(day int) testarchive.Archive {
		return testarchive.Archive{Keys: []*testarchive.Key{testarchive.DockerKey()}, Suites: []testarchive.Suite{{
			Dir: "bookworm", Date: testarchive.DefaultDate().AddDate(0, 0, day), Packages: []testarchive.Package{
				{Name: "large", Version: "1", Architecture: "amd64", Size: 8 << 20, Compression: "none"},
				{Name: "small", Version: fmt.Sprint(day), Architecture: "amd64", Size: 1000},
			},
		}}}
	}
	up := testarchive.Serve(t, on(1).Build(t))
	write("mmoci.yaml", `ref: oci:layout:day
sign: {key: keys/site.asc}
trust: [keys/site.pub.asc]
archives:
- {prefix: docker, mode: curated, url: `+up.URL+`, suites: [bookworm], components: [main], architectures: [amd64], signed-by: keys/docker.asc, packages: all}
`)
	write("policy.yaml", "rules:\n- {name: none, deny: nothing, reason: none}\n")
	command := func(args ...string) *exec.Cmd {
		cmd := &exec.Cmd{Path: os.Args[0], Args: append([]string{"mmoci"}, args...), Dir: dir}
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_STATE_HOME="+filepath.Join(dir, "state"))
		return cmd
	}
	push := func() {
		t.Helper()
		if out, err := command("push").CombinedOutput(); err != nil {
			t.Fatalf("push: %v\n%s", err, out)
		}
	}
	push()

	serve := command("serve", "--listen", "127.0.0.1:0", "--state", "state", "--policy", "policy.yaml", "--follow", "1h")
	said, err := serve.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer serve.Process.Kill()
	var address string
	lines := bufio.NewScanner(said)
	for address == "" && lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), "listening on "); ok {
			address, _, _ = strings.Cut(after, "\"")
		}
	}
	go func() { io.Copy(io.Discard, said) }()
	get := func(path string) int {
		t.Helper()
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	const large, small = "/docker/pool/main/l/large/large_1_amd64.deb", "/docker/pool/main/s/small/small_2_amd64.deb"

	// A client that reads slowly, with little room on the way.
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", large)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", resp, err)
	}
	defer resp.Body.Close()
	sum := sha256.New()
	if _, err := io.CopyN(sum, resp.Body, 1000); err != nil {
		t.Fatal(err)
	}

	up.Replace(on(2).Build(t))
	push()
	if err := serve.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(20 * time.Second)
	for !strings.Contains(body(t, "http://"+address+"/docker/dists/bookworm/Release"), testarchive.DefaultDate().AddDate(0, 0, 2).Format("02 Jan 2006")) {
		if time.Now().After(until) {
			t.Fatal("the tag was not asked for")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got := get(small); got != 200 {
		t.Errorf("of the new snapshot: %d", got)
	}
	if n, err := io.Copy(sum, resp.Body); err != nil || n+1000 != resp.ContentLength {
		t.Errorf("download after SIGHUP: %d of %d bytes, %v", n+1000, resp.ContentLength, err)
	}
	if got := fmt.Sprintf(`"sha256:%x"`, sum.Sum(nil)); got != resp.Header.Get("Etag") {
		t.Errorf("download after SIGHUP: %s", got)
	}
	if err := serve.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := serve.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

func body(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
