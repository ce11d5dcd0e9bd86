//go:build real

package fixup

import (
	"archive/tar"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/sharedlib"
	"example.org/mmoci/internal/rootfs/stack"
)

// TestLinkerCacheOfRoots compares with ldconfig's work: MMOCI_ROOTS has
// directories ARCH=ROOT, separated by blanks, in which ldconfig ran.
func TestLinkerCacheOfRoots(t *testing.T) {
	roots := os.Getenv("MMOCI_ROOTS")
	if roots == "" {
		t.Fatal("MMOCI_ROOTS is not set; scripts/e2e sets it")
	}
	for _, f := range bytes.Fields([]byte(roots)) {
		arch, root, _ := bytes.Cut(f, []byte("="))
		checkRoot(t, string(arch), string(root))
	}
}

func checkRoot(t *testing.T, arch, root string) {
	t.Helper()
	got, err := LinkerCache(fromDisk(t, arch, root))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(root, LinkerPath))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Cache, want) {
		t.Errorf("%s: %d bytes of cache, ldconfig wrote %d others", root, len(got.Cache), len(want))
	}
	if len(got.Links) > 0 || len(got.Stale) > 0 {
		t.Errorf("%s: links %v, stale %v where ldconfig made all", root, got.Links, got.Stale)
	}
}

// TestLinkerCacheAgainstLdconfig lays the machine's own libraries out in seeded
// ways that Debian's packages do not have, and lets its ldconfig judge.
func TestLinkerCacheAgainstLdconfig(t *testing.T) {
	ldconfig, err := exec.LookPath("/sbin/ldconfig")
	libs, _ := filepath.Glob("/usr/lib/x86_64-linux-gnu/lib*.so.*")
	libc := "/usr/lib/x86_64-linux-gnu/libc.so.6"
	if err != nil || len(libs) < 20 || runtime.GOARCH != "amd64" {
		t.Fatal("no ldconfig or no libraries of Debian's amd64 here")
	}
	libs = slices.DeleteFunc(libs, func(p string) bool {
		info, err := os.Stat(p)
		return err != nil || info.Size() > 1<<20
	})
	seed := uint64(20261128)
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	links, stale := 0, 0
	for i := range 60 {
		root := t.TempDir()
		randomRoot(t, rng, root, libs, libc)
		got, err := LinkerCache(fromDisk(t, "amd64", root))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(ldconfig, "-r", root).CombinedOutput(); err != nil {
			t.Fatalf("ldconfig -r does not run here: %v: %s", err, out)
		}
		want, err := os.ReadFile(filepath.Join(root, LinkerPath))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Cache, want) {
			t.Fatalf("root %d: the cache differs from ldconfig's\nours:\n%q\nits:\n%q", i, got.Cache, want)
		}
		for _, l := range got.Links {
			if target, err := os.Readlink(filepath.Join(root, l.Path)); err != nil || target != l.Target {
				t.Errorf("root %d: link %v, ldconfig made %q, %v", i, l, target, err)
			}
		}
		for _, p := range got.Stale {
			if _, err := os.Lstat(filepath.Join(root, p)); err == nil {
				t.Errorf("root %d: %s is stale, and ldconfig kept it", i, p)
			}
		}
		links, stale = links+len(got.Links), stale+len(got.Stale)
		again, err := LinkerCache(fromDisk(t, "amd64", root))
		if err != nil || len(again.Links)+len(again.Stale) > 0 {
			t.Errorf("root %d: after ldconfig links %v, stale %v, error %v", i, again.Links, again.Stale, err)
		}
	}
	if links == 0 || stale == 0 {
		t.Errorf("%d links and %d stale ones: these roots judge nothing", links, stale)
	}
}

// randomRoot lays libraries out.
func randomRoot(t *testing.T, rng *rand.Rand, root string, libs []string, libc string) {
	t.Helper()
	dirs := []string{
		"usr/lib", "usr/lib/x86_64-linux-gnu", "usr/local/lib", "opt/b", "opt/a", "opt/a/glibc-hwcaps/x86-64-v2", "opt/a/glibc-hwcaps/x86-64-v3",
		"usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3", "usr/lib/x86_64-linux-gnu/glibc-hwcaps/empty", "etc/ld.so.conf.d",
	}
	must := func(err error) {
		t.Helper()
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	for _, d := range dirs {
		must(os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	must(os.Symlink("usr/lib", filepath.Join(root, "lib")))
	must(os.Symlink("/opt/b", filepath.Join(root, "opt/c")))
	put := func(from, to string) {
		b, err := os.ReadFile(from)
		must(err)
		must(os.WriteFile(filepath.Join(root, to), b, 0o755))
	}
	put(libc, "usr/lib/x86_64-linux-gnu/libc.so.6")
	confs := []string{"/opt/a\n/usr/local/lib # here\n", "  /opt/c/\n/opt/b\n", "/opt/none\n/lib/x86_64-linux-gnu\n", "hwcap 0 nosegneg\n/opt/b=libc6\n"}
	for i, c := range confs {
		if rng.IntN(2) == 0 {
			must(os.WriteFile(filepath.Join(root, "etc/ld.so.conf.d", fmt.Sprintf("%c.conf", 'd'-rune(i))), []byte(c), 0o600))
		}
	}
	must(os.WriteFile(filepath.Join(root, "etc/ld.so.conf"), []byte("include /etc/ld.so.conf.d/*.conf\n"), 0o600))
	for range 12 {
		lib := libs[rng.IntN(len(libs))]
		dir := dirs[rng.IntN(len(dirs)-1)]
		base := filepath.Base(lib)
		switch rng.IntN(6) {
		case 0:
			put(lib, dir+"/"+base+".9")
		case 1:
			put(lib, dir+"/"+base+".10")
			must(os.Symlink(base+".10", filepath.Join(root, dir, base+".alias")))
		case 2:
			must(os.Symlink("nowhere", filepath.Join(root, dir, base)))
		case 3:
			must(os.Symlink(base, filepath.Join(root, dir, strings.SplitAfter(base, ".so")[0])))
			put(lib, dir+"/"+base+".01")
		default:
			put(lib, dir+"/"+base)
		}
	}
	must(os.WriteFile(filepath.Join(root, "usr/lib/libnot.so.1"), []byte("GROUP ( libc.so.6 ) and so on, long enough to be looked at by ldconfig"), 0o600))
}

// TestUsersOfRoots compares with what base-passwd, and passwd if it is there, made
// in the directories of MMOCI_ROOTS, which were made at SOURCE_DATE_EPOCH.
func TestUsersOfRoots(t *testing.T) {
	eachRoot(t, MasterPasswd, func(root string) {
		read := func(p string) []byte {
			b, err := os.ReadFile(filepath.Join(root, p))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			return b
		}
		epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		shadow := read("etc/shadow")
		got, err := Users(UsersOptions{Passwd: read(MasterPasswd), Group: read(MasterGroup), Shadow: shadow != nil, Date: time.Unix(epoch, 0)})
		if err != nil {
			t.Fatal(err)
		}
		compareFiles(t, root, got.Files)
	})
}

// TestCertificatesOfRoots compares with update-ca-certificates' work.
func TestCertificatesOfRoots(t *testing.T) {
	eachRoot(t, "etc/ssl/certs/ca-certificates.crt", func(root string) {
		certs := map[string][]byte{}
		dir := filepath.Join(root, CertificatesDir)
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, _ := filepath.Rel(dir, p)
			certs[rel], err = os.ReadFile(p)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := Certificates(certs, nil)
		if err != nil {
			t.Fatal(err)
		}
		compareFiles(t, root, got.Files)
		there, err := os.ReadDir(filepath.Join(root, "etc/ssl/certs"))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range there {
			if !slices.ContainsFunc(got.Files, func(f File) bool { return f.Path == "etc/ssl/certs/"+d.Name() }) {
				t.Errorf("%s: etc/ssl/certs/%s was not made", root, d.Name())
			}
		}
	})
}

// eachRoot calls f for the roots of MMOCI_ROOTS that have a file.
func eachRoot(t *testing.T, file string, f func(root string)) {
	t.Helper()
	done := 0
	for word := range strings.FieldsSeq(os.Getenv("MMOCI_ROOTS")) {
		_, root, _ := strings.Cut(word, "=")
		if _, err := os.Stat(filepath.Join(root, file)); err == nil {
			done++
			f(root)
		}
	}
	if done == 0 {
		t.Fatal("MMOCI_ROOTS names no root with " + file + "; scripts/e2e sets it")
	}
}

// compareFiles compares files with those of a root.
func compareFiles(t *testing.T, root string, files []File) {
	t.Helper()
	for _, f := range files {
		p := filepath.Join(root, f.Path)
		info, err := os.Lstat(p)
		if err != nil {
			t.Error(err)
			continue
		}
		if f.Target != "" {
			if target, err := os.Readlink(p); err != nil || target != f.Target {
				t.Errorf("%s leads to %q, %v; want %q", p, target, err, f.Target)
			}
			continue
		}
		st := info.Sys().(*syscall.Stat_t)
		data, err := os.ReadFile(p)
		if err != nil || !bytes.Equal(data, f.Data) || int64(st.Mode&0o7777) != f.Mode || int(st.Uid) != f.UID || int(st.Gid) != f.GID {
			t.Errorf("%s is %o %d:%d\n%.2000s\n, %v; want %o %d:%d\n%.2000s", p, st.Mode&0o7777, st.Uid, st.Gid, data, err, f.Mode, f.UID, f.GID, f.Data)
		}
	}
}

// fromDisk reads a root from disk.
func fromDisk(t *testing.T, arch, root string) LinkerOptions {
	t.Helper()
	tree := stack.NewTree()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		if p == filepath.Join(root, "proc") {
			return fs.SkipDir
		}
		rel, _ := filepath.Rel(root, p)
		switch {
		case d.IsDir():
			tree.Put(rootfs.Entry{Path: rel, Type: tar.TypeDir})
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			tree.Put(rootfs.Entry{Path: rel, Type: tar.TypeSymlink, Link: target})
		case d.Type().IsRegular():
			tree.Put(rootfs.Entry{Path: rel, Type: tar.TypeReg})
		default:
			tree.Put(rootfs.Entry{Path: rel, Type: tar.TypeFifo})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return LinkerOptions{
		Tree: tree, Architecture: arch,
		Library: func(p string) (sharedlib.Library, bool) {
			f, err := os.Open(filepath.Join(root, p))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			l, err := sharedlib.Read(f, info.Size())
			return l, err == nil
		},
		Text: func(p string) ([]byte, error) { return os.ReadFile(filepath.Join(root, p)) },
	}
}

// TestCertificatesVerify lets OpenSSL find an authority by the links, and verify
// by the bundle.
func TestCertificatesVerify(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certs := map[string][]byte{}
	dir := t.TempDir()
	out := filepath.Join(dir, certificatesOut)
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	// Names in which canonical form matters, and two authorities of one name.
	names := []pkix.Name{
		{CommonName: "  Site   Root\tCA ", Organization: []string{"Ünïcode GmbH"}, Country: []string{"DE"}},
		{CommonName: "SITE ROOT CA", Organization: []string{"Ünïcode gmbh"}, Country: []string{"DE"}},
		{CommonName: "*.example.org @ plain", SerialNumber: "42", ExtraNames: []pkix.AttributeTypeAndValue{{Type: []int{1, 2, 840, 113549, 1, 9, 1}, Value: "ca@example.org"}}},
	}
	leafs := make([][]byte, len(names))
	for i, n := range names {
		ca := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: n, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{byte(i + 1)}}
		der, err := x509.CreateCertificate(crand.Reader, ca, ca, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		certs["site/ca ("+string(rune('a'+i))+").crt"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		leaf := &x509.Certificate{SerialNumber: big.NewInt(100), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}
		if leafs[i], err = x509.CreateCertificate(crand.Reader, leaf, ca, key.Public(), key); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Certificates(certs, nil)
	if err != nil {
		t.Fatal(err)
	}
	hashed := 0
	for _, file := range f.Files {
		p := filepath.Join(dir, file.Path)
		if file.Target == "" {
			if err := os.WriteFile(p, file.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		target := file.Target
		if name, ok := strings.CutPrefix(target, "/"+CertificatesDir+"/"); ok {
			target = filepath.Join(dir, filepath.Base(name))
			if err := os.WriteFile(target, certs[name], 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			hashed++
		}
		if err := os.Symlink(target, p); err != nil {
			t.Fatal(err)
		}
	}
	if hashed != len(names) {
		t.Errorf("%d links by hash", hashed)
	}
	for i, der := range leafs {
		leaf := filepath.Join(dir, "leaf.pem")
		if err := os.WriteFile(leaf, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, by := range [][]string{{"-CApath", out, "-no-CAfile"}, {"-CAfile", filepath.Join(out, "ca-certificates.crt"), "-no-CApath"}} {
			args := append(append([]string{"verify"}, by...), "-no-CAstore", leaf)
			if said, err := exec.Command(openssl, args...).CombinedOutput(); err != nil {
				t.Errorf("leaf %d by %s: %v: %s", i, by[0], err, said)
			}
		}
	}
	if said, err := exec.Command(openssl, "verify", "-CApath", dir, "-no-CAfile", "-no-CAstore", filepath.Join(dir, "leaf.pem")).CombinedOutput(); err == nil {
		t.Errorf("openssl verifies without links: %s", said)
	}
}
