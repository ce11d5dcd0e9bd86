package freeze

import (
	"context"
	"fmt"
	"slices"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// Draft is a snapshot but for its date: all that upstreams, configuration and
// selection decide. Whether something changed is told by giving it the date of the
// snapshot that it would replace; so the date comes last.
type Draft struct {
	F        Options
	archives []snapshot.Archive // suites that the site signs have no files but provenance
	releases []unsignedRelease
	files    collected
	Lock     []byte // canonical
	Out      Frozen // all but the snapshot
	Wanted   time.Time
	Given    bool // wanted was asked for, by --date or a lock
}

// unsignedRelease is the Release of a curated suite, of the date [undatedRelease].
type unsignedRelease struct {
	prefix, suite string
	base          string // its directory in the snapshot, with final slash
	text          []byte
}

// Gather reads the archives of a plan, chooses, and collects what was chosen.
func Gather(ctx context.Context, f Options) (*Draft, error) {
	f.Log = f.Log.During(ctx)
	return parallel.Until(ctx, func() (*Draft, error) { return readAndChoose(ctx, f) })
}

func readAndChoose(ctx context.Context, f Options) (*Draft, error) {
	fas, err := readArchives(ctx, f)
	if err != nil {
		return nil, err
	}
	u := &Draft{F: f}
	if u.Wanted, u.Given, err = wantedDate(f, fas); err != nil {
		return nil, err
	}
	chosen, err := choose(f, fas)
	if err != nil {
		return nil, err
	}
	if chosen == nil {
		chosen = &selection{}
	}
	u.Out = Frozen{Skipped: chosen.skipped, Newer: chosen.newer, archives: fas, origins: newOrigins(f.Held)}
	b := &builder{f: f, chosen: chosen, notes: chosen.notes, origins: u.Out.origins, lock: &config.Lock{Date: undatedRelease}}
	if err := b.collect(fas); err != nil {
		return nil, err
	}
	if err := b.carry(); err != nil {
		return nil, err
	}
	u.archives, u.releases, u.files, u.Lock = b.archives, b.unsigned, b.collected, b.lockText
	u.Out.Dropped, u.Out.Notes = b.dropped, b.notes
	return u, nil
}

// At gives the snapshot its date: what is signed by the site, and the lock. It
// uses the memory of an earlier call, whose snapshot must not be used any more.
func (u *Draft) At(date time.Time) (*Frozen, error) {
	config.PutLockDate(u.Lock, date)
	in := snapshot.Frozen{
		Date: date, Encoder: archive.EncoderGeneration, Archives: slices.Clone(u.archives),
		Lock: u.Lock, Blobs: u.Out.origins, Signer: u.F.Signer,
	}
	if u.F.Plan.ValidFor > 0 {
		in.ValidUntil = date.Add(u.F.Plan.ValidFor)
	}
	var err error
	files := u.files
	for _, r := range u.releases {
		text, err := redateRelease(r.text, date, in.ValidUntil)
		if err != nil {
			return nil, fmt.Errorf("archive %s, suite %s: %w", r.prefix, r.suite, err)
		}
		signed, err := signRelease(u.F.Signer, text, date)
		if err != nil {
			return nil, fmt.Errorf("archive %s, suite %s: %w", r.prefix, r.suite, err)
		}
		addFiles(in.Archives, r, files.signatures(signed, r.base, date, false))
	}
	in.Files, in.Small = files.rows, files.small
	out := u.Out
	if out.Snapshot, err = snapshot.Take(in); err != nil {
		return nil, err
	}
	return &out, nil
}

// addFiles adds signature files to a suite, leaving the slices it has as they are.
func addFiles(archives []snapshot.Archive, r unsignedRelease, more []snapshot.SuiteFile) {
	for i := range archives {
		if archives[i].Prefix != r.prefix {
			continue
		}
		suites := slices.Clone(archives[i].Suites)
		for j := range suites {
			if suites[j].Name == r.suite {
				suites[j].Files = slices.Concat(suites[j].Files, more)
			}
		}
		archives[i].Suites = suites
	}
}

// LockAt is the lock's blob under a date.
func (u *Draft) LockAt(date time.Time) snapshot.Blob {
	config.PutLockDate(u.Lock, date)
	return snapshot.BlobOf(u.Lock)
}
