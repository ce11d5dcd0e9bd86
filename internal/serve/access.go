package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"example.org/mmoci/internal/policy"
	"example.org/mmoci/internal/serve/front"
	"example.org/mmoci/internal/serve/secrets"
	"example.org/mmoci/internal/serve/watch"
	"example.org/mmoci/pkg/snapshot"
)

// openFiles reads rules, certificate, credentials and mirrors; at the start bad ones are errors.
func (s *Server) openFiles() (err error) {
	if s.o.Policy != "" {
		parse := func(contents [][]byte) (*policy.Policy, error) { return policy.Parse(s.o.Policy, contents[0]) }
		if s.policy, err = watch.Open(policy.MaxBytes, parse, s.reportPolicy, s.o.Policy); err != nil {
			return fmt.Errorf("policy: %w", err)
		}
	}
	if (s.o.TLSCert == "") != (s.o.TLSKey == "") {
		return errors.New("serve: a certificate needs its key, and the other way round")
	}
	if s.o.TLSCert != "" {
		report := func(_ *tls.Certificate, err error) { s.reportFiles(err, s.o.TLSCert, s.o.TLSKey) }
		if s.certs, err = watch.Open(secrets.MaxBytes, secrets.ParseCertificate, report, s.o.TLSCert, s.o.TLSKey); err != nil {
			return fmt.Errorf("serve: certificate %s, %s: %w", s.o.TLSCert, s.o.TLSKey, err)
		}
	}
	if s.o.Credentials != "" {
		report := func(_ secrets.Credentials, err error) { s.reportFiles(err, s.o.Credentials) }
		if s.guard, err = watch.Open(secrets.MaxBytes, secrets.ParseCredentials, report, s.o.Credentials); err != nil {
			return fmt.Errorf("serve: credentials %s: %w", s.o.Credentials, err)
		}
	}
	if s.o.Mirrors != "" {
		scheme := "http"
		if s.o.TLSCert != "" {
			scheme = "https"
		}
		report := func(err error) { s.reportFiles(err, s.o.Mirrors) }
		s.front, err = front.Open(front.Options{File: s.o.Mirrors, At: front.URLs(s.o.BaseURL, scheme, s.o.Listen), Log: s.o.Log, Report: report})
	}
	return err
}

func (s *Server) lookAtFiles() {
	s.front.Look()
	s.policy.Look()
	s.certs.Look()
	s.guard.Look()
}

func (s *Server) reportPolicy(p *policy.Policy, err error) {
	if err != nil {
		s.metrics.Reloads.WithLabelValues("error").Inc()
		s.o.Log.Error("policy not reloaded, the rules stay", "error", strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	s.metrics.Reloads.WithLabelValues("ok").Inc()
	s.o.Log.Info("policy reloaded", "rules", p.Rules())
}

func (s *Server) reportFiles(err error, files ...string) {
	if err != nil {
		s.o.Log.Error("not reloaded, what was stays", "files", strings.Join(files, ", "), "error", err)
		return
	}
	s.o.Log.Info("reloaded", "files", strings.Join(files, ", "))
}

// decide is the policy's decision; the reason of a denial is in words for the
// status line. Rules that are only recorded deny nothing.
func (s *Server) decide(pkg snapshot.Package, archive string) policy.Decision {
	d := s.enforced(s.policy.Get().Decide(pkg, archive))
	if strings.HasSuffix(d.Rule, logOnly) {
		s.metrics.WouldDeny(archive, strings.TrimSuffix(d.Rule, logOnly))
	}
	return d
}

// logOnly ends the rule of a denial that is only recorded.
const logOnly = " (log only)"

// enforced is a decision as it is enforced.
func (s *Server) enforced(d policy.Decision) policy.Decision {
	if d.Allow {
		return d
	}
	d.Reason = "Denied by rule " + strings.TrimPrefix(d.Rule, "rule ") + ": " + d.Reason // one without a name is "rule 3"
	if s.o.PolicyLogOnly {
		return policy.Decision{Allow: true, Rule: d.Rule + logOnly, Reason: d.Reason}
	}
	return d
}

// authorized tells whether a request may be answered. Probes need no credentials.
func (s *Server) authorized(r *http.Request, path string) bool {
	return s.guard == nil || path == "healthz" || path == "readyz" || s.guard.Get().Allow(r)
}
