package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// pushedNote records the input of a push and what was pushed. A push is a
// function of its input: the configuration, the signing key, and the signature
// files of the upstreams, which bind all else. So a push of the same input need
// not be computed again: a day without change costs the InReleases and one
// request for the tag (of Debian's main, 0.05 s instead of 2 s of processor time
// and 9 MB of index). Signatures and dates are verified each time, and the
// registry is asked whether the tags still name the root.
type pushedNote struct {
	Input    snapshot.Digest   // of everything configured
	Releases map[string]string // PREFIX SUITE to a digest over the signature files
	Images   []config.LockImage
	Root     snapshot.Digest
	Tag      string // immutable
	Date     time.Time
	Files    int
	Bytes    int64
	Packages map[string]int
	Blobs    int
	Reused   int64
	Newer    []freeze.Newer
}

// noteFile is where the note of a reference is kept.
func (o Options) noteFile() string {
	return filepath.Join(o.State, snapshot.Sum([]byte(prove.RememberedName(o.Ref))).Hex()+".json")
}

// notable tells whether notes are written and used for this push: not where
// its options ask for a closer look.
func (o Options) notable() bool {
	if o.State == "" || o.Report != nil || o.Previous != nil || len(o.Plan.Others) > 0 || o.DryRun || o.Locked || o.Artifact.Recheck {
		return false
	}
	for _, a := range o.Plan.Archives {
		if a.SignedByURL != "" {
			return false // the key may have changed
		}
	}
	return true
}

// unchanged is the result of a push that has nothing to do; nil if there may be something.
func (o Options) unchanged(ctx context.Context, images *freeze.Images) *Result {
	if !o.notable() {
		return nil
	}
	data, err := os.ReadFile(o.noteFile())
	if err != nil {
		return nil
	}
	var note pushedNote
	if err := json.Unmarshal(data, &note); err != nil {
		return nil
	}
	if !reflect.DeepEqual(lockedImages(images), note.Images) {
		return nil
	}
	if input, err := o.input(); err != nil || input != note.Input || freeze.RunsOut(o.Plan, note.Date, o.Now) {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.stillNamed(ctx, o.Ref.Tag, note.Root) })
	if note.Tag != "" {
		g.Go(func() error { return o.stillNamed(ctx, note.Tag, note.Root) })
	}
	g.Go(func() error { return o.sameReleases(ctx, note.Releases) })
	if g.Wait() != nil {
		return nil // the whole way finds out what it is
	}
	res := &Result{Packages: note.Packages, Files: note.Files, Bytes: note.Bytes, Date: note.Date, Newer: note.Newer, Previous: note.Root}
	res.Root, res.Reference, res.Immutable, res.Blobs, res.Reused = note.Root, o.Ref, note.Tag, note.Blobs, note.Reused
	res.Reference.Digest = note.Root
	return res
}

var errChangedInput = errors.New("changed")

func (o Options) stillNamed(ctx context.Context, tag string, root snapshot.Digest) error {
	ref := o.Ref
	ref.Tag = tag
	now, err := artifact.Resolve(ctx, ref, o.Artifact.Options)
	if err == nil && now != root {
		err = errChangedInput
	}
	return err
}

// sameReleases reads and verifies the signature files of all upstreams and
// compares them with those of the note.
func (o Options) sameReleases(ctx context.Context, want map[string]string) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range o.Plan.Archives {
		a := &o.Plan.Archives[i]
		if a.Debs != "" {
			continue // part of the input
		}
		g.Go(func() error {
			_, suites, err := suites.Probe(ctx, a, nil, o.Now, o.Log)
			if err != nil {
				return err
			}
			for _, s := range suites {
				if s.Err != nil {
					return s.Err
				}
				if s.Signatures != want[a.Prefix+" "+s.Suite] {
					return errChangedInput
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// note writes down what came of this push. Where it cannot, the next one is slower, that is all.
func (o Options) note(res *Result, images *freeze.Images) {
	if !o.notable() || res.Frozen == nil {
		return
	}
	input, err := o.input()
	if err != nil {
		return
	}
	n := pushedNote{
		Input: input, Releases: res.Frozen.Signatures(), Images: lockedImages(images), Root: res.Root, Tag: res.Immutable, Date: res.Date,
		Packages: res.Packages, Files: res.Files, Bytes: res.Bytes, Blobs: res.Blobs, Reused: res.Reused + res.Pushed.Bytes, Newer: res.Newer,
	}
	data, err := json.Marshal(n)
	if err == nil {
		err = os.MkdirAll(o.State, 0o700)
	}
	if err == nil {
		err = durable.WriteFile(o.noteFile(), data, 0o600)
	}
	if err != nil {
		o.Log.Printf("that nothing changed will not be noticed early: %v", err)
	}
}

func lockedImages(images *freeze.Images) []config.LockImage {
	if images == nil {
		return nil
	}
	return images.Locked
}

// input is a digest over what is configured: the plan, the keys, own .debs as
// far as the file system tells them apart, and this program.
func (o Options) input() (snapshot.Digest, error) {
	var b strings.Builder
	plan, err := json.Marshal(o.Plan)
	if err != nil {
		return snapshot.Digest{}, err
	}
	fmt.Fprintf(&b, "plan %s\nencoder %d\ndate %s %t\nunsigned %t\n", plan, archive.EncoderGeneration, snapshot.FormatDate(o.Date), o.DateAuto, o.Unsigned)
	if o.Lock != nil {
		fmt.Fprintf(&b, "lock %s\n", snapshot.Sum(o.Lock.Encode()))
	}
	if o.Signer != nil {
		key, err := o.Signer.Public().Armor()
		if err != nil {
			return snapshot.Digest{}, err
		}
		fmt.Fprintf(&b, "signer %s\n", snapshot.Sum(key))
	}
	for _, a := range o.Plan.Archives {
		if a.SignedBy != "" {
			data, err := signer.ReadKeyFile(a.SignedBy)
			if err != nil {
				return snapshot.Digest{}, err
			}
			fmt.Fprintf(&b, "key %s %s\n", a.Prefix, snapshot.Sum(data))
		}
		if a.Debs != "" {
			if err := describeFiles(&b, a.Debs); err != nil {
				return snapshot.Digest{}, err
			}
		}
	}
	self, err := os.Executable()
	if err != nil {
		return snapshot.Digest{}, err
	}
	err = describeFiles(&b, self)
	return snapshot.Sum([]byte(b.String())), err
}

// describeFiles lists the files of a tree by what changes when they are
// written to: the same that a layout goes by (SPEC and DESIGN law 4).
func describeFiles(b *strings.Builder, top string) error {
	var lines []string
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := os.Stat(p)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("file %s %d %d", p, st.Size(), st.ModTime().UnixNano())
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			line += fmt.Sprintf(" %d %d %d", sys.Dev, sys.Ino, sys.Ctim.Nano())
		}
		lines = append(lines, line)
		return nil
	})
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, "\n") + "\n")
	return err
}
