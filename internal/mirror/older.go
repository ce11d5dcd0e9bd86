package mirror

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// notOlder refuses a snapshot that apt would silently ignore where the old one
// was served: an older Date.
func (p Pushing) notOlder(old, now *snapshot.Statement) error {
	if now.Date.Before(old.Date) {
		return fmt.Errorf("%w: date %s is before that of the snapshot to be replaced; the smallest that clients take is %s (--date auto takes it)",
			ErrRefused, stamp(now.Date), stamp(old.Date))
	}
	was := upstreamDates(old)
	for key, d := range upstreamDates(now) {
		_, suite, _ := strings.Cut(key, "/")
		if d.Before(was[key]) && !slices.Contains(p.AllowOlder, suite) && !slices.Contains(p.AllowOlder, key) {
			return fmt.Errorf("%w: upstream's %s is of %s, in the snapshot to be replaced it is of %s (--allow-older %s insists)",
				ErrRefused, key, stamp(d), stamp(was[key]), suite)
		}
	}
	return nil
}

// upstreamDates maps PREFIX/SUITE to the Date of upstream's Release.
func upstreamDates(st *snapshot.Statement) map[string]time.Time {
	out := map[string]time.Time{}
	for _, a := range st.Archives {
		for _, s := range a.Suites {
			for _, f := range s.Files {
				if a.Mode == snapshot.Verbatim || f.Role == snapshot.UpstreamInRelease || f.Role == snapshot.UpstreamRelease {
					out[a.Prefix+"/"+s.Name] = f.Date
				}
			}
		}
	}
	return out
}
