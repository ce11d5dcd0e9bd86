package testarchive

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// xzPath is the index that a reader takes first.
const xzPath = "main/binary-amd64/Packages.xz"

func hostileReleases() []Hostile {
	extra := func(line string) func(testing.TB) Files {
		return func(t testing.TB) Files {
			old := sha256Of(t, xzPath)
			return release(old, line+"\n"+old)(t)
		}
	}
	zero := strings.Repeat("0", 64)
	return []Hostile{
		{Name: "wrong-suite", Why: "Suite and Codename are another's", Want: Integrity, Names: "toy",
			Files: changed(func(_ *Archive, s *Suite) { s.Suite, s.Codename = "other", "another" })},
		{Name: "codename-only", Why: "Codename is the directory, Suite is not, as Debian's stable is", Want: Taken,
			Files: changed(func(_ *Archive, s *Suite) { s.Suite = "stable" })},
		{Name: "valid-until-passed", Why: "Valid-Until has passed", Want: Expired, Names: "toy",
			Files: changed(func(_ *Archive, s *Suite) { s.ValidUntil = HostileNow().AddDate(0, 0, -1) })},
		{Name: "date-in-the-future", Why: "Date is tomorrow, though it was signed before", Want: Integrity, Names: "toy",
			Files: changed(func(a *Archive, s *Suite) {
				s.Date = HostileNow().AddDate(0, 0, 1)
				s.Sign = func(t testing.TB, text []byte, _ time.Time) []byte {
					return a.Keys[0].Clearsign(t, text, DefaultDate())
				}
			})},
		{Name: "no-date", Why: "there is no Date", Want: Refused, Files: release("Date: ", "X-Date: ")},
		{Name: "odd-date", Why: "Date is no date", Want: Refused, Files: release("Date: Sat, 10 Jan", "Date: Sat, 99 Foo")},
		{Name: "release-duplicate-field", Why: "Suite is given twice", Want: Refused, Files: release("Suite: toy\n", "Suite: toy\nsuite: other\n")},
		{Name: "release-climbs", Why: "a listed path climbs out", Want: Refused, Files: extra(" " + zero + " 5 ../../../etc/passwd")},
		{Name: "release-climbs-inside", Why: "a listed path climbs in its middle", Want: Refused, Files: extra(" " + zero + " 5 main/../../x")},
		{Name: "release-absolute", Why: "a listed path is absolute", Want: Refused, Files: extra(" " + zero + " 5 /etc/passwd")},
		{Name: "release-nul", Why: "a listed path has a NUL", Want: Refused, Files: extra(" " + zero + " 5 main/a\x00b")},
		{Name: "release-two-digests", Why: "one path is listed with two digests", Want: Refused, Files: extra(" " + zero + " 5 " + xzPath)},
		{Name: "release-short-digest", Why: "a digest has 63 digits", Want: Refused, Files: extra(" " + zero[1:] + " 5 main/x")},
		{Name: "release-negative-size", Why: "a size is negative", Want: Refused, Files: extra(" " + zero + " -5 main/x")},
		{Name: "release-huge-size", Why: "a size does not fit 63 bits", Want: Refused, Files: extra(" " + zero + " 99999999999999999999 main/x")},
		{Name: "release-weak", Why: "it lists MD5 digests only", Want: Refused, Stage: AtIndex, Files: release("SHA256:\n", "X-SHA256:\n")},
		{Name: "release-too-long", Why: "it is longer than 10 MB", Want: Refused,
			Files: func(t testing.TB) Files {
				return release("Description: ", "Description: "+strings.Repeat("x", 10_500_000)+"\n X: ")(t)
			}},
		{Name: "release-size-off-by-one", Why: "the listed size of the index is one more than it has", Want: Integrity, Stage: AtIndex, Names: "Packages",
			Files: relisted(xzPath, func(d string, n int, p string) string { return fmt.Sprintf(" %s %d %s", d, n+1, p) })},
		{Name: "release-huge-index", Why: "the plain index is said to have 1 TiB", Want: Refused, Stage: AtIndex, Names: "Packages",
			Files: relisted("main/binary-amd64/Packages", func(d string, _ int, p string) string { return fmt.Sprintf(" %s %d %s", d, int64(1)<<40, p) })},
		{Name: "release-plain-digest-lies", Why: "the plain index has another digest than is listed, the compressed one the right", Want: Integrity, Stage: AtIndex, Names: "Packages",
			Files: relisted("main/binary-amd64/Packages", func(d string, n int, p string) string { return fmt.Sprintf(" %s %d %s", zero, n, p) })},
	}
}

func hostileIndices() []Hostile {
	at := func(h Hostile) Hostile {
		h.Stage = AtIndex
		return h
	}
	return []Hostile{
		at(Hostile{Name: "index-flipped", Why: "one bit of the index is another, under each of its names", Want: Integrity, Names: "Packages",
			Files: edited(func(t testing.TB, f Files) { exchange(t, f, toyPackages+".xz", flip) })}),
		at(Hostile{Name: "index-flipped-by-name", Why: "the index under its own name is broken, by-hash has it whole (a mirror in the middle of an update)", Want: Taken,
			Files: edited(func(_ testing.TB, f Files) { f[toyPackages+".xz"] = flip(f[toyPackages+".xz"]) })}),
		at(Hostile{Name: "index-truncated", Why: "the index ends early", Want: Integrity, Names: "Packages",
			Files: edited(func(t testing.TB, f Files) {
				exchange(t, f, toyPackages+".xz", func(b []byte) []byte { return b[:len(b)-7] })
			})}),
		at(Hostile{Name: "index-longer", Why: "bytes follow the index", Want: Integrity, Names: "Packages",
			Files: edited(func(t testing.TB, f Files) {
				exchange(t, f, toyPackages+".xz", func(b []byte) []byte { return append(bytes.Clone(b), 0, 0, 0, 0) })
			})}),
		at(Hostile{Name: "index-of-another-day", Why: "the index is yesterday's, by both names", Want: Integrity, Names: "Packages", Files: otherDayIndex}),
		at(Hostile{Name: "index-missing", Why: "no compression of the index is there", Want: Refused, Names: "Packages",
			Files: edited(func(_ testing.TB, f Files) {
				for p := range f {
					if strings.Contains(p, "/binary-amd64/") {
						delete(f, p)
					}
				}
			})}),
		at(Hostile{Name: "index-not-xz", Why: "the index is listed and signed and is no xz", Want: Refused, Names: "Packages", Files: packed("xz", []byte("not xz at all"))}),
		at(Hostile{Name: "bomb-xz", Why: "the index unpacks to a GiB where a few hundred bytes are listed", Want: Refused, Names: "Packages", Files: bomb("xz")}),
		at(Hostile{Name: "bomb-gz", Why: "the same as gz", Want: Refused, Names: "Packages", Files: bomb("gz")}),
		at(Hostile{Name: "bomb-zst", Why: "the same as zst, the only form there is", Want: Refused, Names: "Packages", Files: bomb("zst")}),
		at(Hostile{Name: "filename-climbs", Why: "Filename climbs out", Want: Refused, Files: packages("Filename: "+toyTop, "Filename: ../../../etc/cron.d/top")}),
		at(Hostile{Name: "filename-climbs-inside", Why: "Filename climbs in its middle", Want: Refused, Files: packages("Filename: "+toyTop, "Filename: pool/../../x.deb")}),
		at(Hostile{Name: "filename-absolute", Why: "Filename is absolute", Want: Refused, Files: packages("Filename: "+toyTop, "Filename: /etc/cron.d/top")}),
		at(Hostile{Name: "filename-missing", Why: "there is no Filename", Want: Refused, Files: packages("Filename: "+toyTop+"\n", "")}),
		at(Hostile{Name: "filename-nul", Why: "Filename has a NUL", Want: Refused, Files: packages("Filename: "+toyTop, "Filename: pool/\x00/x.deb")}),
		at(Hostile{Name: "filename-in-dists", Why: "Filename is the InRelease", Want: Refused, Files: packages("Filename: "+toyTop, "Filename: "+toyInRelease)}),
		at(Hostile{Name: "one-filename-two-digests", Why: "two stanzas name one file with different digests", Want: Refused, Names: toyLeaf,
			Files: packages("Filename: "+toyTop, "Filename: "+toyLeaf)}),
		at(Hostile{Name: "duplicate-field", Why: "a stanza has Version twice", Want: Refused, Files: packages("Version: 2:1.0+x~1-1\n", "Version: 2:1.0+x~1-1\nVERSION: 3\n")}),
		at(Hostile{Name: "negative-size", Why: "Size is negative", Want: Refused, Files: packages("\nSize: ", "\nSize: -")}),
		at(Hostile{Name: "huge-size", Why: "Size does not fit 63 bits", Want: Refused, Files: packages("\nSize: ", "\nSize: 99999999999999999999")}),
		at(Hostile{Name: "no-size", Why: "there is no Size", Want: Refused, Files: packages("\nSize: ", "\nX-Size: ")}),
		at(Hostile{Name: "zero-digest", Why: "SHA256 has 64 zeros: a placeholder was not filled in", Want: Integrity, Files: zeroDigest}),
		at(Hostile{Name: "short-digest", Why: "SHA256 has 63 digits", Want: Refused, Files: shortDigest}),
		at(Hostile{Name: "name-climbs", Why: "Package is a path", Want: Refused, Files: packages("Package: top", "Package: ../top")}),
		at(Hostile{Name: "architecture-climbs", Why: "Architecture is a path", Want: Refused, Files: packages("Architecture: all", "Architecture: ../all")}),
		at(Hostile{Name: "nul-in-stanza", Why: "a value has a NUL", Want: Refused, Files: packages("Maintainer: Test", "Maintainer: T\x00est")}),
		at(Hostile{Name: "no-colon", Why: "a line is neither field nor continuation", Want: Refused, Files: packages("Section: misc\n", "Section misc\n")}),
		at(Hostile{Name: "continuation-first", Why: "a stanza begins with a continuation line", Want: Refused, Files: packages("Package: leaf", " Package: leaf")}),
		at(Hostile{Name: "long-line", Why: "a line has 20 MB", Want: Refused, Files: longLine}),
	}
}

// otherDayIndex is an InRelease with the index that the day before had.
func otherDayIndex(t testing.TB) Files {
	old := toy()
	old.Suites[0].Packages[0].Version = "0.9-1"
	f, before := toy().Build(t), old.Build(t)
	exchange(t, f, toyPackages+".xz", func([]byte) []byte { return before[toyPackages+".xz"] })
	return f
}

// packed is toy whose only index is data under that compression's name, listed as it is.
func packed(compression string, data []byte) func(testing.TB) Files {
	return func(t testing.TB) Files {
		a := toy()
		s := &a.Suites[0]
		s.Compressions = []string{compression}
		good := a.Build(t)[toyPackages+"."+compression]
		s.EditRelease = func(text []byte) []byte {
			old := fmt.Sprintf(" %s %8d main/binary-amd64/Packages.%s", Sha256Hex(good), len(good), compression)
			return replaced(t, text, old, fmt.Sprintf(" %s %8d main/binary-amd64/Packages.%s", Sha256Hex(data), len(data), compression))
		}
		f := a.Build(t)
		f[toyPackages+"."+compression] = data
		delete(f, "dists/toy/main/binary-amd64/by-hash/SHA256/"+Sha256Hex(good))
		f["dists/toy/main/binary-amd64/by-hash/SHA256/"+Sha256Hex(data)] = data
		return f
	}
}

// Bomb is a GiB of zeros packed as xz, gz or zst: 256 streams of 4 MiB one
// after the other, which all three formats allow.
func Bomb(t testing.TB, compression string) []byte {
	t.Helper()
	return bytes.Repeat(Compress(t, compression, make([]byte, 4<<20)), 256)
}

func bomb(compression string) func(testing.TB) Files {
	return func(t testing.TB) Files { return packed(compression, Bomb(t, compression))(t) }
}

func shortDigest(t testing.TB) Files {
	a := toy()
	a.Suites[0].EditIndex = func(_ string, data []byte) []byte {
		at := bytes.LastIndexByte(bytes.TrimRight(data, "\n"), '\n')
		return append(bytes.Clone(data[:at+1+len("SHA256: ")]), data[at+1+len("SHA256: ")+1:]...)
	}
	return a.Build(t)
}

func zeroDigest(t testing.TB) Files {
	a := toy()
	a.Suites[0].EditIndex = func(_ string, data []byte) []byte {
		at := bytes.LastIndexByte(bytes.TrimRight(data, "\n"), '\n') + 1 + len("SHA256: ")
		return append(bytes.Clone(data[:at]), strings.Repeat("0", 64)+string(data[at+64:])...)
	}
	return a.Build(t)
}

// longLine is gz only: it packs fast.
func longLine(t testing.TB) Files {
	a := toy()
	a.Suites[0].Compressions = []string{"gz"}
	a.Suites[0].EditIndex = func(_ string, data []byte) []byte {
		return replaced(t, data, "Maintainer: ", "Maintainer: "+strings.Repeat("x", 20_000_000))
	}
	return a.Build(t)
}

func hostilePools() []Hostile {
	at := func(h Hostile) Hostile {
		h.Stage = max(h.Stage, AtPool)
		return h
	}
	return []Hostile{
		at(Hostile{Name: "deb-flipped", Why: "one bit of a dependency's .deb is another", Want: Integrity, Names: toyLeaf,
			Files: edited(func(t testing.TB, f Files) { exchange(t, f, toyLeaf, flip) })}),
		at(Hostile{Name: "deb-last-bit", Why: "the last bit of the .deb is another", Want: Integrity, Names: toyTop,
			Files: edited(func(t testing.TB, f Files) {
				exchange(t, f, toyTop, func(b []byte) []byte { return Flipped(b, len(b)-1) })
			})}),
		at(Hostile{Name: "deb-truncated", Why: "the .deb ends early", Want: Integrity, Names: toyLeaf,
			Files: edited(func(t testing.TB, f Files) { exchange(t, f, toyLeaf, func(b []byte) []byte { return b[:len(b)-1] }) })}),
		at(Hostile{Name: "deb-longer", Why: "a byte follows the .deb", Want: Integrity, Names: toyLeaf,
			Files: edited(func(t testing.TB, f Files) {
				exchange(t, f, toyLeaf, func(b []byte) []byte { return append(bytes.Clone(b), 0) })
			})}),
		at(Hostile{Name: "deb-missing", Why: "the .deb is not there", Want: Refused, Names: toyLeaf,
			Files: edited(func(_ testing.TB, f Files) { delete(f, toyLeaf) })}),
		at(Hostile{Name: "debs-swapped", Why: "two .debs lie at each other's places", Want: Integrity,
			Files: edited(func(_ testing.TB, f Files) { f[toyTop], f[toyLeaf] = f[toyLeaf], f[toyTop] })}),
		at(Hostile{Name: "size-off-by-one", Why: "Size is one less than the .deb has", Want: Integrity, Names: toyLeaf, Files: sizeOffByOne}),
		at(Hostile{Name: "control-differs", Why: "the .deb's own control names another version than the signed stanza", Want: Refused, Stage: AtExtract,
			Files: packages("Version: 1.0-1\n", "Version: 9.0-1\n")}),
		at(Hostile{Name: "control-other-package", Why: "the .deb's own control names another package than the signed stanza", Want: Refused, Stage: AtExtract, Files: otherControl}),
	}
}

func sizeOffByOne(t testing.TB) Files {
	n := len(toy().Build(t)[toyLeaf])
	return packages(fmt.Sprintf("\nSize: %d\n", n), fmt.Sprintf("\nSize: %d\n", n-1))(t)
}

// otherControl is toy in which leaf's signed file is a .deb of evil.
func otherControl(t testing.TB) Files {
	a := toy()
	evil := simple("evil", "1.0-1", "amd64", "").Deb(t)
	leaf := a.Suites[0].Packages[0].Deb(t)
	a.Suites[0].EditIndex = func(_ string, data []byte) []byte {
		data = replaced(t, data, Sha256Hex(leaf), Sha256Hex(evil))
		data = replaced(t, data, md5Hex(leaf), md5Hex(evil))
		return replaced(t, data, fmt.Sprintf("\nSize: %d\n", len(leaf)), fmt.Sprintf("\nSize: %d\n", len(evil)))
	}
	f := a.Build(t)
	f[toyLeaf] = evil
	return f
}
