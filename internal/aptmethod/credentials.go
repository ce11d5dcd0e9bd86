package aptmethod

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
)

// maxAuth is the limit of a file with credentials, in bytes.
const maxAuth = 1 << 20

// authFile is read where apt's own files have nothing for a registry. It has the form of docker's config.json.
const authFile = "etc/mmoci/auth.json"

// credentials are what the files of apt and the host say, read while the method was still root. Immutable.
type credentials struct {
	texts []string          // auth.conf, then auth.conf.d in order
	auths map[string]string // of authFile: HOST[/REPO..] to base64 of USER:PASSWORD
}

// readCredentials reads the files that apt's configuration names, below a root directory. What is not there is passed over.
func readCredentials(root string, c config) (*credentials, error) {
	names := []string{filepath.Join(root, c.file("Dir::Etc::netrc", "auth.conf"))}
	parts, err := filepath.Glob(filepath.Join(root, c.file("Dir::Etc::netrcparts", "auth.conf.d"), "*.conf"))
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	slices.Sort(parts)
	out := &credentials{}
	for _, name := range append(names, parts...) {
		data, err := oci.ReadFile(name, maxAuth)
		if passedOver(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("credentials: %s: %w", name, err)
		}
		out.texts = append(out.texts, string(data))
	}
	name := filepath.Join(root, authFile)
	data, err := oci.ReadFile(name, maxAuth)
	if passedOver(err) {
		return out, nil
	}
	if err == nil {
		out.auths, err = parseAuths(data)
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %s: %w", name, err)
	}
	return out, nil
}

// passedOver tells errors of files that need not be there, or that somebody else than root may not read.
func passedOver(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// parseAuths reads the "auths" of docker's config.json; helpers and tokens are not for a method.
func parseAuths(data []byte) (map[string]string, error) {
	var file struct {
		Auths map[string]struct {
			Auth string `json:"auth"`
		} `json:"auths"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, errors.New("not the JSON of docker's config.json") // the error of the decoder may quote a password
	}
	out := map[string]string{}
	for key, a := range file.Auths {
		text, err := base64.StdEncoding.DecodeString(a.Auth)
		if err != nil {
			return nil, fmt.Errorf("auths: %.100q: auth is not base64", key)
		}
		out[key] = string(text)
	}
	return out, nil
}

// find returns the user and password for a repository, "" if there are none. Without plain HTTP, an entry of auth.conf for
// https counts, and so does one for oci; with it, one for http and one for oci+http: none that is for TLS alone. What auth.json
// has is for TLS alone, as its form has no place to say more, and for a registry on this machine.
func (c *credentials) find(ref oci.Reference, plain bool) (user, password string) {
	if c == nil {
		return "", ""
	}
	for _, scheme := range schemes(plain) {
		u := &url.URL{Scheme: scheme, Host: ref.Host(), Path: "/" + ref.Repository() + "/"}
		if user, password, ok := upstream.FindAuth(c.texts, u); ok {
			return user, password
		}
	}
	if plain && !remote.IsLoopback(ref.Host()) {
		return "", ""
	}
	for key := ref.Name; key != ""; {
		if text, ok := c.auths[key]; ok {
			user, password, _ = strings.Cut(text, ":")
			return user, password
		}
		i := strings.LastIndexByte(key, '/')
		key = key[:max(i, 0)]
	}
	return "", ""
}

// onlyTLS tells whether there is an entry for a repository that plain HTTP must not see.
func (c *credentials) onlyTLS(ref oci.Reference, plain bool) bool {
	if user, password := c.find(ref, plain); !plain || user+password != "" {
		return false
	}
	user, password := c.find(ref, false)
	return user+password != ""
}

func schemes(plain bool) []string {
	if plain {
		return []string{"http", PlainScheme}
	}
	return []string{"https", Scheme}
}
