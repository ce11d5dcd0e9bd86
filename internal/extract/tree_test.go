package extract

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// threeDays are snapshots of the world, each with packages that the one before lacks, and without some that it has.
func threeDays(t *testing.T) [3]*snapshot.Snapshot {
	t.Helper()
	day := func(n int) *snapshot.Snapshot {
		u := world.Older(t)
		if n > 0 {
			u = world.Good()
		}
		if n == 2 {
			s := u.Docker.Suite(t, "bookworm")
			s.Date = s.Date.Add(time.Hour)
			for i := range s.Packages {
				if s.Packages[i].Name == "docker-ce" {
					s.Packages[i].Version += "+again"
				}
			}
		}
		u.Date = world.Date.AddDate(0, 0, n-2)
		return opened(t, u)
	}
	return [3]*snapshot.Snapshot{day(0), day(1), day(2)}
}

// opened is the snapshot of a world, as a reader has it.
func opened(t *testing.T, u world.Upstreams) *snapshot.Snapshot {
	t.Helper()
	ref := forge.Write(t, world.Draft(t, u).Seal(forge.Resigned), filepath.Join(testarchive.MemoryDir(t), "layout"), "day")
	s, err := prove.Open(t.Context(), ref, world.SiteTrust(t), artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// treeFile is a file of a pulled tree.
type treeFile struct {
	data  string
	mtime time.Time
}

// treeOf reads a pulled tree, without the record.
func treeOf(t *testing.T, dir string) map[string]treeFile {
	t.Helper()
	out := map[string]treeFile{}
	for _, name := range names(t, dir) {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() || strings.HasPrefix(name, recordDir) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = treeFile{string(data), info.ModTime()}
	}
	return out
}

func pulled(t *testing.T, s *snapshot.Snapshot, dir string) *TreeResult {
	t.Helper()
	p, err := Tree(t.Context(), TreeOptions{Snapshot: s, Trust: world.SiteTrust(t), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPullOver: the tree of a later snapshot takes the place of an earlier one's. What the earlier one alone
// had stays for one pull, no changed file looks older than what it replaces, and a file that stays keeps its time.
func TestPullOver(t *testing.T) {
	t.Parallel()
	days := threeDays(t)
	dir := filepath.Join(testarchive.MemoryDir(t), "tree")
	var before, fresh map[string]treeFile
	for i, s := range days {
		freshDir := filepath.Join(testarchive.MemoryDir(t), "fresh")
		pulled(t, s, freshDir)
		before2, now := fresh, treeOf(t, freshDir)
		fresh = now
		got := pulled(t, s, dir)
		tree := treeOf(t, dir)
		for name, f := range fresh {
			has, was := tree[name], before[name]
			date := snapshot.ModTime(snapshot.Sum([]byte(f.data)))
			if strings.Contains(name, "/dists/") && !strings.HasSuffix(name, ".deb") {
				date = s.Statement.Date
			}
			if has.data != f.data || !f.mtime.Equal(date) {
				t.Errorf("day %d: %s has other bytes, or in a fresh tree the time %s, not %s", i, name, f.mtime, date)
			}
			switch {
			case was.data == f.data && !has.mtime.Equal(was.mtime):
				t.Errorf("day %d: %s stays, with the time %s instead of %s", i, name, has.mtime, was.mtime)
			case was.data != f.data && !has.mtime.Equal(date):
				t.Errorf("day %d: %s is new, with the time %s, not %s", i, name, has.mtime, date)
			case was.data != "" && was.data != f.data && !has.mtime.After(was.mtime):
				t.Errorf("day %d: %s has changed, and its time went from %s to %s", i, name, was.mtime, has.mtime)
			}
		}
		left := 0
		for name := range tree {
			if _, ok := fresh[name]; !ok {
				if left++; before2[name].data != tree[name].data {
					t.Errorf("day %d: %s stays", i, name)
				}
			}
		}
		for name := range before2 {
			if _, ok := tree[name]; !ok {
				t.Errorf("day %d: %s is gone while clients of the day before may ask for it", i, name)
			}
		}
		if got.Left != left || (i > 0) != (got.Left > 0 && got.Replaced > 0) || (i == 2) != (got.Removed > 0) {
			t.Errorf("day %d: %+v, %d files are left", i, got, left)
		}
		if i == 0 {
			byHash := 0
			for name, f := range fresh {
				if strings.Contains(name, "/by-hash/SHA256/") {
					if byHash++; path.Base(name) != snapshot.Sum([]byte(f.data)).Hex() {
						t.Errorf("%s has other bytes", name)
					}
				}
			}
			if byHash == 0 {
				t.Error("no by-hash names")
			}
		}
		if text, err := os.ReadFile(filepath.Join(dir, statementFile)); err != nil || !bytes.Equal(text, s.StatementBytes) {
			t.Errorf("day %d: the statement: %v", i, err)
		}
		before = tree
	}
	// The same again changes nothing.
	if got := pulled(t, days[2], dir); got.Left == 0 || got.Removed != 0 || got.Replaced != 0 {
		t.Errorf("the same again: %+v", got)
	}
	after := treeOf(t, dir)
	if changed := diffNames(before, after); len(changed) > 0 {
		t.Errorf("the same again changes %q", changed)
	}
	// Back to an older day, which somebody pinned: still nothing looks older.
	pulled(t, days[0], dir)
	back := treeOf(t, dir)
	for name, f := range after {
		if b, ok := back[name]; ok && b.data != f.data && !b.mtime.After(f.mtime) {
			t.Errorf("back: %s has changed, and its time went from %s to %s", name, f.mtime, b.mtime)
		}
	}
}

// TestTimesByUpstream: with upstream's key alone a statement's date is the registry's word, and no file's time.
func TestTimesByUpstream(t *testing.T) {
	t.Parallel()
	d := world.Draft(t, world.Good())
	d.Drop("docker")
	d.Drop("debian")
	d.Date = world.Date.AddDate(0, 0, 300)
	ref := forge.Write(t, d.Seal(forge.Foreign), filepath.Join(testarchive.MemoryDir(t), "layout"), "day")
	trust := prove.Trust{Upstream: map[string]*pgp.Keyring{"security": world.Ring(t, testarchive.DebianKey())}, Named: []string{"security"}, Now: world.Now}
	s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := testarchive.MemoryDir(t)
	if _, err := Tree(t.Context(), TreeOptions{Snapshot: s, Trust: trust, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	name := "security/dists/bookworm-security/InRelease"
	u := world.Good()
	if f := treeOf(t, dir)[name]; !f.mtime.Equal(u.Security.Suite(t, "bookworm-security").Date) {
		t.Errorf("%s has the time %s", name, f.mtime)
	}
}

// TestPullOverRefuses: what no pull wrote, or somebody changed since, stays as it is.
func TestPullOverRefuses(t *testing.T) {
	t.Parallel()
	days := threeDays(t)
	victim := ""
	for _, c := range []struct {
		what    string
		prepare func(dir string) (says string, err error)
	}{
		{"a foreign file", func(dir string) (string, error) {
			return "docker/notes", os.WriteFile(filepath.Join(dir, "docker/notes"), nil, 0o644)
		}},
		{"a foreign empty directory", func(dir string) (string, error) {
			return "docker/new", os.Mkdir(filepath.Join(dir, "docker/new"), 0o755)
		}},
		{"an index that was edited", func(dir string) (string, error) {
			return "dists/bookworm/InRelease", os.WriteFile(filepath.Join(dir, "docker/dists/bookworm/InRelease"), []byte("mine"), 0o644)
		}},
		{"a file in place of one that is left", func(dir string) (string, error) {
			return victim, os.WriteFile(filepath.Join(dir, victim), []byte("mine"), 0o644)
		}},
		{"a symlink in place of one that is left", func(dir string) (string, error) {
			return victim, errors.Join(os.Remove(filepath.Join(dir, victim)), os.Symlink("/etc/passwd", filepath.Join(dir, victim)))
		}},
		{"a record that is none", func(dir string) (string, error) {
			return "line 2", os.WriteFile(filepath.Join(dir, recordFile), []byte(recordHead+"\nhas nothing\n"), 0o644)
		}},
		{"an empty record", func(dir string) (string, error) { return recordFile, os.Truncate(filepath.Join(dir, recordFile), 0) }},
		{"a record by symlink", func(dir string) (string, error) {
			return recordFile, errors.Join(os.Rename(filepath.Join(dir, recordFile), filepath.Join(dir, ".mmoci/x")), os.Symlink("x", filepath.Join(dir, recordFile)))
		}},
		{"no record", func(dir string) (string, error) { return "by-hash", os.RemoveAll(filepath.Join(dir, recordDir)) }},
		{"a record that knows the path with other bytes", func(dir string) (string, error) {
			text := fmt.Sprintf("%s\nhas %s 4 docker/dists/bookworm/InRelease\n", recordHead, snapshot.Sum([]byte("mine")))
			return "InRelease", os.WriteFile(filepath.Join(dir, recordFile), []byte(text), 0o644)
		}},
	} {
		dir := filepath.Join(testarchive.MemoryDir(t), "tree")
		pulled(t, days[0], dir)
		for name := range treeOf(t, dir) {
			if strings.HasSuffix(name, ".deb") && strings.Contains(name, "28.5.1") {
				victim = name
			}
		}
		says, err := c.prepare(dir)
		if err != nil || says == "" {
			t.Fatal(c.what, err)
		}
		before := treeOf(t, dir)
		_, err = Tree(t.Context(), TreeOptions{Snapshot: days[1], Trust: world.SiteTrust(t), Dir: dir})
		if !errors.Is(err, outcome.ErrRefused) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: %v", c.what, err)
		}
		if after := treeOf(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s: something was changed", c.what)
		}
	}
}

// TestRecordCannotReachOut: a record of an opponent's names files beside the tree, files of the tree by other bytes, and paths
// through a symlink. Only a file of the tree with exactly the bytes that it names can be lost.
func TestRecordCannotReachOut(t *testing.T) {
	t.Parallel()
	s := opened(t, world.Good())
	base := testarchive.MemoryDir(t)
	dir := filepath.Join(base, "tree")
	pulled(t, s, dir)
	secret := []byte("secret\n")
	line := func(name string, data []byte) string {
		return fmt.Sprintf("left %s %d %s\n", snapshot.Sum(data), len(data), name)
	}
	record, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(base, name)), 0o755), os.WriteFile(filepath.Join(base, name), data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"../beside", "/etc/passwd", "docker/../../beside", "docker//x", ".", ""} {
		write("beside", secret)
		write("tree/.mmoci/files", append(bytes.Clone(record), line(bad, secret)...))
		if _, err := Tree(t.Context(), TreeOptions{Snapshot: s, Trust: world.SiteTrust(t), Dir: dir}); !errors.Is(err, outcome.ErrRefused) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	// Its own files are none of the tree's.
	write("tree/.mmoci/kept", secret)
	write("tree/docker/known", secret)
	write("tree/.mmoci/files", append(bytes.Clone(record), line(".mmoci/kept", secret)+line("docker/known", secret)...))
	next := opened(t, world.Older(t))
	if got := pulled(t, next, dir); got.Removed != 1 {
		t.Errorf("%+v", got)
	}
	for name, there := range map[string]bool{"beside": true, "tree/.mmoci/kept": true, "tree/docker/known": false} {
		if _, err := os.Stat(filepath.Join(base, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPullHeals: a tree of before there were records and dates. Its times were made of digests, which are also how
// its files are known; a client that has any of them sees every change.
func TestPullHeals(t *testing.T) {
	t.Parallel()
	days := threeDays(t)
	for _, next := range []int{0, 1} {
		dir := filepath.Join(testarchive.MemoryDir(t), "tree")
		pulled(t, days[0], dir)
		old := treeOf(t, dir)
		for name, f := range old {
			if strings.Contains(name, "/by-hash/") {
				if err := os.RemoveAll(filepath.Join(dir, path.Dir(name))); err != nil {
					t.Fatal(err)
				}
				os.Remove(filepath.Join(dir, path.Dir(path.Dir(name))))
				delete(old, name)
				continue
			}
			mtime := snapshot.ModTime(snapshot.Sum([]byte(f.data)))
			if err := os.Chtimes(filepath.Join(dir, name), mtime, mtime); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, recordDir)); err != nil {
			t.Fatal(err)
		}
		// Killed half way, and again: it is still known what is whose.
		for reads := 0; ; reads += 3 {
			_, err := Tree(t.Context(), TreeOptions{Snapshot: killedAfter(days[next], reads), Trust: world.SiteTrust(t), Dir: dir})
			if err == nil {
				break
			}
			if !errors.Is(err, errCable) {
				t.Fatal(err)
			}
		}
		fresh := filepath.Join(testarchive.MemoryDir(t), "fresh")
		pulled(t, days[next], fresh)
		tree := treeOf(t, dir)
		for name, f := range treeOf(t, fresh) {
			if tree[name].data != f.data || !tree[name].mtime.Equal(f.mtime) {
				t.Errorf("to day %d: %s has the time %s, a fresh one %s", next, name, tree[name].mtime, f.mtime)
			}
		}
		for name := range old {
			if _, ok := tree[name]; !ok {
				t.Errorf("to day %d: %s is gone at once", next, name)
			}
		}
	}
	// What merely looks so is somebody else's.
	dir := filepath.Join(testarchive.MemoryDir(t), "tree")
	mine := filepath.Join(dir, "docker/mine")
	mtime := snapshot.ModTime(snapshot.Sum([]byte("yours")))
	if err := errors.Join(os.MkdirAll(filepath.Dir(mine), 0o755), os.WriteFile(mine, []byte("mine"), 0o644), os.Chtimes(mine, mtime, mtime)); err != nil {
		t.Fatal(err)
	}
	if _, err := Tree(t.Context(), TreeOptions{Snapshot: days[0], Trust: world.SiteTrust(t), Dir: dir}); !errors.Is(err, outcome.ErrRefused) {
		t.Error(err)
	}
}

// killedAfter is a snapshot whose blobs end after a number of them.
func killedAfter(s *snapshot.Snapshot, n int) *snapshot.Snapshot {
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	return s.WithBlobs(func(b snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(ctx context.Context, want snapshot.Blob) (*snapshot.Content, error) {
			select {
			case <-left:
				return b.Open(ctx, want, 0)
			default:
				return nil, errCable
			}
		})
	})
}

// wantedTree is the tree of a snapshot, as Pull collects it.
func wantedTree(t *testing.T, s *snapshot.Snapshot) *aptTree {
	t.Helper()
	c, tree := &prove.Chain{Snapshot: s, Trust: world.SiteTrust(t)}, newAptTree(s, true)
	for _, a := range s.Statement.Archives {
		if err := c.Walk(t.Context(), a, prove.Served, prove.Visitor{File: tree.add}); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// TestPullOverOrder: as the kernel tells it, a file gets its name after those that it names, and suites come one after another.
func TestPullOverOrder(t *testing.T) {
	t.Parallel()
	days := threeDays(t)
	dir := filepath.Join(testarchive.MemoryDir(t), "tree")
	pulled(t, days[0], dir)
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	of := map[int32]string{}
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			n, err := unix.InotifyAddWatch(watch, p, unix.IN_MOVED_TO|unix.IN_CREATE)
			rel, _ := filepath.Rel(dir, p)
			of[int32(n)] = rel
			return err
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	pulled(t, days[1], dir)
	step := map[string]int{"InRelease": 5, "Release": 4, "Release.gpg": 3}
	var order []string
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Read(watch, buf)
		if err != nil || n <= 0 {
			break
		}
		for b := buf[:n]; len(b) > 0; {
			wd, size := int32(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[12:])
			name := strings.TrimRight(string(b[16:16+size]), "\x00")
			if b = b[16+size:]; !strings.HasPrefix(name, tempMark) && of[wd] != recordDir {
				order = append(order, path.Join(of[wd], name))
			}
		}
	}
	seen := map[string]int{}
	var suites []string
	for i, name := range order {
		prefix, below, ok := strings.Cut(name, "/dists/")
		if !ok || strings.HasSuffix(name, ".deb") || path.Ext(name) == "" && !strings.Contains(name, "Release") && !strings.Contains(name, "by-hash") {
			continue // a pool file, or a directory
		}
		suite, _, _ := strings.Cut(below, "/")
		suite = prefix + " " + suite
		at := 2
		if strings.Contains(name, "/by-hash/") {
			at = 1
		} else if n := step[path.Base(name)]; n > 0 {
			at = n
		}
		if at < seen[suite] {
			t.Errorf("%s comes late: %q", name, order)
		}
		seen[suite] = at
		if at > 1 && !slices.Contains(suites, suite) {
			suites = append(suites, suite)
		}
		if at > 1 && suites[len(suites)-1] != suite {
			t.Errorf("%s is not with its suite: %q", name, order)
		}
		for _, later := range order[i:] {
			if strings.HasSuffix(later, ".deb") {
				t.Errorf("%s comes before %s", name, later)
			}
		}
	}
	if len(suites) < 3 || seen["docker bookworm"] != 5 {
		t.Errorf("what was named: %q", order)
	}
}

// TestByHashNames: a run that was killed when an index had its by-hash name and not yet its own, leaves a temporary file
// that is both; who goes on from there must not write into it. Where a file cannot have two names it is copied.
func TestByHashNames(t *testing.T) {
	t.Parallel()
	days := threeDays(t)
	dir := testarchive.MemoryDir(t)
	pulled(t, days[0], dir)
	// One of which the old bytes could be the beginning of the new ones.
	before, next := wantedTree(t, days[0]), wantedTree(t, days[1])
	index := ""
	for _, of := range next.links {
		if was, ok := before.want[of]; ok && was.Size < next.want[of].Size {
			index = of
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, index))
	if err != nil {
		t.Fatal("no index has grown: ", err)
	}
	byHash := path.Join(path.Dir(index), "by-hash/SHA256", snapshot.Sum(data).Hex())
	if err := os.Link(filepath.Join(dir, byHash), filepath.Join(dir, partOf(index))); err != nil {
		t.Fatal(err)
	}
	b := next.want[index]
	occupied := path.Join(path.Dir(index), "by-hash/SHA256", b.Digest.Hex())
	record, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		t.Fatal(err)
	}
	record = fmt.Appendf(record, "has %s 3 %s\n", snapshot.Sum([]byte("odd")), occupied)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, recordFile), record, 0o644), os.WriteFile(filepath.Join(dir, occupied), []byte("odd"), 0o644)); err != nil {
		t.Fatal(err)
	}
	pulled(t, days[1], dir)
	tree := treeOf(t, dir)
	if tree[byHash].data != string(data) {
		t.Error("the old index was written into under its by-hash name")
	}
	if snapshot.BlobOf([]byte(tree[occupied].data)) != b || tree[occupied].data != tree[index].data {
		t.Error("the new index has no by-hash name")
	}
	for name := range tree {
		if strings.HasPrefix(path.Base(name), tempMark) {
			t.Errorf("%s stays", name)
		}
	}
}

// TestLeftoverOfTwoNames: a temporary file that has another name, too, is not written into.
func TestLeftoverOfTwoNames(t *testing.T) {
	t.Parallel()
	d := bigDeb(t)
	base := testarchive.MemoryDir(t)
	dir, other := filepath.Join(base, "out"), filepath.Join(base, "other")
	spoilt := bytes.Clone(d.deb[:200_000])
	spoilt[100_000] ^= 1
	name := debName("big", "1.0", "amd64")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(other, spoilt, 0o644), os.Link(other, filepath.Join(dir, tempMark+name))); err != nil {
		t.Fatal(err)
	}
	s := memoryBlobs([]signedDeb{d}, func(_ snapshot.Blob, data []byte) io.Reader { return &asked{Reader: bytes.NewReader(data)} })
	if _, err := fetching(t, s, d).Fetch(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, d.deb) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := os.ReadFile(other); err != nil || !bytes.Equal(got, spoilt) {
		t.Errorf("the other name has %d bytes, which are others, %v", len(got), err)
	}
}

// failing is a disk whose n-th sync fails, as the kernel does it: the next one is good again.
func failing(t *testing.T, dir string, n int) *durable.Syncer {
	t.Helper()
	d, err := durable.Open(dir, func(int) error {
		if n--; n == 0 {
			return syscall.EIO
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestFailedSync: after a failed sync nothing that it was to make durable gets a name or stays, whichever of
// them fails; the error says what and where; the run is over, and the next one completes.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	days := threeDays(t)
	debs := []signedDeb{goodDeb(t, "a"), goodDeb(t, "b"), goodDeb(t, "c")}
	for n, failed := 1, true; failed; n++ {
		dir := testarchive.MemoryDir(t)
		sel := fetching(t, memoryBlobs(debs, nil), debs...)
		out, err := openDir(t.Context(), dir, sel.files)
		if err != nil {
			t.Fatal(err)
		}
		out.disk = failing(t, dir, n)
		err = out.fetch(t.Context(), sel.o.Snapshot, nil)
		out.close()
		failed = err != nil
		left := names(t, dir)
		// The second is for the names, of bytes that are on the disk.
		if n == 1 && (err == nil || len(left) > 0) || n > 2 && failed {
			t.Errorf("loose files, sync %d: %v, and there is %q", n, err, left)
		}
		if failed && (!errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "sync "+dir)) {
			t.Errorf("loose files, sync %d: %v", n, err)
		}
	}
	for n, failed := 1, true; failed; n++ {
		dir := testarchive.MemoryDir(t)
		pulled(t, days[0], dir)
		before := treeOf(t, dir)
		out, err := openTree(t.Context(), dir, wantedTree(t, days[1]))
		if err != nil {
			t.Fatal(err)
		}
		out.disk = failing(t, dir, n)
		err = out.fetch(t.Context(), days[1], nil)
		out.close()
		if failed = err != nil; failed && (!errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "sync "+dir)) {
			t.Errorf("tree, sync %d: %v", n, err)
		}
		after := treeOf(t, dir)
		for name := range after {
			if strings.HasPrefix(path.Base(name), tempMark) && failed {
				t.Errorf("tree, sync %d: %s stays", n, name)
			}
		}
		switch { // 1 the record, 2 the pool, 3 what waits for its name, 4 the names, 5 the record
		case n <= 2 && fmt.Sprint(after) != fmt.Sprint(before):
			t.Errorf("tree, sync %d: something has a name: %q", n, diffNames(before, after))
		case n == 3:
			for name, f := range before {
				if after[name] != f {
					t.Errorf("tree, sync 3: %s has changed", name)
				}
			}
			for name := range after {
				if _, ok := before[name]; !ok && !strings.HasSuffix(name, ".deb") {
					t.Errorf("tree, sync 3: %s has its name", name)
				}
			}
		case n > 5 && failed:
			t.Errorf("tree: a sync number %d", n)
		case n == 5 && !failed:
			t.Error("the last sync is not looked at")
		}
		// The next run may be of another snapshot: what this one gave names is known.
		pulled(t, days[2], dir)
		fresh := testarchive.MemoryDir(t)
		pulled(t, days[2], fresh)
		tree := treeOf(t, dir)
		for name, f := range treeOf(t, fresh) {
			if tree[name].data != f.data || before[name].data != "" && before[name].data != f.data && !tree[name].mtime.After(before[name].mtime) {
				t.Errorf("tree, sync %d: the next run has another %s, or one of %s", n, name, tree[name].mtime)
			}
		}
	}
}

// diffNames are the paths by which two trees differ.
func diffNames(a, b map[string]treeFile) (out []string) {
	for name, f := range b {
		if a[name] != f {
			out = append(out, name)
		}
	}
	for name := range a {
		if _, ok := b[name]; !ok {
			out = append(out, name)
		}
	}
	return out
}

// TestLostWithTheBatch: a sync that fails on the timer, while files are still being read, ends the run; what was read since stays nowhere.
func TestLostWithTheBatch(t *testing.T) {
	t.Parallel()
	debs := []signedDeb{goodDeb(t, "a"), goodDeb(t, "b")}
	failedOnce := make(chan struct{})
	slow := memoryBlobs(debs, func(b snapshot.Blob, data []byte) io.Reader {
		r := bytes.NewReader(data)
		if b != snapshot.BlobOf(debs[1].deb) {
			return r
		}
		return readerFunc(func(p []byte) (int, error) {
			<-failedOnce
			return r.Read(p)
		})
	})
	dir := testarchive.MemoryDir(t)
	sel := fetching(t, slow, debs...)
	out, err := openDir(t.Context(), dir, sel.files)
	if err != nil {
		t.Fatal(err)
	}
	defer out.close()
	n := 0
	if out.disk, err = durable.Open(dir, func(int) error {
		if n++; n == 1 {
			close(failedOnce)
			return syscall.ENOSPC
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	err = out.fetch(t.Context(), sel.o.Snapshot, nil)
	if !errors.Is(err, syscall.ENOSPC) || n != 1 {
		t.Errorf("%v after %d syncs", err, n)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("there is %q", left)
	}
}

// TestNoNamesOfOurs: an upstream that calls a package as we call files under way is refused before anything is written.
func TestNoNamesOfOurs(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(testarchive.MemoryDir(t), "out")
	_, err := openDir(t.Context(), dir, map[string]snapshot.Blob{"docker/pool/" + tempMark + "a.deb": snapshot.BlobOf([]byte("a"))})
	if !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "under way") {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made")
	}
}

// TestSurveyEnds: an interrupted look at what is there ends at once.
func TestSurveyEnds(t *testing.T) {
	t.Parallel()
	dir := testarchive.MemoryDir(t)
	if err := os.WriteFile(filepath.Join(dir, "a.deb"), []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := openDir(ctx, dir, map[string]snapshot.Blob{"a.deb": snapshot.BlobOf([]byte("a"))}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
