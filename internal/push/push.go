// Package push is the verb: read what the tag names now, freeze what the plan
// asks for, give it a date, pack it, and put it there.
package push

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/listed"
	"example.org/mmoci/internal/lock"
	"example.org/mmoci/internal/others"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/passenger"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/verified"
)

// Options say what is pushed where. Plan, Ref and Now are required.
type Options struct {
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
	// Previous is a snapshot that may hold what the lock names and upstream has
	// lost; nil: the one that is replaced.
	Previous *artifact.Reference
	// AllowOlder names suites ("SUITE" or "PREFIX/SUITE") whose upstream Date may go back.
	AllowOlder []string
	// ReplaceUnverified goes on where nothing vouches for the snapshot that is
	// replaced. Nothing is taken from it then, so a Date is needed.
	ReplaceUnverified bool
	Keys              *signer.NetworkKeys // keys from the network; nil: none is known, nor kept
	Yes               bool                // push whole archives of more than 10 GB
	// KeepGoing uploads what can be had where something cannot, and names it: the push ends in [*Incomplete], and no tag moves.
	KeepGoing  bool
	AllowEmpty bool // push curated archives that ask for no package
	DryRun     bool
	// State is the directory of notes on what was pushed, by which a push without
	// change is answered early; "" keeps none.
	State string
	// Listed makes the directory for files that lists name by URL, if there are any.
	Listed func() (string, error)
	// Report is told where each file came from, as soon as the push has ended, well or not; nil: nobody asks. A push
	// that ended before it was known which files there are has none to tell of.
	Report   func(*fetchreport.Report)
	Now      time.Time
	Artifact artifact.PushOptions
	Log      outcome.Log
}

// Result is what was pushed.
type Result struct {
	artifact.Pushed
	Frozen *freeze.Frozen // nil: nothing changed, and that was known before anything was read but signature files
	Date   time.Time
	Newer  []freeze.Newer // also where Frozen is nil
	// Packages are how many binary packages each prefix has.
	Packages map[string]int
	// Files and Bytes are those of the whole snapshot, each distinct file once.
	Files int
	Bytes int64
	// Previous is the root that the tag named before; zero: nothing. Replaced is its snapshot, nil if there is none, if
	// nobody vouches for it, or if Frozen is nil.
	Previous snapshot.Digest
	Replaced *snapshot.Snapshot
	// New are the files that the replaced snapshot does not have, in order of path.
	New []snapshot.Row
	// Shards is how many manifests hold the files, RootSize the bytes of the
	// root above them; artifact.MaxDocument is the limit of these.
	Shards, RootSize int
}

// Run reads the archives of the plan, chooses, and pushes the snapshot. With
// DryRun it stops before anything is written, the root digest known.
//
// If upstream moves while its pool files are read, so that one is gone or
// another, all is read anew; that ends in an error after a few times.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Log = o.Log.During(ctx)
	files, err := listed.Fetch(ctx, listed.Options{Plan: o.Plan, Lock: o.Lock, Dir: o.Listed, KeepGoing: o.KeepGoing, Log: o.Log})
	if err != nil {
		return nil, err
	}
	o.Plan = files.Plan
	images, err := o.images(ctx, nil)
	if err == nil {
		if res := o.unchanged(ctx, images); res != nil {
			return res, nil
		}
	}
	lost := err // the snapshot that is replaced may have it
	old, err := o.previous(ctx)
	if err != nil {
		return nil, err
	}
	f := freeze.Options{
		Plan: o.Plan, Signer: signer.ReuseSignatures(ctx, o.Signer, old.snapshot), Date: o.Date, Replaces: old.date,
		Lock: o.Lock, Locked: o.Locked, Previous: old.snapshot, Keys: o.Keys, Now: o.Now, Log: o.Log, Record: o.Report != nil, KeepGoing: o.KeepGoing,
		Others: others.Reader{Site: o.siteKeys(), Artifact: o.Artifact.Options, Keep: o.Listed}.Read,
	}
	if o.Previous != nil {
		if f.Previous, err = place.OpenUnverified(ctx, *o.Previous, o.Artifact.Options); err != nil {
			return nil, fmt.Errorf("snapshot that holds what the lock names: %w", err)
		}
	}
	if lost != nil {
		if images, err = o.images(ctx, f.Previous); err != nil {
			return nil, err
		}
	}
	f.Images = images
	for try := 1; ; try++ {
		draft, err := freeze.Gather(ctx, f)
		if err != nil {
			return nil, err
		}
		if !o.DryRun {
			if err := o.Keys.Keep(); err != nil {
				return nil, err
			}
		}
		d, err := parallel.Until(ctx, func() (*dated, error) { return o.date(draft, old) })
		if err != nil {
			return nil, err
		}
		res := &d.Result
		if err := o.affordable(res); err != nil {
			return nil, err
		}
		missing := append(slices.Clip(files.Missing), draft.Missing...)
		if o.DryRun && len(missing) > 0 {
			return nil, &Incomplete{Missing: missing, Packages: sumOf(res.Packages)}
		}
		if o.DryRun {
			res.Root, res.Reference = d.packed.Root(), o.Ref
			res.Reference.Digest = d.packed.Root()
			return res, nil
		}
		res.Pushed, err = o.put(ctx, d.packed, old, len(missing) > 0)
		incomplete := o.incomplete(draft, d.Frozen.Snapshot, missing, err)
		if incomplete != nil {
			incomplete.Packages = sumOf(res.Packages) - incomplete.lost
		}
		again := incomplete != nil && incomplete.lost > 0 && try <= suites.Rereads && d.hasMoved(ctx)
		if !again {
			o.report(d.Frozen, files, missing, incomplete, err)
		}
		if incomplete != nil && !again {
			return nil, incomplete
		}
		if again {
			o.Log.Printf("upstream changed while it was read; reading it anew")
			continue
		}
		if err == nil {
			d.Frozen.Done()
			if old.doubt == nil {
				o.note(res, images)
			}
			return res, nil
		}
		if try > suites.Rereads || !freeze.UpstreamsFault(err) {
			return nil, err
		}
		moved, err2 := d.Frozen.Moved(ctx)
		if err2 != nil {
			return nil, fmt.Errorf("%w (then, whether upstream changed meanwhile: %w)", err, err2)
		}
		if moved == "" {
			return nil, d.Frozen.Missing(ctx, err)
		}
		o.Log.Printf("%s: changed while it was read (%s); reading it anew", moved, err)
	}
}

// images reads those of the plan. What a lock names and its place has lost may be in previous.
func (o Options) images(ctx context.Context, previous *snapshot.Snapshot) (*freeze.Images, error) {
	return passenger.Read(ctx, passenger.Options{Plan: o.Plan, Lock: o.Lock, Previous: previous, Artifact: o.Artifact.Options, Log: o.Log})
}

// put pushes what was packed over what the tag named.
func (o Options) put(ctx context.Context, packed *artifact.Packed, old *replaced, holdOnly bool) (pushed artifact.Pushed, err error) {
	to := o.Artifact
	to.Expect, to.KeepGoing, to.HoldOnly, to.MountFrom = &old.root, o.KeepGoing, holdOnly, o.mountFrom()
	to.Recheck = to.Recheck || old.doubt != nil // what it lists need not be there
	err = verified.Again(func() (err error) {   // an upstream of several URLs may have given wrong bytes
		pushed, err = packed.Push(ctx, o.Ref, to)
		return err
	})
	return pushed, err
}

// dated is a snapshot with its date, packed: the result but for what a push adds.
type dated struct {
	Result
	packed *artifact.Packed
}

// date gives the draft its date: that of the replaced snapshot if it is the same
// but for that, else a later one.
func (o Options) date(draft *freeze.Draft, old *replaced) (*dated, error) {
	d, err := o.same(draft, old)
	if d == nil && err == nil {
		d, err = o.next(draft, old)
	}
	if err == nil && o.Locked && len(draft.Missing) == 0 {
		err = lock.Drift(o.Lock, draft.Lock(d.Date))
	}
	return d, err
}

// same is the snapshot that is replaced, if what was gathered is nothing else:
// under its date it has its root. Nil if it is another, or if its validity is to be renewed.
func (o Options) same(draft *freeze.Draft, old *replaced) (*dated, error) {
	if old.snapshot == nil || draft.LockBlob(old.date) != old.snapshot.Statement.Lock {
		return nil, nil
	}
	d, err := pack(draft, old.date, old)
	if err != nil || d.packed.Root() != old.root {
		return nil, err
	}
	renew := freeze.RunsOut(o.Plan, old.date, o.Now)
	switch {
	case renew && (!draft.Given || o.DateAuto || draft.Wanted.After(old.date)):
		return nil, nil
	case renew:
		o.Log.Printf("the snapshot is valid until %s only, and its date is given: a later one renews it", snapshot.FormatDate(old.date.Add(o.Plan.ValidFor)))
	case !draft.Wanted.Equal(old.date) && draft.Given:
		o.Log.Printf("the content is that of the snapshot of %s, whose date stays", snapshot.FormatDate(old.date))
	}
	return d, nil
}

// next is the snapshot under its own date, which is later than the replaced one's.
func (o Options) next(draft *freeze.Draft, old *replaced) (*dated, error) {
	date := draft.Wanted
	if o.DateAuto && o.Plan.ValidFor > 0 {
		date = o.Now.UTC().Truncate(time.Second)
	}
	if old.snapshot != nil && !date.After(old.date) {
		if draft.Given && !o.DateAuto {
			return nil, outcome.ChooseDate.For(freeze.After(date, old.date))
		}
		date = freeze.NextDate(old.date)
	}
	if err := freeze.NotAhead(date, o.Now); err != nil {
		return nil, err
	}
	d, err := pack(draft, date, old)
	if err != nil {
		return nil, err
	}
	if err := o.notOlder(old, d.Frozen.Snapshot.Statement); err != nil {
		return nil, err
	}
	if err := rebuilt(old.snapshot, d.Frozen.Snapshot); err != nil {
		return nil, err
	}
	if old.doubt != nil && !o.ReplaceUnverified && d.packed.Root() != old.root {
		return nil, outcome.ReplaceOrSameDate.For(fmt.Errorf("snapshot to be replaced: %w (what would be pushed is another one, of %s)",
			old.doubt, snapshot.FormatDate(date)), old.root)
	}
	return d, nil
}

// pack gives the draft a date, packs it, and counts what the replaced snapshot does not have.
func pack(draft *freeze.Draft, date time.Time, old *replaced) (*dated, error) {
	frozen, err := draft.At(date)
	if err != nil {
		return nil, err
	}
	s := frozen.Snapshot
	d := &dated{Result: Result{Frozen: frozen, Date: s.Statement.Date, Newer: frozen.Newer, Previous: old.root, Replaced: old.snapshot}}
	var wg sync.WaitGroup
	wg.Go(func() { d.New = newFiles(s, old.snapshot) })
	wg.Go(func() { d.Files, d.Bytes = sum(s.Table) })
	wg.Go(func() { d.Packages = countPackages(s.Table) })
	d.packed, err = artifact.Pack(s)
	wg.Wait()
	if err == nil {
		d.Shards, d.RootSize = d.packed.Shards(), d.packed.Size()
	}
	return d, err
}

// large is how many bytes a verbatim archive may have before somebody must say yes to it.
const large = 10e9

// affordable says what a plan with whole archives will hold, before it is read.
func (o Options) affordable(res *Result) error {
	whole := slices.ContainsFunc(o.Plan.Archives, func(a config.Archive) bool { return a.Verbatim || a.All && len(a.Files) == 0 })
	if !whole {
		return nil
	}
	o.Log.Printf("whole archives: the snapshot has %s, %s", terminal.Count(res.Files, "file"), terminal.Size(res.Bytes))
	if res.Bytes > large && !o.Yes && !o.DryRun {
		return outcome.PushWhole.For(fmt.Errorf("%w: %s in %s are more than %s",
			outcome.ErrRefused, terminal.Size(res.Bytes), terminal.Count(res.Files, "file"), terminal.Size(large)))
	}
	return nil
}

// validate refuses what can be refused before the network is asked anything.
func (o Options) validate() error {
	if !o.Ref.Digest.IsZero() {
		return fmt.Errorf("%w: %s: a push cannot go to a digest; give a tag", outcome.ErrUsage, o.Ref)
	}
	if o.KeepGoing && o.Ref.Kind == artifact.Archive {
		return fmt.Errorf("%w: %s: an oci-archive is written whole or not at all; what could be had is kept at a registry or in a layout", outcome.ErrUsage, o.Ref)
	}
	if o.Locked && o.Lock == nil {
		return outcome.GiveLock.For(fmt.Errorf("%w: exactly the lock is asked for, and there is none", outcome.ErrUsage))
	}
	if o.ReplaceUnverified && o.Date.IsZero() {
		return outcome.GiveDate.For(fmt.Errorf("%w: nothing is taken from a snapshot that nobody vouches for, its date neither: give one, later than any that clients have seen", outcome.ErrUsage))
	}
	if err := freeze.NotAhead(o.Date, o.Now); err != nil {
		return err
	}
	if err := freeze.CheckPlan(o.Plan, nil); err != nil {
		return err
	}
	if o.Plan.AsksNothing() && o.Lock == nil && !o.AllowEmpty {
		return outcome.AllowEmpty.For(fmt.Errorf("%w: nothing is asked for, so the snapshot would hold no package", outcome.ErrUsage))
	}
	curated := len(o.Plan.Others) > 0 || slices.ContainsFunc(o.Plan.Archives, func(a config.Archive) bool { return !a.Verbatim })
	if curated && o.Signer == nil && !o.Unsigned {
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
