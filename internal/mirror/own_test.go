package mirror

import (
	"os"
	"path/filepath"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/testarchive"
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
	frozen, err := Freeze(t.Context(), Freezing{Plan: plan, Signer: signerOf(t, testarchive.SiteKey()), Date: worldDate, Now: worldNow})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"own/pool/main/own/own_1.0_all.deb", "own/dists/own/main/binary-amd64/Packages.gz"} {
		if _, ok := frozen.Snapshot.Table.Find(name); !ok {
			t.Errorf("no %s", name)
		}
	}
}
