package builds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// maxReferrers is how many manifests are looked at that refer to one.
const maxReferrers = 64

// Found is a build that counts. Its bytes are at the place, and are verified as they are read.
type Found struct {
	Reference artifact.Reference // with the digest of the manifest
	Identity  *buildsource.Identity
	Parts     []Part   // with the records of the builder whose statement is kept first
	Builders  []string // fingerprints of the listed builders that signed it, each once
	Others    []string // what other builders of this identity made otherwise, a line each

	place     snapshot.Blobs
	statement Part
}

// said is a statement beside a build: whose it is, and with which records.
type said struct {
	doc       *document
	statement Part
	signer    string
}

// candidate is a manifest that is a build of an identity, with what is said of it.
type candidate struct {
	doc    *document
	id     *buildsource.Identity
	said   []said
	failed []error // of what does not count, why
}

// Read reads what a place has for an identity. Of several builds, as different builders made them, that one counts which lies under the
// tag, if enough listed builders signed it; else another one that refers to it.
//
// Errors: outcome.ErrNotFound if there is nothing; ErrUnconfirmed if listed builders signed it, and too few; outcome.ErrIntegrity if
// none did, or what is there contradicts itself.
func Read(ctx context.Context, place artifact.Reference, identity snapshot.Digest, t Trust, o artifact.Options) (*Found, error) {
	ref := At(place, identity)
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	found, err := candidates(ctx, p, ref, identity, t.Builders)
	if err != nil {
		return nil, err
	}
	var failed []error
	listed := 0
	for _, c := range found {
		failed = append(failed, c.failed...)
		builders := c.builders()
		if len(builders) < t.confirm() {
			listed = max(listed, len(builders))
			continue
		}
		f := &Found{Reference: ref, Identity: c.id, Builders: builders, place: p, statement: c.said[0].statement}
		f.Reference.Digest = c.doc.Digest
		for _, part := range c.doc.parts {
			if part.Type != TypeRecord && part.Type != TypeStatement {
				f.Parts = append(f.Parts, part)
			}
		}
		f.Parts = append(f.Parts, c.said[0].doc.of(TypeRecord)...)
		for _, other := range found {
			if other != c && len(other.said) > 0 {
				f.Others = append(f.Others, fmt.Sprintf("not reproducible: %s built %s otherwise", strings.Join(other.builders(), ", "), strings.Join(Differing(c.doc.of(TypeDeb), other.doc.of(TypeDeb)), ", ")))
			}
		}
		slices.Sort(f.Others)
		return f, nil
	}
	if listed > 0 {
		return nil, &unconfirmed{ref, listed, t.confirm()}
	}
	if len(failed) == 0 {
		failed = []error{errors.New("nobody signed it")}
	}
	return nil, fmt.Errorf("%w: %s is not used: %w", outcome.ErrIntegrity, ref, errors.Join(failed...))
}

// builders are the listed ones that signed it, each once.
func (c *candidate) builders() (out []string) {
	for _, s := range c.said {
		if !slices.Contains(out, s.signer) {
			out = append(out, s.signer)
		}
	}
	return out
}

// candidates are the builds of an identity, the one under the tag first. builders nil verifies no signature.
func candidates(ctx context.Context, p places.Place, ref artifact.Reference, identity snapshot.Digest, builders *pgp.Keyring) ([]*candidate, error) {
	d, data, err := p.Root(ctx, ref)
	if missing(err) {
		return nil, fmt.Errorf("%s: %w", ref, outcome.ErrNotFound)
	}
	if err != nil {
		return nil, places.Lost(ref, err)
	}
	root, err := parse(d, data)
	if err != nil {
		root = &document{Descriptor: d, data: data}
	}
	about, err := referrers(ctx, p, root)
	if err != nil {
		return nil, err
	}
	docs := []*document{root}
	for _, r := range about {
		if r.kind == TypeBuild {
			docs = append(docs, r)
		}
	}
	var out []*candidate
	for i, doc := range docs {
		c := &candidate{doc: doc}
		out = append(out, c)
		if err := c.identify(ctx, p, identity); err != nil {
			c.failed = append(c.failed, err)
			continue
		}
		if i > 0 {
			if about, err = referrers(ctx, p, doc); err != nil {
				return nil, err
			}
		}
		for _, s := range slices.Concat([]*document{doc}, about) {
			if s == doc || s.kind == TypeStatement {
				c.hear(ctx, p, s, identity, builders)
			}
		}
	}
	return out, nil
}

// referrers are the manifests of ours that refer to one; what a list names and is not there is left out.
func referrers(ctx context.Context, p places.Place, of *document) ([]*document, error) {
	list, err := p.Referrers(ctx, of.Descriptor)
	if err != nil {
		return nil, err
	}
	if len(list) > maxReferrers {
		return nil, fmt.Errorf("%w: %d manifests refer to %s, the limit is %d", outcome.ErrIntegrity, len(list), of.Digest, maxReferrers)
	}
	slices.SortFunc(list, func(a, b oci.Descriptor) int { return strings.Compare(a.Digest.Hex(), b.Digest.Hex()) })
	var out []*document
	for _, d := range list {
		data, err := p.Document(ctx, d)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if doc, err := parse(d, data); err == nil && doc.about == of.Digest && len(doc.parts) > 0 {
			out = append(out, doc)
		}
	}
	return out, nil
}

// identify reads the identity of a build, and holds against it what it proves.
func (c *candidate) identify(ctx context.Context, p places.Place, identity snapshot.Digest) error {
	if c.doc.kind != TypeBuild {
		return fmt.Errorf("%w: %s is no build", outcome.ErrIntegrity, c.doc.Digest)
	}
	part, ok := c.doc.part(TypeIdentity)
	if !ok || part.Title != IdentityName || part.Digest != identity {
		return fmt.Errorf("%w: %s is a build of another identity", outcome.ErrIntegrity, c.doc.Digest)
	}
	text, err := small(ctx, p, part, buildsource.MaxIdentity)
	if err != nil {
		return err
	}
	id, err := buildsource.ParseIdentity(text)
	if err != nil {
		return err
	}
	for _, d := range c.doc.of(TypeDeb) {
		if !strings.HasSuffix(d.Title, ".deb") {
			return fmt.Errorf("%w: %q is called a .deb", outcome.ErrIntegrity, d.Title)
		}
	}
	if err := checkInputs(ctx, id, c.doc.parts, p); err != nil {
		return err
	}
	c.id = id
	return nil
}

// hear takes the statement of a manifest, if a listed builder signed it and it is of this build.
func (c *candidate) hear(ctx context.Context, p places.Place, doc *document, identity snapshot.Digest, builders *pgp.Keyring) {
	fail := func(err error) { c.failed = append(c.failed, fmt.Errorf("statement in %s: %w", doc.Digest, err)) }
	part, ok := doc.part(TypeStatement)
	if !ok || part.Title != statementName {
		fail(fmt.Errorf("%w: there is none", outcome.ErrIntegrity))
		return
	}
	text, err := small(ctx, p, part, maxStatement)
	if err != nil {
		fail(err)
		return
	}
	plain, how, err := pgp.VerifyClearsigned(text, pgp.Trust{Keyring: builders})
	if err != nil {
		fail(err)
		return
	}
	st, err := ParseStatement(plain)
	if err == nil {
		err = st.vouches(identity, c.doc.of(TypeDeb), doc.of(TypeRecord))
	}
	if err != nil {
		fail(err)
		return
	}
	c.said = append(c.said, said{doc, part, how.Signer})
}

// Differing are the names of .debs that one of two builds has otherwise, or alone.
func Differing(a, b []Part) (out []string) {
	of := map[string]snapshot.Blob{}
	for _, p := range a {
		of[p.Title] = p.Blob
	}
	for _, p := range b {
		if of[p.Title] != p.Blob {
			out = append(out, p.Title)
		}
		delete(of, p.Title)
	}
	for name := range of {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Debs are the .debs of a build, by name.
func (f *Found) Debs() []Part {
	return slices.DeleteFunc(slices.Clone(f.Parts), func(p Part) bool { return p.Type != TypeDeb })
}

// Text reads a part that is held in memory: the identity, the environment or what is said about the build.
func (f *Found) Text(ctx context.Context, title string) ([]byte, error) {
	i := slices.IndexFunc(f.Parts, func(p Part) bool { return p.Title == title })
	if i < 0 {
		return nil, fmt.Errorf("%s: %s is %w", f.Reference, title, outcome.ErrNotFound)
	}
	return small(ctx, f.place, f.Parts[i], maxEnvironment)
}

// Open implements snapshot.Blobs.
func (f *Found) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	return f.place.Open(ctx, b, offset)
}

// WriteTo writes the parts of a build, verified, into a directory whose name is [durable.Vacant]; it has it only when all of them are
// there. The date of the files is the identity's. What takes of which is written; nil: all.
//
// Errors: outcome.ErrUsage for a name that others have; outcome.ErrIntegrity for bytes that are not those that were signed.
func (f *Found) WriteTo(ctx context.Context, dir string, what func(Part) bool) (err error) {
	if err := durable.Vacant(dir); err != nil {
		return fmt.Errorf("%w: %w", outcome.ErrUsage, err)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".mmoci-source-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for _, p := range append(slices.Clone(f.Parts), f.statement) {
		if what != nil && !what(p) {
			continue
		}
		if err := f.writePart(ctx, tmp, p); err != nil {
			return fmt.Errorf("%s: %w", f.Reference, err)
		}
	}
	return durable.PutDir(tmp, dir)
}

func (f *Found) writePart(ctx context.Context, dir string, p Part) error {
	if p.Type == TypeDeb {
		if _, err := ReadDeb(ctx, f.Identity, p, f.place); err != nil {
			return err
		}
	}
	name := filepath.Join(dir, filepath.FromSlash(p.Title)) // parse takes names without directories alone, but for patches/
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = copyPart(ctx, w, f.place, p)
	if synced := w.Sync(); err == nil {
		err = synced
	}
	if closed := w.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Chtimes(name, f.Identity.Date, f.Identity.Date)
	}
	return err
}

// ReadIdentity reads the text of an identity that a place has, and believes it for its digest: that it is there says of no build that it
// counts.
func ReadIdentity(ctx context.Context, place artifact.Reference, identity snapshot.Digest, o artifact.Options) ([]byte, error) {
	return readText(ctx, place, identity, Part{TypeIdentity, IdentityName, snapshot.Blob{Digest: identity}}, buildsource.MaxIdentity, o)
}

// ReadEnvironment reads the text of an identity's environment likewise: it is believed for the digest that the identity gives it.
func ReadEnvironment(ctx context.Context, place artifact.Reference, identity, environment snapshot.Digest, o artifact.Options) ([]byte, error) {
	return readText(ctx, place, identity, Part{TypeEnvironment, EnvironmentName, snapshot.Blob{Digest: environment}}, maxEnvironment, o)
}

// readText reads the part of a type and a digest beside an identity; its size is what the manifest says.
func readText(ctx context.Context, place artifact.Reference, identity snapshot.Digest, want Part, limit int64, o artifact.Options) ([]byte, error) {
	ref := At(place, identity)
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	d, data, err := p.Root(ctx, ref)
	if missing(err) {
		return nil, fmt.Errorf("%s: %w", ref, outcome.ErrNotFound)
	}
	if err != nil {
		return nil, places.Lost(ref, err)
	}
	doc, err := parse(d, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	part, ok := doc.part(want.Type)
	if !ok || part.Digest != want.Digest {
		return nil, fmt.Errorf("%w: %s has not the %s of the identity", outcome.ErrIntegrity, ref, want.Title)
	}
	return small(ctx, p, part, limit)
}
