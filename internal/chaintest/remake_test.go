package chaintest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
)

// TestEncoderUnknown: verify makes files again, so it must know how they were made. A
// generation that it does not know is no failure of integrity, and nothing is said of the snapshot.
func TestEncoderUnknown(t *testing.T) {
	d := world.Draft(t, world.Good())
	d.Encoder++
	r, err := verified(t, d, forge.Resigned, world.SiteTrust(t))
	if r != nil {
		t.Errorf("report %+v", r)
	}
	refused(t, err, 1, "are of encoder generation 2, and this mmoci can make those up to 1 again")
}

// TestRemakeSite: an archive of the site's own is made again from its packages.
func TestRemakeSite(t *testing.T) {
	dir := t.TempDir()
	const dsc = "Format: 3.0 (native)\nSource: own-src\nBinary: own\nArchitecture: any\nVersion: 1.0-1\nChecksums-Sha256:\n" +
		" 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 1 own-src_1.0-1.tar.xz\n"
	files := map[string]string{"own-src_1.0-1.dsc": dsc, "own-src_1.0-1.tar.xz": "x"}
	for _, p := range []testarchive.Package{
		{Name: "own", Version: "1:1.0-1", Architecture: "amd64", Source: "own-src (1.0-1)", Fields: [][2]string{{"Depends", "own-data"}}},
		{Name: "own-data", Version: "1.0-1", Architecture: "all", Source: "own-src"},
	} {
		files[p.Name+".deb"] = string(p.Deb(t))
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	plan := &config.Plan{Archives: []config.Archive{{Prefix: "own", Debs: dir}}}
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now})
	if err != nil {
		t.Fatal(err)
	}
	good := forge.Open(t, frozen.Snapshot)
	const dists, index, sources = "own/dists/own/", "main/binary-amd64/Packages.gz", "main/source/Sources.gz"
	for _, c := range []struct {
		name    string
		change  func(d *forge.Draft)
		failure string
		remote  bool // found without reading packages
	}{
		{"nothing", func(*forge.Draft) {}, "", true},
		{"a lock from when it named no sources", func(d *forge.Draft) { d.EditLock(lockOf(d.Lock, "file own"), "") }, "", true},
		{"another source in the lock", func(d *forge.Draft) { d.EditLock("own-src_1.0-1.dsc", "own-src_1.0-2.dsc") }, "lock: archive own: pool/main/own-src/own-src_1.0-2.dsc ", true},
		{"a dependency left out", func(d *forge.Draft) {
			d.EditIndex(dists, index, func(s string) string { return strings.Replace(s, "Depends: own-data\n", "", 1) })
		}, `package own 1:1.0-1 amd64: integrity: its stanza is not the one made again: line 7 is "Section: misc", made again "Depends: own-data"`, false},
		{"a field more", func(d *forge.Draft) {
			d.EditIndex(dists, index, func(s string) string {
				return strings.Replace(s, "Package: own\n", "Package: own\nEssential: yes\n", 1)
			})
		}, "its stanza is not the one made again", false},
		{"a source of another binary", func(d *forge.Draft) {
			d.EditIndex(dists, sources, func(s string) string { return strings.Replace(s, "Binary: own\n", "Binary: other\n", 1) })
		}, "package own-src 1.0-1 any: integrity: its stanza is not the one made again", false},
		{"a component", func(d *forge.Draft) {
			d.EditRelease(dists, func(s string) string { return field(s, "Components", "Components: main other\n") })
		}, "own/dists/own/Release cannot be made again: an archive of the site's own has one suite, own, with the component main", true},
		{"a file", func(d *forge.Draft) { d.List(dists, "main/i18n/Translation-en", []byte("x"), true) }, "own/dists/own/Release is not the one made again", true},
		{"no package for all", func(d *forge.Draft) {
			d.List(dists, "main/binary-i386/Packages", nil, false)
			d.List(dists, "main/binary-i386/Packages.gz", testarchive.Compress(t, "gz", nil), true)
			d.EditRelease(dists, func(s string) string { return field(s, "Architectures", "Architectures: amd64 i386\n") })
		}, "its packages for all architectures are not those of the component's other indices", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := good.Clone()
			c.change(d)
			for _, hash := range []bool{true, false} {
				r, err := verifiedBy(t, d, forge.Resigned, world.SiteTrust(t), hash)
				if c.failure == "" || !hash && !c.remote {
					if err != nil {
						t.Fatalf("hash %t: %v", hash, err)
					}
					if a := r.Archives[0]; a.State != prove.SiteOwn || (a.Reason == "") != hash {
						t.Errorf("hash %t: %s, %q", hash, a.State, a.Reason)
					}
					continue
				}
				if exitOf(err) != 3 || !strings.Contains(strings.Join(r.Failures, "\n"), c.failure) {
					t.Errorf("hash %t: %v; want %s", hash, err, c.failure)
				}
			}
		})
	}
}

// TestRenamed: names that a curated Release has otherwise than upstream's are the site's choice, and named.
func TestRenamed(t *testing.T) {
	d := world.Draft(t, world.Good())
	d.EditRelease(dockerDists, func(s string) string { return field(s, "Label", "Label: Ours\n") })
	both := world.UpstreamTrust(t)
	both.Site = world.SiteTrust(t).Site
	r, err := verified(t, d, forge.Resigned, both)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(r.Archives, func(a prove.ArchiveReport) bool { return a.Prefix == "docker" })
	if got := r.Archives[i].Suites[0].Renamed; r.Archives[i].State != prove.Proved || !slices.Equal(got, []string{`Label "Ours" (upstream's: "Docker CE")`}) {
		t.Errorf("%s, %q", r.Archives[i].State, got)
	}
	if got := r.Archives[0].Suites[0].Renamed; got != nil {
		t.Errorf("debian: %q", got)
	}
}
