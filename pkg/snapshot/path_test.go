package snapshot

import (
	"io/fs"
	"strings"
	"testing"
)

func TestValidPath(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		"a", "a/b", "debian/pool/main/l/libc++/libc++-dev_1%3a14.0-55_amd64.deb", "a b", "...", "a/.b", "a/..b", "a/b.", "é/ü",
		strings.Repeat("a", MaxPath),
	} {
		if err := ValidPath(p); err != nil {
			t.Error(err)
		}
	}
	for _, p := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/./b", "a/..", "../a", "a/../b", "a\x00", "a\nb", "a\x7f", "\x1f",
		"a\xff", "a/\xc3", "\xc3/\xa9", strings.Repeat("a", MaxPath+1),
	} {
		if ValidPath(p) == nil {
			t.Errorf("ValidPath(%q) accepts it", p)
		}
	}
}

func FuzzValidPath(f *testing.F) {
	for _, p := range []string{"a/b", "a/../b", "/a", "a\xff", "\xc3/\xa9"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		// io/fs has the same idea of a path, without control characters and lengths, and with "." as one.
		control := strings.ContainsFunc(p, func(r rune) bool { return r < 0x20 || r == 0x7f })
		want := fs.ValidPath(p) && p != "." && !control && len(p) <= MaxPath
		if got := ValidPath(p) == nil; got != want {
			t.Errorf("ValidPath(%q) accepts: %t, want %t", p, got, want)
		}
	})
}

func TestValidPrefix(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"a", "0", "debian", "debian-security", "a.b+c-d", strings.Repeat("a", 64), "v3", "upstreams"} {
		if err := ValidPrefix(p); err != nil {
			t.Error(err)
		}
	}
	for _, p := range []string{
		"", "A", "a/b", "-a", ".a", "+a", "a_b", "a b", "é", "a\x00", strings.Repeat("a", 65),
		"snapshot", "upstream", "setup", "healthz", "readyz", "metrics", "mmoci", "v2",
	} {
		if ValidPrefix(p) == nil {
			t.Errorf("ValidPrefix(%q) accepts it", p)
		}
	}
}

func TestRolePath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		suite string
		role  Role
		want  string
	}{
		{"bookworm", InRelease, "p/dists/bookworm/InRelease"},
		{"bookworm/updates", ReleaseGPG, "p/dists/bookworm/updates/Release.gpg"},
		{"./", Release, "p/Release"},
		{"a/b/", UpstreamRelease, "upstream/p/a/b/Release"},
		{"x", UpstreamReleaseGPG, "upstream/p/dists/x/Release.gpg"},
	} {
		if got := RolePath("p", c.suite, c.role); got != c.want {
			t.Errorf("RolePath(p, %s, %s) = %s, want %s", c.suite, c.role, got, c.want)
		}
	}
}
