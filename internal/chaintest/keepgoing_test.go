package chaintest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
)

// TestKeepGoing: of 500 packages of a list three cannot be had, each for another reason. The rest is uploaded and held,
// the three are named with the versions there are, no tag moves; and once they are there, they alone are fetched.
func TestKeepGoing(t *testing.T) {
	t.Parallel()
	const wanted, lost, wrong, unknown = 500, "p100", "p200", "p300"
	a := testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{Dir: "stable", ByHash: true}}}
	suite := &a.Suites[0]
	var list strings.Builder
	add := func(name, version string) {
		suite.Packages = append(suite.Packages, testarchive.Package{Name: name, Version: version, Architecture: "amd64"})
	}
	for i := range wanted {
		name, version := fmt.Sprintf("p%03d", i), "1.0"
		if name == wrong {
			version = "1.1" // which there is of another one that is lost
		}
		add(name, version)
		if name == unknown {
			version = "9.9"
		}
		fmt.Fprintln(&list, name, version)
	}
	add(lost, "1.1")
	files := a.Build(t)
	pool := func(name, version string) string {
		if name == wrong {
			version = "1.1"
		}
		return "pool/main/p/" + name + "/" + name + "_" + version + "_amd64.deb"
	}
	whole := files.Clone()
	files = files.Flip(t, pool(wrong, "1.0"))
	delete(files, pool(lost, "1.0"))
	up, registry := testarchive.Serve(t, files), testregistry.New(t, testregistry.Options{})

	dir := t.TempDir()
	for name, text := range map[string]string{
		"key.asc":  string(testarchive.DebianKey().Public()),
		"base.lst": list.String(),
		"mmoci.yaml": `archives:
- {prefix: debian, mode: curated, url: ` + up.URL + `, suites: [stable], components: [main], architectures: [amd64],
   signed-by: key.asc, packages-from: base.lst, list: stx}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := config.Load(filepath.Join(dir, "mmoci.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := artifact.ParseReference(registry.Host() + "/site/base:latest")
	if err != nil {
		t.Fatal(err)
	}
	o := push.Options{
		Ref: ref, Plan: plan, Signer: world.SignerOf(t, testarchive.SiteKey()), KeepGoing: true, Now: world.Now,
		Artifact: artifact.PushOptions{Options: artifact.Options{Anonymous: true}},
	}
	_, err = push.Run(t.Context(), o)
	incomplete, ok := errors.AsType[*push.Incomplete](err)
	if !ok || exitOf(err) != 1 {
		t.Fatalf("exit %d: %v", exitOf(err), err)
	}
	slices.Sort(incomplete.Missing)
	for i, want := range []string{
		`base.lst:301: p300 \(= 9.9\): not in archive debian; seen: 1.0 \(amd64\) in debian/stable`,
		`debian p100 1.0 amd64: listed, but .*not found upstream; there is 1.1 amd64 in debian$`,
		`debian p200 1.1 amd64: listed, but .*integrity.*; there is no other version$`,
	} {
		if len(incomplete.Missing) != 3 || !regexp.MustCompile(want).MatchString(incomplete.Missing[i]) {
			t.Errorf("missing %q, want %s", incomplete.Missing, want)
		}
	}
	tags := registry.Tags("site/base")
	if len(tags) != 1 || tags[incomplete.Held] == "" || !regexp.MustCompile(`^latest-ckpt-[0-9a-f]{12}-0$`).MatchString(incomplete.Held) || incomplete.Packages != wanted-3 {
		t.Errorf("tags %v, held by %q, %d packages", tags, incomplete.Held, incomplete.Packages)
	}
	registry.Collect() // what no tag holds goes
	for i := range wanted {
		path := pool(fmt.Sprintf("p%03d", i), "1.0")
		_, there := registry.Blob("site/base", "sha256:"+testarchive.Sha256Hex(whole[path]))
		if missing := slices.Contains([]string{pool(lost, "1.0"), pool(wrong, "1.0"), pool(unknown, "1.0")}, path); there == missing {
			t.Errorf("%s: held %t", path, there)
		}
	}

	add(unknown, "9.9")
	up.Replace(a.Build(t))
	up.Requests()
	res, err := push.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var fetched []string
	for _, line := range up.Requests() {
		if _, path, _ := strings.Cut(line, "pool/"); strings.Contains(line, "pool/") {
			fetched = append(fetched, "pool/"+path)
		}
	}
	slices.Sort(fetched)
	if want := []string{pool(lost, "1.0") + " 200", pool(wrong, "1.0") + " 200", pool(unknown, "9.9") + " 200"}; !slices.Equal(fetched, want) {
		t.Errorf("fetched %q, want %q", fetched, want)
	}
	tags = registry.Tags("site/base")
	if tags["latest"] != res.Root.String() || tags[incomplete.Held] != "" || res.Packages["debian"] != wanted {
		t.Errorf("tags %v, root %s, %v packages", tags, res.Root, res.Packages)
	}
}
