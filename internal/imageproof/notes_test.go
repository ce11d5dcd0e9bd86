package imageproof

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// TestNotes: where nothing is kept of earlier builds, the image that is there spares reading its packages, if the site signed what is said
// of it; whatever else is there, they are read, and the same image is made.
func TestNotes(t *testing.T) {
	site, other := world.Ring(t, testarchive.SiteKey()), world.Ring(t, testarchive.DockerKey())
	const all = 3 // web, libc6, and base-passwd for the lists of users
	for name, c := range map[string]struct {
		unsigned bool
		key      *pgp.Keyring
		max      int // layers
		change   func(t *testing.T, m *made, im *Image)
		plan     func(p *imageplan.Plan)
		read     int64  // .debs
		fault    string // that is told; "": none
	}{
		"signed":          {key: site},
		"signed, grouped": {key: site, max: 4},
		"unsigned":        {key: site, unsigned: true, read: all, fault: "is not signed"},
		"no key":          {read: all, fault: "no key of the site is given"},
		"another key":     {key: other, read: all, fault: "statement of the image"},
		"forged": {key: site, read: all, fault: "notes.txt", change: func(t *testing.T, m *made, im *Image) {
			m.companion(t, im, func(title string, data []byte) []byte {
				if title == "notes.txt" {
					return bytes.Replace(data, []byte("\nf 755 0 0 "), []byte("\nf 4755 0 0 "), 1)
				}
				return data
			})
		}},
		"another recipe":      {key: site, read: 2, plan: func(p *imageplan.Plan) { p.Exclude = []string{"docs"} }}, // base-passwd's is none of the image's
		"another compression": {key: site, read: all, plan: func(p *imageplan.Plan) { p.Layers.Compression = imageplan.Zstd }},
		"a layer is gone": {key: site, read: 1, change: func(t *testing.T, m *made, im *Image) {
			m.registry.DeleteBlob("site/web", im.archs[0].layers[1].Digest.String())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := build(t, !c.unsigned, "gzip")
			im, err := Read(t.Context(), m.ref, Options{})
			if err != nil {
				t.Fatal(err)
			}
			o := imagebuild.Options{Snapshot: m.snapshot, Trust: m.trust, Lock: im.Lock}
			if o.Plan, err = im.PlanIn(t.Context(), t.TempDir()); err != nil {
				t.Fatal(err)
			}
			if !c.unsigned {
				o.Signer = world.SignerOf(t, testarchive.SiteKey())
			}
			if c.max > 0 {
				o.Plan.Layers.Max = c.max
				m.build(t, o)
			}
			if c.plan != nil {
				c.plan(o.Plan)
			}
			cold, err := imagebuild.Build(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer cold.Close()
			if c.change != nil {
				c.change(t, m, im)
			}
			var asked int
			var fault error
			o.Signed = func(ctx context.Context) (notes layercache.Notes) {
				asked++
				notes, fault = Notes(ctx, m.ref, Options{Site: c.key})
				return notes
			}
			var read atomic.Int64
			o.Snapshot = m.snapshot.WithBlobs(func(b snapshot.Blobs) snapshot.Blobs { return debsRead{b, m.snapshot, &read} })
			m.build(t, o)
			if n := read.Load(); n != c.read || asked != 1 {
				t.Errorf("%d .debs are read, want %d; asked %d times", n, c.read, asked)
			}
			if c.fault == "" && fault != nil || c.fault != "" && (!errors.Is(fault, outcome.ErrIntegrity) || !strings.Contains(fault.Error(), c.fault)) {
				t.Errorf("told %v, want %q", fault, c.fault)
			}
			now, err := Read(t.Context(), m.ref, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := now.Reference.Digest; got != cold.Digest() {
				t.Errorf("image %s, without notes %s", got, cold.Digest())
			}
			if n := len(now.image.Referrers); c.change == nil && c.plan == nil && n != 1 {
				t.Errorf("%d companions; what is said depends on what is kept", n)
			}
			if err := now.image.Verify(t.Context(), false, artifact.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// debsRead counts the packages that are opened.
type debsRead struct {
	snapshot.Blobs
	of *snapshot.Snapshot
	n  *atomic.Int64
}

func (d debsRead) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	for row := range d.of.Table.Rows() {
		if row.Digest == b.Digest && row.IsPackage() {
			d.n.Add(1)
			break
		}
	}
	return d.Blobs.Open(ctx, b, offset)
}

// What recipe, notes or encoder of another generation made is under other keys; a note under the key of another package is none of it.
func TestNotesOfOthers(t *testing.T) {
	m := build(t, true, "gzip")
	notes, err := Notes(t.Context(), m.ref, Options{Site: world.Ring(t, testarchive.SiteKey())})
	if err != nil || len(notes) != 3 {
		t.Fatalf("%d notes, %v", len(notes), err)
	}
	again, err := layercache.ParseNotes(notes.Encode())
	if err != nil || !bytes.Equal(again.Encode(), notes.Encode()) {
		t.Errorf("read again: %v", err)
	}
	for _, bad := range []string{"", "mmoci-image-notes-v2\n", "mmoci-image-notes-v1\nnote x 99999\nlayer", "mmoci-image-notes-v1\nnote x -1\n", "mmoci-image-notes-v1\nnote x\n", "mmoci-image-notes-v1\nnote x 6\nlayer\n"} {
		if _, err := layercache.ParseNotes([]byte(bad)); !errors.Is(err, outcome.ErrIntegrity) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	im, err := Read(t.Context(), m.ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, p := range im.Lock.Architectures[0].Packages {
		key := layercache.PackageKey(p.Deb.Digest, rootfs.Recipe{MergedUsr: true}, imageplan.Gzip)
		l, err := notes.Read(key)
		if err == nil {
			err = l.OfPackage(p.Deb, rootfs.Recipe{MergedUsr: true})
		}
		if err != nil {
			t.Errorf("%s: %v", p, err)
		}
		if l.OfPackage(p.Deb, rootfs.Recipe{}) == nil {
			t.Errorf("%s: a note of another recipe is taken", p)
		}
		if l.OfPackage(snapshot.BlobOf(nil), rootfs.Recipe{MergedUsr: true}) == nil {
			t.Errorf("%s: a note of another .deb is taken", p)
		}
		keys = append(keys, key)
	}
	notes[keys[0]], notes[keys[1]] = notes[keys[1]], notes[keys[0]]
	o := imagebuild.Options{Snapshot: m.snapshot, Trust: m.trust, Lock: im.Lock, Signed: func(context.Context) layercache.Notes { return notes }}
	if o.Plan, err = im.PlanIn(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	made, err := imagebuild.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	if made.Digest() != im.Reference.Digest {
		t.Error("the note of another package is taken")
	}
}
