package extract

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// Tree writes two files into DIR/.mmoci. "statement" is the statement of the
// snapshot that the tree holds, for people and their monitoring. "files" is the
// record of the files that Tree wrote.
//
// The record is believed for one thing only: a file with this path and exactly this
// digest may be replaced or removed. So whoever can write a record can make Tree
// remove files of DIR whose bytes he knows, which he could remove himself; no other file,
// nothing outside of DIR, nothing through a symlink. No byte, date or name is taken from it.
const (
	recordDir     = ".mmoci"
	recordFile    = recordDir + "/files"
	statementFile = recordDir + "/statement"
	recordHead    = "mmoci-tree-v1"
	// maxRecord bounds the record in bytes: a few million files.
	maxRecord = 512 << 20
)

// recorded is one line of the record: a file that Tree wrote, or is about to write.
type recorded struct {
	path string
	blob snapshot.Blob
	// left: the snapshot of the last finished run lacks it; a run with another snapshot removes it.
	left bool
}

// encodeRecord is the text of a record: a line each, in order of path and digest.
func encodeRecord(files []recorded) []byte {
	slices.SortFunc(files, func(a, b recorded) int {
		return cmp.Or(strings.Compare(a.path, b.path), bytes.Compare(a.blob.Digest[:], b.blob.Digest[:]))
	})
	var buf bytes.Buffer
	fmt.Fprintln(&buf, recordHead)
	for i, f := range files {
		if i > 0 && files[i-1].path == f.path && files[i-1].blob == f.blob {
			continue
		}
		word := "has"
		if f.left {
			word = "left"
		}
		fmt.Fprintf(&buf, "%s %s %d %s\n", word, f.blob.Digest, f.blob.Size, f.path)
	}
	return buf.Bytes()
}

// parseRecord calls f for each line of a record.
func parseRecord(r io.Reader, f func(recorded)) error {
	lines := bufio.NewScanner(io.LimitReader(r, maxRecord+1))
	lines.Buffer(nil, snapshot.MaxPath+200)
	var read int64
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if read += int64(len(line)) + 1; read > maxRecord {
			return fmt.Errorf("more than %d bytes", int64(maxRecord))
		}
		if n == 1 {
			if line != recordHead {
				return fmt.Errorf("begins with %.40q, not with %s", line, recordHead)
			}
			continue
		}
		file, err := parseRecorded(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		f(file)
	}
	if read == 0 && lines.Err() == nil {
		return errors.New("empty")
	}
	return lines.Err()
}

func parseRecorded(line string) (f recorded, err error) {
	fields := strings.SplitN(line, " ", 4)
	if len(fields) != 4 || fields[0] != "has" && fields[0] != "left" {
		return f, fmt.Errorf("%.80q is no line of it", line)
	}
	f.left, f.path = fields[0] == "left", fields[3]
	if f.blob.Digest, err = snapshot.ParseDigest(fields[1]); err != nil {
		return f, err
	}
	if f.blob.Size, err = strconv.ParseInt(fields[2], 10, 64); err != nil || f.blob.Size < 0 {
		return f, fmt.Errorf("size %.40q", fields[2])
	}
	return f, snapshot.ValidPath(f.path)
}

// readRecord returns the lines of the record whose paths are on disk, by path; none means that
// there is no record. It calls above for each directory above any file that the record names.
func (o *outDir) readRecord(onDisk func(path string) bool, above func(dir string)) (said map[string][]recorded, none bool, err error) {
	info, err := o.root.Lstat(recordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a plain file")
	}
	var f *os.File
	if err == nil {
		f, err = o.root.Open(recordFile)
	}
	if err != nil {
		return nil, false, o.badRecord(err)
	}
	defer f.Close()
	said = map[string][]recorded{}
	if err := parseRecord(f, func(r recorded) {
		if onDisk(r.path) {
			said[r.path] = append(said[r.path], r)
		}
		for d := path.Dir(r.path); d != "."; d = path.Dir(d) {
			above(d)
		}
	}); err != nil {
		return nil, false, o.badRecord(err)
	}
	return said, false, nil
}

func (o *outDir) badRecord(err error) error {
	return fmt.Errorf("%w: %s, which says what may be replaced, cannot be read: %w; give an empty directory, nothing was changed", outcome.ErrRefused, o.path(recordFile), err)
}

// note replaces a file in .mmoci in one step, unless it holds these bytes already, and
// tells whether it did. The new file is durable after the next sync.
func (o *outDir) note(name string, data []byte) (changed bool, err error) {
	if info, err := o.root.Lstat(name); err == nil && info.Mode().IsRegular() && info.Size() == int64(len(data)) {
		if was, err := o.root.ReadFile(name); err == nil && bytes.Equal(was, data) {
			return false, nil
		}
	}
	if err := o.root.Mkdir(recordDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	temp := partOf(name)
	f, err := o.create(temp)
	if err != nil {
		return false, err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = o.root.Rename(temp, name)
	}
	if err != nil {
		o.root.Remove(temp)
		return false, fmt.Errorf("%s: %w", o.path(name), err)
	}
	return true, nil
}

// create makes a new file and removes what had the name. It does not write to that:
// it may be a hard link whose other name must keep its bytes.
func (o *outDir) create(name string) (*os.File, error) {
	if err := o.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return o.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
}
