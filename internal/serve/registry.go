package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"example.org/mmoci/internal/policy"
	"example.org/mmoci/internal/registry"
	"example.org/mmoci/internal/serve/logs"
	"example.org/mmoci/internal/serve/opened"
	"example.org/mmoci/internal/serve/paths"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// digestHeader is the digest of what is answered; clients believe their own sum, and refuse a HEAD by tag without it.
	digestHeader = "Docker-Content-Digest"
	// ofRegistry stands for the archive of what is asked for below /v2/, in metrics. No archive has this prefix.
	ofRegistry = "v2"
)

// registryRequest is what is known of a request below /v2/.
type registryRequest struct {
	logs.Registry
	code string // of an error; "": that of the status
}

func (req *request) beginRegistry() {
	req.v2 = &registryRequest{}
	req.w.Header()["Docker-Distribution-Api-Version"] = []string{"registry/2.0"}
}

// fromRegistry answers a path after "/v2".
func (req *request) fromRegistry(p string) {
	path, err := registry.ParsePath(p)
	if err != nil {
		req.registryError(err)
		return
	}
	req.v2.Repository, req.v2.Reference = path.Name, path.Reference()
	site := req.s.site()
	a, err := req.find(site, path)
	if e, ok := errors.AsType[*registry.Error](err); ok && e.Again {
		// A replica may be ahead, and its client came here for the rest.
		req.s.recheck(req.r.Context())
		site = req.s.site()
		a, err = req.find(site, path)
	}
	if err != nil {
		req.registryError(err)
		return
	}
	req.v2.Image, req.rule = a.Image, a.Rule
	if strings.HasSuffix(a.Rule, logOnly) {
		req.s.metrics.WouldDeny(ofRegistry, strings.TrimSuffix(a.Rule, logOnly))
	}
	h := req.w.Header()
	for name, value := range a.Header {
		h.Set(name, value)
	}
	if a.Body != nil {
		h.Set("Cache-Control", "no-cache")
		req.text(http.StatusOK, a.MediaType, a.Body)
		return
	}
	from := site.of(a.From)
	req.snapshot = from.name
	c := content{blob: a.Blob, typ: a.MediaType, modified: snapshot.ModTime(a.Blob.Digest), cache: "no-cache", from: from, bytes: a.Data, mirrored: path.Kind == registry.Blob && a.Data == nil}
	switch {
	case a.ByTag:
		c.modified = from.Statement.Date
	case a.Fixed:
		c.cache = req.s.access().CacheControl(paths.Forever)
	}
	h[digestHeader] = []string{a.Blob.Digest.String()}
	req.answer(c)
}

// find finds what a path names, in the time that a client waits for the first byte.
func (req *request) find(site *site, path registry.Path) (*registry.Answer, error) {
	ctx, cancel := req.patient()
	defer cancel()
	query := req.r.URL.Query()
	switch path.Kind {
	case registry.Base:
		return registry.Welcome(), nil
	case registry.Catalog:
		return site.Catalog(req.r.URL.Path, query)
	case registry.Tags:
		return site.ListTags(path, req.r.URL.Path, query)
	}
	return site.Find(ctx, path, query.Get("ns"), query.Get("artifactType"))
}

// registryError answers with an error: what is not there or is denied, or what could not be read.
func (req *request) registryError(err error) {
	e, ok := errors.AsType[*registry.Error](err)
	if !ok {
		if errors.Is(err, opened.ErrBusy) {
			req.broken(http.StatusServiceUnavailable, opened.ErrBusy.Error(), err)
			return
		}
		req.unavailable(err)
		return
	}
	req.v2.code, req.v2.Image, req.rule = e.Code, e.Image, e.Rule
	if e.Status == http.StatusForbidden {
		req.s.metrics.Denied(ofRegistry, e.Rule)
	}
	if e.Status == http.StatusNotFound && strings.HasSuffix(e.Code, "_UNKNOWN") {
		for i, h := range req.s.view.Load().current {
			if h == nil { // it may have it, so that the client is to ask again
				req.v2.code = ""
				req.broken(http.StatusServiceUnavailable, "no snapshot to answer from yet", fmt.Errorf("%s: no snapshot yet", req.s.followers[i].source.Name()))
				return
			}
		}
	}
	req.fail(e.Status, e.Message)
}

// site is what a request below /v2/ is answered from.
type site struct {
	registry.Site
	held []*served
}

// of is the snapshot that an answer is from.
func (s *site) of(from *registry.Held) *served {
	for _, h := range s.held {
		if h.registry == from {
			return h
		}
	}
	return nil // impossible: every Held of the site came from here
}

func (s *Server) site() *site {
	t := &site{}
	add := func(hs *[]*registry.Held, h *served) *registry.Held {
		t.held = append(t.held, h)
		*hs = append(*hs, h.registry)
		return h.registry
	}
	v, now := s.view.Load(), s.o.Now()
	for i, h := range v.current {
		if h != nil {
			add(&t.Current, h)
		}
		for _, old := range v.previous[i] {
			if !now.After(old.until) {
				add(&t.Earlier, old)
			}
		}
	}
	for _, h := range s.cache.Kept() {
		add(&t.Opened, h)
	}
	t.Fixed = immutableName.MatchString
	t.Open = func(ctx context.Context, id string) (*registry.Held, error) {
		h, err := s.openID(ctx, id)
		if err != nil {
			return nil, err
		}
		return add(&t.Opened, h), nil
	}
	rules := s.policy.Get() // one policy for the whole answer
	t.DecideImage = func(name string) policy.Decision { return s.enforced(rules.DecideImage(name)) }
	t.DecideFile = func(h *registry.Held, row snapshot.Row) policy.Decision {
		pkg, ok := paths.PackageOf(h.Snapshot.Statement.Archive(row.Archive()), row)
		if !ok || snapshot.IsCarried(row.Path) {
			return policy.Decision{Allow: true}
		}
		return s.enforced(rules.Decide(pkg, row.Archive()))
	}
	return t
}
