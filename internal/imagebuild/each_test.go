package imagebuild

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/snapshot"
)

// each puts the images of an image's packages and returns their names, sorted.
func each(t *testing.T, im *Image, repo artifact.Reference) ([]string, error) {
	t.Helper()
	e, err := im.Each(t.Context(), repo, artifact.Options{})
	if err != nil {
		return nil, err
	}
	var names []string
	err = e.Put(t.Context(), artifact.PushOptions{}, func(c artifact.Copied) {
		names = append(names, strings.TrimPrefix(c.Reference.Name, repo.Name)+":"+c.Reference.Tag)
	})
	slices.Sort(names)
	return names, err
}

func eachOptions(t *testing.T, archs, more string) Options {
	return options(t, strings.Replace(webPlan, "[amd64]", archs, 1)+more, webFiles())
}

// An image for each package has the package's layer and no other; where the repository has it already nothing but documents is sent.
func TestEach(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{Mounts: true})
	o := eachOptions(t, "[amd64, arm64]", "layers: {max: 4}\n") // grouped in the image
	cache, err := layercache.Open(t.TempDir(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	o.Cache = cache
	im := mustBuild(t, o)
	repo := artifact.Reference{Kind: artifact.Registry, Name: r.Host() + "/pkgs"}
	names, err := each(t, im, repo)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/libc6:2.36-9", "/web-data:1.0-1", "/web:1.0-1"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	got, err := images.Read(t.Context(), artifact.Reference{Kind: artifact.Registry, Name: repo.Name + "/web", Tag: "1.0-1"}, images.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Verify(t.Context(), false, artifact.Options{}); err != nil {
		t.Error(err)
	}
	if len(got.Blobs) != 4 { // two configs, two layers
		t.Errorf("%d blobs", len(got.Blobs))
	}
	if _, err := im.Each(t.Context(), artifact.Reference{Kind: artifact.Layout, Name: t.TempDir()}, artifact.Options{}); !errors.Is(err, outcome.ErrUsage) {
		t.Errorf("into a layout: %v", err)
	}
	// Another day's snapshot of the same packages sends nothing.
	o.Snapshot.Statement.Date = world.Date.AddDate(0, 1, 0)
	again := mustBuild(t, o)
	if again.Digest() == im.Digest() {
		t.Fatal("the image is the same on another day")
	}
	r.Requests()
	if _, err := each(t, again, repo); err != nil {
		t.Fatal(err)
	}
	if n := r.Requests().Count("PUT", ""); n > 0 {
		t.Errorf("on another day %d uploads", n)
	}
}

// What a tag of a package has is never taken from those who use it: architectures stay, and another .deb or layer is refused before anything is put.
func TestEachBesideOthers(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	repo := artifact.Reference{Kind: artifact.Registry, Name: r.Host() + "/pkgs"}
	web := artifact.Reference{Kind: artifact.Registry, Name: repo.Name + "/web", Tag: "1.0-1"}
	digest := func() string {
		d, err := artifact.Resolve(t.Context(), web, artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	both := eachOptions(t, "[amd64, arm64]", "")
	if _, err := each(t, mustBuild(t, both), repo); err != nil {
		t.Fatal(err)
	}
	want := digest()
	for _, archs := range []string{"[amd64]", "[arm64]", "[arm64, amd64]"} {
		if _, err := each(t, mustBuild(t, eachOptions(t, archs, "")), repo); err != nil {
			t.Fatal(err)
		}
		if got := digest(); got != want {
			t.Errorf("after %s: %s, want %s", archs, got, want)
		}
	}
	// One after the other they are the same as together.
	other := artifact.Reference{Kind: artifact.Registry, Name: r.Host() + "/others"}
	for _, archs := range []string{"[arm64]", "[amd64]"} {
		if _, err := each(t, mustBuild(t, eachOptions(t, archs, "")), other); err != nil {
			t.Fatal(err)
		}
	}
	web.Name = other.Name + "/web"
	if got := digest(); got != want {
		t.Errorf("one after the other: %s, want %s", got, want)
	}
	// The same tar in another compression is there already.
	if _, err := each(t, mustBuild(t, eachOptions(t, "[amd64]", "layers: {compression: zstd}\n")), other); err != nil {
		t.Fatal(err)
	}
	if got := digest(); got != want {
		t.Errorf("after another compression: %s, want %s", got, want)
	}
	_, err := each(t, mustBuild(t, eachOptions(t, "[amd64]", "exclude: [docs]\n")), other)
	if !errors.Is(err, outcome.ErrRefused) || !strings.Contains(err.Error(), "web-data") || !strings.Contains(err.Error(), "another layer of the same package") {
		t.Errorf("another exclude: %v", err)
	}
	pkgs := packages()
	pkgs[2].Content = map[string]string{"usr/sbin/web": "built again"}
	rebuilt := options(t, webPlan, webFiles(), pkgs...)
	if _, err = each(t, mustBuild(t, rebuilt), other); !errors.Is(err, outcome.ErrRefused) || !strings.Contains(err.Error(), "/others/web:1.0-1") {
		t.Errorf("another .deb of one version: %v", err)
	}
	put(t, mustBuild(t, both), web)
	if _, err = each(t, mustBuild(t, both), other); !errors.Is(err, outcome.ErrRefused) || !strings.Contains(err.Error(), "did not make of a package") {
		t.Errorf("over an image of another kind: %v", err)
	}
}

// No two names and no two versions are one repository or tag, and both are of the grammar.
func TestNamesOfPackages(t *testing.T) {
	if repositoryOf("libstdc++6") != "libstdc_plus_plus6" || tagOf("1:2.0~rc1+b1") != "1__2.0_.rc1_-b1" {
		t.Error(repositoryOf("libstdc++6"), tagOf("1:2.0~rc1+b1"))
	}
	seen := map[string]string{}
	for _, v := range []string{"1.0-1", "1.0+1", "1.0~1", "1:0-1", "1:0+1", "1.0.1", "1.0~+1", "1.0+~1", "1.0~-1", "1:0.-1", "1::0"} {
		if o := seen[tagOf(v)]; o != "" {
			t.Errorf("%s and %s are %s", o, v, tagOf(v))
		}
		seen[tagOf(v)] = v
	}
	if repositoryOf("foo+") == repositoryOf("foo-plus") {
		t.Error("foo+ and foo-plus are one repository")
	}
	for name, version := range map[string]string{"g++-12": "12.2.0-14+deb12u1", "libstdc++6": "1:2.0~rc1+b1", "foo+": "1"} {
		if to, err := referenceOf(artifact.Reference{Kind: artifact.Registry, Name: "registry.example.org/pkgs"}, name, version); err != nil || to.Tag != tagOf(version) {
			t.Errorf("%s: %v, %v", name, to, err)
		}
	}
	if _, err := referenceOf(artifact.Reference{Kind: artifact.Registry, Name: "registry.example.org/pkgs"}, "a", "1"+strings.Repeat("+", 64)); !errors.Is(err, outcome.ErrUsage) {
		t.Errorf("a version that is no tag: %v", err)
	}
}

// Two machines, each with an architecture of its own, that look at the same time: who comes second does not replace what the first
// one put, and the same command once more adds to it.
func TestEachOfTwoAtOnce(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	both := artifact.Reference{Kind: artifact.Registry, Name: r.Host() + "/both"}
	if _, err := each(t, mustBuild(t, eachOptions(t, "[amd64, arm64]", "")), both); err != nil {
		t.Fatal(err)
	}
	repo := artifact.Reference{Kind: artifact.Registry, Name: r.Host() + "/pkgs"}
	digest := func(name string) snapshot.Digest {
		t.Helper()
		d, err := artifact.Resolve(t.Context(), artifact.Reference{Kind: artifact.Registry, Name: name + "/web", Tag: "1.0-1"}, artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var looked []*Each
	arm64 := mustBuild(t, eachOptions(t, "[arm64]", ""))
	for _, im := range []*Image{mustBuild(t, eachOptions(t, "[amd64]", "")), arm64} {
		e, err := im.Each(t.Context(), repo, artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		looked = append(looked, e)
	}
	put := func(e *Each) error { return e.Put(t.Context(), artifact.PushOptions{}, func(artifact.Copied) {}) }
	if err := put(looked[0]); err != nil {
		t.Fatal(err)
	}
	first := digest(repo.Name)
	if err := put(looked[1]); !errors.Is(err, artifact.ErrMoved) || !strings.Contains(err.Error(), "package ") {
		t.Errorf("the second: %v", err)
	}
	if got := digest(repo.Name); got != first {
		t.Errorf("the second one left %s in the place of %s", got, first)
	}
	if _, err := each(t, arm64, repo); err != nil {
		t.Fatal(err)
	}
	if got, want := digest(repo.Name), digest(both.Name); got != want {
		t.Errorf("both one after the other are %s, want %s", got, want)
	}
}
