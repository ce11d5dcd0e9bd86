package debdir

import (
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

const goodDsc = `Format: 3.0 (quilt)
Source: hello
Binary: hello,
 hello-doc
Version: 1:2.10-3
Maintainer: Somebody <somebody@example.org>
Package-List:
 hello deb devel optional arch=any
 hello-doc deb doc optional arch=all
Checksums-Sha1:
 f7bebf6f9c62a2295e889f66e05ce9bfaed9ace3 725946 hello_2.10.orig.tar.gz
Checksums-Sha256:
 31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b 725946 hello_2.10.orig.tar.gz
 60ee7a466808301fbaa7fea2490b5e7a6d86f598956fb3e79c71b3295dc1f249 12688 hello_2.10-3.debian.tar.xz
Files:
 6cd0ffea3884a4e79330338dcc2987d6 725946 hello_2.10.orig.tar.gz
`

func TestParseDsc(t *testing.T) {
	signed := testarchive.SiteKey().Clearsign(t, []byte(goodDsc), testarchive.DefaultDate())
	for name, data := range map[string][]byte{"plain": []byte(goodDsc), "signed": signed} {
		src, err := ParseDsc("hello_2.10-3.dsc", data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var paths []string
		for _, r := range src.Rows {
			paths = append(paths, r.Path)
		}
		want := []string{"pool/main/hello/hello_2.10-3.dsc", "pool/main/hello/hello_2.10.orig.tar.gz", "pool/main/hello/hello_2.10-3.debian.tar.xz"}
		if !slices.Equal(paths, want) || src.Rows[0].Blob() != snapshot.BlobOf(data) || src.Rows[1].Size != 725946 {
			t.Errorf("%s: rows %v", name, src.Rows)
		}
		if src.name != "hello" || src.version != "1:2.10-3" || src.Stanza.Get("Package") != "hello" || src.Stanza.Get("Source") != "" ||
			src.Stanza.Get("Files") != "" || !strings.Contains(string(src.Stanza), "\nBinary: hello,\n hello-doc\n") ||
			!strings.Contains(string(src.Stanza), "\nPackage-List:\n hello deb devel") {
			t.Errorf("%s: stanza\n%s", name, src.Stanza)
		}
	}
}

func TestParseDscErrors(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{goodDsc, "", "no name"},
		{"Source: hello\n", "", "no name"},
		{"Source: hello\n", "Source: ../hello\n", "no name"},
		{"Source: hello\n", "Source: he llo\n", "no name"},
		{"Version: 1:2.10-3\n", "", "version"},
		{"Checksums-Sha256:", "X-Sha256:", "no Checksums-Sha256"},
		{"31e066137a", "31e066137", "digest"},
		{"725946 hello_2.10.orig.tar.gz\n 60ee", "-1 hello_2.10.orig.tar.gz\n 60ee", "size"},
		{"725946 hello_2.10.orig.tar.gz\n 60ee", "725946 ../hello_2.10.orig.tar.gz\n 60ee", "climbs"},
		{"Format:", "Version: 1\nFormat:", "Version"},
		{"Files:\n", "\nFiles:\n", "more than one stanza"},
		{"Format:", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nFormat:", "integrity"},
	} {
		text := strings.Replace(goodDsc, c.old, c.new, 1)
		if text == goodDsc {
			t.Fatalf("%q is not there", c.old)
		}
		if _, err := ParseDsc("x.dsc", []byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: got %v, want %q", c.new, c.old, err, c.want)
		}
	}
}

// FuzzParseDsc holds that what is taken is one stanza whose files lie in the
// source's own directory of the pool, the .dsc first.
func FuzzParseDsc(f *testing.F) {
	f.Add([]byte(goodDsc))
	f.Add(testarchive.SiteKey().Clearsign(f, []byte(goodDsc), testarchive.DefaultDate()))
	f.Add([]byte("Source: a\nVersion: 1\nChecksums-Sha256:\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		src, err := ParseDsc("a_1.dsc", data)
		if err != nil {
			return
		}
		n := 0
		for st, err := range deb.Stanzas(src.Stanza) {
			n++
			if err != nil || st.Get("Package") != src.name || st.Get("Version") != src.version {
				t.Errorf("the stanza does not read back (%v):\n%s", err, src.Stanza)
			}
		}
		if n != 1 || len(src.Rows) == 0 || src.Rows[0].Blob() != snapshot.BlobOf(data) {
			t.Errorf("%d stanzas, rows %v", n, src.Rows)
		}
		for _, r := range src.Rows {
			if !strings.HasPrefix(r.Path, "pool/main/"+src.name+"/") || snapshot.ValidPath("own/"+r.Path) != nil {
				t.Errorf("path %q", r.Path)
			}
		}
	})
}
