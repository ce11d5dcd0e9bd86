package archive_test

import (
	"fmt"
	"time"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
)

// A suite is built from stanzas and signed; then it is read as a client does:
// from the keyring to the signed Release, from its digest to the index, from
// the index to the digest of a package.
func Example() {
	date := time.Date(2026, 11, 21, 9, 13, 40, 0, time.UTC)
	stanza := deb.Stanza("Package: hello\nVersion: 2.10-3\nArchitecture: amd64\nFilename: pool/main/h/hello/hello_2.10-3_amd64.deb\n" +
		"Size: 53000\nSHA256: 52b0cad2e741dd722c3e2e16a0aae57fe6b8a1a1f2f0c5a5fc2bb7ae2ae7a7aa\n")
	index := archive.ComponentArch{Component: "main", Architecture: "amd64"}
	files, text, err := archive.Build(archive.Curated{Prefix: "own", Suite: "bookworm", Date: date,
		Components: []string{"main"}, Architectures: []string{"amd64"},
		Stanzas: map[archive.ComponentArch][]deb.Stanza{index: {stanza}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	private, public, err := pgp.NewKey("site", date, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	signer, err := pgp.ReadSigner(private, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	inRelease, err := signer.Clearsign(text, date)
	if err != nil {
		fmt.Println(err)
		return
	}

	keyring, err := pgp.ReadKeyring(public)
	if err != nil {
		fmt.Println(err)
		return
	}
	release, err := archive.OpenInRelease(inRelease, pgp.Trust{Keyring: keyring})
	if err != nil {
		fmt.Println(err)
		return
	}
	listed, _ := release.File("main/binary-amd64/Packages.gz")
	fmt.Println(release.Suite, listed == archive.Describe(files[0].Path, files[0].Data))
	plain, err := archive.Decompress(listed.Path, files[0].Data, 1<<20)
	if err != nil {
		fmt.Println(err)
		return
	}
	for s, err := range deb.Stanzas(plain) {
		if err != nil {
			fmt.Println(err)
			return
		}
		f, err := archive.ParsePackageFile(s)
		fmt.Println(f.Name, f.Version, f.SHA256[:8], err)
	}
	// Output:
	// bookworm true
	// hello 2.10-3 52b0cad2 <nil>
}
