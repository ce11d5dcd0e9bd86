package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"example.org/mmoci/internal/transfer"
)

const (
	maxTries      = 6                // of one request or blob
	maxThrottled  = 30               // answers 429 to one request or blob, which do not count as tries
	firstBackoff  = time.Second / 4  // doubled each time
	backoffGrowth = 64               // at most so many times the first, 16 s, where nothing is asked for
	maxRetryAfter = 5 * time.Minute  // a longer Retry-After is an error, not a wait
	maxAsked      = 10 * time.Minute // all that one request or blob waits because the registry asks for it
	toldAfter     = time.Second      // such a wait that is shorter is not spoken of
	stallTimeout  = time.Minute      // without a byte moved
	maxStalled    = 2                // tries of one request or blob that end in silence
	answerTimeout = 10 * time.Minute // at most, from the last byte of a blob or manifest to the registry's answer
	storeRate     = 4 << 20          // bytes a second at which a registry is believed to hash and store a blob
	lookRate      = 1 << 10          // bytes a second of a manifest: some registries look for each layer, 150 bytes
)

// sourceError is an error in what was to be uploaded: asking the registry again does not help.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

// hint carries the Retry-After of the answers to one request's context.
type hint struct {
	mu    sync.Mutex
	after time.Duration
	set   bool
}

type hintKey struct{}

// hintTransport notes Retry-After; oras-go's errors do not carry headers.
type hintTransport struct{ http.RoundTripper }

func (t hintTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil || resp.StatusCode < 400 {
		return resp, err
	}
	if h, ok := r.Context().Value(hintKey{}).(*hint); ok {
		if after, ok := transfer.RetryAfter(resp.Header); ok {
			h.mu.Lock()
			h.after, h.set = after, true
			h.mu.Unlock()
		}
	}
	return resp, err
}

// gate holds all workers back while the registry wants to be left alone.
type gate struct {
	mu    sync.Mutex
	until time.Time
}

// close tells whether the gate was open: of many workers one has something to say.
func (g *gate) close(d time.Duration) (was bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	was = !now.Before(g.until)
	if until := now.Add(d); until.After(g.until) {
		g.until = until
	}
	return was
}

func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	d := time.Until(g.until)
	g.mu.Unlock()
	return transfer.Sleep(ctx, d)
}

// retry runs try until it succeeds, its error is not of a kind that passes, or
// the limits are reached. try begins anew each time: it opens what it sends itself.
func (r *Repository) retry(ctx context.Context, try func(context.Context) error) error {
	attempts := transfer.Attempts{Limits: r.limits}
	for {
		if err := r.gate.wait(ctx); err != nil {
			return err
		}
		h := &hint{}
		err := try(context.WithValue(ctx, hintKey{}, h))
		if err == nil || status(err) != 0 {
			r.reached.Store(true)
		}
		if err == nil || ctx.Err() != nil || !passes(err, r.reached.Load()) {
			return err
		}
		f := &transfer.Failure{Err: err, After: h.after, Asked: h.set, Throttled: status(err) == http.StatusTooManyRequests}
		pause, err := attempts.Failed(f)
		if err != nil {
			return err
		}
		first := !f.Throttled || r.gate.close(pause)
		if (f.Asked || f.Throttled) && first && pause >= toldAfter && r.o.Log != nil {
			r.o.Log("%s answered %d %s; going on in %s", r.ref.Host(), status(f), http.StatusText(status(f)), pause.Round(time.Second))
		}
		if err := transfer.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// status is the HTTP status of an error, 0 if it is none.
func status(err error) int {
	var e *errcode.ErrorResponse
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

// Status is the HTTP status that a registry answered with, as an error of this package tells it; 0 if it did not answer.
func Status(err error) int { return status(err) }

// NeedsLogin tells an error of a registry that wants credentials where there are none.
func NeedsLogin(err error) bool {
	return status(err) == http.StatusUnauthorized || errors.Is(err, auth.ErrBasicCredentialNotFound)
}

// passes tells errors that may not come again. A host that never
// answered is more likely mistyped than busy: reached says that it did.
func passes(err error, reached bool) bool {
	var source sourceError
	if errors.As(err, &source) {
		return false
	}
	var answer *errcode.ErrorResponse
	if !errors.As(err, &answer) {
		return passesOnNetwork(err, reached)
	}
	switch code := answer.StatusCode; code {
	case http.StatusUnauthorized:
		// A token that ran out while a blob was sent: the next try gets a new one.
		return answer.Method == http.MethodPut
	case http.StatusNotFound:
		// An upload that the registry forgot between POST and PUT.
		return answer.Method == http.MethodPut && strings.Contains(answer.URL.Path, "/blobs/uploads/")
	case http.StatusBadRequest:
		return beingLinked(answer)
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
		return false
	default:
		return code >= 500
	}
}

// beingLinked tells the answer of distribution v2, on a file system, to a manifest
// whose blob somebody else puts at this moment: the file that links the blob to the
// repository is written in place, so for an instant it is empty, and no digest. A
// blob that is not there at all has no such file, and gets the second code alone.
func beingLinked(answer *errcode.ErrorResponse) bool {
	has := func(code string) bool {
		return slices.ContainsFunc(answer.Errors, func(e errcode.Error) bool { return e.Code == code })
	}
	return answer.Method == http.MethodPut && has(errcode.ErrorCodeDigestInvalid) && has(errcode.ErrorCodeManifestBlobUnknown)
}

// passesOnNetwork believes every failure of a transfer to pass but those that
// say who the other side is, or that there is none.
func passesOnNetwork(err error, reached bool) bool {
	if errors.Is(err, transfer.ErrStalled) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	if errors.Is(err, errRedirect) {
		return false
	}
	var request *url.Error
	if !errors.As(err, &request) {
		return false
	}
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
		dial        *net.OpError
	)
	switch {
	case errors.As(err, &certificate), errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return false
	case errors.As(err, &dial) && dial.Op == "dial":
		return reached
	}
	return true
}

// answerWithin is how long the registry may take to answer once it has all of
// size bytes that it handles so many of a second.
func (r *Repository) answerWithin(size, rate int64) time.Duration {
	return min(r.answer, r.stall+time.Duration(size/rate)*time.Second)
}
