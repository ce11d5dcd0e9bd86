package chaintest

import (
	"os"
	"path/filepath"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
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
