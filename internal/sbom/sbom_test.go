package sbom

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

const dep5 = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: web

Files: *
Copyright: x
License: GPL-2+ and BSD-3-clause

Files: perl/*
License: GPL-1+ or Artistic

Files: doc/*
License: own licence with OpenSSL exception

License: LGPL-2.1+
 text that says
 .
 License: x
`

func packages() []Package {
	p := func(control string, copyright string) Package {
		return Package{Stanza: deb.Stanza(control), Deb: snapshot.Sum([]byte(control)), Layer: snapshot.Sum([]byte("layer" + control)), Licence: LicenceOf([]byte(copyright)), Vendor: "debian", Distro: "debian-12"}
	}
	return []Package{
		p("Package: web\nSource: web-src (2:1.0-1)\nVersion: 2:1.0-1+b1\nArchitecture: amd64\nMaintainer: \"A, B\" <a@example.org>\nDepends: libssl3 (>= 3) | libressl, web-data, missing | mail-transport-agent\nDescription: serve\n long\nHomepage: https://web.example.org\n", dep5),
		p("Package: libssl3\nSource: openssl\nVersion: 3.0.15-1~deb12u1\nArchitecture: amd64\nMaintainer: x\nDescription: d\n", "no format"),
		p("Package: libstdc++6\nSource: gcc-12\nVersion: 12.2.0-14\nArchitecture: amd64\nDescription: d\n", ""),
		p("Package: web-data\nSource: web-src\nVersion: 2:1.0-1\nArchitecture: all\nPre-Depends: libssl3\nProvides: mail-transport-agent\nDescription: d\n", ""),
		p("Package: web-data\nSource: web-src\nVersion: 2:1.0-1\nArchitecture: all\nPre-Depends: libssl3\nProvides: mail-transport-agent\nDescription: d\n", ""),
		p("Package: libssl3\nSource: openssl\nVersion: 3.0.15-1~deb12u1\nArchitecture: arm64\nDescription: d\n", ""),
	}
}

func document() *Document {
	return &Document{Name: "web", Version: "1", Date: time.Unix(1e9, 0), Root: snapshot.Sum([]byte("image")), Packages: Listed(packages())}
}

func written(t testing.TB, write func(io.Writer, *Document) error, d *Document) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is written, read by encoding/json.
type (
	readSPDX struct {
		Packages      []spdxPackage      `json:"packages"`
		Relationships []spdxRelationship `json:"relationships"`
	}
	readCycloneDX struct {
		Serial       string          `json:"serialNumber"`
		Components   []cdxComponent  `json:"components"`
		Dependencies []cdxDependency `json:"dependencies"`
	}
)

func TestSPDX(t *testing.T) {
	data := written(t, SPDX, document())
	var got readSPDX
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	ids, names := map[string]bool{"SPDXRef-DOCUMENT": true}, map[string]int{}
	valid := regexp.MustCompile(`^SPDXRef-[a-zA-Z0-9.-]+$`)
	for _, p := range got.Packages {
		if ids[p.ID] || !valid.MatchString(p.ID) {
			t.Errorf("identifier %q, or twice", p.ID)
		}
		ids[p.ID] = true
		names[p.Name]++
	}
	if names["web-data"] != 1 || names["openssl"] != 1 || names["libssl3"] != 2 || names["gcc-12"] != 1 {
		t.Errorf("packages %v", names)
	}
	for i, r := range got.Relationships {
		if !ids[r.From] || !ids[r.To] || slices.Contains(got.Relationships[:i], r) {
			t.Errorf("relationship %+v to nothing, or twice", r)
		}
	}
	text := string(data)
	for _, want := range []string{
		`"pkg:deb/debian/web@2%3A1.0-1%2Bb1?arch=amd64&distro=debian-12"`,
		`"pkg:deb/debian/web-src@2%3A1.0-1?arch=source&distro=debian-12"`,
		`"pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64&distro=debian-12"`,
		`"licenseDeclared":"GPL-2.0-or-later AND BSD-3-Clause AND (GPL-1.0-or-later OR Artistic-1.0-Perl) AND LicenseRef-own.32.licence.32.with.32.OpenSSL.32.exception"`,
		`"supplier":"Person: A, B (a@example.org)"`,
		`"documentNamespace":"urn:mmoci:image:sha256:`,
		snapshot.Sum([]byte("image")).Hex(),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, want := range []spdxRelationship{
		{elementID("Package", "web", "2:1.0-1+b1", "amd64"), "DEPENDS_ON", elementID("Package", "libssl3", "3.0.15-1~deb12u1", "amd64")},
		{elementID("Package", "web", "2:1.0-1+b1", "amd64"), "DEPENDS_ON", elementID("Package", "web-data", "2:1.0-1", "all")},
		{elementID("Package", "web", "2:1.0-1+b1", "amd64"), "GENERATED_FROM", elementID("Source", "web-src", "2:1.0-1")},
		{"SPDXRef-image", "CONTAINS", elementID("Package", "web-data", "2:1.0-1", "all")},
	} {
		if !slices.Contains(got.Relationships, want) {
			t.Errorf("no relationship %+v", want)
		}
	}
	for _, r := range got.Relationships {
		if r.From == elementID("Package", "web", "2:1.0-1+b1", "amd64") && strings.HasSuffix(r.To, "arm64") {
			t.Errorf("%+v crosses machines", r)
		}
	}
	if again := written(t, SPDX, document()); string(again) != text {
		t.Error("another time other bytes")
	}
}

func TestCycloneDX(t *testing.T) {
	data := written(t, CycloneDX, document())
	var got readCycloneDX
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{"image": true}
	for _, c := range got.Components {
		if refs[c.Ref] {
			t.Errorf("%s twice", c.Ref)
		}
		refs[c.Ref] = true
	}
	if len(got.Components) != 5 {
		t.Errorf("%d components", len(got.Components))
	}
	seen := map[string]bool{}
	for _, d := range got.Dependencies {
		if !refs[d.Ref] || seen[d.Ref] {
			t.Errorf("dependencies of %s, which is none, or twice", d.Ref)
		}
		seen[d.Ref] = true
		for _, n := range d.Need {
			if !refs[n] {
				t.Errorf("%s needs %s, which is none", d.Ref, n)
			}
		}
	}
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(got.Serial) {
		t.Errorf("serial number %s", got.Serial)
	}
}

// In a mirror one name, version and architecture may be two packages; one .deb may stand in two suites.
func TestMirror(t *testing.T) {
	list := packages()
	list = append(list, list[0], list[1])
	list[7].Deb, list[7].Vendor = snapshot.Sum([]byte("another")), "ubuntu"
	for i := range list {
		list[i].Layer, list[i].Path = snapshot.Digest{}, fmt.Sprint("debian/pool/", i)
	}
	d := &Document{Mirror: true, Date: time.Unix(1e9, 0), Root: snapshot.Sum([]byte("snapshot")), Packages: Listed(list)}
	var spdx readSPDX
	if err := json.Unmarshal(written(t, SPDX, d), &spdx); err != nil {
		t.Fatal(err)
	}
	names, ids := map[string]int{}, map[string]bool{}
	for _, p := range spdx.Packages {
		names[p.Name]++
		if ids[p.ID] {
			t.Errorf("%s twice", p.ID)
		}
		ids[p.ID] = true
	}
	if names["libssl3"] != 3 || names["web"] != 1 || names["web-data"] != 1 || names["mirror"] != 1 {
		t.Errorf("packages %v", names)
	}
	kinds := map[string]int{}
	for _, r := range spdx.Relationships {
		kinds[r.Type]++
	}
	if kinds["DEPENDS_ON"] != 0 || kinds["CONTAINS"] != 6 || kinds["GENERATED_FROM"] != 6 {
		t.Errorf("relationships %v", kinds)
	}
	var cdx readCycloneDX
	if err := json.Unmarshal(written(t, CycloneDX, d), &cdx); err != nil {
		t.Fatal(err)
	}
	if len(cdx.Components) != 6 || len(cdx.Dependencies) != 1 || len(cdx.Dependencies[0].Need) != 6 {
		t.Errorf("%d components, dependencies %v", len(cdx.Components), cdx.Dependencies)
	}
	// What cannot be read is no shorter bill.
	broken := errors.New("broken")
	d.Packages = func(yield func(*Package, error) bool) { _ = yield(&list[0], nil) && yield(nil, broken) }
	for _, write := range []func(io.Writer, *Document) error{SPDX, CycloneDX} {
		if err := write(io.Discard, d); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
}

// The license expressions of Debian's copyright-format 1.0, "License specification", and what people write beside it.
func TestLicences(t *testing.T) {
	for _, c := range [][2]string{
		{"GPL-2+", "GPL-2.0-or-later"},
		{"GPL-1+ or Artistic", "GPL-1.0-or-later OR Artistic-1.0-Perl"},
		{"GPL-2+ and BSD-3-clause", "GPL-2.0-or-later AND BSD-3-Clause"},
		{"GPL-1+ or Artistic, and BSD-3-clause", "(GPL-1.0-or-later OR Artistic-1.0-Perl) AND BSD-3-Clause"},
		{"MPL-1.1 or GPL-2 and Expat", "MPL-1.1 OR GPL-2.0-only AND MIT"},
		{"Expat and MPL-1.1, or GPL-2", "MIT AND MPL-1.1 OR GPL-2.0-only"},
		{"MPL-1.1, GPL-2 or LGPL-2.1", "MPL-1.1 AND (GPL-2.0-only OR LGPL-2.1-only)"},
		{"GPL-2 and/or Expat", "GPL-2.0-only OR MIT"},
		{"Expat, Expat", "MIT"},
		{"GPL-2+ with OpenSSL exception or Expat", "LicenseRef-GPL-2.43..32.with.32.OpenSSL.32.exception OR MIT"},
		{"or", ""}, {", and ,", ""}, {"", ""}, {"Expat or", "MIT"},
	} {
		l := LicenceOf([]byte("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: " + c[0] + "\n"))
		got := l.text(func(name string) string {
			if name == "" {
				return ""
			}
			return spdxName(name, map[string]string{})
		})
		if got != c[1] {
			t.Errorf("%q is %q, want %q", c[0], got, c[1])
		}
	}
}

// What CycloneDX writes of sources is read again.
func TestSourcesOf(t *testing.T) {
	got, err := SourcesOf(written(t, CycloneDX, document()))
	if err != nil || len(got) != 5 {
		t.Fatalf("%v, %v", got, err)
	}
	for _, p := range packages() {
		name, version := p.source()
		if got[p.Deb] != (Source{name, version}) {
			t.Errorf("%s is of %v", p.field("Package"), got[p.Deb])
		}
	}
	for _, bad := range []string{"", "{", `{"components":[{"hashes":[{"alg":"SHA-256","content":"x"}]}]}`} {
		if _, err := SourcesOf([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzSourcesOf(f *testing.F) {
	f.Add(written(f, CycloneDX, document()))
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = SourcesOf(data) })
}

func FuzzSBOM(f *testing.F) {
	f.Add("Package: a\nVersion: 1\nArchitecture: all\n", dep5)
	f.Fuzz(func(t *testing.T, control, copyright string) {
		d := &Document{Packages: Listed([]Package{{Stanza: deb.Stanza(control), Licence: LicenceOf([]byte(copyright))}})}
		for _, write := range []func(io.Writer, *Document) error{SPDX, CycloneDX} {
			if data := written(t, write, d); !json.Valid(data) {
				t.Fatalf("%s", data)
			}
		}
	})
}
