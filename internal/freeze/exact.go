package freeze

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
)

// absent are the lines of lists whose files no index has.
type absent map[*config.Exact]error

// texts says them, in the order of the lists.
func (m absent) texts() []string {
	var out []string
	for _, err := range m {
		out = append(out, err.Error())
	}
	slices.Sort(out)
	return out
}

// checkExact holds lists of exact versions against the archives: the file that a line names by its URL must be of the
// package and version of the line, as its signed stanza says. A file that no index has is ErrNotFound, or is handed back
// where the rest goes on.
func checkExact(archives []*suites.Archive, keepGoing bool) (absent, error) {
	var faults document.Faults
	missing := absent{}
	for _, a := range archives {
		faults.Add(checkLines(a, missing))
	}
	if !keepGoing {
		for _, a := range archives {
			for _, q := range a.Packages { // in the order of the list
				faults.Add(missing[q.Exact])
			}
		}
		missing = nil
	}
	return missing, faults.Err()
}

// checkLines holds the lines of one archive against its indices, and adds those that none has to missing.
func checkLines(a *suites.Archive, missing absent) error {
	wanted := a.Pools()
	if len(wanted) == 0 {
		return nil
	}
	var faults document.Faults
	for _, s := range a.ReadSuites {
		for _, ix := range s.Indices {
			if ix.Arch == "source" || ix.Text == nil {
				continue
			}
			in := deb.NewIndexReader(ix.Text.Open())
			for {
				st, err := in.Next()
				if err == io.EOF {
					break
				}
				if _, malformed := errors.AsType[*deb.StanzaError](err); malformed {
					continue
				}
				if err != nil {
					return fmt.Errorf("archive %s: suite %s: index %s: %w", a.Prefix, s.Name, ix.Path, err)
				}
				q, ok := wanted[st.Get("Filename")]
				if !ok {
					continue
				}
				if name, version := st.Get("Package"), st.Get("Version"); name != q.Exact.Name || version != q.Exact.Version {
					faults.Add(fmt.Errorf("%w: %s: %s, but the file of its URL, %s, is %s %s in %s of archive %s; correct the line", outcome.ErrIntegrity,
						q.Position, q.Exact, q.Exact.Pool, name, version, s.Name, a.Prefix))
				}
				delete(wanted, q.Exact.Pool)
			}
		}
	}
	for _, q := range a.Packages {
		if q.Exact == nil || q.Exact.Pool == "" {
			continue
		}
		if _, missing := wanted[q.Exact.Pool]; !missing {
			continue
		}
		hint := "its version has gone, or is of another suite or component"
		if a.Dated != "" {
			hint = "name the suite that had it in dated-suites:, or its component"
		}
		missing[q.Exact] = fmt.Errorf("%w: %s: %s: no index of %v, component %v, of %s lists %s: %s", outcome.ErrNotFound,
			q.Position, q.Exact, a.Suites, a.Components, a.Up, q.Exact.Pool, hint)
	}
	return faults.Err()
}

// keeps tells which pool files of an archive may be chosen; nil is all. Of a dated one it is what the list names: what
// those depend on comes from the archives of today, or from another line.
func keeps(a *suites.Archive) func(archive.PackageFile) bool {
	if a.Dated == "" {
		return nil
	}
	wanted := a.Pools()
	return func(f archive.PackageFile) bool {
		_, ok := wanted[f.Filename]
		return ok
	}
}
