package testregistry

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"example.org/mmoci/internal/testarchive"
)

// The methods in this file reach around the HTTP interface and its checks, for
// tests that damage, forge and inspect.

// Blob returns the bytes stored under a digest.
func (r *Registry) Blob(repo, digest string) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repo(repo, false)
	if p == nil {
		return nil, false
	}
	b, ok := p.blobs[digest]
	return b, ok
}

// PutBlob stores data under its digest.
func (r *Registry) PutBlob(repo string, data []byte) (digest string) {
	digest = digestOf(data)
	r.SetBlob(repo, digest, data)
	return digest
}

// SetBlob stores data under a digest that need not be its own.
func (r *Registry) SetBlob(repo, digest string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.force(repo).blobs[digest] = data
}

// DeleteBlob forgets a blob.
func (r *Registry) DeleteBlob(repo, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.force(repo).blobs, digest)
}

// FlipBlob changes one bit in the middle of a stored blob.
func (r *Registry) FlipBlob(t testing.TB, repo, digest string) {
	t.Helper()
	b, ok := r.Blob(repo, digest)
	if !ok {
		t.Fatalf("testarchive: no blob %s in %s", digest, repo)
	}
	r.SetBlob(repo, digest, testarchive.Flipped(b, len(b)/2))
}

// Manifest returns a manifest by digest or tag.
func (r *Registry) Manifest(repo, ref string) (mediaType string, data []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repo(repo, false)
	if p == nil {
		return "", nil, false
	}
	m, _, ok := p.resolve(ref)
	return m.mediaType, m.data, ok
}

// PutManifest stores a manifest under its digest and, if tag is not "", tags it.
func (r *Registry) PutManifest(repo, tag, mediaType string, data []byte) (digest string) {
	digest = digestOf(data)
	r.SetManifest(repo, digest, mediaType, data)
	if tag != "" {
		r.SetTag(repo, tag, digest)
	}
	return digest
}

// SetManifest stores a manifest under a digest that need not be its own.
func (r *Registry) SetManifest(repo, digest, mediaType string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.force(repo).manifests[digest] = manifest{mediaType, data}
}

// DeleteManifest forgets a manifest; its tags stay and dangle.
func (r *Registry) DeleteManifest(repo, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.force(repo).manifests, digest)
}

// FlipManifest changes one bit in the middle of a stored manifest.
func (r *Registry) FlipManifest(t testing.TB, repo, digest string) {
	t.Helper()
	typ, b, ok := r.Manifest(repo, digest)
	if !ok {
		t.Fatalf("testarchive: no manifest %s in %s", digest, repo)
	}
	r.SetManifest(repo, digest, typ, testarchive.Flipped(b, len(b)/2))
}

// SetTag moves a tag; digest "" removes it.
func (r *Registry) SetTag(repo, tag, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if digest == "" {
		delete(r.force(repo).tags, tag)
		return
	}
	r.force(repo).tags[tag] = digest
}

// Tags is a copy of a repository's tags: tag to digest.
func (r *Registry) Tags(repo string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.repo(repo, false); p != nil {
		return maps.Clone(p.tags)
	}
	return nil
}

// Blobs lists the digests of a repository's blobs in order.
func (r *Registry) Blobs(repo string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.repo(repo, false); p != nil {
		return slices.Sorted(maps.Keys(p.blobs))
	}
	return nil
}

// Manifests lists the digests of a repository's manifests in order.
func (r *Registry) Manifests(repo string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.repo(repo, false); p != nil {
		return slices.Sorted(maps.Keys(p.manifests))
	}
	return nil
}

// force is the repository, made if need be. Called with the lock held.
func (r *Registry) force(name string) *repository {
	p := r.repos[name]
	if p == nil {
		p = newRepository()
		r.repos[name] = p
	}
	return p
}

// Collect does what the collectors of real registries do after an hour:
// manifests that no tag reaches, directly or as children, blobs that no kept
// manifest names, and open uploads are forgotten. It returns how many manifests and blobs went.
func (r *Registry) Collect() (manifests, blobs int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.uploads)
	for _, p := range r.repos {
		m, b := p.collect(r.o.Referrers)
		manifests += m
		blobs += b
	}
	return manifests, blobs
}

func (p *repository) collect(referrers bool) (manifests, blobs int) {
	kept := map[string]bool{}
	var keep func(digest string)
	keep = func(digest string) {
		if kept[digest] {
			return
		}
		kept[digest] = true
		var d document
		if json.Unmarshal(p.manifests[digest].data, &d) != nil {
			return
		}
		for _, child := range d.children() {
			keep(child.Digest)
		}
	}
	for _, digest := range p.tags {
		keep(digest)
	}
	for again := referrers; again; { // where they are listed, what refers to something stays with it
		again = false
		for digest, m := range p.manifests {
			var d document
			if !kept[digest] && json.Unmarshal(m.data, &d) == nil && d.Subject != nil && kept[d.Subject.Digest] {
				keep(digest)
				again = true
			}
		}
	}
	before, had := len(p.manifests), len(p.blobs)
	maps.DeleteFunc(p.manifests, func(d string, _ manifest) bool { return !kept[d] })
	maps.DeleteFunc(p.blobs, func(d string, _ []byte) bool { return !kept[d] })
	return before - len(p.manifests), had - len(p.blobs)
}
