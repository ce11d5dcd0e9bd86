package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// dir is a directory that holds an archive. Nothing outside of it is read:
// links that stay inside are followed, others refused, as is all that is no plain file.
type dir struct {
	name string
	root *os.Root
	only string // its only file, of NewFiles; "": it has many
}

func newDir(name string) (*dir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, cause(err))
	}
	return &dir{name: name, root: root}, nil
}

func (d *dir) String() string { return d.name }

func (d *dir) begin(ctx context.Context, path string, from resume) (*answer, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if d.only != "" {
		path = d.only
	}
	// Without O_NONBLOCK opening a pipe would wait for its writer.
	f, err := d.root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, ErrNotFound
	case err != nil && strings.Contains(cause(err).Error(), "escapes"):
		return nil, errors.New("a link leads out of the directory, so it is not followed; give the files by a web server, or put them there")
	case err != nil:
		return nil, cause(err)
	}
	fi, err := f.Stat()
	if err == nil && fi.IsDir() {
		err = ErrNotFound
	} else if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("not a plain file")
	}
	if err == nil && from.offset > 0 {
		_, err = f.Seek(from.offset, 0)
	}
	if err != nil {
		f.Close()
		return nil, cause(err)
	}
	return &answer{body: &file{ctx, f}, start: from.offset, size: fi.Size(), framed: true}, nil
}

// file is a file that ends when its context does.
type file struct {
	ctx context.Context
	*os.File
}

func (f *file) Read(p []byte) (int, error) {
	if err := context.Cause(f.ctx); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

// cause is an error without the operation and path around it.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
