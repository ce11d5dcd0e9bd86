package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"

	"example.org/mmoci/internal/transfer"
)

// NewFiles makes an upstream of one file for each of files: its whole addresses, which may end differently and have a
// query. Whatever path is opened of it, it is the file; the path is its name in messages. All share connections and
// credentials. o.URLs does not count.
func NewFiles(o Options, files [][]string) ([]*Upstream, error) {
	var out []*Upstream
	for _, addresses := range files {
		u, err := newFile(&o, addresses)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// newFile makes one of them; the first that has a server makes the client of all.
func newFile(o *Options, addresses []string) (*Upstream, error) {
	var files []*url.URL
	o.URLs = nil
	for _, s := range addresses {
		v, err := url.Parse(s)
		if err != nil || strings.HasSuffix(v.Path, "/") || path.Base(v.Path) == "." {
			return nil, fmt.Errorf("upstream %s: not the address of a file", transfer.Redact(s))
		}
		files = append(files, v)
		dir := *v
		dir.Path, dir.RawPath, dir.RawQuery, dir.Fragment = path.Dir(v.Path), "", "", ""
		o.URLs = append(o.URLs, dir.String())
	}
	u, err := New(*o)
	if err != nil {
		return nil, err
	}
	for i, v := range files {
		switch p := u.places[i].(type) {
		case *site:
			v.User, v.Fragment = nil, ""
			p.whole, o.client = v, p.c
		case *dir:
			p.only = path.Base(v.Path)
		}
	}
	return u, nil
}

// OpenFrom is Open from an offset on. The size must be known: it tells another file from the rest of this one.
func (u *Upstream) OpenFrom(ctx context.Context, path string, size, offset int64) (io.ReadCloser, error) {
	if size < 0 || offset < 0 || offset > size {
		return nil, fmt.Errorf("path %s: offset %d of %d bytes", path, offset, size)
	}
	return u.open(ctx, path, size, func(i int, rest []int) (io.ReadCloser, error) { return u.openAt(ctx, i, rest, path, size, offset) })
}

// Info is what a server says of a file without sending it.
type Info struct {
	Size      int64  // -1: it does not say
	Validator string // tells another content of the same file, with the place; "": nothing does
}

// Stat asks for what is known of a file before it is read. The places are asked in their order, as Open asks them.
func (u *Upstream) Stat(ctx context.Context, path string) (info Info, err error) {
	name, err := clean(path)
	if err != nil {
		return info, err
	}
	_, err = u.open(ctx, name, -1, func(i int, rest []int) (io.ReadCloser, error) {
		a, err := u.statAt(ctx, i, rest, name)
		if err != nil {
			return nil, err
		}
		info = Info{Size: a.size}
		if a.etag+a.modified != "" {
			info.Validator = u.describe(i, name) + " " + a.etag + " " + a.modified
		}
		return io.NopCloser(strings.NewReader("")), nil
	})
	return info, err
}

// statAt asks one place, with retries. A server that answers HEAD with an error, or says no size, is asked for the content, of which nothing is read.
func (u *Upstream) statAt(ctx context.Context, i int, rest []int, name string) (*answer, error) {
	attempts := u.attempts(rest)
	s, _ := u.places[i].(*site)
	from := resume{patience: u.patience(rest), size: true}
	for {
		a, err := u.places[i].begin(ctx, name, from)
		if err == nil {
			a.body.Close()
			if a.size >= 0 || !from.size {
				return a, nil
			}
			from.size = false
			continue
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var passing *transfer.Failure
		switch {
		case errors.As(err, &passing):
			if attempts.Refused = 0; s != nil && !s.answered.Load() {
				attempts.Refused = maxRefused
			}
			pause, err := attempts.Failed(passing)
			if err != nil {
				return nil, fmt.Errorf("%s: %w%s", u.describe(i, name), err, u.remedy(err))
			}
			if err := u.sleep(ctx, pause); err != nil {
				return nil, fmt.Errorf("%s: %w", u.describe(i, name), err)
			}
		case from.size:
			from.size = false
		default:
			return nil, fmt.Errorf("%s: %w", u.describe(i, name), err)
		}
	}
}
