package chaintest

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/lock"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// A signature is of the time of its text, and at push its key is one that apt takes
// today; but a file that the lock names is the one that it names.
func TestPushJudgesSignaturesByTheirTime(t *testing.T) {
	t.Parallel()
	day := testarchive.DefaultDate()
	good := testarchive.DockerKey()
	ended := testarchive.NewExpiringKey("ended in 2012", time.Date(2012, 1, 1, 0, 0, 0, 0, time.UTC))
	ending := testarchive.NewExpiringKey("ends the day after", day.AddDate(0, 0, 1))
	for _, c := range []struct {
		name     string
		at       time.Time // of the signatures
		keys     []*testarchive.Key
		detached bool
		locked   bool
		want     error
		text     string
	}{
		{"of the day", day, []*testarchive.Key{good}, false, false, nil, ""},
		{"of the day before", day.Add(-24 * time.Hour), []*testarchive.Key{good}, false, false, nil, ""},
		{"of two days before", day.Add(-24*time.Hour - time.Second), []*testarchive.Key{good}, false, false, outcome.ErrIntegrity, "before the date of the text"},
		{"of 2011, by a key that ended in 2012", time.Date(2011, 6, 1, 0, 0, 0, 0, time.UTC), []*testarchive.Key{ended}, false, false, outcome.ErrExpired, "expired 2012-01-01"},
		{"the same, detached", time.Date(2011, 6, 1, 0, 0, 0, 0, time.UTC), []*testarchive.Key{ended}, true, false, outcome.ErrExpired, "expired 2012-01-01"},
		{"the same, locked", time.Date(2011, 6, 1, 0, 0, 0, 0, time.UTC), []*testarchive.Key{ended}, false, true, outcome.ErrIntegrity, "before the date of the text"},
		{"by a key that has ended since", day, []*testarchive.Key{ending}, false, false, outcome.ErrExpired, "expired 2026-01-11"},
		{"the same, detached ", day, []*testarchive.Key{ending}, true, false, outcome.ErrExpired, "expired 2026-01-11"},
		{"by one that has ended and a good one", day, []*testarchive.Key{ending, good}, false, false, nil, ""},
		{"by a key that has ended since, locked", day, []*testarchive.Key{ending}, false, true, nil, ""},
		{"the same, detached, locked", day, []*testarchive.Key{ending}, true, true, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newLocalDaily(t)
			files := dailyArchive().Build(t)
			text := files["dists/bookworm/Release"]
			files["dists/bookworm/InRelease"] = testarchive.ClearsignAll(t, text, c.at, c.keys...)
			files["dists/bookworm/Release.gpg"] = testarchive.DetachAll(t, text, c.at, c.keys...)
			if c.detached {
				delete(files, "dists/bookworm/InRelease")
			}
			d.up.Replace(files)
			var public []byte
			for _, k := range []*testarchive.Key{good, ended, ending} {
				public = append(public, k.Public()...)
			}
			if err := os.WriteFile(d.pushing.Plan.Archives[0].SignedBy, public, 0o600); err != nil {
				t.Fatal(err)
			}
			p := d.pushing
			if c.locked {
				f := freezingOf(p)
				f.Now = day // when it was good
				lock, err := lock.Make(t.Context(), f, nil)
				if err != nil { // it was never good, so the lock is made by hand
					lock = &config.Lock{Date: day, Archives: []config.LockArchive{{Prefix: "docker", Mode: "curated", Class: "upstream", Releases: []config.LockRelease{
						{Suite: "bookworm", Digest: snapshot.Sum(files["dists/bookworm/InRelease"]).String(), Date: day},
					}}}}
				}
				p.Lock = lock
			}
			_, err := push.Run(t.Context(), p)
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) || errors.Is(err, outcome.ErrIntegrity) && c.want == outcome.ErrExpired {
				t.Errorf("got %v, want %v %q", err, c.want, c.text)
			}
		})
	}
}

// The site's statement is signed when it is made, and for no longer than its signature says.
func TestStatementSignatureDates(t *testing.T) {
	t.Parallel()
	d := newLocalDaily(t)
	d.push()
	draft := d.draftOf(t)
	redateDraft(draft, draft.Date.AddDate(0, 0, 1))
	backdated := draft.Seal(forge.Resigned)
	text, _, err := pgp.VerifyClearsigned(backdated.StatementBytes, pgp.Trust{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   time.Time
		want error
	}{
		{draft.Date, nil},
		{draft.Date.Add(-24 * time.Hour), nil},
		{draft.Date.Add(-25 * time.Hour), outcome.ErrIntegrity},
	} {
		backdated.StatementBytes = testarchive.SiteKey().Clearsign(t, text, c.at)
		ref := forge.Write(t, backdated, testarchive.MemoryDir(t), "day")
		trust := world.SiteTrust(t)
		trust.Now = draft.Date
		if _, err := prove.Open(t.Context(), ref, trust, d.pushing.Artifact.Options); !errors.Is(err, c.want) {
			t.Errorf("signed %s before its date: %v, want %v", draft.Date.Sub(c.at), err, c.want)
		}
	}
}
