package testregistry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"

	"example.org/mmoci/internal/testarchive"
)

// refused is an answer that says no, in the form of the distribution-spec's error codes.
type refused struct {
	status  int
	code    string
	message string
}

func (e *refused) Error() string { return e.code + ": " + e.message }

func refuse(status int, code, format string, args ...any) error {
	return &refused{status, code, fmt.Sprintf(format, args...)}
}

// serve logs, misbehaves as told, asks for credentials and hands on.
func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	entry := classify(req)
	r.mu.Lock()
	r.serial++
	busy := r.o.Every429 > 0 && r.serial%r.o.Every429 == 0 && req.Method != r.busy
	if busy {
		r.busy = req.Method
	}
	key := req.Method + " " + req.URL.Path
	r.seen[key]++
	n, fault := r.seen[key], r.fault
	r.mu.Unlock()

	var b testarchive.Broken
	if fault != nil {
		b = fault(entry, n)
	}
	if busy && reflect.ValueOf(b).IsZero() {
		b = testarchive.Broken{Status: http.StatusTooManyRequests, RetryAfter: r.o.RetryAfter}
	}
	log := func(status int) {
		r.logging.Lock()
		defer r.logging.Unlock()
		entry.Status = status
		r.log = append(r.log, entry)
	}
	fw := &testarchive.FaultWriter{ResponseWriter: w, Broken: b, Gone: req.Context().Done(), Begins: log}
	defer func() {
		if fw.Status == 0 {
			log(0)
		}
		if fw.Abort {
			panic(http.ErrAbortHandler)
		}
	}()
	switch {
	case b.Reset:
		fw.Abort = true
	case b.Status != 0:
		if b.RetryAfter != "" {
			fw.Header().Set("Retry-After", b.RetryAfter)
		}
		writeError(fw, &refused{b.Status, statusCode(b.Status), "as the test wishes"})
	case b.Lost:
		fw.Abort = true
		r.handle(&testarchive.FaultWriter{ResponseWriter: discard{http.Header{}}}, req, entry)
	default:
		r.handle(fw, req, entry)
	}
}

// discard is an answer that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func statusCode(status int) string {
	switch status {
	case http.StatusTooManyRequests:
		return "TOOMANYREQUESTS"
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusForbidden:
		return "DENIED"
	default:
		return "UNKNOWN"
	}
}

// route is PATH of /v2/NAME/WHAT/REF (distribution-spec, "endpoints").
var route = regexp.MustCompile(`^/v2/(.+?)/(blobs/uploads|blobs|manifests|tags|referrers)/([^/]*)$`)

// validRepo is the grammar of repository names.
var validRepo = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// classify finds out what a request is about.
func classify(req *http.Request) Request {
	e := Request{Method: req.Method, Kind: "other"}
	switch p := req.URL.Path; {
	case p == "/v2/" || p == "/v2":
		e.Kind = "ping"
	case p == "/token":
		e.Kind = "token"
	case p == "/v2/_catalog":
		e.Kind = "catalog"
	case strings.HasPrefix(p, "/storage/"):
		e.Kind = "storage"
		e.Repo, e.Ref, _ = strings.Cut(strings.TrimPrefix(p, "/storage/"), "//")
	default:
		m := route.FindStringSubmatch(p)
		if m == nil {
			return e
		}
		kinds := map[string]string{"blobs/uploads": "upload", "blobs": "blob", "manifests": "manifest", "tags": "tags", "referrers": "referrers"}
		e.Repo, e.Kind, e.Ref = m[1], kinds[m[2]], m[3]
	}
	return e
}

func (r *Registry) handle(w http.ResponseWriter, req *http.Request, e Request) {
	if e.Kind == "token" {
		r.token(w, req)
		return
	}
	if e.Kind != "storage" && !r.authorized(req, e) {
		r.challenge(w, e)
		return
	}
	if e.Repo != "" && !validRepo.MatchString(e.Repo) {
		writeError(w, refuse(http.StatusBadRequest, "NAME_INVALID", "%q", e.Repo))
		return
	}
	if err := r.dispatch(w, req, e); err != nil {
		writeError(w, err)
	}
}

func (r *Registry) dispatch(w http.ResponseWriter, req *http.Request, e Request) error {
	if r.real != nil {
		r.real.ServeHTTP(w, req)
		return nil
	}
	if req.Method == http.MethodDelete && e.Kind != "upload" && r.o.NoDelete {
		return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "deletion is disabled")
	}
	switch e.Kind {
	case "ping":
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		w.WriteHeader(http.StatusOK)
		return nil
	case "blob":
		return r.blob(w, req, e)
	case "storage":
		return r.storage(w, req, e)
	case "upload":
		return r.upload(w, req, e)
	case "manifest":
		return r.manifest(w, req, e)
	case "catalog":
		return r.catalog(w, req)
	case "tags":
		return r.tags(w, req, e)
	case "referrers":
		if r.o.Referrers {
			return r.referrers(w, e)
		}
	}
	return refuse(http.StatusNotFound, "NOT_FOUND", "%s", req.URL.Path)
}

// writeError answers with the error's code.
func writeError(w http.ResponseWriter, err error) {
	e, ok := err.(*refused)
	if !ok {
		e = &refused{http.StatusBadRequest, "UNKNOWN", err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	type detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	// A client that went away is its own affair.
	_ = json.NewEncoder(w).Encode(map[string][]detail{"errors": {{e.code, e.message}}})
}

// action is what a token's scope must allow.
func action(e Request) string {
	switch e.Method {
	case http.MethodGet, http.MethodHead:
		return "pull"
	case http.MethodDelete:
		return "delete"
	default:
		return "push"
	}
}

func (r *Registry) authorized(req *http.Request, e Request) bool {
	if !r.o.Basic && !r.o.Bearer {
		return true
	}
	if r.o.Basic && r.basic(req) {
		return true
	}
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok || !r.o.Bearer {
		return false
	}
	r.mu.Lock()
	scope, known := r.tokens[token]
	r.mu.Unlock()
	return known && allows(scope, e)
}

// allows reads a scope, "repository:NAME:ACTION,ACTION" one or more.
func allows(scope string, e Request) bool {
	if e.Repo == "" {
		return true
	}
	for s := range strings.FieldsSeq(scope) {
		actions, ok := strings.CutPrefix(s, "repository:"+e.Repo+":")
		for a := range strings.SplitSeq(actions, ",") {
			if ok && (a == action(e) || a == "*") {
				return true
			}
		}
	}
	return false
}

func (r *Registry) basic(req *http.Request) bool {
	user, password, ok := req.BasicAuth()
	return ok && user == r.o.User && password == r.o.Password
}

func (r *Registry) challenge(w http.ResponseWriter, e Request) {
	if r.o.Basic {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	} else {
		c := fmt.Sprintf(`Bearer realm="%s/token",service="test"`, r.URL)
		if e.Repo != "" {
			c += fmt.Sprintf(`,scope="repository:%s:%s"`, e.Repo, map[string]string{"pull": "pull", "push": "pull,push", "delete": "delete"}[action(e)])
		}
		w.Header().Set("WWW-Authenticate", c)
	}
	writeError(w, refuse(http.StatusUnauthorized, "UNAUTHORIZED", "credentials are wanted"))
}

// token hands out a bearer token for the scopes asked for, by GET with Basic
// or by POST with a password grant.
func (r *Registry) token(w http.ResponseWriter, req *http.Request) {
	if err := req.ParseForm(); err != nil {
		writeError(w, err)
		return
	}
	byForm := req.PostForm.Get("grant_type") == "password" &&
		req.PostForm.Get("username") == r.o.User && req.PostForm.Get("password") == r.o.Password
	if !byForm && !r.basic(req) {
		writeError(w, refuse(http.StatusUnauthorized, "UNAUTHORIZED", "wrong user or password"))
		return
	}
	r.mu.Lock()
	r.serial++
	token := fmt.Sprintf("token-%d", r.serial)
	r.tokens[token] = strings.Join(req.Form["scope"], " ")
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token, "access_token": token})
}

// tags lists tags in order, in pages if n is given.
func (r *Registry) catalog(w http.ResponseWriter, req *http.Request) error {
	if r.o.Catalog == 0 {
		return refuse(http.StatusNotFound, "NOT_FOUND", "%s", req.URL.Path)
	}
	r.mu.Lock()
	names := sortedKeys(r.repos)
	r.mu.Unlock()
	last := req.URL.Query().Get("last")
	for len(names) > 0 && names[0] <= last {
		names = names[1:]
	}
	if r.o.Catalog < len(names) {
		names = names[:r.o.Catalog]
		w.Header().Set("Link", fmt.Sprintf(`</v2/_catalog?%s>; rel="next"`, url.Values{"last": {lastOf(names)}}.Encode()))
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"repositories": names})
}

func (r *Registry) tags(w http.ResponseWriter, req *http.Request, e Request) error {
	if e.Ref != "list" || req.Method != http.MethodGet {
		return refuse(http.StatusNotFound, "NOT_FOUND", "%s", req.URL.Path)
	}
	r.mu.Lock()
	p := r.repo(e.Repo, false)
	if p == nil {
		r.mu.Unlock()
		return refuse(http.StatusNotFound, "NAME_UNKNOWN", "%s", e.Repo)
	}
	tags := sortedKeys(p.tags)
	r.mu.Unlock()

	last := req.URL.Query().Get("last")
	for len(tags) > 0 && tags[0] <= last {
		tags = tags[1:]
	}
	n := len(tags)
	if s := req.URL.Query().Get("n"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil || n < 0 {
			return refuse(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "%s", s)
		}
	}
	if n < len(tags) {
		tags = tags[:n]
		q := url.Values{"n": {fmt.Sprint(n)}, "last": {lastOf(tags)}}
		w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?%s>; rel="next"`, e.Repo, q.Encode()))
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"name": e.Repo, "tags": tags})
}

func lastOf(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[len(s)-1]
}

// contentType of a header without parameters.
func contentType(h http.Header) string {
	typ, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return cmp.Or(strings.TrimSpace(typ), "application/octet-stream")
}
