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

	mu   sync.Mutex
	rows map[string][]snapshot.Row // by HOST/PATH; nil: not read yet
}

// New is the index of a snapshot.
func New(s *snapshot.Snapshot) *Index { return &Index{snapshot: s} }

// Find are the files that came from http or https://ADDRESS, ADDRESS being HOST/PATH, decoded and without a query, in
// the order of the lock: the first, and the first that differs from it.
func (x *Index) Find(ctx context.Context, address string) ([]snapshot.Row, error) {
	if !x.any() {
		return nil, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rows == nil {
		text, err := x.snapshot.ReadLock(ctx)
		if err != nil {
			return nil, err
		}
		x.rows = x.read(string(text))
	}
	host, rest, _ := strings.Cut(address, "/")
	return x.rows[strings.ToLower(host)+"/"+rest], nil
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
func (x *Index) read(text string) map[string][]snapshot.Row {
	rows := map[string][]snapshot.Row{}
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
		if all := rows[address]; len(all) == 0 || len(all) == 1 && all[0].Digest != row.Digest {
			rows[address] = append(all, row)
		}
	}
	return rows
}
