// Package fileset reads an archive of plain files from where they are: tarballs and installers by the digests of a
// list, of a signed SHA256SUMS, or of the lock, and with detached signatures.
package fileset

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/fileplan"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/archive/sums"
	"example.org/mmoci/pkg/snapshot"
)

// Options say what is read. Plan and Dir are required.
type Options struct {
	Plan *fileplan.Archive
	// Lock is the lock to be met; nil: none. What it has of a file whose list has no digest is its digest.
	Lock *config.Lock
	// Previous may hold what a place has lost; nil: nothing does.
	Previous *snapshot.Snapshot
	// Dir makes the directory that keeps what was learned and what came of long files, from one time to the next.
	Dir func() (string, error)
	// KeepGoing leaves out what cannot be had, and says it.
	KeepGoing bool
	// Check asks for each file whether it is there, whatever is known of it. A place that does not answer is no file that is missing.
	Check bool
	Now   time.Time // at which keys must be good; zero: any
	Log   outcome.Log
}

// set is an archive that is being read.
type set struct {
	freeze.ReadyArchive
	blobs *blobs
}

// file is a file on its way.
type file struct {
	fileplan.Place
	at        document.Position
	path      string // below the archive
	signature string // its address
	up        *upstream.Upstream

	blob   snapshot.Blob
	known  bool   // the digest
	wanted string // who says it, for messages
	proof  []byte // the signature, in armour
	err    error
}

// reader reads one archive.
type reader struct {
	Options
	ring *pgp.Keyring
	lock *config.LockArchive
	keep *keep
	set  *set

	mu sync.Mutex // guards set.Newest while files are read

	upstreamOptions upstream.Options
}

// Read reads lists, signatures and what must be read of the files to know their digests and sizes; the other bytes are
// read when they are asked for. Errors wrap outcome.ErrIntegrity for what contradicts a digest, a signature or the
// lock, outcome.ErrNotFound for what is not there, outcome.ErrUsage for what contradicts itself in the configuration.
func Read(ctx context.Context, o Options) (*freeze.ReadyArchive, error) {
	s, err := read(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", o.Plan.Prefix, err)
	}
	return &s.ReadyArchive, nil
}

func read(ctx context.Context, o Options) (*set, error) {
	r, err := newReader(o)
	if err != nil {
		return nil, err
	}
	dir, err := o.Dir()
	if err != nil {
		return nil, fmt.Errorf("directory of what is kept of files: %w", err)
	}
	if r.keep, err = openKeep(filepath.Join(dir, "files")); err != nil {
		return nil, err
	}
	files, err := r.listed(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.settle(ctx, files); err != nil {
		return nil, err
	}
	r.assemble(files)
	return r.set, nil
}

// newReader makes a reader that keeps nothing.
func newReader(o Options) (r *reader, err error) {
	p := o.Plan
	r = &reader{Options: o, set: &set{}, upstreamOptions: upstream.Options{
		CAFile: p.CAFile, ClientCert: p.ClientCert, AuthFile: p.AuthFile, Record: true, Log: o.Log.Printf,
	}}
	if p.SignedBy != "" {
		if r.ring, err = signer.ReadKeyrings(p.SignedBy); err != nil {
			return nil, err
		}
	}
	if o.Lock != nil {
		for i, a := range o.Lock.Archives {
			if a.Prefix == p.Prefix {
				r.lock = &o.Lock.Archives[i]
			}
		}
	}
	r.set.Archive = snapshot.Archive{Prefix: p.Prefix, Mode: snapshot.Curated, Class: snapshot.Site, Format: snapshot.FormatFiles}
	if r.ring != nil {
		r.set.Archive.Class, r.set.Archive.UpstreamKeys = snapshot.Upstream, r.ring.Fingerprints()
	}
	return r, nil
}

// listed are the files of the plan, of which none was asked for, and those of its lists, which are verified.
func (r *reader) listed(ctx context.Context) ([]*file, error) {
	var files []*file
	var err error
	for _, f := range r.Plan.Files {
		x := &file{Place: f.Place, at: f.Position, path: f.Path, signature: f.Signature, wanted: "its list has"}
		if f.SHA256 != "" {
			if x.blob.Digest, err = snapshot.ListedDigest(f.SHA256); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", outcome.ErrUsage, f.Position, err)
			}
			x.known = true
		}
		files = append(files, x)
	}
	for i := range r.Plan.Sums {
		listed, err := r.sums(ctx, &r.Plan.Sums[i])
		if err != nil {
			return nil, err
		}
		files = append(files, listed...)
	}
	if err := distinct(files); err != nil {
		return nil, err
	}
	return files, r.open(files)
}

// distinct refuses paths that two lists have.
func distinct(files []*file) error {
	var faults document.Faults
	first := map[string]*file{}
	for _, f := range files {
		if was := first[f.path]; was != nil {
			faults.Add(document.Errorf(f.at, "%s stands at %s, too; take it from one of them", f.path, was.at))
			continue
		}
		first[f.path] = f
	}
	for _, f := range files {
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			if was := first[dir]; was != nil {
				faults.Add(document.Errorf(f.at, "%s lies below %s, which is a file at %s; give one of them another path", f.path, dir, was.at))
			}
		}
	}
	if err := faults.Err(); err != nil {
		return fmt.Errorf("%w: %w", outcome.ErrUsage, err)
	}
	return nil
}

// open makes the upstreams of files.
func (r *reader) open(files []*file) error {
	var urls [][]string
	for _, f := range files {
		urls = append(urls, f.URLs)
	}
	ups, err := upstream.NewFiles(r.upstreamOptions, urls)
	if err != nil {
		return err
	}
	for i, f := range files {
		f.up = ups[i]
	}
	return nil
}

// settle learns digest and size of every file, and proves those with signatures. All faults are told at once but those of a place that does not answer.
func (r *reader) settle(ctx context.Context, files []*file) error {
	err := r.lookAt(ctx, files, func(ctx context.Context, f *file) error {
		err := r.one(ctx, f)
		if errors.Is(err, upstream.ErrNotFound) && !errors.Is(err, outcome.ErrIntegrity) {
			err = fmt.Errorf("%w: %w", outcome.ErrNotFound, err)
		}
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		if f.err == nil {
			continue
		}
		f.err = fmt.Errorf("%s: %s: %w", f.at, f.path, f.err)
		if !r.KeepGoing || errors.Is(f.err, outcome.ErrIntegrity) || r.Check && !gone(f.err) {
			errs = append(errs, f.err)
			continue
		}
		r.set.Missing = append(r.set.Missing, f.err.Error())
	}
	return errors.Join(errs...)
}

// lookAt looks at files, several at once; what is wrong with one stands in it. It ends early when a place fails to answer, unless
// KeepGoing: each file of a long list would wait for that place as long. Its error is that ctx ended.
func (r *reader) lookAt(ctx context.Context, files []*file, look func(context.Context, *file) error) error {
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for _, f := range files {
		g.Go(func() error {
			err := look(each, f)
			if each.Err() != nil {
				return err // it was cut off
			}
			f.err = err
			if r.KeepGoing && !r.Check || gone(err) || upstream.Refused(err) || errors.Is(err, outcome.ErrIntegrity) {
				return nil
			}
			return err
		})
	}
	_ = g.Wait()
	return context.Cause(ctx)
}

// gone tells that a place answered, and has a file no more, or another one.
func gone(err error) bool {
	return errors.Is(err, upstream.ErrNotFound) || errors.Is(err, upstream.ErrChanged)
}

// assemble makes the archive of the files that are there.
func (r *reader) assemble(files []*file) {
	files = slices.DeleteFunc(files, func(f *file) bool { return f.err != nil })
	prefix := r.Plan.Prefix
	s := r.set
	s.blobs = &blobs{keep: r.keep, previous: r.Previous, prefix: prefix, files: map[snapshot.Digest]*file{}, held: map[snapshot.Digest]bool{}, log: r.Log}
	s.Blobs, s.Fetched, s.Done = s.blobs, s.blobs.fetched, s.blobs.done
	s.Locked = config.LockArchive{Prefix: prefix, Mode: string(snapshot.Curated), Class: string(s.Archive.Class), Format: snapshot.FormatFiles}
	for _, suite := range s.Archive.Suites {
		for _, f := range suite.Files {
			if f.Role == snapshot.UpstreamSums {
				s.Locked.Releases = append(s.Locked.Releases, config.LockRelease{Suite: suite.Name, Digest: f.Blob.Digest.String(), Date: f.Date})
			}
		}
	}
	var lines []sums.Line
	for _, f := range files {
		s.Rows = append(s.Rows, snapshot.Row{Path: prefix + "/" + f.path, Size: f.blob.Size, Digest: f.blob.Digest})
		lines = append(lines, sums.Line{Name: f.path, Digest: f.blob.Digest})
		s.Locked.Files = append(s.Locked.Files, config.LockFile{Path: f.path, Digest: f.blob.Digest.String(), Size: f.blob.Size, URL: shown(f.Of)})
		if f.blob.Size > 0 {
			if _, ok := s.blobs.files[f.blob.Digest]; !ok {
				s.blobs.files[f.blob.Digest] = f
			}
		}
		if f.proof != nil {
			s.small("upstream/"+prefix+"/"+f.path+".asc", f.proof)
		}
	}
	if len(files) == 0 {
		return // nothing is signed: with KeepGoing none could be had
	}
	if i := slices.IndexFunc(s.Archive.Suites, func(x snapshot.Suite) bool { return x.Name == "./" }); i < 0 {
		s.Archive.Suites = append(s.Archive.Suites, snapshot.Suite{Name: "./"})
	}
	slices.SortFunc(s.Archive.Suites, func(a, b snapshot.Suite) int { return strings.Compare(a.Name, b.Name) })
	s.Signed = []freeze.SiteText{{Suite: "./", Text: sums.Format(lines)}}
}

// small adds a file whose bytes are at hand.
func (s *set) small(path string, data []byte) snapshot.Blob {
	b := snapshot.BlobOf(data)
	s.Rows = append(s.Rows, snapshot.Row{Path: path, Size: b.Size, Digest: b.Digest})
	s.Small = append(s.Small, data)
	return b
}

// readSmall reads a small file by its address and its mirrors.
func (r *reader) readSmall(ctx context.Context, name string, urls []string, limit int64, verify func([]byte) error) ([]byte, error) {
	ups, err := upstream.NewFiles(r.upstreamOptions, [][]string{urls})
	if err != nil {
		return nil, err
	}
	data, err := ups[0].Get(ctx, name, limit, verify)
	if errors.Is(err, upstream.ErrNotFound) {
		err = fmt.Errorf("%w: %w", outcome.ErrNotFound, err)
	}
	return data, err
}

// shown is an address without user, password and query, which may be a token: locks are public, and messages stand in logs.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return transfer.Redact(address)
	}
	u.User, u.RawQuery, u.ForceQuery = nil, "", false
	return u.String()
}

// remove is for files that are not needed any more; that one stays is no harm.
func remove(name string) { _ = os.Remove(name) }
