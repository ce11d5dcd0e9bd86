// Package layercache keeps the layers of images between runs, and notes of what is known of them.
package layercache

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
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

func (c *Cache) path(key string) string { return filepath.Join(c.notes(), key) }

// Read reads a note. The error is fs.ErrNotExist if there is none; any other one says that it is damaged, and as good as none.
func (c *Cache) Read(key string) (Layer, error) {
	if c == nil {
		return Layer{}, fs.ErrNotExist
	}
	f, err := os.Open(c.path(key))
	if err != nil {
		return Layer{}, fs.ErrNotExist
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() >= maxNote {
		return Layer{}, fs.ErrNotExist
	}
	data := make([]byte, info.Size()) // notes are written whole, under another name
	if _, err := io.ReadFull(f, data); err != nil {
		return Layer{}, fs.ErrNotExist
	}
	return parseLayer(data)
}

// Keep keeps a note.
func (c *Cache) Keep(key string, l Layer) {
	if c == nil {
		return
	}
	// Notes are made again where they are lost, so nothing waits for the disk.
	f, err := os.CreateTemp(c.notes(), key+".*"+noteTemp) // processes of two containers may have one number
	if err == nil {
		line, text := l.encode()
		_, err = f.Write(append([]byte(line), text...))
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
