package snapshot

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	hash := func(data string) string { return Sum([]byte(data)).Hex() }
	pkg := file("docker/pool/d/docker_1_amd64.deb", "docker")
	pkg.Package = Package{"docker", "1", "amd64", "docker"}
	inDists := file("docker/dists/bookworm/pool/stable/amd64/cli_2_amd64.deb", "cli") // as download.docker.com has them
	inDists.Package = Package{"cli", "2", "amd64", "cli"}
	table := mustTable(t,
		file("debian/dists/bookworm/InRelease", "debian inrelease"),
		file("debian/dists/bookworm/main/Contents-amd64.gz", "contents"),
		file("debian/dists/bookworm/main/binary-amd64/Packages.xz", "packages"),
		file("debian/dists/bookworm/main/binary-arm64/Packages", ""),
		file("debian/dists/bookworm/main/i18n/Translation-en.xz", "translation"),
		file("debian/dists/bookworm/main/zzz", "last"),
		file("debian/pool/main/a/a_1_all.deb", "a"),
		file("docker/dists/bookworm/Release", "release"),
		inDists,
		file("docker/dists/bookworm/stable/binary-amd64/Packages.gz", "curated"),
		pkg,
		file("flat/Packages.gz", "flat curated"),
		file("flat/Release", "flat release"),
		file("flat/sub/x_1_all.deb", "x"),
		file("flat/w_1.dsc", "w"),
		file("own/dists/own/Release", "own release"),
		file("own/pool/main/o/o_1_all.deb", "o"),
		file("upstream/docker/dists/bookworm/stable/binary-amd64/Packages.xz", "docker upstream"),
		file("upstream/flat/Packages.gz", "flat upstream"),
	)
	for path, want := range map[string]string{
		"debian/dists/bookworm/InRelease":                                                              "debian/dists/bookworm/InRelease",
		"debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/" + hash("packages"):                   "debian/dists/bookworm/main/binary-amd64/Packages.xz",
		"debian/dists/bookworm/main/by-hash/SHA256/" + hash("contents"):                                "debian/dists/bookworm/main/Contents-amd64.gz",
		"debian/dists/bookworm/main/by-hash/SHA256/" + hash("last"):                                    "debian/dists/bookworm/main/zzz",
		"debian/dists/bookworm/main/by-hash/SHA256/" + hash("packages"):                                "", // of a directory below
		"debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/" + hash("translation"):                "",
		"debian/dists/bookworm/main/binary-arm64/by-hash/SHA256/" + hash(""):                           "debian/dists/bookworm/main/binary-arm64/Packages",
		"debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/" + hash(""):                           "",
		"debian/dists/bookworm/main/binary-amd64/by-hash/SHA512/00":                                    "",
		"debian/dists/bookworm/main/binary-amd64/by-hash/MD5Sum/00":                                    "",
		"debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/":                                      "",
		"debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/" + hash("packages") + "/":             "",
		"debian/dists/by-hash/SHA256/" + hash("packages"):                                              "",
		"debian/pool/main/a/by-hash/SHA256/" + hash("a"):                                               "",
		"debian/by-hash/SHA256/" + hash("a"):                                                           "",
		"upstream/debian/dists/bookworm/InRelease":                                                     "debian/dists/bookworm/InRelease",
		"upstream/debian/pool/main/a/a_1_all.deb":                                                      "debian/pool/main/a/a_1_all.deb",
		"upstream/debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/" + hash("packages"):          "debian/dists/bookworm/main/binary-amd64/Packages.xz",
		"upstream/docker/pool/d/docker_1_amd64.deb":                                                    "docker/pool/d/docker_1_amd64.deb",
		"upstream/docker/dists/bookworm/Release":                                                       "", // the curated one is not upstream's
		"upstream/docker/dists/bookworm/pool/stable/amd64/cli_2_amd64.deb":                             "docker/dists/bookworm/pool/stable/amd64/cli_2_amd64.deb",
		"upstream/docker/dists/bookworm/pool/stable/amd64/by-hash/SHA256/" + hash("cli"):               "",
		"upstream/docker/dists":                                                                        "",
		"upstream/docker/":                                                                             "",
		"upstream/docker":                                                                              "",
		"upstream/docker/dists/bookworm/stable/binary-amd64/Packages.gz":                               "",
		"upstream/docker/dists/bookworm/stable/binary-amd64/Packages.xz":                               "upstream/docker/dists/bookworm/stable/binary-amd64/Packages.xz",
		"upstream/docker/dists/bookworm/stable/binary-amd64/by-hash/SHA256/" + hash("docker upstream"): "upstream/docker/dists/bookworm/stable/binary-amd64/Packages.xz",
		"upstream/docker/dists/bookworm/stable/binary-amd64/by-hash/SHA256/" + hash("curated"):         "",
		"docker/dists/bookworm/stable/binary-amd64/by-hash/SHA256/" + hash("curated"):                  "docker/dists/bookworm/stable/binary-amd64/Packages.gz",
		"flat/by-hash/SHA256/" + hash("flat curated"):                                                  "flat/Packages.gz",
		"flat/sub/by-hash/SHA256/" + hash("x"):                                                         "",
		"upstream/flat/Packages.gz":                                                                    "upstream/flat/Packages.gz",
		"upstream/flat/Release":                                                                        "",
		"upstream/flat/by-hash/SHA256/" + hash("flat upstream"):                                        "upstream/flat/Packages.gz",
		"upstream/flat/by-hash/SHA256/" + hash("flat curated"):                                         "",
		"upstream/flat/by-hash/SHA512/11":                                                              "",
		"upstream/flat/sub/x_1_all.deb":                                                                "flat/sub/x_1_all.deb",
		"upstream/flat/w_1.dsc":                                                                        "flat/w_1.dsc",
		"upstream/own/pool/main/o/o_1_all.deb":                                                         "", // a site's archive has no upstream
		"own/dists/own/by-hash/SHA256/" + hash("own release"):                                          "own/dists/own/Release",
		"upstream/upstream/debian/dists/bookworm/InRelease":                                            "",
		"upstream/none/pool/x":                                                                         "",
		"upstream/":                                                                                    "",
		"upstream":                                                                                     "",
		"":                                                                                             "",
	} {
		row, ok := table.Resolve(fullStatement(), path)
		if ok != (want != "") || row.Path != want {
			t.Errorf("Resolve(%s) = %q, %t, want %q", path, row.Path, ok, want)
		}
	}
	if r, ok := table.Resolve(nil, "upstream/debian/pool/main/a/a_1_all.deb"); ok {
		t.Errorf("without a statement: %v", r)
	}
	if _, ok := table.Resolve(nil, "debian/dists/bookworm/main/by-hash/SHA256/"+hash("last")); !ok {
		t.Error("without a statement: no by-hash")
	}
}

// BenchmarkByHash looks for the file that lies behind all directories of a large component.
func BenchmarkByHash(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	var rows []Row
	for i := range 60 {
		for j := range 20 {
			rows = append(rows, Row{Path: fmt.Sprintf("debian/dists/sid/main/dir%02d/file%02d.gz", i, j), Size: 1, Digest: digestOf(rng)})
		}
	}
	last := file("debian/dists/sid/main/zzz", "last")
	table := mustTable(b, append(rows, last)...)
	path := "debian/dists/sid/main/by-hash/SHA256/" + last.Digest.Hex()
	for b.Loop() {
		if r, ok := table.Resolve(nil, path); !ok || r != last {
			b.Fatal(r)
		}
	}
}
