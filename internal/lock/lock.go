// Package lock makes locks, compares them, and explains them.
package lock

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// Make resolves the plan to exact versions and digests. f.Lock's versions are
// kept, if it is set (which is how something is added to a lock: f.Add). old is the
// lock that will be replaced, nil if there is none: where a line of it changes, the date
// becomes later, for along a tag dates strictly increase; else it stays.
func Make(ctx context.Context, f freeze.Options, old *config.Lock) (*config.Lock, error) {
	if err := freeze.CheckPlan(f.Plan, f.Add); err != nil {
		return nil, err
	}
	if f.Lock != nil {
		// Its versions, not its day: the new lock's indices may be newer.
		l := *f.Lock
		l.Date = f.Date
		f.Lock = &l
	}
	if old != nil {
		f.Replaces = old.Date
	}
	draft, err := freeze.Gather(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := f.Keys.Keep(); err != nil {
		return nil, err
	}
	for _, n := range draft.Notes {
		f.Log.Printf("%s", n)
	}
	for _, n := range draft.Newer {
		f.Log.Printf("%s", n.Say(f.Plan.CommonList))
	}
	date := draft.Wanted
	if old != nil {
		same := draft.LockBlob(old.Date) == snapshot.BlobOf(old.Encode())
		switch {
		case same && (date.Equal(old.Date) || !draft.Given && !freeze.RunsOut(f.Plan, old.Date, f.Now)):
			date = old.Date
		case date.After(old.Date):
		case draft.Given:
			return nil, fmt.Errorf("%w: date %s is not after the lock's, %s; the smallest is %s", outcome.ErrRefused, snapshot.FormatDate(date), snapshot.FormatDate(old.Date), snapshot.FormatDate(freeze.NextDate(old.Date)))
		default:
			date = freeze.NextDate(old.Date)
		}
	}
	return draft.Lock(date), freeze.NotAhead(date, f.Now)
}

// pinned is what a lock pins of one package, or of one Release of a verbatim archive.
type pinned struct{ prefix, name, arch string }

// version is one of its versions: as it is shown, and with all that must be the same.
type version struct{ shown, exact string }

// pins is what a lock pins: packages of curated archives, Releases and the
// presence of indices of verbatim ones. (A curated archive's indices may change
// daily without changing a chosen package.)
func pins(l *config.Lock) map[pinned][]version {
	out := map[pinned][]version{}
	add := func(k pinned, v version) { out[k] = append(out[k], v) }
	for _, m := range l.Images {
		exact := m.Digest
		for _, r := range m.Referrers {
			exact += " " + r.Digest
		}
		add(pinned{"image", m.Name, ""}, version{m.Digest, exact})
	}
	for _, a := range l.Archives {
		for _, p := range a.Packages {
			add(pinned{a.Prefix, p.Name, p.Architecture}, version{p.Version, p.Suite + " " + p.Digest})
		}
		for _, f := range a.Files {
			add(pinned{a.Prefix, f.Path, ""}, version{f.Digest, ""})
		}
		if a.Mode != "verbatim" {
			continue
		}
		for _, r := range a.Releases {
			add(pinned{a.Prefix, "Release of " + r.Suite, "all"}, version{snapshot.FormatDate(r.Date), r.Digest})
		}
		for _, ix := range a.Indices { // its digest is the Release's affair
			add(pinned{a.Prefix, ix.Suite + "/" + ix.Path, "index"}, version{})
		}
	}
	for _, versions := range out {
		slices.SortFunc(versions, func(x, y version) int { return strings.Compare(x.shown+" "+x.exact, y.shown+" "+y.exact) })
	}
	return out
}

// Changes says for people what differs between two locks, a line each: a
// version that changed, what came (+), what went (-). Reasons are left aside;
// they say why, not what.
func Changes(old, now *config.Lock) []string {
	was, is := pins(old), pins(now)
	keys := maps.Clone(was)
	maps.Copy(keys, is)
	var out []string
	for k := range keys {
		before, after := was[k], is[k]
		line := strings.TrimSuffix(k.prefix+" "+k.name+" "+k.arch, " ")
		switch {
		case slices.Equal(before, after):
		case before == nil:
			out = append(out, "+ "+line+shown(after))
		case after == nil:
			out = append(out, "- "+line+shown(before))
		case shown(before) == shown(after):
			out = append(out, "  "+line+shown(after)+" (of another suite, or with other bytes or referrers)")
		default:
			out = append(out, "  "+line+shown(before)+" ->"+shown(after))
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(a[2:]+a[:2], b[2:]+b[:2]) })
	return out
}

// shown is the versions, each after a space.
func shown(versions []version) (s string) {
	for _, v := range versions {
		if v.shown != "" {
			s += " " + v.shown
		}
	}
	return s
}

// Drift refuses a lock that differs from what came out, and names the first difference.
func Drift(want, got *config.Lock) error {
	changes := Changes(want, got)
	if len(changes) == 0 {
		return nil
	}
	return outcome.UpdateLock.For(fmt.Errorf("%w: the lock and the upstreams differ in %d lines; first: %s", outcome.ErrRefused, len(changes), strings.TrimSpace(changes[0])))
}

// Why follows the reasons of a lock from a package down to what was asked for,
// one line a step. An unknown package is ErrNotFound.
func Why(l *config.Lock, name string) ([]string, error) {
	byName := map[string]config.LockPackage{}
	for _, a := range l.Archives {
		for _, p := range a.Packages {
			byName[p.Name] = p
		}
	}
	if _, ok := byName[name]; !ok {
		err := fmt.Errorf("%w: package %s is not in the snapshot's lock (%d packages are)", outcome.ErrNotFound, name, len(byName))
		for _, a := range l.Archives {
			if a.Format == snapshot.FormatRPM {
				err = fmt.Errorf("%w; archive %s is an RPM repository, of which nothing is chosen: what is in it is there because upstream lists it", err, a.Prefix)
			}
		}
		return nil, err
	}
	var steps []string
	for seen := map[string]bool{}; name != "" && !seen[name]; {
		seen[name] = true
		p, ok := byName[name]
		if !ok {
			break
		}
		line := Line(p)
		steps, name = append(steps, line), Parent(line)
	}
	return steps, nil
}

// Line is what a lock says of a package, for people.
func Line(p config.LockPackage) string {
	return fmt.Sprintf("%s %s %s: %s", p.Name, p.Version, p.Architecture, p.Reason)
}

// Parent is the package that the one of a line was taken for; "" if it was asked for itself.
func Parent(line string) string {
	_, reason, _ := strings.Cut(line, ": ")
	parent, _, dep := strings.Cut(reason, " ")
	if !dep || strings.HasSuffix(parent, ":") || strings.HasPrefix(reason, "asked for") {
		return ""
	}
	return parent
}
