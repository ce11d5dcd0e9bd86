package debdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// listing is a .changes or .buildinfo: what it says of files beside it.
type listing struct {
	file  string
	names []string
	blobs map[string]snapshot.Blob
}

// hold holds the files of a directory against what its .changes and .buildinfos say of them. A .changes is what was
// uploaded, so all of its files must be there; of a .buildinfo, those that are there must be those that were built.
func (d *Dir) hold(listings []string) error {
	for _, file := range listings {
		l, err := readListing(file)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", document.ErrUsage, file, err)
		}
		for _, name := range l.names {
			err := d.holdFile(filepath.Join(filepath.Dir(file), name), l.blobs[name])
			if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(file, ".buildinfo") {
				continue
			}
			if err != nil {
				return fmt.Errorf("%w: %s: %w", document.ErrUsage, file, err)
			}
		}
	}
	return nil
}

// holdFile compares one file. Packages were hashed when they were read.
func (d *Dir) holdFile(file string, want snapshot.Blob) error {
	if is, ok := d.sums[file]; ok {
		if is != want.Digest {
			return fmt.Errorf("%s is not the file that it names: it is %s, should be %s", file, is, want.Digest)
		}
		return nil
	}
	return sameFile(file, want)
}

// readListing reads a .changes (deb-changes(5)) or .buildinfo (deb-buildinfo(5)), clear-signed or not: the site's
// signature over the snapshot is what vouches for the packages.
func readListing(file string) (*listing, error) {
	data, err := readSmall(file, MaxDsc)
	if err != nil {
		return nil, err
	}
	l, err := parseListing(data)
	if err == nil {
		l.file = file
	}
	return l, err
}

func parseListing(data []byte) (*listing, error) {
	control, err := onlyStanza(data)
	if err != nil {
		return nil, err
	}
	sums := control.Get("Checksums-Sha256")
	if sums == "" {
		return nil, errors.New("no Checksums-Sha256")
	}
	l := &listing{blobs: map[string]snapshot.Blob{}}
	for line := range strings.Lines(sums) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("Checksums-Sha256: %.200q, should be a digest, a size and a name", strings.TrimSpace(line))
		}
		digest, err := snapshot.ParseDigest("sha256:" + f[0])
		if err != nil {
			return nil, fmt.Errorf("Checksums-Sha256: %w", err)
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("Checksums-Sha256: %.40q is no size", f[1])
		}
		name := f[2]
		if snapshot.ValidPath(name) != nil || strings.Contains(name, "/") {
			return nil, fmt.Errorf("Checksums-Sha256: %.200q is no name of a file beside it", name)
		}
		if _, ok := l.blobs[name]; ok {
			return nil, fmt.Errorf("Checksums-Sha256: %s stands twice", name)
		}
		l.names, l.blobs[name] = append(l.names, name), snapshot.Blob{Digest: digest, Size: size}
	}
	return l, nil
}

// onlyStanza is the stanza of a control file of one, clear-signed or not.
func onlyStanza(data []byte) (deb.Stanza, error) {
	text, err := pgp.Unsigned(data)
	if err != nil {
		return nil, err
	}
	var control deb.Stanza
	for st, err := range deb.Stanzas(text) {
		switch {
		case err != nil:
			return nil, err
		case control != nil:
			return nil, errors.New("more than one stanza")
		}
		control = st
	}
	return control, nil
}
