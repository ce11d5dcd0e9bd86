package push

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/lock"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Pushing is the question to Push.
type Pushing struct {
	Plan   *config.Plan
	Ref    artifact.Reference
	Signer pgp.Signer
	// Unsigned must be set to push curated archives without a signer.
	Unsigned bool
	Site     *pgp.Keyring // trust:, whose signature the replaced snapshot may have; nil: the signer's alone
	Date     time.Time    // date input; zero: newest Date of the upstreams, or the lock's
	DateAuto bool         // as late as the replaced snapshot demands, whatever the lock says
	Lock     *config.Lock
	Locked   bool // refuse to push anything but the lock
	// Held is a snapshot that may hold what the lock names and upstream has lost;
	// nil: the one that is replaced.
	Held *artifact.Reference
	// AllowOlder names suites ("SUITE" or "PREFIX/SUITE") whose upstream Date may go back.
	AllowOlder []string
	// ReplaceUnverified goes on where nothing vouches for the snapshot that is
	// replaced. Nothing is taken from it then, so a Date is needed.
	ReplaceUnverified bool
	Keys              *signer.NetworkKeys // keys from the network; nil: none is known, nor kept
	Yes               bool                // push whole archives of more than 10 GB
	AllowEmpty        bool                // push curated archives that ask for no package
	DryRun            bool
	// State is the directory where it is noted what came of which input, so that
	// a push without change is answered early; "" notes nothing.
	State    string
	Now      time.Time
	Artifact artifact.PushOptions
	Log      outcome.Log
}

// PushResult is the outcome.
type PushResult struct {
	artifact.Pushed
	Frozen *freeze.Frozen // nil: nothing changed, and that was known before anything was read but signature files
	Date   time.Time
	Newer  []freeze.Newer // also where Frozen is nil
	// Packages are how many binary packages each prefix has.
	Packages map[string]int
	// Files and Bytes are those of the whole snapshot, each distinct file once.
	Files int
	Bytes int64
	// New are the files that the replaced snapshot does not have, in order of path.
	New []snapshot.Row
	// Shards is how many manifests hold the files, RootSize the bytes of the
	// root above them; artifact.MaxDocument is the limit of these.
	Shards, RootSize int
}

// Push reads the archives of the plan, chooses, and pushes the snapshot. With
// DryRun it stops before anything is written, the root digest known.
//
// If upstream moves while its pool files are read, so that one is gone or
// another, all is read anew; that ends in an error after a few times.
func Push(ctx context.Context, p Pushing) (*PushResult, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	p.Log = p.Log.During(ctx)
	if res := p.unchanged(ctx); res != nil {
		return res, nil
	}
	old, err := p.previous(ctx)
	if err != nil {
		return nil, err
	}
	if old.doubt != nil {
		p.Artifact.Recheck = true // what it lists need not be there
	}
	held := old.snapshot
	if p.Held != nil {
		if held, err = place.OpenUnverified(ctx, *p.Held, p.Artifact.Options); err != nil {
			return nil, fmt.Errorf("snapshot that holds what the lock names: %w", err)
		}
	}
	p.Signer = signer.ReuseSignatures(ctx, p.Signer, old.snapshot)
	p.Artifact.Expect = &old.root
	for try := 1; ; try++ {
		d, err := p.freeze(ctx, old, held)
		if err != nil {
			return nil, err
		}
		res, err := p.write(ctx, d)
		if err == nil || try > freeze.Rereads || !freeze.UpstreamsFault(err) {
			return res, err
		}
		moved, err2 := d.frozen.Moved(ctx)
		if err2 != nil {
			return nil, fmt.Errorf("%w (then, whether upstream changed meanwhile: %w)", err, err2)
		}
		if moved == "" {
			return nil, d.frozen.Missing(ctx, err)
		}
		p.Log.Printf("%s: changed while it was read (%s); reading it anew", moved, err)
	}
}

// freezing is the left half of a push.
func (p Pushing) freezing() freeze.Options {
	return freeze.Options{Plan: p.Plan, Signer: p.Signer, Date: p.Date, Lock: p.Lock, Locked: p.Locked, Keys: p.Keys, Now: p.Now, Log: p.Log}
}

// dated is a snapshot with its date, packed and counted.
type dated struct {
	frozen   *freeze.Frozen
	packed   *artifact.Packed
	new      []snapshot.Row // that the replaced snapshot does not have
	files    int
	bytes    int64
	packages map[string]int
}

// freeze freezes what the plan asks for and holds it against what it replaces.
func (p Pushing) freeze(ctx context.Context, old *replaced, held *snapshot.Snapshot) (*dated, error) {
	f := p.freezing()
	f.Held, f.Replaces = held, old.date
	u, err := freeze.Gather(ctx, f)
	if err != nil {
		return nil, err
	}
	if !p.DryRun {
		if err := p.Keys.Keep(); err != nil {
			return nil, err
		}
	}
	d, err := parallel.Until(ctx, func() (*dated, error) {
		d, err := p.same(u, old)
		if d == nil && err == nil {
			d, err = p.next(u, old)
		}
		return d, err
	})
	if err != nil {
		return nil, err
	}
	if p.Locked {
		now, err := d.frozen.Lock(ctx)
		if err == nil {
			err = lock.Drift(p.Lock, now)
		}
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// same is the snapshot that is replaced, if what was gathered is nothing else:
// under its date it has its root. Nil if it is another, or if its validity is to be renewed.
func (p Pushing) same(u *freeze.Draft, old *replaced) (*dated, error) {
	if old.snapshot == nil || u.LockAt(old.date) != old.snapshot.Statement.Lock {
		return nil, nil
	}
	d, err := pack(u, old.date, old)
	if err != nil || d.packed.Root() != old.root {
		return nil, err
	}
	renew := freeze.RunsOut(p.Plan, old.date, p.Now)
	switch {
	case renew && (!u.Given || p.DateAuto || u.Wanted.After(old.date)):
		return nil, nil
	case renew:
		p.Log.Printf("the snapshot is valid until %s only, and its date is given: a later one renews it", snapshot.FormatDate(old.date.Add(p.Plan.ValidFor)))
	case !u.Wanted.Equal(old.date) && u.Given:
		p.Log.Printf("the content is that of the snapshot of %s, whose date stays", snapshot.FormatDate(old.date))
	}
	return d, nil
}

// next is the snapshot under its own date, which is later than the replaced one's.
func (p Pushing) next(u *freeze.Draft, old *replaced) (*dated, error) {
	date := u.Wanted
	if p.DateAuto && p.Plan.ValidFor > 0 {
		date = p.Now.UTC().Truncate(time.Second)
	}
	if old.snapshot != nil && !date.After(old.date) {
		if u.Given && !p.DateAuto {
			return nil, outcome.ChooseDate.For(freeze.After(date, old.date))
		}
		date = freeze.NextDate(old.date)
	}
	if err := freeze.NotAhead(date, p.Now); err != nil {
		return nil, err
	}
	d, err := pack(u, date, old)
	if err != nil {
		return nil, err
	}
	if err := p.notOlder(old, d.frozen.Snapshot.Statement); err != nil {
		return nil, err
	}
	if old.doubt != nil && !p.ReplaceUnverified && d.packed.Root() != old.root {
		return nil, outcome.ReplaceOrSameDate.For(fmt.Errorf("snapshot to be replaced: %w (what would be pushed is another one, of %s)",
			old.doubt, snapshot.FormatDate(date)), old.root)
	}
	return d, nil
}

// pack gives what was gathered a date, packs it, and counts what the replaced snapshot does not have.
func pack(u *freeze.Draft, date time.Time, old *replaced) (*dated, error) {
	frozen, err := u.At(date)
	if err != nil {
		return nil, err
	}
	d := &dated{frozen: frozen}
	var wg sync.WaitGroup
	wg.Go(func() { d.new = newFiles(frozen.Snapshot, old.snapshot) })
	wg.Go(func() { d.files, d.bytes = sum(frozen.Snapshot.Table) })
	wg.Go(func() { d.packages = countPackages(frozen.Snapshot.Table) })
	d.packed, err = artifact.Pack(frozen.Snapshot)
	wg.Wait()
	return d, err
}

// write pushes, or only tells what it would push.
func (p Pushing) write(ctx context.Context, d *dated) (*PushResult, error) {
	frozen, packed := d.frozen, d.packed
	res := &PushResult{
		Frozen: frozen, Date: frozen.Snapshot.Statement.Date, Newer: frozen.Newer, New: d.new, Files: d.files, Bytes: d.bytes, Packages: d.packages,
	}
	if err := p.affordable(res); err != nil {
		return nil, err
	}
	res.Shards, res.RootSize = packed.Shards(), packed.Size()
	if p.DryRun {
		res.Root, res.Reference = packed.Root(), p.Ref
		res.Reference.Digest = packed.Root()
		return res, nil
	}
	frozen.Forget()
	err := snapshot.Again(func() (err error) { // an upstream of several URLs may have given wrong bytes
		res.Pushed, err = packed.Push(ctx, p.Ref, p.Artifact)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.note(res)
	return res, nil
}

// large is how many bytes a verbatim archive may have before somebody must say yes to it.
const large = 10 << 30

// affordable says what a plan with whole archives will hold, before it is read.
func (p Pushing) affordable(res *PushResult) error {
	whole := slices.ContainsFunc(p.Plan.Archives, func(a config.Archive) bool { return a.Verbatim || a.All })
	if !whole {
		return nil
	}
	p.Log.Printf("whole archives: the snapshot has %d files, %.1f MB", res.Files, float64(res.Bytes)/1e6)
	if res.Bytes > large && !p.Yes && !p.DryRun {
		return outcome.PushWhole.For(fmt.Errorf("%w: %.1f GB in %d files are more than %d GB",
			outcome.ErrRefused, float64(res.Bytes)/1e9, res.Files, int64(large)>>30))
	}
	return nil
}

// validate refuses what can be refused before the network is asked anything.
func (p Pushing) validate() error {
	if !p.Ref.Digest.IsZero() {
		return fmt.Errorf("%w: %s: a push cannot go to a digest; give a tag", outcome.ErrUsage, p.Ref)
	}
	if p.Locked && p.Lock == nil {
		return outcome.GiveLock.For(fmt.Errorf("%w: exactly the lock is asked for, and there is none", outcome.ErrUsage))
	}
	if p.ReplaceUnverified && p.Date.IsZero() {
		return outcome.GiveDate.For(fmt.Errorf("%w: nothing is taken from a snapshot that nobody vouches for, its date neither: give one, later than any that clients have seen", outcome.ErrUsage))
	}
	if err := freeze.NotAhead(p.Date, p.Now); err != nil {
		return err
	}
	if err := freeze.CheckPlan(p.Plan, nil); err != nil {
		return err
	}
	if p.Plan.AsksNothing() && p.Lock == nil && !p.AllowEmpty {
		return outcome.AllowEmpty.For(fmt.Errorf("%w: nothing is asked for, so the snapshot would hold no package", outcome.ErrUsage))
	}
	curated := slices.ContainsFunc(p.Plan.Archives, func(a config.Archive) bool { return !a.Verbatim })
	if curated && p.Signer == nil && !p.Unsigned {
		return outcome.PushUnsigned.For(fmt.Errorf("%w: curated archives are signed by the site", outcome.ErrUsage))
	}
	return nil
}

// sum counts distinct files of a table.
func sum(t *snapshot.Table) (files int, bytes int64) {
	seen := make(map[snapshot.Digest]struct{}, t.Len())
	for b := range t.Blobs() {
		if _, ok := seen[b.Digest]; !ok {
			seen[b.Digest] = struct{}{}
			files, bytes = files+1, bytes+b.Size
		}
	}
	return files, bytes
}

// newFiles are the distinct files of a snapshot that another does not have.
func newFiles(s, old *snapshot.Snapshot) []snapshot.Row {
	seen := make(map[snapshot.Digest]struct{}, s.Table.Len())
	if old != nil {
		for b := range old.Table.Blobs() {
			seen[b.Digest] = struct{}{}
		}
	}
	var out []snapshot.Row
	for r := range s.Table.Rows() {
		if _, ok := seen[r.Digest]; !ok && r.Size > 0 {
			seen[r.Digest] = struct{}{}
			out = append(out, r)
		}
	}
	return out
}

// countPackages counts the binary packages of each prefix.
func countPackages(t *snapshot.Table) map[string]int {
	out := map[string]int{}
	for r := range t.Rows() {
		prefix, _, _ := strings.Cut(r.Path, "/")
		if r.Package.Name != "" && prefix != "upstream" {
			out[prefix]++
		}
	}
	return out
}
