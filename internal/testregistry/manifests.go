package testregistry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"example.org/mmoci/internal/testarchive"
)

// The documents this registry knows: OCI's, and Docker's, which mean the same.
const (
	manifestType       = "application/vnd.oci.image.manifest.v1+json"
	indexType          = "application/vnd.oci.image.index.v1+json"
	dockerManifestType = "application/vnd.docker.distribution.manifest.v2+json"
	dockerListType     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// validTag is the grammar of tags.
var validTag = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// document is what the registry reads of a manifest or image index.
type document struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config"`
	Layers        []descriptor `json:"layers"`
	Manifests     []descriptor `json:"manifests"`
	Subject       *descriptor  `json:"subject"`
	ArtifactType  string       `json:"artifactType"`
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// children are all descriptors of a document.
func (d document) children() []descriptor {
	all := append(append([]descriptor{}, d.Layers...), d.Manifests...)
	if d.Config != nil {
		all = append(all, *d.Config)
	}
	return all
}

// resolve finds a manifest by digest or tag.
func (p *repository) resolve(ref string) (m manifest, digest string, ok bool) {
	digest = ref
	if !strings.Contains(ref, ":") {
		if digest, ok = p.tags[ref]; !ok {
			return manifest{}, "", false
		}
	}
	m, ok = p.manifests[digest]
	return m, digest, ok
}

// manifest answers GET, HEAD, PUT and DELETE of a manifest by tag or digest.
func (r *Registry) manifest(w http.ResponseWriter, req *http.Request, e Request) error {
	if !validTag.MatchString(e.Ref) && !validDigest.MatchString(e.Ref) {
		return refuse(http.StatusBadRequest, "TAG_INVALID", "%q", e.Ref)
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		return r.getManifest(w, req, e)
	case http.MethodPut:
		return r.putManifest(w, req, e)
	case http.MethodDelete:
		return r.deleteManifest(w, e)
	default:
		return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s of a manifest", req.Method)
	}
}

func (r *Registry) getManifest(w http.ResponseWriter, req *http.Request, e Request) error {
	r.mu.Lock()
	p := r.repo(e.Repo, false)
	var m manifest
	var digest string
	ok := false
	if p != nil {
		m, digest, ok = p.resolve(e.Ref)
	}
	r.mu.Unlock()
	if !ok {
		return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "%s in %s", e.Ref, e.Repo)
	}
	if !accepts(req.Header, m.mediaType) {
		return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "%s is a %s, which Accept does not name", e.Ref, m.mediaType)
	}
	data := m.data
	if fw, ok := w.(*testarchive.FaultWriter); ok && fw.Broken.Flip && len(data) > 0 {
		data = testarchive.Flipped(data, len(data)/2)
	}
	w.Header().Set("Content-Type", m.mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodGet {
		_, _ = w.Write(data)
	}
	return nil
}

// accepts tells whether Accept names the type; no Accept at all is any.
func accepts(h http.Header, mediaType string) bool {
	values := h.Values("Accept")
	if len(values) == 0 {
		return true
	}
	for a := range strings.SplitSeq(strings.Join(values, ","), ",") {
		a, _, _ = strings.Cut(a, ";")
		if a = strings.TrimSpace(a); a == mediaType || a == "*/*" {
			return true
		}
	}
	return false
}

func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, e Request) error {
	data, err := io.ReadAll(io.LimitReader(req.Body, int64(r.o.MaxManifest)+1))
	if err != nil {
		return err
	}
	if len(data) > r.o.MaxManifest {
		return refuse(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "more than %d bytes", r.o.MaxManifest)
	}
	digest := digestOf(data)
	if validDigest.MatchString(e.Ref) && e.Ref != digest {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "got %s, want %s", digest, e.Ref)
	}
	d, err := r.readDocument(data, contentType(req.Header))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repo(e.Repo, true)
	if p == nil {
		return refuse(http.StatusNotFound, "NAME_UNKNOWN", "%s does not exist", e.Repo)
	}
	if err := p.complete(d); err != nil {
		return err
	}
	if e.Ref != digest {
		if old, ok := p.tags[e.Ref]; ok && old != digest && r.o.ImmutableTags {
			return refuse(http.StatusBadRequest, "TAG_INVALID", "%s exists and is immutable", e.Ref)
		}
		p.tags[e.Ref] = digest
	}
	p.manifests[digest] = manifest{d.MediaType, data}
	if r.o.Referrers && d.Subject != nil {
		w.Header().Set("OCI-Subject", d.Subject.Digest)
	}
	created(w, "/v2/"+e.Repo+"/manifests/"+digest, digest)
	return nil
}

// readDocument validates a document as far as it can be without looking around.
func (r *Registry) readDocument(data []byte, typ string) (document, error) {
	var d document
	invalid := func(format string, args ...any) (document, error) {
		return d, refuse(http.StatusBadRequest, "MANIFEST_INVALID", format, args...)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&d); err != nil {
		return invalid("%v", err)
	}
	if dec.More() {
		return invalid("text behind the document")
	}
	if d.SchemaVersion != 2 || d.MediaType != typ {
		return invalid("schemaVersion %d, mediaType %q, Content-Type %q", d.SchemaVersion, d.MediaType, typ)
	}
	switch typ {
	case manifestType, dockerManifestType:
		if d.Config == nil || len(d.Layers) == 0 || d.Manifests != nil {
			return invalid("an image manifest has config and layers, and no manifests")
		}
	case indexType, dockerListType:
		if d.Config != nil || d.Layers != nil {
			return invalid("an image index has neither config nor layers")
		}
	default:
		return invalid("mediaType %q", typ)
	}
	if len(d.Layers) > r.o.MaxLayers {
		return d, refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "%d layers, limit on number of layers per image exceeded", len(d.Layers))
	}
	for _, c := range d.children() {
		if !validDigest.MatchString(c.Digest) || c.Size < 0 || c.MediaType == "" {
			return invalid("descriptor %+v", c)
		}
	}
	return d, nil
}

// complete tells whether everything a document names is here, with the size it says.
func (p *repository) complete(d document) error {
	for _, c := range d.Manifests {
		m, ok := p.manifests[c.Digest]
		if !ok {
			return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "child %s", c.Digest)
		}
		if int64(len(m.data)) != c.Size || m.mediaType != c.MediaType {
			return refuse(http.StatusBadRequest, "SIZE_INVALID", "child %s is %d bytes of %s", c.Digest, len(m.data), m.mediaType)
		}
	}
	d.Manifests = nil
	for _, c := range d.children() {
		b, ok := p.blobs[c.Digest]
		if !ok {
			return refuse(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "blob %s", c.Digest)
		}
		if int64(len(b)) != c.Size {
			return refuse(http.StatusBadRequest, "SIZE_INVALID", "blob %s has %d bytes", c.Digest, len(b))
		}
	}
	return nil
}

// referrers lists the manifests whose subject is a digest (distribution-spec, "Listing Referrers").
func (r *Registry) referrers(w http.ResponseWriter, e Request) error {
	type referrer struct {
		descriptor
		ArtifactType string `json:"artifactType,omitempty"`
	}
	list := struct {
		SchemaVersion int        `json:"schemaVersion"`
		MediaType     string     `json:"mediaType"`
		Manifests     []referrer `json:"manifests"`
	}{2, indexType, []referrer{}}
	r.mu.Lock()
	if p := r.repo(e.Repo, false); p != nil {
		for _, digest := range sortedKeys(p.manifests) {
			m := p.manifests[digest]
			var d document
			if json.Unmarshal(m.data, &d) == nil && d.Subject != nil && d.Subject.Digest == e.Ref {
				list.Manifests = append(list.Manifests, referrer{descriptor{m.mediaType, digest, int64(len(m.data))}, d.ArtifactType})
			}
		}
	}
	r.mu.Unlock()
	w.Header().Set("Content-Type", indexType)
	return json.NewEncoder(w).Encode(list)
}

// deleteManifest removes a tag, or a manifest with its tags.
func (r *Registry) deleteManifest(w http.ResponseWriter, e Request) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repo(e.Repo, false)
	if p == nil {
		return refuse(http.StatusNotFound, "NAME_UNKNOWN", "%s", e.Repo)
	}
	_, digest, ok := p.resolve(e.Ref)
	if !ok {
		return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "%s in %s", e.Ref, e.Repo)
	}
	if e.Ref != digest {
		delete(p.tags, e.Ref)
	} else {
		delete(p.manifests, digest)
		for tag, d := range p.tags {
			if d == digest {
				delete(p.tags, tag)
			}
		}
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
