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

// readDebs reads a directory of own .debs, recursively, in order of path. The
// site vouches for them; their stanzas are made from their control files.
func readDebs(ctx context.Context, cfg *config.Archive) (*frozenArchive, error) {
	fa := &frozenArchive{Archive: cfg}
	seen := map[string]siteFile{}
	err := filepath.WalkDir(cfg.Debs, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".deb") {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		sf, err := readDeb(p)
		if err != nil {
			return err
		}
		key := sf.Name + "_" + sf.Version + "_" + sf.Architecture
		if was, ok := seen[key]; ok {
			if was.digest == sf.digest {
				return nil
			}
			return fmt.Errorf("%w: %s %s %s stands twice with other bytes: %s is %s, %s is %s", config.ErrUsage,
				sf.Name, sf.Version, sf.Architecture, was.file, was.digest, sf.file, sf.digest)
		}
		seen[key] = sf
		fa.site = append(fa.site, sf)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("archive %s: debs: %w", cfg.Prefix, err)
	}
	if len(fa.site) == 0 {
		return nil, fmt.Errorf("%w: archive %s: no .deb under %s", config.ErrUsage, cfg.Prefix, cfg.Debs)
	}
	slices.SortFunc(fa.site, func(a, b siteFile) int { return archive.Less(a.PackageFile, b.PackageFile) })
	return fa, nil
}

func readDeb(p string) (siteFile, error) {
	f, err := os.Open(p)
	if err != nil {
		return siteFile{}, err
	}
	defer f.Close()
	control, err := deb.Control(f)
	if err != nil {
		return siteFile{}, fmt.Errorf("%w: %s: %w", config.ErrUsage, p, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return siteFile{}, err
	}
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return siteFile{}, fmt.Errorf("%s: %w", p, err)
	}
	sf := siteFile{file: p, digest: snapshot.Digest(h.Sum(nil))}
	source, _, _ := strings.Cut(control.Get("Source"), " ")
	if source == "" {
		source = control.Get("Package")
	}
	// The name is made, not taken from disk: it must not depend on how a file was called.
	name := debName(control.Get("Package"), control.Get("Version"), control.Get("Architecture"))
	sf.stanza, err = archive.SiteStanza(control, "pool/main/"+source+"/"+name, size, sf.digest.Hex())
	if err == nil {
		sf.PackageFile, err = archive.ParsePackageFile(sf.stanza)
	}
	if err != nil {
		return siteFile{}, fmt.Errorf("%w: %s: %w", config.ErrUsage, p, err)
	}
	return sf, nil
}

// debName is the file name of a package as apt-get download writes it: the
// epoch's colon escaped, so that names are unique over versions.
func debName(name, version, arch string) string {
	return name + "_" + strings.ReplaceAll(version, ":", "%3a") + "_" + arch + ".deb"
}

// open opens the file again and refuses it if it is another one by now.
func (sf siteFile) open(context.Context) (io.ReadCloser, error) {
	f, err := os.Open(sf.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s went away while it was pushed: %w", sf.file, err)
	}
	return f, err
}
