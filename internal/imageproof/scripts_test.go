package imageproof

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
)

// What scripts made otherwise is no forgery: its files are named, and the site's statement alone vouches for them. Files that the
// site itself put there are not among that, and neither is anything where no script was run.
func TestScriptsThatMakeOther(t *testing.T) {
	m := build(t, true, "gzip")
	im, err := Read(t.Context(), m.ref, Options{Site: world.Ring(t, testarchive.SiteKey())})
	if err != nil {
		t.Fatal(err)
	}
	again := func(more, conf string) *imagebuild.Image {
		dir := t.TempDir()
		plan, err := im.PlanIn(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		text := string(plan.Format()) + more
		if err := errors.Join(os.WriteFile(filepath.Join(dir, imageplan.Name), []byte(text), 0o644), os.WriteFile(filepath.Join(dir, "web.conf"), []byte(conf), 0o644)); err != nil {
			t.Fatal(err)
		}
		if plan, err = imageplan.Load(dir); err != nil {
			t.Fatal(err)
		}
		made, err := imagebuild.Build(t.Context(), imagebuild.Options{Plan: plan, Snapshot: m.snapshot, Trust: m.trust, Lock: im.Lock, Dry: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { made.Close() })
		return made
	}
	const user = "users: [{name: web, uid: 10001}]\n" // stands for what a script writes into passwd
	want := again(user, "ours")
	if _, err := im.compare(t.Context(), want, 0, 0); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "the layer of system") || !strings.Contains(err.Error(), "/etc/group has another type") {
		t.Errorf("without scripts: %v", err)
	}
	want.Architectures[0].Scripts = imageplan.Run
	p, err := im.compare(t.Context(), want, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Unproved, []string{"system"}) || !slices.Equal(p.Otherwise, []string{"/etc/group", "/etc/passwd"}) || p.Proved != 2 || p.Generated != 0 || p.Files != 1 {
		t.Errorf("%+v", p)
	}
	for name, made := range map[string]*imagebuild.Image{"beside another system layer": again(user, "others"), "alone": again("", "others")} {
		made.Architectures[0].Scripts = imageplan.Run
		if _, err := im.compare(t.Context(), made, 0, 0); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "the layer of files") || !strings.Contains(err.Error(), "/etc/web.conf") {
			t.Errorf("another file of the site %s: %v", name, err)
		}
	}
}

// An index that leads to the same manifests for other platforms is not the one that was made.
func TestOtherIndex(t *testing.T) {
	m := build(t, true, "gzip")
	im, err := Read(t.Context(), m.ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	blobs := memory{}
	for _, d := range im.image.Blobs {
		if blobs[d.Digest], err = im.read(t.Context(), d.Blob); err != nil {
			t.Fatal(err)
		}
	}
	_, index, _ := m.registry.Manifest("site/web", "1")
	m.put(t, im, bytes.Replace(index, []byte(`"architecture":"amd64"`), []byte(`"architecture":"arm64"`), 1), im.manifests, blobs, nil)
	if _, err := m.verify(t, nil); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "image index") {
		t.Errorf("got %v", err)
	}
}

// A plan and the files beside it that it takes into the image are two things, even where a file has the plan's name, or where a
// directory is empty.
func TestPlanAmongItsFiles(t *testing.T) {
	m := &made{registry: testregistry.New(t, testregistry.Options{})}
	m.ref = artifact.Reference{Kind: artifact.Registry, Name: m.registry.Host() + "/site/web", Tag: "1"}
	m.snapshot, m.trust = site(t, packages()...)
	for name, text := range map[string]string{
		"everything":      "# as it was written\npackages: [web]\narch: amd64\nsync: [{src: ., dest: /srv, recursive: yes}]\n",
		"the plan":        "packages: [web] # as it was written\narch: amd64\nsync: [{src: image.yaml, dest: /srv/plan}]\n",
		"empty directory": "packages: [web]\narch: amd64\nsync: [{src: empty, dest: /srv, recursive: yes}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(os.Mkdir(filepath.Join(dir, "empty"), 0o755), os.WriteFile(filepath.Join(dir, imageplan.Name), []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
			plan, err := imageplan.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			m.build(t, imagebuild.Options{Plan: plan, Snapshot: m.snapshot, Trust: m.trust})
			if _, err := m.verify(t, nil); err != nil {
				t.Error(err)
			}
			im, err := Read(t.Context(), m.ref, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := im.Rebuild(t.Context(), VerifyOptions{Snapshot: m.snapshot, Trust: m.trust}, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// An image whose scripts were run for one architecture and not for the other is made again so.
func TestAgainOfMixedScripts(t *testing.T) {
	m := build(t, true, "gzip")
	im, err := Read(t.Context(), m.ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	lock := *im.Lock
	lock.Architectures = append(slices.Clone(lock.Architectures), imagelock.Architecture{Name: "arm64", Scripts: imageplan.Run})
	im.Lock = &lock
	o := im.optionsAgain(imagebuild.Options{Scripts: imageplan.Run, Architectures: []string{"i386"}, Lock: im.Lock})
	if o.ScriptsOf["amd64"] != imageplan.None || o.ScriptsOf["arm64"] != imageplan.Run || o.Scripts != "" || o.Architectures != nil || o.Lock != nil {
		t.Errorf("%+v", o)
	}
}

// Nothing that is said of an image is read before the statement over it was verified.
func TestStatementFirst(t *testing.T) {
	m := build(t, true, "gzip")
	m.registry.Requests()
	if _, err := Read(t.Context(), m.ref, Options{Site: world.Ring(t, testarchive.DockerKey())}); err == nil {
		t.Fatal("somebody else's statement is taken")
	}
	blobs := m.registry.Requests().Count("GET", "blob")
	if blobs != 1 {
		t.Errorf("%d blobs are read for a statement that does not verify, want the statement alone", blobs)
	}
}

// Packages for which the site's key alone vouches are not counted as upstream's, and those that upstream signed are, although the site signed
// the snapshot, too.
func TestWhoVouches(t *testing.T) {
	m := build(t, true, "gzip")
	both := m.trust
	both.Unsigned = true // the statement is believed
	for _, c := range []struct {
		trust prove.Trust
		want  Proof
	}{
		{both, Proof{Architecture: "amd64", Proved: 2, Generated: 1, Files: 1}},
		{prove.Trust{Unsigned: true, Now: world.Now}, Proof{Architecture: "amd64", Site: 2, Generated: 1, Files: 1}},
	} {
		m.trust = c.trust
		got, err := m.verify(t, world.Ring(t, testarchive.SiteKey()))
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], c.want) {
			t.Errorf("%+v, %v; want %+v", got, err, c.want)
		}
	}
}
