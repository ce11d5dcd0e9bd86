package prove

import (
	"errors"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// An expired signature of the site's (gpg --default-sig-expire) is too old wherever the
// clock is asked, and not where a digest was given.
func TestExpiredSignatureOfTheSite(t *testing.T) {
	t.Parallel()
	day := testarchive.DefaultDate()
	st := &snapshot.Statement{Date: day, How: pgp.How{Kind: pgp.Signed, Time: day, Expires: day.AddDate(0, 0, 7)}}
	s := &snapshot.Snapshot{Statement: st}
	site, err := pgp.ReadKeyring(testarchive.SiteKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		now    time.Time
		pinned bool
		want   error
	}{
		{day.AddDate(0, 0, 7), false, nil},
		{day.AddDate(0, 0, 8), false, outcome.ErrExpired},
		{day.AddDate(0, 0, 8), true, nil},
	} {
		trust := Trust{Site: site, Now: c.now}
		if err := trust.admits(artifact.Reference{}, s, c.pinned); !errors.Is(err, c.want) {
			t.Errorf("%s, pinned %t: %v", c.now, c.pinned, err)
		}
	}
}
