package freeze

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/resolve"
)

// lockKey names a package of a lock: what must be the same for it to be the same file at the same place.
func lockKey(prefix, name, version, arch, sha256 string) string {
	return strings.Join([]string{prefix, name, version, arch, strings.TrimPrefix(sha256, "sha256:")}, " ")
}

// chooseLocked takes exactly the packages of the lock, with its reasons, if
// they have all that is asked for. Where they have not, the rest is resolved
// with the lock's versions pinned, unless only the lock is wanted.
func chooseLocked(f Options, fas []*upstreamArchive, req resolve.Request) (*selection, error) {
	indices := resolveIndices(fas)
	wanted := map[string]string{} // lockKey to reason
	for _, a := range f.Lock.Archives {
		for _, p := range a.Packages {
			wanted[lockKey(a.Prefix, p.Name, p.Version, p.Architecture, p.Digest)] = p.Reason
		}
	}
	all, err := universe(f, indices)
	if err != nil {
		return nil, err
	}
	if err := vanished(f, all, fas); err != nil {
		return nil, err
	}
	only := onlyLocked(indices, fas, func(prefix string, p archive.PackageFile) bool {
		_, ok := wanted[lockKey(prefix, p.Name, p.Version, p.Architecture, p.SHA256)]
		return ok
	})
	u, err := resolve.NewUniverse(only)
	if err != nil {
		return nil, err
	}
	if _, err := u.Resolve(req); err != nil {
		return beyondLock(f, all, req, wanted, err)
	}
	out := &selection{skipped: all.Skipped(), reasons: wanted}
	for _, a := range f.Lock.Archives {
		for _, p := range a.Packages {
			if found := find(all, a.Prefix, p); found != nil {
				out.packages = append(out.packages, resolve.Chosen{Package: found})
			}
		}
	}
	slices.SortStableFunc(out.packages, func(x, y resolve.Chosen) int { return archive.Less(x.PackageFile, y.PackageFile) })
	out.newer = newer(all, req, out.packages)
	return out, nil
}

// onlyLocked narrows the curated archives to the lock's packages. Verbatim ones are here whole.
func onlyLocked(indices []resolve.Index, fas []*upstreamArchive, locked func(prefix string, p archive.PackageFile) bool) []resolve.Index {
	verbatim := map[string]bool{}
	for _, fa := range fas {
		verbatim[fa.Prefix] = fa.Verbatim
	}
	out := slices.Clone(indices)
	for i := range out {
		prefix := out[i].Archive
		if verbatim[prefix] {
			continue
		}
		out[i].Keep = func(p archive.PackageFile) bool { return locked(prefix, p) }
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

// vanished names every package of the lock that the archives do not have any
// more, with the versions there are.
func vanished(f Options, u *resolve.Universe, fas []*upstreamArchive) error {
	var gone []string
	for _, a := range f.Lock.Archives {
		if !slices.ContainsFunc(fas, func(fa *upstreamArchive) bool { return fa.Prefix == a.Prefix }) {
			return fmt.Errorf("%w: the lock has an archive %s, the configuration has not", outcome.ErrUsage, a.Prefix)
		}
		for _, p := range a.Packages {
			if find(u, a.Prefix, p) == nil {
				gone = append(gone, missingPackage(u, a.Prefix, p))
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d packages of the lock are not in the archives any more, nor does the snapshot to be replaced hold the lock's indices:\n%s",
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

// beyondLock resolves what the lock alone cannot give, or refuses to.
func beyondLock(f Options, u *resolve.Universe, req resolve.Request, wanted map[string]string, why error) (*selection, error) {
	if f.Locked {
		var un *resolve.Unsatisfied
		if errors.As(why, &un) {
			return nil, outcome.UpdateLock.For(fmt.Errorf("%w: the lock does not have all that is asked for:\n%v", outcome.ErrRefused, why))
		}
		return nil, why
	}
	req.Pins = pins(f.Lock)
	res, err := u.Resolve(req)
	if err != nil {
		return nil, unsatisfied(err, u)
	}
	out := &selection{packages: res.Packages, skipped: u.Skipped(), notes: res.Notes, reasons: wanted}
	have := map[*resolve.Package]bool{}
	for _, c := range res.Packages {
		have[c.Package] = true
		if _, ok := wanted[lockKey(c.Archive, c.Name, c.Version, c.Architecture, c.SHA256)]; !ok {
			f.Log.Printf("not in the lock: %s %s %s %s (%s)", c.Archive, c.Name, c.Version, c.Architecture, c.Reason)
		}
	}
	for _, a := range f.Lock.Archives {
		for _, p := range a.Packages {
			if found := find(u, a.Prefix, p); found != nil && !have[found] {
				out.packages = append(out.packages, resolve.Chosen{Package: found})
			}
		}
	}
	slices.SortStableFunc(out.packages, func(x, y resolve.Chosen) int { return archive.Less(x.PackageFile, y.PackageFile) })
	out.newer = newer(u, req, out.packages)
	return out, nil
}
