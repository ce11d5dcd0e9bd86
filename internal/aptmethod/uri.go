package aptmethod

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
)

// The schemes of sources, which are the names that apt starts the method by.
const (
	Scheme      = "oci"
	PlainScheme = "oci+http" // plain HTTP, to whatever host
)

// Started tells whether a program was started by apt, as a method: apt gives no arguments, and the path that it found.
func Started(args []string) bool { return len(args) == 1 && isName(filepath.Base(args[0])) }

func isName(name string) bool { return name == Scheme || name == PlainScheme }

// maxURI bounds a URI; a path in a snapshot has at most 1,024 bytes.
const maxURI = 8 << 10

// errURI marks a URI that is refused; its text says what to write.
var errURI = errors.New("URI")

const wanted = "write oci://HOST/REPO:TAG/PREFIX or oci://HOST/REPO@sha256:HEX/PREFIX, such as oci://registry.example.org/site/mirror:noble/debian"

// URL is what a source begins with that reads the archives of a snapshot, each below its prefix. A reference by digest
// stays one. plain asks for plain HTTP, which is the choice on loopback, too.
func URL(ref oci.Reference, plain bool) (string, error) {
	if ref.Kind != oci.Registry {
		return "", fmt.Errorf("%s is not at a registry", ref)
	}
	scheme, name := Scheme, ref.Name+":"+ref.Tag
	if !ref.Digest.IsZero() {
		name = ref.Name + "@" + ref.Digest.String()
	}
	e, err := remote.EndpointOf(ref, &remote.Options{PlainHTTP: plain, Anonymous: true})
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(e.URL, "http:") {
		scheme = PlainScheme
	}
	return scheme + "://" + name, nil
}

// location is what a URI names: a file of a snapshot at a registry.
type location struct {
	ref   oci.Reference
	path  string // of the file in the snapshot
	plain bool   // by plain HTTP
}

// parseURI reads SCHEME://HOST/REPO:TAG/PATH and SCHEME://HOST/REPO@DIGEST/PATH. REPO ends at the first ":" or "@" after
// the slash behind the host. Errors wrap errURI, and do not repeat a password.
func parseURI(uri string) (l location, err error) {
	refuse := func(why string) (location, error) { return location{}, fmt.Errorf("%w refused: %s", errURI, why) }
	if len(uri) > maxURI {
		return refuse(fmt.Sprintf("longer than %d bytes", maxURI))
	}
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || !isName(scheme) {
		return refuse("it is not of the form oci://..; " + wanted)
	}
	l.plain = scheme == PlainScheme
	host, rest, _ := strings.Cut(rest, "/")
	if strings.Contains(host, "@") {
		return refuse("it has credentials in it, which every user can read; put them into /etc/apt/auth.conf.d (apt_auth.conf(5))")
	}
	end := strings.IndexAny(rest, ":@")
	if end < 0 {
		return refuse("it has neither tag nor digest; " + wanted)
	}
	name, path, _ := strings.Cut(rest[end:], "/")
	if l.ref, err = oci.ParseReference(host + "/" + rest[:end] + name); err != nil {
		return refuse(fmt.Sprintf("%v; %s", err, wanted))
	}
	if l.ref.Kind != oci.Registry {
		return refuse(fmt.Sprintf("%s is not at a registry; %s", l.ref, wanted))
	}
	if l.path, err = url.PathUnescape(path); err != nil {
		return refuse(err.Error())
	}
	// apt asks for the files of a flat archive "./" by PREFIX/./InRelease.
	for strings.Contains(l.path, "/./") {
		l.path = strings.ReplaceAll(l.path, "/./", "/")
	}
	if l.path == "" {
		return refuse("it names no archive of the snapshot; " + wanted)
	}
	if err := snapshot.ValidPath(l.path); err != nil {
		return refuse(err.Error())
	}
	return l, nil
}
