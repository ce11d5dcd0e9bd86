package upstream

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

// Fetch reads one small file by its whole URL, which may have a query (a key
// server's); more than limit bytes is an error. o.URLs does not count. It asks as an Upstream asks:
// retries, proxies, credentials.
func Fetch(ctx context.Context, o Options, rawURL string, limit int64) ([]byte, error) {
	v, err := url.Parse(rawURL)
	if err != nil || v.Scheme != "http" && v.Scheme != "https" || v.Hostname() == "" {
		return nil, fmt.Errorf("%s: not a URL of http or https", redact(rawURL))
	}
	query := v.RawQuery
	dir, file := "", strings.TrimPrefix(v.Path, "/")
	if i := strings.LastIndexByte(file, '/'); i >= 0 {
		dir, file = "/"+file[:i], file[i+1:]
	}
	if file == "" {
		return nil, fmt.Errorf("%s: names a directory, not a file", redact(rawURL))
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
