package debdir

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// OwnSource is an own source package: a .dsc and the files it names, beside it.
type OwnSource struct {
	name, version string
	Stanza        deb.Stanza
	Rows          []snapshot.Row // paths relative to the archive; the .dsc first
	Files         []string       // on disk, as Rows
}

// MaxDsc bounds a .dsc. The largest of Debian's have some tens of kB.
const MaxDsc = 4 << 20

func compareSources(a, b OwnSource) int {
	return cmp.Or(cmp.Compare(a.name, b.name), deb.Compare(a.version, b.version), cmp.Compare(a.version, b.version))
}

// addDsc adds one source package; twice the same is one.
func (d *Dir) addDsc(p string) error {
	src, err := readDsc(p)
	if err != nil {
		return err
	}
	for i, r := range src.Rows {
		d.sums[src.Files[i]] = r.Digest
	}
	for _, i := range d.names.of(src.name) {
		was := d.Sources[i]
		if compareSources(was, src) != 0 {
			continue
		}
		if was.Rows[0].Digest == src.Rows[0].Digest {
			return nil
		}
		return fmt.Errorf("%w: source %s %s stands twice with other bytes: %s is %s, %s is %s", document.ErrUsage,
			src.name, src.version, was.Files[0], was.Rows[0].Digest, p, src.Rows[0].Digest)
	}
	d.names.add(src.name, len(d.Sources))
	d.Sources = append(d.Sources, src)
	return nil
}

// readDsc reads a .dsc (dsc(5)), clear-signed or not: the site's signature
// over the snapshot is what vouches for it.
func readDsc(p string) (OwnSource, error) {
	data, err := readSmall(p, MaxDsc)
	if err != nil {
		return OwnSource{}, err
	}
	src, err := ParseDsc(filepath.Base(p), data)
	if err != nil {
		return OwnSource{}, fmt.Errorf("%w: %s: %w", document.ErrUsage, p, err)
	}
	src.Files = append(src.Files, p)
	for _, r := range src.Rows[1:] {
		file := filepath.Join(filepath.Dir(p), filepath.Base(r.Path))
		if err := sameFile(file, r.Blob()); err != nil {
			return OwnSource{}, fmt.Errorf("%w: %s: %w", document.ErrUsage, p, err)
		}
		src.Files = append(src.Files, file)
	}
	return src, nil
}

func readSmall(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: %s: more than %d bytes", document.ErrUsage, file, limit)
	}
	return data, err
}

// ParseDsc makes the stanza of a Sources index from a .dsc, as dpkg-scansources
// does: Package in place of Source, Directory, and the .dsc among its own files.
// Of the lists of files only the strong one stays.
func ParseDsc(name string, data []byte) (OwnSource, error) {
	control, err := onlyStanza(data)
	if err != nil {
		return OwnSource{}, err
	}
	src := OwnSource{name: control.Get("Source"), version: control.Get("Version")}
	if err := archive.ValidPath("pool/main/" + src.name); err != nil || src.name == "" || strings.ContainsAny(src.name, "/ \n") {
		return src, fmt.Errorf("source %q is no name", src.name)
	}
	if err := deb.ValidVersion(src.version); err != nil {
		return src, err
	}
	if control.Get("Checksums-Sha256") == "" {
		return src, errors.New("no Checksums-Sha256")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\n", src.name)
	for field, value := range control.Fields() {
		switch strings.ToLower(field) {
		case "source", "files", "checksums-sha1", "checksums-sha256", "checksums-sha512", "directory", "package":
		case "package-list":
			fmt.Fprintf(&b, "%s:\n %s\n", field, value)
		default:
			fmt.Fprintf(&b, "%s: %s\n", field, value)
		}
	}
	fmt.Fprintf(&b, "Directory: pool/main/%s\n", src.name)
	fmt.Fprintf(&b, "Checksums-Sha256:\n %x %d %s\n %s\n", sha256.Sum256(data), len(data), name, control.Get("Checksums-Sha256"))
	src.Stanza = deb.Stanza(b.String())
	src.Rows, err = snapshot.SourceRows(src.Stanza)
	return src, err
}

// sameFile holds a file on disk against what a .dsc says of it.
func sameFile(file string, want snapshot.Blob) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	r := snapshot.NewReader(f, want)
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("%s is not the file that it names: %v", file, err)
	}
	return nil
}
