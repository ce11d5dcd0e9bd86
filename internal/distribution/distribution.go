// Package distribution tells which distribution the packages of an archive are of, as its Release says.
package distribution

import (
	"context"
	"fmt"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Name is a distribution as package URLs have it. The zero value: it is not known.
type Name struct {
	Vendor  string // whose packages they are, such as debian
	Release string // the vendor's name and version, such as debian-12; "" for what is no whole distribution
}

// Of reads the Release of a suite: upstream's own, where the snapshot carries it. It is not verified: whoever believes the snapshot's
// statement believes it.
//
// Errors: those of reading; a suite that the snapshot does not have has the zero value.
func Of(ctx context.Context, s *snapshot.Snapshot, prefix, suite string) (Name, error) {
	for _, a := range s.Statement.Archives {
		for i := range a.Suites {
			if a.Prefix != prefix || a.Suites[i].Name != suite {
				continue
			}
			r, err := release(ctx, s, &a.Suites[i])
			if err != nil {
				return Name{}, fmt.Errorf("archive %s, suite %s: %w", prefix, suite, err)
			}
			if r == nil {
				return Name{}, nil
			}
			if a.Class == snapshot.Site {
				return Name{Vendor: word(r.Label)}, nil
			}
			return Named(r), nil
		}
	}
	return Name{}, nil
}

func release(ctx context.Context, s *snapshot.Snapshot, of *snapshot.Suite) (*archive.Release, error) {
	for _, role := range []snapshot.Role{snapshot.UpstreamInRelease, snapshot.UpstreamRelease, snapshot.InRelease, snapshot.Release} {
		f := of.File(role)
		if f == nil {
			continue
		}
		data, err := s.ReadBlob(ctx, f.Blob, snapshot.MaxRelease)
		if err != nil {
			return nil, err
		}
		if role == snapshot.InRelease || role == snapshot.UpstreamInRelease {
			return archive.OpenInRelease(data, pgp.Trust{})
		}
		return archive.OpenRelease(data, nil, pgp.Trust{})
	}
	return nil, nil
}

// whole are the origins of whole distributions, which scanners have lists of weaknesses for.
var whole = []string{"debian", "ubuntu", "raspbian"}

// Named is what a Release calls its distribution: Origin and, of a whole distribution, the number of its Version up to what scanners
// compare (Debian's 12.8 is 12, Ubuntu's 24.04 is 24.04), else its Codename.
func Named(r *archive.Release) Name {
	n := Name{Vendor: word(r.Origin)}
	for _, w := range whole {
		if n.Vendor != w && !strings.HasPrefix(n.Vendor, w+"-") { // "Debian Backports"
			continue
		}
		n.Vendor = w
		version := strings.TrimRight(r.Version[:numeric(r.Version)], ".")
		if w != "ubuntu" {
			version, _, _ = strings.Cut(version, ".")
		}
		if version != "" {
			version = w + "-" + version
		}
		if version == "" {
			version, _, _ = strings.Cut(r.Codename, "-") // trixie-updates
			version = word(version)
		}
		n.Release = version
	}
	return n
}

// numeric is how many bytes of s are a number with dots.
func numeric(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789.")) }

// word is a name in lower case, of letters, digits, dots and hyphens.
func word(s string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '.', r == '-':
			return r
		}
		return '-'
	}, strings.ToLower(s)), "-")
}
