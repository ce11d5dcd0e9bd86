package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mmoci": main, "dpkg": fakeDpkg, "mkdebs": testBuilder, "mmoci-builder": main, "mmoci-scratch-root": main})
}

// TestScriptsNeedNoRoot: no script changes this host, for that asks for root, which who runs these tests may not be, and by
// root it would be this host that is changed.
func TestScriptsNeedNoRoot(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	changes := regexp.MustCompile(`^[^#]*\bmmoci (install|host (sources|put|undo))\b`)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(data)) {
			if strings.HasPrefix(line, "-- ") {
				break // the script's files
			}
			if n++; changes.MatchString(line) && !strings.Contains(line, "--root ") && !strings.HasPrefix(line, "std") {
				t.Errorf("%s:%d: %s is for this host; add --root DIR", file, n, strings.TrimSpace(line))
			}
		}
	}
}

// TestScripts runs every command as a user types it, over synthetic signed
// archives. What the scripts may use beyond testscript's own commands is below.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, ".state"))
			return writeKeys(filepath.Join(env.WorkDir, "keys"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"archive":  cmdArchive,
			"upstream": cmdUpstream,
			"registry": cmdRegistry,
			"mini":     cmdMini,
			"changes":  cmdChanges,
			"flip":     cmdFlip,
			"code":     cmdCode,
			"get":      cmdGet,
			"lines":    cmdLines,
			"replace":  cmdReplace,
			"same":     cmdSame,
			"crlf":     cmdCRLF,
			"envfile":  cmdEnvFile,
			"capture":  cmdCapture,
			"lose":     cmdLose,
			"contains": cmdContains,
			"sums":     cmdSums,
			"detach":   cmdDetach,
			"digest":   cmdDigest,
			"aptlist":  cmdAptList,
			"serving":  cmdServing,
			"program":  cmdProgram,
			"lost":     cmdLost,
			"left":     cmdLeft,
			"liar":     cmdLiar,
			"seed":     cmdSeed,
			"proxy":    cmdProxy,

			"tlsregistry": cmdTLSRegistry,
			"sample":      cmdSample,
			"job":         cmdJob,
			"envkey":      cmdEnvKey,
			"image":       cmdImage,
			"mute":        cmdMute,
			"dsc":         cmdDsc,
		},
	})
}

// writeKeys lays out the keys that the scripts name.
func writeKeys(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, data := range keyFiles() {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

var keyFiles = sync.OnceValue(func() map[string][]byte {
	soon := testarchive.NewExpiringKey("ends soon", time.Now().AddDate(0, 0, 30))
	ended := testarchive.NewExpiredKey("has ended")
	return map[string][]byte{
		"soon.asc":     soon.Private(),
		"soon.pub.asc": soon.Public(),
		"ended.asc":    ended.Private(),
		"site.asc":     testarchive.SiteKey().Private(),
		"site.pub.asc": testarchive.SiteKey().Public(),
		"docker.asc":   testarchive.DockerKey().Public(),
		"debian.asc":   testarchive.DebianKey().Public(),
		"both.asc":     append(testarchive.DebianKey().Public(), testarchive.DockerKey().Public()...),
	}
})

// archive KIND DIR: lays out a synthetic archive, one of archiveKinds, in place of what is there.
func cmdArchive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: archive KIND DIR")
	}
	made := archiveKinds()[args[0]]
	if made == nil {
		ts.Fatalf("no archive %q", args[0])
	}
	tb := &scriptTB{ts: ts}
	ts.Check(os.RemoveAll(ts.MkAbs(args[1])))
	made(tb).Write(tb, ts.MkAbs(args[1]))
}

// scriptTB is as much of testing.TB as testarchive uses.
type scriptTB struct {
	testing.TB
	ts *testscript.TestScript
}

func (s *scriptTB) Helper()                           {}
func (s *scriptTB) Fatalf(format string, args ...any) { s.ts.Fatalf(format, args...) }
func (s *scriptTB) Fatal(args ...any)                 { s.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (s *scriptTB) Cleanup(f func())                  { s.ts.Defer(f) }
func (s *scriptTB) Context() context.Context          { return context.Background() }

// upstream VAR DIR [reset|gone GLOB]: serves a directory over HTTP and sets VAR
// to its URL. The first request of files that match (by their last part) is reset, or they are gone.
func cmdUpstream(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 && len(args) != 4 {
		ts.Fatalf("usage: upstream VAR DIR [reset|gone GLOB]")
	}
	files := testarchive.Files{}
	root := ts.MkAbs(args[1])
	ts.Check(filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(root, p)
		files[filepath.ToSlash(rel)] = data
		return err
	}))
	s := testarchive.Serve(&scriptTB{ts: ts}, files)
	if len(args) == 4 {
		s.Fault(func(p string, n int) testarchive.Broken {
			switch match, _ := path.Match(args[3], path.Base(p)); {
			case match && args[2] == "gone":
				return testarchive.Broken{Status: http.StatusNotFound}
			case match && n == 1:
				return testarchive.Broken{Reset: true}
			}
			return testarchive.Broken{}
		})
	}
	ts.Setenv(args[0], s.URL)
	ts.Setenv(args[0]+"_HOST", strings.TrimPrefix(s.URL, "http://"))
}

// registry VAR [catalog|login USER]: starts the strict registry and sets VAR to HOST:PORT. With catalog it lists its repositories, two a
// page; with login it wants USER's password, which is secret, of whoever reads or writes.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	var o testregistry.Options
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: registry VAR [catalog|login USER]")
	case len(args) == 1:
	case len(args) == 2 && args[1] == "catalog":
		o.Catalog = 2
	case len(args) == 3 && args[1] == "login":
		o.Basic, o.User = true, args[2]
	default:
		ts.Fatalf("usage: registry VAR [catalog|login USER]")
	}
	ts.Setenv(args[0], strings.TrimPrefix(testregistry.New(&scriptTB{ts: ts}, o).URL, "http://"))
}

// mini FILE PACKAGE VERSION [FIELD VALUE]..: writes one .deb.
func cmdMini(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args)%2 == 0 {
		ts.Fatalf("usage: mini FILE PACKAGE VERSION [FIELD VALUE]..")
	}
	p := testarchive.Package{Name: args[1], Version: args[2], Architecture: "amd64"}
	for i := 3; i < len(args); i += 2 {
		p.Fields = append(p.Fields, [2]string{args[i], args[i+1]})
	}
	file := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	ts.Check(os.WriteFile(file, p.Deb(&scriptTB{ts: ts}), 0o644))
}

// changes FILE NAME[=absent]..: writes a .changes or .buildinfo over files beside it, or over one that is not there.
func cmdChanges(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: changes FILE NAME[=absent]..")
	}
	file := ts.MkAbs(args[0])
	text := "Format: 1.8\nSource: app\nArchitecture: amd64\nVersion: 1.0\nDistribution: flock\nChecksums-Sha256:\n"
	for _, name := range args[1:] {
		name, absent := strings.CutSuffix(name, "=absent")
		var data []byte
		if !absent {
			var err error
			data, err = os.ReadFile(filepath.Join(filepath.Dir(file), name))
			ts.Check(err)
		}
		text += fmt.Sprintf(" %x %d %s\n", sha256.Sum256(data), len(data), name)
	}
	ts.Check(os.WriteFile(file, []byte(text), 0o644))
}

// flip GLOB [OFFSET]: flips one bit of the only file that matches, in the
// middle if no offset is given.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: flip GLOB [OFFSET]")
	}
	found, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("flip %s: %d files match", args[0], len(found))
	}
	data, err := os.ReadFile(found[0])
	ts.Check(err)
	at := len(data) / 2
	if len(args) > 1 {
		at, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	data[at] ^= 1
	ts.Check(os.Chmod(found[0], 0o644))
	ts.Check(os.WriteFile(found[0], data, 0o644))
}

// code N COMMAND..: runs a command that must end with exit code N.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND..")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		var exit interface{ ExitCode() int }
		if e, ok := err.(interface{ ExitCode() int }); ok {
			exit = e
		}
		if exit == nil {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// mute VAR: sets VAR to HOST:PORT of a server that accepts connections and never says a word.
func cmdMute(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mute VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// get URL [STATUS] [FILE]: fetches; the body goes to FILE, status and headers
// to the log.
func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: get URL [STATUS] [FILE]")
	}
	resp, err := http.Get(args[0])
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	want := "200"
	if len(args) > 1 {
		want = args[1]
	}
	ts.Logf("%s %v", resp.Status, resp.Header)
	if strconv.Itoa(resp.StatusCode) != want {
		ts.Fatalf("%s: %s: %s", args[0], resp.Status, body)
	}
	if len(args) > 2 {
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), body, 0o644))
	}
}

// lines N FILE: FILE has N lines.
func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines N FILE")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := strings.Count(ts.ReadFile(args[1]), "\n"); got != want {
		ts.Fatalf("%s has %d lines, want %d", args[1], got, want)
	}
}

// replace FILE OLD NEW: replaces text in a file.
func cmdReplace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(text, args[1], args[2])), 0o644))
}

// crlf FILE: ends every line as Windows does.
func cmdCRLF(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: crlf FILE")
	}
	text := strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// envfile FILE VAR..: replaces $VAR in a file by its value.
func cmdEnvFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: envfile FILE VAR..")
	}
	text := ts.ReadFile(args[0])
	for _, v := range args[1:] {
		text = strings.ReplaceAll(text, "$"+v, ts.Getenv(v))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// aptlist DIR ARCHIVE PATH: lays an index out as apt keeps it in its lists directory.
func cmdAptList(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: aptlist DIR ARCHIVE PATH")
	}
	name := strings.ReplaceAll(args[1]+"/"+args[2], "/", "_")
	data, err := os.ReadFile(filepath.Join(ts.MkAbs(args[1]), args[2]))
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), name), data, 0o644))
}

// lose DIR TEXT: removes the files of a directory that begin with a text.
func cmdLose(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lose DIR TEXT")
	}
	lost := 0
	text, err := strconv.Unquote(`"` + args[1] + `"`) // \x1f\x8b, say
	ts.Check(err)
	names, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*"))
	ts.Check(err)
	for _, name := range names {
		if strings.HasPrefix(ts.ReadFile(name), text) {
			ts.Check(os.Remove(name))
			lost++
		}
	}
	if lost == 0 {
		ts.Fatalf("no file of %s begins with %q", args[0], args[1])
	}
}

// contains DIR TEXT: a file below DIR holds the text.
func cmdContains(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: contains DIR TEXT")
	}
	found := false
	for p, content := range tree(ts, ts.MkAbs(args[0])) {
		if strings.Contains(content, args[1]) {
			ts.Logf("%s holds it", p)
			found = true
		}
	}
	if found == neg {
		ts.Fatalf("%q: found %t", args[1], found)
	}
}

// capture VAR FILE REGEXP: sets VAR to what the regexp's group matches.
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture VAR FILE REGEXP")
	}
	m := regexp.MustCompile(args[2]).FindStringSubmatch(ts.ReadFile(args[1]))
	if len(m) != 2 {
		ts.Fatalf("%s does not match %s", args[1], args[2])
	}
	ts.Setenv(args[0], m[1])
}

// same DIR DIR: both trees hold the same files with the same bytes and times.
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: same DIR DIR")
	}
	a, b := tree(ts, ts.MkAbs(args[0])), tree(ts, ts.MkAbs(args[1]))
	if len(a) == 0 || len(a) != len(b) {
		ts.Fatalf("%d and %d files", len(a), len(b))
	}
	for p, x := range a {
		if b[p] != x {
			ts.Fatalf("%s differs", p)
		}
	}
}

func tree(ts *testscript.TestScript, dir string) map[string]string {
	out := map[string]string{}
	ts.Check(filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		st, err := d.Info()
		rel, _ := filepath.Rel(dir, p)
		out[rel] = st.ModTime().UTC().String() + string(data)
		return err
	}))
	return out
}

// serving VAR [ARG..]: runs mmoci serve on a free loopback port until the
// script ends, and sets VAR to its URL.
func cmdServing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: serving VAR [ARG..]")
	}
	ctx, cancel := context.WithCancel(context.Background())
	pr, pw := io.Pipe()
	done := make(chan int, 1)
	full := append([]string{"serve", "--listen", "127.0.0.1:0", "--follow", "50ms", "--state", ts.MkAbs(".serve-state")}, absolute(ts, args[1:])...)
	go func() { done <- run(ctx, full, strings.NewReader(""), io.Discard, pw); pw.Close() }()
	ts.Defer(func() { cancel(); <-done })
	at, err := listening(pr)
	if err != nil {
		cancel()
		ts.Fatalf("mmoci serve: %v", err)
	}
	ts.Setenv(args[0], at)
	ts.Setenv(args[0]+"_HOST", strings.TrimPrefix(at, "http://"))
}

// absolute makes the paths of references and files absolute: serve runs in
// this process, whose directory is not the script's.
func absolute(ts *testscript.TestScript, args []string) []string {
	var out []string
	for i, a := range args {
		if rest, ok := strings.CutPrefix(a, "oci:"); ok {
			a = "oci:" + ts.MkAbs(rest)
		} else if strings.HasSuffix(a, ".yaml") || i > 0 && args[i-1] == "--state" {
			a = ts.MkAbs(a)
		}
		out = append(out, a)
	}
	return out
}

// listening waits for serve to say where, and drains what else it says.
func listening(r io.Reader) (string, error) {
	var seen strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		seen.Write(buf[:n])
		if _, after, ok := strings.Cut(seen.String(), "listening on "); ok && strings.Contains(after, "\n") {
			go io.Copy(io.Discard, r)
			addr, _, _ := strings.Cut(after, "\"") // of the record
			return "http://" + strings.TrimPrefix(addr, "http://"), nil
		}
		if err != nil {
			return "", fmt.Errorf("ended: %s", seen.String())
		}
	}
}

// liar VAR URL [PATH FILE]..: sets VAR to the URL of a server that answers as
// that at URL does, and each PATH (with its query) with the bytes of FILE.
func cmdLiar(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args)%2 != 0 {
		ts.Fatalf("usage: liar VAR URL [PATH FILE]..")
	}
	to, err := url.Parse(args[1])
	ts.Check(err)
	lies := map[string][]byte{}
	for i := 2; i < len(args); i += 2 {
		lies[args[i]] = []byte(ts.ReadFile(args[i+1]))
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lie, ok := lies[r.URL.RequestURI()]; ok {
			w.Write(lie)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL)
}

// image DIR TAG SEED [ARCHITECTURE..]: makes an OCI layout of one container image, an image index of the
// platforms linux/ARCHITECTURE, amd64 if none is given. Another SEED gives another image.
func cmdImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: image DIR TAG SEED [ARCHITECTURE..]")
	}
	archs := args[3:]
	if len(archs) == 0 {
		archs = []string{"amd64"}
	}
	var images []*image.Image
	for _, arch := range archs {
		m, err := image.Build(image.Spec{Architecture: arch, Created: time.Unix(1_700_000_000, 0), Layers: [][]image.File{
			{{Path: "base", Mode: 0o644, Data: []byte("the same in all images")}},
			{{Path: "app", Mode: 0o755, Data: []byte(strings.Repeat(args[2]+arch, 1000))}},
		}})
		ts.Check(err)
		images = append(images, m)
	}
	index, err := image.NewIndex(images...)
	ts.Check(err)
	ts.Check(image.WriteLayout(ts.MkAbs(args[0]), args[1], index))
}
