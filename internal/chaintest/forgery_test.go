package chaintest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// exitOf is the exit code that a command would end with.
func exitOf(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, outcome.ErrIntegrity):
		return 3
	case errors.Is(err, outcome.ErrUsage):
		return 2
	case errors.Is(err, outcome.ErrNotFound), errors.Is(err, artifact.ErrNotFound), errors.Is(err, resolve.ErrUnsatisfied):
		return 4
	case errors.Is(err, outcome.ErrExpired):
		return 5
	}
	return 1
}

// attempt is what one reader does with one forgery.
type attempt struct {
	exit    int
	message string
	debs    map[snapshot.Digest]bool // written
}

// tryAll opens and runs verify, extract and pull -o.
func tryAll(t *testing.T, ref artifact.Reference, trust prove.Trust) [3]attempt {
	t.Helper()
	var out [3]attempt
	for i, op := range []func(*snapshot.Snapshot, string) error{
		func(s *snapshot.Snapshot, _ string) error {
			_, err := prove.Verify(t.Context(), prove.Options{Snapshot: s, Trust: trust, Hash: true, Ref: ref})
			return err
		},
		func(s *snapshot.Snapshot, dir string) error {
			_, err := extract.Run(t.Context(), extract.Options{Snapshot: s, Trust: trust, Queries: []string{"docker-ce"}, Dir: dir, Architecture: "amd64"})
			return err
		},
		func(s *snapshot.Snapshot, dir string) error {
			_, err := extract.Tree(t.Context(), extract.TreeOptions{Snapshot: s, Trust: trust, Dir: dir})
			return err
		},
	} {
		dir := filepath.Join(testarchive.MemoryDir(t), "out")
		s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
		if err == nil {
			err = op(s, dir)
		}
		out[i] = attempt{exit: exitOf(err), debs: debsIn(t, dir)}
		if err != nil {
			out[i].message = err.Error()
		}
	}
	return out
}

func debsIn(t *testing.T, dir string) map[snapshot.Digest]bool {
	t.Helper()
	found := map[snapshot.Digest]bool{}
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(p, ".deb") {
			data, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			found[snapshot.Sum(data)] = true
		}
		return nil
	})
	return found
}

// onlooker is whom a forgery is shown to.
type onlooker struct {
	name  string
	trust prove.Trust
	pin   bool // by the digest of the forged root itself
}

func onlookers(t testing.TB) []onlooker {
	site, up := world.SiteTrust(t), world.UpstreamTrust(t)
	both := up
	both.Site = site.Site
	return []onlooker{{"site", site, false}, {"upstream", up, false}, {"both", both, false}, {"pin", prove.Trust{Now: world.Now}, true}}
}

// TestWriteForgeries lays every forgery out for scripts to read with other
// programs, under the directory that MMOCI_FORGERIES names: NAME-MAKING/ with tag
// forged, keys/, expected.tsv, which is the table, and evil, the digests of the opponent's packages; and, below
// signatures/, the archives of signaturesBeside with signatures.tsv. Without it, it makes one.
func TestWriteForgeries(t *testing.T) {
	dir := os.Getenv("MMOCI_FORGERIES")
	all := forgeries()
	if dir == "" {
		dir, all = testarchive.MemoryDir(t), all[:1]
	}
	f := newForger(t)
	for name, k := range map[string]*testarchive.Key{"site": testarchive.SiteKey(), "docker": testarchive.DockerKey(), "debian": testarchive.DebianKey()} {
		file := filepath.Join(dir, "keys", name+".asc")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, k.Public(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var table strings.Builder
	for _, fg := range all {
		d := fg.make(f)
		for _, m := range forge.Makings() {
			layout := filepath.Join(dir, fg.name+"-"+string(m))
			forge.Write(t, d.Seal(m), layout, "forged")
			if fg.blob {
				exchangeBlob(t, layout, f.good().Rows[dockerCE].Digest)
			}
			line := forgeryTable(t)[fg.name+" "+string(m)]
			fmt.Fprintf(&table, "%s\t%s\t%s\n", fg.name, m, strings.Join(strings.Fields(line), "\t"))
		}
	}
	writeSignatures(t, filepath.Join(dir, "signatures"))
	var evil strings.Builder
	for d := range f.evils() {
		fmt.Fprintln(&evil, d.Hex())
	}
	for name, text := range map[string]string{"expected.tsv": table.String(), "evil": evil.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// written forges a layout.
func (f *forger) written(t *testing.T, fg forgery, d *forge.Draft, m forge.Making) (ref artifact.Reference, root snapshot.Digest) {
	t.Helper()
	dir := filepath.Join(testarchive.MemoryDir(t), "layout")
	ref = forge.Write(t, d.Seal(m), dir, "forged")
	if fg.blob {
		exchangeBlob(t, dir, f.good().Rows[dockerCE].Digest)
	}
	root, err := artifact.Resolve(t.Context(), ref, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return ref, root
}

// result puts an attempt into the words of the table of outcomes.
func (f *forger) result(a attempt, good map[snapshot.Digest]bool) string {
	if a.exit != 0 {
		if len(a.debs) > 0 {
			return fmt.Sprintf("exit %d, but %d files stay: %s", a.exit, len(a.debs), a.message)
		}
		for _, o := range verdicts() {
			if a.exit == o.exit && strings.Contains(a.message, o.message) {
				return o.word
			}
		}
		return fmt.Sprintf("exit %d: %s", a.exit, a.message)
	}
	if maps.Equal(a.debs, good) {
		return "ok"
	}
	for e := range f.evils() {
		if a.debs[e] {
			return "EVIL"
		}
	}
	return "other"
}

// TestForgeries shows every forgery, in every making, to every reader, who
// verifies, extracts docker-ce, and pulls the tree. The table is SPEC section 12's.
func TestForgeries(t *testing.T) {
	f := newForger(t)
	ref, original := f.written(t, forgery{}, f.good(), forge.Kept)
	var good [3]map[snapshot.Digest]bool
	for i, a := range tryAll(t, ref, world.SiteTrust(t)) {
		if a.exit != 0 {
			t.Fatal(a.message)
		}
		good[i] = a.debs
	}
	expected := forgeryTable(t)
	for _, fg := range forgeries() {
		d := sync.OnceValue(func() *forge.Draft { return fg.make(f) })
		for _, m := range forge.Makings() {
			t.Run(fg.name+"/"+string(m), func(t *testing.T) {
				t.Parallel()
				want := strings.Join(strings.Fields(expected[fg.name+" "+string(m)])[:12], " ") // apt's outcomes are scripts/e2e/45-forgeries.sh's
				ref, root := f.written(t, fg, d(), m)
				pinned := ref
				pinned.Digest = root
				var got []string
				for _, r := range onlookers(t) {
					at := ref
					if r.pin {
						at = pinned
					}
					for i, a := range tryAll(t, at, r.trust) {
						got = append(got, f.result(a, good[i]))
					}
				}
				if line := strings.Join(got, " "); line != want {
					t.Errorf("outcomes\n got %s\nwant %s", line, want)
				}
				f.originalPinned(t, ref, root, original)
			})
		}
	}
	if n := len(forgeries()) * len(forge.Makings()); len(expected) != n {
		t.Errorf("the table has %d lines, there are %d forgeries", len(expected), n)
	}
}

// originalPinned: who pinned the good root is shown the forged one in its place.
func (f *forger) originalPinned(t *testing.T, ref artifact.Reference, root, original snapshot.Digest) {
	t.Helper()
	if root == original {
		return // what is forged is not below the root
	}
	blobs := filepath.Join(ref.Name, "blobs/sha256")
	if err := os.Link(filepath.Join(blobs, root.Hex()), filepath.Join(blobs, original.Hex())); err != nil {
		t.Fatal(err)
	}
	ref.Digest = original
	for i, a := range tryAll(t, ref, prove.Trust{Now: world.Now}) {
		if a.exit != 3 || !strings.Contains(a.message, "bytes are sha256:") {
			t.Errorf("the original root pinned, attempt %d: exit %d: %s", i, a.exit, a.message)
		}
	}
}
