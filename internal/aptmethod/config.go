package aptmethod

import (
	"net/url"
	"path/filepath"
	"strings"
)

// config is what apt tells of its configuration, by keys in lower case. The last value of a key counts.
type config map[string]string

// parseConfig reads the message 601.
func parseConfig(m *message) config {
	c := config{}
	for _, f := range m.fields {
		if !strings.EqualFold(f.name, "Config-Item") {
			continue
		}
		key, value, ok := strings.Cut(f.value, "=")
		if !ok {
			continue
		}
		c[strings.ToLower(unquote(key))] = unquote(value)
	}
	return c
}

// unquote takes apt's %XX back; a text that has none of it stays as it is.
func unquote(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

func (c config) get(key string) string { return c[strings.ToLower(key)] }

// file is the path of a file that apt names in parts: Dir, Dir::Etc, Dir::Etc::netrc; a part that is absolute ends it. The
// parts may be missing.
func (c config) file(key, otherwise string) string {
	path := c.get(key)
	if path == "" {
		path = otherwise
	}
	for !filepath.IsAbs(path) {
		i := strings.LastIndex(key, "::")
		if i < 0 {
			path = "/" + path
			break
		}
		key = key[:i]
		parent := c.get(key)
		if parent == "" {
			parent = map[string]string{"Dir": "/", "Dir::Etc": "etc/apt/"}[key]
		}
		path = filepath.Join(parent, path)
	}
	return filepath.Join(c.get("RootDir"), path)
}
