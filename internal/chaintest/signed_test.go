package chaintest

import (
	"bytes"
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// TestVerbatimSignatureFiles holds that a verbatim archive carries InRelease,
// Release and Release.gpg as far as upstream has them, byte for byte, that
// readers verify each form, and that no two of different days come together.
func TestVerbatimSignatureFiles(t *testing.T) {
	t.Parallel()
	const dir = "dists/bookworm/"
	all := []string{"InRelease", "Release", "Release.gpg"}
	for _, c := range []struct {
		name    string
		change  func(t *testing.T, m *mover, files testarchive.Files) // what upstream has
		carried []string
		reads   int // of Release, if it is asked for at all
		says    string
	}{
		{"all three", func(*testing.T, *mover, testarchive.Files) {}, all, 1, ""},
		{"InRelease alone", func(_ *testing.T, _ *mover, files testarchive.Files) {
			delete(files, dir+"Release")
			delete(files, dir+"Release.gpg")
		}, all[:1], 1, ""},
		{"no Release.gpg", func(_ *testing.T, _ *mover, files testarchive.Files) { delete(files, dir+"Release.gpg") }, all[:2], 1, ""},
		{"no Release", func(_ *testing.T, _ *mover, files testarchive.Files) { delete(files, dir+"Release") }, all[:1], 1, ""},
		{"no InRelease", func(_ *testing.T, _ *mover, files testarchive.Files) { delete(files, dir+"InRelease") }, all[1:], 1, ""},
		{"Release of another day", func(t *testing.T, _ *mover, files testarchive.Files) {
			for _, name := range all[1:] {
				files[dir+name] = dayOf(t, 1)[dir+name]
			}
		}, all[:1], suites.Rereads + 1, "Release, Release.gpg (not of one text with InRelease"},
		{"Release.gpg of another day", func(t *testing.T, _ *mover, files testarchive.Files) {
			files[dir+"Release.gpg"] = dayOf(t, 1)[dir+"Release.gpg"]
		}, all[:1], suites.Rereads + 1, "Release, Release.gpg (not of one text with InRelease"},
		{"published while it is read", func(t *testing.T, m *mover, _ testarchive.Files) {
			m.server.Fault(func(p string, n int) testarchive.Broken {
				if p == dir+"Release" && n == 1 {
					m.server.Replace(dayOf(t, 1))
				}
				return testarchive.Broken{}
			})
		}, all, 2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMover(t)
			m.plan.Archives[0].All, m.plan.Archives[0].Verbatim = false, true
			files := dayOf(t, 0)
			m.server.Replace(files)
			c.change(t, m, files)
			m.server.Replace(files)
			res, err := m.push(t)
			if err != nil {
				t.Fatal(err)
			}
			s := res.Frozen.Snapshot
			if c.name == "published while it is read" {
				files = dayOf(t, 1)
			}
			var got []string
			for _, f := range s.Statement.Archive("docker").Suites[0].Files {
				got = append(got, path.Base(f.Path))
				data, err := s.ReadBlob(t.Context(), f.Blob, snapshot.MaxRelease)
				if want := files[strings.TrimPrefix(f.Path, "docker/")]; err != nil || !bytes.Equal(data, want) {
					t.Errorf("%s is not upstream's (%v)", f.Path, err)
				}
				if row, ok := s.Table.Find(f.Path); !ok || row.Blob() != f.Blob {
					t.Errorf("%s is not served", f.Path)
				}
			}
			if !slices.Equal(got, c.carried) {
				t.Errorf("carries %v, want %v", got, c.carried)
			}
			reads := 0
			for _, r := range m.server.Requests() {
				if strings.Contains(r, dir+"Release ") {
					reads++
				}
			}
			if reads != c.reads {
				t.Errorf("Release was read %d times, want %d", reads, c.reads)
			}
			if said := strings.Join(res.Frozen.Dropped, "; "); (c.says == "") != (said == "") || !strings.Contains(said, c.says) {
				t.Errorf("left out: %q", said)
			}
			s.Root = res.Root
			trust := prove.Trust{Upstream: map[string]*pgp.Keyring{"docker": world.Ring(t, testarchive.DockerKey())}, Now: world.Now.AddDate(0, 1, 0)}
			if _, err := prove.Verify(t.Context(), prove.Options{Snapshot: s, Trust: trust}); err != nil {
				t.Errorf("verify: %v", err)
			}
		})
	}
}

// TestVerbatimReleaseUnsigned holds that a Release without Release.gpg is
// believed as far as InRelease says the same, and not beside another or alone.
func TestVerbatimReleaseUnsigned(t *testing.T) {
	t.Parallel()
	const dir = "security/dists/bookworm-security/"
	for _, c := range []struct {
		name string
		edit func(d *forge.Draft)
		says string // "": it is believed
	}{
		{"the same text", func(*forge.Draft) {}, ""},
		{"another text", func(d *forge.Draft) {
			text := append(d.Read(dir+"Release"), "Comment: more\n"...)
			d.Put(dir+"Release", text)
			d.Archive("security").Suites[0].File(snapshot.Release).Blob = snapshot.BlobOf(text)
		}, "InRelease and Release differ"},
		{"no InRelease", func(d *forge.Draft) {
			d.Remove(dir + "InRelease")
			s := &d.Archive("security").Suites[0]
			s.Files = slices.DeleteFunc(s.Files, func(f snapshot.SuiteFile) bool { return f.Role == snapshot.InRelease })
		}, "no good signature by a trusted key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := world.Draft(t, world.Good())
			d.Remove(dir + "Release.gpg")
			s := &d.Archive("security").Suites[0]
			s.Files = slices.DeleteFunc(s.Files, func(f snapshot.SuiteFile) bool { return f.Role == snapshot.ReleaseGPG })
			c.edit(d)
			sealed := d.Seal(forge.Unsigned)
			packed, err := artifact.Pack(sealed)
			if err != nil {
				t.Fatal(err)
			}
			sealed.Root = packed.Root()
			_, err = prove.Verify(t.Context(), prove.Options{Snapshot: sealed, Trust: world.UpstreamTrust(t)})
			switch {
			case c.says == "" && err != nil:
				t.Errorf("got %v", err)
			case c.says != "" && (!errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), c.says)):
				t.Errorf("got %v", err)
			}
		})
	}
}
