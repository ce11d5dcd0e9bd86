package sbom

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

const dep5 = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-2+ and BSD-3-clause
License: LGPL-2.1+
 text that says License: x
License: own licence with OpenSSL exception
`

func document(t testing.TB) *Document {
	t.Helper()
	p := func(control string, copyright string) Package {
		return Package{Stanza: deb.Stanza(control), Deb: snapshot.Sum([]byte(control)), Layer: snapshot.Sum([]byte("layer" + control)), Copyright: []byte(copyright), Distro: "debian-12"}
	}
	return &Document{Name: "web", Version: "1", Date: time.Unix(1e9, 0), Image: snapshot.Sum([]byte("image")), Packages: []Package{
		p("Package: web\nSource: web-src (2:1.0-1)\nVersion: 2:1.0-1+b1\nArchitecture: amd64\nMaintainer: \"A, B\" <a@example.org>\nDepends: libssl3 (>= 3) | libressl, web-data, missing | mail-transport-agent\nDescription: serve\n long\nHomepage: https://web.example.org\n", dep5),
		p("Package: libssl3\nSource: openssl\nVersion: 3.0.15-1~deb12u1\nArchitecture: amd64\nMaintainer: x\nDescription: d\n", "no format"),
		p("Package: libstdc++6\nSource: gcc-12\nVersion: 12.2.0-14\nArchitecture: amd64\nDescription: d\n", ""),
		p("Package: web-data\nSource: web-src\nVersion: 2:1.0-1\nArchitecture: all\nPre-Depends: libssl3\nProvides: mail-transport-agent\nDescription: d\n", ""),
		p("Package: web-data\nSource: web-src\nVersion: 2:1.0-1\nArchitecture: all\nPre-Depends: libssl3\nProvides: mail-transport-agent\nDescription: d\n", ""),
		p("Package: libssl3\nSource: openssl\nVersion: 3.0.15-1~deb12u1\nArchitecture: arm64\nDescription: d\n", ""),
	}}
}

func TestSPDX(t *testing.T) {
	data, err := SPDX(document(t))
	if err != nil {
		t.Fatal(err)
	}
	var got spdxDocument
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
		`"licenseDeclared": "GPL-2.0-or-later AND BSD-3-Clause AND LGPL-2.1-or-later AND LicenseRef-own.32.licence.32.with.32.OpenSSL.32.exception"`,
		`"supplier": "Person: A, B (a@example.org)"`,
		`"documentNamespace": "urn:mmoci:image:sha256:`,
		snapshot.Sum([]byte("image")).Hex(),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, want := range []spdxRelationship{
		{elementID("Package", "web", "2:1.0-1+b1", "amd64"), "DEPENDS_ON", elementID("Package", "libssl3", "3.0.15-1~deb12u1", "amd64")},
		{elementID("Package", "web", "2:1.0-1+b1", "amd64"), "DEPENDS_ON", elementID("Package", "web-data", "2:1.0-1", "all")},
		{elementID("Package", "web", "2:1.0-1+b1", "amd64"), "GENERATED_FROM", elementID("Source", "web-src", "2:1.0-1", "")},
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
	again, err := SPDX(document(t))
	if err != nil || string(again) != text {
		t.Errorf("another time other bytes, %v", err)
	}
}

func TestCycloneDX(t *testing.T) {
	data, err := CycloneDX(document(t))
	if err != nil {
		t.Fatal(err)
	}
	var got cdxDocument
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

func FuzzSBOM(f *testing.F) {
	f.Add("Package: a\nVersion: 1\nArchitecture: all\n", dep5)
	f.Fuzz(func(t *testing.T, control, copyright string) {
		d := &Document{Packages: []Package{{Stanza: deb.Stanza(control), Copyright: []byte(copyright)}}}
		for _, write := range []func(*Document) ([]byte, error){SPDX, CycloneDX} {
			data, err := write(d)
			if err != nil || !json.Valid(data) {
				t.Fatalf("%v\n%s", err, data)
			}
		}
	})
}
