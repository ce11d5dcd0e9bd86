package extract

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// TreeOptions is the question to Pull.
type TreeOptions struct {
	Snapshot *snapshot.Snapshot
	Trust    prove.Trust
	Dir      string
	Log      outcome.Log
	// Progress, if not nil, is told of every file ([artifact.Watched] tells of the bytes on the way); called concurrently.
	Progress func(artifact.Event)
}

// TreeResult is the answer.
type TreeResult struct {
	Files  int
	Bytes  int64
	Reused int64
	// What became of the tree that was there before: files that were replaced,
	// files that this snapshot lacks and that stay until the next one, and those
	// that the one before lacked and that are gone now.
	Replaced, Left, Removed int
}

// Tree writes the apt tree of a snapshot (PREFIX/dists, PREFIX/pool) as files,
// every one of them proved through the chain. Dir may hold a tree that an
// earlier Pull wrote, also of another snapshot, which becomes this one: clients
// that read it meanwhile find the old tree or the new one, suite by suite.
func Tree(ctx context.Context, p TreeOptions) (*TreeResult, error) {
	c := &prove.Chain{Snapshot: p.Snapshot, Trust: p.Trust}
	tree := newAptTree(p.Snapshot, p.Trust.Believed(p.Snapshot))
	for _, a := range p.Snapshot.Statement.Archives {
		v, err := c.BestView(a)
		if err != nil {
			return nil, outcome.GiveUpstreamKey.For(fmt.Errorf("%w: archive %s: %w", outcome.ErrIntegrity, a.Prefix, err), a.Prefix)
		}
		if err := c.Walk(ctx, a, v, prove.Visitor{File: tree.add}); err != nil {
			return nil, err
		}
	}
	out, err := openTree(ctx, p.Dir, tree)
	if err != nil {
		return nil, err
	}
	defer out.close()
	out.events = p.Progress
	if err := out.fetch(ctx, p.Snapshot, nil); err != nil {
		return nil, err
	}
	return &TreeResult{
		Files: len(tree.want), Bytes: out.total, Reused: out.reused,
		Replaced: out.replaced(), Left: len(out.leaving()), Removed: out.removed,
	}, nil
}

// aptTree is the tree of one snapshot: what is to be written, and what of it
// names what else.
type aptTree struct {
	date      time.Time // the statement's; zero if nobody vouches for that
	statement []byte
	want      map[string]snapshot.Blob // by path
	dists     map[string]distsFile     // those of want that change under their name from snapshot to snapshot
	links     map[string]string        // by-hash name to the path in want whose bytes it names
}

// distsFile is a file that a suite's Release lists, or a signature file.
type distsFile struct {
	suite string // directory of its Release
	step  step
	date  time.Time // when a client is to take it for changed
}

// step orders the files of a suite: what names others gets its own name after them.
type step uint8

const (
	index step = iota
	releaseGPG
	releaseText
	inRelease
)

func newAptTree(s *snapshot.Snapshot, believed bool) *aptTree {
	t := &aptTree{
		statement: s.StatementBytes,
		want:      map[string]snapshot.Blob{}, dists: map[string]distsFile{}, links: map[string]string{},
	}
	if believed {
		t.date = s.Statement.Date
	}
	return t
}

// add takes a file that the chain proves. What neither is a signature file nor
// is listed by its Release was named by a stanza: a pool file. Under upstream's
// key alone the date is that of its Release: the statement's is the registry's word.
func (t *aptTree) add(p *prove.Suite, row snapshot.Row) {
	name := row.Path
	t.want[name] = row.Blob()
	d := distsFile{suite: p.Base, date: t.date}
	if d.date.IsZero() {
		d.date = p.Release.Date
	}
	below := strings.TrimPrefix(name, p.Base)
	f, listed := p.Release.File(below)
	switch {
	case below == "InRelease":
		d.step = inRelease
	case below == "Release":
		d.step = releaseText
	case below == "Release.gpg":
		d.step = releaseGPG
	case !listed:
		return
	case p.Release.AcquireByHash && f.SHA256 != "":
		t.links[path.Dir(name)+"/by-hash/SHA256/"+f.SHA256] = name
	}
	t.dists[name] = d
}

// blob is what a path of the tree must hold, by-hash names included.
func (t *aptTree) blob(name string) (snapshot.Blob, bool) {
	if of, ok := t.links[name]; ok {
		name = of
	}
	b, ok := t.want[name]
	return b, ok
}

// What a pull does over a tree that is there, in this order:
//
//	remove   what the pull of the snapshot before found lacking and left
//	record   that the files of this snapshot are ours, with those that are there
//	write    new pool files under their names; all that changes under its name under temporary ones
//	sync
//	name     by-hash names, pool files that changed, then suite by suite: indices, Release.gpg, Release, InRelease
//	sync
//	record   the files of this snapshot, and what it lacks as left
//
// Killed anywhere, each file is the one of before or the one of this snapshot,
// the record names both, and any later pull goes on from there.

// standing is a file of ours that is there, with bytes that this snapshot does not have at its path.
type standing struct {
	recorded
	mtime time.Time
}

// mtime is when a file says that it was changed. Web servers give it out as
// Last-Modified, and clients ask for what is newer than theirs: so what changes
// under its name has the snapshot's date, and never a time that is not after
// the one of the file that it replaces. To the second, as HTTP has it.
func (o *outDir) mtime(name string) time.Time {
	t := snapshot.ModTime(o.want[name].Digest)
	if o.dated(name) {
		t = o.tree.dists[name].date
	}
	if was, ok := o.standing[name]; ok && !t.After(was.mtime) {
		t = was.mtime.Truncate(time.Second).Add(time.Second)
	}
	return t
}

// dated tells whether a file has the snapshot's date.
func (o *outDir) dated(name string) bool {
	if o.tree == nil {
		return false
	}
	_, ok := o.tree.dists[name]
	return ok
}

// late tells whether a file gets its name only when all others are there.
func (o *outDir) late(name string) bool {
	_, replaces := o.standing[name]
	return o.dated(name) || replaces
}

// leaving are the files of ours that this snapshot has no use for, without those that are removed already.
func (o *outDir) leaving() []recorded {
	var out []recorded
	for name, f := range o.standing {
		if _, wanted := o.want[name]; !wanted {
			out = append(out, f.recorded)
		}
	}
	return out
}

// due tells whether the time of a file that is leaving is up: the pull before
// found it lacking in its snapshot, and now there is another one. The same
// snapshot again removes nothing, however soon it comes.
func (o *outDir) due(f recorded) bool {
	return f.left && len(o.have) < len(o.want)+len(o.tree.links)
}

// replaced is how many files other bytes have taken the place of.
func (o *outDir) replaced() (n int) {
	for name := range o.standing {
		if _, wanted := o.want[name]; wanted {
			n++
		}
	}
	return n
}

// begin removes what its time is up for, and records what is about to be written, before any of it is.
func (o *outDir) begin() error {
	if o.tree == nil {
		return nil
	}
	for _, f := range o.leaving() {
		if !o.due(f) {
			continue
		}
		if err := o.root.Remove(f.path); err != nil {
			return err
		}
		delete(o.standing, f.path)
		o.removed++
	}
	for _, d := range slices.Backward(o.spare) {
		// One that is not empty holds files that stay.
		if err := o.root.Remove(d); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	files := o.tree.files()
	for _, f := range o.standing {
		files = append(files, f.recorded)
	}
	changed, err := o.note(recordFile, encodeRecord(files))
	if err == nil && changed {
		err = o.disk.Sync()
	}
	return err
}

// files are the lines of the record for a tree.
func (t *aptTree) files() []recorded {
	var out []recorded
	for name, b := range t.want {
		out = append(out, recorded{path: name, blob: b})
	}
	for name, of := range t.links {
		out = append(out, recorded{path: name, blob: t.want[of]})
	}
	return out
}

// publish gives their names to all files that wait for it. Everything is
// verified, and nothing but a failing disk can come in between.
func (o *outDir) publish(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if o.tree == nil {
		return o.disk.Sync()
	}
	if len(o.held) > 0 {
		if err := o.disk.Sync(); err != nil {
			return err
		}
	}
	if err := o.linkByHash(); err != nil {
		return err
	}
	for _, name := range o.aged {
		t := o.mtime(name)
		if err := o.root.Chtimes(name, t, t); err != nil {
			return err
		}
	}
	slices.SortFunc(o.held, func(a, b string) int {
		x, y := o.tree.dists[a], o.tree.dists[b]
		return cmp.Or(cmp.Compare(x.suite, y.suite), cmp.Compare(x.step, y.step), strings.Compare(a, b))
	})
	for _, name := range o.held {
		if err := o.root.Rename(partOf(name), name); err != nil {
			return err
		}
	}
	o.held = nil
	if err := o.disk.Sync(); err != nil {
		return err
	}
	return o.finish()
}

// finish records the tree as it is now.
func (o *outDir) finish() error {
	files := o.tree.files()
	for _, f := range o.leaving() {
		f.left = true
		files = append(files, f)
	}
	stated, err := o.note(statementFile, o.tree.statement)
	if err != nil {
		return err
	}
	changed, err := o.note(recordFile, encodeRecord(files))
	if err == nil && (changed || stated) {
		err = o.disk.Sync()
	}
	return err
}

// linkByHash gives the files that indices are now, or will be in an instant, their by-hash names,
// which clients of the day before and after may ask for at the same time.
func (o *outDir) linkByHash() error {
	var copies []string
	for _, name := range slices.Sorted(maps.Keys(o.tree.links)) {
		if o.have[name] {
			continue
		}
		from := o.tree.links[name]
		if !o.have[from] {
			from = partOf(from)
		}
		if err := o.mkdir(path.Dir(name)); err != nil {
			return err
		}
		if o.root.Link(from, name) == nil {
			continue
		}
		// Not every file system knows a second name of a file.
		if err := o.copy(from, partOf(name), name); err != nil {
			return err
		}
		copies = append(copies, name)
	}
	if len(copies) == 0 {
		return nil
	}
	if err := o.disk.Sync(); err != nil {
		return err
	}
	for _, name := range copies {
		if err := o.root.Rename(partOf(name), name); err != nil {
			return err
		}
	}
	return nil
}

// copy copies a file to what is to be called name, which says what its bytes must be.
func (o *outDir) copy(from, to, name string) error {
	b, _ := o.tree.blob(name)
	r, err := o.root.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := o.create(to)
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), r)
	if err = errors.Join(err, w.Close()); err == nil && (n != b.Size || snapshot.Digest(h.Sum(nil)) != b.Digest) {
		err = fmt.Errorf("%w: %s has changed since it was written", outcome.ErrIntegrity, o.path(from))
	}
	if err == nil {
		t := o.tree.dists[o.tree.links[name]].date
		err = o.root.Chtimes(to, t, t)
	}
	if err != nil {
		o.root.Remove(to)
	}
	return err
}

// forget takes back what begin wrote: the record is again one of what was there.
func (o *outDir) forget() {
	if o.tree == nil {
		return
	}
	var files []recorded
	for _, f := range o.vouched {
		if _, err := o.root.Lstat(f.path); err == nil {
			files = append(files, f)
		}
	}
	if len(files) > 0 {
		o.note(recordFile, encodeRecord(files))
		return
	}
	o.root.Remove(recordFile)
	o.root.Remove(recordDir)
}
