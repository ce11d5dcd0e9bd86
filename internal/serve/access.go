package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"example.org/mmoci/internal/policy"
	"example.org/mmoci/internal/serve/watch"
	"example.org/mmoci/pkg/snapshot"
)

// maxSecret bounds a certificate, key or credentials file, in bytes.
const maxSecret = 1 << 20

// openFiles reads rules, certificate and credentials; at the start bad ones are errors.
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
		if s.certs, err = watch.Open(maxSecret, parseCertificate, report, s.o.TLSCert, s.o.TLSKey); err != nil {
			return fmt.Errorf("serve: certificate %s, %s: %w", s.o.TLSCert, s.o.TLSKey, err)
		}
	}
	if s.o.Credentials != "" {
		report := func(_ credentials, err error) { s.reportFiles(err, s.o.Credentials) }
		if s.guard, err = watch.Open(maxSecret, parseCredentials, report, s.o.Credentials); err != nil {
			return fmt.Errorf("serve: credentials %s: %w", s.o.Credentials, err)
		}
	}
	return s.openMirrors()
}

func (s *Server) lookAtFiles() {
	s.mirrorList.Look()
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

func parseCertificate(pair [][]byte) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(pair[0], pair[1])
	return &c, err
}

// credentials are hashes of what an Authorization header may say.
type credentials map[[sha256.Size]byte]struct{}

func parseCredentials(contents [][]byte) (credentials, error) {
	c := credentials{}
	for line := range strings.Lines(string(contents[0])) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		c[sha256.Sum256([]byte(line))] = struct{}{}
	}
	if len(c) == 0 {
		return nil, errors.New("no line USER:PASSWORD or TOKEN")
	}
	return c, nil
}

// has compares every entry, so that the time taken tells nothing.
func (c credentials) has(secret string) bool {
	sum, found := sha256.Sum256([]byte(secret)), 0
	for entry := range c {
		found |= subtle.ConstantTimeCompare(entry[:], sum[:])
	}
	return found == 1
}

// authorized tells whether a request may be answered. Probes need no credentials.
func (s *Server) authorized(r *http.Request, path string) bool {
	if s.guard == nil || path == "healthz" || path == "readyz" {
		return true
	}
	if user, password, ok := r.BasicAuth(); ok {
		return s.guard.Get().has(user + ":" + password)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && !strings.Contains(token, ":") && s.guard.Get().has(token)
}
