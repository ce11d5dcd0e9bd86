package snapshot

import (
	"encoding/binary"
	"time"
)

// ModTime is the modification time of a pool file: 2000-01-01 UTC plus 28 bits
// of its digest in seconds (about eight and a half years). A function of the
// content alone, and of no use to tell which of two files is newer: what changes
// under its name has the snapshot's date.
func ModTime(d Digest) time.Time {
	seconds := binary.BigEndian.Uint32(d[:4]) >> 4
	return firstModTime().Add(time.Duration(seconds) * time.Second)
}

// IsModTime tells whether ModTime gives a time to any digest.
func IsModTime(t time.Time) bool {
	since := t.Sub(firstModTime())
	return since >= 0 && since < 1<<28*time.Second && since%time.Second == 0
}

func firstModTime() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }
