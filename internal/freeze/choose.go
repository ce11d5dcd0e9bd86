package freeze

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
)

// selection is what was chosen of the curated archives.
type selection struct {
	packages map[string][]resolve.Chosen               // by prefix
	sources  map[*suites.Suite]map[string][]deb.Stanza // by component
	own      map[string][]debdir.OwnSource             // the site's own sources, by prefix
	used     map[*suites.Index]bool                    // something was chosen from
	reasons  map[string]string                         // of a lock, by lockKey: see reason
	notes    []string                                  // remarks for people
	missing  []string                                  // what was asked for and cannot be had
	versions func(name string) []string                // that there are of a package
	newer    []Newer
}

// closure is a set of packages with the reasons that a lock gives for them.
type closure struct {
	packages []resolve.Chosen
	notes    []string
	missing  []string
	reasons  map[string]string // by lockKey; nil without a lock
}

// choose computes the closure of what the curated archives ask for, over all
// archives; it is empty if none is curated. A lock takes the place of the
// closure as far as it goes.
func choose(f Options, archives []*suites.Archive, ready []ReadyArchive, absent absent) (*selection, error) {
	req, err := request(f, archives, absent)
	if err != nil {
		return nil, err
	}
	if req == nil {
		return &selection{}, nil
	}
	indices, from := resolveIndices(archives)
	for _, r := range ready { // they are here whole, as verbatim ones
		for _, ix := range r.Indices {
			if ix.Architecture != "source" {
				indices, from = append(indices, ix), append(from, nil)
			}
		}
	}
	built, err := wishBuildDepends(archives, req)
	if err != nil {
		return nil, err
	}
	indices = append(indices, built.indices...)
	u, err := universe(f, indices)
	if err != nil {
		return nil, err
	}
	var chosen *closure
	if f.Lock == nil {
		chosen, err = resolveAll(f, u, *req)
	} else {
		chosen, err = chooseLocked(f, archives, indices, u, *req)
	}
	if err != nil {
		return nil, err
	}
	chosen.packages = withoutWishes(chosen.packages)
	sel := &selection{
		packages: map[string][]resolve.Chosen{}, sources: map[*suites.Suite]map[string][]deb.Stanza{}, own: ownSources(f.Lock, archives), used: map[*suites.Index]bool{},
		reasons: chosen.reasons, notes: chosen.notes, newer: newer(u, *req, chosen.packages), missing: chosen.missing,
	}
	if f.KeepGoing {
		sel.versions = func(name string) []string { return versionsOf(u, name) }
	}
	for _, c := range chosen.packages {
		sel.packages[c.Archive] = append(sel.packages[c.Archive], c)
		sel.used[from[c.Index]] = true
	}
	for _, r := range ready {
		delete(sel.packages, r.Archive.Prefix) // it is taken whole
	}
	for _, a := range archives {
		switch {
		case a.Verbatim:
			delete(sel.packages, a.Prefix) // it is taken whole
		case a.TakesSources():
			if err := sel.chooseSources(a, built.sources[a]); err != nil {
				return nil, err
			}
		}
	}
	return sel, u.Err()
}

// resolveAll is the closure without a lock. Where the rest goes on it is that of the roots that have one.
func resolveAll(f Options, u *resolve.Universe, req resolve.Request) (*closure, error) {
	var missing []string
	for {
		res, err := u.Resolve(req)
		if err == nil {
			return &closure{packages: res.Packages, notes: res.Notes, missing: missing}, nil
		}
		un, ok := errors.AsType[*resolve.Unsatisfied](err)
		if !f.KeepGoing || !ok {
			return nil, unsatisfied(err, u)
		}
		left := slices.DeleteFunc(slices.Clone(req.Roots), func(r resolve.Root) bool {
			return slices.ContainsFunc(un.Roots, func(f resolve.RootFailure) bool { return f.Root != nil && r == *f.Root })
		})
		if len(left) == len(req.Roots) { // it is none of the roots
			return nil, unsatisfied(err, u)
		}
		for _, failed := range un.Roots {
			if failed.Root != nil {
				missing = append(missing, fmt.Sprintf("%s: %s", failed.Root.Origin, strings.Join(failed.Chain, "; ")))
			}
		}
		req.Roots = left
	}
}

// versionsOf are those that there are of a package, for a message.
func versionsOf(u *resolve.Universe, name string) (out []string) {
	for _, p := range u.Versions(name) {
		if s := fmt.Sprintf("%s %s in %s", p.Version, p.Architecture, p.Archive); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// CheckPlan refuses what cannot be asked for, all of it at once, before the network is asked anything.
func CheckPlan(plan *config.Plan, add []config.Query) error {
	if len(plan.Archives)+len(plan.Others) == 0 {
		return fmt.Errorf("%w: no archives: there is nothing to read", outcome.ErrUsage)
	}
	queries := append(slices.Clip(add), plan.Packages...)
	for _, a := range plan.Archives {
		queries = append(slices.Clip(queries), a.Packages...)
	}
	var faults document.Faults
	for _, q := range queries {
		if _, err := query.Parse(q.Text); err != nil {
			faults.Add(document.Errorf(q.Position, "%w", err))
		}
	}
	return faults.Err()
}

// request puts the wishes of all archives together; nil if nothing is curated.
// Lines of lists that are absent are not asked for.
func request(f Options, archives []*suites.Archive, absent absent) (*resolve.Request, error) {
	req := resolve.Request{Recommends: f.Plan.Recommends}
	curated := false
	for _, a := range archives {
		curated = curated || !a.Verbatim
		for _, arch := range a.AllArchitectures() { // over all archives; the first is native
			if !slices.Contains(req.Architectures, arch) {
				req.Architectures = append(req.Architectures, arch)
			}
		}
		switch {
		case a.Verbatim, a.None:
		case a.All, a.Debs != "" && len(a.Packages) == 0 && len(a.Own.Packages) > 0:
			req.AllOf = append(req.AllOf, a.Prefix)
		}
		there := a.Packages
		if len(absent) > 0 {
			there = slices.DeleteFunc(slices.Clone(there), func(q config.Query) bool { return absent[q.Exact] != nil })
		}
		if err := addRoots(f, &req, a.Prefix, there); err != nil {
			return nil, err
		}
	}
	if !curated {
		return nil, nil
	}
	if len(req.Architectures) == 0 {
		req.Architectures = []string{unnamed}
	}
	for _, anywhere := range [][]config.Query{f.Plan.Packages, f.Add} {
		if err := addRoots(f, &req, "", anywhere); err != nil {
			return nil, err
		}
	}
	return &req, nil
}

// universe says on the log which stanzas are malformed: one of them may be what somebody misses.
func universe(f Options, indices []resolve.Index) (*resolve.Universe, error) {
	u, err := resolve.NewUniverse(indices)
	if errors.Is(err, resolve.ErrDuplicate) {
		err = fmt.Errorf("%w: %w; take one of the two out, or give one another version", outcome.ErrUsage, err)
	}
	if err != nil {
		return nil, err
	}
	for i, s := range u.Skipped() {
		if i == maxSkippedSaid {
			f.Log.Printf("malformed, left out: %d more", len(u.Skipped())-i)
			break
		}
		f.Log.Printf("malformed, left out: %s", s)
	}
	return u, nil
}

// maxSkippedSaid bounds how many malformed stanzas are named one by one.
const maxSkippedSaid = 20

// unsatisfied adds to a failed closure that a package may have been left out as malformed.
func unsatisfied(err error, u *resolve.Universe) error {
	if n := len(u.Skipped()); n > 0 && errors.Is(err, resolve.ErrUnsatisfied) {
		return fmt.Errorf("%w\n%d malformed stanzas were left out, the first: %s", err, n, u.Skipped()[0])
	}
	return err
}

// unnamed is the architecture whose index lists own .debs that are all for any:
// apt asks for the index of its own.
const unnamed = "amd64"

// addRoots adds what is asked of one archive or, archive being "", of any.
func addRoots(f Options, req *resolve.Request, archive string, queries []config.Query) error {
	for _, q := range queries {
		parsed, err := query.Parse(q.Text)
		if err != nil {
			return fmt.Errorf("%s: %w", q.Position, err)
		}
		for _, w := range parsed.Warnings() {
			f.Log.Printf("%s: %s", q.Position, w)
		}
		req.Roots = append(req.Roots, resolve.Root{Query: parsed, Archive: archive, Origin: q.Position.String()})
	}
	return nil
}

// resolveIndices are the Packages indices for the resolver, and for each the
// index of upstream's that it comes from; nil for own packages.
func resolveIndices(archives []*suites.Archive) (out []resolve.Index, from []*suites.Index) {
	for _, a := range archives {
		for _, s := range a.ReadSuites {
			for _, ix := range s.Indices {
				if ix.Arch == "source" || ix.Text == nil {
					continue
				}
				from = append(from, ix)
				out = append(out, resolve.Index{
					Archive: a.Prefix, Suite: s.Name, Names: []string{s.Release.Suite, s.Release.Codename}, Component: ix.Component, Architecture: ix.Arch,
					Path: s.Dir + "/" + ix.Path, Text: ix.Text, Pin: s.Release.Pin(), SkipPhased: a.SkipPhased, Whole: a.All && !a.Verbatim,
					Keep: keeps(a),
				})
			}
		}
		if len(a.Own.Packages) > 0 {
			from = append(from, nil)
			out = append(out, resolve.Index{
				Archive: a.Prefix, Suite: a.Prefix, Component: debdir.SiteComponent, Path: a.Debs, Data: joinStanzas(a.Own.Packages), Pin: 500,
			})
		}
	}
	return out, from
}

func joinStanzas(files []debdir.OwnPackage) []byte {
	var b bytes.Buffer
	for _, f := range files {
		b.Write(bytes.TrimRight(f.Stanza, "\n"))
		b.WriteString("\n\n")
	}
	return b.Bytes()
}

// chooseSources finds the sources of the chosen packages in the archive's own
// Sources indices. One that is not there is noted, not refused: archives do not
// have all of theirs.
func (sel *selection) chooseSources(a *suites.Archive, built []suites.SourceID) error {
	wanted := map[suites.SourceID]string{} // to a package that wants it
	for _, id := range built {
		wanted[id] = "build-depends"
	}
	for _, c := range sel.packages[a.Prefix] {
		if !a.WithSources {
			break
		}
		name, version := c.Stanza.Source()
		id := suites.SourceID{Name: name, Version: version}
		if _, ok := wanted[id]; !ok {
			wanted[id] = c.Name
		}
	}
	for _, s := range a.ReadSuites {
		taken := map[string][]deb.Stanza{}
		for _, ix := range s.Indices {
			if ix.Arch != "source" || ix.Text == nil {
				continue
			}
			found, err := ix.Sources(wanted)
			if err != nil {
				return fmt.Errorf("archive %s: suite %s: index %s: %w", a.Prefix, s.Name, ix.Path, err)
			}
			if len(found) > 0 {
				sel.used[ix] = true
				taken[ix.Component] = append(taken[ix.Component], found...)
			}
		}
		for _, stanzas := range taken {
			slices.SortFunc(stanzas, func(x, y deb.Stanza) int {
				return cmp.Or(cmp.Compare(x.Get("Package"), y.Get("Package")), deb.Compare(x.Get("Version"), y.Get("Version")), cmp.Compare(string(x), string(y)))
			})
		}
		sel.sources[s] = taken
	}
	for id, of := range wanted {
		sel.notes = append(sel.notes, fmt.Sprintf("archive %s: source %s %s (of %s) is not in its Sources indices", a.Prefix, id.Name, id.Version, of))
	}
	slices.Sort(sel.notes)
	return nil
}

// reason is why a package is in the snapshot: as the lock says where it names
// the package, for a closure that is taken from a lock must not depend on how it
// is found again; else as it was found.
func (sel *selection) reason(a *suites.Archive, c resolve.Chosen) string {
	if len(sel.reasons) > 0 {
		if r, ok := sel.reasons[lockKey(c.Archive, c.Name, c.Version, c.Architecture, c.SHA256)]; ok {
			return r
		}
	}
	if built := a.BuiltOf[c.SHA256]; built != "" {
		return c.Reason.String() + config.BuiltReason + built
	}
	return c.Reason.String()
}

// Newer is a package asked of one archive, of which another archive has a newer
// version that apt would choose.
type Newer struct {
	Query   string `json:"query"` // as it was asked, in canonical form
	Archive string `json:"archive"`
	Name    string `json:"name"`
	Version string `json:"version"` // what the archive gave
	In      string `json:"in"`      // the other archive
	Newer   string `json:"newer"`   // what it has
}

// Say is the remark for people; list is where packages are asked of all archives.
func (n Newer) Say(list string) string {
	return fmt.Sprintf("%s: %s %s is taken, for it is asked of %s; %s has %s, newer; %s takes it", n.Archive, n.Name, n.Version, n.Archive, n.In, n.Newer, list)
}

// newer tells which roots of one archive have a newer version in another.
func newer(u *resolve.Universe, req resolve.Request, chosen []resolve.Chosen) []Newer {
	var out []Newer
	for _, n := range u.Newer(req, chosen) {
		// Copies: a package's strings are views of its stanza.
		out = append(out, Newer{
			Query: n.Root.Query.String(), Archive: n.Root.Archive, Name: strings.Clone(n.Taken.Name),
			Version: strings.Clone(n.Taken.Version), In: n.Newer.Archive, Newer: strings.Clone(n.Newer.Version),
		})
	}
	slices.SortStableFunc(out, func(a, b Newer) int {
		return strings.Compare(a.Archive+" "+a.Name+" "+a.Query, b.Archive+" "+b.Name+" "+b.Query)
	})
	return slices.Compact(out)
}
