package oci

import (
	"errors"
	"strings"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

const someDigest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"

func TestParseReference(t *testing.T) {
	t.Parallel()
	digest, err := snapshot.ParseDigest(someDigest)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("t", MaxTag)
	for in, want := range map[string]Reference{
		"registry.example.org/site/mirror":                   {Registry, "registry.example.org/site/mirror", "latest", snapshot.Digest{}},
		"registry.example.org/site/mirror:noble":             {Registry, "registry.example.org/site/mirror", "noble", snapshot.Digest{}},
		"registry.example.org:5000/mirror:noble":             {Registry, "registry.example.org:5000/mirror", "noble", snapshot.Digest{}},
		"registry.example.org:5000/mirror":                   {Registry, "registry.example.org:5000/mirror", "latest", snapshot.Digest{}},
		"Registry.Example.Org/mirror":                        {Registry, "registry.example.org/mirror", "latest", snapshot.Digest{}},
		"localhost/m":                                        {Registry, "localhost/m", "latest", snapshot.Digest{}},
		"localhost:5000/m:T":                                 {Registry, "localhost:5000/m", "T", snapshot.Digest{}},
		"127.0.0.1:5000/a/b_c/d--e:1.2":                      {Registry, "127.0.0.1:5000/a/b_c/d--e", "1.2", snapshot.Digest{}},
		"[2001:db8::1]/m":                                    {Registry, "[2001:db8::1]/m", "latest", snapshot.Digest{}},
		"[2001:db8::1]:5000/m:x":                             {Registry, "[2001:db8::1]:5000/m", "x", snapshot.Digest{}},
		"registry.example.org/m@" + someDigest:               {Registry, "registry.example.org/m", "", digest},
		"registry.example.org/m:x@" + someDigest:             {Registry, "registry.example.org/m", "x", digest},
		"registry.example.org/m:" + long:                     {Registry, "registry.example.org/m", long, snapshot.Digest{}},
		"oci:dir":                                            {Layout, "dir", "latest", snapshot.Digest{}},
		"oci:/srv/layout/:noble":                             {Layout, "/srv/layout", "noble", snapshot.Digest{}},
		"oci:a:b":                                            {Layout, "a", "b", snapshot.Digest{}},
		"oci:a:b/":                                           {Layout, "a:b", "latest", snapshot.Digest{}},
		"oci:a:b:c":                                          {Layout, "a", "b:c", snapshot.Digest{}},
		"oci:a:b/:c":                                         {Layout, "a:b", "c", snapshot.Digest{}},
		"oci:a:b:c/":                                         {Layout, "a:b:c", "latest", snapshot.Digest{}},
		"oci:a:b:c:d":                                        {Layout, "a:b", "c:d", snapshot.Digest{}},
		"oci:a:b/:c:d":                                       {Layout, "a:b", "c:d", snapshot.Digest{}},
		"oci:/srv/layout:library/nginx:1.29":                 {Layout, "/srv/layout", "library/nginx:1.29", snapshot.Digest{}},
		"oci:a:B:c":                                          {Layout, "a:B", "c", snapshot.Digest{}},
		"oci:dir:app:1@" + someDigest:                        {Layout, "dir", "app:1", digest},
		"oci-archive:s.tar:a/b:c":                            {Archive, "s.tar", "a/b:c", snapshot.Digest{}},
		"oci:x:y/z":                                          {Layout, "x:y/z", "latest", snapshot.Digest{}},
		"oci:name with space:noble":                          {Layout, "name with space", "noble", snapshot.Digest{}},
		"oci:mail@example.org":                               {Layout, "mail@example.org", "latest", snapshot.Digest{}},
		"oci:dir@" + someDigest:                              {Layout, "dir", "", digest},
		"oci:a:b/@" + someDigest:                             {Layout, "a:b", "", digest},
		"oci-archive:snapshot.tar":                           {Archive, "snapshot.tar", "latest", snapshot.Digest{}},
		"oci-archive:/mnt/usb/s.tar:noble@" + someDigest:     {Archive, "/mnt/usb/s.tar", "noble", digest},
		"registry.example.org/m:20261121T091340Z-0123456789": {Registry, "registry.example.org/m", "20261121T091340Z-0123456789", snapshot.Digest{}},
	} {
		got, err := ParseReference(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got != want {
			t.Errorf("%s: %#v, want %#v", in, got, want)
		}
		if again, err := ParseReference(got.String()); err != nil || again != got {
			t.Errorf("%s: its spelling %s is read as %#v, %v", in, got, again, err)
		}
	}
}

func TestRefusedReference(t *testing.T) {
	t.Parallel()
	for in, hint := range map[string]string{
		"":                                    "want HOST/REPO:TAG",
		"docker-ce":                           "docker-ce is a package, not a reference",
		"docker-ce=5:27.0-1":                  "is a package",
		"containerd.io":                       "is a package",
		"g++":                                 "is a package",
		"./layout":                            "a path; write oci:./layout for an OCI layout there, oci-archive:./layout for a file",
		"../x:noble":                          "write oci:../x:noble",
		"/srv/x":                              "write oci:/srv/x",
		"~/x":                                 "write oci:~/x",
		"registry.example.org/a:b@":           "no digest behind the @ (is a variable empty?)",
		"oci:m@":                              "no digest behind the @",
		"registry.invalid/a:b":                "registry.invalid is a placeholder; name your registry",
		"Registry.Invalid:5000/a":             "is a placeholder",
		"localhost:5000":                      "a host without a repository",
		"Example.org":                         "a host without a repository",
		"site/mirror:noble":                   "no default registry",
		"registry.example.org/":               "part \"\"",
		"registry.example.org/Site/Mirror":    `did you mean "site/mirror"?`,
		"registry.example.org/a//b":           "part",
		"registry.example.org/a..b":           "part",
		"registry.example.org/a___b":          "part",
		"registry.example.org/-a":             "part",
		"registry.example.org/a_":             "part",
		"registry.example.org/a:":             "tag",
		"registry.example.org/a:-x":           "tag",
		"registry.example.org/a:x+y":          "tag",
		"registry.example.org/a:x/y":          "tag",
		"registry.example.org:0/a":            "port",
		"registry.example.org:70000/a":        "port",
		"registry.example.org:x/a":            "port",
		"2001:db8::1/a":                       "brackets",
		"[2001:db8::zz]/a":                    "IPv6",
		"[192.0.2.1]/a":                       "IPv6",
		"https://registry.example.org/a":      `write "registry.example.org/a"`,
		"docker://registry.example.org/a":     `write "registry.example.org/a"`,
		"registry.example.org/a@sha256:abc":   "digest",
		"registry.example.org/a@sha512:00":    "digest",
		"registry.example.org/a@SHA256:00":    "digest",
		"registry.example.org/a@" + "x":       "part",
		"oci:":                                "no file name",
		"oci-archive:":                        "no file name",
		"oci::tag":                            "no file name",
		"oci::app:1":                          "no file name",
		"oci:a\x00b":                          "control character",
		"registry.example.org/a\n":            "control character",
		"bad_host.example.org/a":              "character",
		"registry.example.org/" + long256():   "the limit is 255",
		"registry.example.org/m:" + long256(): "tag",
	} {
		_, err := ParseReference(in)
		if !errors.Is(err, ErrReference) {
			t.Errorf("%q: %v", in, err)
		} else if !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: %v; want it to say %q", in, err, hint)
		}
	}
	upper := "registry.example.org/a@" + strings.ToUpper(someDigest[:10]) + someDigest[10:]
	if _, err := ParseReference(upper); !errors.Is(err, ErrReference) {
		t.Errorf("%s: %v", upper, err)
	}
}

// A template whose digest nobody filled in is no reference by tag.
func TestPlaceholder(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"registry.example.org/a", "registry.example.org/a:b", "oci:dir", "oci:dir:b", "oci-archive:file", "oci-archive:file:b"} {
		r, err := ParseReference(name + "@" + snapshot.Digest{}.String())
		if !errors.Is(err, ErrReference) || !errors.Is(err, snapshot.ErrPlaceholder) {
			t.Errorf("%s: %#v, %v", name, r, err)
		}
	}
}

func long256() string { return strings.Repeat("a", 256) }

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"registry.example.org:5000/a/b:c@" + someDigest, "oci:a:b/", "oci:a:b/@" + someDigest, "[::1]:5/a", "docker-ce", "oci-archive:x:y", "oci:a:b:c", "oci:a:b/:c", "oci:a:b/:c:d@" + someDigest, "oci:a::b:c", "oci-archive:s.tar:a/b:c", "oci:/:a:b", "oci:d@" + snapshot.Digest{}.String()} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			if !errors.Is(err, ErrReference) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		again, err := ParseReference(r.String())
		if err != nil || again != r {
			t.Fatalf("%q: %#v is spelt %q, which is %#v, %v", s, r, r.String(), again, err)
		}
	})
}
