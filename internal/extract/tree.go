package extract

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

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
