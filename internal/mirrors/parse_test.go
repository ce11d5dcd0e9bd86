package mirrors

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/document"
)

func TestParse(t *testing.T) {
	all := list(t, `
# who has copies
- name: de1
  url: https://DE1.example.org/mmoci
  prefixes: [debian, ubuntu]
  repositories: ["site/*"]
  architectures: [amd64]
  weight: 7
  apt: /apt/mirror:noble/
  check: size
- name: fr1
  url: http://192.0.2.7:8080/
  allow-http: yes
  shares-credentials: yes
  registry: site/mirror
`)
	de, _ := url.Parse("https://de1.example.org/mmoci/")
	fr, _ := url.Parse("http://192.0.2.7:8080/")
	want := []Mirror{
		{Name: "de1", URL: de, Prefixes: []string{"debian", "ubuntu"}, Repositories: []string{"site/*"}, Architectures: []string{"amd64"}, Weight: 7, Apt: "apt/mirror:noble", Check: Size},
		{Name: "fr1", URL: fr, Weight: 100, AllowHTTP: true, SharesCredentials: true, Registry: "site/mirror"},
	}
	if len(all) != 2 || !reflect.DeepEqual(all[1], want[1]) || all[0].URL.String() != want[0].URL.String() {
		t.Fatalf("%+v", all)
	}
	all[0].URL = de
	if !reflect.DeepEqual(all[0], want[0]) {
		t.Errorf("%+v", all[0])
	}
	if all := list(t, "[]"); len(all) != 0 {
		t.Errorf("%v", all)
	}
}

func TestParseErrors(t *testing.T) {
	const ok = "- {name: a, url: \"https://a.example.org/\""
	many := strings.Repeat("- {name: a, url: \"https://a.example.org/\"}\n", MaxMirrors+1)
	for _, c := range []struct{ text, want string }{
		{"", "m.yaml:1: empty"},
		{"# nothing\n", "m.yaml:1: empty"},
		{"a: b", "m.yaml:1: not a list"},
		{"[]\n---\n[]", "a second document"},
		{"- a", "m.yaml:1: is a single value"},
		{"\n- name: a", "m.yaml:2: a mirror without url"},
		{"- url: https://a.example.org/", "m.yaml:1: a mirror without name"},
		{ok + "}\n" + ok + "}", "m.yaml:2: name a: another mirror has it, in line 1"},
		{ok + "}\n" + strings.Replace(ok, "name: a", "name: b", 1) + "}", "m.yaml:2: url https://a.example.org/blobs/sha256/: another"},
		{ok + ",\n  wieght: 3}", `m.yaml:2: unknown key "wieght"; did you mean "weight"?`},
		{ok + ", weight: 0}", "m.yaml:1: weight: \"0\" is not between 1 and 1000"},
		{ok + ", weight: 1e9}", "is not between"},
		{ok + ", weight: -3}", "is not between"},
		{ok + ", check: never}", "none of bytes, size and redirect"},
		{ok + ", allow-http: perhaps}", "should be yes or no"},
		{ok + ", prefixes: []}", "is an empty list"},
		{ok + ", repositories: [\"[\"]}", "syntax error in pattern"},
		{ok + ", architectures: ['amd64 type:index']}", "m.yaml:1: architectures: \"amd64 type:index\": no architecture"},
		{ok + ", registry: ../x}", ". or .. in the path"},
		{ok + ", registry: 'a b'}", "not a path"},
		{ok + ", apt: \"a\\nb\"}", "control character"},
		{"- {name: 'a b', url: https://a.example.org/}", "letters, digits"},
		{"- {name: " + strings.Repeat("a", 64) + ", url: https://a.example.org/}", "letters, digits"},
		{"- {name: a, url: 'http://a.example.org/'}", "write allow-http: yes"},
		{"- {name: a, url: 'https://user:secret@a.example.org/'}", "a user in the URL"},
		{"- {name: a, url: 'ftp://a.example.org/'}", "is not https://HOST"},
		{"- {name: a, url: '//a.example.org/'}", "is not https://HOST"},
		{"- {name: a, url: 'https:///x'}", "is not https://HOST"},
		{"- {name: a, url: 'https:a'}", "is not https://HOST"},
		{"- {name: a, url: 'https://a.example.org/?token=secret'}", "m.yaml:1: url: \"https://a.example.org/\" with a query"},
		{"- {name: a, url: 'https://a.example.org/#x'}", "a character that a plain URL has not"},
		{"- {name: a, url: 'https://a.example.org/a b'}", "a character that a plain URL has not"},
		{"- {name: a, url: 'https://a.example.org/%0d%0aX:1'}", "means something else"},
		{"- {name: a, url: 'https://a.example.org/%22x'}", "means something else"},
		{"- {name: a, url: 'https://a.example.org/a/%2e%2e/b'}", ". or .. in the path"},
		{"- {name: a, url: 'https://a.example.org:0/'}", "no port"},
		{"- {name: a, url: 'https://a.example.org:99999/'}", "no port"},
		{"- {name: a, url: 'https://a.example.org:/'}", "no port"},
		{"- {name: a, url: 'https://a..example.org/'}", "no name or address"},
		{"- {name: a, url: 'https://[fe80::1%25eth0]/'}", "no name or address"},
		{"- {name: a, url: 'https://" + strings.Repeat("a", 600) + "/'}", "more than 500 bytes"},
		{"- {name: a, url: https://a.example.org/, name: b}", "stands twice"},
		{"- &x {name: a, url: https://a.example.org/}\n- *x", "anchors and aliases"},
		{"- name: a\n  url: [", "m.yaml:"},
		{ok + "}\n\x00- x", "m.yaml:2: a NUL byte"},
		{strings.Repeat("x", MaxBytes+1), "more than 1048576 bytes"},
		{many, "more than 500 mirrors"},
		{"\xff", "not UTF-8"},
		{strings.Repeat("[", 1000), "nested more than"},
	} {
		_, err := Parse("m.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, document.ErrUsage) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.80q: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestCheckFront(t *testing.T) {
	all := list(t, three+`- {name: d, url: "http://127.0.0.1:9000/", allow-http: yes}`)
	for _, c := range []struct{ front, want string }{
		{"https://front.example.net", ""},
		{"https://b.example.org/apt", "mirror b: clients that log in"},
		{"https://b.example.org", "mirror b is this server itself"},
		{"https://B.example.org:443/", "mirror b is this server itself"},
		{"http://b.example.org", "mirror b: clients that log in"},
		{"https://example.org", "mirror c: clients that log in"},
		{"http://127.0.0.1:9000", "mirror d is this server itself"},
		{"http://127.0.0.1:9001", "mirror d: clients that log in"},
		{"https://127.0.0.1:9000", "mirror d: clients that log in"},
	} {
		u, err := url.Parse(c.front)
		if err != nil {
			t.Fatal(err)
		}
		err = CheckFront("m.yaml", all, u)
		if got := fmt.Sprint(err); c.want == "" && err != nil || c.want != "" && !strings.Contains(got, c.want) {
			t.Errorf("%s: %v", c.front, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(three))
	f.Add([]byte("- {name: a, url: \"http://[::1]:80/x%2fy/\", allow-http: yes, apt: apt/mirror:noble, registry: a/b, architectures: [amd64]}"))
	f.Add([]byte("- name: a\n  url: |\n    https://a.example.org/\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := Parse("m.yaml", data)
		if err != nil {
			if !errors.Is(err, document.ErrUsage) || !strings.HasPrefix(err.Error(), "m.yaml:") {
				t.Fatalf("%v", err)
			}
			return
		}
		var states []Status
		for i := range all {
			m := &all[i]
			// What goes into headers and other programs' files needs no quoting there.
			for _, text := range []string{m.blob(strings.Repeat("0", 64)), m.Name, m.Apt, m.URL.String()} {
				if strings.ContainsAny(text, "\r\n\t \"'\\<>#?") {
					t.Fatalf("%q", text)
				}
			}
			if u, err := url.Parse(m.blob("00")); err != nil || u.Host != m.URL.Host || u.User != nil || !strings.HasPrefix(u.Path, m.URL.Path) {
				t.Fatalf("%v %v", u, err)
			}
			states = append(states, Status{Mirror: *m})
		}
		for line := range strings.Lines(AptList("http://front.example.org", "http://front.example.org/mmoci/direct", "debian", states)) {
			if line[0] != '#' && !strings.HasPrefix(line, "http://") && !strings.HasPrefix(line, "https://") {
				t.Fatalf("%q", line)
			}
		}
	})
}

// apt takes the first line for everything at times, and gives up at a line that it tried: so no line comes twice but the first,
// which is the front itself, and that is the last one.
func TestAptListEndsAtItsBegin(t *testing.T) {
	t.Parallel()
	all, err := Parse("mirrors.yaml", []byte("- {name: a, url: https://a.example.org/, apt: \"apt/x:y\"}\n- {name: b, url: https://b.example.org/}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, states := range [][]Status{nil, {{Mirror: all[0]}, {Mirror: all[1]}}, {{Mirror: all[0], Fault: &Fault{Kind: Dead}}}} {
		var urls []string
		for line := range strings.Lines(AptList("https://front.example.org", "https://front.example.org/mmoci/direct", "debian", states)) {
			if u, _, ok := strings.Cut(line, "\t"); ok {
				urls = append(urls, u)
			}
		}
		first, last := urls[0], urls[len(urls)-1]
		slices.Sort(urls)
		if direct := "https://front.example.org/mmoci/direct/debian/"; first != direct || last != direct || len(slices.Compact(urls)) != len(urls)-1 {
			t.Errorf("%d mirrors: from %s to %s, of %q", len(states), first, last, urls)
		}
	}
}
