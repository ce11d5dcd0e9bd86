package chaintest

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/lock"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// newLocalDaily is the daily site pushing to a layout.
func newLocalDaily(t testing.TB) *daily {
	t.Helper()
	d := newDaily(t, testregistry.Options{})
	d.pushing.State = ""
	d.pushing.Ref = artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(testarchive.MemoryDir(t), "mirror"), Tag: "day"}
	return d
}

// draftOf takes what the tag names apart.
func (d *daily) draftOf(t testing.TB) *forge.Draft {
	t.Helper()
	s, err := place.OpenUnverified(t.Context(), d.pushing.Ref, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return forge.Open(t, s)
}

// nextDay lets upstream publish another version, at a Date so much later.
func (d *daily) nextDay(t testing.TB, later time.Duration) {
	t.Helper()
	a := dailyArchive()
	s := a.Suite(t, "bookworm")
	s.Date = testarchive.DefaultDate().Add(later)
	s.Package(t, "alpha").Version = "1.1"
	d.up.Replace(a.Build(t))
}

var anyDate = regexp.MustCompile(`(?m)^Date: .*$`)

// redateDraft gives a draft another date, wherever the date input stands.
func redateDraft(d *forge.Draft, date time.Time) {
	d.EditLock("date "+snapshot.FormatDate(d.Date), "date "+snapshot.FormatDate(date))
	d.Date = date
	for i := range d.Archives {
		a := &d.Archives[i]
		for j := range a.Suites {
			if a.Mode == snapshot.Verbatim {
				continue
			}
			dir := snapshot.SuiteDir(a.Prefix, a.Suites[j].Name) + "/"
			text := anyDate.ReplaceAllLiteralString(string(d.Read(dir+"Release")), "Date: "+date.Format("Mon, 02 Jan 2006 15:04:05 UTC"))
			d.SetRelease(dir, text, forge.Mallory())
			for k := range a.Suites[j].Files {
				if f := &a.Suites[j].Files[k]; !f.Role.IsUpstream() {
					f.Date = date
				}
			}
		}
	}
}

func year(y int) time.Time { return time.Date(y, 12, 31, 0, 0, 0, 0, time.UTC) }

// forgedPrevious are snapshots that whoever can write to the place can put under the tag.
func forgedPrevious() map[string]func(t testing.TB, d *daily) {
	dated := func(date time.Time, m forge.Making) func(testing.TB, *daily) {
		return func(t testing.TB, d *daily) {
			draft := d.draftOf(t)
			redateDraft(draft, date)
			forge.Write(t, draft.Seal(m), d.pushing.Ref.Name, d.pushing.Ref.Tag)
		}
	}
	return map[string]func(testing.TB, *daily){
		"unsigned, of 2099": dated(year(2099), forge.Unsigned),
		"foreign, of 2099":  dated(year(2099), forge.Foreign),
		"unsigned, of 2020": dated(year(2020), forge.Unsigned),
		"foreign, of 2020":  dated(year(2020), forge.Foreign),
		"another table": func(t testing.TB, d *daily) {
			draft := d.draftOf(t)
			draft.Drop("own")
			forge.Write(t, draft.Seal(forge.Kept), d.pushing.Ref.Name, d.pushing.Ref.Tag)
		},
		"no artifact of ours": func(t testing.TB, d *daily) {
			forge.EditDocuments(t, d.pushing.Ref, func(docs *forge.Documents) {
				docs.Core = []byte(strings.ReplaceAll(string(docs.Core), "application/vnd.mmoci.snapshot.config.v1+json", "application/vnd.example.config.v1+json"))
			})
		},
	}
}

// A snapshot that nobody vouches for is believed in nothing: not in its date,
// not in upstream's, not in its keys. The push stops; told to go on it asks for a date and takes that.
func TestPreviousIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, forge := range forgedPrevious() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newLocalDaily(t)
			d.push()
			forge(t, d)
			named := func() snapshot.Digest {
				root, err := artifact.Resolve(t.Context(), d.pushing.Ref, artifact.Options{})
				if err != nil {
					t.Fatal(err)
				}
				return root
			}
			forged := named()
			d.nextDay(t, -time.Hour) // older than in any snapshot here
			typed := testarchive.DefaultDate().Add(48 * time.Hour)
			want, why := outcome.ErrIntegrity, "not signed by the site: statement: "
			switch name {
			case "another table":
				why = "table: sha256:"
			case "no artifact of ours":
				want, why = artifact.ErrNotOurs, ""
			}
			for _, how := range []func(p *push.Options){
				func(*push.Options) {},
				func(p *push.Options) { p.DateAuto = true },
				func(p *push.Options) { p.Date = typed },
				func(p *push.Options) { p.Artifact.Recheck = true },
			} {
				p := d.pushing
				how(&p)
				if _, err := push.Run(t.Context(), p); !errors.Is(err, want) || !strings.Contains(err.Error(), why) || !strings.Contains(worded(err), "replace it") {
					t.Errorf("got %v", err)
				}
			}
			p := d.pushing
			p.ReplaceUnverified = true
			for _, auto := range []bool{false, true} {
				p.DateAuto = auto
				if _, err := push.Run(t.Context(), p); !errors.Is(err, outcome.ErrUsage) {
					t.Errorf("without a date: %v", err)
				}
			}
			p.DateAuto, p.Date = false, year(2099)
			if _, err := push.Run(t.Context(), p); !errors.Is(err, outcome.ErrRefused) {
				t.Errorf("dated 2099: %v", err)
			}
			if named() != forged {
				t.Fatal("the tag has moved")
			}
			p.Date = typed
			res, err := push.Run(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if !res.Date.Equal(typed) || named() != res.Root {
				t.Errorf("pushed %s of %s, the tag names %s", res.Root, snapshot.FormatDate(res.Date), named())
			}
			// And from there on everything counts again.
			if _, err := push.Run(t.Context(), d.pushing); err != nil {
				t.Errorf("the day after: %v", err)
			}
		})
	}
}

// The site's own snapshot counts: under the signer's key, under a key of before that trust: names, and nothing else.
func TestPreviousCountsUnderTheSitesKeys(t *testing.T) {
	t.Parallel()
	d := newLocalDaily(t)
	d.push()
	d.nextDay(t, -time.Hour)
	if _, err := push.Run(t.Context(), d.pushing); !errors.Is(err, outcome.ErrRefused) || !strings.Contains(worded(err), "allow an older suite [bookworm]") {
		t.Errorf("upstream went back: %v", err)
	}
	d.pushing.AllowOlder = []string{"bookworm"}
	p := d.pushing
	p.Signer = world.SignerOf(t, testarchive.NewKey("of next year"))
	if _, err := push.Run(t.Context(), p); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(worded(err), string(outcome.EarlierKey)) {
		t.Errorf("another key: %v", err)
	}
	p.Site = world.Ring(t, testarchive.SiteKey())
	if _, err := push.Run(t.Context(), p); err != nil {
		t.Errorf("the old key is known: %v", err)
	}
}

// unsignedDaily is a site without a key: docker verbatim.
func unsignedDaily(t testing.TB) *daily {
	d := newLocalDaily(t)
	d.pushing.Signer = nil
	d.pushing.Plan.Archives = d.pushing.Plan.Archives[:1]
	a := &d.pushing.Plan.Archives[0]
	a.Verbatim, a.Packages = true, nil
	return d
}

// Where the site has no key, upstream's Releases count under upstream's key, and a date up to now.
func TestPreviousWithoutAnyKeyOfTheSite(t *testing.T) {
	t.Parallel()
	signedBy := func(key *testarchive.Key, date time.Time) func(t testing.TB, draft *forge.Draft) {
		return func(t testing.TB, draft *forge.Draft) {
			a := dailyArchive()
			a.Keys = []*testarchive.Key{key}
			a.Suite(t, "bookworm").Date = date
			built := a.Build(t)
			for i := range draft.Archives[0].Suites[0].Files {
				f := &draft.Archives[0].Suites[0].Files[i]
				draft.Put(f.Path, built[strings.TrimPrefix(f.Path, "docker/")])
				f.Date = date
			}
		}
	}
	date := testarchive.DefaultDate()
	for _, c := range []struct {
		name string
		edit func(t testing.TB, draft *forge.Draft)
		want error  // of a push on upstream's next day
		text string // of the error
	}{
		{"as it is", func(testing.TB, *forge.Draft) {}, nil, ""},
		{"another's Release", signedBy(forge.Mallory(), date.AddDate(-1, 0, 0)), outcome.ErrIntegrity, "upstream's Release does not verify"},
		{"a later Release of upstream's own", signedBy(testarchive.DockerKey(), date.Add(2*time.Hour)), outcome.ErrRefused, "allow an older suite"},
		{"of 2099", func(_ testing.TB, draft *forge.Draft) { redateDraft(draft, year(2099)) }, outcome.ErrIntegrity, "which is after now"},
		{"a date of the Release that it has not", func(_ testing.TB, draft *forge.Draft) {
			draft.Archives[0].Suites[0].File(snapshot.InRelease).Date = date.AddDate(-1, 0, 0)
		}, outcome.ErrIntegrity, "the statement says"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := unsignedDaily(t)
			d.push()
			draft := d.draftOf(t)
			c.edit(t, draft)
			forge.Write(t, draft.Seal(forge.Unsigned), d.pushing.Ref.Name, d.pushing.Ref.Tag)
			d.nextDay(t, time.Hour)
			_, err := push.Run(t.Context(), d.pushing)
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(worded(err), c.text) {
				t.Errorf("got %v, want %v %q", err, c.want, c.text)
			}
		})
	}
}

// Along a tag dates strictly increase; equal content is no new snapshot.
func TestDatesIncreaseAlongATag(t *testing.T) {
	t.Parallel()
	day := testarchive.DefaultDate()
	for _, c := range []struct {
		name   string
		change func(t testing.TB, p *push.Options, d *daily)
		want   time.Time // of the snapshot; zero: refused
	}{
		{"nothing", func(testing.TB, *push.Options, *daily) {}, day},
		{"nothing, with a date", func(_ testing.TB, p *push.Options, _ *daily) { p.Date = day.Add(time.Hour) }, day},
		{"the selection", func(_ testing.TB, p *push.Options, _ *daily) { p.Plan.Archives[0].Packages[0].Text = "gamma" }, day.Add(time.Second)},
		{"the key", func(t testing.TB, p *push.Options, _ *daily) {
			p.Site, p.Signer = p.Signer.Public(), world.SignerOf(t, testarchive.NewKey("another"))
		}, day.Add(time.Second)},
		{"the label", func(_ testing.TB, p *push.Options, _ *daily) { p.Plan.Archives[0].Label = "ours" }, day.Add(time.Second)},
		{"upstream, a second later", func(t testing.TB, _ *push.Options, d *daily) { d.nextDay(t, time.Second) }, day.Add(time.Second)},
		{"upstream, a day later", func(t testing.TB, _ *push.Options, d *daily) { d.nextDay(t, 24*time.Hour) }, day.Add(24 * time.Hour)},
		{"the selection, with the same date", func(_ testing.TB, p *push.Options, _ *daily) {
			p.Plan.Archives[0].Packages[0].Text, p.Date = "gamma", day
		}, time.Time{}},
		{"the selection, with an earlier date", func(_ testing.TB, p *push.Options, _ *daily) {
			p.Plan.Archives[0].Packages[0].Text, p.Date = "gamma", day.Add(-time.Second)
		}, time.Time{}},
		{"the selection, with a lock of the same date", func(t testing.TB, p *push.Options, _ *daily) {
			p.Plan.Archives[0].Packages[0].Text = "gamma"
			lock, err := lock.Make(t.Context(), freezingOf(*p), nil)
			if err != nil {
				t.Fatal(err)
			}
			p.Lock = lock
		}, time.Time{}},
		{"the same, and auto", func(t testing.TB, p *push.Options, _ *daily) {
			p.Plan.Archives[0].Packages[0].Text = "gamma"
			lock, err := lock.Make(t.Context(), freezingOf(*p), nil)
			if err != nil {
				t.Fatal(err)
			}
			p.Lock, p.DateAuto = lock, true
		}, day.Add(time.Second)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newLocalDaily(t)
			first, _, _ := d.push()
			if !first.Date.Equal(day) {
				t.Fatalf("the first is of %s", snapshot.FormatDate(first.Date))
			}
			p := d.pushing
			c.change(t, &p, d)
			res, err := push.Run(t.Context(), p)
			if c.want.IsZero() {
				if !errors.Is(err, outcome.ErrRefused) || !strings.Contains(err.Error(), "smallest that clients take is "+snapshot.FormatDate(day.Add(time.Second))) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !res.Date.Equal(c.want) || res.Changed != c.want.After(day) || !res.Changed && res.Root != first.Root {
				t.Errorf("of %s, changed %t", snapshot.FormatDate(res.Date), res.Changed)
			}
		})
	}
}

// Archives of own .debs have no date; after the first push it follows from what is replaced.
func TestOwnDebsNeedADateOnce(t *testing.T) {
	t.Parallel()
	d := newLocalDaily(t)
	d.pushing.Plan.Archives = d.pushing.Plan.Archives[1:]
	d.pushing.Plan.Archives[0].All = true
	if _, err := push.Run(t.Context(), d.pushing); !errors.Is(err, outcome.ErrUsage) {
		t.Fatalf("got %v", err)
	}
	d.pushing.Date = world.Date
	d.push()
	d.pushing.Date = time.Time{}
	if res, _, _ := d.push(); res.Changed {
		t.Error("nothing changed, and it was pushed")
	}
	if err := os.WriteFile(d.own, d.deb("1.1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if res, _, _ := d.push(); !res.Date.Equal(world.Date.Add(time.Second)) {
		t.Errorf("of %s", snapshot.FormatDate(res.Date))
	}
}

// With valid-for the date is now, and while more than half of it is left the same content is left alone.
func TestValidForIsRenewedInTime(t *testing.T) {
	t.Parallel()
	for _, state := range []bool{false, true} { // with a note of the last push, and without
		d := newLocalDaily(t)
		d.pushing.Plan.ValidFor = 10 * 24 * time.Hour
		if state {
			d.pushing.State = t.TempDir()
		}
		start := d.pushing.Now
		var dates []string
		for day := range 12 {
			d.pushing.Now = start.AddDate(0, 0, day)
			res, _, _ := d.push()
			if res.Changed {
				dates = append(dates, snapshot.FormatDate(res.Date))
			}
		}
		want := []string{snapshot.FormatDate(start), snapshot.FormatDate(start.AddDate(0, 0, 5)), snapshot.FormatDate(start.AddDate(0, 0, 10))}
		if got := strings.Join(dates, " "); got != strings.Join(want, " ") {
			t.Errorf("pushed on %s, want %s", got, want)
		}
		// A date that was given is not changed, but told about; auto renews.
		d.pushing.Now = start.AddDate(0, 0, 19)
		s, err := prove.Open(t.Context(), d.pushing.Ref, prove.Trust{Site: world.Ring(t, testarchive.SiteKey()), Now: d.pushing.Now}, artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if want := start.AddDate(0, 0, 20); !s.Statement.ValidUntil.Equal(want) {
			t.Errorf("valid until %s, want %s", s.Statement.ValidUntil, want)
		}
		lock := parsedLock(t, s)
		d.pushing.Lock = lock
		if res, _, _ := d.push(); res.Changed {
			t.Error("the lock's date was changed")
		}
		d.pushing.DateAuto = true
		if res, _, _ := d.push(); !res.Date.Equal(d.pushing.Now) {
			t.Errorf("auto: of %s", snapshot.FormatDate(res.Date))
		}
	}
}

func parsedLock(t testing.TB, s *snapshot.Snapshot) *config.Lock {
	t.Helper()
	text, err := s.ReadLock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := config.ParseLock("lock", text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What a push read as previous is what the tag must still name when it moves.
func TestPushExpectsWhatItRead(t *testing.T) {
	t.Parallel()
	d := newLocalDaily(t)
	d.push()
	d.nextDay(t, time.Hour)
	other := newLocalDaily(t)
	other.up, other.pushing.Plan = d.up, d.pushing.Plan
	other.pushing.Ref = d.pushing.Ref
	other.pushing.Date = testarchive.DefaultDate().Add(2 * time.Hour)
	once := false
	d.up.Fault(func(p string, _ int) testarchive.Broken {
		if strings.HasSuffix(p, ".deb") && !once {
			once = true
			other.push()
		}
		return testarchive.Broken{}
	})
	if _, err := push.Run(t.Context(), d.pushing); !errors.Is(err, artifact.ErrMoved) {
		t.Errorf("got %v", err)
	}
}

// TestWritePrevious lays out, for scripts that push over them with the real program, what
// whoever can write to a registry can make of the snapshot in the layout $MMOCI_PREVIOUS/honest, tag
// day: a layout beside it for each, by name. Without the variable it does so with a snapshot of its own.
func TestWritePrevious(t *testing.T) {
	dir := os.Getenv("MMOCI_PREVIOUS")
	if dir == "" {
		d := newLocalDaily(t)
		d.push()
		dir = filepath.Dir(d.pushing.Ref.Name)
		if err := os.Rename(d.pushing.Ref.Name, filepath.Join(dir, "honest")); err != nil {
			t.Fatal(err)
		}
	}
	s, err := place.OpenUnverified(t.Context(), artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(dir, "honest"), Tag: "day"}, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	other := forge.Mallory().Fingerprint()
	for name, edit := range map[string]func(d *forge.Draft){
		"2099": func(d *forge.Draft) { redateDraft(d, year(2099)) },
		"2020": func(d *forge.Draft) {
			redateDraft(d, year(2020))
			for i := range d.Archives {
				for j := range d.Archives[i].Suites {
					for k := range d.Archives[i].Suites[j].Files {
						d.Archives[i].Suites[j].Files[k].Date = year(2020)
					}
				}
			}
		},
		"pins": func(d *forge.Draft) {
			d.Lock = regexp.MustCompile(`(?m)^(key-url \S+) \S+`).ReplaceAll(d.Lock, []byte("$1 "+other))
		},
	} {
		for _, m := range []forge.Making{forge.Unsigned, forge.Foreign} {
			d := forge.Open(t, s)
			edit(d)
			forge.Write(t, d.Seal(m), filepath.Join(dir, name+"-"+string(m)), "day")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other.asc"), forge.Mallory().Public(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPreviousUnnamed: what a push of an archive without a suite's name takes, the next one takes as what it replaces.
func TestPreviousUnnamed(t *testing.T) {
	t.Parallel()
	d := unsignedDaily(t)
	unnamed := func(date time.Time) {
		a := dailyArchive()
		s := a.Suite(t, "bookworm")
		s.Date = date
		s.EditRelease = func(text []byte) []byte {
			return regexp.MustCompile(`(?m)^(Suite|Codename): .*\n`).ReplaceAll(text, nil)
		}
		d.up.Replace(a.Build(t))
	}
	d.pushing.Plan.Archives[0].UnnamedRelease = true
	unnamed(testarchive.DefaultDate())
	d.push()
	unnamed(testarchive.DefaultDate().Add(time.Hour))
	if res, _, _ := d.push(); !res.Changed {
		t.Error("the next day changed nothing")
	}
	unnamed(testarchive.DefaultDate().Add(-time.Hour))
	if _, err := push.Run(t.Context(), d.pushing); !errors.Is(err, outcome.ErrRefused) || !strings.Contains(worded(err), "allow an older suite") {
		t.Errorf("an older day: %v", err)
	}
}

// freezingOf is what a push freezes.
func freezingOf(p push.Options) freeze.Options {
	return freeze.Options{Plan: p.Plan, Signer: p.Signer, Date: p.Date, Lock: p.Lock, Locked: p.Locked, Keys: p.Keys, Now: p.Now, Log: p.Log}
}
