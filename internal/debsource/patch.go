package debsource

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
)

// Patch is a unified diff with names a/FILE and b/FILE.
type Patch struct {
	Name  string // of the file below debian/patches
	Title string // for messages; "" is Name
	Data  []byte
}

// Change is what another source package is made by.
type Change struct {
	Version string // the new one, that of the base with something behind it
	Patches []Patch
	// Date is that of the new entry of the changelog, and so the SOURCE_DATE_EPOCH of its build.
	Date time.Time
}

// PatchError is a patch that cannot be applied. It wraps [outcome.ErrUsage].
type PatchError struct {
	Patch string
	File  string // of the source; "" if the patch cannot be read
	Hunk  int    // of the file, from 1; 0 for all of it
	Line  int    // of the hunk in the patch
	Why   string
}

func (e *PatchError) Error() string {
	switch {
	case e.File == "":
		return fmt.Sprintf("patch %s: %s", e.Patch, e.Why)
	case e.Hunk == 0:
		return fmt.Sprintf("patch %s does not apply to %s: %s", e.Patch, e.File, e.Why)
	}
	return fmt.Sprintf("patch %s does not apply: %s, hunk %d (line %d of the patch): %s", e.Patch, e.File, e.Hunk, e.Line, e.Why)
}

// Unwrap gives [outcome.ErrUsage].
func (e *PatchError) Unwrap() error { return outcome.ErrUsage }

// Patched is a source package that is to be written.
type Patched struct {
	*Package
	change  Change
	replace map[string]*content // what the new tarball has in place of the old files, by path in the source
}

// content is a file of the source.
type content struct {
	data []byte
	gone bool
	mode int64
}

// Patch makes another source package: with a new version and changelog entry and, in format 3.0
// (quilt), patches at the end of the series, or in other formats applied. The entry's text is a
// function of the patches' bytes. The error is a [*PatchError] if a patch does not apply.
func (p *Package) Patch(c Change) (*Patched, error) {
	if deb.ValidVersion(c.Version) != nil || deb.Compare(c.Version, p.Version) <= 0 {
		return nil, fmt.Errorf("%w: version %.80q, should be more than %s", outcome.ErrUsage, c.Version, p.Version)
	}
	if upstreamVersion(c.Version) != upstreamVersion(p.Version) && p.Format == "3.0 (quilt)" {
		return nil, fmt.Errorf("%w: version %s: the upstream version of %s must stay", outcome.ErrUsage, c.Version, p.Version)
	}
	var parsed [][]section
	for i := range c.Patches {
		sections, err := parsePatch(c.Patches[i].Data)
		if err != nil {
			return nil, &PatchError{Patch: c.Patches[i].title(), Why: err.Error()}
		}
		parsed = append(parsed, sections)
	}
	x := &Patched{Package: p, change: c, replace: map[string]*content{}}
	files, known, err := p.touched(parsed)
	if err != nil {
		return nil, err
	}
	if known {
		for i, sections := range parsed {
			if err := applyTo(files, sections); err != nil {
				err.Patch = c.Patches[i].title()
				return nil, err
			}
		}
	}
	if p.Format != "3.0 (quilt)" {
		x.replace = files
	}
	old := x.replace[changelogPath]
	if old == nil || old.gone {
		old = &content{data: p.changelog, mode: 0o644}
	}
	x.replace[changelogPath] = &content{data: append(x.entry(), old.data...), mode: cmp.Or(old.mode, 0o644)}
	return x, nil
}

func (p *Patch) title() string { return cmp.Or(p.Title, p.Name) }

// entry is that of the changelog.
func (x *Patched) entry() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s (%s)%s\n\n", x.Name, x.change.Version, x.header)
	if len(x.change.Patches) == 0 {
		b.WriteString("  * Built in another way, without a change.\n")
	} else {
		b.WriteString("  * Patched:\n")
	}
	for _, p := range x.change.Patches {
		sum := sha256.Sum256(p.Data)
		fmt.Fprintf(&b, "    sha256:%s\n", hex.EncodeToString(sum[:]))
	}
	fmt.Fprintf(&b, "\n -- mmoci <mmoci@localhost>  %s\n\n", x.change.Date.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	return b.Bytes()
}

// applyTo applies sections to files.
func applyTo(files map[string]*content, sections []section) *PatchError {
	for i := range sections {
		s := &sections[i]
		name := s.target(files)
		f := files[name]
		if f == nil {
			f = &content{gone: true, mode: 0o644}
		}
		creates := s.old == "" || len(s.hunks[0].from) == 0 && s.hunks[0].start == 0
		switch {
		case f.gone && !creates:
			return &PatchError{File: name, Why: "the source has no such file"}
		case !f.gone && s.old == "" && len(f.data) > 0:
			return &PatchError{File: name, Why: "the patch creates it, and the source has it"}
		}
		out, bad := s.apply(f.data)
		if bad != nil {
			return &PatchError{File: name, Hunk: bad.number, Line: bad.line, Why: "its lines are not in the file"}
		}
		if len(out) > maxPatched {
			return &PatchError{File: name, Why: fmt.Sprintf("over %d bytes", maxPatched)}
		}
		files[name] = &content{data: out, gone: s.new == "" || len(out) == 0 && len(f.data) > 0, mode: cmp.Or(f.mode, 0o644)}
	}
	return nil
}

// target is the file that a section is for: the new name, or the old one where only that is there.
func (s *section) target(files map[string]*content) string {
	there := func(name string) bool { return name != "" && files[name] != nil && !files[name].gone }
	if s.new == "" || !there(s.new) && there(s.old) {
		return s.old
	}
	return s.new
}

// names are the files that sections name.
func names(of [][]section) map[string]bool {
	out := map[string]bool{}
	for _, sections := range of {
		for i := range sections {
			for _, n := range []string{sections[i].old, sections[i].new} {
				if n != "" {
					out[n] = true
				}
			}
		}
	}
	return out
}

// touched are the files that patches touch as they are when the first of them is applied. known is
// false where the source's own patches cannot be followed: dpkg-source then has the last word.
func (p *Package) touched(patches [][]section) (files map[string]*content, known bool, err error) {
	wanted := names(patches)
	control, isDiff, err := p.control()
	if err != nil {
		return nil, false, err
	}
	if !isDiff && p.Format != "3.0 (quilt)" {
		files, err = p.readFiles(control, "", true, wanted)
		return files, true, err
	}
	var own [][]section // the source's
	known = true
	var fromDebian map[string]*content
	if isDiff {
		data, err := p.unpackAll(control, MaxPatch)
		if err != nil {
			return nil, false, err
		}
		sections, err := parsePatch(data)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", control.Name, err)
		}
		own = append(own, sections)
		maps.Copy(wanted, names(own)) // all of it becomes part of the new tarball
	} else {
		series, err := p.series(control)
		if err != nil {
			return nil, false, err
		}
		for _, data := range series {
			sections, err := parsePatch(data)
			known = known && err == nil
			sections = slices.DeleteFunc(sections, func(s section) bool { return !wanted[s.old] && !wanted[s.new] })
			own = append(own, sections)
		}
		if fromDebian, err = p.readFiles(control, "", false, wanted); err != nil {
			return nil, false, err
		}
	}
	files = map[string]*content{}
	for _, f := range p.files {
		prefix := ""
		switch m := component.FindStringSubmatch(f.Name); {
		case p.sums[f.Name] == "":
			continue
		case m != nil:
			prefix = m[1] + "/"
		case !origTar.MatchString(f.Name):
			continue
		}
		found, err := p.readFiles(f, prefix, true, wanted)
		if err != nil {
			return nil, false, err
		}
		maps.Copy(files, found)
	}
	maps.DeleteFunc(files, func(name string, _ *content) bool { return fromDebian != nil && strings.HasPrefix(name, "debian/") })
	maps.Copy(files, fromDebian)
	for _, sections := range own {
		if e := applyTo(files, sections); e != nil {
			if isDiff {
				e.Patch = control.Name
				return nil, false, fmt.Errorf("%w: %w", outcome.ErrIntegrity, e)
			}
			known = false
		}
	}
	if rules := files["debian/rules"]; isDiff && rules != nil {
		rules.mode = 0o755 // dpkg-source makes it executable
	}
	return files, known, nil
}

// readFiles reads wanted files of a tarball, below prefix. With top, the one directory that all is
// in does not count.
func (p *Package) readFiles(f File, prefix string, top bool, wanted map[string]bool) (map[string]*content, error) {
	whole, inTop := map[string]*content{}, map[string]*content{}
	tops := map[string]bool{}
	size := int64(0)
	err := p.walk(f, func(name string, h *tar.Header, r io.Reader) error {
		first, rest, deep := strings.Cut(name, "/")
		tops[first] = true
		if !deep && h.Typeflag != tar.TypeDir {
			tops["/"] = true // a file there: it is no top directory
		}
		asIs, below := wanted[prefix+name], wanted[prefix+rest]
		if h.Typeflag != tar.TypeReg || !asIs && !below {
			return nil
		}
		if h.Size > maxTouched-size { // of a sparse file it may be any number
			return fmt.Errorf("patches touch files of over %d bytes", maxTouched)
		}
		size += h.Size
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		c := &content{data: data, mode: h.Mode & 0o777}
		if asIs {
			whole[prefix+name] = c
		}
		if below {
			inTop[prefix+rest] = c
		}
		return nil
	})
	if top && len(tops) == 1 {
		return inTop, err
	}
	return whole, err
}

const patchesDir = "debian/patches/"

// series are the source's own patches in their order.
func (p *Package) series(control File) ([][]byte, error) {
	all := map[string][]byte{}
	size := int64(0)
	err := p.walk(control, func(name string, h *tar.Header, r io.Reader) error {
		rest, ok := strings.CutPrefix(name, patchesDir)
		if !ok || h.Typeflag != tar.TypeReg {
			return nil
		}
		if h.Size > maxTouched-size { // of a sparse file it may be any number
			return fmt.Errorf("patches of over %d bytes", maxTouched)
		}
		size += h.Size
		var err error
		all[rest], err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	text, ok := all["debian.series"]
	if !ok {
		text = all["series"]
	}
	var out [][]byte
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 0 {
			out = append(out, all[f[0]])
		}
	}
	return out, nil
}

// upstreamVersion is a version without epoch and revision, as names of files have it.
func upstreamVersion(v string) string {
	if i := strings.IndexByte(v, ':'); i >= 0 {
		v = v[i+1:]
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		v = v[:i]
	}
	return v
}

func withoutEpoch(v string) string {
	if i := strings.IndexByte(v, ':'); i >= 0 {
		return v[i+1:]
	}
	return v
}

// Write writes the files of the package as they are into a directory, and returns the name of the .dsc.
func (p *Package) Write(dir string) (string, error) {
	dsc := ""
	for _, f := range p.files {
		if strings.HasSuffix(f.Name, ".dsc") {
			dsc = f.Name
		} else if p.sums[f.Name] == "" {
			continue
		}
		if _, err := p.copyFile(f, dir); err != nil {
			return "", err
		}
	}
	return dsc, nil
}

// Write writes the new .dsc and all of its files into a directory, and returns the name of the .dsc.
func (x *Patched) Write(dir string) (string, error) {
	control, isDiff, err := x.control()
	if err != nil {
		return "", err
	}
	var made []written
	name := x.Name + "_" + withoutEpoch(x.change.Version)
	if x.Format == "3.0 (quilt)" {
		for _, f := range x.files {
			if x.sums[f.Name] == "" || f.Name == control.Name {
				continue
			}
			w, err := x.copyFile(f, dir)
			if err != nil {
				return "", err
			}
			made = append(made, w)
		}
		name += ".debian.tar.gz"
	} else {
		name += ".tar.gz"
	}
	tarball, err := writeFile(dir, name, func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		t := tar.NewWriter(z)
		switch {
		case x.Format == "3.0 (quilt)":
			err = x.writeDebian(t, control)
		case isDiff:
			orig, ok := x.file(origTar.MatchString)
			if !ok {
				return errors.New("no .orig.tar")
			}
			err = x.writeTree(t, orig)
		default:
			err = x.writeTree(t, control)
		}
		return cmp.Or(err, t.Close(), z.Close())
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	made = append(made, tarball)
	dsc := x.Name + "_" + withoutEpoch(x.change.Version) + ".dsc"
	_, err = writeFile(dir, dsc, func(w io.Writer) error { _, err := w.Write(x.newDsc(made)); return err })
	return dsc, err
}

// written is a file that was written.
type written struct {
	name        string
	size        int64
	md5, sha256 string
}

func writeFile(dir, name string, write func(io.Writer) error) (written, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // builders of other ids read it
	if err != nil {
		return written{}, err
	}
	defer f.Close()
	m, s := md5.New(), sha256.New()
	if err := write(io.MultiWriter(f, m, s)); err != nil {
		return written{}, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	return written{name, size, hex.EncodeToString(m.Sum(nil)), hex.EncodeToString(s.Sum(nil))}, cmp.Or(err, f.Close())
}

// copyFile copies a file, whose digest must be that of the .dsc.
func (p *Package) copyFile(f File, dir string) (written, error) {
	r, err := f.Open()
	if err != nil {
		return written{}, fmt.Errorf("%s: %w", f.Name, err)
	}
	defer r.Close()
	w, err := writeFile(dir, f.Name, func(w io.Writer) error { _, err := io.Copy(w, r); return err })
	if want := p.sums[f.Name]; err == nil && want != "" && w.sha256 != want {
		err = fmt.Errorf("%w: its digest is not that of the .dsc", outcome.ErrIntegrity)
	}
	if err != nil {
		return w, fmt.Errorf("%s: %w", f.Name, err)
	}
	return w, nil
}

// newDsc is the old one with other files and another version, unsigned.
func (x *Patched) newDsc(files []written) []byte {
	var b bytes.Buffer
	for name, value := range x.dsc.Fields() {
		switch strings.ToLower(name) {
		case "files", "checksums-sha1", "checksums-sha256", "checksums-sha512":
		case "version":
			fmt.Fprintf(&b, "Version: %s\n", x.change.Version)
		case "package-list":
			fmt.Fprintf(&b, "%s:\n %s\n", name, value)
		default:
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	b.WriteString("Checksums-Sha256:\n")
	for _, f := range files {
		fmt.Fprintf(&b, " %s %d %s\n", f.sha256, f.size, f.name)
	}
	b.WriteString("Files:\n")
	for _, f := range files {
		fmt.Fprintf(&b, " %s %d %s\n", f.md5, f.size, f.name)
	}
	return b.Bytes()
}

// writeDebian writes debian/ with the patches in its series.
func (x *Patched) writeDebian(t *tar.Writer, control File) error {
	lines := ""
	for _, p := range x.change.Patches {
		lines += p.Name + "\n"
	}
	hasSeries, hasDir := false, false
	isSeries := func(name string) bool {
		dir, base := path.Split(name)
		return dir == patchesDir && (base == "series" || base == "debian.series") && lines != ""
	}
	err := x.walk(control, func(name string, h *tar.Header, r io.Reader) error {
		hasDir = hasDir || name == strings.TrimSuffix(patchesDir, "/")
		for _, p := range x.change.Patches {
			if name == patchesDir+p.Name {
				return fmt.Errorf("it has a patch %s already", name)
			}
		}
		if isSeries(name) {
			if h.Typeflag != tar.TypeReg {
				return fmt.Errorf("%s is no regular file", name)
			}
			old, err := io.ReadAll(io.LimitReader(r, MaxPatch))
			if err != nil {
				return err
			}
			hasSeries = true
			if len(old) > 0 && old[len(old)-1] != '\n' {
				old = append(old, '\n')
			}
			return x.writeEntry(t, name, h.Mode&0o777, append(old, lines...))
		}
		if c := x.replace[name]; c != nil {
			return x.writeEntry(t, name, c.mode, c.data)
		}
		return copyEntry(t, h, r)
	})
	if err != nil {
		return err
	}
	if lines != "" && !hasDir {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: patchesDir, Mode: 0o755, ModTime: x.change.Date, Format: tar.FormatGNU}); err != nil {
			return err
		}
	}
	for _, p := range x.change.Patches {
		if err := x.writeEntry(t, patchesDir+p.Name, 0o644, p.Data); err != nil {
			return err
		}
	}
	if lines != "" && !hasSeries {
		return x.writeEntry(t, patchesDir+"series", 0o644, []byte(lines))
	}
	return nil
}

// writeTree writes the whole source with what patches changed.
func (x *Patched) writeTree(t *tar.Writer, from File) error {
	top := x.Name + "-" + upstreamVersion(x.change.Version)
	left := maps.Clone(x.replace)
	tops := map[string]bool{}
	err := x.walk(from, func(name string, h *tar.Header, r io.Reader) error {
		first, rest, _ := strings.Cut(name, "/")
		if tops[first] = true; len(tops) > 1 {
			return errors.New("the tarball has more than one top directory, which only builds of unchanged sources take")
		}
		h.Name = strings.TrimSuffix(top+"/"+rest, "/")
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if h.Typeflag == tar.TypeLink {
			h.Linkname = top + "/" + withoutTop(strings.TrimPrefix(h.Linkname, "./"))
		}
		c := x.replace[rest]
		if c == nil {
			return copyEntry(t, h, r)
		}
		delete(left, rest)
		if c.gone {
			return nil
		}
		return x.writeEntry(t, h.Name, c.mode, c.data)
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		if c := left[name]; !c.gone {
			if err := x.writeEntry(t, top+"/"+name, c.mode, c.data); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *Patched) writeEntry(t *tar.Writer, name string, mode int64, data []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: x.change.Date, Format: tar.FormatGNU}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}

// copyEntry copies what stands in a tarball: names of owners and what else is not of its time are dropped.
func copyEntry(t *tar.Writer, h *tar.Header, r io.Reader) error {
	out := &tar.Header{Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode, ModTime: h.ModTime, Devmajor: h.Devmajor, Devminor: h.Devminor, Format: tar.FormatGNU}
	if err := t.WriteHeader(out); err != nil {
		return err
	}
	_, err := io.Copy(t, r)
	return err
}
