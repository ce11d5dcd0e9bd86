package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxAnswer bounds what a mirror may answer, in bytes: a table is the largest.
const maxAnswer = 256 << 20

// How long a mirror may take to be connected to, to begin an answer, and for all of it.
const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second
	fetchTimeout  = 5 * time.Minute
)

// ErrAbsent marks what a mirror answers 404 for.
var ErrAbsent = errors.New("not there")

// client reaches a mirror of the site: never by a proxy, which is for what is beyond.
func client() *http.Client {
	return &http.Client{
		// Each question is one of its own: who waits for a mirror must not keep its connections.
		Transport: &http.Transport{
			Proxy: nil, DisableKeepAlives: true, ResponseHeaderTimeout: answerTimeout, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		},
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Fetch reads a document of a mirror whole. Nothing is verified.
func Fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", url, err)
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", url, ErrAbsent)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s: %.200s", url, resp.Status, data)
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("%s: more than %d bytes", url, maxAnswer)
	}
	return data, nil
}

// Wait asks a mirror until it is ready (/readyz answers 200) or ctx ends; then
// the error says what was wrong last. every is the pause between two questions.
func Wait(ctx context.Context, mirror string, every time.Duration) error {
	url := strings.TrimSuffix(mirror, "/") + "/readyz"
	for {
		_, err := Fetch(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", mirror, err)
		case <-time.After(every):
		}
	}
}
