// Package byaddress finds the plain files of a snapshot by the addresses that they came from, so that whoever downloads
// them can ask a mirror by one prefix before each address.
package byaddress

import (
	"context"
	"net/url"
	"strings"
	"sync"

	"example.org/mmoci/pkg/snapshot"
)

// Index finds files by address. It reads the lock of its snapshot when it is asked first. Safe for concurrent use.
type Index struct {
	snapshot *snapshot.Snapshot

	mu    sync.Mutex
	paths map[string]string // HOST/PATH to the path in the snapshot; nil: not read yet
}

// New is the index of a snapshot.
func New(s *snapshot.Snapshot) *Index { return &Index{snapshot: s} }

// Find is the row of the file that came from http or https://ADDRESS, ADDRESS being HOST/PATH, decoded and without a
// query. False if no archive of files has it, or if several files came from there that differ.
func (x *Index) Find(ctx context.Context, address string) (snapshot.Row, bool, error) {
	if !x.any() {
		return snapshot.Row{}, false, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.paths == nil {
		text, err := x.snapshot.ReadLock(ctx)
		if err != nil {
			return snapshot.Row{}, false, err
		}
		x.paths = x.read(string(text))
	}
	host, rest, _ := strings.Cut(address, "/")
	path, ok := x.paths[strings.ToLower(host)+"/"+rest]
	if !ok || path == "" {
		return snapshot.Row{}, false, nil
	}
	row, ok := x.snapshot.Table.Find(path)
	return row, ok, nil
}

// any tells whether the snapshot has an archive of files. Without one its lock, which may be long, is not read.
func (x *Index) any() bool {
	for _, a := range x.snapshot.Statement.Archives {
		if a.Format == snapshot.FormatFiles {
			return true
		}
	}
	return false
}

// read reads the lines of files in a lock: file PREFIX PATH DIGEST SIZE URL. The lock is the statement's, so its lines
// are held against the table only.
func (x *Index) read(text string) map[string]string {
	paths := map[string]string{}
	digests := map[string]snapshot.Digest{}
	for line := range strings.Lines(text) {
		line, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "file ")
		if !ok {
			continue
		}
		f := strings.Split(line, " ")
		if len(f) != 5 {
			continue
		}
		a := x.snapshot.Statement.Archive(f[0])
		u, err := url.Parse(f[4])
		if a == nil || a.Format != snapshot.FormatFiles || err != nil || u.Scheme != "http" && u.Scheme != "https" {
			continue
		}
		row, ok := x.snapshot.Table.Find(f[0] + "/" + f[1])
		if !ok || row.Digest.String() != f[2] {
			continue
		}
		address := strings.ToLower(u.Host) + u.Path
		if was, again := digests[address]; again {
			if was != row.Digest {
				paths[address] = "" // which of them is meant, nobody can tell
			}
			continue
		}
		digests[address], paths[address] = row.Digest, row.Path
	}
	return paths
}
