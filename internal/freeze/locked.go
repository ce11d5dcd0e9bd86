package freeze

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/resolve"
)

// lockKey names a package of a lock: what must be the same for it to be the same file at the same place.
func lockKey(prefix, name, version, arch, sha256 string) string {
	return strings.Join([]string{prefix, name, version, arch, strings.TrimPrefix(sha256, "sha256:")}, " ")
}

// pins fixes each package of the lock to its versions there.
func pins(l *config.Lock) map[string]string {
	m := map[string]string{}
	for _, a := range l.Archives {
		for _, p := range a.Packages {
			key := p.Name + ":" + p.Architecture
			m[key] = strings.TrimSpace(m[key] + " " + p.Version)
		}
	}
	return m
}

// chooseLocked takes exactly the packages of the lock, with its reasons, if
// they have all that is asked for. Where they have not, the rest is resolved
// with the lock's versions pinned, unless only the lock is wanted.
func chooseLocked(f Options, archives []*suites.Archive, indices []resolve.Index, all *resolve.Universe, req resolve.Request) (*closure, error) {
	reasons := map[string]string{} // by lockKey
	for _, a := range f.Lock.Archives {
		for _, p := range a.Packages {
			reasons[lockKey(a.Prefix, p.Name, p.Version, p.Architecture, p.Digest)] = p.Reason
		}
	}
	gone, err := vanished(f, all, archives)
	if err != nil {
		return nil, err
	}
	isLocked := func(prefix string, p archive.PackageFile) bool {
		_, ok := reasons[lockKey(prefix, p.Name, p.Version, p.Architecture, p.SHA256)]
		return ok
	}
	only, err := resolve.NewUniverse(onlyLocked(indices, archives, isLocked))
	if err != nil {
		return nil, err
	}
	out := &closure{reasons: reasons, missing: gone}
	if _, err := only.Resolve(req); err != nil && len(gone) == 0 { // of what a lock lost in part nothing else is taken in its place
		if out.packages, out.notes, err = beyondLock(f, all, req, isLocked, err); err != nil {
			return nil, err
		}
	}
	have := map[*resolve.Package]bool{}
	for _, c := range out.packages {
		have[c.Package] = true
	}
	for _, a := range f.Lock.Archives {
		if f.Plan.Other(a.Prefix) != nil {
			continue
		}
		for _, p := range a.Packages {
			if found := find(all, a.Prefix, p); found != nil && !have[found] {
				out.packages = append(out.packages, resolve.Chosen{Package: found})
			}
		}
	}
	slices.SortStableFunc(out.packages, func(x, y resolve.Chosen) int { return archive.Less(x.PackageFile, y.PackageFile) })
	return out, nil
}

// beyondLock resolves what the lock alone cannot give, or refuses to. why is
// what the lock alone lacks.
func beyondLock(f Options, u *resolve.Universe, req resolve.Request, isLocked func(string, archive.PackageFile) bool, why error) ([]resolve.Chosen, []string, error) {
	if f.Locked {
		var un *resolve.Unsatisfied
		if errors.As(why, &un) {
			why = outcome.UpdateLock.For(fmt.Errorf("%w: the lock does not have all that is asked for:\n%v", outcome.ErrRefused, why))
		}
		return nil, nil, why
	}
	req.Pins = pins(f.Lock)
	res, err := u.Resolve(req)
	if err != nil {
		return nil, nil, unsatisfied(err, u)
	}
	for _, c := range withoutWishes(res.Packages) {
		if !isLocked(c.Archive, c.PackageFile) {
			f.Log.Printf("not in the lock: %s %s %s %s (%s)", c.Archive, c.Name, c.Version, c.Architecture, c.Reason)
		}
	}
	return res.Packages, res.Notes, nil
}

// onlyLocked narrows the curated archives to the lock's packages. Verbatim ones, and those of other snapshots, are here whole.
func onlyLocked(indices []resolve.Index, archives []*suites.Archive, locked func(prefix string, p archive.PackageFile) bool) []resolve.Index {
	curated := map[string]bool{}
	for _, a := range archives {
		curated[a.Prefix] = !a.Verbatim
	}
	out := slices.Clone(indices)
	for i := range out {
		prefix := out[i].Archive
		if !curated[prefix] {
			continue
		}
		keeps := out[i].Keep
		out[i].Keep = func(p archive.PackageFile) bool { return (keeps == nil || keeps(p)) && locked(prefix, p) }
	}
	return out
}

// find is a package of the lock among the candidates, in the lock's suite or, if
// it has moved, in another one of the archive; nil if it is not there any more.
func find(u *resolve.Universe, prefix string, p config.LockPackage) *resolve.Package {
	var elsewhere *resolve.Package
	for _, c := range u.Versions(p.Name) {
		if lockKey(c.Archive, c.Name, c.Version, c.Architecture, c.SHA256) != lockKey(prefix, p.Name, p.Version, p.Architecture, p.Digest) {
			continue
		}
		if c.Suite == p.Suite {
			return c
		}
		elsewhere = c
	}
	return elsewhere
}

// ownSources are the site's own sources that travel: those that the lock names, all of an archive of whose sources it names none.
func ownSources(l *config.Lock, archives []*suites.Archive) map[string][]debdir.OwnSource {
	out := map[string][]debdir.OwnSource{}
	for _, a := range archives {
		named := lockedSources(l, a.Prefix)
		for _, src := range a.Own.Sources {
			if len(named) == 0 || slices.Contains(named, lockDsc(src)) {
				out[a.Prefix] = append(out[a.Prefix], src)
			}
		}
	}
	return out
}

// lockedSources are the .dscs of an archive that a lock names.
func lockedSources(l *config.Lock, prefix string) []config.LockFile {
	if l != nil {
		for _, a := range l.Archives {
			if a.Prefix == prefix && a.Format == "" {
				return a.Files
			}
		}
	}
	return nil
}

// lockDsc is the line of an own source: its .dsc, which has the digests of all its other files.
func lockDsc(src debdir.OwnSource) config.LockFile {
	dsc := src.Rows[0]
	return config.LockFile{Path: dsc.Path, Digest: dsc.Digest.String(), Size: dsc.Size}
}

// missingSource says what there is in place of an own source of the lock; "" if that is there.
func missingSource(a *suites.Archive, want config.LockFile) string {
	there := "no such file"
	for _, src := range a.Own.Sources {
		if src.Rows[0].Path != want.Path {
			continue
		}
		is := lockDsc(src)
		if is == want {
			return ""
		}
		there = fmt.Sprintf("one with other bytes (%s, the lock has %s)", is.Digest, want.Digest)
	}
	return fmt.Sprintf("%s %s: there is %s", a.Prefix, want.Path, there)
}

// vanished names every package and own source of the lock that the archives do not have any
// more, with the versions there are: in its error, or in gone where the rest goes on.
func vanished(f Options, u *resolve.Universe, archives []*suites.Archive) (gone []string, err error) {
	for _, a := range f.Lock.Archives {
		if f.Plan.Other(a.Prefix) != nil {
			continue // whoever reads it has obeyed the lock
		}
		i := slices.IndexFunc(archives, func(read *suites.Archive) bool { return read.Prefix == a.Prefix })
		if i < 0 {
			return nil, fmt.Errorf("%w: the lock has an archive %s, the configuration has not", outcome.ErrUsage, a.Prefix)
		}
		for _, p := range a.Packages {
			if find(u, a.Prefix, p) == nil {
				gone = append(gone, missingPackage(u, a.Prefix, p))
			}
		}
		for _, x := range a.Files {
			if missing := missingSource(archives[i], x); missing != "" {
				gone = append(gone, missing)
			}
		}
	}
	if len(gone) == 0 || f.KeepGoing {
		return gone, nil
	}
	return nil, fmt.Errorf("%w: %d packages of the lock are not in the archives any more, nor does the snapshot to be replaced hold the lock's indices:\n%s",
		outcome.ErrNotFound, len(gone), strings.Join(gone, "\n"))
}

// missingPackage says what there is in place of a package of the lock.
func missingPackage(u *resolve.Universe, prefix string, p config.LockPackage) string {
	var there []string
	for _, c := range u.Versions(p.Name) {
		if c.Archive != prefix || c.Architecture != p.Architecture {
			continue
		}
		v := c.Version
		if digest := "sha256:" + c.SHA256; v == p.Version && digest != p.Digest {
			v += " with other bytes (" + digest + ", the lock has " + p.Digest + ")"
		}
		if !slices.Contains(there, v) {
			there = append(there, v)
		}
	}
	if len(there) == 0 {
		there = []string{"no version"}
	}
	return fmt.Sprintf("%s %s %s %s: there is %s", prefix, p.Name, p.Version, p.Architecture, strings.Join(there, ", "))
}
