package layercache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/snapshot"
)

// maxNote bounds a note, in bytes: that of a package with as many files as one may have is smaller.
const maxNote = 256 << 20

// notesGeneration rises when notes say otherwise what is known of the same package, such as which scripts do nothing.
const notesGeneration = 2

// Layer is a layer, and what is known of it. One that nobody asked for beside its note has a DiffID and no blob.
type Layer struct {
	image.Layer
	Note *rootfs.Note // of a layer of one package
	Text []byte       // of the note, as it was read, or as only who wrote it understands it
}

// Unpacked is the layer without its blob, as one is that shares a blob with others.
func (l Layer) Unpacked() Layer {
	l.Layer = image.Layer{DiffID: l.DiffID}
	return l
}

// OfPackage reads the note of a package's layer.
func (l *Layer) OfPackage(deb snapshot.Blob, r rootfs.Recipe) error {
	note, err := rootfs.ParseNote(l.Text)
	if err != nil {
		return err
	}
	if note.Deb != deb || !note.Recipe.Equal(r) || note.Layer.Digest != l.DiffID {
		return errors.New("it is of another layer")
	}
	l.Note, l.By = note, "package "+note.String()
	return nil
}

// encode is the note as it is kept.
func (l Layer) encode() (line string, text []byte) {
	if l.Text == nil && l.Note != nil {
		return layerLine(l.Layer), l.Note.Encode()
	}
	return layerLine(l.Layer), l.Text
}

func parseLayer(data []byte) (l Layer, err error) {
	line, text, _ := bytes.Cut(data, []byte("\n"))
	l.Layer, err = parseLayerLine(string(line))
	l.Text = text
	return l, err
}

// The first line of a note, before the text of rootfs: which blob the layer is. Of one that was never packed there is no blob.
//
//	layer MEDIATYPE BLOB-DIGEST SIZE DIFFID
//	unpacked DIFFID
func layerLine(l image.Layer) string {
	if l.Digest.IsZero() {
		return fmt.Sprintf("unpacked %s\n", l.DiffID)
	}
	return fmt.Sprintf("layer %s %s %d %s\n", l.MediaType, l.Digest, l.Size, l.DiffID)
}

func parseLayerLine(line string) (l image.Layer, err error) {
	if diffID, ok := strings.CutPrefix(line, "unpacked "); ok {
		l.DiffID, err = snapshot.ParseDigest(diffID)
		return l, err
	}
	var blob, diffID string
	if _, err = fmt.Sscanf(line, "layer %s %s %d %s", &l.MediaType, &blob, &l.Size, &diffID); err != nil {
		return l, err
	}
	if l.Digest, err = snapshot.ParseDigest(blob); err == nil {
		l.DiffID, err = snapshot.ParseDigest(diffID)
	}
	if err == nil && (l.Size <= 0 || layerLine(l) != line+"\n") {
		err = fmt.Errorf("%.200q is no layer", line)
	}
	return l, err
}

// PackageKey is a digest of all that decides a package layer and its blob.
func PackageKey(d snapshot.Digest, r rootfs.Recipe, compression string) string {
	return Key("package", fmt.Sprintf("notes %d", notesGeneration), RecipeKey(r, compression), d.String())
}

// RecipeKey is what decides the layers of an image beside its packages.
func RecipeKey(r rootfs.Recipe, compression string) string {
	return fmt.Sprintf("recipe %d merged-usr %t\nexclude %s\n%s", rootfs.RecipeNumber, r.MergedUsr, r.Exclude, image.Encoding(compression))
}

// GroupKey is the same of a layer of several packages.
func GroupKey(g stack.Group, compression string) string {
	parts := []string{"group"}
	for _, n := range g.Notes {
		parts = append(parts, PackageKey(n.Deb.Digest, n.Recipe, compression))
	}
	return Key(parts...)
}

func Key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		io.WriteString(h, p+"\n")
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Notes are the notes of one build by their keys. What a key is made of decides the note, so it is as good in every other build.
type Notes map[string]Layer

const notesHead = "mmoci-image-notes-v1\n"

// MaxNotes bounds the notes of a build, in bytes: they are held in memory.
const MaxNotes = 64 << 20

// Encode writes notes sorted by key:
//
//	note KEY SIZE
//
// and SIZE bytes, the note as a cache has it. It writes nothing if they are more than MaxNotes: a build goes well without them.
func (n Notes) Encode() []byte {
	size := len(notesHead)
	for key, l := range n {
		size += len(key) + len(l.Text) + 256
	}
	b := append(make([]byte, 0, min(size, MaxNotes)), notesHead...)
	for _, key := range slices.Sorted(maps.Keys(n)) {
		line, text := n[key].encode()
		b = fmt.Appendf(b, "note %s %d\n%s", key, len(line)+len(text), line)
		if len(b)+len(text) > MaxNotes {
			return nil
		}
		b = append(b, text...)
	}
	return b
}

// ParseNotes reads what Encode wrote. Errors are of outcome.ErrIntegrity.
func ParseNotes(text []byte) (Notes, error) {
	rest, ok := bytes.CutPrefix(text, []byte(notesHead))
	if !ok {
		return nil, fmt.Errorf("%w: notes of an image begin with %q", outcome.ErrIntegrity, notesHead)
	}
	out := Notes{}
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		f := strings.Split(string(line), " ")
		if len(f) != 3 || f[0] != "note" {
			return nil, fmt.Errorf("%w: notes of an image: line %.100q", outcome.ErrIntegrity, line)
		}
		size, err := strconv.Atoi(f[2])
		if err != nil || size < 0 || size > len(after) {
			return nil, fmt.Errorf("%w: notes of an image: line %.100q", outcome.ErrIntegrity, line)
		}
		if out[f[1]], err = parseLayer(after[:size:size]); err != nil {
			return nil, fmt.Errorf("%w: note %.100q: %w", outcome.ErrIntegrity, f[1], err)
		}
		rest = after[size:]
	}
	return out, nil
}

// Read finds a note. The error is fs.ErrNotExist if there is none.
func (n Notes) Read(key string) (Layer, error) {
	l, ok := n[key]
	if !ok {
		return l, fs.ErrNotExist
	}
	return l, nil
}
