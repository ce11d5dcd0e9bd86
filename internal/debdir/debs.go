package debdir

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// OwnPackage is an own .deb.
type OwnPackage struct {
	archive.PackageFile
	File   string // on disk
	Stanza deb.Stanza
	digest snapshot.Digest
}

// Dir is what a directory of own packages holds.
type Dir struct {
	Packages []OwnPackage               // in order of archive.Less
	Sources  []OwnSource                // in order of name and version
	names    siteNames                  // of both, while they are read
	files    map[string]string          // SHA256 of a package to its file
	sums     map[string]snapshot.Digest // of the files that were read, by where they are
}

// File is where a package is on disk, by the SHA256 of its stanza.
func (d *Dir) File(sha256 string) string { return d.files[sha256] }

// ReadDir reads a directory of own .debs and .dscs, recursively, in order of
// path. The site vouches for them; their stanzas are made from their control files. What .changes and .buildinfos beside
// them say of files must hold.
// What is wrong with a file is config.ErrUsage.
func ReadDir(ctx context.Context, dir string) (*Dir, error) {
	own := &Dir{files: map[string]string{}, sums: map[string]snapshot.Digest{}}
	var listings []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case err != nil || d.IsDir():
			return err
		case d.Type()&(fs.ModeNamedPipe|fs.ModeSocket|fs.ModeDevice) != 0: // reading one would wait for a writer
			if strings.HasSuffix(p, ".deb") || strings.HasSuffix(p, ".dsc") {
				return fmt.Errorf("%w: %s: no file; remove it", document.ErrUsage, p)
			}
			return nil
		case strings.HasSuffix(p, ".deb"):
			return own.addDeb(p)
		case strings.HasSuffix(p, ".dsc"):
			return own.addDsc(p)
		case strings.HasSuffix(p, ".changes"), strings.HasSuffix(p, ".buildinfo"):
			listings = append(listings, p)
		}
		return nil
	})
	if err == nil {
		err = own.hold(listings)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", document.ErrUsage, err)
	}
	if err != nil {
		return nil, fmt.Errorf("debs: %w", err)
	}
	if len(own.Packages) == 0 && len(own.Sources) == 0 {
		return nil, fmt.Errorf("%w: no .deb under %s", document.ErrUsage, dir)
	}
	slices.SortFunc(own.Packages, func(a, b OwnPackage) int { return archive.Less(a.PackageFile, b.PackageFile) })
	slices.SortFunc(own.Sources, compareSources)
	return own, nil
}

// addDeb adds one .deb. The same file twice is one; the same version with
// other bytes is refused, for nobody could say which of them a host has.
func (d *Dir) addDeb(p string) error {
	sf, err := readDeb(p)
	if err != nil {
		return err
	}
	d.sums[p] = sf.digest
	for _, i := range d.names.of(sf.Name + " " + sf.Architecture) {
		was := d.Packages[i]
		if deb.Compare(was.Version, sf.Version) != 0 {
			continue
		}
		if was.digest == sf.digest {
			return nil
		}
		return fmt.Errorf("%w: %s %s %s stands twice with other bytes: %s is %s, %s is %s", document.ErrUsage,
			sf.Name, sf.Version, sf.Architecture, was.File, was.digest, sf.File, sf.digest)
	}
	d.names.add(sf.Name+" "+sf.Architecture, len(d.Packages))
	d.files[sf.SHA256] = sf.File
	d.Packages = append(d.Packages, sf)
	return nil
}

// siteNames finds what was read already of a `debs:` archive: a site may have
// tens of thousands of its own. The zero value is empty.
type siteNames struct {
	named  map[string][]int // "NAME ARCHITECTURE" of .debs and "NAME" of sources, to where they stand as they are read
	looked int              // how many were looked at to tell whether another is there, for tests
}

func (n *siteNames) of(name string) []int {
	n.looked += len(n.named[name])
	return n.named[name]
}

func (n *siteNames) add(name string, i int) {
	if n.named == nil {
		n.named = map[string][]int{}
	}
	n.named[name] = append(n.named[name], i)
}

func readDeb(p string) (OwnPackage, error) {
	f, err := os.Open(p)
	if err != nil {
		return OwnPackage{}, err
	}
	defer f.Close()
	h := sha256.New()
	d, err := deb.ReadDeb(io.TeeReader(f, h))
	if errors.Is(err, deb.ErrMalformed) {
		return OwnPackage{}, fmt.Errorf("%w: %s: %w", document.ErrUsage, p, err)
	}
	if err != nil {
		return OwnPackage{}, fmt.Errorf("%s: %w", p, err)
	}
	sf := OwnPackage{File: p, digest: snapshot.Digest(h.Sum(nil))}
	sf.Stanza, err = SiteStanza(d, sf.digest)
	if err == nil {
		sf.PackageFile, err = archive.ParsePackageFile(sf.Stanza)
	}
	if err != nil {
		return OwnPackage{}, fmt.Errorf("%w: %s: %w", document.ErrUsage, p, err)
	}
	return sf, nil
}

// SiteComponent is the only component of an archive of own .debs.
const SiteComponent = "main"

// SiteStanza makes the stanza of an own .deb. The name in the pool is made, not taken from
// disk: it must not depend on how a file was called. The epoch's colon stays: debootstrap
// asks for a Filename as it stands, and %3a in a URL is a colon.
func SiteStanza(d *deb.Deb, digest snapshot.Digest) (deb.Stanza, error) {
	source, _ := d.Control.Source()
	name := d.Control.Get("Package") + "_" + d.Control.Get("Version") + "_" + d.Control.Get("Architecture") + ".deb"
	return archive.SiteStanza(d.Control, "pool/"+SiteComponent+"/"+source+"/"+name, d.Size, digest.Hex())
}
