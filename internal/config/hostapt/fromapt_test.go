package hostapt

import (
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
)

func textsOf(qs []config.Query) []string {
	var out []string
	for _, q := range qs {
		out = append(out, q.Text)
	}
	return out
}

func TestFromApt(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{
		"/etc/apt/sources.list.d/debian.sources": []byte(`Types: deb deb-src
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example.org/debian-security/
Suites: bookworm-security
Components: main
Check-Valid-Until: no
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://mirror.example.org/off
Suites: x
Components: main
`),
		"/etc/apt/sources.list.d/docker.list": []byte("deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://u:hunter2@download.docker.com/linux/debian bookworm stable # ours\r\n" +
			"deb [signed-by=0123456789ABCDEF0123456789ABCDEF01234567] file:/srv/flat $(ARCH)/\n" +
			"deb mirror+file:/etc/mirrors bookworm main\n"),
		"/etc/apt/sources.list": []byte("# old\ndeb http://mirror.example.org/debian bookworm-backports main contrib\n"),
	}
	lists := []string{"mirror.example.org_debian_dists_bookworm_main_binary-amd64_Packages.lz4"}
	text, err := FromApt(files, lists, []string{"docker-ce (>= 5:20)", " libc6 ", "", "unknown", "libc6"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := config.Parse("mmoci.yaml", text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if p.Ref != "registry.invalid/site/mirror:latest" {
		t.Errorf("ref %s", p.Ref)
	}
	if got := textsOf(p.Packages); !slices.Equal(got, []string{"docker-ce (>= 5:20)", "libc6", "unknown"}) {
		t.Errorf("asked for over all archives: %q\n%s", got, text)
	}
	const debian = "/usr/share/keyrings/debian-archive-keyring.gpg"
	want := []config.Archive{
		{Prefix: "debian", URLs: []string{"http://mirror.example.org/debian"}, Suites: []string{"bookworm-backports"}, Components: []string{"main", "contrib"},
			SignedBy: debian, None: true, CheckValidUntil: true},
		{Prefix: "debian-2", URLs: []string{"http://mirror.example.org/debian"}, Suites: []string{"bookworm", "bookworm-updates"}, Components: []string{"main", "contrib"},
			SignedBy: debian, None: true, CheckValidUntil: true, WithSources: true},
		{Prefix: "debian-security", URLs: []string{"http://mirror.example.org/debian-security"}, Suites: []string{"bookworm-security"}, Components: []string{"main"},
			SignedBy: debian, None: true},
		{Prefix: "docker", URLs: []string{"https://download.docker.com/linux/debian"}, Suites: []string{"bookworm"}, Components: []string{"stable"},
			SignedBy: "/etc/apt/keyrings/docker.asc", None: true, CheckValidUntil: true},
		{Prefix: "flat", URLs: []string{"file:///srv/flat"}, Suites: []string{"amd64/"}, None: true, CheckValidUntil: true},
	}
	for i := range want {
		want[i].Architectures = []string{"amd64"}
	}
	if got := placeless(p).Archives; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v\n%s", got, want, text)
	}
	for _, says := range []string{
		"# from /etc/apt/sources.list.d/docker.list\n", "this one is a guess", "apt wants a signature by 0123456789ABCDEF",
		"credentials in the URI", "# left out: mirror+file:/etc/mirrors bookworm (/etc/apt/sources.list.d/docker.list): scheme \"mirror+file\"",
	} {
		if !strings.Contains(string(text), says) {
			t.Errorf("does not say %q:\n%s", says, text)
		}
	}
	if strings.Contains(string(text), "hunter2") {
		t.Errorf("shows a secret:\n%s", text)
	}
}

// TestFromAptFlat holds that flat archives are taken over as apt reads them,
// in all spellings that OBS, Kubernetes and CUDA give their users.
func TestFromAptFlat(t *testing.T) {
	t.Parallel()
	text, err := FromApt(map[string][]byte{
		"obs.list":  []byte("deb [signed-by=/k.asc] http://download.opensuse.org/repositories/home:/x/Debian_12/ /\n"),
		"k8s.list":  []byte("deb [signed-by=/k.asc] https://pkgs.k8s.io/core:/stable:/v1.34/deb/ /\n"),
		"cuda.list": []byte("deb [signed-by=/k.asc] https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/ /\n"),
		"own.list":  []byte("deb [signed-by=/k.asc] https://h.example.org/own ./\ndeb [signed-by=/k.asc] https://h.example.org/sub /deb/x/\n"),
		"x.sources": []byte("Types: deb\nURIs: https://y.example.org/deb822\nSuites: /\nSigned-By: /k.asc\n"),
	}, nil, []string{"kubelet"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := config.Parse("f", text)
	if err != nil || strings.Contains(string(text), "left out") {
		t.Fatalf("%v in\n%s", err, text)
	}
	var got []string
	for _, a := range p.Archives {
		got = append(got, a.Prefix+" "+a.URLs[0]+" "+strings.Join(a.Suites, " ")+strings.Join(a.Components, " "))
	}
	want := []string{
		"nvidia https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64 ./",
		"k8s https://pkgs.k8s.io/core:/stable:/v1.34/deb ./",
		"opensuse http://download.opensuse.org/repositories/home:/x/Debian_12 ./",
		"own https://h.example.org/own ./",
		"sub https://h.example.org/sub ./deb/x/",
		"deb822 https://y.example.org/deb822 ./",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), text)
	}
}

// TestFromAptSuites holds that sources that differ in their suites only become one archive.
func TestFromAptSuites(t *testing.T) {
	t.Parallel()
	text, err := FromApt(map[string][]byte{"sources.list": []byte(
		"deb [arch=arm64] http://m.example.org/ubuntu noble main\ndeb [arch=arm64] http://m.example.org/ubuntu/ noble-updates main\ndeb-src http://m.example.org/ubuntu noble main\n")}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := config.Parse("f", text)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Packages) > 0 || !p.AsksNothing() || !strings.Contains(string(text), "# packages: [NAME,") {
		t.Errorf("nothing was asked for:\n%s", text)
	}
	if a := p.Archives; len(a) != 1 || strings.Join(a[0].Suites, " ") != "noble noble-updates" || !a[0].WithSources || a[0].Prefix != "ubuntu" || p.Ref != "registry.invalid/site/mirror:noble" {
		t.Errorf("%+v", p)
	}
}

func TestFromAptErrors(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                       "no source of apt's that can be read here",
		"deb\n":                  "x.list:1: ",
		"deb cdrom: s main\n":    "x.list:1: cdrom",
		"deb ftp://h/d s main\n": `left`,
	} {
		_, err := FromApt(map[string][]byte{"x.list": []byte(text)}, nil, nil)
		if says == "left" {
			says = `ftp://h/d s (x.list): scheme "ftp"`
		}
		if !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %s", text, err, says)
		}
	}
}

func TestHostArch(t *testing.T) {
	t.Parallel()
	if got := hostArch([]string{"a_binary-arm64_Packages.lz4", "b_binary-arm64_Packages", "c_binary-i386_Packages", "d_binary-all_Packages"}); got != "arm64" {
		t.Errorf("got %s", got)
	}
	if got := hostArch(nil); runtime.GOARCH == "amd64" && got != "amd64" {
		t.Errorf("got %s", got)
	}
}

// FuzzFromApt holds that what is made of any sources and packages can be read back.
func FuzzFromApt(f *testing.F) {
	f.Add("deb http://m.example.org/debian bookworm main\n", "docker-ce (>= 1)")
	f.Add("deb [arch=amd64,i386 signed-by=/k,/l] http://u:p@h:80/a/b/c/ yes 1.0 null\n", "\"x\\")
	f.Add("deb file:/x ./\n", "# a: b")
	f.Fuzz(func(t *testing.T, sources, pkg string) {
		for _, name := range []string{"f.list", "f.sources"} {
			text, err := FromApt(map[string][]byte{name: []byte(sources)}, nil, []string{pkg})
			if err != nil {
				if !errors.Is(err, document.ErrUsage) {
					t.Errorf("%q", err)
				}
				continue
			}
			if _, err := config.Parse("f", text); err != nil {
				t.Errorf("%v in\n%s", err, text)
			}
		}
	})
}

// placeless removes what differs between two spellings of one wish.
func placeless(p *config.Plan) *config.Plan {
	q := *p
	q.File, q.CommonList = "", ""
	q.Archives = nil
	for _, a := range p.Archives {
		a.Position = document.Position{}
		var qs []config.Query
		for _, x := range a.Packages {
			qs = append(qs, config.Query{Text: x.Text})
		}
		a.Packages = qs
		q.Archives = append(q.Archives, a)
	}
	return &q
}
