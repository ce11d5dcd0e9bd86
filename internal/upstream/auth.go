package upstream

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxAuth is the limit of a file with credentials, in bytes.
const maxAuth = 1 << 20

// Where apt keeps credentials (apt_auth.conf(5)).
const (
	aptAuth  = "/etc/apt/auth.conf"
	aptParts = "/etc/apt/auth.conf.d"
)

// credentials are the entries of files in netrc syntax as apt_auth.conf(5) reads them. nil has none.
type credentials struct{ entries []authEntry }

// authEntry is one machine.
type authEntry struct {
	scheme   string // "" is https
	host     string // lower case, without port
	port     string // "": any
	path     string // prefix, with its slash; "": any
	login    string
	password string
}

// readCredentials reads the file, or the user's and apt's own if it is "". Of
// these, files that are not there or may not be read are passed over: apt's are root's.
func readCredentials(file string, env func(string) string) (*credentials, error) {
	if file != "" {
		data, err := readSmall(file, maxAuth)
		if err != nil {
			return nil, fmt.Errorf("auth: %w", err)
		}
		return &credentials{parseAuth(string(data))}, nil
	}
	names := []string{aptAuth}
	if parts, err := filepath.Glob(filepath.Join(aptParts, "*.conf")); err == nil {
		slices.Sort(parts)
		names = append(names, parts...)
	}
	if n := env("NETRC"); n != "" {
		names = append(names, n)
	} else if home := env("HOME"); home != "" {
		names = append(names, filepath.Join(home, ".netrc"))
	}
	c := &credentials{}
	for _, name := range names {
		data, err := readSmall(name, maxAuth)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("auth: %w", err)
		}
		c.entries = append(c.entries, parseAuth(string(data))...)
	}
	return c, nil
}

// parseAuth reads "machine X login Y password Z" in tokens over any number of
// lines; other tokens are passed over. netrc's "default" is too: a password is for one host.
func parseAuth(s string) []authEntry {
	var out []authEntry
	tokens := authTokens(s)
	here := false // within a machine
	for i := 0; i < len(tokens); i++ {
		key, value := tokens[i], ""
		if i+1 < len(tokens) {
			value = tokens[i+1]
		}
		switch key {
		case "machine":
			e, ok := machine(value)
			if here = ok; ok {
				out = append(out, e)
			}
			i++
		case "default":
			here = false
		case "login", "password", "account":
			if here && key == "login" {
				out[len(out)-1].login = value
			} else if here && key == "password" {
				out[len(out)-1].password = value
			}
			i++
		}
	}
	return slices.DeleteFunc(out, func(e authEntry) bool { return e.login == "" && e.password == "" })
}

// authTokens splits into words, without comments and netrc's macros (macdef to the next blank line).
func authTokens(s string) []string {
	var out []string
	macro := false
	for line := range strings.Lines(s) {
		words := strings.Fields(line)
		if len(words) == 0 {
			macro = false
			continue
		}
		if macro || words[0][0] == '#' {
			continue
		}
		if i := slices.Index(words, "macdef"); i >= 0 && (i == 0 || words[i-1] != "password" && words[i-1] != "login") {
			words, macro = words[:i], true
		}
		out = append(out, words...)
	}
	return out
}

// machine reads [protocol://]hostname[:port][/path].
func machine(s string) (authEntry, bool) {
	var e authEntry
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		e.scheme, s = strings.ToLower(scheme), rest
	}
	if i := strings.IndexByte(s, '/'); i >= 0 {
		s, e.path = s[:i], s[i:]
	}
	u, err := url.Parse("//" + s)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return e, false
	}
	e.host, e.port = strings.ToLower(u.Hostname()), u.Port()
	return e, true
}

// find is the first entry for a URL: the very host, the port if the entry has
// one (it must stand in the URL then), a prefix of the path, and https unless the entry says otherwise.
func (c *credentials) find(u *url.URL) *authEntry {
	return c.first(u, func(e *authEntry) bool { return e.scheme == u.Scheme || e.scheme == "" && u.Scheme == "https" })
}

// onlyHTTPS tells whether there is an entry for the host that plain http must not see.
func (c *credentials) onlyHTTPS(u *url.URL) bool {
	return u.Scheme == "http" && c.first(u, func(e *authEntry) bool { return e.scheme == "" || e.scheme == "https" }) != nil
}

func (c *credentials) first(u *url.URL, scheme func(*authEntry) bool) *authEntry {
	if c == nil {
		return nil
	}
	host := strings.ToLower(u.Hostname())
	for i := range c.entries {
		e := &c.entries[i]
		if e.host == host && (e.port == "" || e.port == u.Port()) && strings.HasPrefix(u.Path, e.path) && scheme(e) {
			return e
		}
	}
	return nil
}

// FindAuth finds the login and password for a URL in the texts of files as apt_auth.conf(5) describes them, of which the
// first that has an entry counts: its host, its port and path where it has them, and the URL's scheme; an entry without a
// scheme is for https. It reads no file.
func FindAuth(texts []string, u *url.URL) (login, password string, ok bool) {
	for _, text := range texts {
		c := credentials{parseAuth(text)}
		if e := c.find(u); e != nil {
			return e.login, e.password, true
		}
	}
	return "", "", false
}
