package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/passenger"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// fakeDocker keeps images in a file, one "NAME ID" a line, and containers in another, and takes a tar only if it is whole,
// every blob of it has its digest as its name, and manifest.json names what is there. scripts/e2e/65-engines.sh asks the real ones.
const fakeDocker = `#!/bin/sh
cd "$FAKE_ENGINE" || exit 1
touch images containers
echo "$*" >>calls
case "$1 $2" in
"version --format") ;;
"image inspect")
	if [ "$4" = "{{json .RepoTags}}" ]; then
		id=$(grep "^$5 " images) || { echo "Error: No such image: $5" >&2; exit 1; }
		tags=$(grep " ${id#* }\$" images | cut -d' ' -f1 | grep -v '^sha256:' | sed 's/.*/"&"/' | paste -sd,)
		echo "[$tags]"; exit
	fi
	line=$(grep "^$5 " images) || { echo "Error: No such image: $5" >&2; exit 1; }
	echo "${line#* }" ;;
"image rm") # by its ID with its only name, as docker does
	case $3 in sha256:*) [ "$(grep -c " $3\$" images)" -gt 2 ] || grep -v " $3\$" images >images.new ;; *) grep -v "^$3 " images >images.new ;; esac; mv images.new images ;;
"ps -a") cat containers ;;
"load ")
	rm -rf in && mkdir in
	tar -C in -xf - 2>/dev/null && [ -e in/index.json ] || { echo "unexpected EOF" >&2; exit 1; }
	if [ -e full ]; then printf 'noise\nError response from daemon: write /x: no space left on device\n' >&2; exit 1; fi
	for b in in/blobs/sha256/*; do [ "$(sha256sum <"$b")" = "${b##*/}  -" ] || { echo "wrong digest" >&2; exit 1; }; done
	name=$(sed 's/.*"RepoTags":\["\([^"]*\)".*/\1/' in/manifest.json)
	config=$(sed 's/.*"Config":"\([^"]*\)".*/\1/' in/manifest.json)
	for l in "$config" $(sed 's/.*"Layers":\[\([^]]*\)\].*/\1/; s/[",]/ /g' in/manifest.json); do [ -e "in/$l" ] || { echo "no $l" >&2; exit 1; }; done
	sed "s/^$(echo "$name" | sed 's,/,\\/,g') \(.*\)/\1 \1/" images >images.new
	echo "$name sha256:${config##*/}" >>images.new
	mv images.new images ;;
*) echo "unknown: $*" >&2; exit 1 ;;
esac
`

// host is a machine with a fake docker.
type host struct {
	t          *testing.T
	dir, state string
	said       []string
}

func newHost(t *testing.T) *host {
	h := &host{t: t, dir: t.TempDir(), state: t.TempDir()}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(fakeDocker), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	t.Setenv("FAKE_ENGINE", h.dir)
	return h
}

func (h *host) write(name, text string) {
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// images are the names that the engine has.
func (h *host) images() []string {
	data, _ := os.ReadFile(filepath.Join(h.dir, "images"))
	var names []string
	for line := range strings.Lines(string(data)) {
		names = append(names, strings.Fields(line)[0])
	}
	slices.Sort(names)
	return names
}

func (h *host) loads() int {
	data, _ := os.ReadFile(filepath.Join(h.dir, "calls"))
	return strings.Count(string(data), "load\n")
}

func (h *host) take(s *snapshot.Snapshot, names ...string) ([]string, error) {
	h.said = nil
	log := func(format string, args ...any) { h.said = append(h.said, fmt.Sprintf(format, args...)) }
	return Import(h.t.Context(), ImportOptions{Snapshot: s, Names: names, Engine: &Engine{Kind: Docker}, State: h.state, Log: log, Platform: "linux/amd64"})
}

// layout makes an image index for the architectures, and returns its reference.
func layout(t *testing.T, seed string, architectures ...string) string {
	var images []*image.Image
	for _, arch := range architectures {
		m, err := image.Build(image.Spec{Architecture: arch, Created: time.Unix(1_700_000_000, 0), Layers: [][]image.File{
			{{Path: "app", Mode: 0o755, Data: []byte(strings.Repeat(seed+arch, 1000))}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, m)
	}
	index, err := image.NewIndex(images...)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), seed)
	if err := image.WriteLayout(dir, "v1", index); err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir + ":v1"
}

const (
	app  = "registry.example.org/site/app:v1"
	tool = "registry.example.org/tool:1.0"
	arm  = "registry.example.org/arm:1"
)

// snapshotOf is a snapshot of an own package and three images, believed by the site's key if trust has it.
func snapshotOf(t *testing.T, seed string, trust prove.Trust) *snapshot.Snapshot {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "own.deb"), testarchive.Package{Name: "own", Version: "1.0", Architecture: "all"}.Deb(t), 0o600); err != nil {
		t.Fatal(err)
	}
	plan := &config.Plan{
		Archives: []config.Archive{{Prefix: "own", Debs: dir}},
		Images: []config.Image{
			{From: layout(t, seed, "amd64", "arm64"), Name: app},
			{From: layout(t, "tool"+seed, "amd64"), Name: tool},
			{From: layout(t, "arm", "arm64"), Name: arm},
		},
	}
	images, err := passenger.Read(t.Context(), passenger.Options{Plan: plan})
	if err != nil {
		t.Fatal(err)
	}
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Images: images, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now})
	if err != nil {
		t.Fatal(err)
	}
	if trust.Site == nil {
		return frozen.Snapshot // nobody has verified it
	}
	ref := forge.Write(t, frozen.Snapshot, filepath.Join(t.TempDir(), "stick"), "day")
	s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestImport(t *testing.T) {
	h := newHost(t)
	s := snapshotOf(t, "one", world.SiteTrust(t))
	// What runs on this machine, each once; again nothing is loaded.
	for range 2 {
		names, err := h.take(s)
		if err != nil || !slices.Equal(names, []string{app, tool}) || !slices.Equal(h.images(), names) {
			t.Fatal(names, h.images(), err)
		}
		if !slices.ContainsFunc(h.said, func(line string) bool { return strings.Contains(line, arm+": it has nothing for linux/amd64") }) {
			t.Errorf("%q", h.said)
		}
	}
	if n := h.loads(); n != 2 {
		t.Errorf("%d loads", n)
	}
	// One that was named must be for this machine, and be there.
	for name, says := range map[string]string{arm: "nothing for linux/amd64", "registry.example.org/no:1": "the snapshot has " + arm + ", "} {
		if _, err := h.take(s, name); !errors.Is(err, outcome.ErrNotFound) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names, err := h.take(s, "tool:1.0"); err != nil || !slices.Equal(names, []string{tool}) {
		t.Error(names, err)
	}
	// The next stick: the image that it replaces goes, unless a container holds it.
	old := firstID(t, h, app)
	if _, err := h.take(snapshotOf(t, "two", world.SiteTrust(t))); err != nil || !slices.Equal(h.images(), []string{app, tool}) {
		t.Error(h.images(), err)
	}
	second := firstID(t, h, app)
	h.write("containers", "abc "+second+"\n")
	if _, err := h.take(snapshotOf(t, "three", world.SiteTrust(t))); err != nil || !slices.Equal(h.images(), []string{app, tool, second}) || old == second {
		t.Error(h.images(), err)
	}
	// Undo leaves what is used, says so, and takes it later.
	h.write("containers", "abc "+second+"\ndef "+tool+"\n")
	removed, kept, err := Undo(t.Context(), h.state)
	if err != nil || !slices.Equal(removed, []string{app}) || len(kept) != 2 || !strings.Contains(strings.Join(kept, "\n"), "container def of docker uses it") {
		t.Fatalf("%q, %q, %v", removed, kept, err)
	}
	h.write("containers", "")
	if _, kept, err = Undo(t.Context(), h.state); err != nil || len(kept) > 0 || len(h.images()) > 0 {
		t.Fatalf("%q, %q, %v", h.images(), kept, err)
	}
	if left, _ := os.ReadDir(h.state); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func firstID(t *testing.T, h *host, name string) string {
	t.Helper()
	found, err := (&Engine{Kind: Docker}).has(t.Context(), name)
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	return found[0].String()
}

// TestNewNameStays: somebody has given a name of their own to an image that mmoci imported, and the next stick replaces it.
func TestNewNameStays(t *testing.T) {
	h := newHost(t)
	if _, err := h.take(snapshotOf(t, "one", world.SiteTrust(t)), app); err != nil {
		t.Fatal(err)
	}
	const mine = "registry.example.org/mine:1"
	old := firstID(t, h, app)
	h.write("images", app+" "+old+"\n"+mine+" "+old+"\n")
	for _, seed := range []string{"two", "three"} {
		if _, err := h.take(snapshotOf(t, seed, world.SiteTrust(t)), app); err != nil || !slices.Contains(h.images(), mine) {
			t.Fatalf("%q, %v", h.images(), err)
		}
	}
	if !slices.Equal(h.images(), []string{mine, app, old}) {
		t.Errorf("%q", h.images())
	}
	if _, kept, err := Undo(t.Context(), h.state); err != nil || !slices.Contains(h.images(), mine) || slices.Contains(h.images(), app) || len(kept) != 1 {
		t.Errorf("%q, %q, %v", h.images(), kept, err)
	}
}

// TestImportOfOthers: what somebody else put there stays, before and after, whatever its name.
func TestImportOfOthers(t *testing.T) {
	h := newHost(t)
	s := snapshotOf(t, "one", world.SiteTrust(t))
	other := snapshot.Sum([]byte("other")).String()
	h.write("images", tool+" "+other+"\n")
	if _, err := h.take(s); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), tool) || h.loads() > 0 {
		t.Errorf("%v, %d loads", err, h.loads())
	}
	if _, err := h.take(s, app); err != nil {
		t.Error(err)
	}
	// By now somebody has pulled another app; and the tool itself was there before.
	c, err := read(t.Context(), s, s.Statement.Images[2], oci.Platform{OS: "linux", Architecture: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	h.write("images", tool+" "+c.config.Digest.String()+"\n"+app+" "+other+"\n")
	if names, err := h.take(s, tool); err != nil || len(names) != 1 {
		t.Error(names, err)
	}
	removed, kept, err := Undo(t.Context(), h.state)
	if err != nil || len(removed) > 0 || len(kept) != 1 || !slices.Equal(h.images(), []string{app, tool}) {
		t.Errorf("%q, %q, %v; %q", removed, kept, err, h.images())
	}
	// With the word for it the name is taken.
	h.write("images", app+" "+other+"\n")
	o := ImportOptions{Snapshot: s, Names: []string{app}, Engine: &Engine{Kind: Docker}, State: h.state, Platform: "linux/amd64", Replace: true}
	if _, err := Import(t.Context(), o); err != nil || firstID(t, h, app) == other {
		t.Error(err)
	}
}

// TestImportOfWrongBytes: of a blob that lies about its digest the engine takes nothing; with the right bytes the same goes on.
func TestImportOfWrongBytes(t *testing.T) {
	h := newHost(t)
	s := snapshotOf(t, "one", world.SiteTrust(t))
	c, err := read(t.Context(), s, s.Statement.Images[1], oci.Platform{OS: "linux", Architecture: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range append([]oci.Descriptor{c.config}, c.layers...) {
		for _, at := range []int64{0, wrong.Size - 1} {
			lying := s.WithBlobs(func(b snapshot.Blobs) snapshot.Blobs { return liar{b, wrong.Digest, at} })
			if names, err := h.take(lying, app); !errors.Is(err, outcome.ErrIntegrity) || len(names)+len(h.images()) > 0 {
				t.Errorf("byte %d of %s: %q, %q, %v", at, wrong, names, h.images(), err)
			}
		}
	}
	h.write("full", "")
	if _, err := h.take(s, app); err == nil || err.Error() != "image "+app+": docker load: write /x: no space left on device" {
		t.Errorf("full: %v", err)
	}
	os.Remove(filepath.Join(h.dir, "full"))
	if _, err := h.take(s, app); err != nil || !slices.Equal(h.images(), []string{app}) {
		t.Error(h.images(), err)
	}
}

// TestImportInterrupted: ended at whatever blob, the engine has whole images or none, and a rerun completes it.
func TestImportInterrupted(t *testing.T) {
	h := newHost(t)
	s := snapshotOf(t, "one", world.SiteTrust(t))
	for left := 1; ; left++ {
		ctx, cancel := context.WithCancel(t.Context())
		opened := 0
		ending := s.WithBlobs(func(b snapshot.Blobs) snapshot.Blobs {
			return snapshot.BlobsFunc(func(ctx context.Context, blob snapshot.Blob) (*snapshot.Content, error) {
				if opened++; opened == left {
					cancel()
				}
				return b.Open(ctx, blob, 0)
			})
		})
		o := ImportOptions{Snapshot: ending, Engine: &Engine{Kind: Docker}, State: h.state, Platform: "linux/amd64"}
		names, err := Import(ctx, o)
		cancel()
		if err == nil {
			if left < 8 || !slices.Equal(names, []string{app, tool}) {
				t.Errorf("%d blobs, %q", left, names)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("at blob %d: %v", left, err)
		}
		for _, name := range h.images() {
			if name != app && name != tool {
				t.Errorf("at blob %d: %q", left, h.images())
			}
		}
		if _, err := h.take(s); err != nil || !slices.Equal(h.images(), []string{app, tool}) {
			t.Errorf("after blob %d: %q, %v", left, h.images(), err)
		}
		if _, kept, err := Undo(t.Context(), h.state); err != nil || len(kept) > 0 || len(h.images()) > 0 {
			t.Errorf("after blob %d: %q, %q, %v", left, h.images(), kept, err)
		}
	}
}

// liar flips the byte of one blob.
type liar struct {
	snapshot.Blobs
	digest snapshot.Digest
	at     int64
}

func (l liar) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	c, err := l.Blobs.Open(ctx, b, offset)
	if err != nil || b.Digest != l.digest {
		return c, err
	}
	data, err := io.ReadAll(c.R)
	if err != nil {
		return nil, err
	}
	data[l.at] ^= 1
	return &snapshot.Content{R: io.NopCloser(strings.NewReader(string(data)))}, nil
}

// TestImportOfNobodys: what upstream's keys prove are packages; images need the site's key or a digest.
func TestImportOfNobodys(t *testing.T) {
	h := newHost(t)
	s := snapshotOf(t, "one", prove.Trust{})
	if _, err := h.take(s); !errors.Is(err, outcome.ErrUsage) || h.loads() > 0 {
		t.Error(err)
	}
	if r, _ := outcome.RemedyOf(func() error { _, err := Wanted(s, nil); return err }()); r != outcome.GiveSiteKey {
		t.Errorf("remedy %q", r)
	}
}

func TestFind(t *testing.T) {
	h := newHost(t)
	if e, err := Find(t.Context(), Options{}); err != nil || e.Kind != Docker {
		t.Error(e, err)
	}
	if _, err := Find(t.Context(), Options{Kind: "rkt"}); !errors.Is(err, outcome.ErrUsage) {
		t.Error(err)
	}
	t.Setenv("PATH", h.dir)
	if _, err := Find(t.Context(), Options{}); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "podman is not installed") {
		t.Error(err)
	}
}

// TestChain: which manifest of an image index is this machine's.
func TestChain(t *testing.T) {
	t.Parallel()
	part := func(name string) oci.ImagePart {
		return oci.ImagePart{Descriptor: oci.Descriptor{Blob: snapshot.BlobOf([]byte(name))}, Document: &oci.ImageDocument{Config: oci.Descriptor{MediaType: "c"}}}
	}
	index := func(name string, of ...oci.ImageManifest) oci.ImagePart {
		p := part(name)
		p.Document = &oci.ImageDocument{Manifests: of}
		return p
	}
	entry := func(name, platform string) oci.ImageManifest {
		m := oci.ImageManifest{Descriptor: part(name).Descriptor}
		if platform != "" {
			m.Platform, _ = oci.ParsePlatform(platform)
		}
		return m
	}
	about := entry("about", "unknown/unknown")
	about.Describes = part("a").Digest
	nested := index("nested", entry("b", "linux/arm64/v8"))
	for _, c := range []struct {
		root oci.ImagePart
		on   string
		want string
	}{
		{index("i", entry("a", "linux/amd64"), entry("b", "linux/arm64")), "linux/arm64", "b i"},
		{index("i", about, entry("a", "linux/amd64/v3"), entry("b", "linux/amd64")), "linux/amd64", "b i"},
		{index("i", entry("a", "linux/arm/v5"), entry("b", "linux/arm/v7")), "linux/arm", "b i"},
		{index("i", entry("a", "linux/amd64/v3")), "linux/amd64", "a i"},
		{index("i", entry("a", "windows/amd64"), about, entry("b", "")), "linux/amd64", ""},
		{index("i", entry("nested", "")), "linux/arm64", "b nested i"},
		{index("i", entry("nested", "")), "linux/amd64", ""},
		{part("a"), "linux/amd64", "a"},
	} {
		g := &oci.ImageGraph{Documents: []oci.ImagePart{part("a"), part("b"), part("about"), nested, c.root}}
		on, _ := oci.ParsePlatform(c.on)
		var got []string
		for _, p := range chain(g, c.root, on) {
			for _, name := range []string{"a", "b", "about", "nested", "i"} {
				if p.Digest == part(name).Digest {
					got = append(got, name)
				}
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v on %s: %q, want %q", c.root.Document.Manifests, c.on, got, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"":            "",
		"a\nError: b": "b",
		"Error: payload does not match:\n * oci: x\n * oci-archive: writing blob: no space\n * dir: y": "writing blob: no space",
		"Error response from daemon: no space left\n":                                                  "no space left",
		"ctr: " + strings.Repeat("x", 999):                                                             strings.Repeat("x", maxWords) + "..",
	} {
		if got := lastWords(said); got != want {
			t.Errorf("%q: %q", said, got)
		}
	}
	const table = "REF TYPE DIGEST STATUS SIZE UNPACKED\nx:1 t sha256:aa complete (2/2) 1.0 MiB/1.0 MiB true\ny:1 t sha256:bb incomplete (1/2) 1.0 MiB/? false\n"
	if wholeImage(table, "x:1") != "sha256:aa" || wholeImage(table, "y:1") != "" || wholeImage(table, "z:1") != "" {
		t.Error(wholeImage(table, "x:1"), wholeImage(table, "y:1"))
	}
}

func FuzzParseRecord(f *testing.F) {
	id := snapshot.Sum(nil).String()
	for _, text := range []string{
		"", recordHead, recordHead + "\n", recordHead + "\nimage docker - " + app + " " + id + "\n",
		recordHead + "\nimage containerd k8s.io " + app + " " + id + "," + id + "\nimage podman - " + id + " " + id + "\n",
		recordHead + "\nimage docker k8s.io " + app + " " + id, recordHead + "\nimage containerd --help " + app + " " + id, recordHead + "\nimage docker - --all " + id,
		recordHead + "\nimage docker - " + app + " sha256:00",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseRecord(text)
		if err != nil {
			return
		}
		again := recordHead + "\n"
		for _, i := range all {
			if strings.HasPrefix(i.Name, "-") || strings.HasPrefix(i.Namespace, "-") {
				t.Errorf("reads as a flag: %+v", i)
			}
			again += i.line()
		}
		if strings.TrimSuffix(again, "\n") != strings.TrimSuffix(text, "\n") {
			t.Errorf("%q is written as %q", text, again)
		}
	})
}
