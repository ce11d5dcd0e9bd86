package snapshot

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
)

// Statement is what a snapshot consists of (SPEC section 4).
type Statement struct {
	How        pgp.How   // how the text was verified; zero for one that was just made
	Date       time.Time // the date input, UTC, whole seconds
	ValidUntil time.Time // zero: none
	Encoder    int       // encoder generation that made the curated indices, from 1
	Table      Blob
	Lock       Blob
	Needs      string    // the lowest version of mmoci that knows all of it; "": any, and the format is version 1
	Images     []Image   // in order of name
	Archives   []Archive // in order of prefix
}

// imagesNeed is the version of mmoci that came with images, the only thing that takes version 2 of the format.
const imagesNeed = "0.2"

// later tells whether the statement says something that version 1 of the format cannot say (SPEC section 13).
func (st *Statement) later() bool { return len(st.Images) > 0 }

// Mode of an archive.
type Mode string

// Class of an archive.
type Class string

// The modes and classes of SPEC section 8.
const (
	Curated  Mode  = "curated"
	Verbatim Mode  = "verbatim"
	Upstream Class = "upstream"
	Site     Class = "site"
)

// FormatDeb is the only format of an archive so far.
const FormatDeb = "deb"

// Archive is one archive of a statement.
type Archive struct {
	Prefix       string
	Mode         Mode
	Class        Class
	Format       string   // "deb"
	UpstreamKeys []string // fingerprints, 40 upper-case hex digits, sorted
	Suites       []Suite  // in order of name
}

// Suite is a suite with its signature files.
type Suite struct {
	Name  string      // directory under dists/; flat: path with final "/"
	Files []SuiteFile // in order of path
}

// Role of a signature file.
type Role string

// The roles of SPEC section 4.
const (
	InRelease          Role = "inrelease"
	Release            Role = "release"
	ReleaseGPG         Role = "release-gpg"
	UpstreamInRelease  Role = "upstream-inrelease"
	UpstreamRelease    Role = "upstream-release"
	UpstreamReleaseGPG Role = "upstream-release-gpg"
)

// SuiteFile is one signature file.
type SuiteFile struct {
	Role Role
	Blob
	Date time.Time // Date field of that Release, UTC; a release-gpg has the one of its Release
	Path string    // [RolePath]
}

// IsUpstream tells the roles of provenance.
func (r Role) IsUpstream() bool {
	return r == UpstreamInRelease || r == UpstreamRelease || r == UpstreamReleaseGPG
}

// fileName is the last part of the path of a role, "" for an unknown role.
func (r Role) fileName() string {
	switch r {
	case InRelease, UpstreamInRelease:
		return "InRelease"
	case Release, UpstreamRelease:
		return "Release"
	case ReleaseGPG, UpstreamReleaseGPG:
		return "Release.gpg"
	}
	return ""
}

// RolePath is the only path that the file of a role can have: InRelease,
// Release or Release.gpg in [SuiteDir], below upstream/ for provenance.
func RolePath(prefix, suite string, role Role) string {
	path := SuiteDir(prefix, suite) + "/" + role.fileName()
	if role.IsUpstream() {
		return upstreamView + "/" + path
	}
	return path
}

// File finds the suite's file of a role; nil if it has none.
func (s *Suite) File(role Role) *SuiteFile {
	for i := range s.Files {
		if s.Files[i].Role == role {
			return &s.Files[i]
		}
	}
	return nil
}

// Archive finds an archive by prefix; nil if st is nil or has none.
func (st *Statement) Archive(prefix string) *Archive {
	if st == nil {
		return nil
	}
	for i := range st.Archives {
		if st.Archives[i].Prefix == prefix {
			return &st.Archives[i]
		}
	}
	return nil
}

// SuiteFiles are all signature files in order of path.
func (st *Statement) SuiteFiles() []SuiteFile {
	var files []SuiteFile
	for _, a := range st.Archives {
		for _, s := range a.Suites {
			files = append(files, s.Files...)
		}
	}
	slices.SortFunc(files, func(a, b SuiteFile) int { return cmp.Compare(a.Path, b.Path) })
	return files
}

// ReleaseBlobs are the last layers of the core (SPEC section 7): the distinct
// digests of the signature files, in order of their first path.
func (st *Statement) ReleaseBlobs() []Blob {
	seen := map[Digest]bool{}
	var blobs []Blob
	for _, f := range st.SuiteFiles() {
		if !seen[f.Digest] {
			seen[f.Digest] = true
			blobs = append(blobs, f.Blob)
		}
	}
	return blobs
}

// sorted is a deep copy in canonical order, dates in UTC.
func (st Statement) sorted() Statement {
	st.Date, st.ValidUntil = st.Date.UTC(), st.ValidUntil.UTC()
	if st.Needs == "" && st.later() {
		st.Needs = imagesNeed
	}
	st.Images = slices.Clone(st.Images)
	for i := range st.Images {
		referrers := slices.Clone(st.Images[i].Referrers)
		slices.SortFunc(referrers, func(a, b Blob) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
		st.Images[i].Referrers = referrers
	}
	slices.SortFunc(st.Images, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	st.Archives = slices.Clone(st.Archives)
	for i := range st.Archives {
		a := &st.Archives[i]
		a.UpstreamKeys = slices.Clone(a.UpstreamKeys)
		slices.Sort(a.UpstreamKeys)
		a.Suites = slices.Clone(a.Suites)
		for j := range a.Suites {
			s := &a.Suites[j]
			s.Files = slices.Clone(s.Files)
			for k := range s.Files {
				s.Files[k].Date = s.Files[k].Date.UTC()
			}
			slices.SortFunc(s.Files, func(a, b SuiteFile) int { return cmp.Compare(a.Path, b.Path) })
		}
		slices.SortFunc(a.Suites, func(a, b Suite) int { return cmp.Compare(a.Name, b.Name) })
	}
	slices.SortFunc(st.Archives, func(a, b Archive) int { return cmp.Compare(a.Prefix, b.Prefix) })
	return st
}
