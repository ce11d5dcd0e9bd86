package host

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// CheckOptions of [Check]; the zero value works.
type CheckOptions struct {
	Timeout time.Duration // for everything; 0: none but the context's
	CAFile  string        // PEM of the CA of the server's certificate; "": the system's
}

// Check asks a server, at the URL that its clients use (or unix:PATH), for
// /readyz and for one signature file of each archive that /setup/ lists. It
// returns a line for each thing that is well, and the first that is not as the error.
func Check(ctx context.Context, base string, o CheckOptions) ([]string, error) {
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	c, err := newProber(base, o)
	if err != nil {
		return nil, err
	}
	defer c.client.CloseIdleConnections()
	ready, err := c.get(ctx, c.base+"/readyz")
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(ready)), "\n")
	list, err := c.get(ctx, c.base+"/setup/")
	if err != nil {
		return lines, err
	}
	asked := 0
	for _, u := range strings.Fields(string(list)) {
		name := u[strings.LastIndexByte(u, '/')+1:]
		if !strings.HasSuffix(name, ".sources") {
			continue
		}
		text, err := c.get(ctx, c.base+"/setup/"+name)
		if err != nil {
			return lines, err
		}
		release, err := c.release(ctx, text)
		if err != nil {
			return lines, fmt.Errorf("%s: %w", name, err)
		}
		lines = append(lines, name+": "+release)
		asked++
	}
	if asked == 0 {
		return lines, errors.New("no archive is served")
	}
	return lines, nil
}

type prober struct {
	client *http.Client
	base   string // without final slash
}

func newProber(base string, o CheckOptions) (*prober, error) {
	t := &http.Transport{Proxy: nil} // the server itself is asked, not a proxy
	if path, ok := strings.CutPrefix(base, "unix:"); ok {
		var d net.Dialer
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }
		base = "http://localhost"
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is not http(s)://HOST[/PATH] or unix:PATH", base)
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", o.CAFile)
		}
	}
	return &prober{&http.Client{Transport: t}, strings.TrimSuffix(base, "/")}, nil
}

// get reads a small answer; any but 200 is an error.
func (c *prober) get(ctx context.Context, u string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, snapshot.MaxRelease))
	if resp.StatusCode != http.StatusOK {
		first, _, _ := strings.Cut(string(body), "\n")
		return nil, fmt.Errorf("%s: %s (%s)", req.URL.Redacted(), resp.Status, first)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.URL.Redacted(), err)
	}
	return body, nil
}

// release reads the signature file of the first suite of a .sources text, and
// returns its path and size.
func (c *prober) release(ctx context.Context, sources []byte) (string, error) {
	var uri, suite string
	for sc := bufio.NewScanner(bytes.NewReader(sources)); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), "URIs: "); ok && uri == "" {
			uri = v
		}
		if v, ok := strings.CutPrefix(sc.Text(), "Suites: "); ok && suite == "" {
			suite, _, _ = strings.Cut(v, " ")
		}
	}
	u, err := url.Parse(uri)
	if err != nil || uri == "" || suite == "" {
		return "", errors.New("no URIs and Suites in it")
	}
	dir := "dists/" + suite
	if flat, ok := strings.CutSuffix(suite, "/"); ok {
		dir = flat
	}
	// The text has the URL for hosts; checked is the one that the caller named.
	from, _ := url.Parse(c.base)
	path := strings.TrimSuffix(strings.TrimPrefix(u.Path, from.Path), "/") + "/" + strings.TrimPrefix(strings.TrimPrefix(dir, "."), "/")
	path = strings.TrimSuffix(path, "/")
	data, err := c.get(ctx, c.base+path+"/InRelease")
	if err != nil {
		if _, again := c.get(ctx, c.base+path+"/Release"); again != nil {
			return "", err
		}
		return path + "/Release", nil
	}
	return fmt.Sprintf("%s/InRelease, %d bytes", path, len(data)), nil
}
