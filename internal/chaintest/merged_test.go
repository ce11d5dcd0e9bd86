package chaintest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// TestMergedThefts: whatever a thief of the site's key puts into a merged archive, or takes out of it, is found: it is
// made again of the archives that it says it is made of.
func TestMergedThefts(t *testing.T) {
	dir := t.TempDir()
	plan := &config.Plan{Others: []config.Other{{Prefix: "all", Format: snapshot.FormatDeb, Merge: []string{"a", "b"}}}}
	for prefix, packages := range map[string][]testarchive.Package{
		"a": {{Name: "app", Version: "1.0", Architecture: "amd64"}, {Name: "lib", Version: "1:0.5", Architecture: "all"}},
		"b": {{Name: "app", Version: "2.0", Architecture: "amd64"}, {Name: "lib", Version: "9.0", Architecture: "all"}},
		"c": {{Name: "app", Version: "3.0", Architecture: "amd64"}},
	} {
		in := filepath.Join(dir, prefix)
		if err := os.Mkdir(in, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, p := range packages {
			if err := os.WriteFile(filepath.Join(in, p.Name+".deb"), p.Deb(t), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		plan.Archives = append(plan.Archives, config.Archive{Prefix: prefix, Debs: in})
	}
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now})
	if err != nil {
		t.Fatal(err)
	}
	good := forge.Open(t, frozen.Snapshot)
	const dists, index = "all/dists/all/", "main/binary-amd64/Packages.gz"
	stanza := func(of, name string) string {
		plain, err := archive.Decompress(index, good.Read(of+"/dists/"+of+"/"+index), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range strings.SplitAfter(string(plain), "\n\n") {
			if strings.HasPrefix(st, "Package: "+name+"\n") {
				return st
			}
		}
		t.Fatalf("no %s in %s", name, of)
		return ""
	}
	swap := func(d *forge.Draft, from, path string) {
		d.EditIndex(dists, index, func(s string) string { return strings.Replace(s, stanza("b", "app"), stanza(from, "app"), 1) })
		d.Remove("all/pool/main/app/app_2.0_amd64.deb")
		row := d.Rows[from+"/"+path]
		row.Path = "all/" + path
		d.Rows[row.Path] = row
	}
	for _, c := range []struct {
		name    string
		change  func(d *forge.Draft)
		failure string
	}{
		{"nothing", func(*forge.Draft) {}, ""},
		{"a lower version", func(d *forge.Draft) { swap(d, "a", "pool/main/app/app_1.0_amd64.deb") }, "the highest versions of a, b are others"},
		{"of an archive that is not merged", func(d *forge.Draft) { swap(d, "c", "pool/main/app/app_3.0_amd64.deb") }, "1 stanzas are in no index of a, b; first: app 3.0 amd64"},
		{"a field more", func(d *forge.Draft) {
			d.EditIndex(dists, index, func(s string) string {
				return strings.Replace(s, "Package: app\n", "Package: app\nEssential: yes\n", 1)
			})
		}, "1 stanzas are in no index of a, b; first: app 2.0 amd64"},
		{"a package left out", func(d *forge.Draft) {
			d.EditIndex(dists, index, func(s string) string { return strings.Replace(s, stanza("a", "lib"), "", 1) })
			d.Remove("all/pool/main/lib/lib_1:0.5_all.deb")
		}, "the highest versions of a, b are others"},
		{"a component", func(d *forge.Draft) {
			d.EditRelease(dists, func(s string) string { return field(s, "Components", "Components: main other\n") })
		}, "all/dists/all/Release is not the one made again"},
		{"of others", func(d *forge.Draft) { d.Archive("all").Merge = []string{"b", "c"} }, "stanzas are in no index of b, c; first: lib 1:0.5 all"},
		{"a file more", func(d *forge.Draft) { d.Put("all/pool/main/x.deb", []byte("x")) }, "all/pool/main/x.deb: no signed index names it"},
		{"an archive below it changed", func(d *forge.Draft) {
			d.EditIndex("a/dists/a/", index, func(s string) string {
				return strings.Replace(s, "Package: app\n", "Package: app\nEssential: yes\n", 1)
			})
		}, "archive all: integrity: it is made of archive a, which is not right"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := good.Clone()
			c.change(d)
			r, err := verifiedBy(t, d, forge.Resigned, world.SiteTrust(t), true)
			if c.failure == "" {
				if err != nil || r.Archives[1].Prefix != "all" && r.Archives[1].State != prove.SiteOwn {
					t.Fatalf("%+v, %v", r, err)
				}
				return
			}
			if err == nil || !strings.Contains(strings.Join(r.Failures, "\n"), c.failure) {
				t.Errorf("%v: %q, want %q", err, r.Failures, c.failure)
			}
		})
	}
}
