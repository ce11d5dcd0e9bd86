package chaintest

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/changes"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/site"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// month pushes 30 days with churn to the daily site's place: each day another
// version of gamma, and one package more.
func (d *daily) month(days int) []*push.Result {
	d.t.Helper()
	d.pushing.Plan.Archives = d.pushing.Plan.Archives[:1]
	d.pushing.Plan.Archives[0].Packages, d.pushing.Plan.Archives[0].All = nil, true
	d.pushing.Now = world.Now.AddDate(0, 2, 0)
	var out []*push.Result
	for day := range days {
		a := dailyArchive()
		s := a.Suite(d.t, "bookworm")
		s.Date = testarchive.DefaultDate().AddDate(0, 0, day)
		s.Package(d.t, "gamma").Version = fmt.Sprintf("3.%d", day)
		s.Packages = append(s.Packages, testarchive.Package{Name: fmt.Sprintf("new%02d", day), Version: "1", Architecture: "amd64", Component: "stable"})
		d.up.Replace(a.Build(d.t))
		res, _, _ := d.push()
		if !res.Changed {
			d.t.Fatalf("day %d changed nothing", day)
		}
		out = append(out, res)
	}
	return out
}

func (d *daily) verify(ref artifact.Reference) error {
	s, err := prove.Open(d.t.Context(), ref, world.SiteTrust(d.t), artifact.Options{Anonymous: true})
	if err != nil {
		return err
	}
	trust := world.SiteTrust(d.t)
	trust.Now = trust.Now.AddDate(0, 2, 0)
	_, err = prove.Verify(d.t.Context(), prove.Options{Ref: ref, Snapshot: s, Trust: trust, Hash: true, Artifact: artifact.Options{Anonymous: true}})
	return err
}

func TestPruneKeepsWhatItSays(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"registry", "layout", "registry without DELETE"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d := newDaily(t, testregistry.Options{NoDelete: kind == "registry without DELETE"})
			if kind == "layout" {
				ref, err := artifact.ParseReference("oci:" + filepath.Join(t.TempDir(), "layout") + ":day")
				if err != nil {
					t.Fatal(err)
				}
				d.pushing.Ref = ref
			}
			days, last := 30, 7
			if kind == "registry without DELETE" {
				days = 9
			}
			pushed := d.month(days)
			if grown := pushed[days-1].Uploaded; grown > 12 { // gamma, new11, an index, its upstream, signatures and the rest of the core
				t.Errorf("the last day uploaded %d files", grown)
			}
			q := site.PruneOptions{Ref: d.pushing.Ref, Keep: site.Retention{Last: last}, DryRun: true, Now: world.Now, Options: artifact.Options{Anonymous: true}}
			dry, err := site.Prune(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if len(dry.Keep) != last || len(dry.Remove) != days-last {
				t.Fatalf("dry run keeps %v, removes %v", dry.Keep, dry.Remove)
			}
			q.DryRun = false
			got, err := site.Prune(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			refused := kind == "registry without DELETE"
			if refused != (len(got.Refused) == days-last && got.Reason != nil) || refused == (len(got.Tags) == days-last) {
				t.Errorf("removed %v, refused %v: %v", got.Tags, got.Refused, got.Reason)
			}
			d.registry.Collect()
			ref := d.pushing.Ref
			for day, p := range pushed {
				ref.Tag = p.Immutable
				err := d.verify(ref)
				switch kept := day >= days-last || refused; {
				case kept && err != nil:
					t.Errorf("day %d is kept and does not verify: %v", day, err)
				case !kept && !errors.Is(err, artifact.ErrNotFound):
					t.Errorf("day %d is still there: %v", day, err)
				}
			}
			if kind == "layout" {
				if want := wholeOf(t, d.pushing.Ref, pushed[days-last:]); got.Files == 0 || countFiles(t, ref.Name) != want {
					t.Errorf("%d files freed, %d blobs left, %d are needed", got.Files, countFiles(t, ref.Name), want)
				}
			}
		})
	}
}

// wholeOf counts the distinct blobs and manifests of some snapshots.
func wholeOf(t testing.TB, ref artifact.Reference, pushed []*push.Result) int {
	seen := map[snapshot.Digest]bool{}
	for _, p := range pushed {
		ref.Tag = p.Immutable
		g, err := artifact.ReadGraph(t.Context(), ref, artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range slices.Concat(g.Manifests, g.Files) {
			seen[b.Digest] = true
		}
	}
	return len(seen)
}

func countFiles(t testing.TB, dir string) int {
	found, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func TestRollback(t *testing.T) {
	t.Parallel()
	d := newDaily(t, testregistry.Options{})
	pushed := d.month(4)
	q := site.RollbackOptions{
		Now: world.Now,
		Ref: d.pushing.Ref, To: pushed[1].Immutable, Signer: d.pushing.Signer, Site: world.Ring(t, testarchive.SiteKey()),
		Push: artifact.PushOptions{Options: artifact.Options{Anonymous: true}},
	}
	d.registry.Requests()
	got, err := site.Rollback(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.verify(d.pushing.Ref); err != nil {
		t.Fatal(err)
	}
	open := func(ref artifact.Reference) *snapshot.Snapshot {
		s, err := prove.Open(t.Context(), ref, world.SiteTrust(t), artifact.Options{Anonymous: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ref := d.pushing.Ref
	ref.Tag = pushed[1].Immutable
	old, now := open(ref), open(d.pushing.Ref)
	for c := range changes.Tables(old.Table, now.Table) {
		t.Errorf("the package %v differs", c)
	}
	if want := pushed[3].Date.Add(time.Second); !now.Statement.Date.Equal(want) || !now.Statement.Archives[0].Suites[0].Files[0].Date.Equal(want) {
		t.Errorf("of %s, want %s", now.Statement.Date, want)
	}
	if n := got.Uploaded; n > 6 { // config, statement, table, lock, and the three signature files less none
		t.Logf("uploaded %d", n)
	}
	// Where the archive's packages lie, nothing was sent.
	if got.Bytes > 20<<10 {
		t.Errorf("uploaded %d bytes", got.Bytes)
	}
	q.Site = world.Ring(t, testarchive.DebianKey())
	if _, err := site.Rollback(t.Context(), q); !errors.Is(err, outcome.ErrIntegrity) {
		t.Errorf("a snapshot of another signer was signed anew: %v", err)
	}
	// The same once more is there already; another one's date must be later, and not far ahead.
	q.Site = world.Ring(t, testarchive.SiteKey())
	if again, err := site.Rollback(t.Context(), q); err != nil || again.Changed || again.Root != got.Root {
		t.Errorf("again: %+v, %v", again, err)
	}
	q.To = pushed[0].Immutable
	for _, date := range []time.Time{pushed[0].Date, now.Statement.Date, world.Now.AddDate(1, 0, 0)} {
		q.Date = date
		if _, err := site.Rollback(t.Context(), q); !errors.Is(err, outcome.ErrRefused) {
			t.Errorf("dated %s: %v", snapshot.FormatDate(date), err)
		}
	}
}

func TestPromoteUploadsNothing(t *testing.T) {
	t.Parallel()
	d := newDaily(t, testregistry.Options{ImmutableTags: true})
	d.pushing.Ref.Tag = "one"
	first, _, _ := d.push()
	d.registry.Requests()
	p := site.PromoteOptions{From: d.pushing.Ref, To: "prod", Options: artifact.Options{Anonymous: true}}
	got, err := site.Promote(t.Context(), p)
	if err != nil || got.Root != first.Root || !got.Changed {
		t.Fatalf("%+v, %v", got, err)
	}
	if log := d.registry.Requests(); log.Count("POST", "") > 0 || log.Count("PUT", "blob") > 0 {
		t.Errorf("promote sent: %v", log)
	}
	again, err := site.Promote(t.Context(), p)
	if err != nil || again.Changed {
		t.Errorf("again: %+v, %v", again, err)
	}
	a := dailyArchive()
	a.Suite(t, "bookworm").Date = testarchive.DefaultDate().Add(time.Hour)
	d.up.Replace(a.Build(t))
	d.pushing.Ref.Tag = "two"
	d.push()
	// A registry that lets no tag move says so, and what was is left.
	if _, err := site.Promote(t.Context(), site.PromoteOptions{From: d.pushing.Ref, To: "prod", Options: p.Options}); err == nil {
		t.Error("an immutable tag was moved")
	}
	d.pushing.Ref.Tag = "prod"
	if err := d.verify(d.pushing.Ref); err != nil {
		t.Error(err)
	}
	// Back in time is refused: apt would ignore it.
	p.From, p.To = d.pushing.Ref, "two"
	if _, err := site.Promote(t.Context(), p); !errors.Is(err, outcome.ErrRefused) {
		t.Errorf("promoted an older one: %v", err)
	}
}

// A tag that is promoted while others are pruned is whole afterwards, in a layout and at a registry that deletes
// manifests only, with every tag of theirs; or the one that came too late says so.
func TestPruneBesidePromote(t *testing.T) {
	t.Parallel()
	t.Run("registry", func(t *testing.T) {
		t.Parallel()
		d := newDaily(t, testregistry.Options{})
		pushed := d.month(5)
		promoted := pushed[1].Immutable
		o := artifact.Options{Anonymous: true}
		promote := func() {
			from := d.pushing.Ref
			from.Tag = promoted
			if _, err := site.Promote(t.Context(), site.PromoteOptions{From: from, To: "prod", Options: o}); err != nil {
				t.Error(err)
			}
		}
		var once atomic.Bool
		d.registry.Fault(func(r testregistry.Request, _ int) testarchive.Broken {
			if r.Method != http.MethodDelete || strings.HasPrefix(r.Ref, "sha256:") {
				return testarchive.Broken{}
			}
			if r.Ref == promoted && once.CompareAndSwap(false, true) {
				promote() // the list was made long ago
			}
			return testarchive.Broken{Status: http.StatusMethodNotAllowed}
		})
		got, err := site.Prune(t.Context(), site.PruneOptions{Ref: d.pushing.Ref, Keep: site.Retention{Last: 1}, Now: world.Now, Options: o})
		d.registry.Fault(nil)
		if err != nil || !slices.Equal(got.Removed.Kept, []string{promoted}) || len(got.Tags) != 3 {
			t.Errorf("kept %q, gone %q, %v", got.Removed.Kept, got.Tags, err)
		}
		d.registry.Collect()
		for _, tag := range []string{"prod", promoted, d.pushing.Ref.Tag} {
			ref := d.pushing.Ref
			ref.Tag = tag
			if err := d.verify(ref); err != nil {
				t.Errorf("%s: %v", tag, err)
			}
		}
	})
	t.Run("layout", func(t *testing.T) {
		t.Parallel()
		d := newDaily(t, testregistry.Options{})
		d.pushing.Ref = artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(t.TempDir(), "layout"), Tag: "day"}
		pushed := d.month(4)
		from := d.pushing.Ref
		from.Tag = pushed[1].Immutable
		var wg sync.WaitGroup
		var promoting, pruning error
		// A prune at whatever moment of the promotion: between its reads it is busy, or the snapshot is gone before.
		o := artifact.Options{Progress: func(artifact.Event) {
			_, err := site.Prune(t.Context(), site.PruneOptions{Ref: d.pushing.Ref, Keep: site.Retention{Last: 1}, Now: world.Now})
			if err == nil {
				t.Error("pruned while somebody writes")
			}
		}}
		wg.Go(func() {
			_, promoting = site.Promote(t.Context(), site.PromoteOptions{From: from, To: "prod", Options: o})
		})
		wg.Go(func() {
			_, pruning = site.Prune(t.Context(), site.PruneOptions{Ref: d.pushing.Ref, Keep: site.Retention{Last: 1}, Now: world.Now})
		})
		wg.Wait()
		to := from
		to.Tag = "prod"
		switch err := d.verify(to); {
		case promoting == nil && err != nil:
			t.Errorf("promoted, and %v (prune: %v)", err, pruning)
		case promoting != nil && !errors.Is(err, artifact.ErrNotFound):
			t.Errorf("not promoted: %v, and %v", promoting, err)
		}
	})
}
