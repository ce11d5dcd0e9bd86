package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// A download that is slower than slowestRate for slowAfter goes on over another
// connection: this one may be the slow thing, and would hold the blob for hours.
const (
	slowAfter   = 2 * time.Minute
	slowestRate = 2 << 10 // bytes a second
)

// Open reads a blob, from an offset on by a Range request; broken and stalled
// connections are resumed where they broke.
func (r *Repository) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	d := &download{place: r, ctx: ctx, blob: b, offset: offset, attempts: transfer.Attempts{Limits: r.limits}}
	if err := r.retry(ctx, d.connect); err != nil {
		err = explain("read blob "+b.Digest.String(), r.ref, err)
		if errors.Is(err, oci.ErrNotFound) {
			err = fmt.Errorf("%w: %w", err, snapshot.ErrNotExist)
		}
		return nil, err
	}
	return &snapshot.Content{R: d}, nil
}

// download is a blob on its way. Not safe for concurrent use but for Close.
type download struct {
	place    *Repository
	ctx      context.Context // of Open: it bounds the whole transfer
	blob     snapshot.Blob
	offset   int64
	attempts transfer.Attempts // since the last byte
	// noRange is set after an answer that was not the range asked for.
	noRange bool
	ranges  bool          // the registry says that it knows Range
	waited  time.Duration // for what came over this connection, as far as it is judged together
	came    int64

	mu     sync.Mutex // of body, which Close may take away
	body   io.ReadCloser
	closed bool
}

// Seek goes on at an offset from the start, of which the bytes before are had
// from elsewhere: a Range request, where the registry knows Range.
func (d *download) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset < 0 || offset > d.blob.Size {
		return 0, fmt.Errorf("blob %s: seek to %d: %w", d.blob.Digest, offset, errors.ErrUnsupported)
	}
	if offset == d.offset {
		return offset, nil
	}
	d.drop()
	d.offset = offset
	if err := d.place.retry(d.ctx, d.connect); err != nil {
		return 0, explain("read blob "+d.blob.Digest.String(), d.place.ref, err)
	}
	return offset, nil
}

// connect asks for the rest of the blob.
func (d *download) connect(ctx context.Context) (err error) {
	ctx, watch := transfer.NewWatch(ctx, d.place.stall)
	defer func() {
		if err != nil {
			err = watch.Reason(err)
			watch.Stop()
		}
	}()
	var header []string
	if d.offset > 0 && !d.noRange {
		header = []string{"Range", "bytes=" + strconv.FormatInt(d.offset, 10) + "-" + strconv.FormatInt(d.blob.Size-1, 10)}
	}
	resp, err := d.place.request(ctx, d.place.client.follow, http.MethodGet, "blobs", d.blob.Digest.String(), header...)
	if err != nil {
		return err
	}
	if err := d.accept(resp); err != nil {
		resp.Body.Close()
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		resp.Body.Close()
		return io.ErrClosedPipe
	}
	d.body = watch.Body(resp.Body)
	return nil
}

// accept checks the answer, and skips what was read before if the registry does not know Range.
func (d *download) accept(resp *http.Response) error {
	rest := d.blob.Size - d.offset
	d.ranges = resp.StatusCode == http.StatusPartialContent || resp.Header.Get("Accept-Ranges") == "bytes"
	d.waited, d.came = 0, 0
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.ContentLength >= 0 && resp.ContentLength != d.blob.Size {
			return oci.Integrity("blob %s has %d bytes at the registry, want %d", d.blob.Digest, resp.ContentLength, d.blob.Size)
		}
		_, err := io.CopyN(io.Discard, resp.Body, d.offset)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	case http.StatusPartialContent:
		start, end, _, err := transfer.ContentRange(resp.Header)
		if err != nil || start != d.offset || end != d.blob.Size-1 || resp.ContentLength >= 0 && resp.ContentLength != rest {
			d.noRange = true
			return fmt.Errorf("blob %s: Content-Range %.100q, asked for all from byte %d: %w", d.blob.Digest, resp.Header.Get("Content-Range"), d.offset, io.ErrUnexpectedEOF)
		}
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		d.noRange = true
		return fmt.Errorf("blob %s: range refused: %w", d.blob.Digest, io.ErrUnexpectedEOF)
	}
	return responseError(resp)
}

// Read resumes where a connection broke. The bounds of retry hold between two bytes that arrive.
func (d *download) Read(p []byte) (int, error) {
	for {
		start := time.Now()
		n, err := d.read(p)
		d.offset += int64(n)
		if n > 0 {
			d.attempts.Progress()
			if d.tooSlow(n, time.Since(start)) {
				d.drop() // the next call connects again
			}
			return n, nil
		}
		if d.offset >= d.blob.Size || err == nil {
			return 0, err // the verifying reader asks for the end once more
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if d.ctx.Err() != nil {
			return 0, d.ctx.Err()
		}
		d.drop()
		pause, gaveUp := d.attempts.Failed(&transfer.Failure{Err: err})
		if gaveUp == nil && d.isClosed() {
			gaveUp = err
		}
		if gaveUp != nil {
			return 0, explain(fmt.Sprintf("blob %s at byte %d", d.blob.Digest, d.offset), d.place.ref, gaveUp)
		}
		if err := transfer.Sleep(d.ctx, pause); err != nil {
			return 0, err
		}
		if err := d.place.retry(d.ctx, d.connect); err != nil {
			return 0, explain("read blob "+d.blob.Digest.String(), d.place.ref, err)
		}
	}
}

// tooSlow tells, after n bytes that took so long, whether another connection
// should be tried: only where what came already need not come again.
func (d *download) tooSlow(n int, took time.Duration) bool {
	d.waited += took
	d.came += int64(n)
	if d.waited < d.place.slow {
		return false
	}
	slow := d.ranges && !d.noRange && d.came < int64(d.waited.Seconds()*slowestRate)
	d.waited, d.came = 0, 0
	return slow
}

func (d *download) read(p []byte) (int, error) {
	d.mu.Lock()
	body := d.body
	d.mu.Unlock()
	if body == nil {
		return 0, io.ErrClosedPipe
	}
	return body.Read(p)
}

func (d *download) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// drop gives up the connection.
func (d *download) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.body != nil {
		d.body.Close()
		d.body = nil
	}
}

// Close ends the transfer.
func (d *download) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.drop()
	return nil
}
