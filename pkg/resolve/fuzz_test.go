package resolve

import (
	"errors"
	"testing"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/resolve/order"
)

// Any status is read or refused, and what was read can be asked about.
func FuzzStatus(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\nArchitecture: amd64\nStatus: install ok installed\nDepends: b | c (>= 1)\nProvides: v (= 2)\n\n"))
	f.Add([]byte("Package: b\nVersion: 1\nArchitecture: i386\nStatus: hold ok installed\nMulti-Arch: same\nBreaks: q (<< 9)\n\nPackage: c\nStatus: deinstall ok config-files\n"))
	u := newUniverse(f, index("q 1; Depends: b (>= 2) | a (>= 2)", "a 2", "b 2 i386; Multi-Arch: same", "b 2; Multi-Arch: same"))
	ask := roots(f, "q")
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ParseStatus(data)
		if err != nil {
			return
		}
		res, err := u.Resolve(Request{Roots: ask, Architectures: []string{"amd64"}, Host: h})
		if err != nil && !errors.Is(err, ErrUnsatisfied) {
			t.Fatal(err)
		}
		if err == nil && len(res.Packages) == 0 && h.Installed("q", "") == "" && len(h.installed) == 0 {
			t.Fatal("nothing to do, yet nothing is there")
		}
	})
}

// Any index is read or refused, and whatever is in it can be closed.
func FuzzUniverse(f *testing.F) {
	f.Add(stanzas("a 1; Depends: b | c, d", "b 1; Conflicts: d", "c 1; Provides: d (= 1)", "d 1 all"))
	f.Add(stanzas("a 1:2~rc1-3; Pre-Depends: a:any; Multi-Arch: allowed; Provides: a (= 3); Breaks: a"))
	f.Add([]byte("Package: a\nversion: 1\nARCHITECTURE: all\n\n \nb\n\n"))
	everything := parse(f, "$Version")
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := NewUniverse([]Index{{Archive: "a", Data: data}})
		if err != nil {
			return
		}
		pkgs := u.Matches(everything, "")
		if len(pkgs) != len(u.packages) {
			t.Fatalf("%d packages of %d", len(pkgs), len(u.packages))
		}
		for _, p := range pkgs {
			if want, err := archive.ParsePackageFile(p.Stanza); err != nil || p.PackageFile != want {
				t.Fatalf("%+v, read as %+v, %v", p.PackageFile, want, err)
			}
		}
		req := Request{AllOf: []string{"a"}, Architectures: []string{"amd64"}, Recommends: true}
		res, err := u.Resolve(req)
		if err != nil {
			t.Fatal(err)
		}
		closed(t, u, req, res)
		res, err = u.Resolve(Request{Roots: []Root{{Query: everything}}, Architectures: []string{"amd64"}})
		if err != nil && !errors.Is(err, ErrUnsatisfied) {
			t.Fatal(err)
		}
		if err == nil {
			count := 0
			for _, g := range order.Groups(packages(res)) {
				count += len(g)
			}
			if count != len(res.Packages) {
				t.Fatalf("%d packages of %d in order", count, len(res.Packages))
			}
		}
	})
}
