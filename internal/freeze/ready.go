package freeze

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// ReadyArchive is an archive that another room has read: one of another format, or one that another snapshot has.
// It goes into the snapshot as it is, but for what the site signs.
type ReadyArchive struct {
	// Archive has all of its suites, and in them the lines of all files of roles but those that the site signs.
	Archive snapshot.Archive
	Rows    []snapshot.Row // every file but those of Signed, by its whole path
	Small   [][]byte       // the bytes of those rows that are at hand
	Blobs   snapshot.Blobs // opens the others, unverified; nil: there are none
	Signed  []SiteText     // what the site signs at the snapshot's date; none in a verbatim archive
	Locked  config.LockArchive
	// Indices are all that an archive of format deb has, sources too: what others need may come from them, and merged
	// archives are made of them.
	Indices []resolve.Index
	Newest  time.Time // of the dates that upstream signed; zero: none. It counts as the Date of a Release does.
	Notes   []string  // remarks for people
	// Moved tells whether upstream has changed since it was read, so that it must be read anew; nil: it cannot change.
	Moved   func(context.Context) (bool, error)
	Missing []string                  // with Options.KeepGoing: what cannot be had, and why
	Fetched func() []fetchreport.File // where each file came from so far; nil: nobody knows
	Done    func()                    // is called when all of it is where it was pushed to; nil: nothing is to be done
}

// SiteText is a text that the site signs: Release, SHA256SUMS or repodata/repomd.xml of a suite, by the format of its
// archive. A Release gets its date, the others do not say one.
type SiteText struct {
	Suite string
	Text  []byte
}

// readOthers reads the archives of the plan that other rooms read.
func readOthers(ctx context.Context, f Options) ([]ReadyArchive, error) {
	if f.Others == nil || len(f.Plan.Others) == 0 {
		return nil, nil
	}
	return f.Others(ctx, f)
}

// ready adds the archives that were read by others.
func (c *content) ready(archives []ReadyArchive) error {
	for _, r := range archives {
		c.lock.Archives = append(c.lock.Archives, r.Locked)
		a := r.Archive
		a.Suites = slices.Clone(a.Suites)
		for _, text := range r.Signed {
			i := slices.IndexFunc(a.Suites, func(s snapshot.Suite) bool { return s.Name == text.Suite })
			if i < 0 {
				return fmt.Errorf("archive %s: no suite %s", a.Prefix, text.Suite)
			}
			base := strings.TrimSuffix(snapshot.RolePath(a.Prefix, text.Suite, signedRole(a.Format)), signedName(a.Format))
			c.releases = append(c.releases, undatedRelease{len(c.archives), i, base, text.Text})
		}
		c.archives = append(c.archives, a)
		c.files.rows = append(c.files.rows, r.Rows...)
		c.files.small = append(c.files.small, r.Small...)
		for _, row := range r.Rows {
			if r.Blobs != nil && row.Size > 0 {
				c.origins.ready(row, r.Blobs)
			}
		}
	}
	return nil
}

// ready remembers who opens a blob that another room has read.
func (o *origins) ready(row snapshot.Row, from snapshot.Blobs) {
	if o.others == nil {
		o.others = map[snapshot.Digest]snapshot.Blobs{}
	}
	if _, ok := o.others[row.Digest]; !ok {
		o.others[row.Digest] = from
	}
}

// newestOf is the newest date that upstreams of such archives signed.
func newestOf(archives []ReadyArchive) (date time.Time) {
	for _, r := range archives {
		if r.Newest.After(date) {
			date = r.Newest
		}
	}
	return date
}

// IsSigned tells the roles of texts that the site signs, as [SiteText] has them.
func IsSigned(r snapshot.Role) bool {
	return r == snapshot.Release || r == snapshot.Sums || r == snapshot.Repomd
}

// signedRole is the role of the text that the site signs in an archive of a format, signedName its file.
func signedRole(format string) snapshot.Role {
	switch format {
	case snapshot.FormatFiles:
		return snapshot.Sums
	case snapshot.FormatRPM:
		return snapshot.Repomd
	}
	return snapshot.Release
}

func signedName(format string) string {
	path := snapshot.RolePath("", "./", signedRole(format))
	return path[strings.LastIndexByte(path, '/')+1:]
}

// signText makes the signature files of a text that says no date: itself, and a detached signature by the site.
func signText(signer pgp.Signer, format string, text []byte, date time.Time) ([]suites.SignedFile, error) {
	role, name := signedRole(format), signedName(format)
	out := []suites.SignedFile{{Name: name, Role: role, Data: text}}
	if signer == nil {
		return out, nil
	}
	sig, err := signer.Detach(text, date)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	of := map[snapshot.Role]snapshot.Role{snapshot.Sums: snapshot.SumsSig, snapshot.Repomd: snapshot.RepomdAsc}
	return append(out, suites.SignedFile{Name: name + ".asc", Role: of[role], Data: sig}), nil
}

// signAny makes the signature files of a suite, of whatever format.
func signAny(signer pgp.Signer, format string, text []byte, date, until time.Time) ([]suites.SignedFile, error) {
	if format != snapshot.FormatDeb {
		return signText(signer, format, text, date)
	}
	return signRelease(signer, text, date, until)
}
