package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/testarchive"
)

// archiveKinds are the archives that scripts can lay out, by name.
func archiveKinds() map[string]func(testing.TB) testarchive.Files {
	of := func(make func() testarchive.Archive) func(testing.TB) testarchive.Files {
		return func(t testing.TB) testarchive.Files { return make().Build(t) }
	}
	return map[string]func(testing.TB) testarchive.Files{
		"docker":          of(testarchive.Docker),
		"debian":          of(testarchive.Debian),
		"security":        of(testarchive.Security),
		"docker-next":     of(dockerNext),
		"docker-detached": of(dockerDetached),
		"mini":            of(mini),
		"mini-old":        of(miniOld),
		"mini-readme":     of(miniReadme),
		"mini-more":       of(miniMore),
		"mini-other":      of(miniOther),
		"mini-security":   of(miniSecurity),
		"mini-backports":  of(miniBackports),
		"lib":             of(lib),
		"lib-security":    of(libSecurity),
		"lib-fixed":       of(libFixed),
		"flat":            of(flatArchive),
		"flat-path":       of(flatPath),
		"unnamed":         of(unnamed),
		"multi":           of(multi),
		"sha512":          of(onlySHA512),
		"sha512stanza":    of(stanzaSHA512),
		"phased":          of(phased),
		"malformed":       of(malformed),
		"huge":            of(huge),
		"sources":         withSources,
		"built":           builtSources,
		"flat-sources":    func(t testing.TB) testarchive.Files { return flatSources(t, "./") },
		"path-sources":    func(t testing.TB) testarchive.Files { return flatSources(t, "stable/x/") },
	}
}

func pkg(name, version, arch, component, depends string) testarchive.Package {
	p := testarchive.Package{Name: name, Version: version, Architecture: arch, Component: component}
	if depends != "" {
		p.Fields = append(p.Fields, [2]string{"Depends", depends})
	}
	return p
}

// dockerNext is docker's archive five days later: 28.5.3 is out, what was before is gone.
func dockerNext() testarchive.Archive {
	a := testarchive.Docker()
	s := &a.Suites[0]
	s.Date = s.Date.AddDate(0, 0, 5)
	s.Packages = slices.DeleteFunc(s.Packages, func(p testarchive.Package) bool { return strings.HasPrefix(p.Version, "5:28.5.1") })
	for i := range s.Packages {
		s.Packages[i].Version = strings.Replace(s.Packages[i].Version, "28.5.2", "28.5.3", 1)
	}
	return a
}

// dockerDetached has Release and Release.gpg, no InRelease.
func dockerDetached() testarchive.Archive {
	a := testarchive.Docker()
	a.Suites[0].NoInRelease = true
	return a
}

// mini is what the mini-mirror's own example asks for, in three components.
func mini() testarchive.Archive {
	return testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
		Dir: "stable", Origin: "Mini", Label: "Mini", Components: []string{"main", "extra", "third"},
		Packages: []testarchive.Package{
			pkg("package1", "1.0", "amd64", "main", "helper (>= 2)"),
			pkg("helper", "2.1", "all", "extra", ""),
			pkg("package2", "2.0-1", "amd64", "extra", ""),
			pkg("package3", "3.5-1", "amd64", "third", ""),
			pkg("package3", "3.6-1", "amd64", "third", ""),
			pkg("package3", "3.7-1", "amd64", "third", ""),
			pkg("unwanted", "1.0", "amd64", "main", ""),
		},
	}}}
}

// miniReadme is mini with the suite and the component of the mini-mirror's own documentation.
func miniReadme() testarchive.Archive {
	a := mini()
	s := &a.Suites[0]
	s.Dir, s.Components = "dist", []string{"components"}
	for i := range s.Packages {
		s.Packages[i].Component = "components"
	}
	return a
}

// miniOld has package3 in an older version only.
func miniOld() testarchive.Archive {
	a := mini()
	s := &a.Suites[0]
	s.Packages = slices.DeleteFunc(s.Packages, func(p testarchive.Package) bool { return p.Name == "package3" && p.Version != "3.5-1" })
	return a
}

// miniMore has a package more.
func miniMore() testarchive.Archive {
	a := mini()
	s := &a.Suites[0]
	s.Date = testarchive.DefaultDate().AddDate(0, 0, 1)
	s.Packages = append(s.Packages, pkg("package4", "4.0", "amd64", "main", ""))
	return a
}

// miniOther has other bytes under one of the versions.
func miniOther() testarchive.Archive {
	a := mini()
	for i, p := range a.Suites[0].Packages {
		if p.Name == "package2" {
			a.Suites[0].Packages[i].Content = map[string]string{"usr/share/doc/package2/README": "another build\n"}
		}
	}
	return a
}

// miniSecurity has fixes for two packages of mini, a day later.
func miniSecurity() testarchive.Archive {
	return testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
		Dir: "stable-security", Origin: "Mini", Label: "Mini-Security", Date: testarchive.DefaultDate().AddDate(0, 0, 1),
		Packages: []testarchive.Package{
			pkg("package1", "1.0+u1", "amd64", "main", "helper (>= 2)"),
			pkg("package2", "2.0-1+u1", "amd64", "main", ""),
		},
	}}}
}

// miniBackports has newer versions that are taken only where somebody asks for them.
func miniBackports() testarchive.Archive {
	return testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
		Dir: "stable-backports", Origin: "Mini", Label: "Mini-Backports", NotAutomatic: true, ButAutomaticUpgrades: true,
		Packages: []testarchive.Package{
			pkg("package1", "3.0", "amd64", "main", "helper (>= 2)"),
			pkg("package3", "4.0-1", "amd64", "main", ""),
			pkg("package9", "9.0", "amd64", "main", ""),
		},
	}}}
}

// lib is a release with two packages of one source, x-tools and libx1.
func lib() testarchive.Archive {
	tools, libx := pkg("x-tools", "1.0-1", "amd64", "main", "libx1"), pkg("libx1", "1.0-1", "amd64", "main", "")
	tools.Source, libx.Source = "x", "x"
	return testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
		Dir: "stable", Origin: "Lib", Label: "Lib", Packages: []testarchive.Package{tools, libx, pkg("plain", "1.0", "amd64", "main", "")},
	}}}
}

// libSecurity is the security archive of lib before it has anything for x.
func libSecurity() testarchive.Archive {
	return testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
		Dir: "stable-security", Origin: "Lib", Label: "Lib-Security", Packages: []testarchive.Package{pkg("unrelated", "1.0", "amd64", "main", "")},
	}}}
}

const libChangelog = `x (1.0-1+deb1u2) stable-security; urgency=high

  * Fix a use after free (CVE-2026-10001).
  * CVE-2026-9999: do not trust the length of a line.

 -- Test <test@example.org>  Thu, 01 Jan 2026 00:00:00 +0000

x (1.0-1) unstable; urgency=medium

  * New upstream release, fixes CVE-2019-0001.

 -- Test <test@example.org>  Wed, 31 Dec 2025 00:00:00 +0000
`

// libFixed is libSecurity a day later, with an update of x. As in Debian, only one of its packages has the changelog.
func libFixed() testarchive.Archive {
	a := libSecurity()
	s := &a.Suites[0]
	s.Date = testarchive.DefaultDate().AddDate(0, 0, 1)
	for _, p := range lib().Suites[0].Packages[:2] {
		p.Version = "1.0-1+deb1u2"
		p.Content = map[string]string{"usr/share/doc/" + p.Name + "/copyright": "as it was\n"}
		if p.Name == "x-tools" {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			z.Write([]byte(libChangelog))
			z.Close()
			p.Content["usr/share/doc/x-tools/changelog.Debian.gz"] = b.String()
		}
		s.Packages = append(s.Packages, p)
	}
	return a
}

func flatArchive() testarchive.Archive { return flatIn("./") }
func flatPath() testarchive.Archive    { return flatIn("stable/x/") }

// flatIn is a flat archive: tool needs data.
func flatIn(dir string) testarchive.Archive {
	return testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
		Dir: dir, Suite: "flat", Codename: "flat", Origin: "Flat", Label: "Flat", Compressions: []string{"gz", "plain"},
		Packages: []testarchive.Package{
			pkg("tool", "1.0", "amd64", "", "data"), pkg("data", "1.0", "all", "", ""), pkg("unwanted", "1.0", "amd64", "", ""),
		},
	}}}
}

// unnamed is mini with a Release that names neither Suite nor Codename.
func unnamed() testarchive.Archive {
	a := mini()
	a.Suites[0].EditRelease = func(text []byte) []byte {
		return regexp.MustCompile(`(?m)^(Suite|Codename): .*\n`).ReplaceAll(text, nil)
	}
	return a
}

// multi is of two architectures and has a package for all.
func multi() testarchive.Archive {
	return testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
		Dir: "stable", Origin: "Multi", Label: "Multi", Architectures: []string{"amd64", "arm64"},
		Packages: []testarchive.Package{
			pkg("tool", "1.0", "amd64", "main", "data"), pkg("tool", "1.0", "arm64", "main", "data"), pkg("data", "1.0", "all", "main", ""),
		},
	}}}
}

// stanzaSHA512 has a stanza with SHA512 alone.
func stanzaSHA512() testarchive.Archive {
	a := mini()
	a.Suites[0].EditIndex = func(path string, data []byte) []byte {
		if !strings.HasPrefix(path, "main/binary-amd64/") {
			return data
		}
		i := bytes.LastIndex(data, []byte("\nSHA256: "))
		return append(bytes.Clone(data[:i]), "\nSHA512: "+strings.Repeat("0", 128)+"\n\n"...)
	}
	return a
}

// onlySHA512 lists SHA512 alone, in the Release and in the stanzas.
func onlySHA512() testarchive.Archive {
	a := mini()
	a.Suites[0].SHA512 = true
	return a
}

// phased has an update that half of the hosts shall wait for.
func phased() testarchive.Archive {
	a := mini()
	s := &a.Suites[0]
	p := pkg("package2", "2.0-2", "amd64", "extra", "")
	p.Fields = append(p.Fields, [2]string{"Phased-Update-Percentage", "50"})
	s.Packages = append(s.Packages, p)
	return a
}

// malformed has a stanza that cannot be read, of package2.
func malformed() testarchive.Archive {
	a := mini()
	a.Suites[0].EditIndex = func(path string, data []byte) []byte {
		return []byte(strings.Replace(string(data), "Package: package2\n", "Package: package2\nno colon here\n", 1))
	}
	return a
}

// huge says that one of its packages has 11 GB.
func huge() testarchive.Archive {
	a := mini()
	a.Suites[0].EditIndex = func(path string, data []byte) []byte {
		return regexp.MustCompile(`(?m)^Size: .*`).ReplaceAll(data, []byte("Size: 11811160064"))
	}
	return a
}

// helloSource is a source package: its stanza in an index, .dsc and tarball.
func helloSource(directory string) (stanza string, dsc, tarball []byte) {
	tarball = []byte("a tarball, to those who only carry it\n")
	dsc = []byte("Format: 3.0 (native)\nSource: hello\nVersion: 1.0-1\n")
	return fmt.Sprintf("Package: hello\nBinary: hello\nVersion: 1.0-1\nFormat: 3.0 (native)\nDirectory: %s\n"+
		"Checksums-Sha256:\n %x %d hello_1.0-1.dsc\n %x %d hello_1.0-1.tar.xz\n\n", directory, sha256.Sum256(dsc), len(dsc), sha256.Sum256(tarball), len(tarball)), dsc, tarball
}

// flatSources is a flat archive with sources: hello-bin is made of hello.
func flatSources(t testing.TB, dir string) testarchive.Files {
	stanza, dsc, tarball := helloSource(dir)
	a := flatIn(dir)
	hello := pkg("hello-bin", "1.0-1+b2", "amd64", "", "data")
	hello.Source = "hello (1.0-1)"
	s := &a.Suites[0]
	s.Packages = append(s.Packages, hello)
	s.Sources = stanza + "Package: unwanted\nBinary: unwanted\nVersion: 1.0\nFormat: 3.0 (native)\nDirectory: " + dir +
		"\nChecksums-Sha256:\n " + strings.Repeat("a", 64) + " 1 unwanted_1.0.dsc\n"
	f := a.Build(t)
	at := strings.TrimPrefix(dir, "./")
	f[at+"hello_1.0-1.dsc"], f[at+"hello_1.0-1.tar.xz"] = dsc, tarball
	return f
}

// withSources has one package with its source: a .dsc and a tarball.
func withSources(t testing.TB) testarchive.Files {
	stanza, dsc, tarball := helloSource("pool/main/h/hello")
	hello := pkg("hello-bin", "1.0-1+b2", "amd64", "main", "")
	hello.Source = "hello (1.0-1)"
	a := testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
		Dir: "stable", AsDebian: true, Date: time.Date(2026, 1, 11, 0, 0, 0, 0, time.UTC),
		Packages: []testarchive.Package{hello, pkg("other", "1.0", "amd64", "main", "")},
		EditIndex: func(path string, data []byte) []byte {
			if strings.HasSuffix(path, "source/Sources") {
				return append(slices.Clone(data), stanza...)
			}
			return data
		},
	}}}
	f := a.Build(t)
	f["pool/main/h/hello/hello_1.0-1.dsc"], f["pool/main/h/hello/hello_1.0-1.tar.xz"] = dsc, tarball
	return f
}

// builtSources has a source that is not among the packages, and what its build needs.
func builtSources(t testing.TB) testarchive.Files {
	stanza, dsc, tarball := helloSource("pool/main/h/hello")
	stanza = strings.Replace(stanza, "Format:", "Build-Depends: tool (>= 2) | other-tool, crossing <cross>, "+
		"here [amd64], elsewhere [riscv64], untested <!nocheck>\nBuild-Depends-Indep: typesetter\nBuild-Conflicts: bad\nFormat:", 1)
	lacking := strings.NewReplacer("Package: hello", "Package: lacking", "hello_1.0-1.dsc", "lacking_1.0-1.dsc", "tool (>= 2)", "tool (>= 3)").Replace(stanza)
	essential := pkg("base", "1.0", "amd64", "main", "")
	essential.Fields = append(essential.Fields, [2]string{"Essential", "yes"})
	bad := pkg("nicer", "1.0", "amd64", "main", "")
	bad.Fields = append(bad.Fields, [2]string{"Provides", "bad"})
	a := testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
		Dir: "stable", AsDebian: true, Date: time.Date(2026, 1, 11, 0, 0, 0, 0, time.UTC),
		Packages: []testarchive.Package{
			essential, bad, pkg("build-essential", "1.0", "amd64", "main", "compiler"), pkg("compiler", "1.0", "amd64", "main", ""), pkg("fakeroot", "1.0", "amd64", "main", ""),
			pkg("tool", "1.0", "amd64", "main", ""), pkg("tool", "2.0", "amd64", "main", "library"), pkg("library", "1.0", "amd64", "main", ""), pkg("other-tool", "1.0", "amd64", "main", ""),
			pkg("here", "1.0", "amd64", "main", ""), pkg("crossing", "1.0", "amd64", "main", ""), pkg("elsewhere", "1.0", "amd64", "main", ""),
			pkg("untested", "1.0", "amd64", "main", ""), pkg("typesetter", "1.0", "amd64", "main", "nicer | library"), pkg("unrelated", "1.0", "amd64", "main", ""),
		},
		EditIndex: func(path string, data []byte) []byte {
			if strings.HasSuffix(path, "source/Sources") {
				return append(slices.Clone(data), stanza+lacking...)
			}
			return data
		},
	}}}
	f := a.Build(t)
	f["pool/main/h/hello/hello_1.0-1.dsc"], f["pool/main/h/hello/hello_1.0-1.tar.xz"] = dsc, tarball
	return f
}
