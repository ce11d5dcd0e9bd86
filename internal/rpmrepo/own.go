package rpmrepo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/rpmplan"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rpmrows"
	"example.org/mmoci/internal/spool"
	"example.org/mmoci/pkg/rpm"
	"example.org/mmoci/pkg/snapshot"
)

// program makes the metadata of own RPMs.
const program = "createrepo_c"

var errNoProgram = errors.New(program + " makes the metadata, and is not installed; install it, or make the repository elsewhere and give its directory as url")

// groups is the name of a file of package groups in the directory of own RPMs.
const groups = "comps.xml"

// fileTime is the time that createrepo_c finds on every file. It writes that into the metadata, which must not depend on when
// somebody copied a directory.
var fileTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// own makes a repository of a directory of RPMs. createrepo_c reads copies of them in a directory of its own, so that it sees
// the very bytes that were hashed, under a time that says nothing.
func (o Options) own(ctx context.Context, cfg *rpmplan.Archive) (*freeze.ReadyArchive, error) {
	stage, err := os.MkdirTemp("", "mmoci-rpms-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(stage)
	dir := cfg.RPMs
	staged, err := copyRPMs(ctx, dir, stage)
	if err != nil {
		return nil, fmt.Errorf("rpms: %s: %w", dir, err)
	}
	if err := createrepo(ctx, stage); err != nil {
		return nil, fmt.Errorf("rpms: %s: %w", dir, err)
	}
	repomd, err := os.ReadFile(filepath.Join(stage, rpm.Repomd))
	if err != nil {
		return nil, err
	}
	index, err := rpm.ReadRepomd(bytes.NewReader(repomd))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	prefix := cfg.Prefix + "/"
	c, err := rpmrows.Read(ctx, prefix, index, stagedFiles(stage), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	if err := checkOwn(c, prefix, dir, staged); err != nil {
		return nil, err
	}
	out := &freeze.ReadyArchive{
		Archive: snapshot.Archive{
			Prefix: cfg.Prefix, Mode: snapshot.Curated, Class: snapshot.Site, Format: snapshot.FormatRPM, Suites: []snapshot.Suite{{Name: rpmrows.Suite}},
		},
		Rows:   c.Rows,
		Signed: []freeze.SiteText{{Suite: rpmrows.Suite, Text: repomd}},
		Locked: config.LockArchive{Prefix: cfg.Prefix, Mode: string(snapshot.Curated), Class: string(snapshot.Site), Format: snapshot.FormatRPM},
	}
	open := make(blobs, len(c.Rows))
	for _, row := range c.Rows {
		at := row.Path[len(prefix):]
		out.Locked.Files = append(out.Locked.Files, config.LockFile{Path: at, Digest: row.Digest.String(), Size: row.Size})
		if was, ok := staged[at]; ok {
			file := filepath.Join(dir, filepath.FromSlash(at))
			open[row.Digest] = func(context.Context) (io.ReadCloser, error) { return was.open(file) }
			continue
		}
		kept, err := keep(filepath.Join(stage, filepath.FromSlash(at))) // the directory goes away before the push
		if err != nil {
			return nil, err
		}
		open[row.Digest] = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(kept.Open()), nil }
	}
	out.Blobs = open
	return out, nil
}

// keep reads a file into a place that goes with the process.
func keep(file string) (*spool.Bytes, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var w spool.Writer
	if _, err := io.Copy(&w, in); err != nil {
		return nil, err
	}
	return w.Done(), nil
}

// copyRPMs copies the files of eachOwn and returns the digest of each RPM by its path.
func copyRPMs(ctx context.Context, dir, to string) (map[string]own, error) {
	staged := map[string]own{}
	err := eachOwn(ctx, dir, func(at, file string) error {
		d, err := copyFile(file, filepath.Join(to, filepath.FromSlash(at)))
		if at != groups {
			staged[at] = d
		}
		return err
	})
	return staged, err
}

// eachOwn calls visit with each .rpm file below dir, and its groups: the path below dir, and the file. Links are followed where
// they lead to files; what begins with a dot is left alone. One RPM must be there.
func eachOwn(ctx context.Context, dir string, visit func(at, file string) error) error {
	top, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", outcome.ErrUsage, err)
	}
	if err != nil {
		return err
	}
	none := true
	err = filepath.WalkDir(top, func(file string, e fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		at, err := filepath.Rel(top, file)
		if err != nil || at == "." {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") || e.IsDir() && at == strings.TrimSuffix(rpm.Repodata, "/") {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		at = filepath.ToSlash(at)
		isRPM := strings.HasSuffix(at, ".rpm")
		if e.IsDir() || !isRPM && at != groups {
			return nil
		}
		if err := validOwn(at); err != nil {
			return err
		}
		if fi, err := os.Stat(file); err == nil && !fi.Mode().IsRegular() { // reading a pipe would wait for a writer
			return fmt.Errorf("%w: %s is no file; remove it", outcome.ErrUsage, file)
		}
		none = none && !isRPM
		return visit(at, file)
	})
	if err == nil && none {
		err = fmt.Errorf("%w: no .rpm is in it", outcome.ErrUsage)
	}
	return err
}

// validOwn refuses names that clients would read in two ways.
func validOwn(at string) error {
	if p, err := rpm.Location(at); err != nil || p != at || strings.ContainsAny(at, " %") {
		return fmt.Errorf("%w: %q: a name with blanks, %%, ?, # or the like has two spellings in a URL; rename the file", outcome.ErrUsage, at)
	}
	return nil
}

// own is an own RPM as it was when its metadata was made.
type own struct {
	digest snapshot.Digest
	stat   fs.FileInfo
}

// open opens the file for the push. That it is another by now is no lie of anybody's, so it is told before its digest is.
func (o own) open(file string) (io.ReadCloser, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s went away while it was pushed; push again", file)
	}
	if err != nil {
		return nil, err
	}
	r := &ownReader{f, o}
	if err := r.changed(); err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

// ownReader reads an own RPM, and says at its end if somebody wrote it meanwhile.
type ownReader struct {
	file *os.File
	was  own
}

func (r *ownReader) Read(p []byte) (int, error) {
	n, err := r.file.Read(p)
	if err == io.EOF {
		if err := r.changed(); err != nil {
			return n, err
		}
	}
	return n, err
}

func (r *ownReader) Close() error { return r.file.Close() }

func (r *ownReader) changed() error {
	now, err := r.file.Stat()
	if err != nil {
		return err
	}
	if was := r.was.stat; now.Size() != was.Size() || !now.ModTime().Equal(was.ModTime()) {
		return fmt.Errorf("%s changed while it was pushed: %d bytes of %s, now %d bytes of %s; push again when nobody writes to the directory",
			r.file.Name(), was.Size(), was.ModTime().UTC().Format(time.RFC3339Nano), now.Size(), now.ModTime().UTC().Format(time.RFC3339Nano))
	}
	return nil
}

func copyFile(from, to string) (o own, err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return o, err
	}
	in, err := os.Open(from)
	if err != nil {
		return o, err
	}
	defer in.Close()
	if o.stat, err = in.Stat(); err != nil {
		return o, err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return o, err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), &ownReader{in, o})
	if err = errors.Join(err, out.Close()); err != nil {
		return o, err
	}
	o.digest = snapshot.Digest(h.Sum(nil))
	return o, os.Chtimes(to, fileTime, fileTime)
}

// createrepo makes the metadata in a directory of RPMs: with gzip, which every version writes and reads, and without databases,
// which no dnf reads any more.
func createrepo(ctx context.Context, dir string) error {
	args := []string{
		"--quiet", "--no-database", "--checksum", "sha256", "--general-compress-type", "gz", "--workers", "2",
		"--revision", fmt.Sprint(fileTime.Unix()), "--set-timestamp-to-revision",
	}
	if _, err := os.Stat(filepath.Join(dir, groups)); err == nil {
		args = append(args, "--groupfile", groups)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append(args, dir)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return errNoProgram
	case err != nil:
		text := strings.TrimSpace(said.String())
		return fmt.Errorf("%s: %w: %s", program, err, text[max(0, len(text)-2000):])
	}
	return nil
}

// checkOwn holds what createrepo_c made against what is in the directory: every file must be in it, as it was, and one version once.
func checkOwn(c *rpmrows.Content, prefix, dir string, staged map[string]own) error {
	listed := map[string]bool{}
	first := map[snapshot.Package]snapshot.Row{}
	for _, row := range c.Rows {
		if !row.IsPackage() {
			continue
		}
		at := row.Path[len(prefix):]
		if d, ok := staged[at]; !ok || d.digest != row.Digest {
			return fmt.Errorf("%w: %s lists %s as %s, which it is not", outcome.ErrIntegrity, program, at, row.Digest)
		}
		listed[at] = true
		if other, twice := first[row.Package]; twice && other.Digest != row.Digest {
			return fmt.Errorf("%w: rpms: %s: %s %s %s is there twice, with other bytes: %s is %s, %s is %s; build the second under another release",
				outcome.ErrUsage, dir, row.Name, row.Version, row.Architecture, other.Path[len(prefix):], other.Digest, at, row.Digest)
		}
		first[row.Package] = row
	}
	var unread []string
	for at := range staged {
		if !listed[at] {
			unread = append(unread, filepath.Join(dir, filepath.FromSlash(at)))
		}
	}
	if len(unread) > 0 {
		slices.Sort(unread)
		return fmt.Errorf("%w: %s reads no package in %s", outcome.ErrUsage, program, strings.Join(unread, ", "))
	}
	return nil
}

// stagedFiles are files below a directory of this program's own.
type stagedFiles string

// Open makes stagedFiles an [rpmrows.Files].
func (d stagedFiles) Open(_ context.Context, p string, _ int64) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(d), filepath.FromSlash(p)))
}

// Primary makes stagedFiles an [rpmrows.Files].
func (d stagedFiles) Primary(ctx context.Context, f rpm.Data, parse func(io.Reader) error) (snapshot.Blob, error) {
	b, err := rpmrows.Hash(ctx, d, f.Path, f.Checksum, f.Size)
	if err != nil {
		return b, err
	}
	in, err := d.Open(ctx, f.Path, f.Size)
	if err != nil {
		return b, err
	}
	defer in.Close()
	return b, parse(in)
}
