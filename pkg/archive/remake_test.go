package archive

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"example.org/mmoci/pkg/deb"
)

// TestPlainIndex: the text made again is the one that Build packs, whatever the order its stanzas come in.
func TestPlainIndex(t *testing.T) {
	t.Parallel()
	c := curated(t)
	files, _, err := Build(c)
	wantErr(t, err, "")
	for _, f := range files {
		plain, err := GunzipMember(f.Data, 1<<20)
		wantErr(t, err, "")
		var stanzas []deb.Stanza
		for s, err := range deb.Stanzas(plain) {
			wantErr(t, err, "")
			stanzas = append(stanzas, s)
		}
		for range 2 {
			if again := PlainIndex(stanzas, strings.Contains(f.Path, "Sources")); !bytes.Equal(again, plain) {
				t.Errorf("%s: made again\n%s\nis\n%s", f.Path, again, plain)
			}
			slices.Reverse(stanzas)
		}
	}
	in := "Package: b\nVersion: 10\nArchitecture: all\n\nPackage: a\nVersion: 2\nArchitecture: i386\n\nPackage: b\nVersion: 9\nArchitecture: amd64\n\nPackage: a\nVersion: 2\nArchitecture: amd64"
	var stanzas []deb.Stanza
	for s := range deb.Stanzas([]byte(in)) {
		stanzas = append(stanzas, s)
	}
	want := "Package: a\nVersion: 2\nArchitecture: amd64\n\nPackage: a\nVersion: 2\nArchitecture: i386\n\nPackage: b\nVersion: 9\nArchitecture: amd64\n\nPackage: b\nVersion: 10\nArchitecture: all\n\n"
	if got := PlainIndex(stanzas, false); string(got) != want {
		t.Errorf("%s", got)
	}
}

func TestGunzipMember(t *testing.T) {
	t.Parallel()
	pack := func(s string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write([]byte(s))
		wantErr(t, errors.Join(err, z.Close()), "")
		return b.Bytes()
	}
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name  string
		data  []byte
		limit int64
		want  string
	}{
		{"one", pack("x"), 10, ""},
		{"empty", pack(""), 0, ""},
		{"as long as the limit", pack(long), 100_000, ""},
		{"longer", pack(long), 99_999, "longer than expected"},
		{"two members", slices.Concat(pack("x"), pack("y")), 10, "bytes behind it"},
		{"an empty one behind", slices.Concat(pack("x"), pack("")), 10, "bytes behind it"},
		{"a byte behind", append(pack("x"), 0), 10, "1 bytes behind it"},
		{"nothing", nil, 10, "not exactly one gzip member"},
		{"cut short", pack(long)[:50], 1 << 20, "unexpected EOF"},
		{"no gzip", []byte("Package: x\n\nPackage: y\n"), 100, "header"},
	} {
		got, err := GunzipMember(c.data, c.limit)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || err != nil && got != nil {
			t.Errorf("%s: %.20q, %v; want %q", c.name, got, err, c.want)
		}
	}
}
