package builds

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// ListTag is the tag of the list of a place's builds: an index of their manifests, for people.
const ListTag = "sources"

// maxListed is how many builds a list has; the oldest versions fall off, and are found by their identity all the same.
const maxListed = 4096

// keys of the annotations of an entry.
const (
	keyIdentity     = "vnd.mmoci.source.identity"
	keyRecipe       = "vnd.mmoci.source.recipe"
	keySource       = "vnd.mmoci.source.name"
	keyVersion      = "vnd.mmoci.source.version"
	keyArchitecture = "vnd.mmoci.source.architecture"
	keyAuthor       = "vnd.mmoci.source.author"
	keyPatches      = "vnd.mmoci.source.patches" // a line each
)

// Entry is a build in the list of a place. It is as true as whoever may push wants it to be: whether a build counts is told by [Read].
type Entry struct {
	Identity, Recipe              snapshot.Digest
	Source, Version, Architecture string
	About

	manifest oci.Descriptor
}

// List reads the list of a place, by source, version and architecture; of one source alone if it is named.
//
// Errors: outcome.ErrNotFound for a place without one, or without that source.
func List(ctx context.Context, place artifact.Reference, source string, o artifact.Options) ([]Entry, error) {
	ref := place
	ref.Tag, ref.Digest = ListTag, snapshot.Digest{}
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	list, _, err := readList(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s has no list of builds: nothing that was built of a source is %w there", PlaceOf(place), outcome.ErrNotFound)
	}
	list = slices.DeleteFunc(list, func(e Entry) bool { return source != "" && e.Source != source })
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: a build of %s is %w there", PlaceOf(place), source, outcome.ErrNotFound)
	}
	return list, nil
}

// readList gives the list with the digest that the tag names, zero if there is none.
func readList(ctx context.Context, p places.Place, ref artifact.Reference) ([]Entry, snapshot.Digest, error) {
	d, data, err := p.Root(ctx, ref)
	if missing(err) {
		return nil, snapshot.Digest{}, nil
	}
	if err != nil {
		return nil, snapshot.Digest{}, places.Lost(ref, err)
	}
	doc, err := oci.ParseImageDocument(data)
	if err != nil {
		return nil, d.Digest, fmt.Errorf("%s: %w", ref, err)
	}
	var j struct {
		Manifests []jsonPart `json:"manifests"`
	}
	if err := json.Unmarshal(data, &j); err != nil || len(j.Manifests) != len(doc.Manifests) || !doc.IsIndex() {
		return nil, d.Digest, fmt.Errorf("%w: %s: it is no list of builds; the tag %s is theirs", outcome.ErrIntegrity, ref, ListTag)
	}
	var list []Entry
	for i, m := range j.Manifests {
		e := Entry{Source: m.Annotations[keySource], Version: m.Annotations[keyVersion], Architecture: m.Annotations[keyArchitecture],
			About: About{Author: m.Annotations[keyAuthor]}, manifest: doc.Manifests[i].Descriptor}
		var bad [2]error
		e.Identity, bad[0] = snapshot.ParseDigest(m.Annotations[keyIdentity])
		e.Recipe, bad[1] = snapshot.ParseDigest(m.Annotations[keyRecipe])
		if err := errors.Join(bad[:]...); err != nil || m.ArtifactType != TypeBuild {
			return nil, d.Digest, fmt.Errorf("%w: %s: entry %d is of no build; the tag %s is theirs", outcome.ErrIntegrity, ref, i+1, ListTag)
		}
		if s := m.Annotations[keyPatches]; s != "" {
			e.Patches = strings.Split(s, "\n")
		}
		list = append(list, e)
	}
	return list, d.Digest, nil
}

func compareEntries(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Source, b.Source), deb.Compare(a.Version, b.Version), cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Identity.Hex(), b.Identity.Hex()))
}

// list lets the place's list name the build that the tag names. Writers may be many: who finds the list changed reads it again.
func (w *writer) list(ctx context.Context, put *Put) error {
	if put.Did == Otherwise || put.Did == Confirmed && w.ref.Kind == artifact.Registry {
		return nil // the list has the identity since it was tagged
	}
	ref := w.ref
	ref.Tag = ListTag
	for try := 1; ; try++ {
		err := w.listOnce(ctx, ref, put.Reference.Digest)
		if !errors.Is(err, oci.ErrMoved) || try == moves {
			return err
		}
	}
}

func (w *writer) listOnce(ctx context.Context, ref artifact.Reference, manifest snapshot.Digest) error {
	list, was, err := readList(ctx, w.to, ref)
	if err != nil {
		return err
	}
	d, _, err := w.to.Root(ctx, artifact.Reference{Kind: ref.Kind, Name: ref.Name, Digest: manifest})
	if err != nil {
		return err
	}
	d.MediaType = oci.TypeManifest
	id := w.local.Identity
	e := Entry{Identity: id.Digest(), Recipe: id.Recipe(), Source: id.Source, Version: id.Version, Architecture: id.HostArch, About: w.local.About, manifest: d}
	if slices.ContainsFunc(list, func(o Entry) bool { return o.Identity == e.Identity }) {
		return nil
	}
	list = append(list, e)
	slices.SortFunc(list, compareEntries)
	data, left, err := fitList(list)
	if err != nil {
		return err
	}
	if left > 0 {
		w.o.Log.Printf("the list of %s is full: %d builds are no longer in it, and are found by their identity", PlaceOf(ref), left)
	}
	return w.to.Publish(ctx, oci.Describe(oci.TypeIndex, snapshot.BlobOf(data)), data, &was, ref.Tag)
}

// fitList writes a list, without its first entries as far as it would be too large.
func fitList(list []Entry) (data []byte, left int, err error) {
	for left = max(0, len(list)-maxListed); ; left += max(1, (len(list)-left)/16) {
		if data, err = writeList(list[left:]); err != nil || len(data) <= oci.MaxImageDocument {
			return data, left, err
		}
	}
}

func writeList(list []Entry) ([]byte, error) {
	j := struct {
		SchemaVersion int        `json:"schemaVersion"`
		MediaType     string     `json:"mediaType"`
		Manifests     []jsonPart `json:"manifests"`
	}{2, oci.TypeIndex, nil}
	for _, e := range list {
		m := describe(oci.TypeManifest, e.manifest.Blob)
		m.ArtifactType = TypeBuild
		m.Annotations = map[string]string{keyIdentity: e.Identity.String(), keyRecipe: e.Recipe.String(), keySource: e.Source, keyVersion: e.Version, keyArchitecture: e.Architecture}
		if e.Author != "" {
			m.Annotations[keyAuthor] = e.Author
		}
		if len(e.Patches) > 0 {
			m.Annotations[keyPatches] = strings.Join(e.Patches, "\n")
		}
		j.Manifests = append(j.Manifests, m)
	}
	return json.Marshal(j)
}
