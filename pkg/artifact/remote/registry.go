// Package remote reads and writes a repository at an OCI registry: requests that
// are tried again, resumed downloads, uploads, tags, credentials and certificates. It is the
// only user of oras-go.
package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	oras "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

const (
	maxTagPages  = 1000
	maxErrorBody = 64 << 10
)

// Options say how a registry is reached. The zero value works.
type Options struct {
	PlainHTTP   bool                             // also beyond loopback
	CAFile      string                           // PEM, added to the system's and CertDirs
	CertDirs    []string                         // hold DIR/HOST/*.crt, *.cert and *.key; nil: those of docker and podman
	Anonymous   bool                             // no docker/podman credentials
	Login       func() (user, password string)   // instead of docker's and podman's files; nil: those. Calls that share Connections have none
	Concurrency int                              // transfers at once; 0 means 8
	Rate        int64                            // bytes a second of all uploads together; 0: no limit
	Progress    func(oci.Event)                  // nil: nobody is told; called concurrently
	Log         func(format string, args ...any) // told why a transfer waits; nil: nobody; called concurrently
	Connections *Connections                     // nil: not shared with other calls
	Timing      Timing
}

// Timing replaces the times that this package takes, where it is not zero. Tests are in a hurry.
type Timing struct {
	Backoff time.Duration // before the second try, then doubled
	Asked   time.Duration // all that one request or blob waits because the registry asks for it
	Stall   time.Duration // without a byte before a transfer is given up
	Answer  time.Duration // after the last byte of a blob or manifest, the same
	Slow    time.Duration // below slowestRate before a connection is exchanged
}

// DefaultConcurrency is how many transfers run at once if nobody says.
const DefaultConcurrency = 8

func (o *Options) workers() int { return cmp.Or(max(o.Concurrency, 0), DefaultConcurrency) }

func (o *Options) tell(e oci.Event) {
	if o.Progress != nil {
		o.Progress(e)
	}
}

// Repository is an OCI repository at a registry. oras-go's remote and auth packages speak to
// it; its retries do not (they neither rewind bodies nor wait as long as they are asked to).
type Repository struct {
	ref     oci.Reference
	client  *client
	repo    *remote.Repository
	o       *Options
	gate    gate
	actions []string // asked of the token server: one token serves all of a push
	reached atomic.Bool
	limits  transfer.Limits
	stall   time.Duration
	answer  time.Duration
	slow    time.Duration
	pace    *pace // of uploads
}

// Open opens a repository for reading. It reads certificates and credentials; nothing is connected.
func Open(ref oci.Reference, o *Options) (*Repository, error) {
	c, err := o.Connections.client(ref, o)
	if err != nil {
		return nil, err
	}
	r := &Repository{
		ref: ref, client: c, o: o, actions: []string{auth.ActionPull}, pace: &pace{rate: o.Rate},
		stall: cmp.Or(o.Timing.Stall, stallTimeout), answer: cmp.Or(o.Timing.Answer, answerTimeout), slow: cmp.Or(o.Timing.Slow, slowAfter),
	}
	backoff := cmp.Or(o.Timing.Backoff, firstBackoff)
	r.limits = transfer.Limits{
		Attempts: maxTries, Silent: maxStalled, Throttled: maxThrottled, Backoff: backoff, MaxBackoff: backoffGrowth * backoff,
		MaxAfter: maxRetryAfter, MaxAsked: cmp.Or(o.Timing.Asked, maxAsked),
	}
	r.repo = r.newRepository()
	return r, nil
}

// newRepository is one that does not know yet whether the registry lists referrers.
func (r *Repository) newRepository() *remote.Repository {
	return &remote.Repository{
		Client:           r.client.follow,
		Reference:        oras.Reference{Registry: r.ref.Host(), Repository: r.ref.Repository()},
		PlainHTTP:        r.client.plainHTTP,
		MaxMetadataBytes: oci.MaxImageDocument,
		TagListMaxPages:  maxTagPages,
		SkipReferrersGC:  true,
	}
}

// url of something below the repository.
func (r *Repository) url(kind, reference string) string {
	scheme := "https"
	if r.client.plainHTTP {
		scheme = "http"
	}
	return scheme + "://" + r.repo.Reference.Host() + "/v2/" + r.ref.Repository() + "/" + kind + "/" + reference
}

// request sends one request without body.
func (r *Repository) request(ctx context.Context, c *auth.Client, method, kind, reference string, header ...string) (*http.Response, error) {
	ctx = auth.AppendRepositoryScope(ctx, r.repo.Reference, r.actions...)
	req, err := http.NewRequestWithContext(ctx, method, r.url(kind, reference), nil)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return c.Do(req)
}

// Root reads a document by tag or digest in one request.
func (r *Repository) Root(ctx context.Context, ref oci.Reference) (d oci.Descriptor, data []byte, err error) {
	name := ref.Tag
	if !ref.Digest.IsZero() {
		name = ref.Digest.String()
	}
	err = r.retry(ctx, func(ctx context.Context) error {
		d.MediaType, data, err = r.getDocument(ctx, name, oci.MaxImageDocument)
		return err
	})
	if err != nil {
		return d, nil, explainReference("read", ref, err)
	}
	d.Blob = snapshot.BlobOf(data)
	if !ref.Digest.IsZero() && d.Digest != ref.Digest {
		return d, nil, oci.Integrity("%s: the registry answered with %s", ref, d.Digest)
	}
	return d, data, nil
}

// accepted are the documents that root asks for; those of schema 1 so that they can be named.
const accepted = oci.TypeIndex + ", " + oci.TypeManifest + ", " + oci.TypeDockerList + ", " + oci.TypeDockerManifest +
	", application/vnd.docker.distribution.manifest.v1+prettyjws, application/vnd.docker.distribution.manifest.v1+json"

func (r *Repository) getDocument(ctx context.Context, name string, limit int64) (mediaType string, data []byte, err error) {
	ctx, watch := transfer.NewWatch(ctx, r.stall)
	defer watch.Stop()
	defer func() { err = watch.Reason(err) }()
	resp, err := r.request(ctx, r.client.follow, http.MethodGet, "manifests", name, "Accept", accepted)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", nil, responseError(resp)
	}
	if resp.ContentLength > limit {
		return "", nil, oci.Integrity("manifest %s of %d bytes, the limit is %d", name, resp.ContentLength, limit)
	}
	mediaType, _, err = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return "", nil, oci.Integrity("manifest %s: Content-Type %.100q", name, resp.Header.Get("Content-Type"))
	}
	data, err = oci.ReadLimited(watch.Body(resp.Body), limit)
	if err != nil && len(data) == 0 && resp.ContentLength < 0 {
		return "", nil, fmt.Errorf("manifest %s: %w", name, err)
	}
	if err != nil {
		return mediaType, data, err
	}
	// By tag nothing else tells a document that was damaged at the registry from another snapshot.
	if told, bad := snapshot.ParseDigest(resp.Header.Get("Docker-Content-Digest")); bad == nil && told != snapshot.Sum(data) {
		return "", nil, oci.Integrity("manifest %s: the registry calls it %s and answered with %s", name, told, snapshot.Sum(data))
	}
	return mediaType, data, nil
}

// Resolve asks by HEAD; a registry that does not tell the digest then is read.
func (r *Repository) Resolve(ctx context.Context, ref oci.Reference) (d snapshot.Digest, err error) {
	name := ref.Tag
	if !ref.Digest.IsZero() {
		name = ref.Digest.String()
	}
	told := ""
	err = r.retry(ctx, func(ctx context.Context) error {
		ctx, watch := transfer.NewWatch(ctx, r.stall)
		defer watch.Stop()
		resp, err := r.request(ctx, r.client.follow, http.MethodHead, "manifests", name, "Accept", accepted)
		if err != nil {
			return watch.Reason(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return responseError(resp)
		}
		told = resp.Header.Get("Docker-Content-Digest")
		return nil
	})
	if err != nil {
		return d, explainReference("resolve", ref, err)
	}
	if told == "" && ref.Digest.IsZero() {
		top, _, err := r.Root(ctx, ref)
		return top.Digest, err
	}
	if told == "" {
		return ref.Digest, nil
	}
	d, err = snapshot.ParseDigest(told)
	if err == nil && !ref.Digest.IsZero() && d != ref.Digest {
		err = fmt.Errorf("Docker-Content-Digest %s", d)
	}
	if err != nil {
		return d, oci.Integrity("%s: %v", ref, err)
	}
	return d, nil
}

// documentLimit is how much is read of a document: what snapshots may have, if it claims no more.
func documentLimit(d oci.Descriptor) int64 {
	if d.Size <= oci.MaxDocument {
		return oci.MaxDocument
	}
	return oci.MaxImageDocument
}

// Document reads a manifest by digest.
func (r *Repository) Document(ctx context.Context, d oci.Descriptor) (data []byte, err error) {
	mediaType := ""
	err = r.retry(ctx, func(ctx context.Context) error {
		mediaType, data, err = r.getDocument(ctx, d.Digest.String(), documentLimit(d))
		return err
	})
	if err != nil {
		err = explain("read manifest "+d.Digest.String(), r.ref, err)
		if errors.Is(err, oci.ErrNotFound) {
			err = fmt.Errorf("%w: %w", err, snapshot.ErrNotExist)
		}
		return nil, err
	}
	if int64(len(data)) != d.Size {
		return nil, oci.Integrity("manifest %s has %d bytes, want %d", d.Digest, len(data), d.Size)
	}
	if got := snapshot.Sum(data); got != d.Digest {
		return nil, oci.Integrity("manifest %s: the registry answered with %s", d.Digest, got)
	}
	if mediaType != d.MediaType {
		return nil, oci.Integrity("manifest %s: Content-Type %q, its descriptor says %q", d.Digest, mediaType, d.MediaType)
	}
	return data, nil
}

// maxReferrerPages bounds the list of what refers to a manifest.
const maxReferrerPages = 16

// Referrers lists the manifests that say that they refer to another: by the referrers API,
// and where the registry has none by the tag that stands in for it.
func (r *Repository) Referrers(ctx context.Context, subject oci.Descriptor) (found []oci.Descriptor, err error) {
	lister := r.newRepository()
	lister.ReferrerListMaxPages = maxReferrerPages
	err = r.retry(ctx, func(ctx context.Context) error {
		ctx, watch := transfer.NewWatch(ctx, r.stall)
		defer watch.Stop()
		found = nil
		return watch.Reason(lister.Referrers(ctx, ociDescriptor(subject), "", func(page []ocispec.Descriptor) error {
			for _, d := range page {
				digest, err := snapshot.ParseDigest(string(d.Digest))
				if err != nil {
					return oci.Integrity("referrer of %s: %v", subject.Digest, err)
				}
				found = append(found, oci.Describe(d.MediaType, snapshot.Blob{Digest: digest, Size: d.Size}))
			}
			watch.Allow(r.stall)
			return nil
		}))
	})
	if status(err) == http.StatusNotFound {
		return nil, nil
	}
	return found, explain("referrers of "+subject.Digest.String(), r.ref, err)
}

// Has asks by HEAD. A redirect is a yes: what it leads to may not answer HEAD.
func (r *Repository) Has(ctx context.Context, d oci.Descriptor) (there bool, err error) {
	kind := "blobs"
	if d.IsManifest() {
		kind = "manifests"
	}
	err = r.retry(ctx, func(ctx context.Context) error {
		ctx, watch := transfer.NewWatch(ctx, r.stall)
		defer watch.Stop()
		resp, err := r.request(ctx, r.client.stay, http.MethodHead, kind, d.Digest.String(), "Accept", accepted)
		if err != nil {
			return watch.Reason(err)
		}
		resp.Body.Close()
		switch code := resp.StatusCode; {
		case code == http.StatusOK:
			there = resp.ContentLength < 0 || resp.ContentLength == d.Size
		case code == http.StatusNotFound:
			there = false
		case code >= 300 && code < 400:
			there = true
		default:
			return responseError(resp)
		}
		return nil
	})
	if err != nil {
		return false, explain("ask for "+d.Digest.String(), r.ref, err)
	}
	return there, nil
}

// Tags lists the tags and asks what each names.
func (r *Repository) Tags(ctx context.Context) ([]oci.Tag, error) {
	names, err := r.TagNames(ctx)
	if err != nil {
		return nil, err
	}
	tags := make([]oci.Tag, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.o.workers())
	for i, name := range names {
		g.Go(func() error {
			d, err := r.Resolve(ctx, oci.Reference{Kind: oci.Registry, Name: r.ref.Name, Tag: name})
			if errors.Is(err, oci.ErrNotFound) {
				return nil
			}
			tags[i] = oci.Tag{Name: name, Digest: d, Date: oci.TagDate(name)}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(tags, func(t oci.Tag) bool { return t.Name == "" }), nil
}

// maxTags and maxTagBytes bound what a registry may list: pages can go on for ever.
const (
	maxTags     = 100_000
	maxTagBytes = 8 << 20
)

// TagNames lists the names of all tags, sorted. What is no tag is left out.
func (r *Repository) TagNames(ctx context.Context) ([]string, error) {
	var names []string
	bytes := 0
	err := r.retry(ctx, func(ctx context.Context) error {
		ctx, watch := transfer.NewWatch(ctx, r.stall)
		defer watch.Stop()
		names, bytes = nil, 0
		return watch.Reason(r.repo.Tags(ctx, "", func(page []string) error {
			watch.Allow(r.stall)
			for _, name := range page {
				bytes += len(name)
			}
			if names = append(names, page...); len(names) > maxTags || bytes > maxTagBytes {
				return fmt.Errorf("more than %d tags, or %d bytes of them", maxTags, maxTagBytes)
			}
			return nil
		}))
	})
	if err != nil {
		return nil, explain("list tags", r.ref, err)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(s string) bool { return !oci.ValidTag(s) }), nil
}

// delete sends one DELETE for a manifest or tag and returns the status.
func (r *Repository) delete(ctx context.Context, reference string) (int, error) {
	ctx, watch := transfer.NewWatch(ctx, r.stall)
	defer watch.Stop()
	ctx = auth.AppendRepositoryScope(ctx, r.repo.Reference, auth.ActionPull, auth.ActionDelete)
	resp, err := r.request(ctx, r.client.follow, http.MethodDelete, "manifests", reference)
	if err != nil {
		return 0, watch.Reason(err)
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}
