package snapshot

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Size limits of SPEC section 11 for what a statement names, in bytes.
const (
	MaxLock    = 64 << 20
	MaxRelease = 10_000_000 // apt's own limit (Acquire::MaxReleaseFileSize)
)

// check applies every rule of SPEC section 4 that can be told from the statement alone. Errors
// name the line of the canonical text.
func (st *Statement) check() error {
	if line, err := st.checkHead(); err != nil {
		return fmt.Errorf("statement line %d: %w", line, err)
	}
	line, err := st.checkImages(st.headLines())
	if err != nil {
		return fmt.Errorf("statement line %d: %w", line, err)
	}
	sizes := map[Digest]int64{}
	for i, a := range st.Archives {
		line++
		err := a.check()
		if err == nil && i > 0 && st.Archives[i-1].Prefix >= a.Prefix {
			err = fmt.Errorf("archive %s: twice or not in order", a.Prefix)
		}
		if err != nil {
			return fmt.Errorf("statement line %d: %w", line, err)
		}
		if len(a.Merge) > 0 {
			line++
		}
		if err := st.checkMerge(&a); err != nil {
			return fmt.Errorf("statement line %d: archive %s: %w", line, a.Prefix, err)
		}
		if line, err = a.checkKeys(line); err != nil {
			return fmt.Errorf("statement line %d: archive %s: %w", line, a.Prefix, err)
		}
		if line, err = st.checkSuites(a, line, sizes); err != nil {
			return fmt.Errorf("statement line %d: archive %s: %w", line, a.Prefix, err)
		}
	}
	return nil
}

// headLines is the number of lines that are there once, before the first image or archive.
func (st *Statement) headLines() int {
	lines := 5
	if !st.ValidUntil.IsZero() {
		lines++
	}
	if st.Needs != "" {
		lines++
	}
	if len(st.formats()) > 0 {
		lines++
	}
	return lines
}

// checkHead returns the number of the wrong line with the error.
func (st *Statement) checkHead() (int, error) {
	last, date := st.headLines(), 2
	if st.Needs != "" {
		date = 3
		if !isRelease(st.Needs) {
			return 2, fmt.Errorf("needs %.40q: no version of mmoci", st.Needs)
		}
	}
	if len(st.formats()) > 0 {
		last--
	}
	if (st.Needs != "") != (st.needed() != "") {
		return 1, errors.New("version 2 of the format is for statements that say more than version 1 can, and for those alone")
	}
	if err := checkDate(st.Date); err != nil {
		return date, err
	}
	if !st.ValidUntil.IsZero() {
		if err := checkDate(st.ValidUntil); err != nil {
			return date + 1, err
		}
		if !st.ValidUntil.After(st.Date) {
			return date + 1, errors.New("valid-until is not after the date")
		}
	}
	if st.Encoder < 1 {
		return last - 2, fmt.Errorf("encoder %d: generations are counted from 1", st.Encoder)
	}
	if err := checkSize("table", st.Table, MaxTable); err != nil {
		return last - 1, err
	}
	return last, checkSize("lock", st.Lock, MaxLock)
}

// checkDate accepts what the text can hold: four-digit years and whole seconds.
func checkDate(t time.Time) error {
	if y := t.UTC().Year(); t.IsZero() || y < 0 || y > 9999 || t.Nanosecond() != 0 {
		return fmt.Errorf("date %v: not set, not in whole seconds, or year out of range", t)
	}
	return nil
}

func checkSize(what string, b Blob, limit int64) error {
	if err := b.check(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if b.Size == 0 || b.Size > limit {
		return fmt.Errorf("%s: size %d is not between 1 and %d", what, b.Size, limit)
	}
	return nil
}

func (a *Archive) check() error {
	if err := ValidPrefix(a.Prefix); err != nil {
		return err
	}
	switch {
	case a.Mode != Curated && a.Mode != Verbatim:
		return fmt.Errorf("archive %s: mode %.80q is unknown", a.Prefix, a.Mode)
	case a.Class != Upstream && a.Class != Site && a.Class != Merged:
		return fmt.Errorf("archive %s: class %.80q is unknown", a.Prefix, a.Class)
	case a.Format != FormatDeb && a.Format != FormatFiles && a.Format != FormatRPM:
		return fmt.Errorf("archive %s: format %.80q is unknown", a.Prefix, a.Format)
	case a.Class == Merged && (a.Mode != Curated || a.Format != FormatDeb):
		return fmt.Errorf("archive %s: a merged archive is always curated, of format deb", a.Prefix)
	case a.Format == FormatFiles && a.Mode != Curated:
		return fmt.Errorf("archive %s: an archive of format files is always curated", a.Prefix)
	case a.Format == FormatRPM && a.Mode == Curated && a.Class != Site:
		return fmt.Errorf("archive %s: a curated archive of format rpm is always of class site", a.Prefix)
	case a.Format == FormatDeb && a.Class == Site && a.Mode != Curated:
		return fmt.Errorf("archive %s: an archive of class site is always curated", a.Prefix)
	}
	return nil
}

// checkMerge looks at what a merged archive is made of.
func (st *Statement) checkMerge(a *Archive) error {
	if (a.Class == Merged) != (len(a.Merge) > 0) {
		return errors.New("an archive of class merged says what it is made of, and no other does")
	}
	if a.Class == Merged && len(a.Merge) < 2 {
		return errors.New("merge: one archive alone")
	}
	for i, prefix := range a.Merge {
		switch of := st.Archive(prefix); {
		case i > 0 && a.Merge[i-1] >= prefix:
			return fmt.Errorf("merge: %.80s: twice or not in order", prefix)
		case of == nil:
			return fmt.Errorf("merge: there is no archive %.80s", prefix)
		case of.Format != FormatDeb || of.Class == Merged:
			return fmt.Errorf("merge: archive %s is merged itself, or not of format deb", prefix)
		}
	}
	return nil
}

// checkKeys goes on from the archive's line and returns the last line, or the wrong one.
func (a *Archive) checkKeys(line int) (int, error) {
	for i, k := range a.UpstreamKeys {
		line++
		switch {
		case !isFingerprint(k):
			return line, fmt.Errorf("upstream-key %.80q: not 40 upper-case hexadecimal digits", k)
		case i > 0 && a.UpstreamKeys[i-1] >= k:
			return line, fmt.Errorf("upstream-key %s: twice or not in order", k)
		case a.Class != Upstream:
			return line, fmt.Errorf("upstream-key in an archive of class %s", a.Class)
		}
	}
	return line, nil
}

func isFingerprint(k string) bool {
	return len(k) == 40 && strings.Trim(k, "0123456789ABCDEF") == ""
}

// checkSuites goes on from the last line before and returns the last line, or the wrong one.
func (st *Statement) checkSuites(a Archive, line int, sizes map[Digest]int64) (int, error) {
	for i, s := range a.Suites {
		line++
		err := validSuite(s.Name)
		switch {
		case err != nil:
			return line, err
		case i > 0 && a.Suites[i-1].Name >= s.Name:
			return line, fmt.Errorf("suite %s: twice or not in order", s.Name)
		case a.Format != FormatDeb && !IsFlat(s.Name):
			return line, fmt.Errorf("suite %s: one of format %s is a directory, with a final slash", s.Name, a.Format)
		}
		suiteLine := line
		for j, f := range s.Files {
			line++
			if err := st.checkFile(a, s.Name, f); err != nil {
				return line, fmt.Errorf("suite %s: %w", s.Name, err)
			}
			if j > 0 && s.Files[j-1].Path >= f.Path {
				return line, fmt.Errorf("suite %s: file %s: twice or not in order", s.Name, f.Path)
			}
			if size, ok := sizes[f.Digest]; ok && size != f.Size {
				return line, fmt.Errorf("suite %s: file %s: %s has two sizes, %d and %d", s.Name, f.Path, f.Digest, size, f.Size)
			}
			sizes[f.Digest] = f.Size
		}
		if err := s.checkRoles(a); err != nil {
			return suiteLine, fmt.Errorf("suite %s: %w", s.Name, err)
		}
	}
	return line, nil
}

// checkFile looks at one file line.
func (st *Statement) checkFile(a Archive, suite string, f SuiteFile) error {
	if f.Role.format() == "" {
		return fmt.Errorf("role %.80q is unknown", f.Role)
	}
	if f.Role.format() != a.Format {
		return fmt.Errorf("role %s in an archive of format %s", f.Role, a.Format)
	}
	if want := RolePath(a.Prefix, suite, f.Role); f.Path != want {
		return fmt.Errorf("path %.200q of %s is not %s", f.Path, f.Role, want)
	}
	if err := ValidPath(f.Path); err != nil {
		return err
	}
	if err := checkSize("file "+f.Path, f.Blob, MaxRelease); err != nil {
		return err
	}
	if err := checkDate(f.Date); err != nil {
		return fmt.Errorf("file %s: %w", f.Path, err)
	}
	switch {
	case f.Role.IsUpstream() && a.Mode == Verbatim:
		return fmt.Errorf("role %s in a verbatim archive, whose own files are upstream's", f.Role)
	case f.Role.IsUpstream() && a.Class != Upstream:
		return fmt.Errorf("role %s in an archive of class %s", f.Role, a.Class)
	case !f.Role.IsUpstream() && a.Mode == Curated && !f.Date.Equal(st.Date):
		return fmt.Errorf("file %s: date %s is not the statement's", f.Path, FormatDate(f.Date))
	}
	return nil
}

// checkRoles tells whether the files of a suite belong together.
func (s *Suite) checkRoles(a Archive) error {
	for _, pair := range [...][2]Role{
		{ReleaseGPG, Release}, {UpstreamReleaseGPG, UpstreamRelease}, {SumsSig, Sums}, {UpstreamSumsSig, UpstreamSums}, {RepomdAsc, Repomd},
	} {
		sig, text := s.File(pair[0]), s.File(pair[1])
		if sig != nil && text == nil {
			return fmt.Errorf("%s without %s", pair[0], pair[1])
		}
		if sig != nil && !sig.Date.Equal(text.Date) {
			return fmt.Errorf("%s and %s have different dates", pair[0], pair[1])
		}
	}
	switch {
	case a.Format == FormatFiles:
		return s.checkSums()
	case a.Format == FormatRPM && s.File(Repomd) == nil:
		return fmt.Errorf("no %s", Repomd)
	case a.Format == FormatRPM && a.Class == Upstream && s.File(RepomdAsc) == nil:
		return fmt.Errorf("no %s, by which upstream vouches for it", RepomdAsc)
	case a.Format == FormatRPM:
		return nil
	case a.Mode == Verbatim && s.File(InRelease) == nil && s.File(Release) == nil:
		return fmt.Errorf("neither %s nor %s", InRelease, Release)
	case a.Mode == Curated && s.File(Release) == nil:
		return fmt.Errorf("no %s", Release)
	case a.Mode == Curated && (s.File(InRelease) == nil) != (s.File(ReleaseGPG) == nil):
		return fmt.Errorf("one of %s and %s without the other", InRelease, ReleaseGPG)
	case a.Mode == Curated && a.Class == Upstream && s.File(UpstreamInRelease) == nil && s.File(UpstreamRelease) == nil:
		return errors.New("no provenance: neither upstream-inrelease nor upstream-release")
	}
	return nil
}

// checkSums tells whether the files of a suite of format files belong together: the site's list stands in "./", the
// others have one of upstream's.
func (s *Suite) checkSums() error {
	switch {
	case s.Name == "./" && s.File(Sums) == nil:
		return fmt.Errorf("no %s", Sums)
	case s.Name != "./" && s.File(Sums) != nil:
		return fmt.Errorf("%s outside of ./", Sums)
	case s.Name != "./" && s.File(UpstreamSums) == nil:
		return fmt.Errorf("no %s", UpstreamSums)
	}
	return nil
}

// checkSigned tells whether the curated suites are signed exactly if the statement is.
func (st *Statement) checkSigned(signed bool) error {
	for _, a := range st.Archives {
		role := map[string]Role{FormatDeb: InRelease, FormatFiles: SumsSig, FormatRPM: RepomdAsc}[a.Format]
		for _, s := range a.Suites {
			has := s.File(role) != nil
			switch {
			case a.Mode != Curated || has == signed || a.Format == FormatFiles && s.Name != "./":
			case signed:
				return fmt.Errorf("archive %s suite %s: no %s, but the statement is signed", a.Prefix, s.Name, role)
			default:
				return fmt.Errorf("archive %s suite %s: has %s, but the statement is not signed", a.Prefix, s.Name, role)
			}
		}
	}
	return nil
}
