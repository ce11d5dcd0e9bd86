package prove

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
)

// State says how far an archive was proved.
type State string

const (
	Proved    State = "proved"     // down from upstream's key
	NotProved State = "not proved" // no key of upstream was given; the site vouches
	SiteOwn   State = "site"       // made by the site, which vouches
	Failed    State = "failed"
)

// Report is what Verify found. Its JSON form is what verify --json prints.
type Report struct {
	Root      string          `json:"root"`
	Date      time.Time       `json:"date"`
	Statement Signature       `json:"statement"`
	Archives  []ArchiveReport `json:"archives"`
	Images    []ImageReport   `json:"images,omitempty"`
	Files     int             `json:"files"` // distinct, hashed if Hash was asked for
	Bytes     int64           `json:"bytes"`
	Hashed    bool            `json:"hashed"`
	Manifests int             `json:"manifests,omitempty"` // read, root and core included
	Failures  []string        `json:"failures,omitempty"`
	// Listing is every file in order of path; only if it was asked for.
	Listing []FileReport `json:"listing,omitempty"`

	files map[string]*wanted
}

// Signature says by what a signed text is believed.
type Signature struct {
	Kind          string     `json:"kind"`          // "signed", "pinned", "unverified"
	Key           string     `json:"key,omitempty"` // fingerprint of the primary key
	Time          *time.Time `json:"time,omitempty"`
	KeyValidUntil *time.Time `json:"keyValidUntil,omitempty"` // absent: for ever
	// AptRefuses is why apt would not accept it today, though it is proved:
	// the key has expired or was revoked since, or the Release is past its Valid-Until.
	AptRefuses string `json:"aptRefuses,omitempty"`
}

// ArchiveReport is what was found of one archive.
type ArchiveReport struct {
	Prefix   string        `json:"prefix"`
	Mode     string        `json:"mode"`
	Class    string        `json:"class"`
	State    State         `json:"state"`
	Reason   string        `json:"reason,omitempty"`
	Packages int           `json:"packages"`
	Suites   []SuiteReport `json:"suites,omitempty"`
}

// SuiteReport is a suite as it is served and, of a curated archive, as upstream signed it.
type SuiteReport struct {
	Name     string         `json:"name"`
	Served   ReleaseReport  `json:"served"`
	Upstream *ReleaseReport `json:"upstream,omitempty"`
	// Renamed are the names in a curated Release that the site chose to change: "Label \"A\" (upstream's: \"B\")".
	Renamed []string `json:"renamed,omitempty"`
}

// ReleaseReport is a Release with its signature.
type ReleaseReport struct {
	Path       string     `json:"path"`
	Date       time.Time  `json:"date"`
	ValidUntil *time.Time `json:"validUntil,omitempty"`
	Signature  Signature  `json:"signature"`
}

// FileReport is a file with the Releases whose chains name it.
type FileReport struct {
	Path     string   `json:"path"`
	Digest   string   `json:"digest"`
	Size     int64    `json:"size"`
	Releases []string `json:"releases"` // paths of ReleaseReports
}

// release reports the Release of a suite.
func (v *verifier) release(p *Suite, ring *pgp.Keyring) ReleaseReport {
	r := ReleaseReport{Path: p.files[0].Path, Date: p.Release.Date, Signature: signature(p.Release.How, ring, v.Trust.Now)}
	if !p.Release.ValidUntil.IsZero() {
		r.ValidUntil = &p.Release.ValidUntil
	}
	if err := p.Release.CheckDate(v.Trust.Now, true); err != nil && r.Signature.AptRefuses == "" {
		r.Signature.AptRefuses = reason(err)
	}
	return r
}

// List fills Listing.
func (r *Report) List() {
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		w := r.files[name]
		f := FileReport{Path: name, Digest: w.Digest.String(), Size: w.Size}
		for _, p := range w.by {
			f.Releases = append(f.Releases, p.files[0].Path)
		}
		r.Listing = append(r.Listing, f)
	}
}

// Release finds what was reported of a Release by its path.
func (r *Report) Release(path string) (ReleaseReport, bool) {
	for _, a := range r.Archives {
		for _, s := range a.Suites {
			if s.Served.Path == path {
				return s.Served, true
			}
			if s.Upstream != nil && s.Upstream.Path == path {
				return *s.Upstream, true
			}
		}
	}
	return ReleaseReport{}, false
}

// RequireUpstream fails for archives that were not proved down from upstream's
// key; those of the site itself are named, not refused.
func (r *Report) RequireUpstream() error {
	for _, a := range r.Archives {
		if a.State == NotProved || a.State == Failed {
			return outcome.GiveUpstreamKey.For(fmt.Errorf("%w: archive %s is %s: %s", outcome.ErrIntegrity, a.Prefix, a.State, a.Reason), a.Prefix)
		}
	}
	return nil
}
