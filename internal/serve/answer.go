package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"example.org/mmoci/internal/mirrors"
	"example.org/mmoci/internal/serve/condition"
	"example.org/mmoci/internal/serve/paths"
	"example.org/mmoci/pkg/snapshot"
)

const (
	copyBuffer = 64 << 10
	// slowestClient is the rate below which a client is given up, in bytes a second, while the kernel sends a file in one go.
	slowestClient = 8 << 10
	// slowestSource is the rate below which a file comes too slowly from a registry, in bytes a second.
	slowestSource = 2 << 10
	// maxSmallFiles bounds the files that are kept in memory, in bytes.
	maxSmallFiles = 4 << 20
)

// content is a file to answer with.
type content struct {
	blob     snapshot.Blob
	modified time.Time
	name     string  // its ending gives the type
	typ      string  // the type; "": that of name
	cache    string  // Cache-Control
	from     *served // nil: bytes
	bytes    []byte
	mirrored bool          // a mirror may hand it out
	packed   snapshot.Blob // if its digest is set: the .gz of which blob is the content
}

// answer sends a file, a part of it, or that the client has it already. Status,
// headers but Date, and body are a function of the file, its path and the request.
func (req *request) answer(c content) {
	plain := !condition.Any(req.r.Header)
	if plain && req.toMirror(c) {
		return
	}
	v := condition.New(c.blob.Digest, c.modified)
	h := req.w.Header()
	h["Etag"] = []string{v.Etag}
	h["Last-Modified"] = []string{v.Modified}
	h["Cache-Control"] = []string{c.cache}
	h["Accept-Ranges"] = acceptRanges
	if v.Failed(req.r.Header) {
		req.fail(http.StatusPreconditionFailed, "another file is here")
		return
	}
	if v.Unchanged(req.r.Header) {
		req.status = http.StatusNotModified
		req.w.WriteHeader(http.StatusNotModified)
		return
	}
	part, kind := condition.Section{Length: c.blob.Size}, condition.WholeFile
	if rng := req.r.Header.Get("Range"); rng != "" && req.r.Method == http.MethodGet && v.Ranged(req.r.Header) {
		if p, k := condition.ParseRange(rng, c.blob.Size); k != condition.WholeFile {
			part, kind = p, k
		}
	}
	if kind == condition.Unsatisfiable {
		h["Content-Range"] = []string{fmt.Sprintf("bytes */%d", c.blob.Size)}
		req.fail(http.StatusRequestedRangeNotSatisfiable, "range begins behind the end of the file")
		return
	}
	if !plain && req.toMirror(c) { // a client waits for a mirror once
		return
	}
	if c.typ == "" {
		c.typ = paths.ContentType(c.name)
	}
	h["Content-Type"] = []string{c.typ}
	h["X-Content-Type-Options"] = nosniff
	h["Content-Length"] = []string{strconv.FormatInt(part.Length, 10)}
	status := http.StatusOK
	if kind == condition.PartOfFile {
		status = http.StatusPartialContent
		h["Content-Range"] = []string{fmt.Sprintf("bytes %d-%d/%d", part.Start, part.Start+part.Length-1, c.blob.Size)}
	}
	req.body(c, status, part)
}

// toMirror sends the client for a blob to a mirror; false: the answer comes from here.
func (req *request) toMirror(c content) bool {
	if req.s.front == nil || !c.mirrored || req.direct || req.r.Method != http.MethodGet {
		return false
	}
	w := mirrors.Want{
		Blob: c.blob, Client: req.client(), Host: req.r.Host, Secure: req.secure(),
		Prefix: req.archive, Architecture: req.pkg.Architecture,
	}
	status := http.StatusFound
	if req.v2 != nil {
		w.Repository, status = req.v2.Repository, http.StatusTemporaryRedirect
	}
	var ok bool
	if req.mirror, ok = req.s.front.Send(req.r.Context(), req.w.Header(), w); ok {
		req.header(status)
	}
	return ok
}

// body sends the part of the file. Nothing is sent before the first bytes are at
// hand, so that a file that cannot be read is answered with an error status.
func (req *request) body(c content, status int, part condition.Section) {
	if req.r.Method == http.MethodHead || part.Length == 0 { // an empty file has no blob
		req.header(status)
		return
	}
	if c.from != nil && c.bytes == nil {
		if c.bytes = req.s.small.Get(c.blob); c.bytes != nil {
			req.from = "memory"
		}
	}
	if c.bytes != nil {
		if part.Length > copyBuffer {
			req.extend(idleWrite + time.Duration(part.Length/slowestClient)*time.Second)
		}
		req.header(status)
		n, err := req.w.Write(c.bytes[part.Start : part.Start+part.Length])
		req.sent(int64(n), part.Length, err)
		return
	}
	ctx, cancel := context.WithCancel(req.r.Context())
	defer cancel()
	req.patience = time.AfterFunc(req.s.o.Patience, func() { req.impatient.Store(true); cancel() })
	defer req.patience.Stop()
	if !c.packed.Digest.IsZero() {
		src, err := openUnpacked(ctx, c.from, c.packed)
		if err != nil {
			req.unavailable(err)
			return
		}
		r := snapshot.NewReader(src, c.blob)
		defer r.Close()
		req.pass(status, &pacedReader{r: r, slow: req.s.o.Slow}, c.blob.Size, part)
		return
	}
	f, err := c.from.OpenBlob(ctx, c.blob)
	if err != nil {
		req.unavailable(err)
		return
	}
	defer f.Close()
	req.from = f.From
	if f.Seeker != nil {
		req.send(c, status, f.Seeker, part)
		return
	}
	req.pass(status, &pacedReader{r: f, slow: req.s.o.Slow}, c.blob.Size, part)
}

// header sends the header; from here on an error breaks the answer off.
func (req *request) header(status int) {
	if req.patience != nil {
		req.patience.Stop()
	}
	req.status = status
	req.w.WriteHeader(status)
}

// send sends from a file that is verified: by the kernel (sendfile), unless the
// part is so small that the calls for it would cost more.
func (req *request) send(c content, status int, src io.ReadSeeker, part condition.Section) {
	if at, ok := src.(io.ReaderAt); ok && part.Length <= copyBuffer {
		req.sendSmall(c, status, at, part)
		return
	}
	if part.Start > 0 {
		if _, err := src.Seek(part.Start, io.SeekStart); err != nil {
			req.broken(http.StatusBadGateway, "file not readable here", err)
			return
		}
	}
	req.extend(idleWrite + time.Duration(part.Length/slowestClient)*time.Second)
	req.header(status)
	n, err := io.CopyN(req.w, src, part.Length)
	req.sent(n, part.Length, err)
}

// sendSmall sends by a buffer, and keeps a small file in memory.
func (req *request) sendSmall(c content, status int, src io.ReaderAt, part condition.Section) {
	buf := req.s.buffers.Get().(*[]byte)
	defer req.s.buffers.Put(buf)
	p := (*buf)[:part.Length]
	if n, err := src.ReadAt(p, part.Start); n < len(p) {
		req.broken(http.StatusBadGateway, "file not readable here", err)
		return
	}
	if part.Length == c.blob.Size && !req.s.small.Put(c.blob, p) {
		req.unavailable(fmt.Errorf("%s: not what it was when it was verified: %w", c.blob.Digest, snapshot.ErrIntegrity))
		return
	}
	req.header(status)
	n, err := req.w.Write(p)
	req.sent(int64(n), part.Length, err)
}

// pass sends from a reader that verifies while it is read and withholds the end
// until all is right. The end of a part is withheld here, until the rest of the
// file was read too.
func (req *request) pass(status int, src io.Reader, size int64, part condition.Section) {
	buf := req.s.buffers.Get().(*[]byte)
	defer req.s.buffers.Put(buf)
	if _, err := io.CopyN(io.Discard, src, part.Start); err != nil { // what comes before the part
		req.unavailable(err)
		return
	}
	var kept []byte
	direct := part.Length
	if part.Start+part.Length < size {
		kept = make([]byte, min(part.Length, snapshot.HoldBack))
		direct -= int64(len(kept))
	}
	if direct > 0 && !req.stream(status, io.LimitReader(src, direct), direct, *buf) {
		return
	}
	if kept == nil {
		// The reader's own end: nothing may follow, and everything must have been right.
		if _, err := io.Copy(io.Discard, src); err != nil {
			req.abort(err)
		}
		return
	}
	if _, err := io.ReadFull(src, kept); err != nil {
		req.unavailable(err)
		return
	}
	if _, err := io.Copy(io.Discard, src); err != nil {
		req.unavailable(err)
		return
	}
	if req.status == 0 {
		req.header(status)
	}
	// The rest of the file may have taken longer than a client may.
	req.extend(idleWrite)
	n, err := req.w.Write(kept)
	req.sent(int64(n), int64(len(kept)), err)
}

// stream copies want bytes, and tells whether the answer goes on. The first buffer
// is filled before the header goes out, so that a fault in a file that is not much
// longer than what the reader withholds is still answered with an error status.
func (req *request) stream(status int, src io.Reader, want int64, buf []byte) bool {
	for got := int64(0); got < want; {
		n, err := readSome(src, buf, got == 0)
		if n > 0 && (err == nil || err == io.EOF || got > 0) {
			if req.status == 0 {
				req.header(status)
			}
			req.extend(idleWrite)
			w, werr := req.w.Write(buf[:n])
			req.sent(int64(w), int64(n), werr)
			got += int64(n)
		}
		if err == io.EOF && got < want {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			req.unavailable(err)
			return false
		}
	}
	return true
}

// readSome reads once, or as much as there is room for.
func readSome(src io.Reader, buf []byte, full bool) (int, error) {
	if !full {
		return src.Read(buf)
	}
	n, err := io.ReadFull(src, buf)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF // of the source; the caller knows how much it wanted
	}
	return n, err
}

// sent counts what was sent, and breaks the answer off if that is not everything:
// the client must not take it for complete.
func (req *request) sent(n, want int64, err error) {
	req.bytes += n
	if err != nil || n != want {
		req.abort(cmp.Or(err, io.ErrUnexpectedEOF))
	}
}

// abort breaks the answer off, and the connection with it.
func (req *request) abort(cause error) {
	req.cause = cause
	if !errors.Is(cause, context.Canceled) && errors.Is(cause, snapshot.ErrIntegrity) {
		req.s.metrics.Corrupt.Inc()
		req.s.o.Log.Error("answer broken off", "path", req.r.URL.Path, "error", cause)
	}
	req.s.metrics.Aborted.Inc()
	panic(http.ErrAbortHandler)
}

// unavailable ends an answer whose file cannot be read: with an error status if
// nothing was sent yet, else by breaking it off.
func (req *request) unavailable(err error) {
	late := req.impatient.Load() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
	if late {
		req.s.noteLate()
	}
	if req.status != 0 {
		req.abort(err)
	}
	h := req.w.Header()
	for _, name := range []string{"Etag", "Last-Modified", "Accept-Ranges", "Content-Range", digestHeader} {
		h.Del(name)
	}
	switch {
	case late:
		req.broken(http.StatusGatewayTimeout, "the registry does not answer", err)
	case errors.Is(err, snapshot.ErrIntegrity):
		req.s.metrics.Corrupt.Inc()
		req.broken(http.StatusBadGateway, "the file at hand is not what its digest says", err)
	case errors.Is(err, snapshot.ErrNotExist):
		req.broken(http.StatusBadGateway, "the registry has lost this file", err)
	default:
		req.broken(http.StatusBadGateway, "the file cannot be read now", err)
	}
}

var (
	acceptRanges = []string{"bytes"}
	nosniff      = []string{"nosniff"}
)

// pacedReader reads a file while it is fetched. If it comes too slowly for too long,
// Read returns an error that wraps os.ErrDeadlineExceeded, so that no client is
// held for hours: it asks again for the rest, of which the store, which goes on
// fetching, has more by then. Only the time spent in reading counts, not a slow client's.
type pacedReader struct {
	r      io.Reader
	slow   time.Duration // Options.Slow
	waited time.Duration
	got    int64 // while waited
}

func (p *pacedReader) Read(b []byte) (int, error) {
	start := time.Now()
	n, err := p.r.Read(b)
	p.waited += time.Since(start)
	p.got += int64(n)
	if p.waited < p.slow || err != nil {
		return n, err
	}
	if p.got < int64(p.waited.Seconds()*slowestSource) {
		return n, fmt.Errorf("%d bytes in %s: %w", p.got, p.waited.Round(time.Second), os.ErrDeadlineExceeded)
	}
	p.waited, p.got = 0, 0
	return n, nil
}
