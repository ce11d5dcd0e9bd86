package static

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// rootList is all that a root consists of. A tree has it only after all of that was there.
type rootList struct {
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

func (m *listMaker) list(root snapshot.Digest) (*rootList, error) {
	l := &rootList{root: root, documents: slices.Collect(maps.Values(m.documents)), blobs: slices.Collect(maps.Values(m.blobs))}
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

func (l *rootList) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", listMagic, l.root)
	for _, d := range l.documents {
		fmt.Fprintf(&b, "%s%s %d %s\n", documentWord, d.Digest, d.Size, endings[d.MediaType])
	}
	for _, f := range l.blobs {
		b.WriteString(blobWord)
		b.WriteString(f.Digest.String())
		b.WriteByte(' ')
		b.WriteString(strconv.FormatInt(f.Size, 10))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// What lines begin with.
const (
	documentWord = "document "
	blobWord     = "blob "
)

// parseList reads a list. Only what encode writes is one.
func parseList(data []byte) (*rootList, error) {
	text := string(data)
	if !strings.HasSuffix(text, "\n") {
		return nil, errors.New("no list of a root, or the begin of one")
	}
	l := &rootList{blobs: make([]snapshot.Blob, 0, len(text)/minBlobLine)}
	for line := range strings.Lines(text) {
		if err := l.line(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("line %.100q: %w", line, err)
		}
	}
	rooted := false
	for _, d := range l.documents {
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

// minBlobLine is the length of the shortest line of a blob.
const minBlobLine = len(blobWord+"sha256:"+" 1\n") + 2*len(snapshot.Digest{})

func byDigest(a, b snapshot.Blob) int { return bytes.Compare(a.Digest[:], b.Digest[:]) }

// line takes one line. The first names the root; documents come before blobs, each in order.
func (l *rootList) line(text string) error {
	if l.root.IsZero() {
		digest, ok := strings.CutPrefix(text, listMagic+" ")
		d, err := snapshot.ParseDigest(digest)
		if !ok || err != nil || d.IsZero() {
			return errors.New("not the first line of a list of a root")
		}
		l.root = d
		return nil
	}
	if rest, ok := strings.CutPrefix(text, blobWord); ok {
		b, err := parseBlob(rest)
		if err != nil {
			return err
		}
		if n := len(l.blobs); n > 0 && byDigest(l.blobs[n-1], b) >= 0 {
			return fmt.Errorf("blob %s is twice or not in order", b.Digest)
		}
		l.blobs = append(l.blobs, b)
		return nil
	}
	rest, ok := strings.CutPrefix(text, documentWord)
	i := strings.LastIndexByte(rest, ' ')
	if !ok || i < 0 || len(l.blobs) > 0 {
		return errors.New("neither document nor blob")
	}
	b, err := parseBlob(rest[:i])
	if err != nil {
		return err
	}
	if n := len(l.documents); n > 0 && byDigest(l.documents[n-1].Blob, b) >= 0 {
		return fmt.Errorf("document %s is twice or not in order", b.Digest)
	}
	for mediaType, ending := range endings {
		if ending == rest[i+1:] {
			l.documents = append(l.documents, oci.Describe(mediaType, b))
			return nil
		}
	}
	return fmt.Errorf("no document is a %.40q", rest[i+1:])
}

// parseBlob reads DIGEST SIZE, with the size as encode writes it.
func parseBlob(text string) (b snapshot.Blob, err error) {
	digest, size, _ := strings.Cut(text, " ")
	if b, err = snapshot.ParseBlob(digest, size); err == nil && b.Size == 0 {
		err = errors.New("size 0")
	}
	return b, err
}

func listPath(root snapshot.Digest) string { return rootsDir + "/" + root.Hex() }

func (t *tree) readList(root snapshot.Digest) (*rootList, error) {
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
	all := make([]snapshot.Digest, 0, len(names))
	for _, name := range names {
		if d, err := snapshot.ParseDigest("sha256:" + name); err == nil {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b snapshot.Digest) int { return bytes.Compare(a[:], b[:]) })
	return all, nil
}
