package aptmethod

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadMessage(t *testing.T) {
	in := bufio.NewReader(strings.NewReader("\n600 URI Acquire\nURI: oci://h.example/r:t/p\nFilename: /a b\nlast-modified:  x \n\n601 Configuration\n\n"))
	m, err := readMessage(in)
	if err != nil || m.code != 600 || m.get("URI") != "oci://h.example/r:t/p" || m.get("filename") != "/a b" || m.get("Last-Modified") != "x" || m.get("none") != "" {
		t.Fatalf("%+v, %v", m, err)
	}
	if m, err = readMessage(in); err != nil || m.code != 601 {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err = readMessage(in); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for _, bad := range []string{"x\n\n", "60 a\n\n", "600 a\nno field\n\n", "600 a\nURI: x\n", "600", "600 a\nURI: \x01\n\n", "600 a\n: x\n\n", "600 a\nA B: x\n\n",
		strings.Repeat("x", maxMessage+2) + "\n\n", "600 a\n" + strings.Repeat("A: b\n", maxFields+1) + "\n"} {
		if m, err := readMessage(bufio.NewReader(strings.NewReader(bad))); !errors.Is(err, errMessage) {
			t.Errorf("%.40q: %+v, %v", bad, m, err)
		}
	}
}

func TestSendIsOneMessage(t *testing.T) {
	var b bytes.Buffer
	w := &writer{out: &b}
	w.send(codeFailure, "URI Failure", "URI", "oci://x", "Message", "a\n\n200 URI Done\r\n\x1b[0mb\xff", "FailReason", "")
	if got, want := b.String(), "400 URI Failure\nURI: oci://x\nMessage: a 200 URI Done [0mb?\n\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseURI(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for uri, want := range map[string]string{
		"oci://h.example/site/mirror:noble/debian/dists/x/InRelease":   "h.example/site/mirror:noble debian/dists/x/InRelease",
		"oci+http://h.example:5000/m@" + digest + "/d/pool/a%253a.deb": "h.example:5000/m@" + digest + " d/pool/a%3a.deb",
		"oci://[::1]:5000/m:t/d/./InRelease":                           "[::1]:5000/m:t d/InRelease",
		"oci://h.example/m:t/upstream/d/Release":                       "h.example/m:t upstream/d/Release",
	} {
		l, err := parseURI(uri)
		if got := l.ref.String() + " " + l.path; err != nil || got != want || l.plain != strings.HasPrefix(uri, "oci+http:") {
			t.Errorf("%s: %s, %v", uri, got, err)
		}
	}
	for _, bad := range []string{"", "oci:/x", "http://h.example/m:t/x", "oci+file:/x", "oci://h.example/m/debian", "oci://h.example/m:t", "oci://h.example/m:t/",
		"oci://u:secret@h.example/m:t/d", "oci://h.example/M:t/d", "oci://h.example/m@sha256:12/d", "oci://h.example/m:t/../x", "oci://h.example/m:t//x",
		"oci://h.example/m:t/a%00b", "oci://h.example/m:t/%zz", "oci:///m:t/x", "oci://nodots/m:t/x", "oci://h.example/m:t/" + strings.Repeat("x", maxURI)} {
		_, err := parseURI(bad)
		if !errors.Is(err, errURI) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.60q: %v", bad, err)
		}
	}
}

func TestConfigFile(t *testing.T) {
	c := parseConfig(&message{fields: []field{{"Config-Item", "Dir=/"}, {"Config-Item", "Dir::Etc=etc/other/"}, {"config-item", "DIR::ETC::netrcparts=%2fsrv/a%20b"}, {"Config-Item", "junk"}}})
	if got := c.file("Dir::Etc::netrc", "auth.conf"); got != "/etc/other/auth.conf" {
		t.Error(got)
	}
	if got := c.file("Dir::Etc::netrcparts", "auth.conf.d"); got != "/srv/a b" {
		t.Error(got)
	}
	if got := (config{}).file("Dir::Etc::netrc", "auth.conf"); got != "/etc/apt/auth.conf" {
		t.Error(got)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte("600 URI Acquire\nURI: oci://h.example/m:t/d/InRelease\nFilename: /x\nExpected-SHA256: 00\n\n"))
	f.Add([]byte("601 Configuration\nConfig-Item: A::B=c%20d\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReader(bytes.NewReader(data))
		for {
			m, err := readMessage(r)
			if err != nil {
				return
			}
			parseConfig(m).file("Dir::Etc::netrc", "auth.conf")
			q, err := parseRequest(m)
			if err == nil && (q.uri == "" || q.filename == "" || q.size < -1 || q.max < 0) {
				t.Fatalf("%+v", q)
			}
		}
	})
}

func FuzzURI(f *testing.F) {
	f.Add("oci://h.example/site/mirror:noble/debian/dists/x/InRelease")
	f.Add("oci+http://[::1]:5000/m@sha256:" + strings.Repeat("ab", 32) + "/d/./Release")
	f.Add("oci://u:p@h.example/m:t/d")
	f.Fuzz(func(t *testing.T, uri string) {
		l, err := parseURI(uri)
		if err != nil {
			if !errors.Is(err, errURI) {
				t.Fatal(err)
			}
			return
		}
		if l.path == "" || l.ref.Name == "" || strings.Contains(l.ref.Host(), "@") || l.ref.Tag == "" && l.ref.Digest.IsZero() {
			t.Fatalf("%q: %+v", uri, l)
		}
	})
}

func FuzzAuths(f *testing.F) {
	f.Add([]byte(`{"auths": {"h.example": {"auth": "dTpw"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseAuths(data); err == nil && !bytes.ContainsRune(data, '{') && !bytes.Contains(data, []byte("null")) {
			t.Fatalf("%q", data)
		}
	})
}
