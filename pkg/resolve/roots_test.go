package resolve

import (
	"fmt"
	"testing"
)

// TestNewer holds a root of one archive against what apt would choose of all.
func TestNewer(t *testing.T) {
	t.Parallel()
	of := func(archive, suite string, pin int, lines ...string) Index {
		return Index{Archive: archive, Suite: suite, Component: "main", Path: suite, Pin: pin, Data: stanzas(lines...)}
	}
	u := newUniverse(t,
		of("debian", "stable", 500, "web 1", "lib 1", "tool 1 all", "same 1", "only 1", "pinned 1", "new 2; Provides: virtual"),
		of("debian", "updates", 500, "same 2"),
		of("security", "security", 500, "web 1+u1; Depends: lib", "lib 1+u1", "tool 2 amd64", "same 2", "new 1", "other 1; Provides: virtual"),
		of("backports", "backports", 100, "pinned 2", "web 3"),
	)
	for _, tt := range []struct{ ask, want string }{
		{"debian/web", "web 1: security 1+u1"},
		{"security/web", ""},
		{"web", ""}, // it took the newer
		{"debian/tool", "tool 1: security 2"},
		{"debian/same; security/same", ""},
		{"debian/only", ""},
		{"debian/pinned", ""}, // apt would not choose backports
		{"backports/web", ""},
		{"debian/new", ""},
		{"debian/web (= 1)", ""}, // the version is what is asked for
		{"debian/web (>= 1)", "web 1: security 1+u1"},
		{"debian/Name (% [lw]*)", "lib 1: security 1+u1, web 1: security 1+u1"},
		{"debian/virtual", ""},
	} {
		req := Request{Roots: asked(t, tt.ask), Architectures: []string{"amd64"}}
		res, err := u.Resolve(req)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for i, n := range u.Newer(req, res.Packages) {
			if i > 0 {
				got += ", "
			}
			got += fmt.Sprintf("%s %s: %s %s", n.Taken.Name, n.Taken.Version, n.Newer.Archive, n.Newer.Version)
		}
		if got != tt.want {
			t.Errorf("%s: newer %q, want %q", tt.ask, got, tt.want)
		}
	}
}

// TestAptsChoice is what a root takes that any archive may give: the best pin,
// then the highest version, wherever it is.
func TestAptsChoice(t *testing.T) {
	t.Parallel()
	of := func(archive string, pin int, lines ...string) Index {
		return Index{Archive: archive, Suite: archive, Component: "main", Path: archive, Pin: pin, Data: stanzas(lines...)}
	}
	u := newUniverse(t,
		of("debian", 500, "web 1", "both 2"),
		of("security", 500, "web 1+u1", "both 1"),
		of("backports", 100, "web 3", "late 1"),
		of("experimental", 1, "late 2", "early 1", "web 4"),
	)
	for _, tt := range []struct{ ask, want string }{
		{"web", "web=1+u1"},
		{"debian/web", "web"},
		{"both", "both=2"},
		{"late", "late"},
		{"early", "early"},
		{"web (>= 3)", "web=3"}, // the best pin of those that fit
		{"Name (= web)", "web=1+u1"},
	} {
		res, err := u.Resolve(Request{Roots: asked(t, tt.ask), Architectures: []string{"amd64"}})
		answers(t, res, err, tt.want)
	}
}

// TestSuite is NAME/SUITE, which means what it means to apt-get: the highest version in that suite, by each of its names,
// whatever the pins are; what it depends on from there, too, where nothing else will do.
func TestSuite(t *testing.T) {
	t.Parallel()
	of := func(archive, suite string, pin int, names []string, lines ...string) Index {
		return Index{Archive: archive, Suite: suite, Names: names, Component: "main", Path: suite, Pin: pin, Data: stanzas(lines...)}
	}
	u := newUniverse(t,
		of("debian", "bookworm", 500, []string{"stable", "bookworm"}, "web 1; Depends: web-common (= 1)", "web-common 1", "same 1", "only 1", "lib 1", "real 1; Provides: virtual"),
		of("debian", "bookworm-backports", 100, []string{"stable-backports", "bookworm-backports"},
			"web 2; Depends: web-common (= 2), lib", "web 3; Depends: web-common (= 3), lib", "web-common 2", "web-common 3", "same 1", "lib 4", "both 2 arm64", "both 2"),
		of("other", "experimental", -1, []string{"", ""}, "web 9", "hidden 1"),
	)
	for _, tt := range []struct{ ask, want string }{
		{"/web", "web web-common"},
		{"/web/bookworm-backports", "lib web=3 web-common=3"}, // lib is apt's candidate, and does
		{"/web/stable-backports", "lib web=3 web-common=3"},
		{"/web/stable", "web web-common"},
		{"/web/bookworm", "web web-common"},
		{"/web/bookworm-backports (<< 3)", "lib web=2 web-common=2"},
		{"/web:amd64/bookworm-backports", "lib web=3 web-common=3"},
		{"debian/web/bookworm-backports", "lib web=3 web-common=3"},
		{"/same/bookworm-backports", "same"},
		{"/lib/bookworm-backports; /web/bookworm-backports", "lib=4 web=3 web-common=3"},
		{"/only/bookworm-backports", "!only/bookworm-backports: not in the archives; seen: 1 (amd64) in debian/bookworm"},
		{"/web/sid", "!web/sid: no suite sid in the archives; there are debian/bookworm (stable), debian/bookworm-backports (stable-backports), other/experimental"},
		{"other/web/stable", "!web/stable: no suite stable in archive other; there are other/experimental"},
		{"/virtual/bookworm", "!virtual/bookworm: not in the archives"},
		{"/hidden/experimental", "!hidden/experimental"}, // a negative pin hides it here as everywhere
		{"/webb/bookworm", "!near: web"},
	} {
		res, err := u.Resolve(Request{Roots: asked(t, tt.ask), Architectures: []string{"amd64"}})
		if !answers(t, res, err, tt.want) {
			continue
		}
		if tt.ask == "/same/bookworm-backports" && res.Packages[0].Suite != "bookworm-backports" {
			t.Errorf("%s: taken from %s", tt.ask, res.Packages[0].Suite)
		}
	}
	// On a host: what it has of that suite is had; a newer version is not taken back; a lock says which version.
	for _, tt := range []struct {
		installed, ask string
		pins           map[string]string
		want           string
	}{
		{"web-common 3", "/web/bookworm-backports", nil, "lib web=3"},
		{"same 1", "/same/bookworm-backports", nil, ""},
		{"web 2", "/web/bookworm-backports", nil, "lib web=3 web-common=3"},
		{"web 3", "/web/stable", nil, "!3 installed, which is not downgraded"},
		{"x 1", "/web/bookworm-backports", map[string]string{"web:amd64": "2", "web-common:amd64": "2", "lib:amd64": "1"}, "lib web=2 web-common=2"},
	} {
		res, err := u.Resolve(Request{Roots: asked(t, tt.ask), Architectures: []string{"amd64"}, Host: status(t, tt.installed), Pins: tt.pins})
		answers(t, res, err, tt.want)
	}
}
