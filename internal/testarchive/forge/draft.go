// Package forge takes good snapshots apart and seals them anew, consistently:
// table, shards, core and root follow from what was changed, as an opponent would
// do it who has the program. For tests only.
package forge

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"

	"example.org/mmoci/internal/testarchive"
)

// Draft is a snapshot taken apart. Its methods change it in place.
type Draft struct {
	t        testing.TB
	Date     time.Time
	Valid    time.Time // valid-until
	Encoder  int
	Images   []snapshot.Image
	Archives []snapshot.Archive
	Rows     map[string]snapshot.Row
	Lock     []byte
	original []byte // the statement it had
	signed   bool
	blobs    map[snapshot.Digest][]byte
	Signer   *testarchive.Key // of what is signed anew without the site's key; nil: Mallory
	Odd      map[string]bool  // directories whose signature files are not to be made fit
}

// Mallory has no key that anybody trusts.
func Mallory() *testarchive.Key { return testarchive.NewKey("Mallory") }

// Open takes s apart; everything it holds is read.
func Open(t testing.TB, s *snapshot.Snapshot) *Draft {
	t.Helper()
	st := s.Statement
	lock, err := s.ReadLock(context.Background())
	if err != nil {
		t.Fatalf("forge: %v", err)
	}
	d := &Draft{
		t: t, Date: st.Date, Valid: st.ValidUntil, Encoder: st.Encoder, Images: st.Images, Lock: lock, original: s.StatementBytes, signed: s.Signed,
		Rows: map[string]snapshot.Row{}, blobs: map[snapshot.Digest][]byte{},
	}
	for _, a := range st.Archives {
		d.Archives = append(d.Archives, cloneArchive(a))
	}
	for row := range s.Table.Rows() {
		d.Rows[row.Path] = row
		if _, ok := d.blobs[row.Digest]; ok || row.Size == 0 {
			continue
		}
		data, err := s.ReadBlob(context.Background(), row.Blob(), 64<<20)
		if err != nil {
			t.Fatalf("forge: %s: %v", row.Path, err)
		}
		d.blobs[row.Digest] = data
	}
	return d
}

func cloneArchive(a snapshot.Archive) snapshot.Archive {
	a.Suites = slices.Clone(a.Suites)
	for i := range a.Suites {
		a.Suites[i].Files = slices.Clone(a.Suites[i].Files)
	}
	return a
}

// Clone is a copy that can be changed without changing d.
func (d *Draft) Clone() *Draft {
	c := *d
	c.Archives, c.Images = nil, slices.Clone(d.Images)
	for _, a := range d.Archives {
		c.Archives = append(c.Archives, cloneArchive(a))
	}
	c.Rows, c.blobs = maps.Clone(d.Rows), maps.Clone(d.blobs)
	return &c
}

// For is a copy that reports its failures to t.
func (d *Draft) For(t testing.TB) *Draft {
	c := d.Clone()
	c.t = t
	return c
}

// Archive finds an archive, to be changed in place.
func (d *Draft) Archive(prefix string) *snapshot.Archive {
	d.t.Helper()
	for i := range d.Archives {
		if d.Archives[i].Prefix == prefix {
			return &d.Archives[i]
		}
	}
	d.t.Fatalf("forge: no archive %s", prefix)
	return nil
}

// Read gives the bytes of a row.
func (d *Draft) Read(path string) []byte {
	d.t.Helper()
	row, ok := d.Rows[path]
	if !ok {
		d.t.Fatalf("forge: no file %s", path)
	}
	return d.blobs[row.Digest]
}

// ReadAny gives the bytes of a row; nil if there is none.
func (d *Draft) ReadAny(path string) []byte { return d.blobs[d.Rows[path].Digest] }

// Put writes a file; a package that stands in the row stays.
func (d *Draft) Put(path string, data []byte) {
	row := d.Rows[path]
	row.Path, row.Digest, row.Size = path, snapshot.Sum(data), int64(len(data))
	d.Rows[path] = row
	d.blobs[row.Digest] = data
	for _, a := range d.Archives {
		for _, s := range a.Suites {
			for k := range s.Files {
				if s.Files[k].Path == path {
					s.Files[k].Blob = row.Blob()
				}
			}
		}
	}
}

// Lie lets the place answer with other bytes for a file, whose row stays.
func (d *Draft) Lie(path string, data []byte) {
	d.t.Helper()
	if _, ok := d.Rows[path]; !ok {
		d.t.Fatalf("forge: no file %s", path)
	}
	d.blobs[d.Rows[path].Digest] = data
}

// Remove drops the rows below a path, or the row that it is.
func (d *Draft) Remove(path string) {
	maps.DeleteFunc(d.Rows, func(p string, _ snapshot.Row) bool {
		return p == path || strings.HasPrefix(p, path) && strings.HasSuffix(path, "/")
	})
}

// Take copies the rows of from below a directory of its to one of d's.
func (d *Draft) Take(from *Draft, theirs, ours string) {
	for p, row := range from.Rows {
		rest, ok := strings.CutPrefix(p, theirs)
		if !ok {
			continue
		}
		row.Path = ours + rest
		d.Rows[row.Path] = row
		d.blobs[row.Digest] = from.blobs[row.Digest]
	}
}

// Splice replaces an archive by that of another draft, the lock's lines included.
func (d *Draft) Splice(from *Draft, prefix string) {
	d.t.Helper()
	d.drop(prefix)
	d.Archives = append(d.Archives, cloneArchive(*from.Archive(prefix)))
	d.Take(from, prefix+"/", prefix+"/")
	d.Take(from, "upstream/"+prefix+"/", "upstream/"+prefix+"/")
	d.lockLines(prefix, from)
}

// Drop leaves an archive out, from the lock too.
func (d *Draft) Drop(prefix string) {
	d.t.Helper()
	d.drop(prefix)
	d.lockLines(prefix, nil)
}

func (d *Draft) drop(prefix string) {
	d.Archive(prefix)
	d.Archives = slices.DeleteFunc(d.Archives, func(a snapshot.Archive) bool { return a.Prefix == prefix })
	d.Remove(prefix + "/")
	d.Remove("upstream/" + prefix + "/")
}

// lockLines replaces the lines of a prefix by another draft's, and sorts archives.
func (d *Draft) lockLines(prefix string, from *Draft) {
	head, groups := lockGroups(d.Lock)
	delete(groups, prefix)
	if from != nil {
		_, theirs := lockGroups(from.Lock)
		groups[prefix] = theirs[prefix]
	}
	var b strings.Builder
	b.WriteString(head)
	for _, p := range slices.Sorted(maps.Keys(groups)) {
		b.WriteString(groups[p])
	}
	d.Lock = []byte(b.String())
}

// lockGroups divides a lock into its head and the lines of each prefix (SPEC section 6).
func lockGroups(lock []byte) (head string, groups map[string]string) {
	groups = map[string]string{}
	for line := range strings.Lines(string(lock)) {
		if f := strings.Fields(line); len(f) > 2 {
			groups[f[1]] += line
		} else {
			head += line
		}
	}
	return head, groups
}

// EditLock replaces text in the lock, which must be there.
func (d *Draft) EditLock(old, new string) {
	d.t.Helper()
	if !bytes.Contains(d.Lock, []byte(old)) {
		d.t.Fatalf("forge: the lock does not hold %q", old)
	}
	d.Lock = bytes.Replace(d.Lock, []byte(old), []byte(new), 1)
}

// EditIndex changes the Packages index of a suite, whose directory dir ends in
// a slash, and makes its Release list the new one. The Release is to be signed anew.
func (d *Draft) EditIndex(dir, index string, edit func(string) string) {
	d.t.Helper()
	plain, err := archive.Decompress(index, d.Read(dir+index), 1<<30)
	if err != nil {
		d.t.Fatalf("forge: %s: %v", index, err)
	}
	after := edit(string(plain))
	if after == string(plain) {
		d.t.Fatalf("forge: %s: the edit changes nothing", dir+index)
	}
	stem, kind, _ := strings.Cut(index, ".")
	packed := testarchive.Compress(d.t, cmp.Or(kind, "none"), []byte(after))
	d.Put(dir+index, packed)
	text := d.releaseText(dir)
	text = relist(text, stem, []byte(after))
	text = relist(text, index, packed)
	d.SetRelease(dir, text, Mallory())
}

// EditRelease changes the text of the Release in dir, which is to be signed anew.
func (d *Draft) EditRelease(dir string, edit func(string) string) {
	d.t.Helper()
	was := d.releaseText(dir)
	text := edit(was)
	if text == was {
		d.t.Fatalf("forge: %sRelease: the edit changes nothing", dir)
	}
	d.SetRelease(dir, text, Mallory())
}

// List lets the Release in dir list a file with the bytes of data, in place of what it
// lists under that name. The file is put there unless it is listed only.
func (d *Draft) List(dir, path string, data []byte, put bool) {
	d.t.Helper()
	if put {
		d.Put(dir+path, data)
	}
	text := d.releaseText(dir)
	after := relist(text, path, data)
	if head, list, ok := strings.Cut(text, "SHA256:\n"); ok && after == text {
		// In order of path, as in any Release of a curated suite.
		line := fmt.Sprintf(" %s %d %s\n", snapshot.Sum(data).Hex(), len(data), path)
		lines := strings.SplitAfter(list, "\n")
		i := slices.IndexFunc(lines, func(l string) bool {
			f := strings.Fields(l)
			return !strings.HasPrefix(l, " ") || len(f) == 3 && f[2] > path
		})
		after = head + "SHA256:\n" + strings.Join(slices.Insert(lines, max(i, 0), line), "")
	}
	d.SetRelease(dir, after, Mallory())
}

// releaseText is the text of the Release in dir, in whatever form it is there.
func (d *Draft) releaseText(dir string) string {
	d.t.Helper()
	if _, ok := d.Rows[dir+"Release"]; ok {
		return string(d.Read(dir + "Release"))
	}
	text, _, err := pgp.VerifyClearsigned(d.Read(dir+"InRelease"), pgp.Trust{})
	if err != nil {
		d.t.Fatalf("forge: %s: %v", dir, err)
	}
	return string(text)
}

// relist replaces size and SHA256 of a listed path.
func relist(text, path string, data []byte) string {
	var b strings.Builder
	list := ""
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if !strings.HasPrefix(line, " ") {
			list = f[0]
		}
		if list == "SHA256:" && len(f) == 3 && f[2] == path {
			line = fmt.Sprintf(" %s %d %s\n", snapshot.Sum(data).Hex(), len(data), path)
		}
		if list == "MD5Sum:" { // a weak list would contradict; nobody needs it
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// SetRelease writes the Release of a directory in each form that is there, signed by key.
func (d *Draft) SetRelease(dir, text string, key *testarchive.Key) {
	d.t.Helper()
	for name, data := range map[string][]byte{
		"InRelease":   key.Clearsign(d.t, []byte(text), d.Date),
		"Release":     []byte(text),
		"Release.gpg": key.Detach(d.t, []byte(text), d.Date),
	} {
		if _, ok := d.Rows[dir+name]; ok {
			d.Put(dir+name, data)
		}
	}
}

// blobReader makes the draft's bytes a snapshot.Blobs.
func (d *Draft) blobReader(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
	data, ok := d.blobs[b.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", b.Digest, snapshot.ErrNotExist)
	}
	return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data))}, nil
}

// Write packs and writes a sealed draft to a layout, whose tag names it.
func Write(t testing.TB, s *snapshot.Snapshot, dir, tag string) artifact.Reference {
	t.Helper()
	packed, err := artifact.Pack(s)
	if err != nil {
		t.Fatalf("forge: %v", err)
	}
	ref := artifact.Reference{Kind: artifact.Layout, Name: dir, Tag: tag}
	if _, err := packed.Push(context.Background(), ref, artifact.PushOptions{}); err != nil {
		t.Fatalf("forge: %v", err)
	}
	return ref
}

func itoa(n int64) string { return fmt.Sprint(n) }
