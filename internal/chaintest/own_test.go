package chaintest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
)

// Own .debs that are all for any architecture need none to be named.
func TestDebsForAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := testarchive.Package{Name: "own", Version: "1.0", Architecture: "all"}.Deb(t)
	if err := os.WriteFile(filepath.Join(dir, "own.deb"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	plan := &config.Plan{Archives: []config.Archive{{Prefix: "own", Debs: dir}}}
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"own/pool/main/own/own_1.0_all.deb", "own/dists/own/main/binary-amd64/Packages.gz"} {
		if _, ok := frozen.Snapshot.Table.Find(name); !ok {
			t.Errorf("no %s", name)
		}
	}
}

// A host of one architecture asks a registry for nothing of another: neither indices nor packages.
func TestOneArchitecture(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		data := testarchive.Package{Name: "own", Version: "1.0", Architecture: arch}.Deb(t)
		if err := os.WriteFile(filepath.Join(dir, arch+".deb"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plan := &config.Plan{Archives: []config.Archive{{Prefix: "own", Debs: dir}}}
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now})
	if err != nil {
		t.Fatal(err)
	}
	r := testregistry.New(t, testregistry.Options{})
	ref, err := artifact.ParseReference(r.Host() + "/site:noble")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.Push(t.Context(), ref, frozen.Snapshot, artifact.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	r.Requests()
	sealed, err := artifact.Open(t.Context(), ref, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	trust := world.SiteTrust(t)
	s, err := trust.Believe(ref, sealed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := extract.Run(t.Context(), extract.Options{Snapshot: s, Trust: trust, Queries: []string{"own"}, Dir: testarchive.MemoryDir(t), Architecture: "arm64"}); err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for _, q := range r.Requests() {
		asked[q.Ref] = true
	}
	others := 0
	for row := range frozen.Snapshot.Table.Rows() {
		if strings.Contains(row.Path, "arm64") && strings.HasSuffix(row.Path, ".deb") && !asked[row.Digest.String()] {
			t.Errorf("%s was not asked for", row.Path)
		}
		if strings.Contains(row.Path, "amd64") {
			if others++; asked[row.Digest.String()] {
				t.Errorf("%s was asked for", row.Path)
			}
		}
	}
	if others < 2 {
		t.Errorf("%d files of amd64", others)
	}
}
