// Package listed fetches the .debs that a list names by their URLs, where no signed index vouches for them: each
// must be of the name and version of its line, and of the digest that the lock has. They become an archive of own packages.
package listed

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// maxFile bounds one file, in bytes: nothing says before how long it is.
const maxFile = 8 << 30

// Options of a fetch. Plan is required, and Dir if a list names files.
type Options struct {
	Plan *config.Plan
	Lock *config.Lock // its digests must be met; nil: none is known
	// Dir keeps the files from one time to the next: what a URL gives then must be what it gave before. It may be
	// made only when it is needed.
	Dir func() (string, error)
	// KeepGoing leaves out what cannot be had, and says it in [Result.Missing].
	KeepGoing bool
	// Check leaves out, and says, what is not there any more, and nothing else.
	Check bool
	Log   outcome.Log
}

// Result is a plan whose lists name no files any more.
type Result struct {
	Plan    *config.Plan
	Files   []Fetched
	Missing []string // what could not be had and why, a line each
	Gone    []string // prefixes of archives none of whose files could be had; the plan has them no more
}

// Fetched is a file that was fetched, or was there.
type Fetched struct {
	Digest snapshot.Digest
	upstream.Origin
}

// Fetch puts the files of each archive of URLs into a directory of its own, and returns the plan with the directories in
// place of the URLs. A file of another name, version or digest than is known is ErrIntegrity, all of these at once.
func Fetch(ctx context.Context, o Options) (*Result, error) {
	res := &Result{Plan: o.Plan}
	if !slices.ContainsFunc(o.Plan.Archives, func(a config.Archive) bool { return len(a.Files) > 0 }) {
		return res, nil
	}
	top, err := o.Dir()
	if err != nil {
		return nil, fmt.Errorf("files that lists name by URL: %w", err)
	}
	plan := *o.Plan
	plan.Archives = slices.Clone(plan.Archives)
	res.Plan = &plan
	for i := range plan.Archives {
		a := &plan.Archives[i]
		if len(a.Files) == 0 {
			continue
		}
		file, err := filepath.Abs(plan.File)
		if err != nil {
			return nil, err
		}
		// One directory for each archive of each configuration.
		a.Debs = filepath.Join(top, a.Prefix+"-"+snapshot.Sum([]byte(file + "\n" + a.Prefix)).Hex()[:12])
		if err := res.fetchArchive(ctx, o, a); err != nil {
			return nil, fmt.Errorf("archive %s: %w", a.Prefix, err)
		}
	}
	plan.Archives = slices.DeleteFunc(plan.Archives, func(a config.Archive) bool { return len(a.Files) > 0 && a.Debs == "" })
	return res, nil
}

// fetchArchive fills the directory of an archive, and removes what is listed no more.
func (res *Result) fetchArchive(ctx context.Context, o Options, a *config.Archive) error {
	if err := os.MkdirAll(a.Debs, 0o700); err != nil {
		return err
	}
	unlock, err := durable.Lock(ctx, filepath.Join(a.Debs, ".lock"), 0o600)
	if err != nil {
		return err
	}
	defer unlock()
	names := map[string]bool{".lock": true}
	out, errs := make([]Fetched, len(a.Files)), make([]error, len(a.Files))
	var g errgroup.Group
	g.SetLimit(parallel.Workers)
	var mu sync.Mutex
	for i, f := range a.Files {
		g.Go(func() error {
			name := fileOf(f)
			mu.Lock()
			names[name] = true
			mu.Unlock()
			out[i], errs[i] = fetch(ctx, o, a, f, filepath.Join(a.Debs, name))
			return nil
		})
	}
	_ = g.Wait() // each error stands in its place
	if err := context.Cause(ctx); err != nil {
		return err
	}
	there := 0
	for i, err := range errs {
		switch {
		case err == nil:
			there++
			res.Files = append(res.Files, out[i])
		case errors.Is(err, outcome.ErrIntegrity), !o.KeepGoing && !(o.Check && errors.Is(err, outcome.ErrNotFound)):
			return errors.Join(errs...)
		default:
			res.Missing = append(res.Missing, err.Error())
			delete(names, fileOf(a.Files[i])) // what was there is not what is asked for now
		}
	}
	entries, err := os.ReadDir(a.Debs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !names[e.Name()] {
			if err := os.Remove(filepath.Join(a.Debs, e.Name())); err != nil {
				return err
			}
		}
	}
	if there == 0 {
		a.Debs = ""
		res.Gone = append(res.Gone, a.Prefix)
	}
	return nil
}

// fileOf is the name on disk of a listed file: of its line, for a mirror has the same one at another address.
func fileOf(f config.File) string {
	last := f.URLs[len(f.URLs)-1]
	return snapshot.Sum([]byte(f.Name+" "+f.Version+" "+path.Base(last))).Hex() + ".deb"
}

// fetch gets one file, unless it is there as the lock has it.
func fetch(ctx context.Context, o Options, a *config.Archive, f config.File, file string) (Fetched, error) {
	there, err := sumOf(file)
	if err != nil {
		return Fetched{}, err
	}
	locked := lockedDigest(o.Lock, a.Prefix, f)
	if there != nil && locked == there.String() {
		return Fetched{Digest: *there}, nil
	}
	known, whose, remedy := locked, "the lock has", ""
	if known == "" && there != nil {
		known, whose, remedy = there.String(), "before it was", "; remove "+file+" if the new ones are right"
	}
	var urls []string
	var name string
	for _, s := range f.URLs {
		u, err := url.Parse(s)
		if err != nil {
			return Fetched{}, fmt.Errorf("%s: %w", f.Position, err)
		}
		name = path.Base(u.Path)
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"+name), ""
		urls = append(urls, u.String())
	}
	options := place.UpstreamOptions(a, o.Log)
	options.URLs, options.Record = urls, true
	up, err := upstream.New(options)
	if err != nil {
		return Fetched{}, fmt.Errorf("%s: %w", f.Position, err)
	}
	for {
		digest, wrong, err := fetchOnce(ctx, up, name, f, file, func(d snapshot.Digest) error {
			if known == "" || d.String() == known {
				return nil
			}
			return fmt.Errorf("the same version with other bytes: %s, %s %s%s", d, whose, known, remedy)
		})
		if err == nil {
			return Fetched{digest, up.Origins()[0]}, nil
		}
		if wrong == nil || !wrong(err) {
			if errors.Is(err, upstream.ErrNotFound) && !errors.Is(err, outcome.ErrIntegrity) {
				err = fmt.Errorf("%w: %w", outcome.ErrNotFound, err)
			}
			return Fetched{}, fmt.Errorf("%s: %s %s: %w", f.Position, f.Name, f.Version, err)
		}
	}
}

// fetchOnce reads the file from the first place that has it. wrong, if not nil, tells the place that its bytes are not
// those that were wanted; it is true if another place may have them.
func fetchOnce(ctx context.Context, up *upstream.Upstream, name string, f config.File, file string, check func(snapshot.Digest) error) (digest snapshot.Digest, wrong func(error) bool, err error) {
	r, err := up.Open(ctx, name, -1)
	if err != nil {
		return digest, nil, err
	}
	defer r.Close()
	part, err := os.CreateTemp(filepath.Dir(file), ".part-*")
	if err != nil {
		return digest, nil, err
	}
	defer os.Remove(part.Name()) // unless it got its name
	defer part.Close()
	h := sha256.New()
	in := io.TeeReader(io.LimitReader(r, maxFile), io.MultiWriter(h, part))
	d, err := deb.ReadDeb(in)
	if err != nil && !errors.Is(err, deb.ErrMalformed) {
		return digest, nil, err
	}
	if _, reading := io.Copy(io.Discard, in); reading != nil {
		return digest, nil, reading
	}
	digest = snapshot.Digest(h.Sum(nil))
	if err == nil {
		if got := d.Control.Get("Package") + " " + d.Control.Get("Version"); got != f.Name+" "+f.Version {
			err = fmt.Errorf("the file is %s", got)
		}
	}
	if err == nil {
		err = check(digest)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s/%s: %w", outcome.ErrIntegrity, up, name, err)
		if d, ok := r.(interface{ Distrust(error) bool }); ok {
			wrong = d.Distrust
		}
		return digest, wrong, err
	}
	if there, err := sumOf(file); err != nil || there != nil && *there == digest {
		return digest, nil, err // it stays: a push tells by its inode that nothing changed
	}
	if err := part.Sync(); err != nil {
		return digest, nil, err
	}
	return digest, nil, os.Rename(part.Name(), file)
}

// sumOf is the digest of a file; nil if it is not there.
func sumOf(file string) (*snapshot.Digest, error) {
	in, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return nil, err
	}
	d := snapshot.Digest(h.Sum(nil))
	return &d, nil
}

// lockedDigest is what a lock has of a file; "": nothing.
func lockedDigest(lock *config.Lock, prefix string, f config.File) string {
	if lock == nil {
		return ""
	}
	for _, a := range lock.Archives {
		for _, p := range a.Packages {
			if a.Prefix == prefix && p.Name == f.Name && p.Version == f.Version {
				return p.Digest
			}
		}
	}
	return ""
}
