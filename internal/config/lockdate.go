package config

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"example.org/mmoci/internal/config/document"
)

// PutLockDate changes the date of a canonical lock, as [Lock.Encode] makes it, in place.
func PutLockDate(canonical []byte, date time.Time) {
	copy(canonical[len(lockMagic+"\ndate "):], date.UTC().Format(lockTime))
}

// SetLockDate is a lock's text with another date; comments and the order of its
// lines stay.
func SetLockDate(name string, text []byte, date time.Time) ([]byte, error) {
	at := 0
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) >= 2 && string(f[0]) == "date" {
			at += bytes.Index(line, f[1])
			return slices.Concat(text[:at], []byte(date.UTC().Format(lockTime)), text[at+len(f[1]):]), nil
		}
		at += len(line)
	}
	return nil, document.Errorf(document.Position{File: name}, "%s", fmt.Sprintf("no date; write a line \"date %s\" below the first", date.UTC().Format(lockTime)))
}
