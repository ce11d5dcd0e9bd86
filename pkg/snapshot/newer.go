package snapshot

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNewer marks what a newer mmoci wrote and this one cannot read: it is not
// damaged, so it is no [ErrIntegrity].
var ErrNewer = errors.New("written by a newer mmoci")

// Newer is the error for a part of a snapshot ("snapshot format 2") that this
// program does not know. needs is the version of mmoci that the snapshot says it
// takes; it is told as it is, unless it is no version.
func Newer(what, needs string) error {
	if !isRelease(needs) {
		return fmt.Errorf("%w: %s needs a newer mmoci", ErrNewer, what)
	}
	return fmt.Errorf("%w: %s needs mmoci >= %s", ErrNewer, what, needs)
}

// isRelease tells whether s is numbers joined by dots, as versions of mmoci are: it comes from others and is printed.
func isRelease(s string) bool {
	const most = 20
	if len(s) > most {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return false
		}
	}
	return true
}

// statementStem begins the first line of a statement, before the version of the format.
const statementStem = "mmoci-statement-v"

// knownWords are the words that lines of version 1 begin with.
var knownWords = map[string]bool{
	"date": true, "valid-until": true, "encoder": true, "table": true, "lock": true,
	"archive": true, "upstream-key": true, "suite": true, "file": true,
}

// laterWords are those that version 2 adds.
var laterWords = map[string]bool{"image": true, "referrer": true, "formats": true, "merge": true}

// laterVersion tells whether a statement is of a later version than this program writes,
// and gives that and what follows the first line.
func laterVersion(text string) (version, rest string, later bool) {
	first, rest, _ := strings.Cut(text, "\n")
	version, ok := strings.CutPrefix(first, statementStem)
	return version, rest, ok && isRelease(version) && version[0] != '0' && version != "1" && !strings.Contains(version, ".")
}

// refuseLater says of a statement of a later version than 1, whose first line was cut off, which mmoci it needs, if this
// program does not know all of its words. It passes over no line: each could restrict what may be believed.
func refuseLater(version, rest string) error {
	first, rest, ended := strings.Cut(rest, "\n")
	needs, ok := strings.CutPrefix(first, "needs ")
	if !ok || !ended || !isRelease(needs) {
		return fmt.Errorf("statement line 2: not \"needs\" and a version of mmoci: %w", ErrIntegrity)
	}
	if version != "2" {
		return Newer("statement of version "+version, needs)
	}
	line, later := 2, false
	for text := range strings.Lines(rest) {
		line++
		word, _, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
		if !knownWords[word] && !laterWords[word] {
			return Newer(fmt.Sprintf("statement line %d, %.80q,", line, word), needs)
		}
		if word == "formats" {
			for format := range strings.FieldsSeq(strings.TrimPrefix(text, word)) {
				if format != FormatFiles && format != FormatRPM {
					return Newer(fmt.Sprintf("statement line %d, an archive of format %.80q,", line, format), needs)
				}
			}
		}
		later = later || laterWords[word]
	}
	if !later {
		return fmt.Errorf("statement of version 2 without a line that version 1 lacks: %w", ErrIntegrity)
	}
	return nil
}
