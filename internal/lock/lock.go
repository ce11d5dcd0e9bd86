package lock

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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
	u, err := freeze.Gather(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := f.Keys.Keep(); err != nil {
		return nil, err
	}
	for _, n := range u.Out.Notes {
		f.Log.Printf("%s", n)
	}
	for _, n := range u.Out.Newer {
		f.Log.Printf("%s", n.Say(f.Plan.CommonList))
	}
	date, err := lockDate(u, old)
	if err != nil {
		return nil, err
	}
	config.PutLockDate(u.Lock, date)
	return config.ParseLock("lock", u.Lock)
}

// lockDate is the date of a lock that replaces another, which may be nil.
func lockDate(u *freeze.Draft, old *config.Lock) (time.Time, error) {
	date := u.Wanted
	if old != nil {
		same := u.LockAt(old.Date) == snapshot.BlobOf(old.Encode())
		switch {
		case same && (date.Equal(old.Date) || !u.Given && !freeze.RunsOut(u.F.Plan, old.Date, u.F.Now)):
			date = old.Date
		case date.After(old.Date):
		case u.Given:
			return date, fmt.Errorf("%w: date %s is not after the lock's, %s; the smallest is %s", outcome.ErrRefused, snapshot.FormatDate(date), snapshot.FormatDate(old.Date), snapshot.FormatDate(freeze.NextDate(old.Date)))
		default:
			date = freeze.NextDate(old.Date)
		}
	}
	return date, freeze.NotAhead(date, u.F.Now)
}

// Changes says for people what differs between two locks, a line each:
// a version that changed, what came (+), what went (-).
func Changes(old, now *config.Lock) []string {
	type place struct{ prefix, name, arch string }
	was, is := map[place][]string{}, map[place][]string{}
	fill := func(l *config.Lock, m map[place][]string) {
		for _, a := range l.Archives {
			for _, p := range a.Packages {
				k := place{a.Prefix, p.Name, p.Architecture}
				m[k] = append(m[k], p.Version)
			}
			for _, r := range a.Releases {
				if a.Mode == "verbatim" {
					k := place{a.Prefix, "Release of " + r.Suite, "all"}
					m[k] = append(m[k], snapshot.FormatDate(r.Date))
				}
			}
		}
	}
	fill(old, was)
	fill(now, is)
	var out []string
	for k, versions := range is {
		slices.Sort(versions)
		before := was[k]
		slices.Sort(before)
		switch {
		case before == nil:
			out = append(out, fmt.Sprintf("+ %s %s %s %s", k.prefix, k.name, k.arch, strings.Join(versions, " ")))
		case !slices.Equal(before, versions):
			out = append(out, fmt.Sprintf("  %s %s %s %s -> %s", k.prefix, k.name, k.arch, strings.Join(before, " "), strings.Join(versions, " ")))
		}
	}
	for k, versions := range was {
		if is[k] == nil {
			out = append(out, fmt.Sprintf("- %s %s %s %s", k.prefix, k.name, k.arch, strings.Join(versions, " ")))
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(a[2:]+a[:2], b[2:]+b[:2]) })
	return out
}
