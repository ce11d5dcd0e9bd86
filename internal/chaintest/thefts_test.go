package chaintest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// TestThefts lets a thief of the site's key change curated archives at random, alone and
// several ways at once, and seal them anew. Whatever it does: verify, with both keys, says
// "proved" only if every stanza that an apt could take from what is served, by whatever the Release
// lists in whatever compression, is one of upstream's, of the same suite, byte for byte.
// MMOCI_SEED sets the seed, E2E_LONG=1 does it ten times as often.
func TestThefts(t *testing.T) {
	seed, times := uint64(12), 3
	if s := os.Getenv("MMOCI_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getenv("E2E_LONG") == "1" {
		times *= 10
	}
	w := newTheftWorld(t)
	if got := w.state(t, w.good); got != "proved" {
		t.Fatalf("the good snapshot: %s", got)
	}
	if n := len(w.takes(w.good)); n < 20 {
		t.Fatalf("apt could take %d stanzas of the good snapshot", n)
	}
	if n := len(thefts()); n < 20 {
		t.Errorf("%d kinds of theft", n)
	}
	for _, k := range thefts() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			for i := range times {
				r := rand.New(rand.NewPCG(seed+uint64(len(k.name)), uint64(i)+uint64(k.name[len(k.name)-1])))
				d := w.good.Clone()
				k.do(&thief{w, t, r, d})
				state := w.judge(t, d, fmt.Sprintf("seed %d, try %d", seed, i))
				if (state == "proved") != k.harmless {
					t.Errorf("seed %d, try %d: %s", seed, i, state)
				}
			}
		})
	}
	t.Run("several", func(t *testing.T) {
		t.Parallel()
		for i := range 20 * times {
			r := rand.New(rand.NewPCG(seed, uint64(1000+i)))
			d := w.good.Clone()
			var did []string
			for range 2 + r.IntN(3) {
				k := thefts()[r.IntN(len(thefts()))]
				did = append(did, k.name)
				k.do(&thief{w, t, r, d})
			}
			w.judge(t, d, fmt.Sprintf("seed %d, try %d: %s", seed, i, strings.Join(did, ", ")))
		}
	})
}

// theftWorld are curated archives of several kinds: of two suites, of two components and
// architectures, and flat with sources.
type theftWorld struct {
	good   *forge.Draft
	trust  prove.Trust
	theirs map[string]map[string]bool // upstream's stanzas, by directory of the suite in the snapshot
	evil   string                     // a stanza that is not upstream's; its file is in the pool of each archive
	deb    []byte
}

const evilDeb = "pool/evil_99_amd64.deb"

func newTheftWorld(t *testing.T) *theftWorld {
	t.Helper()
	dir := testarchive.MemoryDir(t)
	w := &theftWorld{theirs: map[string]map[string]bool{}, trust: world.UpstreamTrust(t)}
	w.trust.Site, w.trust.Named = world.SiteTrust(t).Site, nil
	plan := &config.Plan{}
	add := func(c config.Archive, up testarchive.Archive, files testarchive.Files) {
		for name, data := range up.Build(t) {
			files[name] = data
		}
		files.Write(t, filepath.Join(dir, c.Prefix))
		key := filepath.Join(dir, c.Prefix+".asc")
		if err := os.WriteFile(key, up.Keys[0].Public(), 0o600); err != nil {
			t.Fatal(err)
		}
		c.URLs, c.SignedBy = []string{filepath.Join(dir, c.Prefix)}, key
		plan.Archives = append(plan.Archives, c)
		w.trust.Upstream[c.Prefix] = world.Ring(t, up.Keys[0])
		for _, s := range c.Suites {
			base := snapshot.SuiteDir(c.Prefix, s) + "/"
			w.theirs[base] = map[string]bool{}
			for name, data := range files {
				if strings.HasPrefix(c.Prefix+"/"+name, base) && isIndex(name) {
					for _, st := range stanzasIn(name, data) {
						w.theirs[base][st] = true
					}
				}
			}
		}
	}
	all := func(c config.Archive) config.Archive { c.All = true; return c }
	amd64 := []string{"amd64"}
	add(config.Archive{Prefix: "docker", Suites: []string{"bookworm"}, Components: []string{"stable"}, Architectures: amd64,
		Packages: []config.Query{{Text: "docker-ce"}}}, testarchive.Docker(), testarchive.Files{})
	add(config.Archive{Prefix: "debian", Suites: []string{"bookworm", "bookworm-updates"}, Components: []string{"main", "contrib"}, Architectures: amd64,
		Packages: []config.Query{{Text: "iucode-tool"}}}, testarchive.Debian(), testarchive.Files{})
	add(config.Archive{Prefix: "security", Verbatim: true, Suites: []string{"bookworm-security"}, Components: []string{"main"}, Architectures: amd64},
		testarchive.Security(), testarchive.Files{})
	tool := func(name, version, arch, component string) testarchive.Package {
		return testarchive.Package{Name: name, Version: version, Architecture: arch, Component: component}
	}
	add(all(config.Archive{Prefix: "multi", Suites: []string{"stable"}, Components: []string{"extra", "main"}, Architectures: []string{"amd64", "arm64"}}),
		testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
			Dir: "stable", Origin: "Multi", Label: "Multi", Architectures: []string{"amd64", "arm64"}, Components: []string{"main", "extra", "third"},
			Packages: []testarchive.Package{tool("tool", "1.0", "amd64", "main"), tool("tool", "1.1", "amd64", "main"), tool("tool", "1.0", "arm64", "main"),
				tool("data", "1.0", "all", "main"), tool("more", "1.0", "all", "extra"), tool("most", "2.0", "amd64", "third")},
		}}}, testarchive.Files{})
	dsc := []byte("Format: 3.0 (native)\nSource: flat-src\nVersion: 1.0\n")
	hello := tool("flat-tool", "1.0", "amd64", "")
	hello.Source = "flat-src"
	add(all(config.Archive{Prefix: "flat", Suites: []string{"./"}, Architectures: amd64, WithSources: true}),
		testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
			Dir: "./", Suite: "flat", Origin: "Flat", Label: "Flat", Compressions: []string{"gz"}, Packages: []testarchive.Package{hello},
			Sources: fmt.Sprintf("Package: flat-src\nBinary: flat-tool\nVersion: 1.0\nDirectory: .\nChecksums-Sha256:\n %s %d flat-src_1.0.dsc\n", snapshot.Sum(dsc).Hex(), len(dsc)),
		}}}, testarchive.Files{"flat-src_1.0.dsc": dsc})
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.good = forge.Open(t, frozen.Snapshot)
	evil := testarchive.Package{Name: "tool", Version: "99", Architecture: "amd64"}
	poison(&evil)
	w.evil, w.deb = stanzaOf(t, evil, evilDeb), evil.Deb(t)
	return w
}

// judge holds the property of TestThefts, and returns what verify said.
func (w *theftWorld) judge(t *testing.T, d *forge.Draft, what string) string {
	t.Helper()
	state := w.state(t, d)
	if state != "proved" {
		return state
	}
	for st, base := range w.takes(d) {
		if !w.theirs[base][st] {
			t.Errorf("%s: proved, and apt could take from %s\n%s", what, base, st)
		}
	}
	return state
}

// state is "proved", or why verify --require upstream does not say so.
func (w *theftWorld) state(t *testing.T, d *forge.Draft) string {
	t.Helper()
	r, err := verified(t, d, forge.Resigned, w.trust)
	if err == nil {
		err = r.RequireUpstream()
	}
	if err != nil {
		return err.Error()
	}
	return "proved"
}

// takes are the stanzas, with the suite's directory, that an apt of whatever sources and
// architectures could take from the curated archives of a snapshot: of each listed file that is
// there under its name or its digest and is called like an index. This knows nothing of chain.go.
func (w *theftWorld) takes(d *forge.Draft) map[string]string {
	out := map[string]string{}
	byDigest := map[string][]byte{}
	for p := range d.Rows {
		data := d.Read(p)
		byDigest[snapshot.Sum(data).Hex()] = data
	}
	for _, a := range d.Archives {
		if a.Mode != snapshot.Curated {
			continue
		}
		for _, s := range a.Suites {
			base := snapshot.SuiteDir(a.Prefix, s.Name) + "/"
			for line := range strings.Lines(string(d.Read(base + "Release"))) {
				f := strings.Fields(line)
				if len(f) != 3 || !isIndex(f[2]) {
					continue
				}
				for _, data := range [][]byte{byDigest[f[0]], d.ReadAny(base + f[2])} {
					for _, st := range stanzasIn(f[2], data) {
						out[st] = base
					}
				}
			}
		}
	}
	return out
}

func isIndex(name string) bool {
	stem, _, _ := strings.Cut(path.Base(name), ".")
	return stem == "Packages" || stem == "Sources"
}

// stanzasIn are the stanzas of an index; one in several compressions, or of none that it is called after, is all of them.
func stanzasIn(name string, data []byte) []string {
	plain, err := archive.Decompress(name, data, 1<<20)
	if err != nil {
		return nil
	}
	var out []string
	for st := range strings.SplitSeq(string(plain), "\n\n") {
		if st = strings.Trim(st, "\n"); strings.Contains(st, "Package:") {
			out = append(out, st)
		}
	}
	return out
}

// thief changes a draft at random.
type thief struct {
	*theftWorld
	t testing.TB
	r *rand.Rand
	d *forge.Draft
}

func pick[T any](th *thief, of ...T) T { return of[th.r.IntN(len(of))] }

// suite picks a curated suite: its directory, and the indices it has.
func (th *thief) suite() (dir string, indices []string) {
	dirs := []string{"docker/dists/bookworm/", "debian/dists/bookworm/", "debian/dists/bookworm-updates/", "multi/dists/stable/", "flat/"}
	dir = pick(th, dirs...)
	for p := range th.d.Rows {
		if rest, ok := strings.CutPrefix(p, dir); ok && isIndex(rest) && strings.HasSuffix(rest, ".gz") && th.d.Rows[p].Size > 0 {
			indices = append(indices, rest)
		}
	}
	slices.Sort(indices)
	return dir, indices
}

// index picks an index with stanzas.
func (th *thief) index() (dir, index string) {
	for {
		dir, indices := th.suite()
		if len(indices) == 0 {
			continue
		}
		index = pick(th, indices...)
		if len(stanzasIn(index, th.d.Read(dir+index))) > 0 {
			return dir, index
		}
	}
}

// evilFile lets the Release in dir list the evil package, which makes it a file that a Release names.
func (th *thief) evilFile(dir string) string {
	prefix, _, _ := strings.Cut(dir, "/")
	if pick(th, true, false) {
		th.d.Put(prefix+"/"+evilDeb, th.deb)
		return th.evil
	}
	th.d.List(dir, "evil.deb", th.deb, true)
	filename := strings.TrimPrefix(dir, prefix+"/") + "evil.deb"
	return strings.Replace(th.evil, evilDeb, filename, 1)
}

// put lists an index and carries it in some compressions.
func (th *thief) put(dir, plain string, text []byte, compressions ...string) {
	th.d.List(dir, plain, text, pick(th, true, false))
	for _, c := range compressions {
		th.d.List(dir, plain+"."+c, testarchive.Compress(th.t, c, text), true)
	}
}

// edit changes the stanzas of some index.
func (th *thief) edit(change func(stanzas []string) []string) {
	dir, index := th.index()
	th.d.EditIndex(dir, index, func(s string) string {
		after := strings.Join(change(strings.SplitAfter(strings.TrimSuffix(s, "\n\n"), "\n\n")), "")
		after = strings.TrimRight(after, "\n") + "\n\n"
		if after == s {
			after = s + "Package: none\n\n"
		}
		return after
	})
}

// theft is one kind.
type theft struct {
	name     string
	do       func(th *thief)
	harmless bool // proved, and right so: a name that is the site's choice
}

func thefts() []theft {
	field := func(th *thief, name string, value func(string) string) {
		dir, _ := th.suite()
		th.d.EditRelease(dir, func(s string) string {
			re := regexp.MustCompile(`(?m)^` + name + `: (.*)\n`)
			if !re.MatchString(s) {
				return name + ": " + value("") + "\n" + s
			}
			return re.ReplaceAllStringFunc(s, func(l string) string { return name + ": " + value(re.FindStringSubmatch(l)[1]) + "\n" })
		})
	}
	line := func(th *thief, text string) {
		dir, _ := th.suite()
		th.d.EditRelease(dir, func(s string) string { return strings.Replace(s, "SHA256:\n", text+"SHA256:\n", 1) })
	}
	return []theft{
		{name: "a component", do: func(th *thief) {
			dir := pick(th, "docker/dists/bookworm/", "debian/dists/bookworm/", "multi/dists/stable/")
			name := pick(th, "evil", "main/debian-installer", "x-debian-installer", "debian-installer", "updates/main", "non-free", "third")
			th.put(dir, name+"/binary-"+pick(th, "amd64", "all", "arm64")+"/Packages", []byte(th.evilFile(dir)), pick(th, "gz", "xz", "zst"))
			if pick(th, true, false) {
				th.d.EditRelease(dir, func(s string) string { return strings.Replace(s, "Components: ", "Components: "+name+" ", 1) })
			}
		}},
		{name: "an empty component", do: func(th *thief) {
			dir := pick(th, "docker/dists/bookworm/", "debian/dists/bookworm/")
			th.d.List(dir, "zz/binary-amd64/Packages", nil, false)
			th.d.List(dir, "zz/binary-amd64/Packages.gz", testarchive.Compress(th.t, "gz", nil), true)
			th.d.EditRelease(dir, func(s string) string {
				return regexp.MustCompile(`(?m)^(Components: .*)$`).ReplaceAllString(s, "$1 zz")
			})
		}},
		{name: "an empty architecture", do: func(th *thief) {
			th.d.List("docker/dists/bookworm/", "stable/binary-zz/Packages", nil, false)
			th.d.List("docker/dists/bookworm/", "stable/binary-zz/Packages.gz", testarchive.Compress(th.t, "gz", nil), true)
			th.d.EditRelease("docker/dists/bookworm/", func(s string) string {
				return strings.Replace(s, "Architectures: amd64\n", "Architectures: amd64 zz\n", 1)
			})
		}},
		{name: "empty sources", do: func(th *thief) {
			th.d.List("docker/dists/bookworm/", "stable/source/Sources", nil, false)
			th.d.List("docker/dists/bookworm/", "stable/source/Sources.gz", testarchive.Compress(th.t, "gz", nil), true)
		}},
		{name: "an architecture", do: func(th *thief) {
			dir := pick(th, "docker/dists/bookworm/", "debian/dists/bookworm/", "multi/dists/stable/")
			arch := pick(th, "all", "arm64", "i386", "source", "hurd-amd64")
			component := pick(th, "main", "stable")
			th.put(dir, component+"/binary-"+arch+"/Packages", []byte(th.evilFile(dir)), pick(th, "gz", "xz", "zst"))
			th.d.EditRelease(dir, func(s string) string {
				s = strings.Replace(s, "Architectures: ", "Architectures: "+arch+" ", 1)
				return pick(th, s, strings.Replace(s, "No-Support-for-Architecture-all: Packages\n", "", 1))
			})
		}},
		{name: "a compression", do: func(th *thief) {
			dir, index := th.index()
			plain := strings.TrimSuffix(index, ".gz")
			th.put(dir, plain, []byte(th.evilFile(dir)), pick(th, "xz", "zst"))
			if pick(th, true, false) {
				th.d.List(dir, index, nil, true)
			}
		}},
		{name: "a compression under an odd name", do: func(th *thief) {
			dir, index := th.index()
			name := strings.TrimSuffix(index, ".gz") + pick(th, ".bz2", ".lzma", ".lz4", ".GZ", ".gz.xz", ".uncompressed")
			th.d.List(dir, name, []byte(th.evilFile(dir)), true)
		}},
		{name: "the plain index carried", do: func(th *thief) {
			dir, index := th.index()
			plain, _ := archive.Decompress(index, th.d.Read(dir+index), 1<<20)
			th.d.Put(dir+strings.TrimSuffix(index, ".gz"), plain)
		}},
		{name: "a file", do: func(th *thief) {
			dir, _ := th.suite()
			name := pick(th, "main/i18n/Translation-en.xz", "stable/i18n/Translation-en", "Contents-amd64.gz", "main/dep11/Components-amd64.yml.gz", "main/cnf/Commands-amd64",
				"main/debian-installer/binary-amd64/Packages.gz", "Index", "Packages.diff/Index", "main/binary-amd64/Packages.diff/Index", "Release.old", "extra")
			th.d.List(dir, name, []byte(th.evil), true)
		}},
		{name: "a file that is not listed", do: func(th *thief) {
			dir, _ := th.suite()
			th.d.Put(dir+pick(th, "main/binary-all/Packages.zst", "by-hash/SHA256/"+strings.Repeat("a", 64), "main/binary-amd64/by-hash/SHA1/"+strings.Repeat("b", 40), "x", "InRelease.xz"), []byte(th.evil))
		}},
		{name: "a listed file that is not carried", do: func(th *thief) {
			dir, _ := th.suite()
			th.d.List(dir, pick(th, "main/binary-all/Packages.xz", "Packages.zst", "main/source/Sources"), []byte(th.evil), false)
		}},
		{name: "a whole suite that the statement does not have", do: func(th *thief) {
			prefix := pick(th, "docker", "debian", "multi")
			th.d.Put(prefix+"/dists/evil/Release", []byte("Suite: evil\n"))
			th.d.Put(prefix+"/dists/evil/main/binary-amd64/Packages", []byte(th.evil))
		}},
		{name: "an evil stanza", do: func(th *thief) {
			dir, index := th.index()
			evil := th.evilFile(dir)
			th.d.EditIndex(dir, index, func(s string) string { return pick(th, s+evil, evil+s) })
		}},
		{name: "a stanza changed", do: func(th *thief) {
			th.edit(func(st []string) []string {
				i := th.r.IntN(len(st))
				st[i] = pick(th, "Depends: evil\n", "Priority: required\n", "Essential: yes\n", "X: y\n") + st[i]
				return st
			})
		}},
		{name: "a stanza doubled with another version", do: func(th *thief) {
			th.edit(func(st []string) []string {
				i := th.r.IntN(len(st))
				return slices.Insert(st, i+1, regexp.MustCompile(`(?m)^Version: `).ReplaceAllString(strings.TrimRight(st[i], "\n")+"\n\n", "Version: 9:"))
			})
		}},
		{name: "stanzas in another order", do: func(th *thief) {
			dir, index := "debian/dists/bookworm/", "main/binary-amd64/Packages.gz"
			th.d.EditIndex(dir, index, func(s string) string {
				st := strings.SplitAfter(s, "\n\n")
				slices.Reverse(st)
				return strings.Join(st, "")
			})
		}},
		{name: "a stanza of another suite", do: func(th *thief) {
			from := pick(th, "main/binary-amd64/Packages.gz")
			st := pick(th, stanzasIn(from, th.good.Read("debian/dists/bookworm/"+from))...)
			th.d.EditIndex("debian/dists/bookworm-updates/", from, func(s string) string { return sortedIndex(s + st + "\n\n") })
		}},
		{name: "a stanza of another component", do: func(th *thief) {
			st := stanzasIn(".gz", th.good.Read("debian/dists/bookworm/contrib/binary-amd64/Packages.gz"))[0]
			th.d.EditIndex("debian/dists/bookworm/", "main/binary-amd64/Packages.gz", func(s string) string { return sortedIndex(s + st + "\n\n") })
		}},
		{name: "a stanza of another architecture", do: func(th *thief) {
			const arm = "main/binary-arm64/Packages.gz"
			for _, st := range stanzasIn(arm, th.good.Read("multi/dists/stable/"+arm)) {
				if strings.Contains(st, "Architecture: arm64") {
					th.d.EditIndex("multi/dists/stable/", "main/binary-amd64/Packages.gz", func(s string) string { return sortedIndex(s + st + "\n\n") })
				}
			}
		}},
		{name: "a package for all left out of one architecture", do: func(th *thief) {
			th.d.EditIndex("multi/dists/stable/", "extra/binary-"+pick(th, "amd64", "arm64")+"/Packages.gz", func(string) string { return "" })
		}},
		{name: "text between stanzas", do: func(th *thief) {
			dir, index := th.index()
			th.d.EditIndex(dir, index, func(s string) string {
				return pick(th, "\n"+s, s+"\n", strings.Replace(s, "\n\n", "\n \n", 1), strings.Replace(s, "\n\n", "\r\n\r\n", 1), s+"# x\n\n", strings.TrimSuffix(s, "\n"), s+"\x00")
			})
		}},
		{name: "a gzip member more", do: func(th *thief) {
			dir, index := th.index()
			data := th.d.Read(dir + index)
			more := pick(th, testarchive.Compress(th.t, "gz", []byte(th.evilFile(dir))), testarchive.Compress(th.t, "gz", nil), []byte("\x00"), []byte(th.evil))
			th.d.List(dir, index, slices.Concat(data, more), true)
		}},
		{name: "another gzip of the same", harmless: true, do: func(th *thief) { // its bytes are not made again
			dir, index := th.index()
			plain, _ := archive.Decompress(index, th.d.Read(dir+index), 1<<20)
			th.d.List(dir, index, testarchive.Compress(th.t, "gz", plain), true)
		}},
		{name: "another date", do: func(th *thief) {
			dir, _ := th.suite()
			th.d.EditRelease(dir, func(s string) string {
				return strings.Replace(s, "Acquire-By-Hash", "Valid-Until: Tue, 01 Jan 2099 00:00:00 UTC\nAcquire-By-Hash", 1)
			})
		}},
		{name: "a field", do: func(th *thief) {
			line(th, pick(th, "Signed-By: "+strings.Repeat("A", 40)+"\n", "Snapshots: http://192.0.2.1/@SNAPSHOTID@\n", "X-Evil: yes\n", "NotAutomatic: no\n", "SHA512:\n "+strings.Repeat("a", 128)+" 5 Packages\n",
				"MD5Sum:\n "+strings.Repeat("a", 32)+" 5 Packages.xz\n", "\n", " \n", "Acquire-By-Hash: no\n", "Packages-Require-Authorization: yes\n"))
		}},
		{name: "a field changed", do: func(th *thief) {
			field(th, pick(th, "Version", "Description", "Suite", "Acquire-By-Hash", "Changelogs", "NotAutomatic", "ButAutomaticUpgrades", "No-Support-for-Architecture-all"),
				func(was string) string { return was + pick(th, " x", "y") })
		}},
		{name: "another name", harmless: true, do: func(th *thief) {
			field(th, pick(th, "Origin", "Label"), func(string) string { return "Evil" })
		}},
		{name: "lists spelled otherwise", do: func(th *thief) {
			dir, index := th.index()
			th.d.EditRelease(dir, func(s string) string {
				return pick(th, strings.Replace(s, "SHA256:\n", "sha256:\n", 1), strings.Replace(s, " "+index, "  "+index, 1), strings.Replace(s, "SHA256:\n ", "SHA256:\n\t", 1),
					strings.Replace(s, "SHA256:\n", "SHA256: \n", 1), strings.ReplaceAll(s, "\n", "\r\n"), s+"\n", s+"X: y\n")
			})
		}},
		{name: "a listed path spelled otherwise", do: func(th *thief) {
			dir, index := th.index()
			th.d.List(dir, pick(th, "./"+index, "x/../"+index, strings.Replace(index, "Packages", "packages", 1), strings.ToUpper(index), index+"/"), []byte(th.evil), false)
		}},
		{name: "a .deb exchanged", do: func(th *thief) {
			for p := range th.d.Rows {
				if th.d.Rows[p].IsPackage() && strings.HasPrefix(p, pick(th, "docker/", "multi/", "flat/")) {
					th.d.Put(p, th.deb)
					return
				}
			}
			th.d.Put("docker/"+evilDeb, th.deb)
		}},
		{name: "a package under another name", do: func(th *thief) {
			var packages []string
			for p, row := range th.d.Rows {
				if row.IsPackage() && !strings.HasPrefix(p, "security/") {
					packages = append(packages, p)
				}
			}
			slices.Sort(packages)
			row := th.d.Rows[pick(th, packages...)]
			was := lockLine(row)
			switch th.r.IntN(3) {
			case 0:
				row.Name = "harmless"
			case 1:
				row.Version = "0"
			default:
				row.Source = "harmless"
			}
			th.d.Rows[row.Path] = row
			th.d.Lock = bytes.Replace(th.d.Lock, []byte(was), []byte(lockLine(row)), 1) // a careful thief
		}},
		{name: "a .deb more", do: func(th *thief) { th.d.Put(pick(th, "docker/", "flat/", "multi/dists/stable/")+"x.deb", th.deb) }},
		{name: "provenance exchanged", do: func(th *thief) {
			dir := "upstream/docker/dists/bookworm/stable/binary-amd64/Packages.gz"
			th.d.Put(dir, testarchive.Compress(th.t, "gz", []byte(th.evil)))
		}},
		{name: "a file of provenance more", do: func(th *thief) {
			th.d.Put("upstream/"+pick(th, "docker/dists/bookworm/", "multi/dists/stable/", "flat/")+pick(th, "x", "Packages.zst", "stable/binary-amd64/Packages.zst"), []byte(th.evil))
		}},
		{name: "sources where upstream has none", do: func(th *thief) {
			th.put("multi/dists/stable/", "main/source/Sources", []byte("Package: evil\nVersion: 1\nDirectory: pool\nChecksums-Sha256:\n "+snapshot.Sum(th.deb).Hex()+" "+itoa(int64(len(th.deb)))+" evil_99_amd64.deb\n\n"), "gz")
			th.put("multi/dists/stable/", "extra/source/Sources", nil, "gz")
			th.d.Put("multi/"+evilDeb, th.deb)
		}},
		{name: "the site's own", do: func(th *thief) {
			prefix := pick(th, "docker", "multi")
			a := th.d.Archive(prefix)
			a.Class, a.UpstreamKeys = snapshot.Site, nil
			for i := range a.Suites {
				a.Suites[i].Files = slices.DeleteFunc(a.Suites[i].Files, func(f snapshot.SuiteFile) bool { return f.Role.IsUpstream() })
			}
			th.d.Remove("upstream/" + prefix + "/")
		}},
		{name: "the statement's valid-until alone", do: func(th *thief) { th.d.Valid = world.Now.Add(time.Duration(1+th.r.IntN(1000)) * time.Hour) }},
	}
}

// lockLine is what the line of a package in the lock says of it.
func lockLine(row snapshot.Row) string {
	return fmt.Sprintf(" %s %s %s %s %d ", row.Name, row.Version, row.Architecture, row.Digest, row.Size)
}

// sortedIndex is an index with its stanzas in canonical order, as a careful thief would write it.
func sortedIndex(s string) string {
	var stanzas []deb.Stanza
	for st := range deb.Stanzas([]byte(s)) {
		stanzas = append(stanzas, bytes.Clone(st))
	}
	return string(archive.PlainIndex(stanzas, false))
}
