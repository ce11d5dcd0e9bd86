package chaintest

import (
	"errors"
	"path/filepath"
	"testing"

	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// TestHostileDocumentsWithoutKey: who looks at a snapshot, copies it or serves it needs no key, and
// is as safe from its documents: refused with the same exit code, or not read, in bounded memory.
func TestHostileDocumentsWithoutKey(t *testing.T) {
	good := world.Draft(t, world.Good()).Seal(forge.Kept)
	refusals := 0
	for _, h := range hostileDocuments() {
		t.Run(h.name, func(t *testing.T) {
			ref := forge.Write(t, good, filepath.Join(testarchive.MemoryDir(t), "layout"), "hostile")
			forge.EditDocuments(t, ref, h.edit)
			to := artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(testarchive.MemoryDir(t), "copy"), Tag: "hostile"}
			var errs [3]error
			used := allocated(func() {
				_, errs[0] = place.OpenUnverified(t.Context(), ref, artifact.Options{})
				_, errs[1] = artifact.Copy(t.Context(), ref, to, artifact.PushOptions{})
				_, errs[2] = (&place.Source{Ref: ref}).Open(t.Context(), "")
			})
			for i, err := range errs {
				if err != nil {
					refused(t, err, exitOf(err), "")
					refusals++
				}
				lost := errors.Is(err, snapshot.ErrNotExist) || errors.Is(err, artifact.ErrNotFound)
				if exit := exitOf(err); err != nil && exit != h.exit && !lost {
					t.Errorf("reader %d: exit %d: %v; want %d", i, exit, err, h.exit)
				}
			}
			if errs[1] == nil { // bytes are copied as they are; whoever reads them says the same as before
				_, err := place.OpenUnverified(t.Context(), to, artifact.Options{})
				if exitOf(err) != exitOf(errs[0]) {
					t.Errorf("copied, %v; before, %v", err, errs[0])
				}
			}
			if used > maxHostile {
				t.Errorf("%d bytes allocated", used)
			}
		})
	}
	if least := 2 * len(hostileDocuments()); refusals < least {
		t.Errorf("%d refusals, want at least %d", refusals, least)
	}
}

// TestHostileArchivesWithoutKey: beside archives that one has a key for lies a hostile one that
// one has none for. Nothing of it is of use to anybody, and it costs bounded memory, whatever is wrong with it.
func TestHostileArchivesWithoutKey(t *testing.T) {
	good := world.Draft(t, world.Good())
	for _, h := range testarchive.HostileArchives() {
		t.Run(h.Name, func(t *testing.T) {
			if unpackable()[h.Name] {
				return
			}
			d := good.Clone()
			addVerbatim(d, "toy", "toy", h.Files(t))
			ref := forge.Write(t, d.Seal(forge.Foreign), filepath.Join(testarchive.MemoryDir(t), "layout"), "hostile")
			trust := world.UpstreamTrust(t)
			dirs := []string{filepath.Join(testarchive.MemoryDir(t), "docker"), filepath.Join(testarchive.MemoryDir(t), "top"), filepath.Join(testarchive.MemoryDir(t), "tree")}
			var errs [4]error
			used := allocated(func() {
				s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
				if err != nil { // the statement cannot even say what it has
					errs = [4]error{err, err, err, err}
					return
				}
				_, errs[0] = extract.Run(t.Context(), extract.Options{Snapshot: s, Trust: trust, Queries: []string{"docker-ce"}, Dir: dirs[0], Architecture: "amd64"})
				_, errs[1] = extract.Run(t.Context(), extract.Options{Snapshot: s, Trust: trust, Queries: []string{"top"}, Dir: dirs[1], Architecture: "amd64"})
				_, errs[2] = extract.Tree(t.Context(), extract.TreeOptions{Snapshot: s, Trust: trust, Dir: dirs[2]})
				_, errs[3] = prove.Verify(t.Context(), prove.Options{Snapshot: s, Trust: trust, Hash: true, Ref: ref})
			})
			if (errs[0] == nil) != (len(debsIn(t, dirs[0])) > 0) {
				t.Errorf("%s: docker-ce, which needs nothing of it: %v, %d .debs", h.Why, errs[0], len(debsIn(t, dirs[0])))
			}
			for i, err := range errs[1:3] {
				if err == nil || len(debsIn(t, dirs[i+1])) > 0 {
					t.Errorf("%s: reader %d: %v, %d .debs", h.Why, i, err, len(debsIn(t, dirs[i+1])))
				}
				refused(t, err, exitOf(err), "")
			}
			for _, err := range []error{errs[0], errs[3]} {
				refused(t, err, exitOf(err), "")
			}
			if used > maxHostile {
				t.Errorf("%d bytes allocated", used)
			}
		})
	}
}
