package freeze

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// index reads one index in the most preferred compression that upstream has.
// nil without error: listed as empty, or (arch "all") not there at all.
func (r *reader) index(ctx context.Context, fa *upstreamArchive, fs *upstreamSuite, w wantedIndex) (*upstreamIndex, error) {
	files := fs.release.Compressions(w.path)
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: index %s is not listed in the Release", outcome.ErrNotFound, w.path)
	}
	for _, f := range files {
		if f.Size == 0 {
			return nil, nil
		}
		stored, err := fetchListed(ctx, fa, fs, f)
		if errors.Is(err, upstream.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		data, err := fs.release.Unpack(f, stored, archive.MaxIndex)
		if err != nil {
			return nil, fmt.Errorf("%w: index %s: %w", outcome.ErrIntegrity, f.Path, err)
		}
		if err := checkSHA256(path.Join(fs.dir, f.Path), data); err != nil {
			return nil, err
		}
		return &upstreamIndex{component: w.component, arch: w.arch, path: f.Path, stored: stored, digest: snapshot.Sum(stored), data: data}, nil
	}
	if fs.held != nil {
		return r.heldIndex(fa, fs, w), nil
	}
	return nil, fmt.Errorf("%w: index %s is listed, but upstream has it in none of the compressions xz, gz, plain: %w", errMoved, w.path, upstream.ErrNotFound)
}

// checkSHA256 refuses a Packages index with a stanza that has SHA512 alone. An
// index that does not say "512:" anywhere, as Debian's, is not scanned.
func checkSHA256(name string, index []byte) error {
	if !bytes.Contains(index, []byte("512:")) {
		return nil
	}
	sc := deb.NewScanner(index)
	for {
		st, err := sc.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			_, err = archive.ParsePackageFile(st)
		}
		if errors.Is(err, archive.ErrSHA512Alone) {
			return fmt.Errorf("%w: %s:%d: package %s %s has SHA512 alone; every stanza needs a SHA256, by which its file is found",
				outcome.ErrUsage, name, sc.Line(), st.Get("Package"), st.Get("Version"))
		}
	}
}

// fetchListed reads a listed file whole and verifies it by size and strongest digest.
func fetchListed(ctx context.Context, fa *upstreamArchive, fs *upstreamSuite, f archive.ReleaseFile) ([]byte, error) {
	name := path.Join(fs.dir, f.Path)
	verify := func(data []byte) error {
		if err := f.Matches(data); err != nil {
			return fmt.Errorf("%w: %s %w: %w", outcome.ErrIntegrity, name, errMoved, err)
		}
		return nil
	}
	if fs.held != nil {
		return readHeld(ctx, fa, fs, f, verify)
	}
	algorithm, hash := byHash(fs, f)
	data, err := fa.up.GetIndex(ctx, name, algorithm, hash, f.Size, verify)
	if err != nil {
		return nil, mismatch(fs, f, err)
	}
	return data, nil
}

// readHeld reads a listed file from the snapshot that holds it.
func readHeld(ctx context.Context, fa *upstreamArchive, fs *upstreamSuite, f archive.ReleaseFile, verify func([]byte) error) ([]byte, error) {
	rc, err := openHeld(ctx, fs, fa.Prefix, f)
	if err != nil {
		return nil, mismatch(fs, f, err)
	}
	defer rc.Close()
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, io.LimitReader(rc, f.Size+1)); err != nil {
		return nil, mismatch(fs, f, err)
	}
	return buf.Bytes(), verify(buf.Bytes())
}

// byHash tells by which digest a listed file is asked for; "" by none.
func byHash(fs *upstreamSuite, f archive.ReleaseFile) (algorithm, hash string) {
	switch {
	case !fs.release.AcquireByHash:
		return "", ""
	case f.SHA512 != "":
		return "SHA512", f.SHA512
	}
	return "SHA256", f.SHA256
}

// mismatch marks a file that upstream has otherwise than its Release lists it:
// a failure of integrity, unless the Release has changed meanwhile.
func mismatch(fs *upstreamSuite, f archive.ReleaseFile, err error) error {
	name := path.Join(fs.dir, f.Path)
	if errors.Is(err, upstream.ErrChanged) {
		return fmt.Errorf("%w: %s %w: %w", outcome.ErrIntegrity, name, errMoved, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

func openListed(ctx context.Context, fa *upstreamArchive, fs *upstreamSuite, f archive.ReleaseFile) (io.ReadCloser, error) {
	name := path.Join(fs.dir, f.Path)
	switch {
	case fs.held != nil:
		return openHeld(ctx, fs, fa.Prefix, f)
	case fs.release.AcquireByHash:
		algorithm, hash := byHash(fs, f)
		return fa.up.OpenIndex(ctx, name, algorithm, hash, f.Size)
	}
	return fa.up.Open(ctx, name, f.Size)
}
