// Package fetchreport says of each file of a push which place gave it, after how many tries, with which digest: as
// JSON for programs, and as a table for people. It reads nothing and asks nobody.
package fetchreport

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// Kinds of places.
const (
	Mirror   = "mirror"   // a mirror of the archive's server
	Upstream = "upstream" // the archive's server
	Dated    = "snapshot" // a service that keeps the archives of every day
	Own      = "own"      // a directory of the site's own packages
	Held     = "held"     // an earlier snapshot of the site
	There    = "there"    // nobody: the place that is pushed to had it
	Missing  = "missing"  // nobody, and it is not there
)

// File is one file.
type File struct {
	Archive string `json:"archive"` // prefix
	Path    string `json:"path"`    // below the prefix
	Digest  string `json:"digest"`
	Size    int64  `json:"size"`
	Kind    string `json:"kind"`
	// From is the address of the place that gave it; "" where it is no address.
	From  string `json:"from,omitempty"`
	Tries int    `json:"tries"` // requests, over all places
	// Failures are the places that did not give it, each with its reason.
	Failures []string `json:"failures,omitempty"`
}

// Report is about one push.
type Report struct {
	// Complete says that all that was asked for is in the snapshot.
	Complete bool `json:"complete"`
	// Missing is what could not be had, with the versions there are.
	Missing []string `json:"missing"`
	Files   []File   `json:"files"` // in order of archive and path
}

// Sort puts the files into their order.
func (r *Report) Sort() {
	slices.SortFunc(r.Files, func(a, b File) int { return cmp.Or(cmp.Compare(a.Archive, b.Archive), cmp.Compare(a.Path, b.Path)) })
}

// JSON is the report for programs.
func (r *Report) JSON() ([]byte, error) {
	out := *r
	if out.Missing == nil {
		out.Missing = []string{}
	}
	if out.Files == nil {
		out.Files = []File{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(out)
	return b.Bytes(), err
}

// Table is the report for people: a line for each file, then a line for each kind of place, then what is missing.
func (r *Report) Table() []byte {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "KIND\tTRIES\tDIGEST\tFILE\tFROM\n")
	for _, f := range r.Files {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s/%s\t%s\n", f.Kind, f.Tries, f.Digest, f.Archive, f.Path, printable(cmp.Or(f.From, "-")))
		for _, why := range f.Failures {
			fmt.Fprintf(w, "\t\t\t  not from\t%s\n", printable(why))
		}
	}
	w.Flush()
	b.WriteByte('\n')
	for _, line := range r.Totals() {
		fmt.Fprintln(&b, line)
	}
	for _, m := range r.Missing {
		fmt.Fprintln(&b, "missing:", printable(m))
	}
	return b.Bytes()
}

// Totals are how many files and bytes each kind of place gave, a line for each kind that gave any.
func (r *Report) Totals() []string {
	var out []string
	for _, kind := range []string{Mirror, Upstream, Dated, Own, Held, There, Missing} {
		files, size, tries := 0, int64(0), 0
		for _, f := range r.Files {
			if f.Kind == kind {
				files, size, tries = files+1, size+f.Size, tries+f.Tries
			}
		}
		if files > 0 {
			out = append(out, fmt.Sprintf("%s: %d files, %d bytes, %d tries", kind, files, size, tries))
		}
	}
	return out
}

// printable is a text on one line, without what could control a terminal: servers word some of it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
