package fixup

import (
	"archive/tar"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/sharedlib"
	"example.org/mmoci/internal/rootfs/stack"
)

var (
	masterPasswd = []byte("root:*:0:0:root:/root:/bin/bash\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n")
	masterGroup  = []byte("root:*:0:\nshadow:*:42:\nnogroup:*:65534:\n")
)

func TestUsers(t *testing.T) {
	f, err := Users(UsersOptions{
		Passwd: masterPasswd, Group: masterGroup, Shadow: true, Date: time.Unix(86400*20000+5, 0),
		Add: []User{{Name: "web", UID: 10001, GID: 10001, Shell: "/bin/sh"}, {Name: "job", UID: 10002, GID: 65534, Home: "/srv"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"etc/passwd":  "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\nweb:x:10001:10001::/nonexistent:/bin/sh\njob:x:10002:65534::/srv:/usr/sbin/nologin\n",
		"etc/group":   "root:x:0:\nshadow:x:42:\nnogroup:x:65534:\nweb:x:10001:\n",
		"etc/shadow":  "root:*:20000:0:99999:7:::\nnobody:*:20000:0:99999:7:::\nweb:*:20000:0:99999:7:::\njob:*:20000:0:99999:7:::\n",
		"etc/gshadow": "root:*::\nshadow:*::\nnogroup:*::\nweb:*::\n",
	}
	for _, file := range f.Files {
		if string(file.Data) != want[file.Path] {
			t.Errorf("%s:\n%s, want\n%s", file.Path, file.Data, want[file.Path])
		}
		if secret := strings.HasSuffix(file.Path, "shadow"); secret != (file.GID == 42 && file.Mode == 0o640) {
			t.Errorf("%s: %o, group %d", file.Path, file.Mode, file.GID)
		}
	}
	if len(f.Files) != 4 {
		t.Errorf("%d files", len(f.Files))
	}
}

// TestAddUsers adds to the lists that Users made what Users would have added.
func TestAddUsers(t *testing.T) {
	add := []User{{Name: "web", UID: 10001, GID: 10001, Shell: "/bin/sh"}, {Name: "job", UID: 10002, GID: 65534, Home: "/srv"}}
	for _, shadow := range []bool{false, true} {
		o := UsersOptions{Passwd: masterPasswd, Group: masterGroup, Shadow: shadow, Date: time.Unix(86400*20000, 0)}
		before, err := Users(o)
		if err != nil {
			t.Fatal(err)
		}
		o.Add = add
		want, err := Users(o)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		for _, f := range before.Files {
			files[f.Path] = f.Data
		}
		got, err := AddUsers(files, o.Date, add)
		if err != nil || len(got) != len(want.Files) {
			t.Fatalf("%d files, %v", len(got), err)
		}
		for _, f := range want.Files {
			if string(got[f.Path]) != string(f.Data) {
				t.Errorf("%s:\n%s, want\n%s", f.Path, got[f.Path], f.Data)
			}
		}
		if got, err := AddUsers(files, o.Date, []User{{Name: "nobody", UID: 7, GID: 7}}); err == nil {
			t.Errorf("a name that is there: %q", got)
		}
	}
}

func TestUsersRefused(t *testing.T) {
	for name, o := range map[string]UsersOptions{
		"taken name":   {Add: []User{{Name: "nobody", UID: 7, GID: 7}}},
		"taken id":     {Add: []User{{Name: "web", UID: 65534, GID: 7}}},
		"twice":        {Add: []User{{Name: "web", UID: 7, GID: 7}, {Name: "web", UID: 8, GID: 8}}},
		"colon":        {Add: []User{{Name: "web:x", UID: 7, GID: 7}}},
		"line":         {Add: []User{{Name: "web", UID: 7, GID: 7, Home: "/a\nroot:x:0:0"}}},
		"group's name": {Add: []User{{Name: "shadow", UID: 7, GID: 7}}},
		"negative":     {Add: []User{{Name: "web", UID: -1, GID: 7}}},
		"fields":       {Passwd: []byte("root:*:0:0\n")},
		"no id":        {Group: []byte("root:*:zero:\n")},
	} {
		if o.Passwd == nil {
			o.Passwd = masterPasswd
		}
		if o.Group == nil {
			o.Group = masterGroup
		}
		if f, err := Users(o); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestCertificatesRefused(t *testing.T) {
	for _, name := range []string{"../x.crt", "a\nb.crt", "!a.crt", "#a.crt", "a.pem"} {
		if f, err := Certificates(map[string][]byte{name: nil}, nil); err == nil {
			t.Errorf("%q: %+v", name, f)
		}
	}
}

// FuzzLinkerConf reads any configuration, and includes of itself.
func FuzzLinkerConf(f *testing.F) {
	f.Add([]byte("include /etc/ld.so.conf.d/*.conf\n"))
	f.Add([]byte("include /etc/ld.so.conf /etc/ld.so.conf /etc/ld.so.conf\n/lib\n"))
	f.Add([]byte(" /lib # x\nhwcap 1 x\ninclude ld.so.conf\n/usr/lib=libc6\n"))
	f.Fuzz(func(t *testing.T, conf []byte) {
		tree := stack.NewTree()
		for _, e := range []rootfs.Entry{{Path: "etc/ld.so.conf", Type: tar.TypeReg}, {Path: "usr/lib/libx.so.1", Type: tar.TypeReg}, {Path: "lib", Type: tar.TypeSymlink, Link: "usr/lib"}} {
			tree.Put(e)
		}
		reads := 0
		got, err := LinkerCache(LinkerOptions{
			Tree: tree, Architecture: "amd64",
			Library: func(string) (sharedlib.Library, bool) {
				return sharedlib.Library{Class: 2, Data: 1, Machine: 62, Soname: "libx.so.1"}, true
			},
			Text: func(string) ([]byte, error) {
				if reads++; reads > maxConf {
					t.Fatal("the configuration is read without end")
				}
				return conf, nil
			},
		})
		if err == nil && !strings.HasPrefix(string(got.Cache), cacheMagic) {
			t.Error("no cache")
		}
	})
}

// FuzzUsers reads any list, and writes what it reads again.
func FuzzUsers(f *testing.F) {
	f.Add(masterPasswd, masterGroup, "web", "/")
	f.Fuzz(func(t *testing.T, passwd, group []byte, name, home string) {
		fix, err := Users(UsersOptions{Passwd: passwd, Group: group, Add: []User{{Name: name, UID: 7, GID: 7, Home: home}}})
		if err != nil {
			return
		}
		if _, err := readList(fix.Files[1].Data, 7); err != nil {
			t.Errorf("passwd that was made: %v\n%s", err, fix.Files[1].Data)
		}
	})
}

// FuzzCertificates reads any file as a certificate.
func FuzzCertificates(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fix, err := Certificates(map[string][]byte{"a/b.crt": data}, map[string][]byte{"c.crt": data})
		if err == nil && len(fix.Files) < 3 {
			t.Errorf("%+v", fix)
		}
	})
}
