package artifact

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// Within one place only tags are written.
func TestRetag(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(500))
	f := newFakeRegistry(t)
	for _, src := range []Reference{f.ref(t, "noble"), layoutRef(t)} {
		pushed := mustPush(t, src, s, PushOptions{})
		f.counts()
		dst := src
		dst.Tag = "production"
		copied, err := Copy(t.Context(), src, dst, PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if counts := f.counts(); total(counts) > 10 || counts["POST upload"] > 0 {
			t.Errorf("%v", counts)
		}
		if !copied.Changed || copied.Root != pushed.Root || !strings.HasPrefix(copied.Immutable, "production-2026") {
			t.Errorf("%+v", copied)
		}
		if err := snapshottest.Equal(t.Context(), s, reopen(t, dst)); err != nil {
			t.Error(err)
		}
		if again, err := Copy(t.Context(), src, dst, PushOptions{}); err != nil || again.Changed {
			t.Errorf("%+v, %v", again, err)
		}
	}
}

// A config whose date is not the statement's would lead a copy past the law of dates, to a snapshot that
// nobody can open: nothing is tagged.
func TestCopyOfAnotherDate(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(20))
	lie, st := *s, *s.Statement
	st.Date = st.Date.Add(1000 * time.Hour)
	lie.Statement = &st
	src, beside := layoutRef(t), layoutRef(t)
	mustPush(t, src, &lie, PushOptions{})
	within := src
	within.Tag = "production"
	for _, dst := range []Reference{within, beside} {
		if _, err := Copy(t.Context(), src, dst, PushOptions{}); !errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("%s: %v", dst, err)
		}
		if _, err := Resolve(t.Context(), dst, Options{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s is tagged: %v", dst, err)
		}
	}
}

// Between repositories of one registry blobs are mounted, and sent where that is refused.
func TestMount(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(20))
	for _, refused := range []bool{false, true} {
		f := newFakeRegistry(t)
		src := f.ref(t, "noble")
		pushed := mustPush(t, src, s, PushOptions{})
		f.counts()
		f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
			mount := r.URL.Query().Get("mount")
			if r.Method != http.MethodPost || mount == "" {
				// the fake shares blobs over repositories: hide them
				if r.Method == http.MethodHead && kindOf(r) == "blob" {
					refuse(w, http.StatusNotFound, "BLOB_UNKNOWN")
					return true
				}
				return false
			}
			if refused {
				refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED")
				return true
			}
			if from := r.URL.Query().Get("from"); from != "site/mirror" || !f.has(mount) {
				t.Errorf("mount of %s from %s", mount, from)
			}
			w.WriteHeader(http.StatusCreated)
			return true
		})
		dst := src
		dst.Name = src.Host() + "/other/mirror"
		copied, err := Copy(t.Context(), src, dst, PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		puts := f.counts()["PUT upload"]
		want := 0
		if refused {
			want = pushed.Blobs
		}
		if puts != want || copied.Uploaded != want {
			t.Errorf("refused %t: %d blobs sent, %+v", refused, puts, copied)
		}
		if err := snapshottest.Equal(t.Context(), s, reopen(t, dst)); err != nil {
			t.Error(err)
		}
	}
}

// A signed snapshot comes back signed, under the key and no other.
func TestSigned(t *testing.T) {
	t.Parallel()
	key := func() pgp.Signer {
		private, _, err := pgp.NewKey("site", time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), nil)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := pgp.ReadSigner(private, nil)
		if err != nil {
			t.Fatal(err)
		}
		return signer
	}
	signer := key()
	release := []byte("Suite: own\n")
	inRelease, err := signer.Clearsign(release, synthDate)
	if err != nil {
		t.Fatal(err)
	}
	gpg, err := signer.Detach(release, synthDate)
	if err != nil {
		t.Fatal(err)
	}
	files := synthFiles(2)
	files["own/dists/own/Release"], files["own/dists/own/InRelease"], files["own/dists/own/Release.gpg"] = release, inRelease, gpg
	f := frozenOf(synthRows(files), blobsOf(files))
	suite := &f.Archives[0].Suites[0]
	suite.Files = append(suite.Files,
		snapshot.SuiteFile{Role: snapshot.InRelease, Blob: snapshot.BlobOf(inRelease), Date: synthDate, Path: "own/dists/own/InRelease"},
		snapshot.SuiteFile{Role: snapshot.ReleaseGPG, Blob: snapshot.BlobOf(gpg), Date: synthDate, Path: "own/dists/own/Release.gpg"})
	f.Signer = signer
	s, err := snapshot.Take(f)
	if err != nil {
		t.Fatal(err)
	}
	for kind, ref := range everyKind(t) {
		mustPush(t, ref, s, PushOptions{})
		sealed, err := Open(t.Context(), ref, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !sealed.Signed || len(sealed.Release) != 3 || !bytes.Equal(sealed.Statement, s.StatementBytes) {
			t.Errorf("%s: signed %t, %d signature files", kind, sealed.Signed, len(sealed.Release))
		}
		back, err := sealed.Unseal(signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := snapshottest.Equal(t.Context(), s, back); err != nil {
			t.Error(kind, err)
		}
		if _, err := sealed.Unseal(key().Public()); err == nil {
			t.Errorf("%s: unsealed by another key", kind)
		}
	}
}

// Who copies from a registry hears of the bytes on their way, whatever it copies to, and of each once.
func TestCopyTells(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(20))
	f := newFakeRegistry(t)
	src := f.ref(t, "noble")
	mustPush(t, src, s, PushOptions{})
	other := newFakeRegistry(t).ref(t, "noble")
	for _, dst := range []Reference{layoutRef(t), other} {
		var mu sync.Mutex
		var planned Event
		var moved int64
		var done int
		o := Options{Progress: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case e.Kind == Planned:
				planned, moved = e, 0
			case e.Kind == Moved:
				moved += e.Bytes
			case e.Kind == Started:
				done++
			}
		}}
		copied, err := Copy(t.Context(), src, dst, PushOptions{Options: o})
		if err != nil {
			t.Fatal(err)
		}
		moved += int64(len(oci.EmptyConfig)) // is in memory
		if dst.Kind == Registry {
			moved -= int64(len(oci.EmptyConfig))
		}
		if moved != copied.Bytes || moved != planned.Bytes || done != planned.Files || done == 0 {
			t.Errorf("%s: told of %d bytes and %d files, planned %+v, copied %+v", dst, moved, done, planned, copied)
		}
	}
}
