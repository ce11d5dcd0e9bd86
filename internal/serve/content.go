package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

const (
	copyBuffer = 64 << 10
	// slowest is the rate below which a client is given up; only for files that the kernel sends in one go.
	slowest = 8 << 10 // bytes a second
)

// content is a file to answer with.
type content struct {
	blob     snapshot.Blob
	modified time.Time
	name     string // its ending gives the type
	cache    string // Cache-Control
	from     *held  // nil: bytes
	bytes    []byte
	packed   snapshot.Blob // if its digest is set: the .gz of which blob is the content
}

// content answers with a file, a part of it, or the word that the client has
// it already. Status, headers but Date and body are a function of the file, its
// path and the request.
func (ex *exchange) content(c content) {
	v := validatorsOf(c.blob.Digest, c.modified)
	h := ex.w.Header()
	h["Etag"] = []string{v.etag}
	h["Last-Modified"] = []string{v.modified}
	h["Cache-Control"] = []string{c.cache}
	h["Accept-Ranges"] = acceptRanges
	if v.failed(ex.r.Header) {
		ex.fail(http.StatusPreconditionFailed, "another file is here")
		return
	}
	if v.unchanged(ex.r.Header) {
		ex.status = http.StatusNotModified
		ex.w.WriteHeader(http.StatusNotModified)
		return
	}
	part, kind := section{0, c.blob.Size}, wholeFile
	if rng := ex.r.Header.Get("Range"); rng != "" && ex.r.Method == http.MethodGet && v.ranged(ex.r.Header) {
		if p, k := parseRange(rng, c.blob.Size); k != wholeFile {
			part, kind = p, k
		}
	}
	if kind == unsatisfiable {
		h["Content-Range"] = []string{fmt.Sprintf("bytes */%d", c.blob.Size)}
		ex.fail(http.StatusRequestedRangeNotSatisfiable, "range begins behind the end of the file")
		return
	}
	h["Content-Type"] = []string{contentType(c.name)}
	h["X-Content-Type-Options"] = nosniff
	h["Content-Length"] = []string{strconv.FormatInt(part.length, 10)}
	status := http.StatusOK
	if kind == partOfFile {
		status = http.StatusPartialContent
		h["Content-Range"] = []string{fmt.Sprintf("bytes %d-%d/%d", part.start, part.start+part.length-1, c.blob.Size)}
	}
	ex.body(c, status, part)
}

// body sends the part of the file. Nothing is sent before the first bytes are
// at hand, so that a file that cannot be had gets an error of its own.
func (ex *exchange) body(c content, status int, part section) {
	switch {
	case ex.r.Method == http.MethodHead || part.length == 0: // an empty file has no blob
		ex.header(status)
		return
	case c.from == nil:
		ex.header(status)
		n, err := ex.w.Write(c.bytes[part.start : part.start+part.length])
		ex.sent(int64(n), part.length, err)
		return
	}
	if data := ex.s.hot.get(c.blob); data != nil {
		ex.from = "memory"
		ex.header(status)
		n, err := ex.w.Write(data[part.start : part.start+part.length])
		ex.sent(int64(n), part.length, err)
		return
	}
	ctx, cancel := context.WithCancel(ex.r.Context())
	defer cancel()
	ex.patience = time.AfterFunc(ex.s.o.Patience, func() { ex.impatient.Store(true); cancel() })
	defer ex.patience.Stop()
	if !c.packed.Digest.IsZero() {
		src, err := openUnpacked(ctx, c.from, c.packed)
		if err != nil {
			ex.unavailable(c, err)
			return
		}
		r := snapshot.NewReader(src, c.blob)
		defer r.Close()
		ex.pass(c, status, &paced{r: r, slow: ex.s.o.Slow}, part)
		return
	}
	f, err := c.from.OpenBlob(ctx, c.blob)
	if err != nil {
		ex.unavailable(c, err)
		return
	}
	defer f.Close()
	ex.from = f.From
	if f.Seeker != nil {
		ex.send(c, status, f.Seeker, part)
		return
	}
	ex.pass(c, status, &paced{r: f, slow: ex.s.o.Slow}, part)
}

func (ex *exchange) header(status int) {
	if ex.patience != nil {
		ex.patience.Stop()
	}
	ex.status = status
	ex.w.WriteHeader(status)
}

// send sends from a file that is verified: by the kernel, if it is one of the
// system's and not so small that the calls for it would cost more.
func (ex *exchange) send(c content, status int, src io.ReadSeeker, part section) {
	if at, ok := src.(io.ReaderAt); ok && part.length <= copyBuffer {
		ex.sendSmall(c, status, at, part)
		return
	}
	if part.start > 0 {
		if _, err := src.Seek(part.start, io.SeekStart); err != nil {
			ex.broken(http.StatusBadGateway, "file not readable here", err)
			return
		}
	}
	patience := idleWrite + time.Duration(part.length/slowest)*time.Second
	_ = http.NewResponseController(ex.w).SetWriteDeadline(time.Now().Add(patience))
	ex.header(status)
	n, err := io.CopyN(ex.w, src, part.length)
	ex.sent(n, part.length, err)
}

func (ex *exchange) sendSmall(c content, status int, src io.ReaderAt, part section) {
	buf := ex.s.buffers.Get().(*[]byte)
	defer ex.s.buffers.Put(buf)
	p := (*buf)[:part.length]
	if n, err := src.ReadAt(p, part.start); n < len(p) {
		ex.broken(http.StatusBadGateway, "file not readable here", err)
		return
	}
	if part.length == c.blob.Size && !ex.s.hot.put(c.blob, p) {
		ex.unavailable(c, fmt.Errorf("%s: not what it was when it was verified: %w", c.blob.Digest, snapshot.ErrIntegrity))
		return
	}
	ex.header(status)
	n, err := ex.w.Write(p)
	ex.sent(int64(n), part.length, err)
}

// pass sends from a reader that verifies while it is read and withholds the
// end until all is right. Of a part the end is withheld here, until the rest
// of the file was read too.
func (ex *exchange) pass(c content, status int, src io.Reader, part section) {
	buf := ex.s.buffers.Get().(*[]byte)
	defer ex.s.buffers.Put(buf)
	if _, err := io.CopyBuffer(io.Discard, onlyReader{io.LimitReader(src, part.start)}, *buf); err != nil {
		ex.unavailable(c, err)
		return
	}
	var kept []byte
	direct := part.length
	if part.start+part.length < c.blob.Size {
		kept = make([]byte, min(part.length, snapshot.HoldBack))
		direct -= int64(len(kept))
	}
	if direct > 0 && !ex.stream(c, status, io.LimitReader(src, direct), direct, *buf) {
		return
	}
	if kept == nil {
		// The reader's own end: nothing may follow, and it must be a good one.
		if _, err := io.CopyBuffer(io.Discard, onlyReader{src}, *buf); err != nil {
			ex.abort(err)
		}
		return
	}
	if _, err := io.ReadFull(src, kept); err != nil {
		ex.unavailable(c, err)
		return
	}
	if _, err := io.CopyBuffer(io.Discard, onlyReader{src}, *buf); err != nil {
		ex.unavailable(c, err)
		return
	}
	if ex.status == 0 {
		ex.header(status)
	}
	// The rest of the file may have taken longer than a client may.
	_ = http.NewResponseController(ex.w).SetWriteDeadline(time.Now().Add(idleWrite))
	n, err := ex.w.Write(kept)
	ex.sent(int64(n), int64(len(kept)), err)
}

// stream copies want bytes. It tells whether the answer may go on. The first
// buffer is filled before the header goes out: of a file that is not much longer
// than what the reader withholds, a fault still gets an error of its own.
func (ex *exchange) stream(c content, status int, src io.Reader, want int64, buf []byte) bool {
	rc := http.NewResponseController(ex.w)
	for got := int64(0); got < want; {
		n, err := readSome(src, buf, got == 0)
		if n > 0 && (err == nil || err == io.EOF || got > 0) {
			if ex.status == 0 {
				ex.header(status)
			}
			_ = rc.SetWriteDeadline(time.Now().Add(idleWrite))
			w, werr := ex.w.Write(buf[:n])
			ex.sent(int64(w), int64(n), werr)
			got += int64(n)
		}
		if err == io.EOF && got < want {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			ex.unavailable(c, err)
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

// sent counts, and gives the connection up if not everything could be sent: the
// client must not take the answer for complete.
func (ex *exchange) sent(n, want int64, err error) {
	ex.bytes += n
	if err != nil || n != want {
		ex.abort(cmpErr(err, io.ErrUnexpectedEOF))
	}
}

func (ex *exchange) abort(cause error) {
	ex.cause = cause
	if !errors.Is(cause, context.Canceled) && errors.Is(cause, snapshot.ErrIntegrity) {
		ex.s.metrics.corrupt.Inc()
		ex.s.log.Error("answer broken off", "path", ex.r.URL.Path, "error", cause)
	}
	ex.s.metrics.aborted.Inc()
	panic(http.ErrAbortHandler)
}

// unavailable ends an answer whose file cannot be had: by an error if nothing
// was sent yet, else by breaking it off.
func (ex *exchange) unavailable(c content, err error) {
	late := ex.impatient.Load() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
	if late {
		ex.s.late()
	}
	if ex.status != 0 {
		ex.abort(err)
	}
	h := ex.w.Header()
	for _, name := range []string{"Etag", "Last-Modified", "Accept-Ranges", "Content-Range"} {
		h.Del(name)
	}
	switch {
	case late:
		ex.broken(http.StatusGatewayTimeout, "the registry does not answer", err)
	case errors.Is(err, snapshot.ErrIntegrity):
		ex.s.metrics.corrupt.Inc()
		ex.broken(http.StatusBadGateway, "the file at hand is not what its digest says", err)
	case errors.Is(err, snapshot.ErrNotExist):
		ex.broken(http.StatusBadGateway, "the registry has lost this file", err)
	default:
		ex.broken(http.StatusBadGateway, "the file cannot be read now", err)
	}
}

// onlyReader hides every other method, so that the buffer given is used.
type onlyReader struct{ io.Reader }

var (
	acceptRanges = []string{"bytes"}
	nosniff      = []string{"nosniff"}
)

// contentType goes by the ending and nothing else, and never is a type that a browser runs.
func contentType(name string) string {
	base := name[strings.LastIndexByte(name, '/')+1:]
	switch {
	case strings.HasSuffix(base, ".deb"), strings.HasSuffix(base, ".udeb"):
		return "application/vnd.debian.binary-package"
	case strings.HasSuffix(base, ".gz"):
		return "application/gzip"
	case strings.HasSuffix(base, ".xz"):
		return "application/x-xz"
	case strings.HasSuffix(base, ".css"):
		return "text/css; charset=utf-8"
	case strings.HasSuffix(base, ".gpg"):
		return "application/pgp-signature"
	case base == "statement", base == "lock", base == "InRelease", base == "Release", base == "Packages", base == "Sources", strings.HasSuffix(base, ".dsc"):
		return "text/plain; charset=utf-8"
	default:
		return "application/octet-stream"
	}
}
