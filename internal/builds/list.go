package builds

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unicode"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/transfer"
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
		return nil, fmt.Errorf("%s: a list of builds is %w there", PlaceOf(place), outcome.ErrNotFound)
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
			About: About{Author: oneLine(m.Annotations[keyAuthor])}, manifest: doc.Manifests[i].Descriptor}
		var bad [2]error
		e.Identity, bad[0] = snapshot.ParseDigest(m.Annotations[keyIdentity])
		e.Recipe, bad[1] = snapshot.ParseDigest(m.Annotations[keyRecipe])
		named := deb.ValidName(e.Source) && deb.ValidVersion(e.Version) == nil && deb.ValidArchitecture(e.Architecture)
		if err := errors.Join(bad[:]...); err != nil || !named || m.ArtifactType != TypeBuild {
			return nil, d.Digest, fmt.Errorf("%w: %s: entry %d is of no build; the tag %s is theirs", outcome.ErrIntegrity, ref, i+1, ListTag)
		}
		if s := m.Annotations[keyPatches]; s != "" {
			for title := range strings.SplitSeq(s, "\n") {
				e.Patches = append(e.Patches, oneLine(title))
			}
		}
		list = append(list, e)
	}
	return list, d.Digest, nil
}

// oneLine is what somebody wrote into a list as one line of text: whoever may push can write anything there.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), maxTitle)], ""))
}

func compareEntries(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Source, b.Source), deb.Compare(a.Version, b.Version), cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Identity.Hex(), b.Identity.Hex()))
}

// Limits of writing the list.
const (
	listMoves = 64 // how often a writer begins again because somebody else wrote the list
	maxMissed = 64 // builds that others put, and that one writer adds
)

// list lets the place's list name the build that the tag names. Writers may be many, and a registry does not compare what a tag named
// before with what its writer believes: a list that is written may take the place of one that was not read. So who wrote the list of a
// registry looks whether a build is tagged that it does not name, and adds it. Each build is tagged before it is listed, so the last
// writer's list names them all.
func (w *writer) list(ctx context.Context, put *Put) error {
	if put.Did == Otherwise || put.Did == Confirmed && w.ref.Kind == artifact.Registry {
		return nil // the list has the identity since it was tagged
	}
	ref := w.ref
	ref.Tag, ref.Digest = ListTag, snapshot.Digest{}
	own, err := w.entry(ctx, put.Reference.Digest)
	if err != nil {
		return err
	}
	add := []Entry{own}
	for try := 1; ; try++ {
		list, err := w.listOnce(ctx, ref, add)
		switch {
		case errors.Is(err, oci.ErrMoved) && try < listMoves:
			if err := transfer.Sleep(ctx, time.Duration(rand.Int64N(int64(5*time.Millisecond)*int64(min(try, 8))))); err != nil {
				return err
			}
			continue
		case err != nil || list == nil || w.ref.Kind != artifact.Registry:
			return err
		}
		if add, err = w.missed(ctx, list); err != nil || len(add) == 0 || try == listMoves {
			return err
		}
	}
}

// entry is that of the writer's build.
func (w *writer) entry(ctx context.Context, manifest snapshot.Digest) (Entry, error) {
	d, _, err := w.to.Root(ctx, artifact.Reference{Kind: w.ref.Kind, Name: w.ref.Name, Digest: manifest})
	if err != nil {
		return Entry{}, err
	}
	return entryOf(w.local.Identity, w.local.About, d), nil
}

func entryOf(id *buildsource.Identity, about About, d oci.Descriptor) Entry {
	d.MediaType = oci.TypeManifest
	return Entry{Identity: id.Digest(), Recipe: id.Recipe(), Source: id.Source, Version: id.Version, Architecture: id.HostArch, About: about, manifest: d}
}

// listOnce adds entries that the list does not have, and gives the list as it was written; nil if it had them.
func (w *writer) listOnce(ctx context.Context, ref artifact.Reference, add []Entry) ([]Entry, error) {
	list, was, err := readList(ctx, w.to, ref)
	if err != nil {
		return nil, err
	}
	there := identities(list)
	add = slices.DeleteFunc(slices.Clone(add), func(e Entry) bool { return there[e.Identity] })
	if len(add) == 0 {
		return nil, nil
	}
	list = append(list, add...)
	slices.SortFunc(list, compareEntries)
	data, left, err := fitList(list)
	if err != nil {
		return nil, err
	}
	if left > 0 {
		w.o.Log.Printf("the list of %s is full: %d builds are no longer in it, and are found by their identity", PlaceOf(ref), left)
	}
	return list, w.to.Publish(ctx, oci.Describe(oci.TypeIndex, snapshot.BlobOf(data)), data, &was, ref.Tag)
}

func identities(list []Entry) map[snapshot.Digest]bool {
	out := map[snapshot.Digest]bool{}
	for _, e := range list {
		out[e.Identity] = true
	}
	return out
}

// missed are builds that the place's tags name and the list does not. A place that does not list its tags has none, and what cannot be
// read is none: anybody who may push can set such a tag.
func (w *writer) missed(ctx context.Context, list []Entry) (out []Entry, err error) {
	tags, err := w.to.TagNames(ctx)
	if err != nil {
		return nil, oci.Interrupted(ctx)
	}
	there := identities(list)
	for _, tag := range tags {
		identity, ok := IdentityOf(tag)
		if !ok || there[identity] || len(list)+len(out) >= maxListed || len(out) == maxMissed {
			continue
		}
		e, err := w.entryAt(ctx, identity)
		if err == nil {
			out = append(out, e)
		} else if err := oci.Interrupted(ctx); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// entryAt is the entry of a build that another writer put.
func (w *writer) entryAt(ctx context.Context, identity snapshot.Digest) (Entry, error) {
	d, data, err := w.to.Root(ctx, At(w.ref, identity))
	if err != nil {
		return Entry{}, err
	}
	doc, err := parse(d, data)
	if err != nil {
		return Entry{}, err
	}
	part, ok := doc.part(TypeIdentity)
	if doc.kind != TypeBuild || !ok || part.Digest != identity {
		return Entry{}, fmt.Errorf("%w: it is no build of %s", outcome.ErrIntegrity, identity)
	}
	text, err := small(ctx, w.to, part, buildsource.MaxIdentity)
	if err != nil {
		return Entry{}, err
	}
	id, err := buildsource.ParseIdentity(text)
	if err != nil {
		return Entry{}, err
	}
	var about About
	if i := slices.IndexFunc(doc.parts, func(p Part) bool { return p.Title == AboutName }); i >= 0 {
		text, err := small(ctx, w.to, doc.parts[i], maxAbout)
		if err != nil {
			return Entry{}, err
		}
		about = parseAbout(text)
	}
	return entryOf(id, about, d), nil
}

// fitList writes a list, without as many of its entries as it would be too large: those with the most newer ones of their source.
func fitList(list []Entry) (data []byte, left int, err error) {
	newer := map[snapshot.Digest]int{} // how many come behind it in the list, by identity
	for i := len(list) - 2; i >= 0; i-- {
		if a, b := &list[i], &list[i+1]; a.Source == b.Source {
			newer[a.Identity] = newer[b.Identity] + 1
		}
	}
	oldest := slices.Clone(list)
	slices.SortStableFunc(oldest, func(a, b Entry) int { return newer[b.Identity] - newer[a.Identity] })
	for left = max(0, len(list)-maxListed); ; left += max(1, (len(list)-left)/16) {
		kept := slices.Clone(oldest[left:])
		slices.SortFunc(kept, compareEntries)
		if data, err = writeList(kept); err != nil || len(data) <= oci.MaxImageDocument {
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
