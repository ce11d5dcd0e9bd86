package mirror

import (
	"os"
	"path/filepath"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/testarchive"
)

// A Filename with %3a would be another file to a client that asks for it as it stands, as debootstrap does.
func TestDebsNameTheEpoch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, version := range []string{"1:2.0-1", "2.0-1"} {
		data := testarchive.Package{Name: "own", Version: version, Architecture: "amd64"}.Deb(t)
		if err := os.WriteFile(filepath.Join(dir, debName("own", version, "amd64")), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fa, err := readDebs(t.Context(), &config.Archive{Prefix: "own", Debs: dir, All: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"pool/main/own/own_2.0-1_amd64.deb", "pool/main/own/own_1:2.0-1_amd64.deb"}
	for i, sf := range fa.site {
		if sf.Filename != want[i] {
			t.Errorf("Filename %s, want %s", sf.Filename, want[i])
		}
	}
	if len(fa.site) != 2 {
		t.Errorf("%d packages", len(fa.site))
	}
}
