package archive

import (
	"fmt"
	"strings"
	"time"
)

// dateLayout writes Date and Valid-Until as dak and apt-ftparchive do.
const dateLayout = "Mon, 02 Jan 2006 15:04:05 UTC"

// parseDate reads Date and Valid-Until of a Release: RFC 1123 as written by
// all tools ("Sat, 11 Jul 2026 09:13:40 UTC"), the other two forms of HTTP
// (RFC 9110 section 5.6.7) that apt takes, and numeric zones.
func parseDate(s string) (time.Time, error) {
	words := strings.Fields(s)
	if t, err := time.Parse("Mon Jan 2 15:04:05 2006", strings.Join(words, " ")); err == nil {
		return t, nil // asctime, which has no zone
	}
	if len(words) < 2 {
		return time.Time{}, fmt.Errorf("date %q: unknown form", s)
	}
	zone := words[len(words)-1]
	switch strings.ToUpper(zone) {
	case "UTC", "GMT", "UT", "Z":
		zone = "+0000"
	}
	text := strings.Join(words[:len(words)-1], " ") + " " + zone
	for _, layout := range []string{
		"Mon, 2 Jan 2006 15:04:05 -0700",
		"2 Jan 2006 15:04:05 -0700",
		"Monday, 02-Jan-06 15:04:05 -0700",
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("date %q: unknown form", s)
}
