// Package layercache keeps the layers of images between runs, and notes of what is known of them.
package layercache

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

// DefaultBytes bounds the layers of a cache.
const DefaultBytes = 8 << 30

// Open opens or makes a cache. maxBytes bounds its layers; 0: DefaultBytes.
func Open(dir string, maxBytes int64, log outcome.Log) (*Cache, error) {
	if maxBytes == 0 {
		maxBytes = DefaultBytes
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

// MkdirTemp makes a directory for what a build has under way.
func (c *Cache) MkdirTemp() (*os.File, error) {
	in := os.TempDir()
	if c != nil {
		in = c.temporary()
	}
	return durable.MkdirTemp(in, tempPrefix)
}

// Through opens layers that are kept, and keeps those that are opened through it.
func (c *Cache) Through(layers snapshot.Blobs) snapshot.Blobs {
	if c == nil {
		return layers
	}
	return c.store.Through(layers)
}

func (c *Cache) notes() string     { return filepath.Join(c.dir, "notes") }
func (c *Cache) temporary() string { return filepath.Join(c.dir, "tmp") }

// Layer is a layer with its note, nil for one of more than one package. One that nobody asked for beside
// its note has a DiffID and no blob.
type Layer struct {
	image.Layer
	Note *rootfs.Note
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

// Read reads a note; one that is damaged is as good as none.
func (c *Cache) Read(key string) (l image.Layer, text []byte, ok bool) {
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

// Write keeps a note: the line of a layer, and what is known of it beside.
func (c *Cache) Write(key string, l image.Layer, text []byte) {
	if c == nil {
		return
	}
	// Notes are made again where they are lost, so nothing waits for the disk.
	f, err := os.CreateTemp(c.notes(), key+".*"+noteTemp) // processes of two containers may have one number
	if err == nil {
		_, err = f.Write(append([]byte(layerLine(l)), text...))
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

// Forget removes a note.
func (c *Cache) Forget(key string) {
	if c != nil {
		_ = os.Remove(c.path(key)) // what stays is found wrong again
	}
}

func (c *Cache) FindGroup(key string) (image.Layer, bool) {
	l, rest, ok := c.Read(key)
	return l, ok && len(rest) == 0
}

func (c *Cache) KeepGroup(key string, l image.Layer) { c.Write(key, l, nil) }

// Find returns what is known of a package layer: the layer line, and below it the note as rootfs writes it.
func (c *Cache) Find(key string, b snapshot.Blob, r rootfs.Recipe) (Layer, bool) {
	l, text, ok := c.Read(key)
	if !ok {
		return Layer{}, false
	}
	note, err := rootfs.ParseNote(text)
	if err == nil && (note.Deb != b || !note.Recipe.Equal(r) || note.Layer.Digest != l.DiffID) {
		err = errors.New("it is of another layer")
	}
	if err != nil {
		c.bad.Do(func() { c.log.Printf("note %s: %v; such notes are made anew", key, err) })
		return Layer{}, false
	}
	l.By = "package " + note.String()
	return Layer{l, note}, true
}

func (c *Cache) Keep(key string, l Layer) {
	if c != nil {
		c.Write(key, l.Layer, l.Note.Encode())
	}
}

// A cache remembers, for each registry, the repository that got an image last: its blobs can be mounted from there.
func (c *Cache) repositoryFile(host string) string {
	return filepath.Join(c.dir, "repositories-"+Key(host)[:16])
}

// MountFrom is a repository of a registry that probably has layers; "" if none is known.
func (c *Cache) MountFrom(to artifact.Reference) string {
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

func (c *Cache) Remember(to artifact.Reference) {
	if c == nil || to.Kind != artifact.Registry {
		return
	}
	if err := os.WriteFile(c.repositoryFile(to.Host()), []byte(to.Host()+" "+to.Repository()+"\n"), 0o644); err != nil {
		c.log.Printf("what can be mounted is not kept: %v", err)
	}
}
