package registry

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.org/mmoci/internal/policy"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Site is what one request is answered from.
type Site struct {
	// Current are the current snapshots. Their tags and those of their images are answered.
	Current []*Held
	// Earlier are those before them, of which clients may still fetch by digest what they asked for by tag.
	Earlier []*Held
	// Opened are older snapshots that were asked for by Open. Their own parts are answered by digest.
	Opened []*Held
	// Open opens an older snapshot by its root, DATE-HEX12 or immutable tag. An error that wraps
	// snapshot.ErrNotExist says that there is none.
	Open func(ctx context.Context, id string) (*Held, error)
	// Fixed tells whether a tag names one snapshot for ever, so that Open may be asked.
	Fixed func(tag string) bool
	// DecideImage and DecideFile are the policy's decisions on an image, by name, and on a file. They may be called
	// for what is not answered in the end.
	DecideImage func(name string) policy.Decision
	DecideFile  func(h *Held, row snapshot.Row) policy.Decision
}

// found is one holder of a name: a snapshot, or an image of it.
type found struct {
	*Held
	image *image // nil: the snapshot itself
	opens bool   // by digest only
}

// tag tells whether the holder is named by a tag.
func (f found) tagged(tag string) bool {
	switch {
	case f.opens:
		return false
	case f.image != nil:
		return f.image.tag == tag
	}
	return slices.Contains(f.tags(), tag) || tag == f.dateTag()
}

// root is the digest that the tag stands for.
func (f found) root() snapshot.Digest {
	if f.image != nil {
		return f.image.Digest
	}
	return f.Root
}

// String names the holder for people.
func (f found) String() string {
	switch {
	case f.image != nil:
		return fmt.Sprintf("%s (%s)", f.image.Name, f.image.Digest)
	case f.home.Host != "":
		return fmt.Sprintf("%s/%s (%s)", f.home.Host, f.home.Repository, f.Root)
	}
	return fmt.Sprintf("snapshot %s (%s)", f.dateTag(), f.Root)
}

// holders are all that a name stands for, current ones first; none is an error. ns is the host that a client says it
// means, "" if it does not say.
func (s *Site) holders(name, ns string) ([]found, error) {
	if ns != "" {
		if _, _, _, ok := snapshot.CutImageName(strings.ToLower(ns) + "/a:t"); !ok {
			return nil, &Error{Status: http.StatusBadRequest, Code: "NAME_INVALID", Message: "no host in the parameter ns"}
		}
	}
	var all []found
	add := func(hs []*Held, images, opens bool) {
		for _, h := range hs {
			if named(name, ns, h.home.Host, h.home.Repository) {
				all = append(all, found{Held: h, opens: opens})
			}
			if !images {
				continue
			}
			for i := range h.images {
				m := &h.images[i]
				if named(name, ns, m.host, m.repository) || named(name, ns, h.home.Host, h.home.Repository+belowSnapshot+m.repository) {
					all = append(all, found{h, m, opens})
				}
			}
		}
	}
	add(s.Current, true, false)
	add(s.Earlier, true, true)
	add(s.Opened, false, true)
	if all != nil {
		return all, nil
	}
	if ns != "" {
		name = ns + "/" + name
	}
	return nil, &Error{Status: http.StatusNotFound, Code: "NAME_UNKNOWN", Message: fmt.Sprintf("no image or snapshot is called %s here", name)}
}

// named tells whether a name of a path stands for HOST/REPO.
func named(name, ns, host, repository string) bool {
	if ns != "" {
		return sameHost(ns, host) && (name == repository || name == library(host, repository))
	}
	if name == repository || name == library(host, repository) {
		return true
	}
	rest, ok := strings.CutPrefix(name, host+"/")
	return ok && host != "" && (rest == repository || rest == library(host, repository))
}

// belowSnapshot is where a place has the images of a snapshot, below its repository (SPEC section 10).
const belowSnapshot = "/images/"

// dockerHub is how engines call Docker Hub in names of images. There, NAME is library/NAME.
const dockerHub = "docker.io"

func library(host, repository string) string {
	if host == dockerHub && !strings.Contains(repository, "/") {
		return "library/" + repository
	}
	return repository
}

func sameHost(ns, host string) bool {
	ns = strings.ToLower(ns)
	return ns == host || host == dockerHub && (ns == "index.docker.io" || ns == "registry-1.docker.io")
}

// Answer is what a path names.
type Answer struct {
	// Body is a small answer, such as a list; nil: a blob or document is answered.
	Body []byte
	// MediaType is the Content-Type.
	MediaType string
	// Header are headers of this answer.
	Header map[string]string

	Blob snapshot.Blob
	// Data are the bytes, if they are at hand; nil: From is asked for Blob.
	Data []byte
	From *Held
	// Fixed tells that the policy does not decide on it, whatever its rules, and that it is asked for by digest.
	Fixed bool
	// ByTag tells that another snapshot may have another answer.
	ByTag bool

	// Image is the name of the image, and Rule the policy's rule, for logs.
	Image, Rule string
}

// Find finds what a path names. ns and filter are the parameters ns and artifactType of the query. What is not
// there, or is denied, is an [*Error]; any other error says that it could not be read.
func (s *Site) Find(ctx context.Context, p Path, ns, filter string) (*Answer, error) {
	holders, err := s.holders(p.Name, ns)
	if err != nil {
		return nil, err
	}
	switch {
	case p.Kind == Blob:
		return s.blob(ctx, p, holders)
	case p.Kind == Referrers:
		return s.referrers(ctx, p, filter, holders)
	case p.Tag != "":
		return s.byTag(ctx, p, holders)
	}
	return s.document(ctx, p, holders)
}

// byTag answers with the document that a tag names.
func (s *Site) byTag(ctx context.Context, p Path, holders []found) (*Answer, error) {
	var named []found
	for _, f := range holders {
		if f.tagged(p.Tag) {
			named = append(named, f)
		}
	}
	for _, f := range named[min(1, len(named)):] {
		if f.root() != named[0].root() {
			return nil, &Error{Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN", Message: fmt.Sprintf(
				"%s:%s is ambiguous, it may be %s or %s: ask with the host before the repository, or by digest", p.Name, p.Tag, named[0], f)}
		}
	}
	if len(named) > 0 {
		a, err := s.documentOf(ctx, named[0].root(), named)
		if err != nil {
			return nil, err
		}
		if a != nil {
			a.ByTag, a.Fixed = true, false
			return a, nil
		}
	}
	unknown := &Error{Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN", Message: fmt.Sprintf("no tag %s of %s here", p.Tag, p.Name), Again: true}
	if s.Fixed(p.Tag) {
		a, err := s.older(ctx, p.Tag, holders, unknown)
		if a != nil {
			a.Fixed = false // a tag may be removed
		}
		return a, err
	}
	return nil, unknown
}

// document answers with a document by its digest.
func (s *Site) document(ctx context.Context, p Path, holders []found) (*Answer, error) {
	a, err := s.documentOf(ctx, p.Digest, holders)
	if a != nil || err != nil {
		return a, err
	}
	return s.older(ctx, p.Digest.String(), holders, &Error{Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN",
		Message: fmt.Sprintf("no manifest %s of %s here", p.Digest, p.Name), Again: true})
}

// older answers with the root of an older snapshot that belongs to one of the holders' repositories.
func (s *Site) older(ctx context.Context, id string, holders []found, unknown *Error) (*Answer, error) {
	if !slices.ContainsFunc(holders, func(f found) bool { return f.image == nil }) {
		return nil, unknown
	}
	h, err := s.Open(ctx, id)
	if err != nil {
		if isNotExist(err) {
			return nil, unknown
		}
		return nil, err
	}
	if !slices.ContainsFunc(holders, func(f found) bool { return f.image == nil && sameHome(f.home, h.home) }) {
		return nil, unknown
	}
	a, err := s.documentOf(ctx, h.Root, []found{{Held: h, opens: true}})
	if a == nil && err == nil {
		err = unknown
	}
	return a, err
}

func sameHome(a, b Home) bool { return a.Host == b.Host && a.Repository == b.Repository }

// documentOf finds a document at the first holder that may give it; nil if none has it.
func (s *Site) documentOf(ctx context.Context, d snapshot.Digest, holders []found) (*Answer, error) {
	var c choice
	for _, f := range holders {
		if f.image == nil {
			a, err := f.ownDocument(ctx, d)
			if a != nil {
				return a, nil
			}
			c.failed(err)
			continue
		}
		row, ok := f.Table.Find(snapshot.ImageBlobPath(d))
		if !ok {
			continue
		}
		mediaType, err := f.mediaType(ctx, d)
		if mediaType == "" {
			c.failed(err)
			continue
		}
		if rule, ok := c.decided(f.image.Name, s.DecideImage(f.image.Name)); ok {
			return &Answer{MediaType: mediaType, Blob: row.Blob(), From: f.Held, Image: f.image.Name, Rule: rule}, nil
		}
	}
	return nil, c.result()
}

// ownDocument is a document of the snapshot itself; nil if it is none.
func (f found) ownDocument(ctx context.Context, d snapshot.Digest) (*Answer, error) {
	docs, err := f.documents(ctx)
	if err != nil {
		return nil, err
	}
	data, mediaType, err := docs.Document(d)
	if data == nil || err != nil {
		return nil, err
	}
	return &Answer{MediaType: mediaType, Blob: snapshot.Blob{Digest: d, Size: int64(len(data))}, Data: data, From: f.Held, Fixed: true}, nil
}

// mediaType is the media type of a document of the image; "" if the image has no such document.
func (f found) mediaType(ctx context.Context, d snapshot.Digest) (string, error) {
	g, err := f.graphOf(ctx, *f.image)
	if err != nil {
		return "", err
	}
	return g.parts[d], nil
}

// blob answers with a blob by its digest.
func (s *Site) blob(ctx context.Context, p Path, holders []found) (*Answer, error) {
	var c choice
	for _, f := range holders {
		var a *Answer
		var err error
		if f.image != nil {
			a, err = s.imageBlob(ctx, f, *f.image, p.Digest, &c)
		} else {
			a, err = s.snapshotBlob(ctx, f, p.Digest, &c)
		}
		if a != nil {
			return a, nil
		}
		c.failed(err)
	}
	if err := c.result(); err != nil {
		return nil, err
	}
	return nil, &Error{Status: http.StatusNotFound, Code: "BLOB_UNKNOWN", Message: fmt.Sprintf("no blob %s of %s here", p.Digest, p.Name), Again: true}
}

// imageBlob is a part of an image if the policy allows the image; nil if it is none.
func (s *Site) imageBlob(ctx context.Context, f found, m image, d snapshot.Digest, c *choice) (*Answer, error) {
	row, ok := f.Table.Find(snapshot.ImageBlobPath(d))
	if !ok {
		return nil, nil
	}
	g, err := f.graphOf(ctx, m)
	if err != nil {
		return nil, err
	}
	if _, ok := g.parts[d]; !ok {
		return nil, nil
	}
	rule, ok := c.decided(m.Name, s.DecideImage(m.Name))
	if !ok {
		return nil, nil
	}
	return &Answer{MediaType: oci.TypeOctets, Blob: row.Blob(), From: f.Held, Image: m.Name, Rule: rule}, nil
}

// snapshotBlob is a blob of the snapshot, as far as the policy allows one of the files or images that have it.
func (s *Site) snapshotBlob(ctx context.Context, f found, d snapshot.Digest, c *choice) (*Answer, error) {
	docs, err := f.documents(ctx)
	if err != nil {
		return nil, err
	}
	if b, data, ok := docs.CoreBlob(d); ok {
		return &Answer{MediaType: oci.TypeOctets, Blob: b, Data: data, From: f.Held, Fixed: true}, nil
	}
	index, err := f.byDigest(ctx)
	if err != nil {
		return nil, err
	}
	for row := range index.Rows(d) {
		if snapshot.IsImageBlob(row.Path) {
			a, err := s.anyImageBlob(ctx, f, row, c)
			if a != nil || err != nil {
				return a, err
			}
			continue
		}
		if rule, ok := c.decided("", s.DecideFile(f.Held, row)); ok {
			return &Answer{MediaType: oci.TypeOctets, Blob: row.Blob(), From: f.Held, Rule: rule}, nil
		}
	}
	return nil, nil
}

// anyImageBlob is a blob at a path of images if one of the images that have it is allowed. A blob that none
// has is given: no rule can be about it.
func (s *Site) anyImageBlob(ctx context.Context, f found, row snapshot.Row, c *choice) (*Answer, error) {
	a := &Answer{MediaType: oci.TypeOctets, Blob: row.Blob(), From: f.Held}
	if !slices.ContainsFunc(f.images, func(m image) bool { return s.DecideImage(m.Name).Rule != "" }) {
		return a, nil // there are no rules
	}
	had := false
	for _, m := range f.images {
		g, err := f.graphOf(ctx, m)
		if err != nil {
			return nil, err
		}
		if _, ok := g.parts[row.Digest]; !ok {
			continue
		}
		had = true
		if rule, ok := c.decided(m.Name, s.DecideImage(m.Name)); ok {
			a.Image, a.Rule = m.Name, rule
			return a, nil
		}
	}
	if had {
		return nil, nil
	}
	return a, nil
}

// choice is why no holder gave what was asked for, so far.
type choice struct {
	denied *Error
	err    error
}

// decided notes a decision; it tells whether that allows, and by which rule.
func (c *choice) decided(image string, d policy.Decision) (rule string, allowed bool) {
	if !d.Allow && c.denied == nil {
		c.denied = &Error{Status: http.StatusForbidden, Code: "DENIED", Message: d.Reason, Image: image, Rule: d.Rule}
	}
	return d.Rule, d.Allow
}

func (c *choice) failed(err error) {
	if c.err == nil {
		c.err = err
	}
}

// result is what could not be read, which might have been allowed, or why what was found is denied; nil if nothing was found.
func (c *choice) result() error {
	if c.err != nil {
		return c.err
	}
	if c.denied != nil {
		return c.denied
	}
	return nil
}
