package archive

import (
	"reflect"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	t.Parallel()
	key := "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"
	got := Format([]Source{
		{
			Comment: "docker\nfrom registry.example.org\x1b", URI: "http://127.0.0.1:8000/docker", Suites: []string{"bookworm"},
			Components: []string{"stable"}, Architectures: []string{"amd64", "arm64"}, Languages: []string{"none"}, Targets: []string{"Packages"},
			SignedByKey: []byte(key),
		},
		{Types: []string{"deb", "deb-src"}, URI: "http://127.0.0.1:8000/flat", Suites: []string{"./"}, SignedBy: "/etc/apt/keyrings/a.gpg", CheckValidUntil: true},
		{URI: "http://example.org/\nTrusted: yes", Suites: []string{"a\nTrusted: yes"}, Components: []string{"main"}, CheckValidUntil: true},
	})
	const want = `# docker
# from registry.example.org
Types: deb
URIs: http://127.0.0.1:8000/docker
Suites: bookworm
Components: stable
Architectures: amd64 arm64
Languages: none
Targets: Packages
Check-Valid-Until: no
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 AAAA
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb deb-src
URIs: http://127.0.0.1:8000/flat
Suites: ./
Signed-By: /etc/apt/keyrings/a.gpg

Types: deb
URIs: http://example.org/ Trusted: yes
Suites: a Trusted: yes
Components: main
`
	if got != want {
		t.Errorf("%s", got)
	}
	back, err := ParseSources("x.sources", []byte(got[:strings.LastIndex(got, "\nTypes")]))
	if err != nil || len(back) != 2 || string(back[0].SignedByKey) != key || back[0].CheckValidUntil || !back[1].CheckValidUntil {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestParseSources(t *testing.T) {
	t.Parallel()
	deb822 := `# Debian
Types: deb deb-src
URIs: http://mirror.example.org/debian
  http://second.example.org/debian
suites: bookworm bookworm-updates
# a comment in between
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example.org/
Suites: x
Components: y


Types: deb
URIs: https://download.docker.com/linux/debian
Suites: bookworm
Components: stable
Architectures: amd64
Languages: none
Check-Valid-Until: false
Trusted: yes
`
	debian := Source{
		Types: []string{"deb", "deb-src"}, URI: "http://mirror.example.org/debian", Suites: []string{"bookworm", "bookworm-updates"},
		Components: []string{"main"}, SignedBy: "/usr/share/keyrings/debian-archive-keyring.gpg", CheckValidUntil: true,
	}
	second := debian
	second.URI = "http://second.example.org/debian"
	docker := Source{
		Types: []string{"deb"}, URI: "https://download.docker.com/linux/debian", Suites: []string{"bookworm"},
		Components: []string{"stable"}, Architectures: []string{"amd64"}, Languages: []string{"none"},
	}
	for _, text := range []string{deb822, strings.ReplaceAll(deb822, "\n", "\r\n"), strings.TrimSpace(deb822)} {
		got, err := ParseSources("/etc/apt/sources.list.d/a.sources", []byte(text))
		if err != nil || !sameSources(got, []Source{debian, second, docker}) {
			t.Errorf("%+v, %v", got, err)
		}
	}

	list := `# comment
deb http://mirror.example.org/debian bookworm main contrib  # end
deb-src [arch=amd64,arm64 signed-by=/a.gpg lang=en,de target=Packages check-valid-until=no trusted=yes] http://example.org/x bookworm main
deb [ arch=amd64 ]	http://example.org/flat ./
`
	got, err := ParseSources("/etc/apt/sources.list", []byte(list))
	want := []Source{
		{Types: []string{"deb"}, URI: "http://mirror.example.org/debian", Suites: []string{"bookworm"}, Components: []string{"main", "contrib"}, CheckValidUntil: true},
		{
			Types: []string{"deb-src"}, URI: "http://example.org/x", Suites: []string{"bookworm"}, Components: []string{"main"}, SignedBy: "/a.gpg",
			Architectures: []string{"amd64", "arm64"}, Languages: []string{"en", "de"}, Targets: []string{"Packages"},
		},
		{Types: []string{"deb"}, URI: "http://example.org/flat", Suites: []string{"./"}, Architectures: []string{"amd64"}, CheckValidUntil: true},
	}
	if err != nil || !sameSources(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// sameSources compares; empty and nil slices are the same.
func sameSources(a, b []Source) bool {
	return Format(a) == Format(b) && reflect.DeepEqual(len(a), len(b))
}

func TestParseSourcesErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"a.sources", "Types: deb\nURIs: http://a\nSuites: x\nComponents: y\n\nTypes: deb\nSuites: x\n", "a.sources:6: no URIs"},
		{"a.sources", "Types: deb\nURIs: http://a\nComponents: y\n", "a.sources:1: no Suites"},
		{"a.sources", "URIs: http://a\nSuites: x\nComponents: y\n", "a.sources:1: no Types"},
		{"a.sources", "Types: rpm\nURIs: http://a\nSuites: x\nComponents: y\n", "neither deb nor deb-src"},
		{"a.sources", "Types: deb\ntypes: deb\n", "a.sources:2: field types is given twice"},
		{"a.sources", " Types: deb\n", "a.sources:1: continuation"},
		{"a.sources", "Types: deb\nURIs: a\nSuites: b/\n\n x\n", "a.sources:5: continuation"},
		{"a.sources", "Types deb\n", "a.sources:1: no field"},
		{"a.sources", "Types: deb\nURIs: http://a\nSuites: x\n", "no components"},
		{"a.sources", "Types: deb\nURIs: http://a\nSuites: x/\nComponents: y\n", "flat archive has no components"},
		{"a.sources", "Types: deb\nURIs: http://a\nSuites: x/ y\nComponents: y\n", "flat and other"},
		{"a.sources", "Types: deb\nURIs: http://a\nSuites: x\nComponents: y\nArchitectures-Add: armhf\n", "adds to"},
		{"a.sources", "Types: deb\x00\n", "NUL"},
		{"a.list", "\n# x\ndeb\n", "a.list:3:"},
		{"a.list", "deb http://a\n", "a.list:1:"},
		{"a.list", "rpm http://a b c\n", "neither deb nor deb-src"},
		{"a.list", "deb http://a b\n", "no components"},
		{"a.list", "deb http://a ./ c\n", "no components"},
		{"a.list", "deb [arch=amd64 http://a b c\n", "without ]"},
		{"a.list", "deb [arch] http://a b c\n", "not name=value"},
		{"a.list", "deb [arch+=armhf] http://a b c\n", "adds to"},
		{"a.list", "deb cdrom:[Debian GNU/Linux]/ bookworm main\n", "cdrom"},
	} {
		got, err := ParseSources(tc.name, []byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) || got != nil {
			t.Errorf("%q: %+v, %v, want %q", tc.text, got, err, tc.want)
		}
	}
}

func FuzzSources(f *testing.F) {
	f.Add(true, []byte("Types: deb\nURIs: http://a http://b\nSuites: x\nComponents: y\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n AAAA\n"))
	f.Add(true, []byte("# c\nTypes: deb\n#x\nURIs: a\nSuites: ./\nEnabled: no\n"))
	f.Add(false, []byte("deb [arch=amd64 signed-by=/a] http://a b c # d\ndeb-src http://a ./\n"))
	f.Fuzz(func(t *testing.T, deb822 bool, data []byte) {
		name := "a.list"
		if deb822 {
			name = "a.sources"
		}
		got, err := ParseSources(name, data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), name+":") {
				t.Fatalf("%v", err)
			}
			return
		}
		// What was read, written and read again, is the same.
		text := Format(got)
		again, err := ParseSources("a.sources", []byte(text))
		if err != nil || Format(again) != text {
			t.Fatalf("%q\n%q\n%v", text, Format(again), err)
		}
	})
}
