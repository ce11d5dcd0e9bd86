package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Pushing is the question to Push.
type Pushing struct {
	Plan   *config.Plan
	Ref    artifact.Reference
	Signer archive.Signer
	// Unsigned must be set to push curated archives without a signer.
	Unsigned bool
	Date     time.Time // date input; zero: newest Date of the upstreams, or the lock's
	DateAuto bool      // as late as the replaced snapshot demands
	Lock     *config.Lock
	Locked   bool // refuse to push anything but the lock
	// Held is a snapshot that may hold what the lock names and upstream has lost;
	// nil: the one that is replaced.
	Held *artifact.Reference
	// AllowOlder names suites ("SUITE" or "PREFIX/SUITE") whose upstream Date may go back.
	AllowOlder []string
	// AcceptKeys are fingerprints that a key from the network may have in place of those it had.
	AcceptKeys []string
	Yes        bool // push whole archives of more than 10 GB
	AllowEmpty bool // push curated archives that ask for no package
	DryRun     bool
	// State is the directory where it is noted what came of which input, so that
	// a push without change is answered early; "" notes nothing.
	State    string
	Now      time.Time
	Artifact artifact.PushOptions
	Log      Log
}

// PushResult is the outcome.
type PushResult struct {
	artifact.Pushed
	Frozen *Frozen // nil: nothing changed, and that was known before anything was read but signature files
	Date   time.Time
	Newer  []Newer // also where Frozen is nil
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
	if res := p.unchanged(ctx); res != nil {
		return res, nil
	}
	old, err := p.previous(ctx)
	if err != nil {
		return nil, err
	}
	held := old
	if p.Held != nil {
		if held, err = OpenUnverified(ctx, *p.Held, p.Artifact.Options); err != nil {
			return nil, fmt.Errorf("--held: %w", err)
		}
	}
	p.Signer = reuseSignatures(ctx, p.Signer, old)
	for try := 1; ; try++ {
		frozen, err := p.freeze(ctx, old, held)
		if err != nil {
			return nil, err
		}
		res, err := p.write(ctx, frozen, old)
		if err == nil || try > rereads || !upstreamsFault(err) {
			return res, err
		}
		moved, err2 := frozen.moved(ctx)
		if err2 != nil {
			return nil, fmt.Errorf("%w (then, whether upstream changed meanwhile: %w)", err, err2)
		}
		if moved == "" {
			return nil, frozen.missing(ctx, err)
		}
		p.Log.printf("%s: changed while it was read (%s); reading it anew", moved, err)
	}
}

// freeze freezes what the plan asks for and holds it against what it replaces.
func (p Pushing) freeze(ctx context.Context, old, held *snapshot.Snapshot) (*Frozen, error) {
	f := Freezing{
		Plan: p.Plan, Signer: p.Signer, Date: p.Date, Lock: p.Lock, Locked: p.Locked, Held: held,
		AcceptKeys: p.AcceptKeys, Known: KnownKeys(p.Lock), Now: p.Now, Log: p.Log,
	}
	if old != nil {
		if p.DateAuto {
			f.NotBefore = old.Statement.Date
		}
		if err := p.holdKeys(ctx, old, f.Known); err != nil {
			return nil, err
		}
	}
	frozen, err := Freeze(ctx, f)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := p.notOlder(old.Statement, frozen.Snapshot.Statement); err != nil {
			return nil, err
		}
	}
	if p.Locked {
		lock, err := frozen.lock(ctx)
		if err == nil {
			err = drift(p.Lock, lock)
		}
		if err != nil {
			return nil, err
		}
	}
	return frozen, nil
}

// holdKeys adds the keys from the network that the previous snapshot's lock pins.
// The lock of a whole release is megabytes long, and is read only where a key comes from the network.
func (p Pushing) holdKeys(ctx context.Context, old *snapshot.Snapshot, known map[string][]string) error {
	if !slices.ContainsFunc(p.Plan.Archives, func(a config.Archive) bool { return a.SignedByURL != "" }) {
		return nil
	}
	text, err := old.ReadLock(ctx)
	if err != nil {
		return fmt.Errorf("keys that the previous snapshot pins: %w", err)
	}
	l, err := config.ParseLock("lock of the previous snapshot", text)
	if err != nil {
		return err
	}
	for prefix, keys := range KnownKeys(l) {
		if known[prefix] == nil {
			known[prefix] = keys
		}
	}
	return nil
}

// write packs and pushes, or only packs.
func (p Pushing) write(ctx context.Context, frozen *Frozen, old *snapshot.Snapshot) (*PushResult, error) {
	res := &PushResult{Frozen: frozen, Date: frozen.Snapshot.Statement.Date, Newer: frozen.Newer}
	var wg sync.WaitGroup
	wg.Go(func() { res.New = newFiles(frozen.Snapshot, old) })
	wg.Go(func() { res.Files, res.Bytes = sum(frozen.Snapshot.Table) })
	wg.Go(func() { res.Packages = countPackages(frozen.Snapshot.Table) })
	packed, err := artifact.Pack(frozen.Snapshot)
	wg.Wait()
	if err != nil {
		return nil, err
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
	frozen.forget()
	err = again(func() (err error) { // an upstream of several URLs may have given wrong bytes
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
	p.Log.printf("whole archives: the snapshot has %d files, %.1f MB", res.Files, float64(res.Bytes)/1e6)
	if res.Bytes > large && !p.Yes && !p.DryRun {
		return fmt.Errorf("%w: %.1f GB in %d files are more than %d GB; say --yes to push them (or take less: drop:, components, mode: curated)",
			ErrRefused, float64(res.Bytes)/1e9, res.Files, int64(large)>>30)
	}
	return nil
}

// validate refuses what can be refused before the network is asked anything.
func (p Pushing) validate() error {
	if !p.Ref.Digest.IsZero() {
		return fmt.Errorf("%w: %s: a push cannot go to a digest; give a tag", ErrUsage, p.Ref)
	}
	if p.Locked && p.Lock == nil {
		return fmt.Errorf("%w: --locked needs --lock FILE", ErrUsage)
	}
	if err := checkPlan(p.Plan, nil); err != nil {
		return err
	}
	if p.Plan.AsksNothing() && p.Lock == nil && !p.AllowEmpty {
		return fmt.Errorf("%w: nothing is asked for, so the snapshot would hold no package: name some in packages: at the top, or say --allow-empty", ErrUsage)
	}
	curated := slices.ContainsFunc(p.Plan.Archives, func(a config.Archive) bool { return !a.Verbatim })
	if curated && p.Signer == nil && !p.Unsigned {
		return fmt.Errorf("%w: curated archives are signed by the site: give --sign-key FILE or sign: in mmoci.yaml (mmoci key new -o FILE makes one), or --insecure-unsigned", ErrUsage)
	}
	return nil
}

// previous reads the snapshot that a push will replace; nil if there is none.
// It is asked how old it is and what it holds, whose proof it carries; so it need not be believed.
// One that is damaged is in nobody's way who wants to repair it.
func (p Pushing) previous(ctx context.Context) (*snapshot.Snapshot, error) {
	s, err := OpenUnverified(ctx, p.Ref, p.Artifact.Options)
	if errors.Is(err, artifact.ErrNotFound) {
		return nil, nil
	}
	if err == nil {
		return s, nil
	}
	damaged := errors.Is(err, ErrIntegrity) || errors.Is(err, snapshot.ErrNotExist)
	switch {
	case damaged && p.Artifact.Recheck:
		p.Log.printf("the snapshot to be replaced is damaged: %s", err)
		return nil, nil
	case damaged:
		return nil, fmt.Errorf("snapshot to be replaced: %w (--repair puts it again)", err)
	}
	return nil, fmt.Errorf("snapshot to be replaced: %w", err)
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
