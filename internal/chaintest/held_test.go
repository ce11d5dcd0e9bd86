package chaintest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// A snapshot that holds a lock's day proves what it holds: the file that the
// lock names is the one that counts, and whatever lies beside it must verify and say the same.
func TestHeldIsBelievedInNothing(t *testing.T) {
	t.Parallel()
	const dir = "docker/dists/bookworm/"
	day := testarchive.DefaultDate()
	put := func(draft *forge.Draft, role snapshot.Role, name string, data []byte, date time.Time) {
		draft.Put(dir+name, data)
		s := &draft.Archives[0].Suites[0]
		if f := s.File(role); f != nil {
			f.Blob, f.Date = snapshot.BlobOf(data), date
			return
		}
		s.Files = append(s.Files, snapshot.SuiteFile{Role: role, Blob: snapshot.BlobOf(data), Date: date, Path: dir + name})
		slices.SortFunc(s.Files, func(a, b snapshot.SuiteFile) int { return strings.Compare(a.Path, b.Path) })
	}
	built := func(t testing.TB, detached bool, date time.Time) testarchive.Files {
		a := dailyArchive()
		s := a.Suite(t, "bookworm")
		s.NoInRelease, s.Date = detached, date
		return a.Build(t)
	}
	for _, c := range []struct {
		name     string
		detached bool // upstream has no InRelease, and the lock names its Release
		edit     func(t testing.TB, draft *forge.Draft)
		refused  bool
		of       time.Time // what is pushed, where it is not refused
	}{
		{"as it was", false, func(testing.TB, *forge.Draft) {}, false, day},
		{"detached, as it was", true, func(testing.TB, *forge.Draft) {}, false, day},
		{"another Release beside", false, func(t testing.TB, draft *forge.Draft) {
			old := built(t, true, day.AddDate(-1, 0, 0))
			put(draft, snapshot.Release, "Release", old["dists/bookworm/Release"], day)
			put(draft, snapshot.ReleaseGPG, "Release.gpg", old["dists/bookworm/Release.gpg"], day)
		}, true, day},
		{"an unsigned Release beside", false, func(t testing.TB, draft *forge.Draft) {
			text, _, err := pgp.VerifyClearsigned(draft.Read(dir+"InRelease"), pgp.Trust{})
			if err != nil {
				t.Fatal(err)
			}
			put(draft, snapshot.Release, "Release", text, day)
			draft.Remove(dir + "Release.gpg")
			s := &draft.Archives[0].Suites[0]
			s.Files = slices.DeleteFunc(s.Files, func(f snapshot.SuiteFile) bool { return f.Role == snapshot.ReleaseGPG })
		}, true, day},
		{"an older InRelease of upstream's beside the Release that is locked", true, func(t testing.TB, draft *forge.Draft) {
			put(draft, snapshot.InRelease, "InRelease", built(t, false, day.AddDate(-1, 0, 0))["dists/bookworm/InRelease"], day)
		}, false, day},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := unsignedDaily(t)
			d.up.Replace(built(t, c.detached, day))
			first, _, _ := d.push()
			draft := d.draftOf(t)
			p := d.pushing
			p.Lock = parsedLock(t, first.Frozen.Snapshot)
			c.edit(t, draft)
			held := forge.Write(t, draft.Seal(forge.Unsigned), testarchive.MemoryDir(t), "held")
			p.Previous = &held
			p.Ref.Tag = "elsewhere"
			d.up.Replace(built(t, c.detached, day.AddDate(0, 0, 1)))
			res, err := push.Run(t.Context(), p)
			switch {
			case c.refused && !errors.Is(err, outcome.ErrIntegrity):
				t.Errorf("got %v", err)
			case !c.refused && err != nil:
				t.Errorf("got %v", err)
			case !c.refused && res.Root != first.Root:
				t.Errorf("another root than that of the lock's day")
			}
		})
	}
}
