package place

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// maxKeptSnapshots is how many snapshots' documents are kept: the newest.
	maxKeptSnapshots = 8
	maxKeptHeader    = 1 << 20
	maxKept          = maxKeptHeader + artifact.MaxStatement + artifact.MaxTable
)

// keptHeader is the first line of a kept snapshot; statement and table
// follow it, and Sum is of them. The file is named by the root's hex digits.
type keptHeader struct {
	Signed    bool      `json:"signed"`
	Date      time.Time `json:"date"`
	Encoder   int       `json:"encoder"`
	Release   []keptRef `json:"release"`
	Statement int       `json:"statement"`
	Table     int       `json:"table"`
	Lock      keptRef   `json:"lock"`
	Sum       string    `json:"sum"`
}

type keptRef struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func refTo(b snapshot.Blob) keptRef { return keptRef{b.Digest.String(), b.Size} }

func (r keptRef) blob() (snapshot.Blob, error) {
	d, err := snapshot.ParseDigest(r.Digest)
	return snapshot.Blob{Digest: d, Size: r.Size}, err
}

// keepSnapshot writes what a snapshot says of itself, which was read under its
// root's digest, into a directory, so that a server can answer from its store
// after a restart while the registry is away. The final name comes last.
func keepSnapshot(dir string, s *snapshot.Sealed) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	body := slices.Concat(s.Statement, s.Table)
	h := keptHeader{
		Signed: s.Signed, Date: s.Date, Encoder: s.Encoder, Lock: refTo(s.Lock),
		Statement: len(s.Statement), Table: len(s.Table), Sum: snapshot.Sum(body).String(),
	}
	for _, b := range s.Release {
		h.Release = append(h.Release, refTo(b))
	}
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, s.Root.Hex()), slices.Concat(line, []byte("\n"), body), 0o600); err != nil {
		return err
	}
	return dropKept(dir)
}

// dropKept removes all but the newest.
func dropKept(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if _, perr := snapshot.ParseDigest("sha256:" + e.Name()); err == nil && perr == nil {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, f := range files[min(maxKeptSnapshots, len(files)):] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
	}
	return err
}

// readKept reads a snapshot that was kept, without its blobs. A file that is
// damaged is as good as none: fs.ErrNotExist.
func readKept(dir string, root snapshot.Digest) (*snapshot.Sealed, error) {
	name := filepath.Join(dir, root.Hex())
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKept {
		return nil, fmt.Errorf("%s: %d bytes: %w", name, info.Size(), fs.ErrNotExist)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	line, body, _ := bytes.Cut(data, []byte("\n"))
	var h keptHeader
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, fs.ErrNotExist)
	}
	if snapshot.Sum(body).String() != h.Sum || h.Statement < 0 || h.Table < 0 || h.Statement+h.Table != len(body) {
		return nil, fmt.Errorf("%s: damaged: %w", name, fs.ErrNotExist)
	}
	s := &snapshot.Sealed{
		Root: root, Signed: h.Signed, Date: h.Date, Encoder: h.Encoder,
		Statement: body[:h.Statement], Table: body[h.Statement:],
	}
	for _, r := range h.Release {
		b, bad := r.blob()
		err = errors.Join(err, bad)
		s.Release = append(s.Release, b)
	}
	var bad error
	if s.Lock, bad = h.Lock.blob(); errors.Join(err, bad) != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, errors.Join(err, bad), fs.ErrNotExist)
	}
	return s, nil
}
