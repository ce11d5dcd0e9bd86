package freeze

import (
	"cmp"
	"path"
	"strings"

	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/snapshot"
)

// Fetched tells of each file that an archive gave, or would have, where it came from so far: Options.Record must have been
// set. Indices and signature files, which are read before anything is chosen, are not among them.
func (f *Frozen) Fetched() []fetchreport.File {
	records := map[*suites.Source]map[string]upstream.Origin{}
	of := func(src *suites.Source) map[string]upstream.Origin {
		m, ok := records[src]
		if !ok {
			m = map[string]upstream.Origin{}
			if src.Up != nil {
				for _, r := range src.Up.Origins() {
					m[r.Path] = r
				}
			}
			records[src] = m
		}
		return m
	}
	seen := map[snapshot.Digest]bool{}
	var out []fetchreport.File
	for row := range f.Snapshot.Table.Rows() {
		from, ok := f.origins.m[row.Digest]
		if !ok || from.src == nil || seen[row.Digest] {
			continue
		}
		seen[row.Digest] = true
		prefix, file, _ := strings.Cut(from.name, "/")
		e := fetchreport.File{Archive: prefix, Path: file, Digest: row.Digest.String(), Size: row.Size, Kind: fetchreport.There}
		if len(from.at) == 0 {
			e.Kind = fetchreport.Own
		}
		for _, at := range from.at {
			r := of(from.src)[path.Clean(at)]
			e.Tries += r.Tries
			e.Failures = append(e.Failures, r.Failures...)
			e.From = cmp.Or(r.URL, e.From)
		}
		switch {
		case e.Tries == 0:
		case f.origins.isHeld(row.Digest):
			e.Kind, e.From = fetchreport.Held, ""
		case e.From == "":
			e.Kind = fetchreport.Missing
		default:
			e.Kind = from.src.KindOf(e.From)
		}
		out = append(out, e)
	}
	for _, r := range f.ready {
		if r.Fetched != nil {
			out = append(out, r.Fetched()...)
		}
	}
	return out
}

// Done tells the rooms that read archives that all of these is where it was pushed to.
func (f *Frozen) Done() {
	for _, r := range f.ready {
		if r.Done != nil {
			r.Done()
		}
	}
}

func (o *origins) isHeld(d snapshot.Digest) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held[d]
}
