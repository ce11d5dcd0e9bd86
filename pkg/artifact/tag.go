package artifact

import (
	"regexp"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// Tag is a tag of a repository or layout.
type Tag struct {
	Name   string
	Digest snapshot.Digest
	Date   time.Time // of an immutable tag's name, else zero
}

const tagTime = "20060102T150405Z"

// immutableTag is NAME-20060102T150405Z-HEX12: date input and root.
func immutableTag(name string, date time.Time, root snapshot.Digest) string {
	return name + "-" + date.UTC().Format(tagTime) + "-" + root.Hex()[:12]
}

// immutableStem is the NAME of an immutable tag, "" of any other tag.
func immutableStem(tag string) string {
	if tagDate(tag).IsZero() {
		return ""
	}
	return tag[:len(tag)-immutableEnd]
}

// maxAlias leaves room for what immutable and checkpoint tags append.
const maxAlias = maxTag - immutableEnd

const immutableEnd = len("-" + tagTime + "-0123456789ab")

// tagDate is the date in an immutable tag's name, zero for any other tag.
func tagDate(name string) time.Time {
	m := regexp.MustCompile(`-([0-9]{8}T[0-9]{6}Z)-[0-9a-f]{12}$`).FindStringSubmatch(name)
	if m == nil {
		return time.Time{}
	}
	t, err := time.Parse(tagTime, m[1])
	if err != nil {
		return time.Time{}
	}
	return t
}

// Removed is the outcome of Remove.
type Removed struct {
	Tags []string // that are gone
	// Kept are tags that stay because somebody moved a tag meanwhile: theirs, or one to the snapshot that they name.
	Kept []string
	// Refused are the tags that the registry does not let go, in whose place stands why.
	Refused []string
	Reason  error
	// Files and Bytes are what a layout shrank by; a registry frees by its own collection.
	Files int
	Bytes int64
}
