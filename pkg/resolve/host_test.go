package resolve

import (
	"strings"
	"testing"
)

// hostTests are questions to a machine with something on it.
var hostTests = []struct {
	about  string
	status []string
	index  []string
	ask    string
	want   string // "" for nothing to do; "!" and a part of the error
}{
	{"what is there is left out", []string{"b 1"}, []string{"a 1; Depends: b", "b 2"}, "a", "a"},
	{"asked for and there", []string{"a 1"}, []string{"a 2"}, "a", ""},
	{"asked for in a version", []string{"a 1"}, []string{"a 2"}, "a (>= 2)", "a=2"},
	{"asked for exactly, older than installed", []string{"a 2"}, []string{"a 1"}, "a (= 1)", "!a (= 1): not in the archives; seen: 2 installed, which is not downgraded, 1 (amd64) in a/s"},
	{"exact package that is installed", []string{"a 1"}, []string{"a 1"}, "a_1_amd64", ""},
	{"upgrade of a dependency", []string{"b 1"}, []string{"a 1; Depends: b (>= 2)", "b 2"}, "a", "a b=2"},
	{"never a downgrade", []string{"b 3"}, []string{"a 1; Depends: b (<< 3)", "b 2"}, "a", "!a (archive a) needs b (<< 3)"},
	{"an installed alternative", []string{"c 1"}, []string{"a 1; Depends: b | c", "b 1", "c 2"}, "a", "a"},
	{"an installed provider", []string{"p 1; Provides: v"}, []string{"a 1; Depends: v", "v 1"}, "a", "a"},
	{"asked for and provided by what is there", []string{"p 1; Provides: v"}, []string{"q 1; Provides: v"}, "v", ""},
	{"an upgrade before something new", []string{"c 1"}, []string{"a 1; Depends: b | c (>= 2)", "b 1", "c 2"}, "a", "a c=2"},

	// Lockstep.
	{"partner comes along", []string{"libc6 1", "libc6-dev 1; Depends: libc6 (= 1)"},
		[]string{"a 1; Depends: libc6 (>= 2)", "libc6 2", "libc6-dev 2; Depends: libc6 (= 2)"}, "a", "a libc6=2 libc6-dev=2"},
	{"partner has no upgrade", []string{"libc6 1", "libc6-dev 1; Depends: libc6 (= 1)"},
		[]string{"a 1; Depends: libc6 (>= 2)", "libc6 2"}, "a", "!libc6-dev (installed, 1) needs libc6 (= 1)"},
	{"partner has no fitting upgrade, an older one will do", []string{"libc6 1", "libc6-dev 1; Depends: libc6 (= 1)"},
		[]string{"a 1; Depends: libc6 (>= 2)", "libc6 3", "libc6 2", "libc6-dev 2; Depends: libc6 (= 2)"}, "a", "a libc6=2 libc6-dev=2"},
	{"partner needs something new", []string{"b 1", "c 1; Depends: b (= 1)"},
		[]string{"a 1; Depends: b (>= 2)", "b 2", "c 2; Depends: b (= 2), d", "d 1"}, "a", "a b=2 c=2 d"},
	{"a chain of partners", []string{"b 1", "c 1; Depends: b (= 1)", "d 1; Depends: c (= 1)"},
		[]string{"a 1; Depends: b (>= 2)", "b 2", "c 2; Depends: b (= 2)", "d 2; Depends: c (= 2)"}, "a", "a b=2 c=2 d=2"},
	{"another alternative spares the host", []string{"b 1", "c 1; Depends: b (= 1)"},
		[]string{"a 1; Depends: b (>= 2) | e", "b 2", "e 1"}, "a", "a e"},

	// Holds.
	{"held", []string{"b 1; Status: hold ok installed"}, []string{"a 1; Depends: b (>= 2)", "b 2"}, "a", "!b is held at 1"},
	{"held partner", []string{"b 1", "c 1; Status: hold ok installed; Depends: b (= 1)"},
		[]string{"a 1; Depends: b (>= 2)", "b 2", "c 2; Depends: b (= 2)"}, "a", "!c is held at 1"},
	{"held satisfies", []string{"b 1; Status: hold ok installed"}, []string{"a 1; Depends: b", "b 2"}, "a", "a"},

	// Breaks and Conflicts.
	{"breaks what is there, which can be upgraded", []string{"b 1"}, []string{"a 1; Breaks: b (<< 2)", "b 2"}, "a", "a b=2"},
	{"breaks what is there, which cannot", []string{"b 1"}, []string{"a 1; Breaks: b (<< 2)"}, "a", "!a (archive a) Breaks: b (<< 2), and b (installed, 1) would have to be upgraded"},
	{"conflicts with what is there", []string{"b 1"}, []string{"a 1; Conflicts: b"}, "a", "!a (archive a) Conflicts: b"},
	{"what is there conflicts", []string{"b 1; Conflicts: a"}, []string{"a 1"}, "a", "!b (installed, 1) Conflicts: a"},
	{"what is there conflicts, its upgrade does not", []string{"b 1; Conflicts: a"}, []string{"a 1", "b 2"}, "a", "a b=2"},
	{"conflict with what is there is avoided", []string{"b 1"}, []string{"a 1; Depends: c | d", "c 1; Conflicts: b", "d 1"}, "a", "a d"},
	{"two that conflict on one machine", nil, []string{"a 1; Conflicts: b", "b 1"}, "a; b", "!conflicts with"},
	{"an upgrade takes a provided name away", []string{"b 1; Provides: v", "c 1; Depends: v"},
		[]string{"a 1; Depends: b (>= 2)", "b 2", "p 1; Provides: v"}, "a", "a b=2 p"},

	// States.
	{"half-installed satisfies nothing", []string{"b 1; Status: install ok half-installed"}, []string{"a 1; Depends: b", "b 1"}, "a", "a b"},
	{"unpacked satisfies nothing", []string{"b 1; Status: install ok unpacked"}, []string{"a 1; Depends: b", "b 1"}, "a", "a b"},
	{"removed", []string{"b 1; Status: deinstall ok config-files"}, []string{"a 1; Depends: b", "b 1"}, "a", "a b"},
	{"needs reinstallation", []string{"b 1; Status: install reinstreq installed"}, []string{"a 1; Depends: b", "b 1"}, "a", "a b"},
	{"to be removed but still there", []string{"b 1; Status: deinstall ok installed"}, []string{"a 1; Depends: b", "b 1"}, "a", "a"},
	{"what was broken before is left", []string{"b 1; Depends: gone"}, []string{"a 1"}, "a", "a"},

	// Multi-Arch.
	{"same in two architectures moves together", []string{"l 1; Multi-Arch: same", "l 1 i386; Multi-Arch: same"},
		[]string{"a 1; Depends: l (>= 2)", "l 2; Multi-Arch: same", "l 2 i386; Multi-Arch: same"}, "a", "a l=2 l:i386=2"},
	{"same in two architectures, one cannot", []string{"l 1; Multi-Arch: same", "l 1 i386; Multi-Arch: same"},
		[]string{"a 1; Depends: l (>= 2)", "l 2; Multi-Arch: same"}, "a", "!l (installed, 1) would have to be upgraded"},
	{"foreign satisfies", []string{"f 1 i386; Multi-Arch: foreign"}, []string{"a 1; Depends: f"}, "a", "a"},
	{"other architecture does not", []string{"f 1 i386"}, []string{"a 1; Depends: f"}, "a", "!a (archive a) needs f"},
	{"not co-installable", []string{"f 1 i386"}, []string{"f 1"}, "f {amd64}", "!would have to be upgraded"},
	{"from the native architecture", nil, []string{"f 1 i386; Multi-Arch: same", "f 1; Multi-Arch: same"}, "f", "f"},
	{"from a foreign one, if only there", nil, []string{"f 1 i386", "g 1"}, "f", "f:i386"},
}

func TestHost(t *testing.T) {
	t.Parallel()
	for _, tt := range hostTests {
		t.Run(tt.about, func(t *testing.T) {
			u := newUniverse(t, index(tt.index...))
			res, err := u.Resolve(Request{Roots: asked(t, tt.ask), Architectures: []string{"amd64", "i386"}, Host: status(t, tt.status...)})
			if !answers(t, res, err, tt.want) {
				return
			}
			for _, c := range res.Packages {
				if c.Reason.String() == "" {
					t.Errorf("%s has no reason", c.Name)
				}
			}
		})
	}
}

// A status that dpkg never writes, one name as "all" and as native, is survived.
func TestHostNameTwice(t *testing.T) {
	t.Parallel()
	h := status(t, "b 1 all; Depends: c", "b 1; Depends: d, e")
	res, err := newUniverse(t, index("a 1; Depends: b")).Resolve(Request{Roots: asked(t, "a"), Architectures: []string{"amd64"}, Host: h})
	answers(t, res, err, "a")
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	h := status(t, "b 2; Status: install ok unpacked", "a 1:1-1", "c 3 all", "d 1; Status: install ok triggers-pending")
	for name, want := range map[string]string{"a": "1:1-1", "b": "", "c": "3", "d": "1", "x": ""} {
		if got := h.Installed(name, "amd64"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if len(h.Notes()) != 1 || h.Notes()[0] != "b 2 is ok unpacked: it satisfies nothing" {
		t.Errorf("notes %q", h.Notes())
	}
	for about, text := range map[string]string{
		"no status":      "Package: a\nVersion: 1\nArchitecture: amd64\n",
		"no version":     "Package: a\nArchitecture: amd64\nStatus: install ok installed\n",
		"bad version":    "Package: a\nVersion: -\nArchitecture: amd64\nStatus: install ok installed\n",
		"bad name":       "Package: a b\nVersion: 1\nArchitecture: amd64\nStatus: install ok installed\n",
		"bad relation":   "Package: a\nVersion: 1\nArchitecture: amd64\nStatus: install ok installed\nDepends: b (\n",
		"twice":          strings.Repeat("Package: a\nVersion: 1\nArchitecture: amd64\nStatus: install ok installed\n\n", 2),
		"no such stanza": "garbage\n",
	} {
		if _, err := ParseStatus([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "dpkg status: ") {
			t.Errorf("%s: %v", about, err)
		}
	}
	if h, err := ParseStatus(nil); err != nil || h.Installed("a", "") != "" {
		t.Errorf("empty: %v", err)
	}
}
