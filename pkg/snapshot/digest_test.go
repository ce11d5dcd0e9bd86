package snapshot

import (
	"strings"
	"testing"
)

func TestParseDigest(t *testing.T) {
	t.Parallel()
	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	d, err := ParseDigest(empty)
	if err != nil || d != Sum(nil) || d.String() != empty || "sha256:"+d.Hex() != empty {
		t.Errorf("ParseDigest(%s) = %v, %v", empty, d, err)
	}
	for _, s := range []string{
		"", "sha256:", empty[:len(empty)-1], empty + "0", empty[7:], strings.ToUpper(empty), "sha256:" + strings.ToUpper(empty[7:]),
		"sha512:" + empty[7:], " " + empty, empty + "\n", "sha256:" + strings.Repeat("g", 64), "sha256:" + strings.Repeat("/", 64),
		Digest{}.String(),
	} {
		if d, err := ParseDigest(s); err == nil {
			t.Errorf("ParseDigest(%q) = %v", s, d)
		}
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add(Sum(nil).String())
	f.Add("sha256:00")
	f.Add(Digest{}.String())
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err == nil && (d.String() != s || d.IsZero()) {
			t.Errorf("ParseDigest(%q).String() = %s", s, d)
		}
	})
}

func TestBlobCheck(t *testing.T) {
	t.Parallel()
	for _, b := range []Blob{{}, {Sum(nil), 1}, {Sum([]byte("a")), 0}, {Sum([]byte("a")), -1}, {Digest{}, 1}} {
		if b.check() == nil {
			t.Errorf("%v is accepted", b)
		}
	}
	for _, b := range []Blob{BlobOf(nil), BlobOf([]byte("a"))} {
		if err := b.check(); err != nil {
			t.Error(err)
		}
	}
}
