package static

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// list is all that a root consists of. A tree has it only after all of that was there.
type list struct {
	root      snapshot.Digest
	documents []oci.Descriptor // sorted by digest
	blobs     []snapshot.Blob  // documents too; sorted by digest
}

// listMagic begins a list; maxList bounds it, for about as many files as a root may have.
const (
	listMagic = "mmoci-static-root-v1"
	maxList   = 256 << 20
)

// endings are those of the files of documents, by media type: the web server tells the type by them.
var endings = map[string]string{
	oci.TypeIndex:          "oci-index",
	oci.TypeManifest:       "oci-manifest",
	oci.TypeDockerList:     "docker-list",
	oci.TypeDockerManifest: "docker-manifest",
}

// listMaker collects a list. The zero value is empty.
type listMaker struct {
	documents map[snapshot.Digest]oci.Descriptor
	blobs     map[snapshot.Digest]snapshot.Blob
}

func (m *listMaker) blob(b snapshot.Blob) {
	if m.blobs == nil {
		m.blobs = map[snapshot.Digest]snapshot.Blob{}
	}
	m.blobs[b.Digest] = b
}

func (m *listMaker) document(d oci.Descriptor) {
	if m.documents == nil {
		m.documents = map[snapshot.Digest]oci.Descriptor{}
	}
	m.documents[d.Digest] = d
	m.blob(d.Blob)
}

func (m *listMaker) list(root snapshot.Digest) (*list, error) {
	l := &list{root: root, documents: slices.Collect(maps.Values(m.documents)), blobs: slices.Collect(maps.Values(m.blobs))}
	for _, d := range l.documents {
		if endings[d.MediaType] == "" {
			return nil, fmt.Errorf("%w: document %s is of type %.100q", oci.ErrImage, d.Digest, d.MediaType)
		}
	}
	slices.SortFunc(l.documents, func(a, b oci.Descriptor) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	slices.SortFunc(l.blobs, func(a, b snapshot.Blob) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	if _, ok := m.documents[root]; !ok {
		return nil, oci.Integrity("root %s is none of its documents", root)
	}
	return l, nil
}

func (l *list) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", listMagic, l.root)
	for _, d := range l.documents {
		fmt.Fprintf(&b, "document %s %d %s\n", d.Digest, d.Size, endings[d.MediaType])
	}
	for _, f := range l.blobs {
		b.WriteString("blob ")
		b.WriteString(f.Digest.String())
		b.WriteByte(' ')
		b.WriteString(strconv.FormatInt(f.Size, 10))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// parseList reads a list. Only what encode writes is one.
func parseList(data []byte) (*list, error) {
	l := &list{}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if err := l.line(f); err != nil {
			return nil, fmt.Errorf("line %.100q: %w", line, err)
		}
	}
	if l.root.IsZero() || !bytes.Equal(l.encode(), data) {
		return nil, fmt.Errorf("not a list of a root")
	}
	byDigest := func(a, b snapshot.Blob) int { return bytes.Compare(a.Digest[:], b.Digest[:]) }
	for i := range l.blobs {
		if i > 0 && byDigest(l.blobs[i-1], l.blobs[i]) >= 0 {
			return nil, fmt.Errorf("blob %s is twice or not in order", l.blobs[i].Digest)
		}
	}
	rooted := false
	for i, d := range l.documents {
		if i > 0 && byDigest(l.documents[i-1].Blob, d.Blob) >= 0 {
			return nil, fmt.Errorf("document %s is twice or not in order", d.Digest)
		}
		if at, ok := slices.BinarySearchFunc(l.blobs, d.Blob, byDigest); !ok || l.blobs[at] != d.Blob {
			return nil, fmt.Errorf("document %s is none of the blobs", d.Digest)
		}
		rooted = rooted || d.Digest == l.root
	}
	if !rooted {
		return nil, fmt.Errorf("root %s is none of the documents", l.root)
	}
	return l, nil
}

func (l *list) line(f []string) (err error) {
	if f[0] == listMagic && len(f) == 2 && l.root.IsZero() {
		l.root, err = snapshot.ParseDigest(f[1])
		return err
	}
	if len(f) < 3 || l.root.IsZero() {
		return fmt.Errorf("neither document nor blob")
	}
	var b snapshot.Blob
	if b.Digest, err = snapshot.ParseDigest(f[1]); err != nil {
		return err
	}
	if b.Size, err = strconv.ParseInt(f[2], 10, 64); err != nil || b.Size < 1 {
		return fmt.Errorf("size %.30q", f[2])
	}
	switch {
	case f[0] == "blob" && len(f) == 3:
		l.blobs = append(l.blobs, b)
		return nil
	case f[0] == "document" && len(f) == 4:
		for mediaType, ending := range endings {
			if ending == f[3] {
				l.documents = append(l.documents, oci.Describe(mediaType, b))
				return nil
			}
		}
	}
	return fmt.Errorf("neither document nor blob")
}

func listPath(root snapshot.Digest) string { return "roots/sha256/" + root.Hex() }

func (t *tree) readList(root snapshot.Digest) (*list, error) {
	f, err := t.root.Open(listPath(root))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := oci.ReadLimited(f, maxList)
	if err != nil {
		return nil, err
	}
	l, err := parseList(data)
	if err == nil && l.root != root {
		err = fmt.Errorf("it is of %s", l.root)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", listPath(root), err)
	}
	return l, nil
}

// lists are the digests of all roots that the tree has a list of.
func (t *tree) lists() ([]snapshot.Digest, error) {
	return t.digests("roots/sha256")
}

// digests are the names in a directory that are digests, sorted; none if there is no such directory.
func (t *tree) digests(dir string) ([]snapshot.Digest, error) {
	f, err := t.root.Open(dir)
	if os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []snapshot.Digest
	for _, name := range names {
		if d, err := snapshot.ParseDigest("sha256:" + name); err == nil {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b snapshot.Digest) int { return bytes.Compare(a[:], b[:]) })
	return all, nil
}
