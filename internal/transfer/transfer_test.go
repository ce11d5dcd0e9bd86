package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a failure is followed by, and when nothing follows.
func TestAttempts(t *testing.T) {
	t.Parallel()
	limits := Limits{
		Attempts: 3, Silent: 2, Refused: 2, Throttled: 4, Backoff: time.Second, MaxBackoff: 3 * time.Second,
		MaxAfter: time.Minute, MaxAsked: 90 * time.Second,
	}
	broken := &Failure{Err: errors.New("broken")}
	silent := &Failure{Err: fmt.Errorf("%w: no byte", ErrStalled)}
	refused := &Failure{Err: errors.New("refused"), Refused: true}
	busy := &Failure{Err: errors.New("busy"), After: 2 * time.Second, Asked: true}
	throttled := &Failure{Err: errors.New("throttled"), Asked: true, Throttled: true}
	for name, c := range map[string]struct {
		failures []*Failure
		pauses   string
		says     string
	}{
		"broken":         {[]*Failure{broken, broken, broken}, "1s 2s", "broken (3 attempts)"},
		"silent":         {[]*Failure{silent, silent}, "1s", "stalled: no byte (2 attempts)"},
		"refused":        {[]*Failure{refused, refused}, "1s", "refused (2 attempts)"},
		"busy":           {[]*Failure{busy, busy, busy}, "2s 2s", "busy (3 attempts)"},
		"throttled":      {[]*Failure{throttled, throttled, throttled, throttled, throttled}, "0s 0s 0s 0s", "throttled (5 times)"},
		"longest pause":  {[]*Failure{throttled, throttled, broken}, "0s 0s 3s", ""},
		"far away":       {[]*Failure{{Err: errors.New("busy"), After: time.Hour, Asked: true}}, "", "busy; it asks to wait 1h0m0s, longer than 1m0s"},
		"again":          {[]*Failure{{Err: errors.New("busy"), After: time.Minute, Asked: true, Throttled: true}, {Err: errors.New("busy"), After: time.Minute, Asked: true, Throttled: true}}, "1m0s", "busy; it asks to wait again and again: 2m0s in all"},
		"not asked, 429": {[]*Failure{{Err: errors.New("x"), Throttled: true}, {Err: errors.New("x"), Throttled: true}}, "1s 2s", ""},
	} {
		a := Attempts{Limits: limits}
		var pauses []string
		for i, f := range c.failures {
			pause, err := a.Failed(f)
			if err == nil {
				pauses = append(pauses, pause.String())
				continue
			}
			if i != len(c.failures)-1 || err.Error() != c.says || !errors.Is(err, f.Err) {
				t.Errorf("%s: failure %d: %v, want %q", name, i+1, err, c.says)
			}
		}
		if got := strings.Join(pauses, " "); got != c.pauses || (len(pauses) == len(c.failures)) != (c.says == "") {
			t.Errorf("%s: paused %s, want %s", name, got, c.pauses)
		}
	}
	a := Attempts{Limits: limits}
	for range 5 {
		for range 2 {
			if _, err := a.Failed(broken); err != nil {
				t.Fatal(err)
			}
		}
		a.Progress()
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]time.Duration{
		"3": 3 * time.Second, "0.5": time.Second / 2, "10.3ms": 10300 * time.Microsecond, "2147483647": (1<<31 - 1) * time.Second,
		"Mon, 02 Jan 2006 15:04:05 GMT": 0,
	} {
		got, ok := RetryAfter(http.Header{"Retry-After": {v}})
		if !ok || got != want {
			t.Errorf("%s: %s, %t", v, got, ok)
		}
	}
	for _, v := range []string{"", "soon", "-3", "-3s", "1e300", "nan", "inf"} {
		if got, ok := RetryAfter(http.Header{"Retry-After": {v}}); ok || got != 0 {
			t.Errorf("%s: %s", v, got)
		}
	}
	// The server's clock counts, not ours.
	h := http.Header{"Retry-After": {"Sat, 21 Nov 2026 09:00:09 GMT"}, "Date": {"Sat, 21 Nov 2026 09:00:00 GMT"}}
	if got, ok := RetryAfter(h); !ok || got != 9*time.Second {
		t.Errorf("by the server's clock: %s, %t", got, ok)
	}
}

func TestContentRange(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]string{
		"bytes 5-9/10": "5 9 10", "bytes 5-9/*": "5 9 -1", "Bytes 0-0/1": "0 0 1",
		"": "", "bytes */10": "", "bytes 5-8/10": "", "bytes 9-5/10": "", "lines 5-9/10": "", "bytes -1-9/10": "", "bytes 5-9": "", "bytes a-b/c": "",
	} {
		start, end, size, err := ContentRange(http.Header{"Content-Range": {v}})
		if got := fmt.Sprint(start, end, size); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q: %s, %v", v, got, err)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://u:p@h/x": "https://***@h/x", "get HTTP://u:p@q@h/x: no": "get HTTP://***@h/x: no", "https://h/a@b c": "https://***@b c", "u@h": "u@h",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// A silent server is left, before its answer and within it; a slow reader is not.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, w := NewWatch(t.Context(), time.Minute)
		<-ctx.Done()
		if err := w.Reason(context.Canceled); !errors.Is(err, ErrStalled) || err.Error() != "stalled: no answer for 1m0s" {
			t.Error(err)
		}
		ctx, w = NewWatch(t.Context(), time.Minute)
		w.Allow(time.Hour)
		time.Sleep(59 * time.Minute)
		if ctx.Err() != nil {
			t.Error("left too early")
		}
		<-ctx.Done()
		if err := w.Reason(context.Canceled); err.Error() != "stalled: no answer for 1h0m0s" {
			t.Error(err)
		}
		ctx, w = NewWatch(t.Context(), time.Minute)
		r, pipe := io.Pipe()
		context.AfterFunc(ctx, func() { pipe.CloseWithError(context.Cause(ctx)) })
		body := w.Body(r)
		go pipe.Write([]byte("x"))
		time.Sleep(time.Hour) // the reader's own time
		if n, err := body.Read(make([]byte, 9)); n != 1 || err != nil {
			t.Error(n, err)
		}
		if _, err := body.Read(make([]byte, 9)); err == nil || err.Error() != "stalled: no byte for 1m0s" {
			t.Error(err)
		}
		body.Close()
	})
}
