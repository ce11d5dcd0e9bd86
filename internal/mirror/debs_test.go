package mirror

import (
	"fmt"
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

// What it takes to read own .debs grows with their number, not with its square:
// of 5,000 each is looked at as often as its name comes again.
func TestManyDebs(t *testing.T) {
	t.Parallel()
	const many = 5000
	dir := t.TempDir()
	write := func(name, version, arch string) {
		t.Helper()
		data := testarchive.Package{Name: name, Version: version, Architecture: arch}.Deb(t)
		if err := os.WriteFile(filepath.Join(dir, debName(name, version, arch)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range many {
		write(fmt.Sprint("own", i), "1.0", "all")
	}
	write("own7", "2.0", "all")
	write("own7", "1.0", "arm64")
	fa, err := readDebs(t.Context(), &config.Archive{Prefix: "own", Debs: dir, All: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(fa.site) != many+2 || fa.siteNames.looked != 1 {
		t.Errorf("%d packages, %d were looked at", len(fa.site), fa.siteNames.looked)
	}
	for _, sf := range fa.site {
		if got := fa.siteNames.files[sf.SHA256]; got != sf.file {
			t.Fatalf("%s is found as %q", sf.file, got)
		}
	}
}

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
