package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// hostile are names, versions and the like as an attacker would choose them
// who owns the registry: nothing between it and the page has verified them.
var hostile = []snapshot.Package{
	{Name: `<img src=x onerror=alert(1)>`, Version: "1", Architecture: "amd64", Source: "x"},
	{Name: `evil"><script>alert(2)</script>`, Version: `"onmouseover="alert(3)`, Architecture: `<svg/onload=alert(4)>`, Source: `</td></table><h1 id=injected>owned</h1>`},
	{Name: `evil'style='position:fixed;inset:0'`, Version: `<style>*{display:none}</style>`, Architecture: "all", Source: `<iframe src=http://198.51.100.1/></iframe>`},
	{Name: `evil{{.}}`, Version: `<meta http-equiv=refresh content=0;url=http://198.51.100.1/>`, Architecture: "all", Source: `<base href=//198.51.100.1/>`},
	{Name: "evil\u202egnp.exe", Version: "1", Architecture: "all", Source: `javascript:alert(5)`},
	{Name: fields, Version: "1", Architecture: "all", Source: fields},
}

// fields is the name of a package whose stanza is one, with hostile text in every other field.
const fields = "hostile-fields"

// stanza is that of the package.
func stanza(row snapshot.Row) []byte {
	attack := strings.ReplaceAll(description, "\n", " ") + "\u202e\u2066\x07\x1b[31m"
	var b bytes.Buffer
	fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\nFilename: %s\nSize: %d\nSHA256: %s\nHomepage: javascript:alert(10)\n",
		row.Name, row.Version, row.Architecture, strings.TrimPrefix(row.Path, "docker/"), row.Size, row.Digest.Hex())
	for _, field := range []string{"Section", "Priority", "Maintainer", "Original-Maintainer", "Bugs", "Tag", "Task", "Depends", "Pre-Depends", "Recommends", "Suggests", "Conflicts", "Breaks", "Provides", "Built-Using", "Multi-Arch"} {
		fmt.Fprintf(&b, "%s: %s\n", field, attack)
	}
	fmt.Fprintf(&b, "X-Long: %sthe end of it\nDescription: %s\n %s\n .\n %s\n\n", strings.Repeat("very long ", 100_000), attack, attack, attack)
	return b.Bytes()
}

// description is of the hostile packages' index: what a client would print, and the page never reads.
const description = "</pre><script>alert(6)</script><img src=http://198.51.100.1/ onerror=alert(7)>"

// writeHostile pushes two snapshots of two days into a layout, the tag latest
// on the second: one package was there before and has another version, one went, and the hostile ones came.
func writeHostile(ctx context.Context, layout string) error {
	ref, err := artifact.ParseReference("oci:" + layout + ":latest")
	if err != nil {
		return err
	}
	plain := func(version string) snapshot.Package {
		return snapshot.Package{Name: "docker-ce", Version: version, Architecture: "amd64", Source: "docker-ce"}
	}
	gone := snapshot.Package{Name: "gone", Version: "1", Architecture: "all", Source: "gone"}
	for day, packages := range [][]snapshot.Package{{plain("26"), gone}, append([]snapshot.Package{plain("27~x+y")}, hostile...)} {
		s, err := take(time.Date(2026, 1, 2+day, 3, 4, 5, 0, time.UTC), packages)
		if err != nil {
			return err
		}
		if _, err := artifact.Push(ctx, ref, s, artifact.PushOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// take is an unsigned snapshot of one archive. Its files are not what they are
// called; nobody here looks into them.
func take(date time.Time, packages []snapshot.Package) (*snapshot.Snapshot, error) {
	const dists = "docker/dists/bookworm/"
	blobs := blobs{}
	var index bytes.Buffer
	var rows []snapshot.Row
	for i, p := range packages {
		b := blobs.put(fmt.Appendf(nil, "%d %v", i, p))
		row := snapshot.Row{Path: fmt.Sprintf("docker/pool/%d/<b onclick=alert(8)>&\"'_%d.deb", i, i), Size: b.Size, Digest: b.Digest, Package: p}
		if p.Name == fields {
			row.Path = fmt.Sprintf("docker/pool/%d/%s_1_all.deb", i, fields)
			index.Write(stanza(row))
		}
		rows = append(rows, row)
		fmt.Fprintf(&index, "Package: %s\nVersion: %s\nDescription: %s\n\n", p.Name, p.Version, description)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(index.Bytes()); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	gz := blobs.put(packed.Bytes())
	release := blobs.put(fmt.Appendf(nil, "Suite: bookworm\nDate: %s\nDescription: %s\nSHA256:\n %s %d main/binary-amd64/Packages.gz\n",
		date.Format(time.RFC1123), description, gz.Digest.Hex(), gz.Size))
	for path, b := range map[string]snapshot.Blob{dists + "Release": release, dists + "main/binary-amd64/Packages.gz": gz} {
		rows = append(rows, snapshot.Row{Path: path, Size: b.Size, Digest: b.Digest})
	}
	return snapshot.Take(snapshot.Frozen{
		Date: date, Encoder: 1, Files: rows, Lock: []byte("mmoci-lock-v1\n"), Blobs: blobs,
		Archives: []snapshot.Archive{{Prefix: "docker", Mode: snapshot.Curated, Class: snapshot.Site, Format: "deb", Suites: []snapshot.Suite{{
			Name:  "bookworm",
			Files: []snapshot.SuiteFile{{Role: snapshot.Release, Blob: release, Date: date, Path: dists + "Release"}},
		}}}},
	})
}

// blobs are held in memory.
type blobs map[snapshot.Digest][]byte

func (m blobs) put(data []byte) snapshot.Blob {
	b := snapshot.BlobOf(data)
	m[b.Digest] = data
	return b
}

// Open implements snapshot.Blobs.
func (m blobs) Open(_ context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	data, ok := m[b.Digest]
	if !ok {
		return nil, snapshot.ErrNotExist
	}
	return (&snapshot.Content{R: io.NopCloser(bytes.NewReader(data))}).At(offset)
}
