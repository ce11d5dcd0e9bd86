package place

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Source opens the snapshots of one reference for a server. Safe for concurrent use.
type Source struct {
	Ref     artifact.Reference
	Options artifact.Options
	// Mirrors are tried before Ref's own place, by digest ([OpenAnywhere]). Log is told of those that are skipped.
	Mirrors []artifact.Reference
	Log     outcome.Log
	// Through, if not nil, wraps the blobs in a store.
	Through func(snapshot.Blobs) snapshot.Blobs
	// Keep, if not "", is a directory for statement and table of opened snapshots. With
	// Through, those snapshots can be opened again while the place is away.
	Keep string
	// Fallback, if not nil, gives pool files that the place cannot give.
	Fallback *Fallback

	tags tagList
}

// Name is the reference.
func (s *Source) Name() string { return s.Ref.String() }

// Pinned tells whether the reference names its snapshot by digest.
func (s *Source) Pinned() bool { return !s.Ref.Digest.IsZero() }

// Resolve tells which root the reference names now.
func (s *Source) Resolve(ctx context.Context) (snapshot.Digest, error) {
	return artifact.Resolve(ctx, s.Ref, s.Options)
}

// DateHex matches the end of an immutable tag: date and 12 hex digits of the root.
var DateHex = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}$`)

// Open opens the snapshot of an ID: "" for the reference itself, a digest, a
// tag, or the DATE-HEX12 of an immutable tag. An ID that is not there is
// snapshot.ErrNotExist.
func (s *Source) Open(ctx context.Context, id string) (*snapshot.Snapshot, error) {
	ref, err := s.Reference(ctx, id)
	if err != nil {
		return nil, absent(err)
	}
	sealed := s.kept(ref)
	if sealed == nil {
		if sealed, err = OpenAnywhere(ctx, ref, s.Mirrors, s.Options, s.Log); err != nil {
			return nil, absent(err)
		}
		if s.Keep != "" {
			if err := keepSnapshot(s.Keep, sealed); err != nil {
				s.Log.Printf("snapshot not kept for the case that the registry is away: %s", err)
			}
		}
	}
	if len(s.Mirrors) == 0 {
		place := s.Ref
		place.Tag, place.Digest = "", snapshot.Digest{}
		sealed.Blobs = named{sealed.Blobs, place.String()}
	}
	sn, err := sealed.Unseal(nil)
	if err != nil || (s.Through == nil && s.Fallback == nil) {
		return sn, err
	}
	return sn.WithBlobs(func(blobs snapshot.Blobs) snapshot.Blobs {
		if s.Fallback != nil {
			blobs = fallenBack{s.Fallback, blobs, sn}
		}
		if s.Through != nil {
			blobs = s.Through(blobs)
		}
		return blobs
	}), nil
}

// named are blobs that say where they come from.
type named struct {
	blobs snapshot.Blobs
	from  string
}

// Open implements snapshot.Blobs.
func (n named) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	c, err := n.blobs.Open(ctx, b, offset)
	if err == nil {
		c.From = n.from
	}
	return c, err
}

// kept opens a snapshot whose statement and table were kept; nil if they were not. Its
// place is opened before the first blob that is not in the store.
func (s *Source) kept(ref artifact.Reference) *snapshot.Sealed {
	if s.Keep == "" || ref.Digest.IsZero() {
		return nil
	}
	sealed, err := readKept(s.Keep, ref.Digest)
	if err != nil {
		return nil
	}
	sealed.Pinned, sealed.Blobs = true, &lateBlobs{source: s, ref: ref}
	return sealed
}

// lateBlobs opens its snapshot before the first blob.
type lateBlobs struct {
	source *Source
	ref    artifact.Reference

	mu     sync.Mutex
	opened snapshot.Blobs
}

// Open implements snapshot.Blobs.
func (l *lateBlobs) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	l.mu.Lock()
	blobs := l.opened
	l.mu.Unlock()
	if blobs == nil {
		s := l.source
		sealed, err := OpenAnywhere(ctx, l.ref, s.Mirrors, s.Options, s.Log)
		if err != nil {
			return nil, err
		}
		blobs = sealed.Blobs
		l.mu.Lock()
		l.opened = blobs
		l.mu.Unlock()
	}
	return blobs.Open(ctx, b, offset)
}

// absent adds snapshot.ErrNotExist to an error of a reference that is not there.
func absent(err error) error {
	if errors.Is(err, artifact.ErrNotFound) {
		return fmt.Errorf("%w: %w", err, snapshot.ErrNotExist)
	}
	return err
}

func (s *Source) Reference(ctx context.Context, id string) (artifact.Reference, error) {
	ref := s.Ref
	if id == "" {
		return ref, nil
	}
	ref.Tag, ref.Digest = "", snapshot.Digest{}
	if d, err := snapshot.ParseDigest(id); err == nil {
		ref.Digest = d
		return ref, nil
	}
	if ref.Tag = id; !DateHex.MatchString(id) {
		return ref, nil
	}
	names, err := s.tagNames(ctx)
	if err != nil {
		return ref, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "-"+id) && len(name) > len(id)+1 {
			ref.Tag = name
			return ref, nil
		}
	}
	return ref, fmt.Errorf("snapshot %s: %w", id, artifact.ErrNotFound)
}

// IDs lists the snapshots of the place by their immutable tags' DATE-HEX12, newest first.
func (s *Source) IDs(ctx context.Context) ([]string, error) {
	names, err := s.tagNames(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range names {
		if n := len(name) - len("20060102T150405Z-0123456789ab"); n > 0 && DateHex.MatchString(name[n:]) {
			ids = append(ids, name[n:])
		}
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	return slices.Compact(ids), nil
}

// Tags are the names that the snapshots of the place were given, by DATE-HEX12: what stands before it in their immutable tags.
func (s *Source) Tags(ctx context.Context) (map[string][]string, error) {
	names, err := s.tagNames(ctx)
	if err != nil {
		return nil, err
	}
	tags := map[string][]string{}
	for _, name := range slices.Sorted(slices.Values(names)) {
		if n := len(name) - len("20060102T150405Z-0123456789ab"); n > 1 && DateHex.MatchString(name[n:]) {
			tags[name[n:]] = append(tags[name[n:]], strings.TrimSuffix(name[:n], "-"))
		}
	}
	return tags, nil
}

// OpenUnverified opens a snapshot without trust, for those who only list it or pass it on.
func OpenUnverified(ctx context.Context, ref artifact.Reference, o artifact.Options) (*snapshot.Snapshot, error) {
	sealed, err := artifact.Open(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	return sealed.Unseal(nil)
}

const (
	// tagsKept is how long a list of tags is reused: anybody may ask a server for
	// snapshots that are not there, and a list may have many pages.
	tagsKept = 5 * time.Second
	// tagsTime bounds one request for the list.
	tagsTime = time.Minute
)

// tagList is the last list of a place's tags. Safe for concurrent use.
type tagList struct {
	mu     sync.Mutex
	asking chan struct{} // closed when the request under way ends; nil: there is none
	asked  time.Time     // when the last request ended
	names  []string
	err    error
}

// tagNames are the names of tags, at most tagsKept old. Callers share one request,
// which goes on when the first of them goes away.
func (s *Source) tagNames(ctx context.Context) ([]string, error) {
	l := &s.tags
	for {
		l.mu.Lock()
		if l.asking == nil && time.Since(l.asked) < tagsKept {
			defer l.mu.Unlock()
			return l.names, l.err
		}
		if l.asking == nil {
			l.asking = make(chan struct{})
			go s.askTags(context.WithoutCancel(ctx))
		}
		answered := l.asking
		l.mu.Unlock()
		select {
		case <-answered:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Source) askTags(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tagsTime)
	defer cancel()
	names, err := artifact.TagNames(ctx, s.Ref, s.Options)
	l := &s.tags
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names, l.err, l.asked = names, err, time.Now()
	close(l.asking)
	l.asking = nil
}

const (
	// maxKeptSnapshots is how many snapshots' documents are kept: the newest.
	maxKeptSnapshots = 8
	maxKeptHeader    = 1 << 20
	maxKept          = maxKeptHeader + artifact.MaxStatement + artifact.MaxTable
)

// keptHeader is the first line of a kept snapshot; statement and table
// follow it, and Sum is of them. The file is named by the root's hex digits.
type keptHeader struct {
	Signed    bool      `json:"signed"`
	Date      time.Time `json:"date"`
	Encoder   int       `json:"encoder"`
	Needs     string    `json:"needs,omitempty"`
	Release   []keptRef `json:"release"`
	Statement int       `json:"statement"`
	Table     int       `json:"table"`
	Lock      keptRef   `json:"lock"`
	Sum       string    `json:"sum"`
}

type keptRef struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func refTo(b snapshot.Blob) keptRef { return keptRef{b.Digest.String(), b.Size} }

func (r keptRef) blob() (snapshot.Blob, error) {
	d, err := snapshot.ParseDigest(r.Digest)
	return snapshot.Blob{Digest: d, Size: r.Size}, err
}

// keepSnapshot writes what a snapshot says of itself, which was read under its
// root's digest, into a directory, so that a server can answer from its store
// after a restart while the registry is away. The final name comes last.
func keepSnapshot(dir string, s *snapshot.Sealed) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	body := slices.Concat(s.Statement, s.Table)
	h := keptHeader{
		Signed: s.Signed, Date: s.Date, Encoder: s.Encoder, Needs: s.Needs, Lock: refTo(s.Lock),
		Statement: len(s.Statement), Table: len(s.Table), Sum: snapshot.Sum(body).String(),
	}
	for _, b := range s.Release {
		h.Release = append(h.Release, refTo(b))
	}
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, s.Root.Hex()), slices.Concat(line, []byte("\n"), body), 0o600); err != nil {
		return err
	}
	return dropKept(dir)
}

// dropKept removes all but the newest.
func dropKept(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if _, perr := snapshot.ParseDigest("sha256:" + e.Name()); err == nil && perr == nil {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, f := range files[min(maxKeptSnapshots, len(files)):] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
	}
	return err
}

// readKept reads a snapshot that was kept, without its blobs. A file that is
// damaged is as good as none: fs.ErrNotExist.
func readKept(dir string, root snapshot.Digest) (*snapshot.Sealed, error) {
	name := filepath.Join(dir, root.Hex())
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKept {
		return nil, fmt.Errorf("%s: %d bytes: %w", name, info.Size(), fs.ErrNotExist)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	line, body, _ := bytes.Cut(data, []byte("\n"))
	var h keptHeader
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, fs.ErrNotExist)
	}
	if snapshot.Sum(body).String() != h.Sum || h.Statement < 0 || h.Table < 0 || h.Statement+h.Table != len(body) {
		return nil, fmt.Errorf("%s: damaged: %w", name, fs.ErrNotExist)
	}
	s := &snapshot.Sealed{
		Root: root, Signed: h.Signed, Date: h.Date, Encoder: h.Encoder, Needs: h.Needs,
		Statement: body[:h.Statement], Table: body[h.Statement:],
	}
	for _, r := range h.Release {
		b, bad := r.blob()
		err = errors.Join(err, bad)
		s.Release = append(s.Release, b)
	}
	var bad error
	if s.Lock, bad = h.Lock.blob(); errors.Join(err, bad) != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, errors.Join(err, bad), fs.ErrNotExist)
	}
	return s, nil
}
