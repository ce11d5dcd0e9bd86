package prove

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// lock holds the lock against statement and table: its date, archives, Releases,
// indices and packages. Its reasons are the site's word.
func (v *verifier) lock(ctx context.Context) {
	text, err := v.Snapshot.ReadLock(ctx)
	if err != nil {
		v.fail("%s", err)
		return
	}
	l, err := config.ParseLock("lock", text)
	if err != nil {
		v.fail("lock: %s", err)
		return
	}
	st := v.Snapshot.Statement
	if string(l.Encode()) != string(text) {
		v.fail("lock: not in canonical form")
	}
	if !l.Date.Equal(st.Date) {
		v.fail("lock: its date is %s, the statement's %s", snapshot.FormatDate(l.Date), snapshot.FormatDate(st.Date))
	}
	locked := map[string]*config.LockArchive{}
	for i := range l.Archives {
		locked[l.Archives[i].Prefix] = &l.Archives[i]
	}
	for i := range st.Archives {
		a := &st.Archives[i]
		la := locked[a.Prefix]
		if la == nil {
			v.fail("lock: has no archive %s", a.Prefix)
			continue
		}
		delete(locked, a.Prefix)
		v.lockArchive(a, la)
	}
	for _, prefix := range slices.Sorted(maps.Keys(locked)) {
		v.fail("lock: archive %s is not in the statement", prefix)
	}
}

func (v *verifier) lockArchive(a *snapshot.Archive, la *config.LockArchive) {
	if la.Mode != string(a.Mode) || la.Class != string(a.Class) {
		v.fail("lock: archive %s is %s %s, in the statement %s %s", a.Prefix, la.Mode, la.Class, a.Mode, a.Class)
	}
	v.lockReleases(a, la)
	if a.Mode == snapshot.Curated {
		v.lockPackages(a, la)
	}
}

// lockReleases compares what the lock pins of upstream with the files that are here.
func (v *verifier) lockReleases(a *snapshot.Archive, la *config.LockArchive) {
	here := map[string]bool{}
	for _, s := range a.Suites {
		for _, f := range s.Files {
			if a.Mode == snapshot.Verbatim || f.Role.IsUpstream() {
				here[f.Digest.String()+" "+snapshot.FormatDate(f.Date)] = true
			}
		}
	}
	for _, r := range la.Releases {
		if !here[r.Digest+" "+snapshot.FormatDate(r.Date)] {
			v.fail("lock: archive %s: Release %s of suite %s, %s, is not in the snapshot", a.Prefix, r.Digest, r.Suite, snapshot.FormatDate(r.Date))
		}
	}
	for _, ix := range la.Indices {
		dir := snapshot.SuiteDir(a.Prefix, ix.Suite)
		if a.Mode == snapshot.Curated {
			dir = "upstream/" + dir
		}
		row, ok := v.Snapshot.Table.Find(dir + "/" + ix.Path)
		if ok && row.Digest.String() != ix.Digest {
			v.fail("lock: index %s is %s, in the snapshot %s", row.Path, ix.Digest, row.Digest)
		}
	}
}

func (v *verifier) lockPackages(a *snapshot.Archive, la *config.LockArchive) {
	locked := map[string]bool{}
	for _, p := range la.Packages {
		locked[fmt.Sprintf("%s %s %s %s %d", p.Name, p.Version, p.Architecture, p.Digest, p.Size)] = true
	}
	for row := range v.Snapshot.Table.Under(a.Prefix + "/") {
		if !row.IsPackage() {
			continue
		}
		key := fmt.Sprintf("%s %s %s %s %d", row.Name, row.Version, row.Architecture, row.Digest, row.Size)
		if !locked[key] {
			v.fail("lock: archive %s has no line for %s", a.Prefix, key)
		}
		delete(locked, key)
	}
	for _, key := range slices.Sorted(maps.Keys(locked)) {
		v.fail("lock: archive %s: %s is not in the snapshot", a.Prefix, key)
	}
}

// reason is an error's text without the mark of its sort.
func reason(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), outcome.ErrIntegrity.Error()+": "), outcome.ErrExpired.Error()+": ")
}
