package config

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config/document"
)

var (
	digestA = "sha256:" + strings.Repeat("a1", 32)
	digestB = "sha256:" + strings.Repeat("b2", 32)
	day     = time.Date(2026, 11, 21, 9, 13, 40, 0, time.UTC)
)

const fingerprint = "0123456789ABCDEF0123456789ABCDEF01234567"

func someLock() *Lock {
	return &Lock{Date: day, Archives: []LockArchive{
		{
			Prefix: "docker", Mode: "curated", Class: "upstream",
			KeyURLs:  []LockKey{{fingerprint, "https://download.docker.com/linux/debian/gpg"}},
			Releases: []LockRelease{{"bookworm", digestA, day.Add(-time.Hour)}},
			Indices:  []LockIndex{{"bookworm", "stable/binary-amd64/Packages.gz", digestB}},
			Packages: []LockPackage{
				{"bookworm", "stable", "containerd.io", "1.6.33-1", "amd64", digestA, 30e6, "docker-ce Depends: containerd.io (>= 1.6.4)"},
				{"bookworm", "stable", "docker-ce", "5:27.1~a-1", "amd64", digestB, 25e6, "asked for: docker-ce"},
			},
		},
		{
			Prefix: "flat", Mode: "curated", Class: "site",
			Packages: []LockPackage{{"./", "", "x", "1", "all", digestA, 0, ""}},
			Files:    []LockFile{{Path: "pool/main/x/x_1.dsc", Digest: digestB, Size: 7}},
		},
		{Prefix: "updates", Mode: "verbatim", Class: "upstream", Releases: []LockRelease{{"bookworm-updates", digestB, day}}},
	}}
}

var canonical = `mmoci-lock-v1
date 2026-11-21T09:13:40Z
archive docker curated upstream
key-url docker 0123456789ABCDEF0123456789ABCDEF01234567 https://download.docker.com/linux/debian/gpg
release docker bookworm ` + digestA + ` 2026-11-21T08:13:40Z
index docker bookworm stable/binary-amd64/Packages.gz ` + digestB + `
package docker bookworm stable containerd.io 1.6.33-1 amd64 ` + digestA + ` 30000000 docker-ce Depends: containerd.io (>= 1.6.4)
package docker bookworm stable docker-ce 5:27.1~a-1 amd64 ` + digestB + ` 25000000 asked for: docker-ce
archive flat curated site
package flat ./ - x 1 all ` + digestA + ` 0
file flat pool/main/x/x_1.dsc ` + digestB + ` 7 -
archive updates verbatim upstream
release updates bookworm-updates ` + digestB + ` 2026-11-21T09:13:40Z
`

func TestLockCanonical(t *testing.T) {
	t.Parallel()
	if got := string(someLock().Encode()); got != canonical {
		t.Errorf("got %s", got)
	}
	for name, text := range map[string][]byte{"canonical": []byte(canonical), "for people": someLock().Format(), "shuffled": shuffled(canonical)} {
		l, err := ParseLock("lock", text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(l, someLock()) {
			t.Errorf("%s: got %+v", name, l)
		}
		if got := string(l.Encode()); got != canonical {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if !bytes.Contains(someLock().Format(), []byte("# docker: 2 packages, 55.0 MB\n")) {
		t.Errorf("for people: %s", someLock().Format())
	}
}

// shuffled is a lock as people leave it.
func shuffled(s string) []byte {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	rest := lines[1:]
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	for i, l := range rest {
		if !strings.HasPrefix(l, "package") {
			l += "   # why"
		}
		rest[i] = "  " + strings.ReplaceAll(l, " bookworm ", "\tbookworm  ") + " \r"
	}
	return []byte("\ufeff# heading\n\n" + lines[0] + "\n" + strings.Join(rest, "\n\n#\n"))
}

// TestLockOrder holds that the order of the parts does not count, nor zones, nor repeats.
func TestLockOrder(t *testing.T) {
	t.Parallel()
	l := someLock()
	slices.Reverse(l.Archives)
	for i := range l.Archives {
		slices.Reverse(l.Archives[i].Packages)
		l.Archives[i].Packages = append(l.Archives[i].Packages, l.Archives[i].Packages...)
	}
	l.Date = l.Date.In(time.FixedZone("x", 7200))
	l.Archives[2].KeyURLs[0].URL = "https://u:hunter2@download.docker.com/linux/debian/gpg"
	l.Archives[2].Packages[0].Reason = " asked for:\ndocker-ce "
	if got := string(l.Encode()); got != canonical {
		t.Errorf("got %s", got)
	}
	if l.Archives[0].Prefix != "updates" {
		t.Error("Encode changed the lock")
	}
}

// Images stand before the archives, each followed by what refers to it.
func TestLockImages(t *testing.T) {
	t.Parallel()
	images := "image registry.example.org/a:1 " + digestA + " 500 " + digestB + "\n" +
		"referrer registry.example.org/a:1 " + digestA + " 7\n" +
		"referrer registry.example.org/a:1 " + digestB + " 8\n" +
		"image registry.example.org:5000/b/c:latest " + digestB + " 1 " + digestB + "\n"
	want := strings.Replace(canonical, "archive docker", images+"archive docker", 1)
	for name, text := range map[string][]byte{"canonical": []byte(want), "shuffled": shuffled(want)} {
		l, err := ParseLock("lock", text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(l.Images) != 2 || len(l.Images[0].Referrers) != 2 || l.Images[1].Source != digestB || string(l.Encode()) != want {
			t.Errorf("%s: %+v\n%s", name, l.Images, l.Encode())
		}
		if again, err := ParseLock("lock", l.Format()); err != nil || string(again.Encode()) != want {
			t.Errorf("%s: for people: %v\n%s", name, err, l.Format())
		}
	}
	const head = "mmoci-lock-v1\ndate 2026-11-21T09:13:40Z\n"
	for _, tt := range []struct{ text, says string }{
		{"image a " + digestA + " 5 " + digestB, `l:3: image "a", should be HOST/REPO:TAG`},
		{"image registry.example.org/a:1 " + digestA + " 5", `l:3: 3 fields, should be 4: NAME DIGEST SIZE SOURCE`},
		{"image registry.example.org/a:1 " + digestA + " 0 " + digestB, `l:3: size "0"`},
		{"image registry.example.org/a:1 " + digestA + " 4194305 " + digestB, `l:3: size "4194305"`},
		{"image registry.example.org/a:1 " + digestA + " 5 sha256:1", `l:3: digest "sha256:1"`},
		{"referrer registry.example.org/a:1 " + digestA + " 5", `l:3: no image registry.example.org/a:1 for its referrer`},
		{"image registry.example.org/a:1 " + digestA + " 5 " + digestB + "\nimage registry.example.org/a:1 " + digestA + " 5 " + digestB, `l:4: image registry.example.org/a:1 stands twice, first in line 3`},
	} {
		if _, err := ParseLock("l", []byte(head+tt.text+"\n")); !errors.Is(err, document.ErrUsage) || !strings.HasPrefix(err.Error(), tt.says) {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.text, err, tt.says)
		}
	}
}

func TestLockErrors(t *testing.T) {
	t.Parallel()
	const head = "mmoci-lock-v1\ndate 2026-11-21T09:13:40Z\narchive d curated upstream\narchive v verbatim upstream\n"
	for _, tt := range []struct{ text, says string }{
		{"", `l:0: not a lock`},
		{"# x\nhello\n", `l:2: not a lock: it begins with "hello"`},
		{"mmoci-lock-v2\n", `l:1: not a lock`},
		{"mmoci-lock-v1\n", `l:1: no date`},
		{head + "date 2026-11-21T09:13:40Z\n", `l:5: date stands twice, first in line 2; keep one`},
		{"mmoci-lock-v1\ndate yesterday\n", `l:2: date "yesterday", should be like 2026-11-21T09:13:40Z, in UTC`},
		{"mmoci-lock-v1\ndate 2026-11-21T09:13:40+02:00\n", `l:2: date "2026-11-21T09:13:40+02:00"`},
		{"mmoci-lock-v1\ndate 2026-11-21T09:13:40.5Z\n", `l:2: date `},
		{head + "pakage d\n", `l:5: unknown word "pakage"; did you mean "package"?`},
		{head + "zzzzzzzzzz d\n", `l:5: unknown word "zzzzzzzzzz"; lines begin with archive,`},
		{head + "release d bookworm sha256:" + strings.Repeat("0", 64) + " 2026-11-21T09:13:40Z\n", `l:5: digest sha256:00000000...: 64 zeros: a placeholder was not filled in`},
		{head + "archive d curated upstream\n", `l:5: archive d stands twice, first in line 3`},
		{head + "archive D curated upstream\n", `l:5: prefix "D"`},
		{head + "archive x frozen upstream\n", `l:5: mode "frozen"`},
		{head + "archive x curated foreign\n", `l:5: class "foreign"`},
		{head + "archive x verbatim site\n", `l:5: class site is always curated`},
		{head + "archive x curated\n", `l:5: 2 fields, should be 3: PREFIX MODE CLASS`},
		{head + "package\n", `l:5: package without a prefix`},
		{head + "package x s c n 1 amd64 " + digestA + " 5\n", `l:5: no archive x; add a line: archive x curated upstream`},
		{head + "package d s c n 1 amd64 " + digestA + "\n", `l:5: 7 fields, should be at least 8`},
		{head + "package d s c n 1 amd64 " + digestA + " -5\n", `l:5: size "-5"`},
		{head + "package d s c n 1 amd64 " + digestA + " 05\n", `l:5: size "05"`},
		{head + "package d s c n 1 amd64 " + digestA + " 9223372036854775808\n", `l:5: size "9223372036854775808"`},
		{head + "package d s c n 1 amd64 " + strings.ToUpper(digestA) + " 5\n", `l:5: digest "SHA256:`},
		{head + "package d s c n 1 amd64 sha256:abc 5\n", `l:5: digest "sha256:abc"`},
		{head + "package d ../s c n 1 amd64 " + digestA + " 5\n", `l:5: suite "../s" is no relative path`},
		{head + "package d s c n 1 amd64 " + digestA + " 5 x\npackage d s c n 1 amd64 " + digestB + " 5 y\n", `l:6: package d s c n 1 amd64 stands twice, first in line 5`},
		{head + "package v s c n 1 amd64 " + digestA + " 5\n", `l:5: a package of a verbatim archive`},
		{head + "release d s " + digestA + "\n", `l:5: 3 fields, should be 4: PREFIX SUITE DIGEST DATE`},
		{head + "release d s " + digestA + " 2026\n", `l:5: date "2026"`},
		{head + "release d s " + digestA + " 2026-11-21T09:13:40Z\nrelease d s " + digestB + " 2026-11-21T09:13:40Z\n", `l:6: release d s stands twice`},
		{head + "index d s ../P " + digestA + "\n", `l:5: index path "../P"`},
		{head + "index d s P md5:x\n", `l:5: digest "md5:x"`},
		{head + "key-url d abc https://h/k\n", `l:5: fingerprint "abc"`},
		{head + "key-url d " + fingerprint + " nonsense\n", `l:5: not a URL of a key`},
		{head + "key-url d " + fingerprint + " https://u:hunter2@h/k\n", `l:5: the URL of a key holds credentials`},
		{head + "file d pool/x.dsc " + digestA + " 5 -\n", `l:5: a file of an archive of .debs, which has package lines`},
		{head + "archive o curated site\nfile o pool/x.tar " + digestA + " 5 -\n", `l:6: a file of an archive of .debs, which has package lines, and of class site one for each .dsc`},
		{head + "archive o curated site\nfile o pool/x.dsc " + digestA + " 5 https://h/x.dsc\n", `l:6: a file of an archive of .debs, which has package lines, and of class site one for each .dsc, without URL`},
		{head + "date\x00\n", `l:5: holds a control character`},
		{head + "\xff\n", `l:1: not UTF-8`},
	} {
		_, err := ParseLock("l", []byte(tt.text))
		if !errors.Is(err, document.ErrUsage) || !strings.HasPrefix(err.Error(), strings.Replace(tt.says, "l:0", "l", 1)) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q:\ngot  %v\nwant %s", strings.TrimPrefix(tt.text, head), err, tt.says)
		}
	}
	if _, err := ParseLock("l", make([]byte, MaxLock+1)); !errors.Is(err, document.ErrUsage) {
		t.Errorf("no limit: %v", err)
	}
}

// FuzzLock holds that what is read is written canonically, and reads back as the same.
func FuzzLock(f *testing.F) {
	f.Add([]byte(canonical))
	f.Add(someLock().Format())
	f.Add(shuffled(canonical))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseLock("l", data)
		if err != nil {
			if !errors.Is(err, document.ErrUsage) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		text := l.Encode()
		for _, again := range [][]byte{text, l.Format()} {
			m, err := ParseLock("l", again)
			if err != nil || !reflect.DeepEqual(l, m) || !bytes.Equal(text, m.Encode()) {
				t.Fatalf("%q\nbecame %q\n%v", data, again, err)
			}
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		for i, line := range lines {
			if line == "" || strings.TrimSpace(line) != line || strings.Contains(strings.Join(strings.SplitN(line, " ", 9), ""), "  ") {
				t.Errorf("line %d: %q", i+1, line)
			}
		}
	})
}

// BenchmarkLock reads and writes a lock of a whole suite.
func BenchmarkLock(b *testing.B) {
	l := &Lock{Date: day, Archives: []LockArchive{{Prefix: "debian", Mode: "curated", Class: "upstream"}}}
	for i := range 63_440 {
		l.Archives[0].Packages = append(l.Archives[0].Packages, LockPackage{
			"bookworm", "main", fmt.Sprintf("package%05d", i), "1.2.3-4", "amd64", digestA, int64(i), "asked for: all",
		})
	}
	for b.Loop() {
		if _, err := ParseLock("l", l.Encode()); err != nil {
			b.Fatal(err)
		}
	}
}
