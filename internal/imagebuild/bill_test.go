package imagebuild

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
)

// part is a part of the companion by its title.
func part(t *testing.T, im *Image, title string) []byte {
	t.Helper()
	var m struct {
		Layers []struct {
			Digest      string            `json:"digest"`
			Annotations map[string]string `json:"annotations"`
		} `json:"layers"`
	}
	if err := json.Unmarshal(im.companion.manifest.Data, &m); err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		for d, data := range im.companion.blobs {
			if l.Annotations["org.opencontainers.image.title"] == title && d.String() == l.Digest {
				return data
			}
		}
	}
	t.Fatalf("no part %s", title)
	return nil
}

// The distribution is that of the Release, where the image has no os-release, and every .deb is an input of the provenance.
func TestBills(t *testing.T) {
	for _, c := range []struct {
		origin, codename, version, want string
	}{
		{"Debian", "bookworm", "12.8", "pkg:deb/debian/web@1.0-1?arch=amd64&distro=debian-12"},
		{"Ubuntu", "bookworm", "24.04", "pkg:deb/ubuntu/web@1.0-1?arch=amd64&distro=ubuntu-24.04"},
		{"Debian", "bookworm", "", "pkg:deb/debian/web@1.0-1?arch=amd64&distro=bookworm"},
		{"Site & Sons", "bookworm", "12", "pkg:deb/site---sons/web@1.0-1?arch=amd64"},
	} {
		archs := []string{"amd64", "arm64"}
		suite := testarchive.Suite{Dir: "bookworm", Date: world.Date.AddDate(0, 0, -1), Architectures: archs, Packages: packages(), Origin: c.origin, Codename: c.codename, Version: c.version}
		o := Options{Plan: load(t, webPlan, webFiles()), Signer: world.SignerOf(t, testarchive.SiteKey())}
		o.Snapshot, o.Trust = freezeArchive(t, testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{suite}}, archs)
		im := mustBuild(t, o)
		for _, title := range []string{"sbom.spdx.json", "sbom.cdx.json", "provenance.json"} {
			if text := string(part(t, im, title)); !strings.Contains(text, `"`+c.want+`"`) {
				t.Errorf("%s %s: no %s in\n%s", c.origin, title, c.want, text)
			}
		}
		var st struct {
			Subject []struct {
				Digest map[string]string `json:"digest"`
			} `json:"subject"`
			Predicate struct {
				Definition struct {
					External     map[string]map[string]any `json:"externalParameters"`
					Dependencies []struct {
						Name   string            `json:"name"`
						Digest map[string]string `json:"digest"`
						Notes  map[string]string `json:"annotations"`
					} `json:"resolvedDependencies"`
				} `json:"buildDefinition"`
				Run struct {
					Builder struct {
						ID string `json:"id"`
					} `json:"builder"`
				} `json:"runDetails"`
			} `json:"predicate"`
		}
		if err := json.Unmarshal(part(t, im, "provenance.json"), &st); err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, d := range st.Predicate.Definition.Dependencies {
			got = append(got, d.Name+" "+d.Digest["sha256"]+" "+d.Notes["role"])
		}
		want = append(want, "snapshot "+im.Lock.Snapshot.Hex()+" ")
		for _, a := range im.Lock.Architectures {
			for _, p := range a.Packages {
				want = append(want, strings.Join([]string{p.Name, p.Version, p.Architecture, p.Deb.Digest.Hex(), ""}, " "))
			}
			for _, p := range a.Helpers {
				want = append(want, strings.Join([]string{p.Name, p.Version, p.Architecture, p.Deb.Digest.Hex(), "helper"}, " "))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("inputs\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if len(st.Subject) != 1 || st.Subject[0].Digest["sha256"] != im.Digest().Hex() || st.Predicate.Run.Builder.ID != "openpgp4fpr:"+testarchive.SiteKey().Fingerprint() {
			t.Errorf("of %+v, by %q", st.Subject, st.Predicate.Run.Builder.ID)
		}
		if plan := st.Predicate.Definition.External["plan"]; plan["name"] != "web" || plan["packages"].([]any)[0] != "web" {
			t.Errorf("plan %v", plan)
		}
	}
}

// entriesOf are the names in a layer.
func entriesOf(t *testing.T, im *Image, l image.Layer) map[string]bool {
	t.Helper()
	c, err := im.Open(t.Context(), l.Blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.R.Close()
	z, err := gzip.NewReader(c.R)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(h.Name, "./")] = true
	}
}

// Without base-files among the packages the image tells all the same which distribution it is, of that of the snapshot; with it, it is the package's.
func TestRelease(t *testing.T) {
	base := testarchive.Package{Name: "base-files", Version: "12.4", Architecture: "amd64", Content: map[string]string{"usr/lib/os-release": "ID=debian\nVERSION_ID=\"12\"\n", "etc/debian_version": "12.9\n"}}
	for _, c := range []struct {
		packages string
		helpers  int
		made     bool
	}{{"[web]", 2, true}, {"[web, base-files]", 1, false}} {
		o := Options{Plan: load(t, "packages: "+c.packages+"\narch: amd64\n", nil)}
		suite := testarchive.Suite{Dir: "bookworm", Origin: "Debian", Version: "12.9", Date: world.Date.AddDate(0, 0, -1), Packages: append(packages(), base)}
		o.Snapshot, o.Trust = freezeArchive(t, testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{suite}}, []string{"amd64"})
		im := mustBuild(t, o)
		a := im.Architectures[0]
		made := slices.ContainsFunc(a.Account, func(l account.Line) bool { return l.Package == "os-release" && l.What == account.Made })
		if helpers := im.Lock.Architectures[0].Helpers; len(helpers) != c.helpers || made != c.made {
			t.Errorf("%s: helpers %v, account %v", c.packages, helpers, a.Account)
		}
		system := entriesOf(t, im, a.Layers[len(a.Layers)-1])
		for _, p := range []string{"etc/debian_version", "etc/os-release", "usr/lib/os-release"} {
			if _, there := system[p]; there != c.made {
				t.Errorf("%s: %s in the system layer: %v", c.packages, p, there)
			}
		}
		if text := string(part(t, im, "sbom.spdx.json")); !strings.Contains(text, "distro=debian-12") {
			t.Errorf("%s: no distribution in\n%s", c.packages, text)
		}
		// The same of its own lock, and of one that was made before there was the fix-up.
		o.Lock = im.Lock
		if again := mustBuild(t, o); again.Digest() != im.Digest() {
			t.Errorf("%s: of its lock it is %s, not %s", c.packages, again.Digest(), im.Digest())
		}
		old := *im.Lock
		old.Architectures = slices.Clone(old.Architectures)
		old.Architectures[0].Helpers = slices.DeleteFunc(slices.Clone(old.Architectures[0].Helpers), func(p imagelock.Package) bool { return p.Name == "base-files" })
		o.Lock = &old
		if again := mustBuild(t, o); (again.Digest() != im.Digest()) != c.made {
			t.Errorf("%s: of an old lock it is %s", c.packages, again.Digest())
		}
	}
}
