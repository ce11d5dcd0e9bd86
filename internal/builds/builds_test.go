package builds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

const environment = "gcc-12 12.2.0-14 amd64 sha256:aa\n"

// made lays out a build of hello with the text in its .debs.
func made(t *testing.T, text string, change func(*buildsource.Identity)) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) snapshot.Blob {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		return snapshot.BlobOf(data)
	}
	dsc := []byte("Format: 3.0 (quilt)\nSource: hello\n")
	id := &buildsource.Identity{
		Source: "hello", Base: "2.10-3", Version: "2.10-3+p1",
		Files:     []buildsource.File{{Name: "hello_2.10-3.dsc", Blob: snapshot.BlobOf(dsc)}, {Name: "hello_2.10.orig.tar.gz", Blob: write("hello_2.10.orig.tar.gz", []byte("orig"))}},
		Patches:   []snapshot.Blob{write("patches/01-a.patch", []byte("a")), write("patches/02-b.patch", []byte("b"))},
		BuildArch: "amd64", HostArch: "amd64", What: buildsource.AnyAndAll,
		Date: time.Date(2022, 12, 26, 15, 30, 1, 0, time.UTC), Environment: snapshot.Sum([]byte(environment)),
	}
	if change != nil {
		change(id)
	}
	write("hello_2.10-3.dsc", testarchive.DebianKey().Clearsign(t, dsc, id.Date))
	write(EnvironmentName, []byte(environment))
	write(IdentityName, id.Text())
	write(AboutName, About{Author: "Sysadmin42 <sys@example.org>", Patches: []string{"Say it louder", "Twice"}}.Text())
	for _, name := range []string{"hello", "hello-doc"} {
		p := testarchive.Package{Name: name, Version: "2.10-3+p1", Architecture: "amd64", Fields: [][2]string{{"Description", text}}}
		if name != "hello" {
			p.Source = "hello"
		}
		write(name+"_2.10-3+p1_amd64.deb", p.Deb(t))
	}
	write("hello_2.10-3+p1_amd64.buildinfo", []byte("Build-Date: "+t.Name()+text+"\n"))
	write("hello_2.10-3+p1_amd64.changes", []byte("Changes\n"))
	return dir
}

func local(t *testing.T, dir string) *Local {
	t.Helper()
	l, err := ReadDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func signerOf(t *testing.T, k *testarchive.Key) pgp.Signer {
	t.Helper()
	s, err := pgp.ReadSigner(k.Private(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func trust(t *testing.T, confirm int, keys ...*testarchive.Key) Trust {
	t.Helper()
	var rings []*pgp.Keyring
	for _, k := range keys {
		r, err := pgp.ReadKeyring(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		rings = append(rings, r)
	}
	return Trust{Builders: pgp.JoinKeyrings(rings...), Confirm: confirm}
}

func repository(t *testing.T) (*testregistry.Registry, artifact.Reference) {
	t.Helper()
	r := testregistry.New(t, testregistry.Options{})
	ref, err := ParsePlace(strings.TrimPrefix(r.URL, "http://") + "/site/builds")
	if err != nil {
		t.Fatal(err)
	}
	return r, ref
}

func put(t *testing.T, l *Local, place artifact.Reference, k *testarchive.Key) *Put {
	t.Helper()
	p, err := l.Put(t.Context(), place, PutOptions{Signer: signerOf(t, k), Builder: "test", Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestRoundTrip: what is put comes back byte for byte, out of a registry and out of a layout.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	dir := made(t, "one", nil)
	l := local(t, dir)
	builder := testarchive.SiteKey()
	_, registry := repository(t)
	layout, err := ParsePlace("oci:" + t.TempDir() + "/builds")
	if err != nil {
		t.Fatal(err)
	}
	id := l.Identity.Digest()
	for _, place := range []artifact.Reference{registry, layout} {
		if _, err := Read(t.Context(), place, id, trust(t, 1, builder), artifact.Options{}); !errors.Is(err, outcome.ErrNotFound) {
			t.Errorf("before: %v", err)
		}
		if there, err := Has(t.Context(), place, id, artifact.Options{}); there || err != nil {
			t.Errorf("before: %v, %v", there, err)
		}
		if p := put(t, l, place, builder); p.Did != Tagged {
			t.Errorf("first: %+v", p)
		}
		if p := put(t, l, place, builder); p.Did != There {
			t.Errorf("again: %+v", p)
		}
		if there, err := Has(t.Context(), place, id, artifact.Options{}); !there || err != nil {
			t.Errorf("after: %v, %v", there, err)
		}
		f, err := Read(t.Context(), place, id, trust(t, 1, builder), artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out")
		if err := f.WriteTo(t.Context(), out, nil); err != nil {
			t.Fatal(err)
		}
		if err := f.WriteTo(t.Context(), out, nil); !errors.Is(err, outcome.ErrUsage) {
			t.Errorf("into what is not empty: %v", err)
		}
		file := filepath.Join(out, IdentityName)
		if err := f.WriteTo(t.Context(), file, nil); !errors.Is(err, outcome.ErrUsage) {
			t.Errorf("in the place of a file: %v", err)
		}
		for _, p := range l.Parts {
			want, _ := os.ReadFile(filepath.Join(dir, p.Title))
			if got, err := os.ReadFile(filepath.Join(out, p.Title)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %v, or other bytes", p.Title, err)
			}
		}
		if back := local(t, out); back.Identity.Digest() != id {
			t.Error("read back as another identity")
		}
		list, err := List(t.Context(), place, "hello", artifact.Options{})
		if err != nil || len(list) != 1 || list[0].Identity != id || list[0].Recipe != l.Identity.Recipe() || strings.Join(list[0].Patches, ",") != "Say it louder,Twice" {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := List(t.Context(), place, "dash", artifact.Options{}); !errors.Is(err, outcome.ErrNotFound) {
			t.Errorf("%+v, %v", list, err)
		}
	}
}

// TestSecondBuilder: equal .debs of a second builder confirm, others are told and kept, and the tag never moves.
func TestSecondBuilder(t *testing.T) {
	t.Parallel()
	a, b, c := testarchive.SiteKey(), testarchive.NewKey("builder b"), testarchive.NewKey("builder c")
	layout, err := ParsePlace("oci:" + t.TempDir() + "/builds")
	if err != nil {
		t.Fatal(err)
	}
	_, registry := repository(t)
	for _, place := range []artifact.Reference{registry, layout} {
		first := local(t, made(t, "one", nil))
		id := first.Identity.Digest()
		tagged := put(t, first, place, a).Reference.Digest
		if _, err := Read(t.Context(), place, id, trust(t, 2, a, b, c), artifact.Options{}); !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, outcome.ErrNotFound) {
			t.Errorf("one of two: %v", err)
		}
		second := local(t, made(t, "one", nil)) // another .buildinfo
		if p := put(t, second, place, b); p.Did != Confirmed || p.Reference.Digest != tagged {
			t.Errorf("second: %+v", p)
		}
		if p := put(t, second, place, b); p.Did != There {
			t.Errorf("second again: %+v", p)
		}
		f, err := Read(t.Context(), place, id, trust(t, 2, a, b), artifact.Options{})
		if err != nil || len(f.Builders) != 2 || len(f.Others) != 0 {
			t.Fatalf("%+v, %v", f, err)
		}
		p := put(t, local(t, made(t, "other", nil)), place, c)
		if p.Did != Otherwise || strings.Join(p.Differing, " ") != "hello-doc_2.10-3+p1_amd64.deb hello_2.10-3+p1_amd64.deb" {
			t.Errorf("third: %+v", p)
		}
		if f, err = Read(t.Context(), place, id, trust(t, 1, a, b, c), artifact.Options{}); err != nil || f.Reference.Digest != tagged || len(f.Others) != 1 || !strings.HasPrefix(f.Others[0], "not reproducible: "+c.Fingerprint()+" built hello-doc_") {
			t.Fatalf("%+v, %v", f, err)
		}
		// Only c is listed: its build counts, though another one lies under the tag.
		if f, err = Read(t.Context(), place, id, trust(t, 1, c), artifact.Options{}); err != nil || f.Reference.Digest == tagged || len(f.Others) != 0 {
			t.Fatalf("%+v, %v", f, err)
		}
		// b alone is listed, and confirmed: its own records come with it.
		if f, err = Read(t.Context(), place, id, trust(t, 1, b), artifact.Options{}); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out")
		if err := f.WriteTo(t.Context(), out, nil); err != nil {
			t.Fatal(err)
		}
		want, _ := os.ReadFile(filepath.Join(second.Dir, "hello_2.10-3+p1_amd64.buildinfo"))
		if got, err := os.ReadFile(filepath.Join(out, "hello_2.10-3+p1_amd64.buildinfo")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("records: %q, %v", got, err)
		}
	}
}

// TestRace: of two builders that find nothing, and put at the same time, one gets the tag, and the other lies beside it.
func TestRace(t *testing.T) {
	t.Parallel()
	a, b := testarchive.SiteKey(), testarchive.NewKey("builder b")
	for text, want := range map[string]Did{"one": Confirmed, "other": Otherwise} {
		r, place := repository(t)
		slow, quick := local(t, made(t, "one", nil)), local(t, made(t, text, nil))
		var tagged *Put
		var err error
		var began atomic.Bool
		r.Fault(func(req testregistry.Request, _ int) testarchive.Broken {
			// The slow one looked, found nothing, and sends its first blob: the quick one does all of it meanwhile.
			if req.Method == http.MethodPost && began.CompareAndSwap(false, true) {
				tagged, err = quick.Put(t.Context(), place, PutOptions{Signer: signerOf(t, b), Date: time.Now()})
			}
			return testarchive.Broken{}
		})
		p := put(t, slow, place, a)
		if err != nil || tagged == nil || tagged.Did != Tagged {
			t.Fatalf("%+v, %v", tagged, err)
		}
		if p.Did != want {
			t.Errorf("%s: %+v", text, p)
		}
		if now := r.Tags(place.Repository())[Tag(slow.Identity.Digest())]; now != tagged.Reference.Digest.String() {
			t.Errorf("%s: the tag was moved from %s to %s", text, tagged.Reference.Digest, now)
		}
		for _, k := range []*testarchive.Key{a, b} {
			if _, err := Read(t.Context(), place, slow.Identity.Digest(), trust(t, 1, k), artifact.Options{}); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

// TestListRace: builds that are put at the same time are all in the list, though a registry takes a list that was made of an older one.
func TestListRace(t *testing.T) {
	t.Parallel()
	k := testarchive.SiteKey()
	other := func(option string) *Local {
		return local(t, made(t, option, func(id *buildsource.Identity) { id.Options = []string{option} }))
	}
	listed := func(place artifact.Reference) (out []string) {
		list, err := List(t.Context(), place, "hello", artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			out = append(out, fmt.Sprint(e.Identity, " ", e.Author, " ", e.Patches))
		}
		return out
	}
	// The worst order: the slow one has looked that the list is the one that it read, and sends its own; the quick one does all of it meanwhile.
	r, place := repository(t)
	put(t, other("noopt"), place, k)
	slow, quick := local(t, made(t, "one", nil)), other("nostrip")
	var began atomic.Bool
	var err error
	r.Fault(func(req testregistry.Request, _ int) testarchive.Broken {
		if req.Method == http.MethodPut && req.Kind == "manifest" && req.Ref == ListTag && began.CompareAndSwap(false, true) {
			_, err = quick.Put(t.Context(), place, PutOptions{Signer: signerOf(t, k), Date: time.Now()})
		}
		return testarchive.Broken{}
	})
	put(t, slow, place, k)
	if err != nil || !began.Load() {
		t.Fatalf("%v, %v", err, began.Load())
	}
	r.Fault(nil)
	if got := listed(place); len(got) != 3 || strings.Count(strings.Join(got, "\n"), "Sysadmin42 <sys@example.org> [Say it louder Twice]") != 3 {
		t.Errorf("%q", got)
	}
	// What anybody may tag is no build, and keeps nobody from listing.
	r.PutManifest(place.Repository(), tagPrefix+strings.Repeat("0", 64), oci.TypeManifest, []byte(`{"schemaVersion":2}`))
	put(t, other("terse"), place, k)
	if got := listed(place); len(got) != 4 {
		t.Errorf("%q", got)
	}

	layout, err := ParsePlace("oci:" + t.TempDir() + "/builds")
	if err != nil {
		t.Fatal(err)
	}
	_, place = repository(t)
	for _, place := range []artifact.Reference{place, layout} {
		const writers = 6
		done := make(chan error)
		for i := range writers {
			l := other(fmt.Sprintf("option%d", i))
			go func() {
				_, err := l.Put(t.Context(), place, PutOptions{Signer: signerOf(t, k), Date: time.Now()})
				done <- err
			}()
		}
		for range writers {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if got := listed(place); len(got) != writers {
			t.Errorf("%s: %q", place, got)
		}
	}
}

// TestFullList: from a list that is full the oldest versions fall off, and of each source something stays.
func TestFullList(t *testing.T) {
	t.Parallel()
	entry := func(source string, version int) Entry {
		return Entry{Identity: snapshot.Sum(fmt.Appendf(nil, "%s %d", source, version)), Source: source, Version: fmt.Sprint(version), Architecture: "amd64"}
	}
	list := []Entry{entry("aa", 1)}
	for i := range maxListed {
		list = append(list, entry("hello", i))
	}
	list = append(list, entry("zz", 1), entry("zz", 2))
	data, left, err := fitList(list)
	if err != nil || left < 3 {
		t.Fatalf("%d, %v", left, err)
	}
	var j struct{ Manifests []jsonPart }
	if err := json.Unmarshal(data, &j); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range j.Manifests {
		got = append(got, m.Annotations[keySource]+" "+m.Annotations[keyVersion])
	}
	if n := len(got); n != len(list)-left || got[0] != "aa 1" || got[1] != fmt.Sprint("hello ", left) || got[n-3] != fmt.Sprint("hello ", maxListed-1) || got[n-2] != "zz 1" || got[n-1] != "zz 2" {
		t.Errorf("%d of %d left: %q .. %q", left, len(list), got[:2], got[n-3:])
	}
}

// forger changes what lies in a registry, as anybody can who may push to it.
type forger struct {
	t     *testing.T
	r     *testregistry.Registry
	repo  string
	tag   string
	local *Local
	other *Local // a genuine build of another identity, which lies there too
}

func (f *forger) manifest(tag string) (m jsonManifest) {
	f.t.Helper()
	_, data, ok := f.r.Manifest(f.repo, tag)
	if !ok {
		f.t.Fatalf("no %s", tag)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		f.t.Fatal(err)
	}
	return m
}

func (f *forger) put(m jsonManifest) {
	f.t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		f.t.Fatal(err)
	}
	f.r.PutManifest(f.repo, f.tag, oci.TypeManifest, data)
}

// part is the place of a part in a manifest.
func (f *forger) part(m jsonManifest, title string) int {
	f.t.Helper()
	i := slices.IndexFunc(m.Layers, func(l jsonPart) bool { return strings.HasPrefix(l.Annotations[titleKey], title) })
	if i < 0 {
		f.t.Fatalf("no %s", title)
	}
	return i
}

// replace puts other bytes in the place of a part.
func (f *forger) replace(m jsonManifest, title string, data []byte) jsonManifest {
	f.t.Helper()
	i := f.part(m, title)
	b := snapshot.BlobOf(data)
	f.r.PutBlob(f.repo, data)
	m.Layers[i].Digest, m.Layers[i].Size = b.Digest.String(), b.Size
	return m
}

// sign makes a statement of the build by a key.
func (f *forger) sign(k *testarchive.Key, l *Local) []byte {
	st := Statement{Identity: l.Identity.Digest(), Date: time.Now().UTC().Truncate(time.Second), Builder: "test"}
	for _, p := range l.Parts {
		if p.Type == TypeDeb || p.Type == TypeRecord {
			st.Files = append(st.Files, File{Name: p.Title, Blob: p.Blob})
		}
	}
	slices.SortFunc(st.Files, compareFiles)
	if k == nil {
		return st.Text()
	}
	return k.Clearsign(f.t, st.Text(), st.Date)
}

// TestForged: whatever lies under the tag of an identity, it is not used unless a listed builder signed just that.
func TestForged(t *testing.T) {
	t.Parallel()
	listed, thief := testarchive.SiteKey(), testarchive.NewKey("somebody who may push")
	deb := func(version, text string) []byte {
		return testarchive.Package{Name: "hello", Version: version, Architecture: "amd64", Fields: [][2]string{{"Description", text}}}.Deb(t)
	}
	const hello = "hello_2.10-3+p1_amd64.deb"
	for name, forge := range map[string]func(f *forger){
		"signed by an unlisted key": func(f *forger) {
			f.put(f.replace(f.manifest(f.tag), statementName, f.sign(thief, f.local)))
		},
		"signed by nobody": func(f *forger) {
			f.put(f.replace(f.manifest(f.tag), statementName, f.sign(nil, f.local)))
		},
		"no statement": func(f *forger) {
			m := f.manifest(f.tag)
			i := f.part(m, statementName)
			m.Layers = slices.Delete(m.Layers, i, i+1)
			f.put(m)
		},
		"statement of another identity": func(f *forger) {
			m := f.manifest(Tag(f.other.Identity.Digest()))
			d := m.Layers[f.part(m, statementName)]
			now := f.manifest(f.tag)
			now.Layers[f.part(now, statementName)] = d
			f.put(now)
		},
		"the whole build of another identity": func(f *forger) {
			f.put(f.manifest(Tag(f.other.Identity.Digest())))
		},
		"identity of this one over the build of another": func(f *forger) {
			m := f.manifest(Tag(f.other.Identity.Digest()))
			f.put(f.replace(m, IdentityName, f.local.Identity.Text()))
		},
		"identity of another one over this build": func(f *forger) {
			f.put(f.replace(f.manifest(f.tag), IdentityName, f.other.Identity.Text()))
		},
		"a swapped .deb": func(f *forger) {
			f.put(f.replace(f.manifest(f.tag), hello, deb("2.10-3+p1", "evil")))
		},
		"a .deb more": func(f *forger) {
			m := f.manifest(f.tag)
			f.r.PutBlob(f.repo, deb("2.10-3+p1", "more"))
			l := describe(TypeDeb, snapshot.BlobOf(deb("2.10-3+p1", "more")))
			l.Annotations = map[string]string{titleKey: "hello-more_2.10-3+p1_amd64.deb"}
			m.Layers = append(m.Layers, l)
			f.put(m)
		},
		"a .deb less": func(f *forger) {
			m := f.manifest(f.tag)
			i := f.part(m, "hello-doc_")
			m.Layers = slices.Delete(m.Layers, i, i+1)
			f.put(m)
		},
		"two .debs that exchange their names": func(f *forger) {
			m := f.manifest(f.tag)
			i, j := f.part(m, "hello-doc_"), f.part(m, hello)
			m.Layers[i].Annotations, m.Layers[j].Annotations = m.Layers[j].Annotations, m.Layers[i].Annotations
			f.put(m)
		},
		"another environment": func(f *forger) {
			f.put(f.replace(f.manifest(f.tag), EnvironmentName, []byte("gcc-13 13 amd64 sha256:bb\n")))
		},
		"another patch": func(f *forger) {
			f.put(f.replace(f.manifest(f.tag), "patches/01", []byte("evil")))
		},
		"another source": func(f *forger) {
			f.put(f.replace(f.manifest(f.tag), "hello_2.10-3.dsc", []byte("Source: evil\n")))
		},
		"another record": func(f *forger) {
			f.put(f.replace(f.manifest(f.tag), "hello_2.10-3+p1_amd64.buildinfo", []byte("evil\n")))
		},
		"a container image": func(f *forger) {
			m := f.manifest(f.tag)
			m.ArtifactType = ""
			f.put(m)
		},
		"a .deb with a wrong byte": func(f *forger) {
			m := f.manifest(f.tag)
			f.r.FlipBlob(f.t, f.repo, m.Layers[f.part(m, hello)].Digest)
		},
		"a statement with a wrong byte": func(f *forger) {
			m := f.manifest(f.tag)
			f.r.FlipBlob(f.t, f.repo, m.Layers[f.part(m, statementName)].Digest)
		},
		"names that lead out of the directory": func(f *forger) {
			m := f.manifest(f.tag)
			m.Layers[f.part(m, hello)].Annotations = map[string]string{titleKey: "../" + hello}
			f.put(m)
		},
		"a .deb of another version, signed by a listed builder": func(f *forger) {
			m := f.replace(f.manifest(f.tag), hello, deb("9", "evil"))
			l := *f.local
			l.Parts = slices.Clone(l.Parts)
			i := slices.IndexFunc(l.Parts, func(p Part) bool { return p.Title == hello })
			l.Parts[i].Blob = snapshot.BlobOf(deb("9", "evil"))
			f.put(f.replace(m, statementName, f.sign(listed, &l)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, place := repository(t)
			l := local(t, made(t, "one", nil))
			other := local(t, made(t, "one", func(id *buildsource.Identity) { id.Options = []string{"noopt"} }))
			put(t, l, place, listed)
			put(t, other, place, listed)
			id := l.Identity.Digest()
			use := func() error {
				f, err := Read(t.Context(), place, id, trust(t, 1, listed), artifact.Options{})
				if err != nil {
					return err
				}
				return f.WriteTo(t.Context(), filepath.Join(t.TempDir(), "out"), nil)
			}
			if err := use(); err != nil {
				t.Fatal(err)
			}
			forge(&forger{t, r, place.Repository(), Tag(id), l, other})
			err := use()
			if !errors.Is(err, outcome.ErrIntegrity) {
				t.Fatalf("it is used: %v", err)
			}
			if strings.Count(err.Error(), "integrity") > 3 {
				t.Errorf("%v", err)
			}
			if strings.Contains(name, "wrong byte") || strings.Contains(name, "by a listed builder") {
				return // its digest is what it was, and nobody puts it again; or a listed builder lies
			}
			// A listed builder that builds it again is heard beside it, and the tag stays where it is.
			was := r.Tags(place.Repository())[Tag(id)]
			put(t, l, place, listed)
			if err := use(); err != nil {
				t.Errorf("beside it: %v", err)
			}
			if is := r.Tags(place.Repository())[Tag(id)]; is != was {
				t.Errorf("the tag was moved from %s to %s", was, is)
			}
		})
	}
}

// TestOneBuilderTwice: two statements of one key are one builder.
func TestOneBuilderTwice(t *testing.T) {
	t.Parallel()
	r, place := repository(t)
	k := testarchive.SiteKey()
	l := local(t, made(t, "one", nil))
	p := put(t, l, place, k)
	f := &forger{t, r, place.Repository(), "", l, nil}
	m := f.manifest(Tag(l.Identity.Digest()))
	m.ArtifactType = TypeStatement
	m.Subject = &jsonPart{MediaType: oci.TypeManifest, Digest: p.Reference.Digest.String()}
	_, data, _ := r.Manifest(place.Repository(), Tag(l.Identity.Digest()))
	m.Subject.Size = int64(len(data))
	m = f.replace(m, statementName, f.sign(k, l))
	w, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	d := snapshot.BlobOf(w)
	r.PutManifest(place.Repository(), "", oci.TypeManifest, w)
	list := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, oci.TypeIndex, oci.TypeManifest, d.Digest, d.Size)
	r.PutManifest(place.Repository(), "sha256-"+p.Reference.Digest.Hex(), oci.TypeIndex, list)
	if _, err := Read(t.Context(), place, l.Identity.Digest(), trust(t, 2, k, testarchive.NewKey("b")), artifact.Options{}); !errors.Is(err, ErrUnconfirmed) {
		t.Error(err)
	}
}

func TestReadDirFaults(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(dir string) error{
		"no identity": func(dir string) error { return os.Remove(filepath.Join(dir, IdentityName)) },
		"another patch": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "patches/01-a.patch"), []byte("x"), 0o644)
		},
		"a patch more": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "patches/03-a.patch"), []byte("x"), 0o644)
		},
		"no source": func(dir string) error { return os.Remove(filepath.Join(dir, "hello_2.10.orig.tar.gz")) },
		"another dsc": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "hello_2.10-3.dsc"), []byte("x"), 0o644)
		},
		"another file": func(dir string) error { return os.WriteFile(filepath.Join(dir, "core"), []byte("x"), 0o644) },
		"a .deb of another": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "x_1_amd64.deb"), testarchive.Package{Name: "x", Version: "1", Architecture: "amd64"}.Deb(t), 0o644)
		},
		"a .deb for another architecture": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "hello-x_1_arm64.deb"), testarchive.Package{Name: "hello-x", Source: "hello", Version: "2.10-3+p1", Architecture: "arm64"}.Deb(t), 0o644)
		},
		"a .deb that is not": func(dir string) error { return os.WriteFile(filepath.Join(dir, "x_1_amd64.deb"), []byte("x"), 0o644) },
		"a pipe":             func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "x.buildinfo"), 0o644) },
		"a pipe for identity": func(dir string) error {
			name := filepath.Join(dir, IdentityName)
			return errors.Join(os.Remove(name), unix.Mkfifo(name, 0o644))
		},
		"a link out of it": func(dir string) error { return os.Symlink("/etc/hostname", filepath.Join(dir, "x.buildinfo")) },
	} {
		dir := made(t, "one", nil)
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadDir(context.Background(), dir); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add([]byte("mmoci-build-statement-v1\nidentity sha256:" + strings.Repeat("a", 64) + "\ndate 2026-01-02T03:04:05Z\nbuilder sbuild\nfile sha256:" + strings.Repeat("b", 64) + " 3 a.deb\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := ParseStatement(text); err == nil && !bytes.Equal(s.Text(), text) {
			t.Errorf("%q is read as %q", text, s.Text())
		}
	})
}

func FuzzParse(f *testing.F) {
	parts := []Part{{TypeIdentity, IdentityName, snapshot.BlobOf([]byte("a"))}, {TypePatch, "patches/a", snapshot.BlobOf([]byte("b"))}}
	doc, err := write(TypeBuild, parts, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc.data)
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := parse(oci.Describe(oci.TypeManifest, snapshot.BlobOf(data)), data)
		if err != nil {
			return
		}
		for _, p := range doc.parts {
			if !filepath.IsLocal(p.Title) {
				t.Errorf("a part is named %q", p.Title)
			}
		}
	})
}

// TestKilledAtEveryPut: a push that ends at any request leaves nothing under the tag, or a whole build; the next one finishes.
func TestKilledAtEveryPut(t *testing.T) {
	t.Parallel()
	k := testarchive.SiteKey()
	first, second := local(t, made(t, "one", nil)), local(t, made(t, "one", nil))
	id := first.Identity.Digest()
	for n := 1; ; n++ {
		r, place := repository(t)
		for i, l := range []*Local{first, second} { // a build, then a statement beside it
			signer := signerOf(t, []*testarchive.Key{k, testarchive.NewKey("b")}[i])
			ctx, cancel := context.WithCancel(t.Context())
			var count atomic.Int64
			r.Fault(func(testregistry.Request, int) testarchive.Broken {
				if count.Add(1) == int64(n) {
					cancel()
				}
				return testarchive.Broken{}
			})
			_, err := l.Put(ctx, place, PutOptions{Signer: signer, Date: time.Now()})
			cancel()
			r.Fault(nil)
			if err == nil && count.Load() >= int64(n) && ctx.Err() == nil {
				t.Errorf("request %d: not interrupted", n)
			}
			f, use := Read(t.Context(), place, id, trust(t, 1, k), artifact.Options{})
			if use == nil {
				use = f.WriteTo(t.Context(), filepath.Join(t.TempDir(), "out"), nil)
			}
			if use != nil && (i > 0 || !errors.Is(use, outcome.ErrNotFound)) {
				t.Fatalf("request %d of build %d (%v): %v", n, i, err, use)
			}
			if _, err := l.Put(t.Context(), place, PutOptions{Signer: signer, Date: time.Now()}); err != nil {
				t.Fatalf("request %d of build %d: the rerun: %v", n, i, err)
			}
			if list, err := List(t.Context(), place, "", artifact.Options{}); err != nil || len(list) != 1 {
				t.Fatalf("request %d of build %d: the list: %+v, %v", n, i, list, err)
			}
			if i == 1 && int64(n) > count.Load() {
				return
			}
		}
	}
}

// TestFindAsksOnce: a place is asked by one HEAD, whether it has the build or not; which answer it was says nothing of what is asked next.
func TestFindAsksOnce(t *testing.T) {
	t.Parallel()
	l := local(t, made(t, "one", nil))
	empty, first := repository(t)
	full, second := repository(t)
	never, third := repository(t)
	for _, place := range []artifact.Reference{second, third} {
		put(t, l, place, testarchive.SiteKey())
	}
	for _, r := range []*testregistry.Registry{empty, full, never} {
		r.Requests() // what came before
	}
	place, err := Find(t.Context(), []artifact.Reference{first, second, third}, l.Identity.Digest(), artifact.Options{}, nil)
	if err != nil || place != second {
		t.Fatalf("%v, %v", place, err)
	}
	for i, r := range []*testregistry.Registry{empty, full, never} {
		asked := r.Requests()
		if i == 2 && len(asked) > 0 || i < 2 && (len(asked) != 1 || asked[0].Method != http.MethodHead || asked[0].Kind != "manifest" || asked[0].Ref != Tag(l.Identity.Digest())) {
			t.Errorf("place %d: %+v", i+1, asked)
		}
	}
}

// TestWritable: a registry that may be read and not written says so before anything is built; what it was given is a part of the build.
func TestWritable(t *testing.T) {
	t.Parallel()
	l := local(t, made(t, "one", nil))
	r, place := repository(t)
	r.Fault(func(req testregistry.Request, _ int) testarchive.Broken {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			return testarchive.Broken{Status: http.StatusForbidden}
		}
		return testarchive.Broken{}
	})
	if err := Writable(t.Context(), place, l.Identity, artifact.Options{}); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("it is writable: %v", err)
	}
	r.Fault(nil)
	if err := Writable(t.Context(), place, l.Identity, artifact.Options{}); err != nil || len(r.Tags(place.Repository())) > 0 {
		t.Errorf("%v, %v", err, r.Tags(place.Repository()))
	}
	if data, ok := r.Blob(place.Repository(), l.Identity.Digest().String()); !ok || !bytes.Equal(data, l.Identity.Text()) {
		t.Errorf("%q", data)
	}
	layout, err := ParsePlace("oci:" + t.TempDir() + "/builds")
	if err != nil {
		t.Fatal(err)
	}
	if err := Writable(t.Context(), layout, l.Identity, artifact.Options{}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(layout.Name); err == nil {
		t.Errorf("%s was made", layout.Name)
	}
}

// TestListOfAnybody: whoever may push writes the list. What it says of a build is one line of text each, and names that are none are refused.
func TestListOfAnybody(t *testing.T) {
	t.Parallel()
	r, place := repository(t)
	put(t, local(t, made(t, "one", nil)), place, testarchive.SiteKey())
	_, data, ok := r.Manifest(place.Repository(), ListTag)
	if !ok {
		t.Fatal("no list")
	}
	forged := func(old, now string) ([]Entry, error) {
		if !bytes.Contains(data, []byte(old)) {
			t.Fatalf("%s has no %q", data, old)
		}
		r.PutManifest(place.Repository(), ListTag, oci.TypeIndex, bytes.Replace(data, []byte(old), []byte(now), 1))
		return List(t.Context(), place, "", artifact.Options{})
	}
	list, err := forged(`"Sysadmin42 `, `"\u001b[2JSys\tadmin42\nhello 9 amd64 \u009b `)
	if err != nil || len(list) != 1 || strings.ContainsFunc(list[0].Author, unicode.IsControl) || !strings.Contains(list[0].Author, "Sys admin42 hello 9") {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err = forged(`Say it louder`, `Say\rit`); err != nil || list[0].Patches[0] != "Say it" {
		t.Errorf("%+v, %v", list, err)
	}
	for old, now := range map[string]string{`"hello"`: `"hello\nx"`, `"2.10-3+p1"`: `"1 2"`, `"amd64"`: `""`} {
		if list, err := forged(old, now); !errors.Is(err, outcome.ErrIntegrity) {
			t.Errorf("%s: %+v, %v", now, list, err)
		}
	}
}
