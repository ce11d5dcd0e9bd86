package serve

import (
	"context"

	"example.org/mmoci/internal/serve/metrics"
)

// The kinds of files that are read again when they change, as metrics and /readyz name them.
const (
	filePolicy      = "policy"
	fileCertificate = "certificate"
	fileCredentials = "credentials"
)

// state is what metrics read from the server.
func (s *Server) state() metrics.State {
	return metrics.State{
		Version: s.o.Version, References: s.references, Expiries: s.expiries, Files: s.failingFiles, Store: s.o.Store, Mirrors: func() []metrics.Mirror { return s.front.States() },
	}
}

func (s *Server) references() []metrics.Reference {
	var list []metrics.Reference
	v := s.view.Load()
	for i, f := range s.followers {
		failing, _ := f.health()
		r := metrics.Reference{Name: f.source.Name(), Failing: failing}
		if h := v.current[i]; h != nil {
			lacking, _ := s.lacking(h)
			r.Ready, r.Missing = lacking == "", h.fetched.Missing()
			r.Present, r.Date, r.Age = true, h.Statement.Date, s.o.Now().Sub(h.Statement.Date)
			r.Files, r.ValidUntil = h.Table.Len(), h.Statement.ValidUntil
		}
		list = append(list, r)
	}
	return list
}

// failingFiles are the kinds of files that were given, each with why it cannot be used as it is now.
func (s *Server) failingFiles() map[string]error {
	files := map[string]error{}
	if s.policy != nil {
		files[filePolicy] = s.policy.Failing()
	}
	if s.certs != nil {
		files[fileCertificate] = s.certs.Failing()
	}
	if s.guard != nil {
		files[fileCredentials] = s.guard.Failing()
	}
	return files
}

// expiries are the ends of upstream's Releases, as far as they can be read now, and of the
// keys that sign what is served.
func (s *Server) expiries(ctx context.Context) []metrics.Expiry {
	var list []metrics.Expiry
	key := func(prefix, fingerprint string) {
		ring := s.o.Keyrings[prefix]
		if prefix == "" {
			ring = s.siteRing.Load()
		}
		if ring == nil {
			return
		}
		if info, ok := ring.Info(fingerprint, s.o.Now()); ok {
			list = append(list, metrics.Expiry{Archive: prefix, Fingerprint: info.Fingerprint, At: info.Expires})
		}
	}
	if ring := s.siteRing.Load(); ring != nil {
		for _, fingerprint := range ring.Fingerprints() {
			key("", fingerprint)
		}
	}
	for _, h := range s.view.Load().current {
		if h == nil {
			continue
		}
		for id, t := range h.valid.Read(ctx) {
			list = append(list, metrics.Expiry{Archive: id.Prefix, Suite: id.Name, At: t})
		}
		for i := range h.Statement.Archives {
			for _, fingerprint := range h.Statement.Archives[i].UpstreamKeys {
				key(h.Statement.Archives[i].Prefix, fingerprint)
			}
		}
	}
	return list
}
