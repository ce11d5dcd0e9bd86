package distribution

import (
	"testing"

	"example.org/mmoci/pkg/archive"
)

// What the Releases of real archives say.
func TestNamed(t *testing.T) {
	for _, c := range []struct {
		release archive.Release
		want    Name
	}{
		{archive.Release{Origin: "Debian", Label: "Debian", Suite: "oldstable", Codename: "bookworm", Version: "12.12"}, Name{"debian", "debian-12"}},
		{archive.Release{Origin: "Debian", Label: "Debian", Suite: "oldstable-updates", Codename: "bookworm-updates", Version: "12-updates"}, Name{"debian", "debian-12"}},
		{archive.Release{Origin: "Debian", Label: "Debian-Security", Suite: "oldstable-security", Codename: "bookworm-security", Version: "12"}, Name{"debian", "debian-12"}},
		{archive.Release{Origin: "Debian Backports", Codename: "bookworm-backports"}, Name{"debian", "bookworm"}},
		{archive.Release{Origin: "Debian", Suite: "unstable", Codename: "sid"}, Name{"debian", "sid"}},
		{archive.Release{Origin: "Ubuntu", Suite: "noble-updates", Codename: "noble", Version: "24.04"}, Name{"ubuntu", "ubuntu-24.04"}},
		{archive.Release{Origin: "Docker", Label: "Docker CE", Suite: "bookworm", Codename: "bookworm"}, Name{"docker", ""}},
		{archive.Release{Origin: "Debian & <me>", Version: "x"}, Name{"debian", ""}},
		{archive.Release{}, Name{}},
	} {
		if got := Named(&c.release); got != c.want {
			t.Errorf("%+v is of %+v, want %+v", c.release, got, c.want)
		}
	}
}
