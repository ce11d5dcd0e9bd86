package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Target is a repository that is written to.
type Target struct {
	*Repository
	// mountFrom is another repository of the registry that has the blobs: it is
	// asked to take them from there, and sent them if it does not.
	mountFrom string
	images    bool // the repository is one of a snapshot's images
}

// OpenTarget opens a repository for writing. A manifest with a subject is
// also put on the list of its subject's referrers, where the registry does not do that by itself.
func OpenTarget(ref oci.Reference, mountFrom string, o *Options) (*Target, error) {
	r, err := Open(ref, o)
	if err != nil {
		return nil, err
	}
	r.actions = []string{auth.ActionPull, auth.ActionPush}
	return &Target{Repository: r, mountFrom: mountFrom}, nil
}

func ociDescriptor(d oci.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest.String()), Size: d.Size}
}

// Put uploads a blob by two requests (POST, PUT). Each try opens the content
// anew, once the registry wants it. What is read is verified before its last bytes are
// sent, and the registry verifies the digest again. Nothing is sent if it could be mounted.
func (r Target) Put(ctx context.Context, l oci.Layer, open oci.Opener) (sent int64, err error) {
	err = r.retry(ctx, func(ctx context.Context) error {
		sent, err = r.upload(ctx, l, open)
		return err
	})
	if status(err) == http.StatusNotFound {
		return 0, fmt.Errorf("upload %s: %w: repository %s %w, and the registry does not create it", l.Name(), brief(err), r.ref.Repository(), oci.ErrNotFound)
	}
	return sent, explain("upload "+l.Name(), r.ref, err)
}

func (r Target) upload(ctx context.Context, l oci.Layer, open oci.Opener) (int64, error) {
	ctx, watch := transfer.NewWatch(ctx, r.stall)
	body := &uploadBody{
		watch: watch, answer: r.answerWithin(l.Size, storeRate),
		pace: func(n int) error { return r.pace.wait(ctx, n) },
		most: r.pace.chunk,
		open: func() (oci.Verified, error) { return open(ctx, l.Blob) },
		moved: func(n int64) {
			r.o.tell(oci.Event{Kind: oci.Moved, Path: l.Path, Digest: l.Digest, Bytes: n})
		},
	}
	err := r.send(ctx, l, body)
	err = watch.Reason(err)
	watch.Stop()
	if closing := body.Close(); err == nil {
		err = closing
	}
	if broken := body.broken(); broken != nil && !errors.Is(err, transfer.ErrStalled) {
		return 0, sourceError{broken}
	}
	if err != nil || !body.read() {
		return 0, err
	}
	return l.Size, nil
}

// send mounts or sends a blob. A registry that refuses to mount, or the right to
// read there, is no reason not to send.
func (r Target) send(ctx context.Context, l oci.Layer, body *uploadBody) error {
	if r.mountFrom != "" {
		err := r.repo.Mount(ctx, ociDescriptor(l.Descriptor), r.mountFrom, func() (io.ReadCloser, error) { return body, nil })
		if code := status(err); code < 400 || code >= 500 || code == http.StatusTooManyRequests || body.read() {
			return err
		}
	}
	return r.repo.Blobs().Push(ctx, ociDescriptor(l.Descriptor), body)
}

// uploadBody is the body of a PUT, opened when it is first read. net/http may
// still read it for a moment after the answer came; Close waits for that.
type uploadBody struct {
	watch *transfer.Watch
	// answer is how long the registry may take for its answer after the last byte.
	answer time.Duration
	pace   func(n int) error // waits until n bytes may go
	most   func(n int) int   // how many of n may be read at once
	open   func() (oci.Verified, error)
	moved  func(int64)

	mu      sync.Mutex
	content oci.Verified
	closed  bool
	opened  bool
	err     error // of the content, not its end
}

// Read keeps the content's own error: it, and not what the aborted request makes of it, is the reason.
func (b *uploadBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.err != nil {
		return 0, b.err
	}
	b.watch.Pause() // the content has its own
	if !b.opened {
		b.opened = true
		if b.content, b.err = b.open(); b.err != nil {
			return 0, b.err
		}
	}
	n, err := b.content.Read(p[:b.most(len(p))])
	if waiting := b.pace(n); waiting != nil && err == nil {
		err = waiting
	}
	switch {
	case err == io.EOF:
		b.watch.Allow(b.answer)
	case err != nil:
		b.err = err
	default:
		b.watch.Progress()
	}
	if n > 0 {
		b.moved(int64(n))
	}
	return n, err
}

// Close closes the content, once.
func (b *uploadBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.content.ReadCloser == nil {
		return nil
	}
	return b.content.Close()
}

func (b *uploadBody) broken() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *uploadBody) read() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

// PutDocument puts a manifest under its digest.
func (r Target) PutDocument(ctx context.Context, d oci.Descriptor, data []byte) error {
	return explain("put manifest "+d.Digest.String(), r.ref, r.putManifest(ctx, d, data, d.Digest.String()))
}

func (r Target) putManifest(ctx context.Context, d oci.Descriptor, data []byte, reference string) error {
	return r.retry(ctx, func(ctx context.Context) error {
		ctx, watch := transfer.NewWatch(ctx, r.stall)
		defer watch.Stop()
		watch.Allow(r.answerWithin(d.Size, lookRate))
		return watch.Reason(r.repo.Manifests().PushReference(ctx, ociDescriptor(d), bytes.NewReader(data), reference))
	})
}

// PutTagged puts a manifest under a tag of its own.
func (r Target) PutTagged(ctx context.Context, d oci.Descriptor, data []byte, tag string) error {
	return explain("checkpoint "+tag, r.ref, r.putManifest(ctx, d, data, tag))
}

// Begin has nothing to prepare.
func (r Target) Begin(oci.Contents, bool) error { return nil }

// Publish puts the root under its digest, then names it. A tag that names it already is
// left alone: some registries refuse to set a tag twice. No registry compares and sets:
// what the last tag names is asked before any is set, and again just before it moves.
func (r Target) Publish(ctx context.Context, d oci.Descriptor, data []byte, expected *snapshot.Digest, tags ...string) error {
	if err := r.PutDocument(ctx, d, data); err != nil {
		return err
	}
	return r.Name(ctx, d, data, expected, tags...)
}

// Name is Publish of a document that was put before.
func (r Target) Name(ctx context.Context, d oci.Descriptor, data []byte, expected *snapshot.Digest, tags ...string) error {
	last := tags[len(tags)-1]
	if expected != nil && len(tags) > 1 {
		now, err := r.named(ctx, last)
		if err == nil {
			err = oci.CheckMoved(last, now, d.Digest, expected)
		}
		if err != nil {
			return err
		}
	}
	var asked []string
	for _, tag := range tags {
		put, err := r.setTag(ctx, d, data, expected, tag, tag == last)
		if put {
			asked = append(asked, tag)
		}
		if ended := oci.Interrupted(ctx); err != nil && ended != nil && len(asked) > 0 {
			what := strings.Join(asked, " and ") + " may be set"
			if tag != last || !put {
				what += ", " + last + " was not moved"
			}
			return &oci.InterruptedTagging{What: what, Err: ended}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// named is what a tag names, the zero digest if it is not there.
func (r Target) named(ctx context.Context, tag string) (snapshot.Digest, error) {
	now, err := r.Resolve(ctx, oci.Reference{Kind: oci.Registry, Name: r.ref.Name, Tag: tag})
	if errors.Is(err, oci.ErrNotFound) {
		return snapshot.Digest{}, nil
	}
	return now, err
}

// setTag lets a tag name d; asked tells that the registry was asked to. Once
// asked, it may have done so whatever becomes of its answer; an interrupted
// push waits a moment for that, so that it can say what is true.
func (r Target) setTag(ctx context.Context, d oci.Descriptor, data []byte, expected *snapshot.Digest, tag string, last bool) (asked bool, err error) {
	now, err := r.named(ctx, tag)
	if err != nil || now == d.Digest {
		return false, err
	}
	if last {
		if err := oci.CheckMoved(tag, now, d.Digest, expected); err != nil {
			return false, err
		}
	}
	if err := oci.Interrupted(ctx); err != nil {
		return false, err
	}
	asking, done := outlive(ctx, tagGrace)
	defer done()
	if err := r.putManifest(asking, d, data, tag); err != nil {
		return true, r.explainTag(tag, !now.IsZero(), d, err)
	}
	if last {
		return true, nil
	}
	return true, oci.Interrupted(ctx)
}

func (r Target) explainTag(tag string, moving bool, d oci.Descriptor, err error) error {
	switch status(err) {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusPreconditionFailed, http.StatusUnprocessableEntity:
		if moving {
			return errTag{"tag " + tag + " exists and the registry does not let it be moved: " + brief(err).Error() +
				"; the snapshot is there as " + d.Digest.String() + ": push to another tag, or allow this one to move", err}
		}
	}
	return explain("tag "+tag, r.ref, err)
}

// errTag says that a tag may not be moved: nothing is missing, and asking again does not help.
type errTag struct {
	text string
	error
}

func (e errTag) Error() string { return e.text }
func (e errTag) Unwrap() error { return e.error }

// Close has nothing to undo: what is at the registry stays.
func (r Target) Close(context.Context) error { return nil }

// LacksContent tells answers to a manifest by which a registry may mean that
// something below it is not there: by name in distribution, in other words elsewhere.
func LacksContent(err error) bool {
	if errors.As(err, new(errTag)) {
		return false
	}
	switch status(err) {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
		return true
	}
	var e errcode.Error
	return errors.As(err, &e) && e.Code == errcode.ErrorCodeManifestBlobUnknown
}

// Refuses tells answers by which a registry says that one may not do that there, or that nobody may.
func Refuses(err error) bool {
	switch status(err) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// RemoveTag deletes a tag, or where tags cannot be deleted the manifest it names
// (of which nothing else is made: checkpoints). Where DELETE is forbidden it stays.
func (r Target) RemoveTag(ctx context.Context, tag string, d oci.Descriptor) error {
	for _, reference := range []string{tag, d.Digest.String()} {
		resp, err := r.delete(ctx, reference)
		if err != nil || resp == http.StatusAccepted || resp == http.StatusOK || resp == http.StatusNotFound {
			return err
		}
	}
	return nil
}

// tagGrace is how long an interrupted writer waits for the answer to a tag that it was about to move.
const tagGrace = 300 * time.Millisecond

// outlive returns a context that ends a while after ctx has.
func outlive(ctx context.Context, while time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(while, func() { cancel(context.Cause(ctx)) })
	})
	return longer, func() { stop(); cancel(nil) }
}

// pace holds all uploads of one push together to so many bytes a second.
type pace struct {
	rate int64 // bytes a second; 0: no limit

	mu   sync.Mutex
	next time.Time // when what was let through so far is due
}

// burst is what may go at once after a pause, in time.
const burst = 100 * time.Millisecond

// chunk bounds one read, so that a slow pace is not mistaken for a stall.
func (p *pace) chunk(n int) int {
	if p == nil || p.rate <= 0 {
		return n
	}
	return int(min(int64(n), max(p.rate/4, 512)))
}

// wait lets n bytes through, when it is their turn.
func (p *pace) wait(ctx context.Context, n int) error {
	if p == nil || p.rate <= 0 || n <= 0 {
		return nil
	}
	p.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-burst); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	pause := p.next.Sub(now)
	p.mu.Unlock()
	if pause <= 0 {
		return nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ImagePart is a blob or document of an OCI image that is no snapshot.
type ImagePart struct {
	MediaType string
	Data      []byte
}

func (p ImagePart) descriptor() oci.Descriptor {
	return oci.Describe(p.MediaType, snapshot.BlobOf(p.Data))
}

// PushImage puts an image into a registry: blobs that are not there, then the
// documents, each after what it names; the last one is the root, and gets ref's tag.
func PushImage(ctx context.Context, ref oci.Reference, blobs, documents []ImagePart, o *Options) error {
	if ref.Kind != oci.Registry || ref.Tag == "" || len(documents) == 0 {
		return fmt.Errorf("%s: %w: an image is pushed to HOST/REPO:TAG", ref, oci.ErrReference)
	}
	t, err := OpenTarget(ref, "", o)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		d := b.descriptor()
		if there, err := t.Has(ctx, d); err != nil || there {
			if err != nil {
				return err
			}
			continue
		}
		open := func(context.Context, snapshot.Blob) (oci.Verified, error) { return oci.InMemory(b.Data), nil }
		if _, err := t.Put(ctx, oci.Layer{Descriptor: d}, open); err != nil {
			return err
		}
	}
	root := documents[len(documents)-1]
	for _, doc := range documents[:len(documents)-1] {
		if err := t.PutDocument(ctx, doc.descriptor(), doc.Data); err != nil {
			return err
		}
	}
	return t.Publish(ctx, root.descriptor(), root.Data, nil, ref.Tag)
}
