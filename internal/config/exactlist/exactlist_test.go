package exactlist

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/document"
)

// Every form of a line that build trees have, and what it says.
func TestLines(t *testing.T) {
	t.Parallel()
	text := "\ufeff# A list.\r\n" +
		"acl  2.3.2-2+b1\n" +
		"gir1.2-glib-2.0-dev 2.84.3-1\n" +
		"eatmydata   131-2\n" +
		"\tacpid\t1:2.0.34-1+b1  # why\n" +
		"# ntp  1:4.2.8p15+dfsg-2~1.2.3+dfsg1-3\n" +
		"\n" +
		"ansible  12.0.0~a6+dfsg-1 #base\r\n" +
		"acl  2.3.2-2+b1\n" +
		"golang-1.22  1.22.12-3~bpo12+1  https://dated.example.org/archive/debian/20250630T203427Z/pool/main/g/golang-1.22/golang-1.22_1.22.12-3~bpo12%2B1_all.deb\n" +
		"original-awk  2025-01-16-1\n" +
		"dh-golang 1.58~bpo11+3 http://archive.example.org/debian/pool/main/d/dh-golang/dh-golang_1.58~bpo11+3_all.deb\n" +
		"apache2 2.4.62-1 https://dated.example.org/archive/debian-security/20241029T234230Z/pool/updates/main/a/apache2/apache2_2.4.62-1_amd64.deb"
	lines, err := Parse("list", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		s := fmt.Sprint(l.Line, " ", l.Query())
		if d, ok := l.Dated(); ok {
			s += fmt.Sprintf(" %s %s %s %s", d.Base, d.Archive, d.Timestamp, d.Path)
		} else if file, ok := l.Below("http://archive.example.org/debian/"); ok {
			s += " below " + file
		}
		got = append(got, s)
	}
	want := `2 acl (= 2.3.2-2+b1)
3 gir1.2-glib-2.0-dev (= 2.84.3-1)
4 eatmydata (= 131-2)
5 acpid (= 1:2.0.34-1+b1)
8 ansible (= 12.0.0~a6+dfsg-1)
10 golang-1.22 (= 1.22.12-3~bpo12+1) https://dated.example.org/archive/debian/20250630T203427Z debian 20250630T203427Z pool/main/g/golang-1.22/golang-1.22_1.22.12-3~bpo12+1_all.deb
11 original-awk (= 2025-01-16-1)
12 dh-golang (= 1.58~bpo11+3) below pool/main/d/dh-golang/dh-golang_1.58~bpo11+3_all.deb
13 apache2 (= 2.4.62-1) https://dated.example.org/archive/debian-security/20241029T234230Z debian-security 20241029T234230Z pool/updates/main/a/apache2/apache2_2.4.62-1_amd64.deb`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

// Each malformed line is refused with file, line and what to write; none of them hides another.
func TestMalformedLines(t *testing.T) {
	t.Parallel()
	cases := [][2]string{
		{"bash", "bash without a version; write bash VERSION"},
		{"bash # 5.2", "bash without a version; write bash VERSION"},
		{"Bash 5.2", `"Bash" is no name of a package, which has no capitals; write bash`},
		{"b 5.2", "which has two characters or more; write NAME VERSION [URL]"},
		{"+bash 5.2", "which has a-z 0-9 + . - alone; write NAME VERSION [URL]"},
		{"bash, 5.2", "ends with a mark; write bash VERSION"},
		{"bash 5.2,", "ends with a mark; write bash 5.2"},
		{"bash=5.2", "write bash 5.2, with a blank between"},
		{"bash==5.2", "write bash 5.2, with a blank between"},
		{"bash = 5.2", "an operator; write bash 5.2"},
		{"bash =5.2", "a version with an operator (=); write bash 5.2"},
		{"bash =", "an operator without a version; write bash VERSION"},
		{"bash >= 5.2", "a version with an operator (>=); an exact list has one version: write bash VERSION"},
		{"bash (= 5.2)", "a query; write bash 5.2"},
		{"bash(=5.2)", "a query; write bash 5.2"},
		{"bash (>= 5.2)", "an exact list has one version: write bash VERSION"},
		{"bash/bookworm 5.2", "names a suite; write bash VERSION"},
		{"bash:amd64 5.2", "names an architecture; write bash 5.2"},
		{"bash:5.2", "write bash VERSION, with a blank between"},
		{"bash_5.2_amd64.deb", "is the name of a file; write bash 5.2"},
		{"bash 5.2 | dash 0.5", "alternatives; a list of exact versions has one package a line: write NAME VERSION"},
		{"bash 1:", "bash: version"},
		{"bash a:5.2", "write the exact version, as `apt-cache policy bash` shows it"},
		{"bash 5.2-", "write the exact version, as `apt-cache policy bash` shows it"},
		{"bash five", "does not begin with a digit; write the exact version"},
		{"bash 5.2_1", "which dpkg allows in none; write the exact version"},
		{"bash latest", "is none; write the exact version"},
		{"bash *", "is none; write the exact version"},
		{"bash 5.*", "is a pattern; write the exact version"},
		{"bash 5.2%2Bdfsg-1", "is written as in a URL; write bash 5.2+dfsg-1"},
		{"bash 5.2#why", "has a comment without a blank before it; write bash 5.2 # why"},
		{"bash 5.2 why not", "after the third; write NAME VERSION [URL]"},
		{"bash 5.2 why", "after the version is no URL; write http:// or https:// before it, or # before a comment"},
		{"bash https://a.example.org/pool/b/bash_5.2_amd64.deb", "a URL in place of its version; write bash VERSION https://"},
		{"https://a.example.org/pool/b/bash_5.2%2B1_amd64.deb", "a URL alone; write bash 5.2+1 https://"},
		{"https://a.example.org/", "a URL alone; write NAME VERSION before it"},
		{"bash 5.2 ftp://a.example.org/bash_5.2_amd64.deb", "write the address by http or https"},
		{"bash 5.2 https:///bash_5.2_amd64.deb", "no host; write https://HOST/..."},
		{"bash 5.2 https://u:secret@a.example.org/bash_5.2_amd64.deb", "write them into auth: of the archive"},
		{"bash 5.2 https://a.example.org/bash_5.2_amd64.deb?token=secret", "write the address of the file alone"},
		{"bash 5.2 https://a.example.org/bash_5.2_amd64.deb#x", "write the address of the file alone"},
		{"bash 5.2 https://a.example.org/bash_%zz.deb", "cannot be read; write a percent sign as %25"},
		{"bash 5.2 https://a.example.org/bash_5.2.dsc", "write the address of the .deb"},
		{"bash 5.2 https://a.example.org/a/../bash_5.2_amd64.deb", "holds //, . or ..; write /bash_5.2_amd64.deb"},
		{"bash 5.2 https://a.example.org/archive/debian/20250630/pool/main/b/bash_5.2_amd64.deb", "write it like 20250630T203427Z"},
		{"curl-7.61#curl#https://a.example.org/curl.tar.gz#http##", "this is a list of packages, remove the line"},
		{"bash-5.2-1.el7.x86_64.rpm", "is an RPM; this is a list of Debian packages, remove the line"},
		{"!bash 5.2", "begins with !; write NAME VERSION [URL]"},
		{"- bash 5.2", "write NAME VERSION [URL] without it"},
		{"deb https://a.example.org/debian bookworm main", "a line of sources.list; write the archive under archives:"},
		{"ba\x00sh 5.2", "holds a control character; write the line anew"},
		{"bash " + strings.Repeat("5", maxLine), "at most 4096 bytes"},
	}
	if len(cases) < 20 {
		t.Fatalf("%d forms", len(cases))
	}
	var all strings.Builder
	for i, c := range cases {
		_, err := Parse("base.lst", []byte("# a list\nacl 2.3\n"+c[0]+"\nzlib1g 1:1.3\n"))
		if !errors.Is(err, document.ErrUsage) || !strings.Contains(fmt.Sprint(err), "base.lst:3: ") || !strings.Contains(fmt.Sprint(err), c[1]) {
			t.Errorf("%s: %v", c[0], err)
		}
		if strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: the error holds the password", c[0])
		}
		fmt.Fprintf(&all, "%s\n", cases[i][0])
	}
	lines, err := Parse("base.lst", []byte(all.String()+"zlib1g 1:1.3\n"))
	if n := len(strings.Split(err.Error(), "\n")); n != len(cases) || len(lines) != 1 {
		t.Errorf("of %d faults %d are told, %d lines read:\n%v", len(cases), n, len(lines), err)
	}
	for text, want := range map[string]string{
		"acl 1\n\nacl 2\n": "l:3: acl 2 stands on line 1 with version 1; keep the line that is right",
		"acl 1 https://a.example.org/acl_1_all.deb\nacl 1 https://b.example.org/acl_1_all.deb\n": "l:2: acl 1 stands on line 1 with another URL",
		"":               "l:1: no package in the list",
		"# nothing\n\n":  "l:1: no package in the list",
		"acl 1\nb\xff 2": "l:1: not UTF-8 text",
	} {
		if _, err := Parse("l", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A list as large as real ones, in all their forms, is read whole and in order.
func TestLongList(t *testing.T) {
	t.Parallel()
	const many = 1671
	text, want := Made(many)
	lines, err := Parse("base.lst", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != many || len(want) != many {
		t.Fatalf("%d lines, want %d", len(lines), many)
	}
	dated, epochs, below := 0, 0, 0
	for i, l := range lines {
		if l.Name+" "+l.Version != want[i] {
			t.Fatalf("line %d: %s %s, want %s", l.Line, l.Name, l.Version, want[i])
		}
		if _, ok := l.Dated(); ok {
			dated++
		} else if l.URL != nil {
			below++
		}
		if strings.Contains(l.Version, ":") {
			epochs++
		}
	}
	if dated < 30 || epochs < 100 || below < 8 {
		t.Errorf("%d dated, %d elsewhere, %d epochs", dated, below, epochs)
	}
}

// Made is the text of a list of n packages with invented names, in all forms that real lists have, and each NAME VERSION in order.
func Made(n int) (text string, want []string) {
	var b strings.Builder
	upstream := []string{"2.3.2-2+b1", "0.143-5.2", "1:2.0.34-1+b1", "12.0.0~a6+dfsg-1", "20240727.1", "9:1.1.11-4", "2025-01-16-1", "0~20190702+dfsg-4+b2",
		"2.12.7+dfsg+really2.9.14-2.1", "4.20.0+68-g35cb38b222-1", "257.7", "1.2.3+dfsg1-8+deb13u2"}
	stems := []string{"lib%dt64", "python3-made.%d", "gir1.2-made%d-2.0", "libmade%d++6", "made-%d-data", "puppet-module-made-%d"}
	for i := range n {
		name := fmt.Sprintf(stems[i%len(stems)], i)
		version := upstream[i%len(upstream)]
		_, bare, ok := strings.Cut(version, ":")
		if !ok {
			bare = version
		}
		file := name + "_" + strings.ReplaceAll(bare, "+", "%2B") + "_amd64.deb"
		switch {
		case i%45 == 7:
			fmt.Fprintf(&b, "%s  %s  https://dated.example.org/archive/debian/202506%02dT203427Z/pool/main/m/made/%s\n", name, version, 1+i%28, file)
		case i%150 == 8:
			fmt.Fprintf(&b, "%s %s https://dated.example.org/archive/debian-security/20241029T234230Z/pool/updates/main/m/made/%s\n", name, version, file)
		case i%170 == 9:
			fmt.Fprintf(&b, "%s %s http://archive.example.org/debian/pool/main/m/made/%s_%s_all.deb\n", name, version, name, bare)
		case i%5 == 0:
			fmt.Fprintf(&b, "%s %s\n", name, version)
		case i%97 == 3:
			fmt.Fprintf(&b, "\n# %s  %s\n%s   %s  # kept\r\n", name, version, name, version)
		case i%60 == 4:
			fmt.Fprintf(&b, "%s  %s\n%s  %s\n", name, version, name, version)
		default:
			fmt.Fprintf(&b, "%s  %s\n", name, version)
		}
		want = append(want, name+" "+version)
	}
	return b.String(), want
}

// FuzzParse holds that any text is read or refused as bad input, and that what was read is read again as the same.
func FuzzParse(f *testing.F) {
	made, _ := Made(60)
	for _, s := range []string{made, "acl 1\nacl 2\n", "b", "a b c d", "x 1 https://h/archive/a/20250101T000000Z/pool/x_1_all.deb", "\ufeff#\r\n", "bash(=5.2)", "bash=1 x://"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := Parse("list", data)
		if err != nil {
			if !errors.Is(err, document.ErrUsage) {
				t.Errorf("not bad input: %v", err)
			}
			return
		}
		var again strings.Builder
		for _, l := range lines {
			fmt.Fprintf(&again, "%s %s", l.Name, l.Version)
			if l.URL != nil {
				fmt.Fprintf(&again, " %s", l.URL)
			}
			if d, ok := l.Dated(); ok && (d.Archive == "" || strings.Contains(d.Path, "..")) {
				t.Errorf("%s: %+v", l.URL, d)
			}
			again.WriteByte('\n')
		}
		second, err := Parse("list", []byte(again.String()))
		if err != nil || len(second) != len(lines) {
			t.Fatalf("%q is read as %q, which is not: %v", data, again.String(), err)
		}
		for i := range lines {
			if lines[i].Query() != second[i].Query() {
				t.Errorf("%s, then %s", lines[i].Query(), second[i].Query())
			}
		}
	})
}
