package config

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/document"
)

// Addresses are rewritten by the rules of mirrors:, and asked in the order of the strategy: of the file, of an archive, or as
// --strategy says over both.
func TestMirrors(t *testing.T) {
	t.Parallel()
	const (
		rules = "mirrors:\n" +
			"- {from: \"https://{host}/{path}\", to: \"https://mirror.example.org/debian/{host}/{path}\"}\n" +
			"- {from: \"https://download.docker.com/{path}\", to: \"http://near.example.org/{path}\"}\n"
		up   = "https://download.docker.com/linux/debian"
		far  = "https://mirror.example.org/debian/download.docker.com/linux/debian"
		near = "http://near.example.org/linux/debian"
	)
	plain := strings.Replace(base, "u:hunter2@", "", 1)
	parse := func(y string) *Plan {
		t.Helper()
		p, err := Parse("f", []byte(y))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	check := func(how string, p *Plan, want ...string) {
		t.Helper()
		if got := p.Archives[0].URLs; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", how, got, want)
		}
	}
	orders := map[string][]string{"mirror": {far, near}, "mirror-first": {far, near, up}, "upstream": {up}, "upstream-first": {up, far, near}}
	check("no strategy", parse(rules+plain), orders["mirror-first"]...)
	for how, want := range orders {
		check(how, parse(rules+"strategy: "+how+"\n"+plain), want...)
		check(how+" of the archive", parse(rules+"strategy: upstream-first\n"+plain+"  strategy: "+how+"\n"), want...)
		for set, want := range orders {
			p := parse(rules + plain + "  strategy: " + how + "\n")
			if err := p.SetStrategy(set); err != nil {
				t.Fatal(err)
			}
			check(how+", then "+set, p, want...)
		}
	}

	for rule, says := range map[string]string{
		"{from: \"https://other.example.org/{path}\", to: \"https://m.example.org/{path}\"}": "f:2: mirrors: from: fits no url: of the archives",
		"{from: \"https://{host}/{path}\"}":                                                  "f:2: mirrors: no to:; write {from: ",
		"{from: \"https://{host}/\", to: \"https://m.example.org/{path}\"}":                  "f:2: mirrors: from: https://{host}/ does not end in /{path}",
		"{from: \"https://a/{path}\", to: \"https://m/{host}/{path}\"}":                      "f:2: mirrors: to: https://m/{host}/{path} has a {host} that from: does not take",
		"{from: \"https://{host}/{path}\", to: \"https://m/{name}/{path}\"}":                 "f:2: mirrors: to: https://m/{name}/{path}: {host} and {path} stand for parts, each once",
		"{from: \"https://{host}/{path}\", to: \"ftp://m/{path}\"}":                          "f:2: mirrors: to: ftp://m/{path} is no address of http or https",
	} {
		if _, err := Parse("f", []byte("mirrors:\n- "+rule+"\n"+plain)); !errors.Is(err, document.ErrUsage) || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%s:\ngot  %v\nwant %s", rule, err, says)
		}
	}
	// Whoever has a password for upstream does not give it to the mirror: such an address is mirrored by mirror: alone.
	only, _, _ := strings.Cut(rules, "- {from: \"https://download")
	if _, err := Parse("f", []byte(only+base)); !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), "fits no url: of the archives") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("with a password: %v", err)
	}
	for how, says := range map[string]string{
		"nearest": `strategy "nearest"; known are mirror, mirror-first, upstream, upstream-first`,
		"mirror":  "archive docker has no mirror, which strategy mirror asks alone", "upstream-first": "no archive has a mirror",
	} {
		if err := parse(plain).SetStrategy(how); !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", how, err, says)
		}
	}
}
