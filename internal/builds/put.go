package builds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// PutOptions say how a build is put.
type PutOptions struct {
	Artifact artifact.Options
	Signer   pgp.Signer
	Builder  string    // a word: by what it was built
	Date     time.Time // of the statement
	// MountFrom is a repository of the same registry that may have blobs of it; "": none.
	MountFrom string
	Log       outcome.Log
}

// Did is what became of a build that was put.
type Did int

const (
	Tagged    Did = iota // it is what the tag names from now on
	Confirmed            // the same .debs were there; the statement was put beside them
	There                // the same .debs were there with a statement of this key
	Otherwise            // other .debs were there: it was put beside them
)

// Put is where a build lies, and how.
type Put struct {
	Reference artifact.Reference // with the digest of the manifest
	Did       Did
	Differing []string // Otherwise: the files that are not the same
}

// moves is how often a push begins again because somebody else set the tag.
const moves = 4

// Put puts a build under the tag of its identity. A tag never moves: where other builders were before, the statement lies beside equal
// .debs, and the whole build beside other ones. The list of the place's builds has it from then on.
//
// Errors: outcome.ErrUsage for a build without a .deb, and without a signer; what the place says.
func (l *Local) Put(ctx context.Context, place artifact.Reference, o PutOptions) (*Put, error) {
	if o.Signer == nil {
		return nil, outcome.GiveSigningKey.For(fmt.Errorf("%w: a build that nobody signed counts for nobody", outcome.ErrUsage))
	}
	if !slices.ContainsFunc(l.Parts, func(p Part) bool { return p.Type == TypeDeb }) {
		return nil, fmt.Errorf("%w: %s has no .deb", outcome.ErrUsage, l.Dir)
	}
	w, err := l.writer(ctx, place, &o)
	if err != nil {
		return nil, err
	}
	put, err := w.put(ctx)
	if err == nil {
		err = w.list(ctx, put)
	}
	return put, places.Closed(ctx, w.to, w.ref, err)
}

// Writable tells, before something is built for hours, whether it can be put at a place: a registry is given the text of the identity, which
// is a part of every build of it, or says why not. Other places are not touched.
func Writable(ctx context.Context, place artifact.Reference, id *buildsource.Identity, o artifact.Options) error {
	if place.Kind != artifact.Registry {
		return nil
	}
	ref := At(place, id.Digest())
	to, err := places.OpenTarget(ctx, ref, "", &places.PushOptions{Options: o})
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	text := id.Text()
	open := func(context.Context, snapshot.Blob) (oci.Verified, error) { return oci.InMemory(text), nil }
	_, err = to.Put(ctx, oci.Layer{Descriptor: oci.Describe(TypeIdentity, snapshot.BlobOf(text))}, open)
	return places.Closed(ctx, to, ref, err)
}

// writer puts one build.
type writer struct {
	local     *Local
	o         *PutOptions
	ref       artifact.Reference
	to        places.Destination
	statement []byte
	said      Part
}

func (l *Local) writer(ctx context.Context, place artifact.Reference, o *PutOptions) (*writer, error) {
	st := Statement{Identity: l.Identity.Digest(), Date: o.Date.UTC().Truncate(time.Second), Builder: word(o.Builder)}
	for _, p := range l.Parts {
		if p.Type == TypeDeb || p.Type == TypeRecord {
			st.Files = append(st.Files, File{Name: p.Title, Blob: p.Blob})
		}
	}
	slices.SortFunc(st.Files, compareFiles)
	text, err := o.Signer.Clearsign(st.Text(), st.Date)
	if err != nil {
		return nil, fmt.Errorf("statement of the build: %w", err)
	}
	w := &writer{local: l, o: o, ref: At(place, st.Identity), statement: text, said: Part{TypeStatement, statementName, snapshot.BlobOf(text)}}
	w.to, err = places.OpenTarget(ctx, w.ref, o.MountFrom, &places.PushOptions{Options: o.Artifact})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.ref, err)
	}
	return w, nil
}

// word is a text as one word of a line.
func word(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, s)
	if s == "" {
		return "unknown"
	}
	return s[:min(len(s), 80)]
}

func (w *writer) put(ctx context.Context) (*Put, error) {
	for try := 1; ; try++ {
		put, err := w.once(ctx)
		if !errors.Is(err, oci.ErrMoved) || try == moves {
			return put, err
		}
	}
}

// once looks what is there, and puts what has to be put beside it, or under the tag.
func (w *writer) once(ctx context.Context) (*Put, error) {
	debs := slices.DeleteFunc(slices.Clone(w.local.Parts), func(p Part) bool { return p.Type != TypeDeb })
	there, err := candidates(ctx, w.to, w.ref, w.local.Identity.Digest(), nil)
	if errors.Is(err, outcome.ErrNotFound) {
		doc, err := w.write(ctx, TypeBuild, nil, w.local.Parts)
		if err != nil {
			return nil, err
		}
		if err := w.to.Publish(ctx, doc.Descriptor, doc.data, &snapshot.Digest{}, w.ref.Tag); err != nil {
			return nil, err
		}
		return w.placed(doc, Tagged), nil
	}
	if err != nil {
		return nil, err
	}
	for _, c := range there {
		if c.id == nil || len(Differing(c.doc.of(TypeDeb), debs)) > 0 {
			continue
		}
		for _, s := range c.said {
			if s.statement.Blob == w.said.Blob || w.signed(ctx, s) {
				return w.placed(c.doc, There), nil
			}
		}
		records := slices.DeleteFunc(slices.Clone(w.local.Parts), func(p Part) bool { return p.Type != TypeRecord && p.Type != TypeIdentity })
		doc, err := w.write(ctx, TypeStatement, &c.doc.Descriptor, records)
		if err == nil {
			err = w.attach(ctx, doc)
		}
		return w.placed(c.doc, Confirmed), err
	}
	first := there[0]
	doc, err := w.write(ctx, TypeBuild, &first.doc.Descriptor, w.local.Parts)
	if err == nil {
		err = w.attach(ctx, doc)
	}
	put := w.placed(doc, Otherwise)
	put.Differing = Differing(first.doc.of(TypeDeb), debs)
	return put, err
}

// signed tells whether a statement that is there is of this signer.
func (w *writer) signed(ctx context.Context, s said) bool {
	text, err := small(ctx, w.to, s.statement, maxStatement)
	if err != nil {
		return false
	}
	_, how, err := pgp.VerifyClearsigned(text, pgp.Trust{Keyring: w.o.Signer.Public()})
	return err == nil && how.Kind == pgp.Signed
}

func (w *writer) placed(doc *document, did Did) *Put {
	put := &Put{Reference: w.ref, Did: did}
	if doc != nil {
		put.Reference.Digest = doc.Digest
	}
	return put
}

// write puts parts with the statement, and makes their manifest.
func (w *writer) write(ctx context.Context, kind string, about *oci.Descriptor, parts []Part) (*document, error) {
	parts = append(slices.Clone(parts), w.said)
	doc, err := write(kind, parts, about, map[string]string{"org.opencontainers.image.created": snapshot.FormatDate(w.local.Identity.Date)})
	if err != nil {
		return nil, err
	}
	blobs := []oci.Descriptor{oci.EmptyConfigDescriptor()}
	for _, p := range parts {
		blobs = append(blobs, oci.Describe(p.Type, p.Blob))
	}
	contents := oci.Contents{Root: doc.Descriptor, Blobs: func(yield func(snapshot.Blob) bool) {
		for _, b := range append(blobs, doc.Descriptor) {
			if !yield(b.Blob) {
				return
			}
		}
	}}
	if err := w.to.Begin(contents, false); err != nil {
		return nil, err
	}
	local := oci.VerifiedFrom(w.local)
	open := func(ctx context.Context, b snapshot.Blob) (oci.Verified, error) {
		switch b {
		case w.said.Blob:
			return oci.InMemory(w.statement), nil
		case snapshot.BlobOf([]byte(oci.EmptyConfig)):
			return oci.InMemory([]byte(oci.EmptyConfig)), nil
		}
		return local(ctx, b)
	}
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(w.o.Artifact.Workers())
	for i, b := range blobs {
		if slices.ContainsFunc(blobs[:i], func(d oci.Descriptor) bool { return d.Digest == b.Digest }) {
			continue
		}
		g.Go(func() error {
			there, err := w.to.Has(each, b)
			if err == nil && !there {
				_, err = w.to.Put(each, oci.Layer{Descriptor: b}, open)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return doc, oci.Interrupted(ctx)
}

// attach puts a manifest that refers to another.
func (w *writer) attach(ctx context.Context, doc *document) error {
	if err := w.to.PutDocument(ctx, doc.Descriptor, doc.data); err != nil {
		return err
	}
	if w.to.Layout != nil {
		return w.to.Layout.NameImages(ctx, []oci.NamedImage{{Descriptor: doc.Descriptor}})
	}
	return nil
}

// Tell says what became of the build.
func (p *Put) Tell(log outcome.Log) {
	switch p.Did {
	case Tagged:
		log.Printf("%s: put", p.Reference)
	case Confirmed:
		log.Printf("%s: the same .debs were there; this key's statement confirms them", p.Reference)
	case There:
		log.Printf("%s: there already", p.Reference)
	}
}

// Differs is the error of a build whose .debs are not those that were there; nil: they are, or nothing was.
func (p *Put) Differs() error {
	if p.Did != Otherwise {
		return nil
	}
	return fmt.Errorf("%w: %s: not reproducible: %s has other bytes here than in what is there under the tag, which stays; both are kept", outcome.ErrIntegrity, p.Reference, strings.Join(p.Differing, ", "))
}
