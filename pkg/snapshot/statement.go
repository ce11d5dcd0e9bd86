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

// Versions of mmoci that came with what takes version 2 of the format: images, and archives of other formats and merged ones.
const (
	imagesNeed  = "0.2"
	formatsNeed = "0.3"
)

// needed is the lowest version of mmoci that knows all of the statement, "" if that is any: if it says nothing that
// version 1 of the format cannot say (SPEC section 13).
func (st *Statement) needed() string {
	switch {
	case len(st.formats()) > 0 || slices.ContainsFunc(st.Archives, func(a Archive) bool { return a.Class == Merged }):
		return formatsNeed
	case len(st.Images) > 0:
		return imagesNeed
	}
	return ""
}

// formats are the formats of the archives but deb, sorted.
func (st *Statement) formats() []string {
	var out []string
	for _, a := range st.Archives {
		if a.Format == FormatFiles || a.Format == FormatRPM {
			out = append(out, a.Format)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

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
	// Merged is the class of a curated .deb archive that is made of others in the snapshot, [Archive.Merge].
	Merged Class = "merged"
)

// The formats of archives.
const (
	FormatDeb   = "deb"
	FormatFiles = "files" // plain files, listed in a SHA256SUMS
	FormatRPM   = "rpm"   // RPM repositories, listed in repodata/repomd.xml
)

// Archive is one archive of a statement.
type Archive struct {
	Prefix       string
	Mode         Mode
	Class        Class
	Format       string   // FormatDeb, FormatFiles or FormatRPM
	Merge        []string // prefixes of the archives that one of class merged is made of, sorted
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

	Sums            Role = "sums" // of format files
	SumsSig         Role = "sums-sig"
	UpstreamSums    Role = "upstream-sums"
	UpstreamSumsSig Role = "upstream-sums-sig"
	Repomd          Role = "repomd" // of format rpm
	RepomdAsc       Role = "repomd-asc"
)

// SuiteFile is one signature file.
type SuiteFile struct {
	Role Role
	Blob
	Date time.Time // Date field of that Release, UTC; a release-gpg has the one of its Release. Of other roles: SPEC section 4
	Path string    // [RolePath]
}

// IsUpstream tells the roles of provenance.
func (r Role) IsUpstream() bool {
	switch r {
	case UpstreamInRelease, UpstreamRelease, UpstreamReleaseGPG, UpstreamSums, UpstreamSumsSig:
		return true
	}
	return false
}

// format is the format of the archives that have the role, "" for an unknown role.
func (r Role) format() string {
	switch r {
	case InRelease, Release, ReleaseGPG, UpstreamInRelease, UpstreamRelease, UpstreamReleaseGPG:
		return FormatDeb
	case Sums, SumsSig, UpstreamSums, UpstreamSumsSig:
		return FormatFiles
	case Repomd, RepomdAsc:
		return FormatRPM
	}
	return ""
}

// fileName is the path of a role below the directory of its suite, "" for an unknown role.
func (r Role) fileName() string {
	switch r {
	case InRelease, UpstreamInRelease:
		return "InRelease"
	case Release, UpstreamRelease:
		return "Release"
	case ReleaseGPG, UpstreamReleaseGPG:
		return "Release.gpg"
	case Sums, UpstreamSums:
		return "SHA256SUMS"
	case SumsSig, UpstreamSumsSig:
		return "SHA256SUMS.asc"
	case Repomd:
		return "repodata/repomd.xml"
	case RepomdAsc:
		return "repodata/repomd.xml.asc"
	}
	return ""
}

// RolePath is the only path that the file of a role can have: InRelease,
// Release or Release.gpg, SHA256SUMS(.asc), repodata/repomd.xml(.asc) in [SuiteDir], below upstream/ for provenance.
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
	if st.Needs == "" {
		st.Needs = st.needed()
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
		a.Merge = slices.Clone(a.Merge)
		slices.Sort(a.Merge)
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
