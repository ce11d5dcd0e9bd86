package artifact

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// release makes the pool of a release with so many packages, in the shape of
// bookworm's main/amd64: 1.86 packages a source, names of the usual length,
// an epoch in one version of sixteen. changed is a source whose version is another.
func release(packages, changed int) []snapshot.Row {
	rows := make([]snapshot.Row, 0, packages)
	for source := 0; len(rows) < packages; source++ {
		r := rand.New(rand.NewPCG(uint64(source), 7))
		name := fmt.Sprintf("%c%s%06d", 'a'+r.IntN(26), "ource-pack"[:r.IntN(10)], source)
		upstream := fmt.Sprintf("%d.%d.%d-%d", r.IntN(20), r.IntN(30), r.IntN(9), 1+r.IntN(4))
		if source == changed {
			upstream += "+deb12u1"
		}
		version := upstream
		if r.IntN(16) == 0 {
			version = "1:" + upstream
		}
		for i := 0; i < 1+binaries(r) && len(rows) < packages; i++ {
			binary := name + []string{"", "-dev", "-doc", "-common", "-data", "-bin", "-tools", "-dbg"}[i%8]
			if i >= 8 {
				binary += fmt.Sprint("-", i)
			}
			arch := "amd64"
			if i > 1 {
				arch = "all"
			}
			p := fmt.Sprintf("debian/pool/main/%c/%s/%s_%s_%s.deb", name[0], name, binary, upstream, arch)
			rows = append(rows, snapshot.Row{
				Path: p, Size: 300 + r.Int64N(1<<21), Digest: snapshot.Digest(sha256.Sum256([]byte(p))),
				Package: snapshot.Package{Name: binary, Version: version, Architecture: arch, Source: name},
			})
		}
	}
	slices.SortFunc(rows, func(a, b snapshot.Row) int { return strings.Compare(a.Path, b.Path) })
	return rows
}

// binaries of a source beyond the first: few have many.
func binaries(r *rand.Rand) int {
	n := 0
	for r.Float64() < 0.46 {
		n++
	}
	return n
}

// shardsOf makes the shards and the root of these files by the real functions.
func shardsOf(t testing.TB, rows []snapshot.Row) *packed {
	t.Helper()
	p := &packed{core: []byte("{}")}
	layers := make([]oci.Layer, len(rows))
	for i, r := range rows {
		layers[i] = oci.Layer{Descriptor: oci.Describe(oci.TypeDeb, r.Blob()), Path: r.Path}
	}
	if err := p.packShards(layers); err != nil {
		t.Fatal(err)
	}
	return p
}

// The table of sizes in SPEC section 11 is computed here; the row of all of Debian, half a minute's work on a small
// machine, with E2E_LONG=1 only.
func TestSizesOfSPEC(t *testing.T) {
	t.Parallel()
	spec, err := os.ReadFile("../../artifacts/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	packages := []int{63_440, 400_000}
	if os.Getenv("E2E_LONG") != "" {
		packages = append(packages, 1_300_000)
	}
	for _, n := range packages {
		rows := release(n, -1)
		p := shardsOf(t, rows)
		table, err := snapshot.NewTable(rows)
		if err != nil {
			t.Fatal(err)
		}
		largest := 0
		for i := range p.shards {
			largest = max(largest, len(p.shards[i].layers))
		}
		line := fmt.Sprintf("| %d | %d | %d | %d | %d | %.1f MB |", n, len(p.shards), n/len(p.shards), largest, len(p.root), float64(len(table.Bytes()))/1e6)
		if !strings.Contains(string(spec), line+"\n") {
			t.Errorf("SPEC lacks the line\n%s", line)
		}
	}
}

// One changed source rewrites one shard.
func TestOneSourceRewritesOneShard(t *testing.T) {
	t.Parallel()
	const packages = 63_440
	old := map[snapshot.Digest]bool{}
	for _, s := range shardsOf(t, release(packages, -1)).shards {
		old[s.Digest] = true
	}
	for changed := 11; changed < 34_000; changed += 14_777 {
		rewritten := 0
		for _, s := range shardsOf(t, release(packages, changed)).shards {
			if !old[s.Digest] {
				rewritten++
			}
		}
		if rewritten != 1 {
			t.Errorf("source %d: %d shards are rewritten", changed, rewritten)
		}
	}
}
