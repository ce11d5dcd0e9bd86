package static

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// now is the clock of these tests.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// two are an older and a newer snapshot in one layout.
func two(t *testing.T) (layout string, older, newer artifact.Reference) {
	t.Helper()
	layout = filepath.Join(t.TempDir(), "layout")
	return layout, forge.Write(t, world.Freeze(t, world.Older(t)), layout, "older"), forge.Write(t, world.Freeze(t, world.Good()), layout, "newer")
}

func reference(t *testing.T, layout, tag string) artifact.Reference {
	t.Helper()
	ref, err := artifact.ParseReference("oci:" + layout + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func mustExport(t *testing.T, o Options) *Result {
	t.Helper()
	res, err := Export(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// state is every name of a tree with what would show that it was touched.
func state(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(name)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		all[name] = info.Mode().String() + " " + info.ModTime().String() + " " + time.Unix(st.Ctim.Unix()).String() + " " + time.Duration(st.Ino).String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// whole checks that everything which a tag of the tree leads to is there with the right bytes.
func whole(t *testing.T, dir string) (tags []string) {
	t.Helper()
	for _, link := range globAll(t, dir, "_tags") {
		to, err := filepath.EvalSymlinks(link)
		if err != nil {
			t.Errorf("tag %s: %v", link, err)
			continue
		}
		rel, _ := filepath.Rel(filepath.Join(dir, "documents/sha256"), to)
		root, err := snapshot.ParseDigest("sha256:" + rel)
		if err != nil {
			t.Fatalf("tag %s leads to %s", link, to)
		}
		tags = append(tags, filepath.Base(link))
		data, err := os.ReadFile(filepath.Join(dir, listPath(root)))
		if err != nil {
			t.Errorf("tag %s: %v", link, err)
			continue
		}
		l, err := parseList(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range l.blobs {
			got, err := os.ReadFile(filepath.Join(dir, blobPath(b.Digest)))
			if err != nil || snapshot.BlobOf(got) != b {
				t.Errorf("tag %s: blob %s is %v, %v", link, b.Digest, snapshot.BlobOf(got), err)
			}
		}
		for _, d := range l.documents {
			if got, err := os.ReadFile(filepath.Join(dir, documentPath(d))); err != nil || snapshot.BlobOf(got) != d.Blob {
				t.Errorf("tag %s: document %s: %v", link, d.Digest, err)
			}
		}
	}
	return tags
}

// globAll are the links in all directories of a name.
func globAll(t *testing.T, dir, of string) (links []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type() == fs.ModeSymlink && filepath.Base(filepath.Dir(name)) == of {
			links = append(links, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return links
}

// Blobs are links to the layout's files, and a second export touches nothing.
func TestExportTwice(t *testing.T) {
	t.Parallel()
	layout, older, newer := two(t)
	dir := filepath.Join(filepath.Dir(layout), "tree")
	o := Options{Dir: dir, References: []artifact.Reference{older, newer}, Mode: Link, Apt: true, Now: now}
	res := mustExport(t, o)
	if res.Linked == 0 || res.Copied != 0 || res.Moved != 6 {
		t.Errorf("%+v", res)
	}
	if tags := whole(t, dir); len(tags) != 4 {
		t.Errorf("tags %v", tags)
	}
	files, err := os.ReadDir(filepath.Join(layout, "blobs/sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		a, err := f.Info()
		b, berr := os.Stat(filepath.Join(dir, "blobs/sha256", f.Name()))
		if err != nil || berr != nil || !os.SameFile(a, b) {
			t.Errorf("%s is no link: %v, %v", f.Name(), err, berr)
		}
	}
	before := state(t, dir)
	if res := mustExport(t, o); res.Linked+res.Copied+res.Moved+res.Removed != 0 || res.Reused == 0 {
		t.Errorf("again: %+v", res)
	}
	after := state(t, dir)
	for name, was := range before {
		if after[name] != was {
			t.Errorf("%s: %s, was %s", name, after[name], was)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d names, were %d", len(after), len(before))
	}
}

// Blobs of a registry, or of an archive, are copied, beside links to those of a layout; together they are one tree.
func TestExportFromElsewhere(t *testing.T) {
	t.Parallel()
	_, older, newer := two(t)
	registry := testregistry.New(t, testregistry.Options{})
	for _, to := range []string{registry.Host() + "/site/mirror:newer", "oci-archive:" + filepath.Join(t.TempDir(), "newer.tar") + ":newer"} {
		ref, err := artifact.ParseReference(to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Copy(t.Context(), newer, ref, artifact.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "tree")
		o := Options{Dir: dir, References: []artifact.Reference{older, ref}, Now: now}
		res := mustExport(t, o)
		if res.Linked == 0 || res.Copied == 0 {
			t.Errorf("%s: %+v", to, res)
		}
		if tags := whole(t, dir); len(tags) != 4 {
			t.Errorf("%s: tags %v", to, tags)
		}
		if res := mustExport(t, o); res.Linked+res.Copied+res.Moved+res.Removed != 0 {
			t.Errorf("%s again: %+v", to, res)
		}
	}
}

// What no reference names any more stays for a while with its tags, then it goes, and nothing else.
func TestLeaving(t *testing.T) {
	t.Parallel()
	layout, older, newer := two(t)
	dir := filepath.Join(filepath.Dir(layout), "tree")
	o := Options{Dir: dir, References: []artifact.Reference{older, newer}, Apt: true, Keep: 48 * time.Hour, Now: now}
	mustExport(t, o)
	both := len(state(t, dir))
	o.References = []artifact.Reference{newer}
	for _, later := range []time.Duration{time.Hour, 48 * time.Hour} {
		o.Now = now.Add(later)
		if res := mustExport(t, o); res.Removed != 0 || res.LeavingRoots != 1 {
			t.Errorf("after %s: %+v", later, res)
		}
		if tags := whole(t, dir); len(tags) != 4 {
			t.Errorf("after %s: tags %v", later, tags)
		}
	}
	o.Now = now.Add(49 * time.Hour)
	if res := mustExport(t, o); res.Removed == 0 || res.LeavingRoots != 0 {
		t.Errorf("at last: %+v", res)
	}
	tags := whole(t, dir)
	if len(tags) != 2 || slices.Contains(tags, "older") {
		t.Errorf("tags %v", tags)
	}
	alone := filepath.Join(t.TempDir(), "alone")
	mustExport(t, Options{Dir: alone, References: o.References, Apt: true, Now: now})
	strip := func(dir string) (names []string) {
		for name := range state(t, dir) {
			if rel, _ := filepath.Rel(dir, name); rel != "left" {
				names = append(names, rel)
			}
		}
		slices.Sort(names)
		return names
	}
	if got, want := strip(dir), strip(alone); !slices.Equal(got, want) || len(got) >= both {
		t.Errorf("what is left is not a tree of the newer alone: %d names, want %d of %d", len(got), len(want), both)
	}
}

// Bytes that are not what their name says get no name, by link or copy; the old tag stays whole.
func TestWrongBytes(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{LinkOrCopy, Link, Copy} {
		layout, older, newer := two(t)
		dir := filepath.Join(filepath.Dir(layout), "tree")
		mustExport(t, Options{Dir: dir, References: []artifact.Reference{older}, Mode: mode, Now: now})
		g, err := artifact.ReadGraph(t.Context(), newer, artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var victim snapshot.Blob
		for _, b := range g.Files {
			if _, err := os.Stat(filepath.Join(dir, blobPath(b.Digest))); err != nil && b.Size > victim.Size {
				victim = b
			}
		}
		name := filepath.Join(layout, "blobs/sha256", victim.Digest.Hex())
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err = Export(t.Context(), Options{Dir: dir, References: []artifact.Reference{older, newer}, Mode: mode, Now: now})
		if !errors.Is(err, snapshot.ErrIntegrity) || !strings.Contains(err.Error(), victim.Digest.String()) {
			t.Errorf("mode %d: %v", mode, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, blobPath(victim.Digest))); err == nil {
			t.Errorf("mode %d: wrong bytes have a name", mode)
		}
		if tags := whole(t, dir); len(tags) != 2 {
			t.Errorf("mode %d: tags %v", mode, tags)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		mustExport(t, Options{Dir: dir, References: []artifact.Reference{older, newer}, Mode: mode, Now: now})
		if tags := whole(t, dir); len(tags) != 4 {
			t.Errorf("mode %d, again: tags %v", mode, tags)
		}
	}
}

// After each failed sync, and after an interruption at each blob, tags are whole and the same call finishes.
func TestInterruptedExport(t *testing.T) {
	t.Parallel()
	layout, older, newer := two(t)
	for _, mode := range []Mode{Link, Copy} {
		for failing := range 4 {
			dir := filepath.Join(filepath.Dir(layout), "failing", string(rune('a'+failing)), string(rune('a'+int(mode))))
			mustExport(t, Options{Dir: dir, References: []artifact.Reference{older}, Mode: mode, Apt: true, Now: now})
			was := state(t, filepath.Join(dir, "blobs"))
			syncs := 0
			o := Options{Dir: dir, References: []artifact.Reference{older, newer}, Mode: mode, Apt: true, Now: now}
			o.sync = func(int) error {
				if syncs++; syncs == failing+1 {
					return syscall.EIO
				}
				return nil
			}
			if _, err := Export(t.Context(), o); !errors.Is(err, syscall.EIO) {
				t.Fatalf("mode %d, sync %d: %v", mode, failing, err)
			}
			if tags := whole(t, dir); len(tags) != 2 {
				t.Errorf("mode %d, sync %d: tags %v", mode, failing, tags)
			}
			if failing < 2 && len(state(t, filepath.Join(dir, "blobs"))) != len(was) {
				t.Errorf("mode %d, sync %d: blobs of the failed run stayed", mode, failing)
			}
			mustExport(t, Options{Dir: dir, References: o.References, Mode: mode, Apt: true, Now: now})
			if tags := whole(t, dir); len(tags) != 4 {
				t.Errorf("mode %d, after sync %d: tags %v", mode, failing, tags)
			}
		}
	}
	dir := filepath.Join(filepath.Dir(layout), "interrupted")
	mustExport(t, Options{Dir: dir, References: []artifact.Reference{older}, Now: now})
	for stop := 1; ; stop += 3 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{}, 1<<16)
		o := Options{Dir: dir, References: []artifact.Reference{older, newer}, Mode: Copy, Now: now}
		o.Progress = func(e artifact.Event) {
			if e.Kind == artifact.Done {
				if done <- struct{}{}; len(done) >= stop {
					cancel()
				}
			}
		}
		_, err := Export(ctx, o)
		cancel()
		if tags := whole(t, dir); err != nil && len(tags) != 2 || err == nil && len(tags) != 4 {
			t.Errorf("stopped at %d: %v, tags %v", stop, err, tags)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

// A sync that fails takes all links of the run with it, also those of a batch in which a copy failed.
func TestLinksBesideFailedCopy(t *testing.T) {
	t.Parallel()
	layout, older, _ := two(t)
	blobs := filepath.Join(layout, "blobs", "sha256")
	entries, err := os.ReadDir(blobs)
	if err != nil {
		t.Fatal(err)
	}
	all, begun, private := -1, 0, map[string]bool{}
	for i, e := range entries {
		if i%2 == 0 { // only some may read it: it is copied
			private[e.Name()] = true
			if err := os.Chmod(filepath.Join(blobs, e.Name()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var mu sync.Mutex
	first := ""
	o := Options{Dir: filepath.Join(t.TempDir(), "tree"), References: []artifact.Reference{older}, Now: now}
	o.Progress = func(e artifact.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch e.Kind {
		case artifact.Planned:
			all = e.Files
		case artifact.Started:
			if first == "" && private[e.Digest.Hex()] {
				first = e.Digest.Hex()
			}
			if begun++; begun < all {
				break
			}
			for name := range private { // all but the last were hashed
				if name == first || name == e.Digest.Hex() {
					continue
				}
				if err := os.Remove(filepath.Join(blobs, name)); err != nil {
					t.Error(err)
				}
			}
		}
	}
	o.sync = func(int) error {
		mu.Lock()
		defer mu.Unlock()
		if begun == all {
			return syscall.EIO
		}
		return nil
	}
	if _, err := Export(t.Context(), o); !errors.Is(err, syscall.EIO) || !errors.Is(err, snapshot.ErrNotExist) {
		t.Fatalf("%d blobs, %v", all, err)
	}
	if left, _ := os.ReadDir(filepath.Join(o.Dir, blobsDir)); len(left) > 0 {
		t.Errorf("%d blobs of the failed run stayed", len(left))
	}
}

// A run that is killed after its last name and before its sync leaves names that may be lost: the next one syncs before it lists and publishes.
func TestKilledBeforeSync(t *testing.T) {
	t.Parallel()
	_, older, _ := two(t)
	o := Options{Dir: filepath.Join(t.TempDir(), "tree"), References: []artifact.Reference{older}, Mode: Link, Now: now}
	syncs, listed := 0, -1
	killed := o
	killed.sync = func(int) error {
		if syncs++; syncs == 2 {
			runtime.Goexit()
		}
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := Export(t.Context(), killed); err == nil {
			t.Error("the export went on")
		}
	}()
	<-done
	if tags := whole(t, o.Dir); len(tags) != 0 {
		t.Fatalf("tags %v", tags)
	}
	o.sync = func(int) error {
		if listed < 0 {
			names, err := os.ReadDir(filepath.Join(o.Dir, rootsDir))
			if err != nil {
				t.Error(err)
			}
			listed = len(names)
		}
		return nil
	}
	// Of files that were being written there are temporary ones, at the top.
	for _, name := range []string{".mmoci-tmp-0", ".mmoci-tmp-1"} {
		if err := os.Symlink("nowhere", filepath.Join(o.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	res := mustExport(t, o)
	if left, _ := filepath.Glob(filepath.Join(o.Dir, ".mmoci-tmp-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if res.Linked+res.Copied != 0 || listed != 0 {
		t.Errorf("%+v; the first sync was after %d lists", res, listed)
	}
}

// Temporary files are at the top of the tree alone, where the next run removes those of one that was killed.
func TestAsides(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.Mkdir("left", 0o755); err != nil {
		t.Fatal(err)
	}
	a := asides{root}
	f, err := a.OpenFile("left/.mmoci-tmp-1", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := os.Stat(filepath.Join(dir, ".mmoci-tmp-1")); err != nil {
		t.Error(err)
	}
	if err := a.Rename("left/.mmoci-tmp-1", "left/tags"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "left/tags")); err != nil {
		t.Error(err)
	}
}

// A directory that is something else is refused, and stays as it is; so is one that another export writes to.
func TestRefusedDirectories(t *testing.T) {
	t.Parallel()
	layout, older, newer := two(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{dir, layout} {
		before := state(t, at)
		if _, err := Export(t.Context(), Options{Dir: at, References: []artifact.Reference{older}}); !errors.Is(err, outcome.ErrUsage) {
			t.Errorf("%s: %v", at, err)
		}
		if after := state(t, at); len(after) != len(before) {
			t.Errorf("%s was changed", at)
		}
	}
	busy := t.TempDir()
	tr, err := openTree(busy, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), Options{Dir: busy, References: []artifact.Reference{older}}); !errors.Is(err, outcome.ErrRefused) {
		t.Errorf("two at once: %v", err)
	}
	tr.close()
	other := filepath.Join(t.TempDir(), "other")
	forge.Write(t, world.Freeze(t, world.Older(t)), other, "newer")
	_, err = Export(t.Context(), Options{Dir: t.TempDir(), References: []artifact.Reference{newer, reference(t, other, "newer")}})
	if !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), "mirror:newer") {
		t.Errorf("one name for two snapshots: %v", err)
	}
}

// One name of an apt tree is never inside another: the repository site with the tag mirror, and site/mirror.
func TestNestedNames(t *testing.T) {
	t.Parallel()
	_, older, newer := two(t)
	dir := filepath.Join(t.TempDir(), "tree")
	tr, err := openTree(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	e := &export{tree: tr, o: &Options{Apt: true, Now: now}}
	for name, ref := range map[string]artifact.Reference{"registry.example.org/site:mirror": older, "registry.example.org/site/mirror:noble": newer} {
		c, err := tr.read(t.Context(), ref, e.o)
		if err != nil {
			t.Fatal(err)
		}
		if c.ref, err = artifact.ParseReference(name); err != nil {
			t.Fatal(err)
		}
		e.contents = append(e.contents, c)
	}
	slices.SortFunc(e.contents, func(a, b *content) int { return strings.Compare(b.ref.String(), a.ref.String()) })
	if err := e.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*content{"site:mirror": e.contents[0], "site/mirror:noble": e.contents[1]} {
		to, err := filepath.EvalSymlinks(filepath.Join(dir, "apt", name))
		if err != nil || filepath.Base(to) != c.root.Hex() {
			t.Errorf("apt/%s leads to %s, %v", name, to, err)
		}
	}
	if tags := whole(t, dir); len(tags) != 4 {
		t.Errorf("tags %v", tags)
	}
}

// What not everybody may read is copied: a web server is somebody else.
func TestUnreadableIsCopied(t *testing.T) {
	t.Parallel()
	layout, older, _ := two(t)
	files, err := filepath.Glob(filepath.Join(layout, "blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Chmod(f, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "tree")
	o := Options{Dir: dir, References: []artifact.Reference{older}, Mode: Link, Now: now}
	if _, err := Export(t.Context(), o); err == nil || !strings.Contains(err.Error(), "cannot be linked") {
		t.Errorf("linked: %v", err)
	}
	o.Mode = LinkOrCopy
	if res := mustExport(t, o); res.Linked != 0 || res.Copied == 0 {
		t.Errorf("%+v", res)
	}
	copies, _ := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	for _, f := range copies {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", f, info, err)
		}
	}
	whole(t, dir)
}

// Links that somebody put into a tree do not lead an export out of it.
func TestLinksOutside(t *testing.T) {
	t.Parallel()
	layout, older, _ := two(t)
	for _, name := range []string{"blobs", "documents", "roots", "repositories", "apt", "trees", "left", "referrers"} {
		dir, outside := filepath.Join(filepath.Dir(layout), "tree-"+name), t.TempDir()
		mustExport(t, Options{Dir: dir, Now: now})
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		_, err := Export(t.Context(), Options{Dir: dir, References: []artifact.Reference{older}, Apt: true, Now: now})
		files, rerr := os.ReadDir(outside)
		if rerr != nil || len(files) > 0 {
			t.Errorf("%s: the export wrote %v outside (%v, %v)", name, files, rerr, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for p, want := range map[tagName]bool{
		{"site/app", "1"}: true, {"a", "_x"}: true,
		{"", "1"}: false, {"../a", "1"}: false, {"a/../b", "1"}: false, {"a//b", "1"}: false, {"/a", "1"}: false, {"a/", "1"}: false,
		{"_tags", "1"}: false, {"a/_tags", "1"}: false, {"a", ""}: false, {"a", ".."}: false, {"a", "."}: false, {"a", "x/y"}: false,
		{"a", ".mmoci-tmp-1"}: false, {"A", "1"}: false, {"a\n", "1"}: false, {"a", "1\n"}: false, {"host:5000/a", "1"}: false,
	} {
		if p.valid() != want {
			t.Errorf("%q: valid %v", p, !want)
		}
	}
}
