package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testimage"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// mustReadImage reads an image, and every part of it.
func mustReadImage(t testing.TB, ref Reference, o images.Options) *images.Image {
	t.Helper()
	im, err := images.Read(t.Context(), ref, o)
	if err == nil {
		err = im.Verify(t.Context(), false, o.Options)
	}
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// takeWith is a snapshot of files and images, days after the first date.
func takeWith(t testing.TB, files map[string][]byte, days int, named map[string]*images.Image) *snapshot.Snapshot {
	t.Helper()
	plain := blobsOf(files)
	f := frozenOf(synthRows(files), snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
		c, err := plain.Open(ctx, b, 0)
		for _, im := range named {
			if errors.Is(err, snapshot.ErrNotExist) {
				c, err = im.Open(ctx, b, 0)
			}
		}
		return c, err
	}))
	f.Date = f.Date.AddDate(0, 0, days)
	f.Archives[0].Suites[0].Files[0].Date = f.Date
	rows := map[string]snapshot.Row{}
	for name, im := range named {
		f.Images = append(f.Images, snapshot.Image{Name: name, Blob: im.Root.Blob, Referrers: im.Referrers})
		for _, d := range im.Parts() {
			path := snapshot.ImageBlobPath(d.Digest)
			rows[path] = snapshot.Row{Path: path, Digest: d.Digest, Size: d.Size}
		}
	}
	f.Files = append(f.Files, slices.Collect(maps.Values(rows))...)
	slices.SortFunc(f.Files, func(a, b snapshot.Row) int { return strings.Compare(a.Path, b.Path) })
	s, err := snapshot.Take(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// source is a registry with images that other programs made: one for two platforms that a list of referrers, and
// cosign, say something about, and one of Docker's kind.
func source(t testing.TB, seed int) map[string]*images.Image {
	t.Helper()
	r := testregistry.New(t, testregistry.Options{Referrers: true})
	app, pause := mustParse(t, r.Host()+"/library/app:1"), mustParse(t, r.Host()+"/pause:3")
	testimage.Push(t, r, app, testimage.Index(t, false, testimage.AMD64, testimage.ARM64, v1.Platform{OS: "linux", Architecture: fmt.Sprint("mips", seed)}))
	testimage.Push(t, r, pause, testimage.Image(t, testimage.AMD64, true, "pause"))
	root := mustReadImage(t, app, images.Options{}).Root
	testimage.RefersTo(t, r, "library/app", "", "application/vnd.example.sbom", root.Blob, "text/plain", "sbom")
	testimage.RefersTo(t, r, "library/app", "sha256-"+root.Digest.Hex()+".sig", "", snapshot.Blob{}, "application/vnd.dev.cosign.simplesigning.v1+json", "signature")
	return map[string]*images.Image{
		"registry.example.org/library/app:1": mustReadImage(t, app, images.Options{}),
		"docker.io/pause:3":                  mustReadImage(t, pause, images.Options{}),
	}
}

// placesOf gives a reference of each kind, all of them empty. Of the registry the memory can be looked at.
func placesOf(t testing.TB, o testregistry.Options) (map[string]Reference, *testregistry.Registry) {
	t.Helper()
	r := testregistry.New(t, o)
	return map[string]Reference{"layout": layoutRef(t), "archive": archiveRef(t), "registry": mustParse(t, r.Host()+"/site/mirror:noble")}, r
}

// nameAt is what an image is called in the place of a snapshot.
func nameAt(t testing.TB, ref Reference, name string) Reference {
	t.Helper()
	short := snapshot.Image{Name: name}.Short()
	if ref.Kind == Registry {
		return mustParse(t, ref.Name+"/images/"+short)
	}
	return Reference{Kind: ref.Kind, Name: ref.Name, Tag: short}
}

// imagesAre tells whether a place has the images under their names, every byte of them and of what refers to them.
func imagesAre(t testing.TB, ref Reference, named map[string]*images.Image) {
	t.Helper()
	for name, want := range named {
		at := nameAt(t, ref, name)
		if again := mustParse(t, at.String()); again != at {
			t.Errorf("%s is read as %v", at, again)
		}
		im, err := images.Read(t.Context(), at, images.Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		if err := im.Verify(t.Context(), false, Options{}); err != nil {
			t.Fatal(err)
		}
		key := func(d oci.Descriptor) string { return d.Digest.String() }
		if im.Root != want.Root || !slices.Equal(im.Referrers, want.Referrers) || len(setOf(im.Parts(), key)) != len(setOf(want.Parts(), key)) {
			t.Errorf("%s: root %v, referrers %v; want %v, %v", at, im.Root, im.Referrers, want.Root, want.Referrers)
		}
	}
}

func setOf[T any](all []T, key func(T) string) map[string]bool {
	out := map[string]bool{}
	for _, x := range all {
		out[key(x)] = true
	}
	return out
}

// A snapshot with images has one root digest in every kind of place and after every copy, and
// its images are found there by their names, with what refers to them.
func TestImagesInPlaces(t *testing.T) {
	t.Parallel()
	named := source(t, 0)
	s := takeWith(t, synthFiles(30), 0, named)
	for _, o := range []testregistry.Options{{Referrers: true, Mounts: true}, {}} {
		places, _ := placesOf(t, o)
		var root snapshot.Digest
		for kind, ref := range places {
			pushed := mustPush(t, ref, s, PushOptions{})
			if root.IsZero() {
				root = pushed.Root
			}
			if pushed.Root != root {
				t.Errorf("%s: root %s, want %s", kind, pushed.Root, root)
			}
			imagesAre(t, ref, named)
			if again := mustPush(t, ref, s, PushOptions{}); again.Changed || again.Uploaded != 0 {
				t.Errorf("%s: pushed again: %+v", kind, again)
			}
		}
		for from, src := range places {
			targets, _ := placesOf(t, o)
			for to, dst := range targets {
				copied, err := Copy(t.Context(), src, dst, PushOptions{})
				if err != nil || copied.Root != root {
					t.Errorf("%s to %s: %s, %v", from, to, copied.Root, err)
					continue
				}
				imagesAre(t, dst, named)
				if err := snapshottest.Equal(t.Context(), s, reopen(t, dst)); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// Another program reads the layout, and finds the images by what engines call them.
func TestImagesForOthers(t *testing.T) {
	t.Parallel()
	named := source(t, 0)
	ref := layoutRef(t)
	mustPush(t, ref, takeWith(t, synthFiles(3), 0, named), PushOptions{})
	at, err := ggcr.FromPath(ref.Name)
	if err != nil {
		t.Fatal(err)
	}
	x, err := at.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	list, err := x.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range list.Manifests {
		found[m.Annotations["io.containerd.image.name"]] = m.Digest.String() + " " + m.Annotations[refName]
		if m.MediaType.IsImage() {
			if _, err := at.Image(m.Digest); err != nil {
				t.Error(err)
			}
		}
	}
	for name, im := range named {
		if want := im.Root.Digest.String() + " " + (snapshot.Image{Name: name}).Short(); found[name] != want {
			t.Errorf("%s: %s, want %s", name, found[name], want)
		}
		if whole := mustReadImage(t, mustParse(t, "oci:"+ref.Name+":"+name), images.Options{}); whole.Root != im.Root {
			t.Errorf("%s by its whole name: %s", name, whole.Root.Digest)
		}
	}
}

// In a registry blobs are mounted, what is there costs one question an image, and an image stays when its name moves on.
func TestImagesInRegistry(t *testing.T) {
	t.Parallel()
	places, r := placesOf(t, testregistry.Options{Mounts: true, Referrers: true})
	ref := places["registry"]
	files := synthFiles(3)
	named := source(t, 0)
	mustPush(t, ref, takeWith(t, files, 0, named), PushOptions{})
	for _, q := range r.Requests() {
		if strings.HasPrefix(q.Repo, "site/mirror/images/") && q.Method == http.MethodPut && q.Kind == "upload" {
			t.Errorf("sent instead of mounted: %+v", q)
		}
	}
	later := takeWith(t, files, 1, named)
	mustPush(t, ref, later, PushOptions{})
	asked := 0
	for _, q := range r.Requests() {
		if strings.HasPrefix(q.Repo, "site/mirror/images/") {
			asked++
		}
	}
	for _, im := range named {
		asked -= 1 + len(im.Referrers)
	}
	if asked != 0 {
		t.Errorf("%d requests too many about %d images that are there", asked, len(named))
	}
	moved := source(t, 1)
	mustPush(t, ref, takeWith(t, files, 2, moved), PushOptions{})
	r.Collect()
	imagesAre(t, ref, moved)
	const app = "registry.example.org/library/app:1"
	old := nameAt(t, ref, app)
	old.Tag = "1-" + named[app].Root.Digest.Hex()[:12]
	if im := mustReadImage(t, old, images.Options{}); im.Root != named[app].Root {
		t.Errorf("%s: %s", old, im.Root.Digest)
	}
	// A promotion names the images of what it promotes.
	if _, err := Copy(t.Context(), Reference{Kind: Registry, Name: ref.Name, Digest: mustPushed(t, ref, later)}, mustParse(t, ref.Name+":prod"), PushOptions{}); err != nil {
		t.Fatal(err)
	}
	imagesAre(t, ref, named)
}

// What refers to an image is put there where the image itself is already.
func TestReferrersOfNamedImages(t *testing.T) {
	t.Parallel()
	src := testregistry.New(t, testregistry.Options{Referrers: true})
	at := mustParse(t, src.Host()+"/app:1")
	testimage.Push(t, src, at, testimage.Image(t, testimage.AMD64, false, "app"))
	for what, ref := range func() map[string]Reference { p, _ := placesOf(t, testregistry.Options{Referrers: true}); return p }() {
		if what == "archive" {
			continue
		}
		root := mustReadImage(t, at, images.Options{}).Root
		for day := range 3 {
			named := map[string]*images.Image{"registry.example.org/app:1": mustReadImage(t, at, images.Options{})}
			mustPush(t, ref, takeWith(t, synthFiles(3), day, named), PushOptions{})
			imagesAre(t, ref, named)
			switch day {
			case 0:
				testimage.RefersTo(t, src, "app", "", "application/vnd.example.sbom", root.Blob, "text/plain", "sbom for "+what)
			case 1:
				testimage.RefersTo(t, src, "app", "sha256-"+root.Digest.Hex()+".sig", "", snapshot.Blob{}, "application/vnd.dev.cosign.simplesigning.v1+json", "signature for "+what)
			}
		}
	}
}

// mustPushed is the root of a snapshot that is there.
func mustPushed(t testing.TB, ref Reference, s *snapshot.Snapshot) snapshot.Digest {
	t.Helper()
	p, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(t.Context(), Reference{Kind: ref.Kind, Name: ref.Name, Digest: p.Root()}, Options{}); err != nil {
		t.Fatal(err)
	}
	return p.Root()
}

// Where no repository may be made below the snapshot's, nothing is tagged, and the error says what to do.
func TestImagesRefused(t *testing.T) {
	t.Parallel()
	places, r := placesOf(t, testregistry.Options{Repositories: []string{"site/mirror", "elsewhere/library/app", "elsewhere/pause"}})
	ref := places["registry"]
	named := source(t, 0)
	s := takeWith(t, synthFiles(3), 0, named)
	_, err := Push(t.Context(), ref, s, PushOptions{})
	if err == nil || !strings.Contains(err.Error(), "images-to") || !strings.Contains(err.Error(), "site/mirror/images") {
		t.Errorf("%v", err)
	}
	if tags := r.Tags("site/mirror"); len(tags) != 0 {
		t.Errorf("tagged: %v", tags)
	}
	mustPush(t, ref, s, PushOptions{ImagesTo: r.Host() + "/elsewhere"})
	for name, im := range named {
		at := mustParse(t, r.Host()+"/elsewhere/"+snapshot.Image{Name: name}.Short())
		if got := mustReadImage(t, at, images.Options{}); got.Root != im.Root {
			t.Errorf("%s: %s", at, got.Root.Digest)
		}
	}
	if _, err := Push(t.Context(), ref, s, PushOptions{ImagesTo: "oci:dir"}); !errors.Is(err, ErrReference) {
		t.Errorf("images-to a layout: %v", err)
	}
}

// A push that dies among the images leaves the snapshot's tags where they were, and the same push ends it.
func TestImagesInterrupted(t *testing.T) {
	t.Parallel()
	places, r := placesOf(t, testregistry.Options{Referrers: true})
	ref := places["registry"]
	named := source(t, 0)
	mustPush(t, ref, takeOf(t, synthFiles(3)), PushOptions{})
	was := r.Tags("site/mirror")
	s := takeWith(t, synthFiles(3), 1, named)
	for n := 1; ; n++ {
		left := n
		r.Fault(func(q testregistry.Request, _ int) testarchive.Broken {
			if strings.HasPrefix(q.Repo, "site/mirror/images/") && q.Method != http.MethodHead {
				if left--; left < 0 {
					return testarchive.Broken{Status: http.StatusForbidden}
				}
			}
			return testarchive.Broken{}
		})
		_, err := Push(t.Context(), ref, s, PushOptions{Options: Options{Concurrency: 1}})
		if err == nil {
			if n < 10 {
				t.Errorf("done after %d requests", n)
			}
			break
		}
		if now := r.Tags("site/mirror"); !maps.Equal(now, was) {
			t.Fatalf("died at request %d: %v, tags %v", n, err, now)
		}
	}
	r.Fault(nil)
	imagesAre(t, ref, named)
}

// With the snapshots that name them images go, and no name that another snapshot needs.
func TestRemoveImages(t *testing.T) {
	t.Parallel()
	for what, o := range map[string]testregistry.Options{"registry": {Referrers: true}, "registry without referrers": {Mounts: true}, "layout": {}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			places, r := placesOf(t, o)
			what, _, _ = strings.Cut(what, " ")
			ref := places[what]
			files := synthFiles(3)
			days := []map[string]*images.Image{source(t, 0), source(t, 1), source(t, 2)}
			var tags []Tag
			for day, named := range days {
				p := mustPush(t, ref, takeWith(t, files, day, named), PushOptions{})
				tags = append(tags, Tag{Name: p.Immutable, Digest: p.Root})
			}
			stated := func(day int) []snapshot.Image {
				named, err := StatedImages(t.Context(), Reference{Kind: ref.Kind, Name: ref.Name, Tag: tags[day].Name}, Options{})
				if err != nil || len(named) != 2 {
					t.Fatalf("day %d: %v, %v", day, named, err)
				}
				return named
			}
			const app = "registry.example.org/library/app:1"
			going := images.Going{Going: slices.Concat(stated(0), stated(1)), Kept: stated(2)}
			if _, err := Remove(t.Context(), ref, tags[:2], going, Options{}); err != nil {
				t.Fatal(err)
			}
			imagesAre(t, ref, days[2])
			old := nameAt(t, ref, app)
			old.Tag, old.Digest = "", days[0][app].Root.Digest
			if what == "registry" {
				r.Collect()
				if got := slices.Sorted(maps.Keys(r.Tags("site/mirror/images/library/app"))); o.Referrers && len(got) != 3 || len(got) > 4 || got[0] != "1" {
					t.Errorf("left: %v", got)
				}
				imagesAre(t, ref, days[2])
			}
			if _, err := images.Read(t.Context(), old, images.Options{}); !errors.Is(err, ErrNotFound) {
				t.Errorf("the image of the first day: %v", err)
			}
			// The last one goes with its snapshot, and takes its name with it; entries of others stay.
			last := []Tag{tags[2], {Name: "noble", Digest: tags[2].Digest}}
			if what == "layout" {
				copyOf := nameAt(t, ref, "registry.example.org/mine:1")
				if _, err := images.Copy(t.Context(), nameAt(t, ref, "docker.io/pause:3"), copyOf, PushOptions{}); err != nil {
					t.Fatal(err)
				}
				defer mustReadImage(t, copyOf, images.Options{})
				// Of the same name as one that goes, but no entry of ours.
				named := nameAt(t, ref, "docker.io/pause:3")
				if _, err := images.Copy(t.Context(), nameAt(t, ref, "registry.example.org/mine:1"), named, PushOptions{}); err != nil {
					t.Fatal(err)
				}
				defer mustReadImage(t, named, images.Options{})
			}
			if _, err := Remove(t.Context(), ref, last, images.Going{Going: stated(2)}, Options{}); err != nil {
				t.Fatal(err)
			}
			if what == "registry" {
				if left := r.Tags("site/mirror/images/library/app"); len(left) != 0 {
					t.Errorf("left: %v", left)
				}
			}
			if _, err := images.Read(t.Context(), nameAt(t, ref, app), images.Options{}); !errors.Is(err, ErrNotFound) {
				t.Errorf("the image of the last day: %v", err)
			}
		})
	}
}

// A name in a layout that somebody else gave to an image stays theirs, with all that refers to it, before and after
// a snapshot that has an image of that name; the snapshot's is found by its whole name.
func TestLayoutNamesOfOthers(t *testing.T) {
	t.Parallel()
	const app = "registry.example.org/library/app:1"
	days := []map[string]*images.Image{source(t, 0), source(t, 1)}
	for what, mine := range map[string]*images.Image{"another image": source(t, 2)[app], "the same image": days[0][app]} {
		ref := layoutRef(t)
		at := nameAt(t, ref, app)
		put := func() error {
			stick := layoutRef(t) // with an image of that name
			stick.Tag = "day"
			mustPush(t, stick, takeWith(t, synthFiles(1), 0, map[string]*images.Image{app: mine}), PushOptions{})
			_, err := images.Copy(t.Context(), nameAt(t, stick, app), at, PushOptions{})
			return err
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		whole := at
		whole.Tag = app
		var tags []Tag
		var going []snapshot.Image
		for day := range 4 {
			named := days[day/2] // each twice
			p := mustPush(t, ref, takeWith(t, synthFiles(3), day, named), PushOptions{})
			tags = append(tags, Tag{Name: p.Immutable, Digest: p.Root})
			stated, err := StatedImages(t.Context(), ref, Options{})
			if err != nil {
				t.Fatal(err)
			}
			going = append(going, stated...)
			imagesAre(t, ref, map[string]*images.Image{app: mine})
			im, err := images.Read(t.Context(), whole, images.Options{})
			if what == "another image" && (err != nil || im.Root != named[app].Root) {
				t.Errorf("%s, day %d: %v, %v", what, day, im, err)
			}
		}
		if _, err := Remove(t.Context(), ref, append(tags, Tag{Name: ref.Tag, Digest: tags[3].Digest}), images.Going{Going: going}, Options{}); err != nil {
			t.Fatal(err)
		}
		imagesAre(t, ref, map[string]*images.Image{app: mine})
		if _, err := images.Read(t.Context(), whole, images.Options{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %s is left: %v", what, app, err)
		}
	}
}

// What referred to an image and was replaced goes with the last snapshot that has it, though the image stays.
func TestRemoveReplacedReferrer(t *testing.T) {
	t.Parallel()
	ref := layoutRef(t)
	src := testregistry.New(t, testregistry.Options{Referrers: true})
	at := mustParse(t, src.Host()+"/app:1")
	testimage.Push(t, src, at, testimage.Image(t, testimage.AMD64, false, "app"))
	root := mustReadImage(t, at, images.Options{}).Root
	var stated [2][]snapshot.Image
	var signatures [2]snapshot.Blob
	var old Tag
	for day := range 2 {
		signatures[day] = testimage.RefersTo(t, src, "app", "sha256-"+root.Digest.Hex()+".sig", "", snapshot.Blob{}, "application/vnd.dev.cosign.simplesigning.v1+json", fmt.Sprint(day))
		sbom := testimage.RefersTo(t, src, "app", "", "application/vnd.example.sbom", root.Blob, "text/plain", fmt.Sprint(day))
		im := mustReadImage(t, at, images.Options{})
		if day == 1 { // as if the registry listed the new one only
			im.Referrers = slices.DeleteFunc(im.Referrers, func(b snapshot.Blob) bool { return b != sbom && b != signatures[1] })
		}
		p := mustPush(t, ref, takeWith(t, synthFiles(3), day, map[string]*images.Image{"registry.example.org/app:1": im}), PushOptions{})
		var err error
		if stated[day], err = StatedImages(t.Context(), ref, Options{}); err != nil {
			t.Fatal(err)
		}
		if day == 0 {
			old = Tag{Name: p.Immutable, Digest: p.Root}
		}
	}
	if _, err := Remove(t.Context(), ref, []Tag{old}, images.Going{Going: stated[0], Kept: stated[1]}, Options{}); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(ref.Name, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range stated[0][0].Referrers {
		if bytes.Contains(index, []byte(gone.Digest.String())) {
			t.Errorf("%s is left", gone.Digest)
		}
	}
	for _, kept := range stated[1][0].Referrers {
		if !bytes.Contains(index, []byte(kept.Digest.String())) {
			t.Errorf("%s is gone", kept.Digest)
		}
	}
}

// A name stays where a kept snapshot has it, whatever image it names by then, and so does a manifest that is part of a kept image.
func TestRemoveImagesThatAreNeeded(t *testing.T) {
	t.Parallel()
	places, r := placesOf(t, testregistry.Options{Referrers: true})
	ref := places["registry"]
	src := testregistry.New(t, testregistry.Options{})
	at := mustParse(t, src.Host()+"/app:1")
	x := testimage.Index(t, false, testimage.AMD64, testimage.ARM64)
	testimage.Push(t, src, at, x)
	whole := mustReadImage(t, at, images.Options{})
	at.Tag, at.Digest = "", whole.Documents[0].Digest
	part := mustReadImage(t, at, images.Options{})
	const app, alone = "registry.example.org/app:1", "registry.example.org/app:part"
	mustPush(t, ref, takeWith(t, synthFiles(3), 0, map[string]*images.Image{app: whole}), PushOptions{})
	kept, err := StatedImages(t.Context(), ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	last := mustPush(t, ref, takeWith(t, synthFiles(3), 1, map[string]*images.Image{app: part, alone: part}), PushOptions{})
	going, err := StatedImages(t.Context(), ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := r.Tags("site/mirror/images/app")
	if _, err := Remove(t.Context(), ref, []Tag{{Name: last.Immutable, Digest: last.Root}}, images.Going{Going: going, Kept: kept}, Options{}); err != nil {
		t.Fatal(err)
	}
	if now := r.Tags("site/mirror/images/app"); !maps.Equal(now, before) {
		t.Errorf("%v, want %v", now, before)
	}
	// Another image under that name goes, and leaves the name alone.
	other := source(t, 0)["docker.io/pause:3"]
	last = mustPush(t, ref, takeWith(t, synthFiles(3), 2, map[string]*images.Image{app: other}), PushOptions{})
	if going, err = StatedImages(t.Context(), ref, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Remove(t.Context(), ref, []Tag{{Name: last.Immutable, Digest: last.Root}}, images.Going{Going: going, Kept: kept}, Options{}); err != nil {
		t.Fatal(err)
	}
	now := r.Tags("site/mirror/images/app")
	if _, left := now["1-"+other.Root.Digest.Hex()[:12]]; left || now["1"] == "" {
		t.Errorf("%v", now)
	}
}

// The statement of somebody else is read for names, too: what is none is refused.
func TestStatedImages(t *testing.T) {
	t.Parallel()
	digest := snapshot.Sum(nil).String()
	for line, ok := range map[string]bool{
		"image registry.example.org/app:1 " + digest + " 7":             true,
		"image registry.example.org/app:1 " + digest + " 0":             false,
		"image registry.example.org/app:1 " + digest + " 4194305":       false,
		"image registry.example.org/../app:1 " + digest + " 7":          false,
		"image app:1 " + digest + " 7":                                  false,
		"image registry.example.org/app:1 sha256:00 7":                  false,
		"image registry.example.org/app:1\x1b[31m " + digest + " 7":     false,
		"image registry.example.org/app:1 " + digest + " 9999999999999": false,
	} {
		named, err := images.Stated([]byte("mmoci-statement-v2\n" + line + "\nreferrer " + digest + " 9\n"))
		if ok != (err == nil) || ok && (len(named) != 1 || len(named[0].Referrers) != 1) {
			t.Errorf("%q: %v, %v", line, named, err)
		}
		if err != nil && !errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// A delta carries what is new of the images, and completes a place that has the rest.
func TestImagesInDelta(t *testing.T) {
	t.Parallel()
	dir := testarchive.MemoryDir(t)
	first, second := source(t, 0), source(t, 1)
	files := synthFiles(3)
	from, site := mustParse(t, "oci:"+filepath.Join(dir, "from")+":noble"), mustParse(t, "oci:"+filepath.Join(dir, "site")+":noble")
	mustPush(t, from, takeWith(t, files, 0, first), PushOptions{})
	if _, err := Copy(t.Context(), from, site, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	old := mustParse(t, "oci:"+filepath.Join(dir, "from")+":old")
	if _, err := Copy(t.Context(), from, old, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	mustPush(t, from, takeWith(t, files, 1, second), PushOptions{})
	delta := mustParse(t, "oci-archive:"+filepath.Join(dir, "delta.tar")+":noble")
	if _, err := CopySince(t.Context(), from, old, delta, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), delta, site, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	imagesAre(t, site, second)
}

// FuzzStatedImages: whatever a statement says, what is read of it are names and sizes that a place can have, and
// of a statement that is valid the very images that it names.
func FuzzStatedImages(f *testing.F) {
	f.Add([]byte("mmoci-statement-v2\nimage registry.example.org/app:1 " + snapshot.Sum(nil).String() + " 7\nreferrer " + snapshot.Sum(nil).String() + " 9\n"))
	st := *takeOf(f, synthFiles(1)).Statement
	st.Needs = "0.2"
	st.Images = []snapshot.Image{{Name: "registry.example.org/app:1", Blob: snapshot.BlobOf([]byte("image")), Referrers: []snapshot.Blob{snapshot.BlobOf([]byte("referrer"))}}}
	text, err := st.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("referrer x\nimage\nimage a b c\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		named, err := images.Stated(text)
		if err != nil && !errors.Is(err, snapshot.ErrIntegrity) {
			t.Fatal(err)
		}
		for _, m := range named {
			if _, _, _, ok := snapshot.CutImageName(m.Name); !ok || m.Size < 1 || m.Digest.IsZero() {
				t.Fatalf("%+v", m)
			}
			if ref, err := ParseReference("registry.example.org/site/images/" + m.Short()); err == nil && ref.Kind != Registry {
				t.Fatalf("%s: %v", m.Name, ref)
			}
		}
		st, invalid := snapshot.ParseStatement(text, pgp.How{})
		if invalid != nil {
			return
		}
		if err != nil || !slices.EqualFunc(named, st.Images, func(a, b snapshot.Image) bool {
			return a.Name == b.Name && a.Blob == b.Blob && slices.Equal(a.Referrers, b.Referrers)
		}) {
			t.Fatalf("%v, %v; want %v", named, err, st.Images)
		}
	})
}

// A document of an image may be larger than one of a snapshot: opened as a snapshot it is refused as something else.
func TestLargeForeignDocument(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	ref := mustParse(t, r.Host()+"/app:1")
	long := mutate.Annotations(testimage.Image(t, testimage.AMD64, false, "x"), map[string]string{"long": strings.Repeat("x", 2<<20)}).(v1.Image)
	testimage.Push(t, r, ref, long)
	if got := mustReadImage(t, ref, images.Options{}); got.Root.Size < 2<<20 {
		t.Errorf("%d bytes", got.Root.Size)
	}
	if _, err := Open(t.Context(), ref, Options{}); !errors.Is(err, ErrNotOurs) {
		t.Errorf("opened as a snapshot: %v", err)
	}
}
