package freeze

import (
	"fmt"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// Dates along a tag strictly increase, to the second: whoever follows a tag by
// Last-Modified, as apt behind a plain web server does, sees each change. And a
// date is never far ahead: whoever has seen one refuses everything older.

// maxAhead is how far a date may be ahead of this host's clock: what zones and
// clocks that are set wrongly make of "now".
const maxAhead = 24 * time.Hour

// NextDate is the smallest date that clients of a snapshot of this date take.
func NextDate(replaced time.Time) time.Time { return replaced.Add(time.Second) }

// NotAhead refuses a date of more than [maxAhead] after now.
func NotAhead(date, now time.Time) error {
	if date.Sub(now) <= maxAhead {
		return nil
	}
	return fmt.Errorf("%w: date %s is more than a day after now, %s: every client that sees it would refuse what is pushed until then (set this host's clock, or give an earlier date)",
		outcome.ErrRefused, snapshot.FormatDate(date), snapshot.FormatDate(now))
}

// After refuses a date that is not later than the one that is replaced.
func After(date, replaced time.Time) error {
	if date.After(replaced) {
		return nil
	}
	return fmt.Errorf("%w: date %s is not after that of the snapshot to be replaced, %s, and the content is another; the smallest that clients take is %s",
		outcome.ErrRefused, snapshot.FormatDate(date), snapshot.FormatDate(replaced), snapshot.FormatDate(NextDate(replaced)))
}

// RunsOut tells whether a snapshot of this date has had half of its time or more.
func RunsOut(p *config.Plan, date, now time.Time) bool {
	return p.ValidFor > 0 && now.Sub(date) >= p.ValidFor/2
}

// UpstreamDates maps PREFIX/SUITE to the Date of upstream's Release, as a
// statement that is believed says.
func UpstreamDates(st *snapshot.Statement) map[string]time.Time {
	out := map[string]time.Time{}
	for _, a := range st.Archives {
		for _, s := range a.Suites {
			for _, f := range s.Files {
				if a.Mode == snapshot.Verbatim || f.Role.IsUpstream() && f.Role != snapshot.UpstreamReleaseGPG {
					out[a.Prefix+"/"+s.Name] = f.Date
				}
			}
		}
	}
	return out
}
