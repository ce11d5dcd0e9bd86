package chaintest_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/passenger"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

var update = flag.Bool("update", false, "write the golden root digests anew")

const goldenFile = "../../testdata/golden/roots.txt"

// goldenNow is when the frozen archives are looked at: after their Dates,
// before the security archive's Valid-Until.
var goldenNow = time.Date(2026, 1, 13, 0, 0, 0, 0, time.UTC)

// goldenPlans are the snapshots whose root digests are kept, by name.
func goldenPlans(t *testing.T, dir string) map[string]*config.Plan {
	t.Helper()
	write := func(name string, f testarchive.Files) string {
		f.Write(t, filepath.Join(dir, name))
		return filepath.Join(dir, name)
	}
	key := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	docker := config.Archive{
		Prefix: "docker", URLs: []string{write("docker", testarchive.Docker().Build(t))}, Suites: []string{"bookworm"},
		Components: []string{"stable"}, Architectures: []string{"amd64"}, SignedBy: key("docker.asc", testarchive.DockerKey().Public()),
		Packages: []config.Query{{Text: "docker-ce"}}, CheckValidUntil: true,
	}
	debian := config.Archive{
		Prefix: "debian", URLs: []string{write("debian", testarchive.Debian().Build(t))}, Suites: []string{"bookworm", "bookworm-updates"},
		Components: []string{"main"}, Architectures: []string{"amd64"}, SignedBy: key("debian.asc", testarchive.DebianKey().Public()),
		None: true, CheckValidUntil: true,
	}
	verbatim := debian
	verbatim.None, verbatim.Verbatim = false, true
	site := config.Archive{Prefix: "own", Debs: filepath.Join(dir, "own"), All: true}
	if err := os.MkdirAll(site.Debs, 0o755); err != nil {
		t.Fatal(err)
	}
	key("own/own_1.0_amd64.deb", testarchive.Package{Name: "own", Version: "1.0", Architecture: "amd64"}.Deb(t))
	real := config.Archive{
		Prefix: "real", URLs: []string{testarchive.Real(t)}, Suites: []string{"bookworm-updates"}, Components: []string{"main"},
		Architectures: []string{"amd64"}, SignedBy: key("real.gpg", testarchive.RealKeyring(t)), CheckValidUntil: true,
		Packages: []config.Query{{Text: "samba-ad-provision"}},
	}
	app := "oci:" + plainImage(t, filepath.Join(dir, "app"))
	return map[string]*config.Plan{
		"images": {Archives: []config.Archive{site}, Images: []config.Image{
			{From: app, Name: "registry.example.org/app:v1"},
			{From: app, Name: "registry.example.org/arm:v1", Platforms: []string{"linux/arm64"}},
		}},
		"curated":  {Archives: []config.Archive{docker, debian}},
		"verbatim": {Archives: []config.Archive{verbatim}},
		"mixed":    {Archives: []config.Archive{docker, verbatim, site}},
		"real":     {Archives: []config.Archive{real}},
	}
}

// plainImage makes a layout of an image index over two platforms, whose bytes no encoder has to do with.
func plainImage(t *testing.T, dir string) string {
	t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(file, data string) {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(mediaType, data, more string) string {
		put(filepath.Join(blobs, snapshot.Sum([]byte(data)).Hex()), data)
		return fmt.Sprintf(`{"mediaType":%q,"digest":"%s","size":%d%s}`, mediaType, snapshot.Sum([]byte(data)), len(data), more)
	}
	const (
		manifest = "application/vnd.oci.image.manifest.v1+json"
		index    = "application/vnd.oci.image.index.v1+json"
	)
	var entries []string
	for _, arch := range []string{"amd64", "arm64"} {
		config := fmt.Sprintf(`{"architecture":%q,"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`, arch)
		m := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s,%s]}`, manifest,
			blob("application/vnd.oci.image.config.v1+json", config, ""),
			blob("application/vnd.oci.image.layer.v1.tar", "base\n", ""), blob("application/vnd.oci.image.layer.v1.tar", arch+"\n", ""))
		entries = append(entries, blob(manifest, m, fmt.Sprintf(`,"platform":{"architecture":%q,"os":"linux"}`, arch)))
	}
	root := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, index, strings.Join(entries, ","))
	top := blob(index, root, `,"annotations":{"org.opencontainers.image.ref.name":"v1"}`)
	put(filepath.Join(dir, "oci-layout"), `{"imageLayoutVersion":"1.0.0"}`)
	put(filepath.Join(dir, "index.json"), `{"schemaVersion":2,"manifests":[`+top+`]}`)
	return dir + ":v1"
}

// freezeRoot freezes a plan, signed or not, and packs it.
func freezeRoot(t *testing.T, plan *config.Plan, signed bool) snapshot.Digest {
	t.Helper()
	f := freeze.Options{Plan: plan, Now: goldenNow}
	if plan.Archives[0].Prefix == "real" {
		f.Now = testarchive.RealDate().Add(time.Hour)
	}
	if signed {
		signer, err := pgp.ReadSigner(testarchive.SiteKey().Private(), nil)
		if err != nil {
			t.Fatal(err)
		}
		f.Signer = signer
	}
	if len(plan.Images) > 0 {
		f.Date = goldenNow // own packages and images have no date of their own
	}
	var err error
	if f.Images, err = passenger.Read(t.Context(), passenger.Options{Plan: plan}); err != nil {
		t.Fatal(err)
	}
	frozen, err := freeze.Run(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := artifact.Pack(frozen.Snapshot)
	if err != nil {
		t.Fatal(err)
	}
	return packed.Root()
}

// TestGoldenRoots holds the root digests of whole snapshots. When a dependency
// changes the bytes of an encoder they differ, and the encoder generation must
// have risen with them.
func TestGoldenRoots(t *testing.T) {
	plans := goldenPlans(t, t.TempDir())
	got := []string{fmt.Sprintf("encoder %d", archive.EncoderGeneration)}
	for name, plan := range plans {
		for _, signed := range []bool{false, true} {
			got = append(got, fmt.Sprintf("%s signed=%t %s", name, signed, freezeRoot(t, plan, signed)))
		}
	}
	slices.Sort(got)
	text := strings.Join(got, "\n") + "\n"
	if *update {
		if err := os.MkdirAll(filepath.Dir(goldenFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("the root digests of unchanged input changed. If that is meant, raise archive.EncoderGeneration (or the format's major version) "+
			"and write them anew with -update.\ngot:\n%swant:\n%s", text, want)
	}
}

// TestDeterminism is law 2: nothing but the inputs named in SPEC section 9
// reaches the root digest.
func TestDeterminism(t *testing.T) {
	dir := t.TempDir()
	plan := goldenPlans(t, dir)["mixed"]
	want := freezeRoot(t, plan, true)

	t.Run("processors", func(t *testing.T) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		if got := freezeRoot(t, plan, true); got != want {
			t.Errorf("with one processor %s, want %s", got, want)
		}
	})
	t.Run("zone", func(t *testing.T) {
		old := time.Local
		time.Local = time.FixedZone("far", 13*3600)
		defer func() { time.Local = old }()
		if got := freezeRoot(t, plan, true); got != want {
			t.Errorf("in another zone %s, want %s", got, want)
		}
	})
	t.Run("order and place", func(t *testing.T) {
		other := &config.Plan{Archives: slices.Clone(plan.Archives)}
		slices.Reverse(other.Archives)
		for i := range other.Archives {
			a := &other.Archives[i]
			a.Suites = slices.Clone(a.Suites)
			slices.Reverse(a.Suites)
			if a.Prefix == "debian" {
				a.URLs = []string{testarchive.Serve(t, testarchive.Debian().Build(t)).URL}
			}
		}
		if got := freezeRoot(t, other, true); got != want {
			t.Errorf("in another order, from another place %s, want %s", got, want)
		}
	})
	t.Run("later", func(t *testing.T) {
		goldenNow = goldenNow.Add(24 * time.Hour)
		defer func() { goldenNow = goldenNow.Add(-24 * time.Hour) }()
		if got := freezeRoot(t, plan, true); got != want {
			t.Errorf("a day later %s, want %s", got, want)
		}
	})
}
