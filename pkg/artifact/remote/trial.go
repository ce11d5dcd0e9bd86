package remote

import (
	"context"
	"net/http"

	"oras.land/oras-go/v2/registry/remote/auth"

	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Trial is a repository at a registry of which it is tried what it can do. Its methods
// do what they are told and clean nothing up. Safe for concurrent use.
type Trial struct{ t Target }

// Try opens the repository of a reference; its tag and digest do not matter.
func Try(ref oci.Reference, o *Options) (*Trial, error) {
	r, err := Open(ref, o)
	if err != nil {
		return nil, err
	}
	r.actions = []string{auth.ActionPull, auth.ActionPush}
	return &Trial{Target{Repository: r}}, nil
}

// Repository is the name of the repository, without its host.
func (t *Trial) Repository() string { return t.t.ref.Repository() }

// PutBlob sends a blob.
func (t *Trial) PutBlob(ctx context.Context, mediaType string, data []byte) (oci.Descriptor, error) {
	d := oci.Describe(mediaType, snapshot.BlobOf(data))
	_, err := t.t.Put(ctx, oci.Layer{Descriptor: d}, func(context.Context, snapshot.Blob) (oci.Verified, error) { return oci.InMemory(data), nil })
	return d, err
}

// PutManifest puts a document under a tag, or under its digest if tag is "".
func (t *Trial) PutManifest(ctx context.Context, mediaType string, data []byte, tag string) (oci.Descriptor, error) {
	d := oci.Describe(mediaType, snapshot.BlobOf(data))
	name := tag
	if name == "" {
		name = d.Digest.String()
	}
	if err := t.t.putManifest(ctx, d, data, name); err != nil {
		return d, brief(err)
	}
	return d, nil
}

// Do sends one request for KIND/REFERENCE of the repository, such as manifests/TAG, and returns the answer, of whose
// body as much as a document may have.
func (t *Trial) Do(ctx context.Context, method, kind, reference string, header ...string) (status int, h http.Header, body []byte, err error) {
	r := t.t.Repository
	err = r.retry(ctx, func(ctx context.Context) error {
		ctx, watch := transfer.NewWatch(ctx, r.stall)
		defer watch.Stop()
		if method == http.MethodDelete {
			ctx = auth.AppendRepositoryScope(ctx, r.repo.Reference, auth.ActionPull, auth.ActionDelete)
		}
		resp, err := r.request(ctx, r.client.follow, method, kind, reference, header...)
		if err != nil {
			return watch.Reason(err)
		}
		defer resp.Body.Close()
		status, h = resp.StatusCode, resp.Header
		body, err = oci.ReadLimited(resp.Body, oci.MaxImageDocument)
		return watch.Reason(err)
	})
	if err != nil {
		return 0, nil, nil, explain(method+" "+kind+"/"+reference, r.ref, err)
	}
	return status, h, body, nil
}

// Refused tells whether an error is a registry's refusal, that it would give again: no fault of it
// or of the way to it, and no lack of credentials.
func Refused(err error) bool { return RefusedStatus(status(err)) }

// RefusedStatus is [Refused] of an answer's status.
func RefusedStatus(code int) bool {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	default:
		return code >= 400 && code < 500
	}
}
