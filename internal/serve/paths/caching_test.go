package paths

import (
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// A file without its version in its name may be another tomorrow.
func TestVersioned(t *testing.T) {
	t.Parallel()
	pkg := snapshot.Package{Name: "agent", Version: "2:1.4-1", Architecture: "amd64", Source: "agent"}
	for _, c := range []struct {
		path string
		pkg  snapshot.Package
		want bool
	}{
		{"flat/agent_1.4-1_amd64.deb", pkg, true},
		{"flat/agent_2%3a1.4-1_amd64.deb", pkg, true},
		{"flat/agent.deb", pkg, false},
		{"flat/1.4-1/latest.deb", pkg, false},
		{"flat/agent_1.3-1_amd64.deb", pkg, false},
		{"debian/pool/main/a/agent/agent_1.4-1.dsc", snapshot.Package{}, true},
		{"debian/pool/main/a/agent/agent_1.4.orig.tar.xz", snapshot.Package{}, true},
		{"debian/dists/sid/InRelease", snapshot.Package{}, false},
	} {
		if got := Versioned(nil, snapshot.Row{Path: c.path, Package: c.pkg}); got != c.want {
			t.Errorf("%s of %s: %v", c.path, c.pkg.Version, got)
		}
	}
}
