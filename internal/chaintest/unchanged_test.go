package chaintest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
)

// daily is a site that pushes docker-ce and a .deb of its own from servers to a registry.
type daily struct {
	t        testing.TB
	up       *testarchive.Server
	registry *testregistry.Registry
	own      string // the own .deb
	pushing  push.Options
}

func dailyArchive() testarchive.Archive {
	packages := []testarchive.Package{
		{Name: "alpha", Version: "1.0", Architecture: "amd64", Component: "stable", Fields: [][2]string{{"Depends", "beta"}}},
		{Name: "beta", Version: "2.0", Architecture: "all", Component: "stable"},
		{Name: "gamma", Version: "3.0", Architecture: "amd64", Component: "stable"},
	}
	return testarchive.Archive{
		Suites: []testarchive.Suite{{Dir: "bookworm", Components: []string{"stable"}, ByHash: true, Packages: packages}},
		Keys:   []*testarchive.Key{testarchive.DockerKey()},
	}
}

func newDaily(t testing.TB, o testregistry.Options) *daily {
	t.Helper()
	d := &daily{t: t, up: testarchive.Serve(t, dailyArchive().Build(t)), registry: testregistry.New(t, o)}
	dir := t.TempDir()
	key := filepath.Join(dir, "docker.asc")
	d.own = filepath.Join(dir, "debs/own.deb")
	for name, data := range map[string][]byte{key: testarchive.DockerKey().Public(), d.own: d.deb("1.0")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ref, err := artifact.ParseReference(d.registry.Host() + "/site/mirror:day")
	if err != nil {
		t.Fatal(err)
	}
	d.pushing = push.Options{
		Ref: ref, Signer: world.SignerOf(t, testarchive.SiteKey()), State: filepath.Join(dir, "state"), Now: world.Now,
		Artifact: artifact.PushOptions{Options: artifact.Options{Anonymous: true}},
		Plan: &config.Plan{Archives: []config.Archive{{
			Prefix: "docker", URLs: []string{d.up.URL}, SignedBy: key, Suites: []string{"bookworm"}, Components: []string{"stable"},
			Architectures: []string{"amd64"}, CheckValidUntil: true, Packages: []config.Query{{Text: "alpha"}},
		}, {Prefix: "own", Debs: filepath.Dir(d.own)}}},
	}
	return d
}

func (d *daily) deb(version string) []byte {
	return testarchive.Package{Name: "own", Version: version, Architecture: "amd64"}.Deb(d.t)
}

// push pushes and tells what was asked of upstream and registry.
func (d *daily) push() (res *push.Result, up []string, registry testregistry.Requests) {
	d.t.Helper()
	d.up.Requests()
	d.registry.Requests()
	res, err := push.Run(d.t.Context(), d.pushing)
	if err != nil {
		d.t.Fatal(err)
	}
	return res, d.up.Requests(), d.registry.Requests()
}

func TestUnchangedCostsItsReleases(t *testing.T) {
	t.Parallel()
	d := newDaily(t, testregistry.Options{})
	first, _, _ := d.push()
	if !first.Changed {
		t.Fatal("the first push changed nothing")
	}
	res, up, registry := d.push()
	if res.Changed || res.Root != first.Root || res.Files != first.Files || res.Immutable != first.Immutable {
		t.Errorf("got %+v after %+v", res.Pushed, first.Pushed)
	}
	if len(up) != 1 || up[0] != "GET dists/bookworm/InRelease 200" {
		t.Errorf("upstream was asked %q", up)
	}
	if len(registry) > 10 || registry.Count("PUT", "") > 0 || registry.Count("POST", "") > 0 {
		t.Errorf("%d requests of the registry: %v", len(registry), registry)
	}
}

// Whatever may change the outcome leads to the whole way, and to what it finds.
func TestUnchangedIsNotBelievedAfterAChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		change  func(t *testing.T, d *daily)
		changed bool // the root is another
	}{
		{"nothing", func(*testing.T, *daily) {}, false},
		{"a query", func(_ *testing.T, d *daily) { d.pushing.Plan.Archives[0].Packages[0].Text = "gamma" }, true},
		{"the signing key", func(t *testing.T, d *daily) {
			d.pushing.Site = d.pushing.Signer.Public()
			d.pushing.Signer = world.SignerOf(t, testarchive.NewKey("another"))
		}, true},
		{"the date", func(_ *testing.T, d *daily) { d.pushing.Date = world.Now }, false}, // the content is the same
		{"an own .deb", func(t *testing.T, d *daily) {
			if err := os.WriteFile(d.own, d.deb("1.1"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"an own .deb more", func(t *testing.T, d *daily) {
			p := testarchive.Package{Name: "own2", Version: "1", Architecture: "amd64"}
			if err := os.WriteFile(filepath.Join(filepath.Dir(d.own), "own2.deb"), p.Deb(t), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"upstream", func(t *testing.T, d *daily) {
			a := dailyArchive()
			a.Suite(t, "bookworm").Date = testarchive.DefaultDate().Add(time.Hour)
			d.up.Replace(a.Build(t))
		}, true},
		{"upstream's signature alone", func(t *testing.T, d *daily) {
			a := dailyArchive()
			a.Keys = append(a.Keys, testarchive.DebianKey())
			d.up.Replace(a.Build(t))
		}, true},
		{"the tag was moved by somebody else", func(t *testing.T, d *daily) {
			state := d.pushing.State
			d.pushing.State, d.pushing.Plan.Archives[0].Packages[0].Text = t.TempDir(), "gamma"
			d.push()
			d.pushing.State, d.pushing.Plan.Archives[0].Packages[0].Text = state, "alpha"
		}, true}, // back to the content of before, under a later date
		{"the note is damaged", func(t *testing.T, d *daily) {
			notes, err := filepath.Glob(filepath.Join(d.pushing.State, "*.json"))
			if err != nil || len(notes) != 1 {
				t.Fatalf("%q, %v", notes, err)
			}
			if err := os.WriteFile(notes[0], []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDaily(t, testregistry.Options{})
			d.pushing.DateAuto = true
			first, _, _ := d.push()
			c.change(t, d)
			res, _, _ := d.push()
			if got := res.Root != first.Root; got != c.changed {
				t.Errorf("root changed: %t, want %t", got, c.changed)
			}
			if early := res.Frozen == nil; early != (c.name == "nothing") {
				t.Errorf("answered from the note: %t", early)
			}
		})
	}
}

// An upstream whose Release is refused now is refused, though it is the one of the last push.
func TestUnchangedVerifiesAgain(t *testing.T) {
	t.Parallel()
	d := newDaily(t, testregistry.Options{})
	d.push()
	if err := os.WriteFile(d.pushing.Plan.Archives[0].SignedBy, testarchive.DebianKey().Public(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := push.Run(t.Context(), d.pushing); err == nil || !strings.Contains(err.Error(), "InRelease") {
		t.Errorf("got %v", err)
	}
}
