package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// DoctorOptions is the question to Examine.
type DoctorOptions struct {
	Plan    *config.Plan // nil: the reference alone
	Ref     artifact.Reference
	Signer  pgp.Signer // nil: none is configured
	Write   bool       // try pushes, too, under the tag mmoci-doctor
	Env     func(string) string
	Now     time.Time
	Options artifact.Options
}

// Doctor looks at all that a push and its readers depend on, and says of each
// how it is and, where it is not well, what to do.
func Doctor(ctx context.Context, q DoctorOptions) []artifact.Finding {
	found := append(q.proxy(), q.keys()...)
	switch q.Ref.Kind {
	case artifact.Registry:
		found = append(found, q.registryCA(ctx)...)
		found = append(found, artifact.Probe(ctx, q.Ref, q.Now, q.Write, q.Options)...)
	default:
		found = append(found, q.directory())
	}
	if q.Plan != nil {
		for i := range q.Plan.Archives {
			if a := &q.Plan.Archives[i]; a.Debs == "" {
				found = append(found, q.upstream(ctx, a)...)
			}
		}
	}
	return found
}

// proxy says whether loopback goes through a proxy: apt would ask it for the
// packages of a serve on the same host.
func (q DoctorOptions) proxy() []artifact.Finding {
	for _, name := range []string{"http_proxy", "HTTP_PROXY"} {
		if q.Env(name) == "" {
			continue
		}
		for _, no := range strings.Split(q.Env("no_proxy")+","+q.Env("NO_PROXY"), ",") {
			if no = strings.TrimSpace(no); no == "127.0.0.1" || no == "*" || no == "localhost" || strings.HasPrefix(no, "127.0.0.0/") {
				return []artifact.Finding{{What: "proxy", OK: true, Text: name + " is set, and loopback is excepted"}}
			}
		}
		return []artifact.Finding{{What: "proxy", Text: name + " is set, and apt sends requests for 127.0.0.1 there too",
			Remedy: "mmoci host sources writes the exception (Acquire::http::Proxy::127.0.0.1 \"DIRECT\"); elsewhere add 127.0.0.1 to no_proxy"}}
	}
	return nil
}

// KeySoon is how long before a key's end it is spoken of: hosts want to get the next one first.
const KeySoon = 60 * 24 * time.Hour

func (q DoctorOptions) keys() []artifact.Finding {
	var out []artifact.Finding
	look := func(what string, ring *pgp.Keyring) {
		for _, fp := range ring.Fingerprints() {
			info, _ := ring.Info(fp, q.Now)
			f := artifact.Finding{What: what, OK: true, Text: fp + " " + info.UserID + ": no expiry"}
			if !info.Expires.IsZero() {
				f.Text = fmt.Sprintf("%s %s: valid until %s", fp, info.UserID, info.Expires.Format(time.DateOnly))
			}
			switch {
			case info.AptRefuses != "":
				f.OK, f.Text, f.Remedy = false, f.Text+"; apt would refuse: "+info.AptRefuses, "mmoci key rotate, and its public half to every host"
			case !info.Expires.IsZero() && info.Expires.Sub(q.Now) < KeySoon:
				f.OK, f.Remedy = false, "mmoci key rotate in time, and its public half to every host"
			}
			out = append(out, f)
		}
	}
	if q.Signer != nil {
		look("signing key", q.Signer.Public())
	}
	if q.Plan != nil && len(q.Plan.Trust) > 0 {
		ring, err := signer.ReadKeyrings(q.Plan.Trust...)
		if err != nil {
			return append(out, artifact.Finding{What: "trust", Text: err.Error(), Remedy: "mmoci key new makes a pair of keys"})
		}
		if q.Signer != nil && !knowsOne(ring, q.Signer.Public()) {
			out = append(out, artifact.Finding{What: "trust", Text: "none of its keys is the one that signs", Remedy: "add the public half of the signing key to trust:"})
		}
	}
	return out
}

func knowsOne(ring, keys *pgp.Keyring) bool {
	for _, fp := range keys.Fingerprints() {
		for _, known := range ring.Fingerprints() {
			if fp == known {
				return true
			}
		}
	}
	return false
}

// directory looks at where a layout or archive lies.
func (q DoctorOptions) directory() artifact.Finding {
	dir := q.Ref.Name
	if q.Ref.Kind == artifact.Archive {
		dir = filepath.Dir(dir)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
	}
	f, err := os.CreateTemp(dir, ".mmoci-doctor-*")
	if err != nil {
		return artifact.Finding{What: "directory", Text: err.Error(), Remedy: "push as a user who may write there"}
	}
	f.Close()
	_ = os.Remove(f.Name())
	return artifact.Finding{What: "directory", OK: true, Text: dir + " can be written to"}
}

// upstream reads and verifies the signature files of an archive.
func (q DoctorOptions) upstream(ctx context.Context, a *config.Archive) []artifact.Finding {
	what := "archive " + a.Prefix
	up, suites, err := freeze.Probe(ctx, a, q.Now, nil)
	if err != nil {
		return []artifact.Finding{{What: what, Text: err.Error(), Remedy: "correct signed-by, ca or auth of this archive"}}
	}
	out := q.upstreamCAs(ctx, a, up)
	for _, s := range suites {
		f := artifact.Finding{What: what + ", " + s.Suite}
		switch err := s.Err; {
		case err == nil:
			f.OK, f.Text = true, "of "+snapshot.FormatDate(s.Date)+", signature good"
			if s.AptRefuses != "" {
				f.OK, f.Text, f.Remedy = false, f.Text+", but apt would refuse its key: "+s.AptRefuses, "get upstream's newer key"
			}
		case errors.Is(err, outcome.ErrIntegrity):
			f.Text, f.Remedy = err.Error(), "stop and look: another key, an old mirror, or somebody between"
		case errors.As(err, new(*net.OpError)), errors.As(err, new(*net.DNSError)):
			f.Text, f.Remedy = err.Error(), "the network, a proxy (http_proxy), or the URL"
		default:
			f.Text, f.Remedy = err.Error(), "see the message; check url and suites"
		}
		out = append(out, f)
	}
	return out
}
