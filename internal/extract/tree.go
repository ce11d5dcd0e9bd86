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
	"example.org/mmoci/pkg/rpm"
	"example.org/mmoci/pkg/snapshot"
)

// TreeOptions says where Tree writes a snapshot.
type TreeOptions struct {
	Snapshot *snapshot.Snapshot
	Trust    prove.Trust
	Dir      string
	// Only, if not empty, are the archives that are taken, as PREFIX, or as PREFIX/GLOB, which takes of an archive of plain
	// files those that the glob of path.Match fits, by the whole path or by its last part.
	Only []string
	Log  outcome.Log
	// Progress, if not nil, is called for every file, concurrently. [artifact.Watched] reports the bytes on the way.
	Progress func(artifact.Event)
}

// TreeResult is what Tree wrote.
type TreeResult struct {
	Files  int
	Bytes  int64
	Reused int64
	// What became of the tree that was there before: files replaced by others, files that
	// this snapshot lacks and that stay until the next snapshot, and files removed
	// because the snapshot before this one lacked them already.
	Replaced, Left, Removed int
}

// Tree writes the apt tree of a snapshot (PREFIX/dists, PREFIX/pool) as files,
// each proved through the chain. Dir may hold the tree of another snapshot that an
// earlier Tree wrote. It becomes this one: clients that read it meanwhile
// find the old tree or the new one, suite by suite.
func Tree(ctx context.Context, o TreeOptions) (*TreeResult, error) {
	c := &prove.Chain{Snapshot: o.Snapshot, Trust: o.Trust}
	tree := newAptTree(o.Snapshot, o.Trust.Believed(o.Snapshot))
	takes, err := wishes(o.Snapshot, o.Only)
	if err != nil {
		return nil, err
	}
	for _, a := range o.Snapshot.Statement.Archives {
		take := takes[a.Prefix]
		if take == nil {
			continue
		}
		v, err := c.BestView(a)
		if err != nil {
			return nil, outcome.GiveUpstreamKey.For(fmt.Errorf("%w: archive %s: %w", outcome.ErrIntegrity, a.Prefix, err), a.Prefix)
		}
		if err := c.Walk(ctx, a, v, prove.Visitor{File: func(p *prove.Suite, row snapshot.Row) {
			if take(row) {
				tree.add(p, row)
			}
		}}); err != nil {
			return nil, err
		}
	}
	out, err := openTree(ctx, o.Dir, tree)
	if err != nil {
		return nil, err
	}
	defer out.close()
	out.events = o.Progress
	if err := out.fetch(ctx, o.Snapshot, nil); err != nil {
		return nil, err
	}
	return &TreeResult{
		Files: len(tree.want), Bytes: out.total, Reused: out.reused,
		Replaced: out.replaced(), Left: len(out.leaving()), Removed: out.removed,
	}, nil
}

// aptTree is the files of one snapshot, with what decides the order in which they get their names.
type aptTree struct {
	date      time.Time // the statement's; zero if the statement is not believed
	statement []byte
	want      map[string]snapshot.Blob // by path
	dists     map[string]distsFile     // the files of want that other snapshots have under the same name in other bytes
	links     map[string]string        // by-hash name to its path in want
}

// distsFile is a file that a suite's Release lists, or a signature file.
type distsFile struct {
	suite string // directory of its Release
	step  step
	date  time.Time // of its last change, as web servers tell clients
}

// step orders the files of a suite: a file that lists others gets its name after them.
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

// add takes a file that the chain proves. A file that is neither a signature file nor
// listed by its Release is a pool file. Without a believed statement, whose date
// would be the registry's word, the date is that of the Release.
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
	case below == rpm.Repomd: // the last of an RPM repository, as its makers have it
		d.step = releaseText
	case below == rpm.RepomdAsc:
		d.step = releaseGPG
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

// Tree writes over a tree that is there in this order:
//
//	remove   files that the snapshot before this one lacked already (begin)
//	record   the files that are there and those of this snapshot as ours (begin)
//	write    new pool files under their names; files that replace others under temporary names
//	sync
//	name     by-hash names, changed pool files, then suite by suite: indices, Release.gpg, Release, InRelease (publish)
//	sync
//	record   the files of this snapshot; files that it lacks as "left" (finish)
//
// After a kill at any point each file is the old one or the new one, the record names
// both, and the next run goes on from there.

// standing is a file that an earlier run wrote and whose bytes this snapshot does not have at its path.
type standing struct {
	recorded
	mtime time.Time
}

// mtime is the modification time that a file gets. Web servers send it as Last-Modified,
// and clients ask for what is newer than theirs. So a file that changes under its
// name gets the snapshot's date, and always a later time than the file that it replaces,
// in whole seconds as in HTTP.
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

// late tells whether a file gets its name only after all others are written.
func (o *outDir) late(name string) bool {
	_, replaces := o.standing[name]
	return o.dated(name) || replaces
}

// leaving returns the files of an earlier run that this snapshot lacks and that are not removed yet.
func (o *outDir) leaving() []recorded {
	var out []recorded
	for name, f := range o.standing {
		if _, wanted := o.want[name]; !wanted {
			out = append(out, f.recorded)
		}
	}
	return out
}

// due tells whether a leaving file is to be removed now. It is if two snapshots in a row lack
// it: the last run marked it as left, and this run writes another snapshot. Writing
// the same snapshot again removes nothing.
func (o *outDir) due(f recorded) bool {
	return f.left && len(o.have) < len(o.want)+len(o.tree.links)
}

// replaced counts the files that got other bytes.
func (o *outDir) replaced() (n int) {
	for name := range o.standing {
		if _, wanted := o.want[name]; wanted {
			n++
		}
	}
	return n
}

// begin removes the files that are due, then records what is about to be written.
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

// publish gives all files that wait their names. Everything is verified by now: only
// a failing disk can stop it.
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

// linkByHash gives the new indices their by-hash names before their own names: clients
// of the old Release and of the new one may ask at the same time.
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
		// Not every file system has hard links.
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

// copy copies a file and verifies the copy, which will be called name.
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

// forget undoes what begin recorded: the record lists again what was there before.
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
