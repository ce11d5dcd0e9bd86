package registry

import (
	"net/http"
	"strings"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Kind is what a path asks for.
type Kind uint8

const (
	Base      Kind = iota // /v2/
	Catalog               // /v2/_catalog
	Tags                  // /v2/NAME/tags/list
	Manifest              // /v2/NAME/manifests/TAG or DIGEST
	Blob                  // /v2/NAME/blobs/DIGEST
	Referrers             // /v2/NAME/referrers/DIGEST
)

// Path is what a request asks for. Of Tag and Digest one is set at most.
type Path struct {
	Kind   Kind
	Name   string
	Tag    string
	Digest snapshot.Digest
}

// Reference is the tag or digest as it is written; "" if there is none.
func (p Path) Reference() string {
	if p.Tag != "" || p.Digest.IsZero() {
		return p.Tag
	}
	return p.Digest.String()
}

// ParsePath reads a decoded path after its "/v2" (distribution-spec, "Endpoints"). Any error is an [*Error].
func ParsePath(p string) (Path, error) {
	p = strings.TrimPrefix(p, "/")
	switch p {
	case "":
		return Path{Kind: Base}, nil
	case "_catalog":
		return Path{Kind: Catalog}, nil
	}
	rest, last := cutLast(p)
	name, kind := cutLast(rest)
	path := Path{Name: name}
	switch {
	case kind == "tags" && last == "list":
		path.Kind = Tags
	case kind == "manifests":
		path.Kind = Manifest
	case kind == "blobs":
		path.Kind = Blob
	case kind == "referrers":
		path.Kind = Referrers
	case kind == "uploads" || strings.HasSuffix(rest, "/blobs"):
		return Path{}, &Error{Status: http.StatusNotFound, Code: "BLOB_UPLOAD_UNKNOWN", Message: "nothing is uploaded here: this registry is read only"}
	default:
		return Path{}, &Error{Status: http.StatusNotFound, Code: "UNSUPPORTED", Message: "no path of a registry"}
	}
	if !validName(name) {
		return Path{}, &Error{Status: http.StatusNotFound, Code: "NAME_INVALID", Message: "no name of a repository"}
	}
	if path.Kind == Tags {
		return path, nil
	}
	if path.Kind == Manifest && !strings.Contains(last, ":") {
		if !oci.ValidTag(last) {
			return Path{}, &Error{Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN", Message: "neither a tag nor a digest"}
		}
		path.Tag = last
		return path, nil
	}
	d, err := snapshot.ParseDigest(last)
	if err != nil {
		return Path{}, &Error{Status: http.StatusBadRequest, Code: "DIGEST_INVALID", Message: "no digest sha256:HEX"}
	}
	path.Digest = d
	return path, nil
}

// cutLast divides at the last slash.
func cutLast(p string) (before, last string) {
	i := strings.LastIndexByte(p, '/')
	if i < 0 {
		return "", p
	}
	return p[:i], p[i+1:]
}

// validName tells a name of the distribution-spec's grammar, with a host and its port before it or not.
func validName(name string) bool {
	const tag = ":t"
	_, _, _, ok := snapshot.CutImageName("h/" + name + tag)
	if !ok {
		_, _, _, ok = snapshot.CutImageName(name + tag)
	}
	return ok
}
