package chaintest

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/site"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Dates along a tag strictly increase, also where it is copied or promoted to: another snapshot of an equal or older date is
// refused, naming both dates; Redate gives its content the next date, once.
func TestCopyKeepsDates(t *testing.T) {
	t.Parallel()
	d := newDaily(t, testregistry.Options{})
	pushed := d.month(3)
	o := artifact.Options{Anonymous: true}
	at := func(day int) artifact.Reference {
		ref := d.pushing.Ref
		ref.Tag = pushed[day].Immutable
		return ref
	}
	redating := &site.RedateOptions{Signer: d.pushing.Signer, Site: world.Ring(t, testarchive.SiteKey()), Now: world.Now.AddDate(0, 2, 0)}
	here := d.pushing.Ref
	here.Tag = "prod"
	dir := t.TempDir()
	for _, to := range []artifact.Reference{
		here,
		{Kind: artifact.Layout, Name: filepath.Join(dir, "layout"), Tag: "prod"},
		{Kind: artifact.Archive, Name: filepath.Join(dir, "x.tar"), Tag: "prod"},
	} {
		run := func(day int, c site.CopyOptions) (artifact.Copied, error) {
			c.From, c.To, c.Push.Options = at(day), to, o
			return site.Copy(t.Context(), c)
		}
		if _, err := run(1, site.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		if again, err := run(1, site.CopyOptions{}); err != nil || again.Changed {
			t.Errorf("%s: again: %+v, %v", to, again, err)
		}
		_, err := run(0, site.CopyOptions{})
		if !errors.Is(err, outcome.ErrRefused) || !strings.Contains(err.Error(), snapshot.FormatDate(pushed[0].Date)) || !strings.Contains(err.Error(), snapshot.FormatDate(pushed[1].Date)) {
			t.Errorf("%s: older: %v", to, err)
		}
		redated, err := run(0, site.CopyOptions{Redate: redating})
		if err != nil || !redated.Changed {
			t.Fatalf("%s: redated: %+v, %v", to, redated, err)
		}
		if err := d.verify(to); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		if s, err := place.OpenUnverified(t.Context(), to, o); err != nil || !s.Statement.Date.Equal(pushed[1].Date.Add(time.Second)) {
			t.Errorf("%s: %v, %v", to, s.Statement.Date, err)
		}
		if again, err := run(0, site.CopyOptions{Redate: redating}); err != nil || again.Changed || again.Root != redated.Root {
			t.Errorf("%s: redated again: %+v, %v", to, again, err)
		}
		if _, err := run(1, site.CopyOptions{Redate: &site.RedateOptions{Signer: redating.Signer, Now: redating.Now}}); !errors.Is(err, outcome.ErrUsage) {
			t.Errorf("%s: without a key to believe: %v", to, err)
		}
		if _, err := run(0, site.CopyOptions{AllowOlder: true}); err != nil {
			t.Errorf("%s: insisted: %v", to, err)
		}
		if _, err := run(2, site.CopyOptions{}); err != nil {
			t.Errorf("%s: newer: %v", to, err)
		}
	}
}

// Nothing is taken of the snapshot that a copy replaces but a refusal: what nobody vouches for gives no date to sign, and
// whoever insists passes a date of its own, also one that is far or the same.
func TestCopyOverUnverified(t *testing.T) {
	t.Parallel()
	d := newDaily(t, testregistry.Options{})
	pushed := d.month(1)
	o := artifact.Options{Anonymous: true}
	from := d.pushing.Ref
	from.Tag = pushed[0].Immutable
	redating := &site.RedateOptions{Signer: d.pushing.Signer, Site: world.Ring(t, testarchive.SiteKey()), Now: world.Now.AddDate(0, 2, 0)}
	for tag, date := range map[string]time.Time{"far": world.Now.AddDate(9, 0, 0), "same": pushed[0].Date} {
		evil := d.pushing
		evil.Signer = world.SignerOf(t, testarchive.DockerKey())
		evil.Ref.Tag = tag
		evil.Date, evil.Now = date, date.AddDate(0, 2, 0)
		if _, err := push.Run(t.Context(), evil); err != nil {
			t.Fatal(err)
		}
		if _, err := site.Promote(t.Context(), site.PromoteOptions{From: from, To: tag, Options: o}); !errors.Is(err, outcome.ErrRefused) || !strings.Contains(err.Error(), snapshot.FormatDate(date)) {
			t.Errorf("%s: %v", tag, err)
		}
		if _, err := site.Promote(t.Context(), site.PromoteOptions{From: from, To: tag, Options: o, Redate: redating}); !errors.Is(err, archive.ErrIntegrity) {
			t.Errorf("%s: redated: %v", tag, err)
		}
		if _, err := site.Promote(t.Context(), site.PromoteOptions{From: from, To: tag, Options: o, AllowOlder: true}); err != nil {
			t.Errorf("%s: insisted: %v", tag, err)
		}
	}
}
