package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Incomplete is the error of a push with KeepGoing where something could not be had. No tag was moved.
type Incomplete struct {
	Missing  []string // each with the versions there are, a line or more
	Packages int      // that could be had; they are uploaded, unless with DryRun
	Held     string   // the tag that holds them; "": a layout, or nothing was uploaded

	lost int // of Missing, files that were listed upstream
}

func (e *Incomplete) Error() string {
	held := ""
	if e.Held != "" {
		held = ", which tag " + e.Held + " holds"
	}
	return fmt.Sprintf("incomplete: %d missing; no tag was moved; %d packages could be had%s; the same command fetches only the missing:\n%s",
		len(e.Missing), e.Packages, held, strings.Join(e.Missing, "\n"))
}

// incomplete puts together what is missing of what was asked for, and of what was pushed; nil if nothing is.
func (o Options) incomplete(draft *freeze.Draft, s *snapshot.Snapshot, missing []string, err error) *Incomplete {
	pushed, ok := errors.AsType[*artifact.Incomplete](err)
	if !ok && (err != nil || len(missing) == 0) {
		return nil
	}
	e := &Incomplete{Missing: missing}
	if !ok {
		return e
	}
	e.Held, e.lost = pushed.Held, len(pushed.Missing)
	lost := map[snapshot.Digest]bool{}
	for _, m := range pushed.Missing {
		lost[m.Digest] = true
	}
	gone, rpms := map[string]bool{}, map[string][]string{} // by name; of RPM repositories, by archive and name
	for row := range s.Table.Rows() {
		if !row.IsPackage() {
			continue
		}
		if lost[row.Digest] {
			gone[row.Name+" "+versionOf(row)] = true
		} else if isRPM(s, row) {
			key := row.Archive() + " " + row.Name
			rpms[key] = append(rpms[key], versionOf(row))
		}
	}
	for _, m := range pushed.Missing {
		text := fmt.Sprintf("%s: %v", m.Path, m.Err)
		if row, ok := s.Table.Find(m.Path); ok && row.IsPackage() {
			others := rpms[row.Archive()+" "+row.Name]
			if !isRPM(s, row) {
				others = slices.DeleteFunc(draft.Versions(row.Name), func(v string) bool { return gone[row.Name+" "+v] })
			}
			if len(others) == 0 {
				others = []string{"no other version"}
			}
			text = fmt.Sprintf("%s %s %s %s: listed, but %v; there is %s", row.Archive(), row.Name, row.Version, row.Architecture, m.Err, strings.Join(others, ", "))
		}
		e.Missing = append(e.Missing, text)
	}
	return e
}

// versionOf is what a [freeze.Draft] says of a version.
func versionOf(r snapshot.Row) string {
	return fmt.Sprintf("%s %s in %s", r.Version, r.Architecture, r.Archive())
}

func isRPM(s *snapshot.Snapshot, r snapshot.Row) bool {
	a := s.Statement.Archive(r.Archive())
	return a != nil && a.Format == snapshot.FormatRPM
}

// hasMoved tells whether upstream changed since it was read; where that cannot be told, it did not.
func (d *dated) hasMoved(ctx context.Context) bool {
	moved, err := d.Frozen.Moved(ctx)
	return err == nil && moved != ""
}

func sumOf(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
