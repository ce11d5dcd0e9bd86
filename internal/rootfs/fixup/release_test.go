package fixup

import (
	"testing"
)

// What the base-files of Debian 12 and of Ubuntu 24.04 have, etc/lsb-release of the latter included, byte for byte.
func TestRelease(t *testing.T) {
	const debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n"
	const ubuntu = "PRETTY_NAME=\"Ubuntu 24.04.3 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nVERSION=\"24.04.3 LTS (Noble Numbat)\"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n"
	for _, c := range []struct {
		release, version string
		want             map[string]string
	}{
		{debian, "12.12\n", map[string]string{"etc/debian_version": "12.12\n", "etc/os-release": "> ../usr/lib/os-release", "usr/lib/os-release": debian}},
		{ubuntu, "trixie/sid\n", map[string]string{"etc/debian_version": "trixie/sid\n", "etc/os-release": "> ../usr/lib/os-release", "usr/lib/os-release": ubuntu,
			"etc/lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=24.04\nDISTRIB_CODENAME=noble\nDISTRIB_DESCRIPTION=\"Ubuntu 24.04.3 LTS\"\n"}},
	} {
		f := Release([]byte(c.release), []byte(c.version))
		last := ""
		for _, x := range f.Files {
			got := string(x.Data)
			if x.Target != "" {
				got = "> " + x.Target
			}
			if got != c.want[x.Path] || x.Path <= last {
				t.Errorf("%s is %q, or out of order", x.Path, got)
			}
			last = x.Path
		}
		if len(f.Files) != len(c.want) {
			t.Errorf("%d files, want %d", len(f.Files), len(c.want))
		}
	}
	if f := Release(nil, []byte("12\n")); f != nil {
		t.Errorf("of nothing: %+v", f)
	}
}
