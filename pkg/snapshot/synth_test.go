package snapshot

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
)

// releaseRows makes n rows like those of one release: sources with several
// binaries, common stems, versions of usual shapes, epochs for one in fifteen.
func releaseRows(n int) []Row {
	rng := rand.New(rand.NewPCG(1, 2))
	stems := strings.Fields("python3 ruby golang node rust haskell perl java php gir texlive fonts kde gnome qt boost gcc llvm linux mesa")
	syllables := strings.Fields("ab ac ber cor dat en fil gra hol in jo ker lib mon net or pro que ras sys ta un vi web xml yam zip")
	word := func() string {
		var b strings.Builder
		for range 2 + rng.IntN(3) {
			b.WriteString(syllables[rng.IntN(len(syllables))])
		}
		return b.String()
	}
	endings := []string{"", "-dev", "-doc", "-common", "-data", "-bin", "1", "2-dbgsym", "-utils"}
	rows := make([]Row, 0, n)
	seen := map[string]bool{}
	for len(rows) < n {
		source := word()
		if rng.IntN(2) == 0 {
			source = stems[rng.IntN(len(stems))] + "-" + source
		}
		version := fmt.Sprintf("%d.%d.%d-%d", rng.IntN(30), rng.IntN(40), rng.IntN(10), 1+rng.IntN(5))
		if rng.IntN(4) == 0 {
			version += fmt.Sprintf("+deb12u%d", 1+rng.IntN(4))
		}
		epoch := ""
		if rng.IntN(15) == 0 {
			epoch = fmt.Sprintf("%d:", 1+rng.IntN(3))
		}
		letter := source[:1]
		if strings.HasPrefix(source, "lib") {
			letter = source[:min(4, len(source))]
		}
		for range 1 + rng.IntN(6) {
			name := source + endings[rng.IntN(len(endings))]
			arch := []string{"amd64", "amd64", "all"}[rng.IntN(3)]
			path := fmt.Sprintf("debian/pool/main/%s/%s/%s_%s_%s.deb", letter, source, name, version, arch)
			if seen[path] || len(rows) == n {
				continue
			}
			seen[path] = true
			rows = append(rows, Row{
				Path: path, Size: 1 + int64(rng.ExpFloat64()*500_000), Digest: digestOf(rng),
				Package: Package{Name: name, Version: epoch + version, Architecture: arch, Source: source},
			})
		}
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].Path < rows[j].Path })
	return rows
}

func digestOf(rng *rand.Rand) Digest {
	var d Digest
	for i := 0; i < len(d); i += 8 {
		binary.LittleEndian.PutUint64(d[i:], rng.Uint64())
	}
	return d
}

// file is a plain row with content data.
func file(path, data string) Row {
	return Row{Path: path, Size: int64(len(data)), Digest: Sum([]byte(data))}
}
