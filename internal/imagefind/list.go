// Package imagefind finds the images of registries and layouts, and tells which of them have a package, by what is said beside them.
package imagefind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"example.org/mmoci/internal/builds"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Candidate is what may be an image.
type Candidate struct {
	Reference artifact.Reference
	Listed    bool // nobody named it: it may be a snapshot, or the image of a single package, which are passed over
}

// List gives the images that a name stands for:
//
//	HOST/*        all of a registry, as far as it lists its repositories
//	HOST/REPO/*   all of the repositories below one
//	REF:*         all of one repository, layout or oci-archive; oci:DIR/* is oci:DIR:*
//	REF           one
//
// Of a repository each image is given once, under the first of its tags. Tags that are no one's choice are left out: those of
// referrers and signatures, those of builds of sources, and those that mmoci sets beside a tag to keep what it named.
//
// Errors: outcome.ErrUsage for a star elsewhere; outcome.ErrNotFound if there is nothing; a registry that does not list its repositories.
func List(ctx context.Context, name string, o Options) ([]Candidate, error) {
	base, all := strings.CutSuffix(name, ":*")
	below := false
	if !all {
		base, below = strings.CutSuffix(name, "/*")
		if isFile := strings.HasPrefix(base, "oci:") || strings.HasPrefix(base, "oci-archive:"); below && isFile {
			below, all = false, true
		}
	}
	switch {
	case strings.Contains(base, "*"):
		return nil, fmt.Errorf("%w: %q: a star stands at the end alone: HOST/*, HOST/REPO/* or REF:*", outcome.ErrUsage, name)
	case !all && !below:
		ref, err := artifact.ParseReference(name)
		if err != nil {
			return nil, err
		}
		return []Candidate{{Reference: ref}}, nil
	case all:
		ref, err := artifact.ParseReference(base)
		if err != nil {
			return nil, err
		}
		return tagged(ctx, ref, o)
	}
	host, under, _ := strings.Cut(base, "/")
	ref, err := artifact.ParseReference(host + "/" + strings.TrimPrefix(under+"/x", "/"))
	if err != nil {
		return nil, err
	}
	repositories, err := artifact.Repositories(ctx, ref, o.Artifact)
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%s does not tell which repositories it has (%w); name the images", host, notLost(err))
		}
		return nil, err
	}
	var out []Candidate
	for _, r := range repositories {
		if under != "" && !strings.HasPrefix(r, under+"/") {
			continue
		}
		at, err := artifact.ParseReference(ref.Host() + "/" + r)
		if err != nil {
			continue // no client could name it
		}
		found, err := tagged(ctx, at, o)
		if errors.Is(err, outcome.ErrNotFound) || errors.Is(err, artifact.ErrNotFound) {
			continue // all its tags were removed
		}
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: an image is %w there", name, outcome.ErrNotFound)
	}
	return out, nil
}

// notLost is an error that a thing is not there, where the thing is none that was asked for.
func notLost(err error) error {
	if errors.Is(err, artifact.ErrNotFound) {
		return errors.New(err.Error())
	}
	return err
}

// tagged are the images of one place.
func tagged(ctx context.Context, ref artifact.Reference, o Options) ([]Candidate, error) {
	tags, err := artifact.Tags(ctx, ref, o.Artifact)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	built := map[string]bool{} // tags of what was built of sources, and of their list
	for _, t := range tags {
		names[t.Name] = true
		if _, ok := builds.IdentityOf(t.Name); ok {
			built[t.Name], built[builds.ListTag] = true, true
		}
	}
	var out []Candidate
	seen := map[snapshot.Digest]bool{}
	for _, t := range tags {
		if seen[t.Digest] || !t.Date.IsZero() || attached.MatchString(t.Name) || built[t.Name] || kept(t, names) {
			continue
		}
		seen[t.Digest] = true
		at := ref
		at.Tag, at.Digest = t.Name, t.Digest
		out = append(out, Candidate{at, true})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: an image is %w there", ref.Name, outcome.ErrNotFound)
	}
	return out, nil
}

// attached are tags of what refers to another manifest (distribution-spec, "Referrers Tag Schema"; cosign).
var attached = regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.[a-z]+)?$`)

// kept tells whether a tag is the one that is set beside another one, TAG-HEX12, or that of a push under way.
func kept(t artifact.Tag, names map[string]bool) bool {
	stem, isKept := strings.CutSuffix(t.Name, "-"+t.Digest.Hex()[:12])
	return isKept && (names[stem] || len(t.Name) == oci.MaxTag) || checkpoint.MatchString(t.Name) // a long one is cut
}

var checkpoint = regexp.MustCompile(`-ckpt-[0-9a-f]{12}-[0-9]+$`)

// isOfOnePackage tells whether an image is of a single package, as "image build" puts them beside an image.
func isOfOnePackage(ctx context.Context, ref artifact.Reference, o Options) bool {
	im, err := images.Read(ctx, ref, images.Options{Options: o.Artifact, WithoutReferrers: true})
	if err != nil {
		return false
	}
	i := slices.IndexFunc(im.Documents, func(d oci.ImagePart) bool { return !d.Document.IsIndex() })
	if i < 0 || im.Documents[i].Document.Config.Size > maxConfig {
		return false
	}
	b := im.Documents[i].Document.Config.Blob
	c, err := im.Open(ctx, b, 0)
	if err != nil {
		return false
	}
	r := c.Reader(b)
	defer r.Close()
	var config struct {
		Config struct{ Labels map[string]string }
	}
	return json.NewDecoder(r).Decode(&config) == nil && config.Config.Labels["org.mmoci.deb"] != ""
}

// maxConfig bounds a config that is looked at, in bytes; one of a single package has less than a thousand.
const maxConfig = 64 << 10

// ReadReferences reads a file with a reference a line; # begins a comment.
func ReadReferences(file string) ([]string, error) {
	text, err := document.ReadFile(file, document.MaxList)
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		line, _, _ := strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out, nil
}
