package archive

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// PackageFile is what a stanza of a Packages index says of its pool file.
type PackageFile struct {
	Name, Version, Architecture, Source string
	Filename                            string // relative to the archive root, cleaned ("./x.deb" is "x.deb"), validated like ReleaseFile.Path
	Size                                int64
	SHA256                              string // lower-case hex
}

// MaxPoolFile bounds the size that a stanza may claim for its file, in bytes.
// It serves to tell nonsense; nothing is ever allocated by it.
const MaxPoolFile = 1 << 40

// ErrSHA512Alone marks a Release or stanza that names a file by SHA512 without
// SHA256. A file is found by its SHA256, so such archives are not taken.
var ErrSHA512Alone = errors.New("SHA512 alone is listed")

// maxName bounds package names, versions and architectures, in bytes; they
// become parts of file names.
const maxName = 255

// ParsePackageFile reads and validates these fields of a stanza. Source is
// without version and falls back to Name. A stanza that has a Filename but no
// SHA256 is refused with an error wrapping ErrIntegrity, and ErrSHA512Alone
// where it has SHA512. The strings are views of the stanza, as [deb.Stanza] says.
func ParsePackageFile(s deb.Stanza) (PackageFile, error) {
	var v [8]string
	s.Values(v[:], "Package", "Version", "Architecture", "Source", "Filename", "Size", "SHA256", "SHA512")
	source, _, _ := strings.Cut(v[3], "(")
	f := PackageFile{
		Name:         v[0],
		Version:      v[1],
		Architecture: v[2],
		Source:       cmp.Or(strings.TrimSpace(source), v[0]),
		SHA256:       strings.ToLower(v[6]),
	}
	if err := f.validateNames(); err != nil {
		return PackageFile{}, err
	}
	if err := f.readFile(v[4], v[5], v[7]); err != nil {
		return PackageFile{}, fmt.Errorf("package %s %s: %w", f.Name, f.Version, err)
	}
	return f, nil
}

func (f PackageFile) validateNames() error {
	if len(f.Name) > maxName || !deb.ValidName(f.Name) {
		return fmt.Errorf("package name %.80q", f.Name)
	}
	if len(f.Source) > maxName || !deb.ValidName(f.Source) {
		return fmt.Errorf("package %s: source name %.80q", f.Name, f.Source)
	}
	if len(f.Architecture) > maxName || !deb.ValidArchitecture(f.Architecture) {
		return fmt.Errorf("package %s: architecture %.80q", f.Name, f.Architecture)
	}
	if len(f.Version) > maxName {
		return fmt.Errorf("package %s: version %.80q...: over %d bytes", f.Name, f.Version, maxName)
	}
	if err := deb.ValidVersion(f.Version); err != nil { // it becomes part of file names and arguments
		return fmt.Errorf("package %s: %w", f.Name, err)
	}
	return nil
}

// readFile takes what the stanza says of the file itself.
func (f *PackageFile) readFile(filename, size, sha512 string) (err error) {
	if filename == "" {
		return errors.New("no Filename")
	}
	if f.Filename, err = cleanPath(filename); err != nil {
		return fmt.Errorf("field Filename: %w", err)
	}
	if f.Size, err = parseSize(size); err != nil {
		return err
	}
	switch {
	case f.Size == 0 || f.Size > MaxPoolFile:
		return fmt.Errorf("size %d: not between 1 and %d", f.Size, int64(MaxPoolFile))
	case !isDigest(f.SHA256, 32):
		return fmt.Errorf("SHA256 %.80q", f.SHA256)
	case f.SHA256 == "" && sha512 != "":
		return fmt.Errorf("%w: no SHA256: %w", ErrIntegrity, ErrSHA512Alone)
	case f.SHA256 == "":
		return fmt.Errorf("%w: no SHA256", ErrIntegrity)
	}
	return nil
}

// Less orders stanzas of a curated index: name, version, architecture; what is
// the same in these (versions that compare equal may be spelled differently)
// by spelling, file name and digest, so that the order is total.
func Less(a, b PackageFile) int {
	return cmp.Or(
		cmp.Compare(a.Name, b.Name),
		deb.Compare(a.Version, b.Version),
		cmp.Compare(a.Architecture, b.Architecture),
		cmp.Compare(a.Version, b.Version),
		cmp.Compare(a.Filename, b.Filename),
		cmp.Compare(a.SHA256, b.SHA256),
	)
}

// SiteStanza makes the stanza of a package of class site: the lines of its
// control file as they stand, then Filename, Size, SHA256. Fields of these
// names and other digests that the control file brings along are dropped. The
// result is read back and validated with [ParsePackageFile].
func SiteStanza(control deb.Stanza, filename string, size int64, sha256 string) (deb.Stanza, error) {
	var b bytes.Buffer
	drop := false
	for line := range bytes.Lines(control) {
		if line[0] != ' ' && line[0] != '\t' { // else a continuation, which goes with its field
			name, _, _ := bytes.Cut(line, []byte(":"))
			drop = isFileField(string(bytes.TrimSpace(name)))
		}
		if !drop {
			b.Write(bytes.TrimRight(line, "\r\n"))
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, "Filename: %s\nSize: %d\nSHA256: %s\n", filename, size, strings.ToLower(sha256))
	s, err := onlyStanza(b.Bytes())
	if err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	f, err := ParsePackageFile(s)
	if err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	if f.Filename != filename {
		return nil, fmt.Errorf("package %s: Filename %q is not clean", f.Name, filename)
	}
	return s, nil
}

// isFileField recognises fields that describe the file a stanza stands for, or
// its state on a host.
func isFileField(name string) bool {
	switch strings.ToLower(name) {
	case "filename", "size", "md5sum", "sha1", "sha256", "sha512", "status":
		return true
	}
	return false
}
