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
