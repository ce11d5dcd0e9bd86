package serve

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.org/mmoci/internal/mirrors"
	"example.org/mmoci/internal/serve/metrics"
	"example.org/mmoci/internal/serve/watch"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/snapshot"
)

// mirrorHeader names the mirror that a client is sent to.
const mirrorHeader = "X-Mmoci-Mirror"

// directPath is where the archives are answered for without a redirect: the last of what apt is told to try.
const directPath = "mmoci/direct/"

// openMirrors reads the list of mirrors; at the start a bad one is an error.
func (s *Server) openMirrors() (err error) {
	if s.o.Mirrors == "" {
		return nil
	}
	s.mirrors = mirrors.New(mirrors.Options{Log: s.o.Log})
	parse := func(contents [][]byte) ([]mirrors.Mirror, error) {
		all, err := mirrors.Parse(s.o.Mirrors, contents[0])
		if err != nil {
			return nil, err
		}
		return all, mirrors.CheckFront(s.o.Mirrors, all, s.o.fronts()...)
	}
	report := func(all []mirrors.Mirror, err error) {
		s.reportFiles(err, s.o.Mirrors)
		if err == nil {
			s.mirrors.Update(all)
		}
	}
	if s.mirrorList, err = watch.Open(mirrors.MaxBytes, parse, report, s.o.Mirrors); err != nil {
		return fmt.Errorf("mirrors: %w", err)
	}
	s.mirrors.Update(s.mirrorList.Get())
	return nil
}

// fronts are the URLs that clients reach the server at, as far as they are known at the start.
func (o *Options) fronts() (all []*url.URL) {
	add := func(text string) {
		if u, err := url.Parse(text); err == nil && u.Hostname() != "" {
			all = append(all, u)
		}
	}
	if o.BaseURL != "" {
		add(o.BaseURL)
	}
	scheme := "http://"
	if o.TLSCert != "" {
		scheme = "https://"
	}
	for _, addr := range o.Listen {
		if !strings.HasPrefix(addr, "unix:") {
			add(scheme + addr)
		}
	}
	return all
}

// isOwn tells whether the server asks itself, as its own mirror.
func (s *Server) isOwn(r *http.Request) bool {
	return s.mirrors != nil && r.Header.Get(mirrors.FrontHeader) == s.mirrors.ID()
}

// toMirror sends the client for a blob to a mirror; false: the answer comes from here.
func (req *request) toMirror(c content) bool {
	if req.s.mirrors == nil || !c.mirrored || req.direct || req.r.Method != http.MethodGet {
		return false
	}
	w := mirrors.Want{
		Blob: c.blob, Client: req.client(), Host: req.r.Host, Secure: strings.HasPrefix(req.base(), "https:"),
		Prefix: req.archive, Architecture: req.pkg.Architecture,
	}
	status := http.StatusFound
	if req.v2 != nil {
		w.Repository, status = req.v2.Repository, http.StatusTemporaryRedirect
	}
	to, ok := req.s.mirrors.Choose(req.r.Context(), w)
	if !ok {
		return false
	}
	h := req.w.Header()
	for _, name := range []string{"Etag", "Last-Modified", "Accept-Ranges"} { // of the file
		delete(h, name)
	}
	h["Location"] = []string{to.URL}
	h["Cache-Control"] = []string{"no-store"}
	h[mirrorHeader] = []string{to.Mirror}
	h["Content-Length"] = []string{"0"}
	req.mirror = to.Mirror
	req.header(status)
	return true
}

// mirrorSetup answers for the texts of mirrors below /setup/; false: name is none.
func (req *request) mirrorSetup(v web.View, name string) bool {
	if req.s.mirrors == nil || v.Fixed {
		return false
	}
	var text string
	prefix, list := strings.CutSuffix(name, web.MirrorList)
	switch {
	case list:
		_, a := v.Find(prefix)
		if a == nil {
			return false
		}
		req.archive = prefix
		text = mirrors.AptList(v.Base, v.Base+"/"+strings.TrimSuffix(directPath, "/"), prefix, req.s.mirrors.Status())
	case name == web.HostsToml && req.s.registry != nil:
		text = mirrors.ContainerdHosts(v.Base, req.s.mirrors.Status())
	case name == web.RegistriesConf && req.s.registry != nil:
		text = mirrors.RegistriesConf(v.Base, imageHosts(v), req.s.mirrors.Status())
	default:
		return false
	}
	req.text(http.StatusOK, plainText, []byte(text))
	return true
}

// mirrorTexts are the names of what mirrorSetup has.
func (s *Server) mirrorTexts(v *view) (names []string) {
	if s.mirrors == nil {
		return nil
	}
	for _, h := range v.current {
		if h == nil {
			continue
		}
		for i := range h.Statement.Archives {
			names = append(names, h.Statement.Archives[i].Prefix+web.MirrorList)
		}
	}
	if s.registry != nil {
		names = append(names, web.HostsToml, web.RegistriesConf)
	}
	return names
}

// imageHosts are the registries that images of the snapshots are named by, sorted.
func imageHosts(v web.View) []string {
	hosts := map[string]bool{}
	for _, s := range v.Snapshots {
		for i := range s.Statement.Images {
			if host, _, _, ok := snapshot.CutImageName(s.Statement.Images[i].Name); ok {
				hosts[host] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(hosts))
}

// mirrorStates are the mirrors as metrics have them.
func (s *Server) mirrorStates() []metrics.Mirror {
	if s.mirrors == nil {
		return nil
	}
	var all []metrics.Mirror
	for _, st := range s.mirrors.Status() {
		m := metrics.Mirror{Name: st.Name, Used: st.Fault == nil, Redirects: st.Sent, Bytes: st.Bytes, Faults: map[string]int64{}}
		for _, kind := range mirrors.Kinds {
			m.Faults[string(kind)] = st.Faults[kind]
		}
		all = append(all, m)
	}
	return all
}

// mirrorTroubles are the mirrors that are left, for /readyz.
func (s *Server) mirrorTroubles() (list []string) {
	if s.mirrors == nil {
		return nil
	}
	for _, st := range s.mirrors.Status() {
		if st.Fault != nil {
			list = append(list, fmt.Sprintf("mirror %s is not used: %s; its clients are served from here", st.Name, st.Fault.Kind))
		}
	}
	return list
}
