package extract

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// wishes tells by prefix which files of an archive only asks for: see [TreeOptions]. An archive that nobody asks for has
// none. A wish that nothing fits is outcome.ErrNotFound with what there is: what somebody counts on must not go missing silently.
func wishes(s *snapshot.Snapshot, only []string) (map[string]func(snapshot.Row) bool, error) {
	out := map[string]func(snapshot.Row) bool{}
	everything := func(snapshot.Row) bool { return true }
	if len(only) == 0 {
		for _, a := range s.Statement.Archives {
			out[a.Prefix] = everything
		}
		return out, nil
	}
	globs := map[string][]string{}
	for _, wish := range only {
		prefix, glob, some := strings.Cut(wish, "/")
		a := s.Statement.Archive(prefix)
		switch {
		case a == nil:
			return nil, fmt.Errorf("%w: no archive %.200q; there are %s", outcome.ErrNotFound, prefix, strings.Join(prefixes(s.Statement), ", "))
		case !some || glob == "":
			out[prefix] = everything
			continue
		case a.Format != snapshot.FormatFiles:
			return nil, fmt.Errorf("%w: %.200q: archive %s is of format %s, of which a part cannot be proved: take %s whole", outcome.ErrUsage, wish, prefix, a.Format, prefix)
		}
		fits, err := plainFiles(s, a, glob)
		if err != nil {
			return nil, fmt.Errorf("%w: %.200q: %w", outcome.ErrUsage, wish, err)
		}
		if len(fits) == 0 {
			all, _ := plainFiles(s, a, "*")
			return nil, fmt.Errorf("%w: no file of archive %s fits %.200q; there are %s", outcome.ErrNotFound, prefix, glob, first(all, 10))
		}
		globs[prefix] = append(globs[prefix], fits...)
	}
	for prefix, names := range globs {
		if out[prefix] != nil {
			continue // it is asked for whole, too
		}
		a := s.Statement.Archive(prefix)
		slices.Sort(names)
		out[prefix] = func(r snapshot.Row) bool {
			name, plain := a.PlainFile(r)
			if !plain { // lists and signatures
				of, signature := strings.CutSuffix(strings.TrimPrefix(r.Path, "upstream/"), ".asc")
				file, listed := s.Table.Find(of)
				if name, plain = a.PlainFile(file); !signature || !listed || !plain {
					return true
				}
			}
			_, wanted := slices.BinarySearch(names, name)
			return wanted
		}
	}
	return out, nil
}

// plainFiles are the paths below an archive of plain files that a glob fits.
func plainFiles(s *snapshot.Snapshot, a *snapshot.Archive, glob string) (out []string, err error) {
	if _, err := path.Match(glob, ""); err != nil {
		return nil, fmt.Errorf("no glob: * ? and [..] have a meaning: %w", err)
	}
	for r := range s.Table.Under(a.Prefix + "/") {
		name, ok := a.PlainFile(r)
		if !ok {
			continue
		}
		fits, _ := path.Match(glob, name)
		if !fits && !strings.Contains(glob, "/") {
			fits, _ = path.Match(glob, path.Base(name))
		}
		if fits {
			out = append(out, name)
		}
	}
	return out, nil
}

func prefixes(st *snapshot.Statement) (out []string) {
	for _, a := range st.Archives {
		out = append(out, a.Prefix)
	}
	return out
}

// first is a list for a message.
func first(names []string, most int) string {
	if len(names) > most {
		names = append(slices.Clone(names[:most]), "..")
	}
	return strings.Join(names, ", ")
}
