package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strings"

	"example.org/mmoci/internal/transfer"
)

// Open starts reading a path (relative, slash-separated, unescaped). A broken
// transfer is resumed by Range where the server can, transparently; size is the expected
// size or -1. The reader ends in an error when the transfer could not be completed or is stalled.
//
// The URLs are tried in order: the next one when one does not have the path, has it in another size, or
// cannot be reached after all retries. The error is [ErrNotFound] only if each of them said so.
//
// The reader has a method Distrust, for whoever finds that the bytes are not those that were signed.
func (u *Upstream) Open(ctx context.Context, path string, size int64) (io.ReadCloser, error) {
	return u.open(ctx, path, size, func(i int, rest []int) (io.ReadCloser, error) { return u.openAt(ctx, i, rest, path, size, 0) })
}

// open tries the places in order; at is told which of them are left.
func (u *Upstream) open(ctx context.Context, name string, size int64, at func(i int, rest []int) (io.ReadCloser, error)) (io.ReadCloser, error) {
	var errs []error
	order := u.order(path.Clean(name))
	for n, i := range order {
		r, err := at(i, order[n+1:])
		if err == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		errs = append(errs, err)
		if n+1 < len(order) {
			u.log("%v; trying %s", err, u.places[order[n+1]])
		}
	}
	return nil, joined(errs)
}

// openAt opens a path at one place, with retries.
func (u *Upstream) openAt(ctx context.Context, i int, rest []int, path string, size, offset int64) (io.ReadCloser, error) {
	name, err := clean(path)
	if err != nil {
		return nil, err
	}
	t := &reader{u: u, ctx: ctx, path: name, want: size, at: i, rest: rest, off: offset, mark: offset, attempts: u.attempts(rest)}
	if err := t.start(); err != nil {
		return nil, err
	}
	return t, nil
}

// clean is the path without "./"; one that leads out of the archive is refused.
func clean(p string) (string, error) {
	c := path.Clean(p)
	if c == "." || !fs.ValidPath(c) || strings.ContainsRune(c, 0) {
		return "", fmt.Errorf("path %q: not a path below the archive", p)
	}
	return c, nil
}

// byHashDir is a directory of a place; byHashState what is known of it.
type byHashDir struct {
	place int
	dir   string
}

type byHashState uint8

const (
	byHashUnknown byHashState = iota
	byHashHere                // gave one
	byHashAbsent              // had the plain name, but not that by hash
)

// OpenIndex opens dir/name by its by-hash name first, then by its own.
// algorithm is "SHA256" or "SHA512", hash its hex digits. Only "not found" leads to the plain name. A
// directory that has plain names alone is remembered, and asked for these at once.
func (u *Upstream) OpenIndex(ctx context.Context, name, algorithm, hash string, size int64) (io.ReadCloser, error) {
	return u.open(ctx, name, size, func(i int, rest []int) (io.ReadCloser, error) {
		return u.indexAt(ctx, i, rest, name, algorithm, hash, size)
	})
}

// indexAt is OpenIndex at one place.
func (u *Upstream) indexAt(ctx context.Context, i int, rest []int, name, algorithm, hash string, size int64) (io.ReadCloser, error) {
	dir := path.Dir(name)
	key := byHashDir{i, dir}
	if u.byHashOf(key) == byHashAbsent {
		return u.openAt(ctx, i, rest, name, size, 0)
	}
	r, err := u.openAt(ctx, i, rest, path.Join(dir, "by-hash", algorithm, strings.ToLower(hash)), size, 0)
	if err == nil {
		u.learn(key, byHashHere)
	}
	if !errors.Is(err, ErrNotFound) {
		return r, err
	}
	r, err = u.openAt(ctx, i, rest, name, size, 0)
	if err == nil {
		u.learn(key, byHashAbsent)
	}
	return r, err
}

func (u *Upstream) byHashOf(key byHashDir) byHashState {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.byHash[key]
}

// learn remembers the first thing known of a directory: one that gave a file
// by hash has them, though it may lack one while it is being updated.
func (u *Upstream) learn(key byHashDir, s byHashState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byHash[key] != byHashHere {
		u.byHash[key] = s
	}
}

// Get reads a whole small file; more than limit bytes is an error. A place
// that fails in the middle is followed by the next, from the start; so is one
// whose bytes verify, if not nil, does not take.
func (u *Upstream) Get(ctx context.Context, path string, limit int64, verify func([]byte) error) ([]byte, error) {
	return u.whole(ctx, path, -1, limit, verify, func(i int, rest []int) (io.ReadCloser, error) { return u.openAt(ctx, i, rest, path, -1, 0) })
}

// GetIndex reads a whole file as OpenIndex or, without algorithm, as Open gives
// it, from the first place whose bytes verify takes.
func (u *Upstream) GetIndex(ctx context.Context, name, algorithm, hash string, size int64, verify func([]byte) error) ([]byte, error) {
	return u.whole(ctx, name, size, size, verify, func(i int, rest []int) (io.ReadCloser, error) {
		if algorithm == "" {
			return u.openAt(ctx, i, rest, name, size, 0)
		}
		return u.indexAt(ctx, i, rest, name, algorithm, hash, size)
	})
}

// whole reads a file to its end at the first place where that can be done.
func (u *Upstream) whole(ctx context.Context, path string, size, limit int64, verify func([]byte) error, at func(i int, rest []int) (io.ReadCloser, error)) ([]byte, error) {
	var data []byte
	_, err := u.open(ctx, path, size, func(i int, rest []int) (io.ReadCloser, error) {
		r, err := at(i, rest)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		data, err = readAll(r, size, limit)
		if err == nil && verify != nil {
			err = verify(data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.describe(i, path), err)
		}
		return r, nil
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// maxRoom is how much room is taken for a size that is only said, bytes.
const maxRoom = 16 << 20

// readAll reads to the end; beyond maxRoom the buffer grows with what really comes.
func readAll(r io.Reader, size, limit int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), maxRoom)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, fmt.Errorf("larger than the limit of %d bytes", limit)
	}
	return b.Bytes(), nil
}

// describe is the URL of a path at a place, for people.
func (u *Upstream) describe(i int, path string) string {
	if s, ok := u.places[i].(*site); ok && s.whole != nil {
		return s.String()
	}
	if d, ok := u.places[i].(*dir); ok && d.only != "" {
		path = d.only
	}
	return u.places[i].String() + "/" + path
}

// Fetch reads one small file by its whole URL, which may have a query (a key
// server's); more than limit bytes is an error. o.URLs does not count. It asks as an Upstream asks:
// retries, proxies, credentials.
func Fetch(ctx context.Context, o Options, rawURL string, limit int64) ([]byte, error) {
	v, err := url.Parse(rawURL)
	if err != nil || v.Scheme != "http" && v.Scheme != "https" || v.Hostname() == "" {
		return nil, fmt.Errorf("%s: not a URL of http or https", transfer.Redact(rawURL))
	}
	query := v.RawQuery
	dir, file := "", strings.TrimPrefix(v.Path, "/")
	if i := strings.LastIndexByte(file, '/'); i >= 0 {
		dir, file = "/"+file[:i], file[i+1:]
	}
	if file == "" {
		return nil, fmt.Errorf("%s: names a directory, not a file", transfer.Redact(rawURL))
	}
	base := *v
	base.Path, base.RawPath, base.RawQuery, base.Fragment = dir, "", "", ""
	o.URLs = []string{base.String()}
	u, err := New(o)
	if err != nil {
		return nil, err
	}
	u.places[0].(*site).query = query
	return u.Get(ctx, file, limit, nil)
}
