package layout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

const (
	annotationTag  = "org.opencontainers.image.ref.name"
	annotationName = "io.containerd.image.name" // HOST/REPO:TAG: what engines call the image
	layoutMarker   = `{"imageLayoutVersion":"1.0.0"}`
	maxLayoutIndex = 16 << 20 // bytes of index.json
)

// layoutIndex is the index.json of a layout: image-spec's,
// so that other tools' entries live beside ours and survive.
type layoutIndex struct {
	rest    map[string]json.RawMessage // keys other than manifests, kept as they are
	entries []layoutEntry
}

// layoutEntry is one descriptor of index.json; raw keeps what we do not know.
type layoutEntry struct {
	raw json.RawMessage
	oci.Descriptor
	tag  string
	name string // of annotationName
}

// parseLayoutIndex reads index.json with leniency: it belongs to all tools.
func parseLayoutIndex(data []byte) (*layoutIndex, error) {
	x := &layoutIndex{}
	if err := json.Unmarshal(data, &x.rest); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if x.rest == nil {
		return nil, fmt.Errorf("index.json: null")
	}
	var raws []json.RawMessage
	if m, ok := x.rest["manifests"]; ok {
		if err := json.Unmarshal(m, &raws); err != nil {
			return nil, fmt.Errorf("index.json: manifests: %w", err)
		}
		delete(x.rest, "manifests")
	}
	for i, raw := range raws {
		var j struct {
			oci.JSONDescriptor
			Annotations map[string]string `json:"annotations"`
		}
		if err := json.Unmarshal(raw, &j); err != nil {
			return nil, fmt.Errorf("index.json: entry %d: %w", i, err)
		}
		e := layoutEntry{raw: raw, tag: j.Annotations[annotationTag], name: j.Annotations[annotationName]}
		if d, err := snapshot.ParseDigest(j.Digest); err == nil { // others may use other algorithms
			e.Descriptor = oci.Describe(j.MediaType, snapshot.Blob{Digest: d, Size: j.Size})
		}
		x.entries = append(x.entries, e)
	}
	return x, nil
}

// find returns the entry a reference names, by its tag or by what engines call it. A tag that is not
// there is the only entry, if that has no name and "latest" is asked for: some copiers lose the tag.
func (x *layoutIndex) find(tag string) (oci.Descriptor, bool) {
	for _, named := range []func(layoutEntry) string{
		func(e layoutEntry) string { return e.tag },
		func(e layoutEntry) string { return e.name },
	} {
		for _, e := range x.entries {
			if named(e) == tag && !e.Digest.IsZero() {
				return e.Descriptor, true
			}
		}
	}
	if tag == oci.DefaultTag && len(x.entries) == 1 && x.entries[0].tag == "" && !x.entries[0].Digest.IsZero() {
		return x.entries[0].Descriptor, true
	}
	return oci.Descriptor{}, false
}

// set moves a tag.
func (x *layoutIndex) set(tag string, d oci.Descriptor) {
	raw := oci.AppendDescriptor(nil, d)
	raw = append(raw[:len(raw)-1], `,"annotations":{"`+annotationTag+`":"`+tag+`"}}`...)
	x.entries = slices.DeleteFunc(x.entries, func(e layoutEntry) bool { return e.tag == tag })
	x.entries = append(x.entries, layoutEntry{raw, d, tag, ""})
}

// setImages names images: an entry of the same name is replaced, one without a name is there once. A tag that
// somebody else gave stays theirs: then the image has its whole name only. It tells whether that changed anything.
func (x *layoutIndex) setImages(images []oci.NamedImage) (changed bool) {
	for _, m := range images {
		if m.Name != "" && slices.ContainsFunc(x.entries, func(e layoutEntry) bool { return e.tag == m.Tag && e.name == "" }) {
			m.Tag = ""
		}
		if slices.ContainsFunc(x.entries, func(e layoutEntry) bool {
			return e.Descriptor == m.Descriptor && e.tag == m.Tag && e.name == m.Name
		}) {
			continue
		}
		changed = true
		x.entries = slices.DeleteFunc(x.entries, func(e layoutEntry) bool {
			return m.Tag != "" && e.tag == m.Tag || m.Name != "" && e.tag == "" && e.name == m.Name
		})
		x.entries = append(x.entries, imageEntry(m))
	}
	return changed
}

// imageEntry needs no escaping: names are of SPEC section 4's grammar, media types those of documents.
func imageEntry(m oci.NamedImage) layoutEntry {
	raw := oci.AppendDescriptor(nil, m.Descriptor)
	var annotations []string
	for _, a := range [][2]string{{annotationName, m.Name}, {annotationTag, m.Tag}} {
		if a[1] != "" {
			annotations = append(annotations, `"`+a[0]+`":"`+a[1]+`"`)
		}
	}
	if len(annotations) > 0 {
		raw = append(raw[:len(raw)-1], `,"annotations":{`+strings.Join(annotations, ",")+`}}`...)
	}
	return layoutEntry{raw, m.Descriptor, m.Tag, m.Name}
}

// Tags are the entries whose name is a tag, or REPO:TAG as images are called. Other tools write whole
// references there, and somebody hostile anything: such an entry stays, but is neither listed nor found.
func (x *layoutIndex) Tags() []oci.Tag {
	var ts []oci.Tag
	for _, e := range x.entries {
		if (oci.ValidTag(e.tag) || oci.ValidImageName(e.tag)) && !e.Digest.IsZero() {
			ts = append(ts, oci.Tag{Name: e.tag, Digest: e.Digest, Date: oci.TagDate(e.tag)})
		}
	}
	return ts
}

func (x *layoutIndex) encode() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`{"schemaVersion":2,"mediaType":"` + oci.TypeIndex + `","manifests":[`)
	for i, e := range x.entries {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := json.Compact(&b, e.raw); err != nil {
			return nil, fmt.Errorf("index.json: entry %d: %w", i, err)
		}
	}
	b.WriteByte(']')
	for _, key := range slices.Sorted(maps.Keys(x.rest)) {
		if key == "schemaVersion" || key == "mediaType" {
			continue
		}
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		b.WriteByte(',')
		b.Write(name)
		b.WriteByte(':')
		if err := json.Compact(&b, x.rest[key]); err != nil {
			return nil, fmt.Errorf("index.json: %s: %w", key, err)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
