package snapshot

import (
	"encoding/binary"
	"time"
)

// ModTime is the modification time that a file is served and written with:
// 2000-01-01 UTC plus 28 bits of its digest in seconds (about eight and a half
// years). A function of the content alone, so that apt, which asks by time
// whether a file changed, sees every change and nothing else; the Release's
// Date would hide a changed selection under the same Date.
func ModTime(d Digest) time.Time {
	seconds := binary.BigEndian.Uint32(d[:4]) >> 4
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}
