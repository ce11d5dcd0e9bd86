package changes

import (
	"cmp"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// joined is a package of one name and architecture that two snapshots differ in: what either has of it, over all
// archives. Each list has the highest version first.
type joined struct {
	old, now   []snapshot.Row
	gone, come []snapshot.Row // of these, what the other snapshot does not have in the same archive
	release    map[string]string
}

type key struct{ name, architecture string }

// packagesOf are the packages that differ, in order of name and architecture.
func packagesOf(old, now *snapshot.Snapshot) []*joined {
	release := releases(now)
	table := (*snapshot.Table)(nil)
	if old != nil {
		table = old.Table
		for prefix, name := range releases(old) {
			release[prefix] = name
		}
	}
	changed := map[key]*joined{}
	at := func(r snapshot.Row) *joined {
		k := key{r.Name, r.Architecture}
		if changed[k] == nil {
			changed[k] = &joined{release: release}
		}
		return changed[k]
	}
	if table == nil {
		for r := range now.Table.Rows() {
			if r.IsPackage() {
				at(r).come = append(at(r).come, r)
			}
		}
	} else {
		for c := range Tables(table, now.Table) {
			if c.Old.Path != "" {
				at(c.Old).gone = append(at(c.Old).gone, c.Old)
			}
			if c.New.Path != "" {
				at(c.New).come = append(at(c.New).come, c.New)
			}
		}
		for r := range table.Rows() {
			if p := changed[key{r.Name, r.Architecture}]; p != nil && r.IsPackage() {
				p.old = append(p.old, r)
			}
		}
	}
	for r := range now.Table.Rows() {
		if p := changed[key{r.Name, r.Architecture}]; p != nil && r.IsPackage() {
			p.now = append(p.now, r)
		}
	}
	var out []*joined
	for _, p := range changed {
		for _, list := range [][]snapshot.Row{p.old, p.now, p.gone, p.come} {
			slices.SortStableFunc(list, func(a, b snapshot.Row) int {
				return cmp.Or(-deb.Compare(a.Version, b.Version), cmp.Compare(a.Path, b.Path))
			})
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *joined) int {
		x, y := a.any(), b.any()
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Architecture, y.Architecture))
	})
	return out
}

func (p *joined) any() snapshot.Row {
	if len(p.gone) > 0 {
		return p.gone[0]
	}
	return p.come[0]
}

// releases tells of each archive which release of a distribution it belongs to: the first suite's name without what a
// suite of updates adds to it.
func releases(s *snapshot.Snapshot) map[string]string {
	out := map[string]string{}
	for _, a := range s.Statement.Archives {
		out[a.Prefix] = "archive " + a.Prefix
		if len(a.Suites) > 0 {
			if at := strings.IndexAny(a.Suites[0].Name, "-/"); at > 0 {
				out[a.Prefix] = a.Suites[0].Name[:at]
			} else if at < 0 {
				out[a.Prefix] = a.Suites[0].Name
			}
		}
	}
	return out
}

// pair is an old and a new version; the zero Row is none.
type pair struct{ old, now snapshot.Row }

// same tells whether two rows are of one version and file.
func same(a, b snapshot.Row) bool { return a.Version == b.Version && a.Digest == b.Digest }

// pairs are the changes of a package, each row of gone and come in one of them. The order of the steps says what
// counts more: what became of the same file, what the hosts of a release upgrade to, what one archive replaced,
// and at last what another one did.
func (p *joined) pairs() []pair {
	var out []pair
	gone, come := slices.Clone(p.gone), slices.Clone(p.come)
	match := func(belong func(old, now snapshot.Row) bool) {
		come = slices.DeleteFunc(come, func(now snapshot.Row) bool {
			i := slices.IndexFunc(gone, func(old snapshot.Row) bool { return belong(old, now) })
			if i >= 0 {
				out = append(out, pair{gone[i], now})
				gone = slices.Delete(gone, i, i+1)
			}
			return i >= 0
		})
	}
	match(same)
	upgraded := map[string]bool{}
	come = slices.DeleteFunc(come, func(now snapshot.Row) bool {
		release := p.release[now.Archive()]
		if upgraded[release] {
			return false // the highest new one of the release is paired
		}
		of := func(r snapshot.Row) bool { return p.release[r.Archive()] == release }
		i := slices.IndexFunc(p.old, of)
		if i < 0 || deb.Compare(p.old[i].Version, now.Version) >= 0 {
			return false
		}
		upgraded[release] = true
		old := p.old[i] // it may stay, or have moved
		gone = slices.DeleteFunc(gone, func(r snapshot.Row) bool { return r.Path == old.Path })
		out = append(out, pair{old, now})
		return true
	})
	match(func(old, now snapshot.Row) bool { return old.Archive() == now.Archive() })
	match(func(old, now snapshot.Row) bool { return true })
	for _, r := range come {
		out = append(out, pair{now: r})
	}
	for _, r := range gone {
		out = append(out, pair{old: r})
	}
	return out
}

func (a pair) change(p *joined, security map[string]bool) Change {
	r := a.now
	if r.Path == "" {
		r = a.old
	}
	c := Change{
		Archive: r.Archive(), Name: r.Name, Architecture: r.Architecture, Source: r.Source,
		Old: a.old.Version, New: a.now.Version, Kind: kindOf(a.old, a.now),
		Bytes: a.now.Size, blob: a.now.Blob(),
	}
	switch c.Kind {
	case "added":
	case "removed":
		c.Others = len(p.now) > 0
	default:
		if old := a.old.Archive(); old != c.Archive {
			c.OldArchive = old
		}
	}
	c.Security = security[c.Archive] && c.New != "" && c.Kind != "moved"
	return c
}
