package run

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// TestRepack: what dpkg is given is the package, in tars that are not compressed; scripts are gone where they are not to be run.
func TestRepack(t *testing.T) {
	for _, compression := range []string{"xz", "gz", "zst", "none"} {
		p := testarchive.Package{
			Name: "x", Version: "1", Architecture: "all", Compression: compression, Size: 5001,
			ControlFiles: map[string]string{"postinst": "#!/bin/sh\ntouch /x\n", "preinst": "#!/bin/sh\n", "conffiles": "/etc/x\n", "templates": "Template: x/y\n"},
			Content:      map[string]string{"etc/x": "x\n"},
		}
		dir, data := t.TempDir(), p.Deb(t)
		names, tar := unpack(t, bytes.NewReader(data))
		for _, skip := range []bool{false, true} {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint(skip)))
			if err != nil {
				t.Fatal(err)
			}
			made, err := repack(f, bytes.NewReader(data), skip)
			if err != nil || made.control.Get("Package") != "x" || len(made.scripts) != 2 || string(made.scripts["preinst"]) != "#!/bin/sh\n" {
				t.Fatalf("%s: %v, %q", compression, err, made.scripts)
			}
			f.Close()
			written, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			left, after := unpack(t, bytes.NewReader(written))
			want := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
				name, _, _ := strings.Cut(n, " ")
				return skip && slices.Contains(account.Scripts, name)
			})
			if !slices.Equal(left, want) || !bytes.Equal(tar, after) || !bytes.Contains(written, tar) {
				t.Errorf("%s: left %q, want %q; data.tar of %d bytes, was %d", compression, left, want, len(after), len(tar))
			}
			if !skip {
				checkCopy(t, made, f.Name(), data)
			}
		}
		if f, err := os.Create(filepath.Join(dir, "cut")); err != nil {
			t.Fatal(err)
		} else if _, err := repack(f, bytes.NewReader(data[:len(data)-100]), false); !errors.Is(err, deb.ErrMalformed) {
			t.Errorf("%s: a package that is cut: %v", compression, err)
		}
	}
}

// checkCopy: the copy makes the layer and the note of the package, and with another byte in either of its parts it makes none.
func checkCopy(t *testing.T, made *repacked, name string, data []byte) {
	t.Helper()
	of := func(open func() (io.ReadCloser, error)) (layer, note []byte, err error) {
		var b bytes.Buffer
		n, err := rootfs.WriteLayer(&b, rootfs.Deb{Blob: snapshot.Blob{Digest: snapshot.Sum(data), Size: int64(len(data))}, Open: open}, rootfs.Recipe{})
		if err != nil {
			return nil, nil, err
		}
		return b.Bytes(), n.Encode(), nil
	}
	layer, note, err := of(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	copied := func() (io.ReadCloser, error) { return made.open(name) }
	if l, n, err := of(copied); err != nil || !bytes.Equal(l, layer) || !bytes.Equal(n, note) {
		t.Errorf("the layer of the copy is another one: %v", err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{200, made.head.Size + made.data.Size - 1} { // where neither ar nor tar looks
		changed := slices.Clone(text)
		changed[at] ^= 1
		if err := os.WriteFile(name, changed, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := of(copied); !errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("a copy with another byte at %d: %v", at, err)
		}
	}
}

func unpack(t *testing.T, from io.Reader) (names []string, data []byte) {
	t.Helper()
	err := deb.Unpack(from, func(c deb.Contents) (err error) {
		for _, f := range c.Files {
			names = append(names, f.Name+fmt.Sprintf(" %o", f.Mode))
		}
		data, err = io.ReadAll(c.Data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names, data
}

func TestDiversions(t *testing.T) {
	text := "/bin/a\n/bin/a.distrib\nours\n/bin/b\n/bin/b.distrib\ntheirs\n/bin/c\n/bin/c.local\n:\n"
	got, err := diversions([]byte(text), map[string]bool{"theirs": true})
	if want := strings.Replace(text, "/bin/b\n/bin/b.distrib\ntheirs\n", "", 1); err != nil || string(got) != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if got, err := diversions([]byte("/bin/a\n"), nil); err == nil {
		t.Errorf("a third of a diversion: %q", got)
	}
}

func TestStanzas(t *testing.T) {
	text := "Package: a\nStatus: x\n\nPackage: b\nDescription: y\n Package: a\n\nPackage: c\n\n"
	got := stanzas([]byte(text), func(field func(string) string) bool { return field("Package") != "b" })
	if want := "Package: a\nStatus: x\n\nPackage: c\n\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A name that hides a file of a lower layer is no name that a script may make.
func TestScriptsMakeNoWhiteouts(t *testing.T) {
	for _, p := range []string{"etc/.wh.passwd", "etc/.wh..wh..opq", "srv/.wh.d/x"} {
		for _, kind := range []uint32{unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFIFO} {
			tr := &tree{runner: &runner{}, entries: map[string]stack.SystemEntry{}, inode: map[uint64]string{}}
			err := tr.take(&stat{Path: p, Mode: kind | 0o755, Target: "x"}, nil)
			if !errors.Is(err, outcome.ErrRefused) || !strings.Contains(err.Error(), p) || len(tr.entries) > 0 {
				t.Errorf("%s: %v, %v", p, err, tr.entries)
			}
		}
	}
}

func TestIsCleaned(t *testing.T) {
	for p, want := range map[string]bool{
		"var/log/dpkg.log": true, "var/log/apt/term.log": true, "var/cache/man/de/index.db": true, "etc/machine-id": true, "var/lib/dpkg/status-old": true,
		"var/log/nginx/access.log": false, "etc/ssl/private/ssl-cert-snakeoil.key": false, "etc/passwd": false, "var/lib/dpkg/status": false, "var/cache/debconf/x/y-old": false,
	} {
		if why, _ := isCleaned(p); (why != "") != want {
			t.Errorf("%s: %q", p, why)
		}
	}
	if _, empty := isCleaned("etc/machine-id"); !empty {
		t.Error("no empty machine-id stays")
	}
}

func TestDifferences(t *testing.T) {
	e := func(p string, mode int64) stack.SystemEntry {
		return stack.SystemEntry{Entry: rootfs.Entry{Path: p, Mode: mode, ModTime: mode}}
	}
	a := []stack.SystemEntry{e("a", 1), e("b", 1), e("c", 1)}
	b := []stack.SystemEntry{e("b", 2), e("c", 1), e("d", 1)}
	if got := differences(a, b); !slices.Equal(got, []string{"a", "b", "d"}) {
		t.Errorf("%q", got)
	}
	if got := differences(a, a); len(got) > 0 {
		t.Errorf("%q", got)
	}
	many := &Differs{Paths: slices.Repeat([]string{"p"}, 30)}
	if s := many.Error(); !strings.HasSuffix(s, " and 10 more") {
		t.Errorf("%s", s)
	}
}

// FuzzReceive: whatever the root's first process answers, no memory is taken for
// bytes that did not come.
func FuzzReceive(f *testing.F) {
	var b bytes.Buffer
	if err := send(&b, answer{Code: 1}, []byte("data")); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("\x00\x00\x00\x00\x0f\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var a answer
		data, err := receive(bytes.NewReader(text), &a)
		if err == nil && len(data) > len(text) {
			t.Errorf("%d bytes of %d", len(data), len(text))
		}
	})
}

func TestSubordinate(t *testing.T) {
	text := "root:100000:65536\nuser:165536:1000\n1001:231072:65536\nbroken\nuser:300000:65536\n"
	for name, want := range map[[2]string]int{{"user", "1000"}: 300000, {"other", "1001"}: 231072, {"none", "7"}: 0} {
		got, err := subordinateIn("subuid", text, name[0], name[1])
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

// What scripts make is theirs alone: no other user of the machine comes to the root while they run.
func TestOthersDoNotReachTheRoot(t *testing.T) {
	ids := mapping{uid: os.Geteuid(), gid: os.Getegid()}
	if os.Geteuid() == 0 {
		ids = mapping{root: true, uid: scratchBase, gid: scratchBase}
	}
	parent := t.TempDir()
	s, err := newScratch(t.Context(), parent, ids)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; info.Mode().Perm() != 0o700 || owner != uint32(ids.uid) {
		t.Errorf("above the root: mode %v, owner %d", info.Mode(), owner)
	}
	if os.Geteuid() == 0 {
		reaches := func(p string) bool {
			c := exec.Command("/bin/ls", "-d", p)
			c.Dir = "/"
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			return c.Run() == nil
		}
		if err := errors.Join(os.Chmod(filepath.Dir(parent), 0o755), os.Chmod(parent, 0o755)); err != nil {
			t.Fatal(err)
		}
		if !reaches(parent) || reaches(filepath.Join(s.dir, "root")) {
			t.Errorf("others reach the parent: %v, the root: %v", reaches(parent), reaches(filepath.Join(s.dir, "root")))
		}
	}
	// What a killed process left is still known as its own, and removed.
	s.lock.Close()
	sweepLeft(t.Context(), parent, mapping{root: true, uid: ids.uid, gid: ids.gid})
	if _, err := os.Lstat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// A file that has capabilities in the root is told of, although it is the package's own otherwise.
func TestCapabilitiesAreTold(t *testing.T) {
	ping := rootfs.Entry{Path: "usr/bin/ping", Type: tar.TypeReg, Mode: 0o755, Size: 4, Digest: snapshot.Sum([]byte("ping"))}
	r := &runner{o: &Options{Date: time.Unix(1, 0)}, union: map[string]*rootfs.Entry{ping.Path: &ping}, touched: map[string]bool{}, before: map[string]stat{
		ping.Path: {Path: ping.Path, Mode: unix.S_IFREG | 0o755, Size: 4, Capability: true, Links: 1},
	}}
	res, err := r.compare(map[string]bool{}, map[string]bool{}, map[string]snapshot.Digest{ping.Path: ping.Digest})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Entries) != 0 || len(res.Account) != 1 || res.Account[0].What != account.Capabilities || !strings.HasPrefix(res.Account[0].Detail, "/usr/bin/ping: ") {
		t.Errorf("%+v", res)
	}
}

// A config script is run by debconf, when another script asks for it, and by nobody else.
func TestWhoRunsConfig(t *testing.T) {
	ask := map[string][]byte{"config": []byte("#!/bin/sh\n"), "postinst": []byte("#!/bin/sh\n. /usr/share/debconf/confmodule\n")}
	mute := map[string][]byte{"config": []byte("#!/bin/sh\n"), "postinst": []byte("#!/bin/sh\nexit 0\n")}
	for name, c := range map[string]struct {
		pkgs    []string
		scripts map[string][]byte
		want    account.What
	}{
		"asked":    {[]string{"debconf"}, ask, account.Ran},
		"mute":     {[]string{"debconf"}, mute, account.NotRun},
		"nobody":   {nil, ask, account.NotRun},
		"cdebconf": {[]string{"cdebconf"}, ask, account.Ran},
	} {
		p := &pkg{Package: Package{Name: "a", Version: "1"}, ours: true, scripts: c.scripts}
		r := &runner{o: &Options{Packages: []Package{p.Package}}, pkgs: []*pkg{p}}
		for _, o := range c.pkgs {
			r.pkgs = append(r.pkgs, &pkg{Package: Package{Name: o}})
		}
		res, err := r.compare(nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if l := res.Account; len(l) != 2 || l[0].Script != "config" || l[0].What != c.want || l[1].What != account.Ran || (l[0].Detail == "") != (c.want == account.Ran) {
			t.Errorf("%s: %+v", name, l)
		}
	}
}
