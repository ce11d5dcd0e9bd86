package mirror

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

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// siteFile is an own .deb of a `debs:` archive.
type siteFile struct {
	archive.PackageFile
	file   string // on disk
	stanza deb.Stanza
	digest snapshot.Digest
}

// readDebs reads a directory of own .debs and .dscs, recursively, in order of
// path. The site vouches for them; their stanzas are made from their control files.
func readDebs(ctx context.Context, cfg *config.Archive) (*frozenArchive, error) {
	fa := &frozenArchive{Archive: cfg}
	err := filepath.WalkDir(cfg.Debs, func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case err != nil || d.IsDir():
			return err
		case strings.HasSuffix(p, ".deb"):
			return fa.addDeb(p)
		case strings.HasSuffix(p, ".dsc"):
			return fa.addDsc(p)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", config.ErrUsage, err)
	}
	if err != nil {
		return nil, fmt.Errorf("archive %s: debs: %w", cfg.Prefix, err)
	}
	if len(fa.site) == 0 && len(fa.siteSources) == 0 {
		return nil, fmt.Errorf("%w: archive %s: no .deb under %s", config.ErrUsage, cfg.Prefix, cfg.Debs)
	}
	slices.SortFunc(fa.site, func(a, b siteFile) int { return archive.Less(a.PackageFile, b.PackageFile) })
	slices.SortFunc(fa.siteSources, compareSources)
	return fa, nil
}

// addDeb adds one .deb. The same file twice is one; the same version with
// other bytes is refused, for nobody could say which of them a host has.
func (fa *frozenArchive) addDeb(p string) error {
	sf, err := readDeb(p)
	if err != nil {
		return err
	}
	for _, i := range fa.siteNames.of(sf.Name + " " + sf.Architecture) {
		was := fa.site[i]
		if deb.Compare(was.Version, sf.Version) != 0 {
			continue
		}
		if was.digest == sf.digest {
			return nil
		}
		return fmt.Errorf("%w: %s %s %s stands twice with other bytes: %s is %s, %s is %s", config.ErrUsage,
			sf.Name, sf.Version, sf.Architecture, was.file, was.digest, sf.file, sf.digest)
	}
	fa.siteNames.add(sf.Name+" "+sf.Architecture, len(fa.site))
	fa.siteNames.addFile(sf)
	fa.site = append(fa.site, sf)
	return nil
}

// siteNames finds what was read already of a `debs:` archive: a site may have
// tens of thousands of its own. The zero value is empty.
type siteNames struct {
	named  map[string][]int  // "NAME ARCHITECTURE" of .debs and "NAME" of sources, to where they stand as they are read
	files  map[string]string // SHA256 to the file on disk
	looked int               // how many were looked at to tell whether another is there, for tests
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

func (n *siteNames) addFile(sf siteFile) {
	if n.files == nil {
		n.files = map[string]string{}
	}
	n.files[sf.SHA256] = sf.file
}

func readDeb(p string) (siteFile, error) {
	f, err := os.Open(p)
	if err != nil {
		return siteFile{}, err
	}
	defer f.Close()
	h := sha256.New()
	d, err := deb.ReadDeb(io.TeeReader(f, h))
	if errors.Is(err, deb.ErrMalformed) {
		return siteFile{}, fmt.Errorf("%w: %s: %w", config.ErrUsage, p, err)
	}
	if err != nil {
		return siteFile{}, fmt.Errorf("%s: %w", p, err)
	}
	sf := siteFile{file: p, digest: snapshot.Digest(h.Sum(nil))}
	sf.stanza, err = siteStanza(d, sf.digest)
	if err == nil {
		sf.PackageFile, err = archive.ParsePackageFile(sf.stanza)
	}
	if err != nil {
		return siteFile{}, fmt.Errorf("%w: %s: %w", config.ErrUsage, p, err)
	}
	return sf, nil
}

// siteComponent is the only component of an archive of own .debs.
const siteComponent = "main"

// siteStanza makes the stanza of an own .deb. The name in the pool is made, not taken from
// disk: it must not depend on how a file was called. The epoch's colon stays: debootstrap
// asks for a Filename as it stands, and %3a in a URL is a colon.
func siteStanza(d *deb.Deb, digest snapshot.Digest) (deb.Stanza, error) {
	source, _ := d.Control.Source()
	name := d.Control.Get("Package") + "_" + d.Control.Get("Version") + "_" + d.Control.Get("Architecture") + ".deb"
	return archive.SiteStanza(d.Control, "pool/"+siteComponent+"/"+source+"/"+name, d.Size, digest.Hex())
}

// debName is the file name of a package as apt-get download writes it: the
// epoch's colon escaped, so that names are unique over versions.
func debName(name, version, arch string) string {
	return name + "_" + strings.ReplaceAll(version, ":", "%3a") + "_" + arch + ".deb"
}

// openLocal opens a file on disk when it is pushed. If it is another by then,
// its digest tells.
func openLocal(file string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s went away while it was pushed: %w", file, err)
		}
		return f, err
	}
}
