package imagebuild

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/internal/store"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Cache keeps between runs what is known of package layers, and the layers that were sent. It is believed: its directory is
// the user's own. Nothing in it decides a byte of an image but by what the same .deb gave before. Safe for concurrent use, also by several processes.
// A nil Cache keeps nothing.
type Cache struct {
	dir   string
	store *store.Store
	log   outcome.Log
	bad   sync.Once // a note that cannot be read was told
}

// longestMaking is how long a layer that is made again may take: scripts have half an hour, and the largest package less.
const longestMaking = time.Hour

// DefaultCacheBytes bounds the layers of a cache.
const DefaultCacheBytes = 8 << 30

// OpenCache opens or makes a cache. maxBytes bounds its layers; 0: DefaultCacheBytes.
func OpenCache(dir string, maxBytes int64, log outcome.Log) (*Cache, error) {
	if maxBytes == 0 {
		maxBytes = DefaultCacheBytes
	}
	s, err := store.Open(filepath.Join(dir, "layers"), store.Options{MaxBytes: maxBytes, Stall: longestMaking})
	if err != nil {
		return nil, fmt.Errorf("cache of images: %w", err)
	}
	c := &Cache{dir: dir, store: s, log: log}
	for _, sub := range []string{c.notes(), c.temporary()} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("cache of images: %w", err), s.Close())
		}
	}
	c.removeLeft()
	return c, nil
}

// removeLeft removes what killed builds left half done. What a running one has is locked.
func (c *Cache) removeLeft() {
	for dir, prefix := range map[string]string{c.temporary(): tempPrefix, c.notes(): ""} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			switch {
			case dir == c.temporary() && strings.HasPrefix(e.Name(), prefix):
				err = durable.RemoveUnlocked(name)
			case dir == c.notes() && strings.HasSuffix(e.Name(), noteTemp):
				if info, statErr := e.Info(); statErr == nil && time.Since(info.ModTime()) > time.Hour {
					err = os.Remove(name)
				}
			}
			if err != nil {
				c.log.Printf("what an earlier build left stays: %v", err)
			}
		}
	}
}

// maxNote bounds a note, in bytes: that of a package with as many files as one may have is smaller.
const maxNote = 256 << 20

// notesGeneration rises when notes say otherwise what is known of the same package, such as which scripts do nothing.
const notesGeneration = 2

// Names of what is being made.
const (
	tempPrefix = "image-" // of a build's directory
	noteTemp   = ".tmp"   // ends that of a note
)

// Close makes what is kept durable.
func (c *Cache) Close() error {
	if c == nil {
		return nil
	}
	return c.store.Close()
}

func (c *Cache) notes() string     { return filepath.Join(c.dir, "notes") }
func (c *Cache) temporary() string { return temporaryIn(c.dir) }

// packageKey is a digest of all that decides a package layer and its blob.
func packageKey(d snapshot.Digest, r rootfs.Recipe, compression string) string {
	return keyOf("package", fmt.Sprintf("notes %d", notesGeneration), recipeKey(r, compression), d.String())
}

// recipeKey is what decides the layers of an image beside its packages.
func recipeKey(r rootfs.Recipe, compression string) string {
	return fmt.Sprintf("recipe %d merged-usr %t\nexclude %s\n%s", rootfs.RecipeNumber, r.MergedUsr, r.Exclude, encoding(compression))
}

// groupKey is the same of a layer of several packages.
func groupKey(g stack.Group, compression string) string {
	parts := []string{"group"}
	for _, n := range g.Notes {
		parts = append(parts, packageKey(n.Deb.Digest, n.Recipe, compression))
	}
	return keyOf(parts...)
}

func keyOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		io.WriteString(h, p+"\n")
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (c *Cache) path(key string) string { return filepath.Join(c.notes(), key) }

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

// read reads a note; one that is damaged is as good as none.
func (c *Cache) read(key string) (l image.Layer, text []byte, ok bool) {
	if c == nil {
		return l, nil, false
	}
	f, err := os.Open(c.path(key))
	if err != nil {
		return l, nil, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() >= maxNote {
		return l, nil, false
	}
	data := make([]byte, info.Size()) // notes are written whole, under another name
	if _, err := io.ReadFull(f, data); err != nil {
		return l, nil, false
	}
	line, text, _ := bytes.Cut(data, []byte("\n"))
	if l, err = parseLayerLine(string(line)); err != nil {
		c.bad.Do(func() { c.log.Printf("note %s: %v; such notes are made anew", key, err) })
		return l, nil, false
	}
	return l, text, true
}

func (c *Cache) write(key, text string) {
	if c == nil {
		return
	}
	// Notes are made again where they are lost, so nothing waits for the disk.
	f, err := os.CreateTemp(c.notes(), key+".*"+noteTemp) // processes of two containers may have one number
	if err == nil {
		_, err = f.WriteString(text)
		if err = cmp.Or(err, f.Close()); err == nil {
			err = os.Rename(f.Name(), c.path(key))
		}
		if err != nil {
			os.Remove(f.Name())
		}
	}
	if err != nil {
		c.log.Printf("a note is not kept: %v", err)
	}
}

// forget removes a note.
func (c *Cache) forget(key string) {
	if c != nil {
		_ = os.Remove(c.path(key)) // what stays is found wrong again
	}
}

func (c *Cache) findGroup(key string) (image.Layer, bool) {
	l, rest, ok := c.read(key)
	return l, ok && len(rest) == 0
}

func (c *Cache) keepGroup(key string, l image.Layer) { c.write(key, layerLine(l)) }

// find returns what is known of a package layer: the layer line, and below it the note as rootfs writes it.
func (c *Cache) find(key string, b snapshot.Blob, r rootfs.Recipe) (layerMade, bool) {
	l, text, ok := c.read(key)
	if !ok {
		return layerMade{}, false
	}
	note, err := rootfs.ParseNote(text)
	if err == nil && (note.Deb != b || !note.Recipe.Equal(r) || note.Layer.Digest != l.DiffID) {
		err = errors.New("it is of another layer")
	}
	if err != nil {
		c.bad.Do(func() { c.log.Printf("note %s: %v; such notes are made anew", key, err) })
		return layerMade{}, false
	}
	l.By = "package " + note.String()
	return layerMade{l, note}, true
}

func (c *Cache) keep(key string, l layerMade) {
	if c != nil {
		c.write(key, layerLine(l.Layer)+string(l.note.Encode()))
	}
}

// A cache remembers, for each registry, the repository that got an image last: its blobs can be mounted from there.
func (c *Cache) repositoryFile(host string) string {
	return filepath.Join(c.dir, "repositories-"+keyOf(host)[:16])
}

// mountFrom is a repository of a registry that probably has layers; "" if none is known.
func (c *Cache) mountFrom(to artifact.Reference) string {
	if c == nil || to.Kind != artifact.Registry {
		return ""
	}
	data, err := os.ReadFile(c.repositoryFile(to.Host()))
	host, repository, ok := strings.Cut(strings.TrimSpace(string(data)), " ")
	if err != nil || !ok || host != to.Host() || repository == to.Repository() {
		return ""
	}
	return repository
}

func (c *Cache) remember(to artifact.Reference) {
	if c == nil || to.Kind != artifact.Registry {
		return
	}
	if err := os.WriteFile(c.repositoryFile(to.Host()), []byte(to.Host()+" "+to.Repository()+"\n"), 0o644); err != nil {
		c.log.Printf("what can be mounted is not kept: %v", err)
	}
}
