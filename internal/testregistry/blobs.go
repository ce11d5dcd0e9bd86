package testregistry

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/testarchive"
)

// upload is an open upload session.
type upload struct {
	repo string
	data []byte
}

// validDigest is the only kind of digest this registry knows.
var validDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func digestOf(data []byte) string { return "sha256:" + testarchive.Sha256Hex(data) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// blob answers GET, HEAD and DELETE of a blob.
func (r *Registry) blob(w http.ResponseWriter, req *http.Request, e Request) error {
	if !validDigest.MatchString(e.Ref) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%s", e.Ref)
	}
	r.mu.Lock()
	p := r.repo(e.Repo, false)
	var data []byte
	ok := false
	if p != nil {
		data, ok = p.blobs[e.Ref]
		if ok && req.Method == http.MethodDelete {
			delete(p.blobs, e.Ref)
		}
	}
	r.mu.Unlock()
	if !ok {
		return refuse(http.StatusNotFound, "BLOB_UNKNOWN", "%s in %s", e.Ref, e.Repo)
	}
	switch req.Method {
	case http.MethodDelete:
		w.WriteHeader(http.StatusAccepted)
	case http.MethodGet, http.MethodHead:
		if r.o.Redirect && req.Method == http.MethodGet {
			// Another host name, so that clients know it for a foreign place.
			elsewhere := strings.Replace(r.URL, "127.0.0.1", "localhost", 1)
			http.Redirect(w, req, elsewhere+"/storage/"+e.Repo+"//"+e.Ref, http.StatusTemporaryRedirect)
			return nil
		}
		r.sendBlob(w, req, e.Ref, data)
	default:
		return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s of a blob", req.Method)
	}
	return nil
}

// storage is where redirected blobs lie; a store of that kind refuses a
// request that carries the registry's credentials.
func (r *Registry) storage(w http.ResponseWriter, req *http.Request, e Request) error {
	if req.Header.Get("Authorization") != "" {
		return refuse(http.StatusBadRequest, "DENIED", "credentials of the registry were sent to the storage")
	}
	data, ok := r.Blob(e.Repo, e.Ref)
	if !ok {
		return refuse(http.StatusNotFound, "BLOB_UNKNOWN", "%s", e.Ref)
	}
	r.sendBlob(w, req, e.Ref, data)
	return nil
}

func (r *Registry) sendBlob(w http.ResponseWriter, req *http.Request, digest string, data []byte) {
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("ETag", `"`+digest+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	if fw, ok := w.(*testarchive.FaultWriter); ok && fw.Broken.Flip && len(data) > 0 {
		data = testarchive.Flipped(data, len(data)/2)
	}
	if !r.o.NoRange {
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodGet {
		_, _ = w.Write(data)
	}
}

// upload answers the requests of an upload: POST opens, PATCH appends, PUT
// ends, GET tells how far it is, DELETE gives up.
func (r *Registry) upload(w http.ResponseWriter, req *http.Request, e Request) error {
	if req.Method == http.MethodPost && e.Ref == "" {
		return r.openUpload(w, req, e)
	}
	var body []byte
	var err error
	if req.Method == http.MethodPatch || req.Method == http.MethodPut {
		if body, err = io.ReadAll(req.Body); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.uploads[e.Ref]
	if u == nil || u.repo != e.Repo {
		return refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "%s", e.Ref)
	}
	switch req.Method {
	case http.MethodGet:
		u.progress(w, e, http.StatusNoContent)
	case http.MethodDelete:
		delete(r.uploads, e.Ref)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPatch:
		if cr := req.Header.Get("Content-Range"); cr != "" {
			if want := fmt.Sprintf("%d-%d", len(u.data), len(u.data)+len(body)-1); strings.TrimPrefix(cr, "bytes ") != want {
				return refuse(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "range %s, want %s", cr, want)
			}
		}
		u.data = append(u.data, body...)
		u.progress(w, e, http.StatusAccepted)
	case http.MethodPut:
		return r.endUpload(w, req, e, append(u.data, body...))
	default:
		return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s of an upload", req.Method)
	}
	return nil
}

// progress tells where to go on.
func (u *upload) progress(w http.ResponseWriter, e Request, status int) {
	w.Header().Set("Location", "/v2/"+e.Repo+"/blobs/uploads/"+e.Ref+"?_state=a%2Fb")
	w.Header().Set("Docker-Upload-Uuid", e.Ref)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(u.data)-1)))
	w.WriteHeader(status)
}

func (r *Registry) openUpload(w http.ResponseWriter, req *http.Request, e Request) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repo(e.Repo, true)
	if p == nil {
		return refuse(http.StatusNotFound, "NAME_UNKNOWN", "%s does not exist", e.Repo)
	}
	q := req.URL.Query()
	if digest := q.Get("mount"); digest != "" && r.o.Mounts {
		if from := r.repo(q.Get("from"), false); from != nil && from.blobs[digest] != nil {
			p.blobs[digest] = from.blobs[digest]
			created(w, "/v2/"+e.Repo+"/blobs/"+digest, digest)
			return nil
		}
	}
	r.serial++
	e.Ref = fmt.Sprintf("upload-%d", r.serial)
	u := &upload{repo: e.Repo}
	r.uploads[e.Ref] = u
	u.progress(w, e, http.StatusAccepted)
	return nil
}

// endUpload stores what came, if its digest is the one that was said. Called with the lock held.
func (r *Registry) endUpload(w http.ResponseWriter, req *http.Request, e Request, data []byte) error {
	digest := req.URL.Query().Get("digest")
	switch {
	case !validDigest.MatchString(digest):
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q", digest)
	case req.URL.Query().Get("_state") != "a/b":
		return refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "the query of Location was lost")
	case len(data) == 0:
		return refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "the blob is empty")
	case digestOf(data) != digest:
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "got %s, want %s", digestOf(data), digest)
	}
	delete(r.uploads, e.Ref)
	r.force(e.Repo).blobs[digest] = data
	created(w, "/v2/"+e.Repo+"/blobs/"+digest, digest)
	return nil
}

func created(w http.ResponseWriter, location, digest string) {
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}
