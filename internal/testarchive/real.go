package testarchive

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// RealSuite is the suite of the real archive.
const RealSuite = "bookworm-updates"

// RealDate is when the real archive's InRelease was made; checks of it take a
// time soon after.
func RealDate() time.Time { return time.Date(2026, 11, 20, 2, 11, 10, 0, time.UTC) }

// Real is the directory of the small real archive (testdata/real/README.md):
// bookworm-updates main amd64 of Debian, with five of its packages. Not to be written to.
func Real(t testing.TB) (dir string) {
	t.Helper()
	dir = filepath.Join(sourceRoot(t), "testdata", "real")
	if _, err := os.Stat(filepath.Join(dir, "dists", RealSuite, "InRelease")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sourceRoot is the directory of go.mod: above this source file, or above the
// working directory where the binary was built with -trimpath.
func sourceRoot(t testing.TB) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Dir(here), wd} {
		for filepath.IsAbs(dir) && dir != filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				return dir
			}
			dir = filepath.Dir(dir)
		}
	}
	t.Fatal("testarchive: the source tree is not found")
	return ""
}

// RealFiles is the real archive's dists/ and pool/.
func RealFiles(t testing.TB) Files {
	t.Helper()
	dir := Real(t)
	f := Files{}
	for _, top := range []string{"dists", "pool"} {
		err := filepath.WalkDir(filepath.Join(dir, top), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			f[filepath.ToSlash(rel)], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// RealKeyring is the keyring that verifies the real archive: two of Debian's keys, binary.
func RealKeyring(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(Real(t), "keys", "debian-archive.gpg"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RealPackages are the names of the packages whose files are there.
func RealPackages() []string {
	return []string{"ca-certificates", "libwbclient0", "openssh-sftp-server", "samba-ad-provision", "tzdata"}
}
