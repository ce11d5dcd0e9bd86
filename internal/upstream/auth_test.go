package upstream

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAuthMatch follows the examples of apt_auth.conf(5).
func TestAuthMatch(t *testing.T) {
	t.Parallel()
	const yes, no = "https://example.org/debian/dists/bookworm/InRelease", ""
	for _, tt := range []struct{ file, url, want string }{
		{"machine example.org\nlogin apt\npassword debian\n", yes, "apt:debian"},
		{"machine example.org login apt password debian", yes, "apt:debian"},
		{"machine example.org/deb login apt password debian", yes, "apt:debian"},
		{"machine example.org/debian login apt password debian", yes, "apt:debian"},
		{"machine example.org/debian/ login apt password debian", yes, "apt:debian"},
		{"machine https://example.org/debian/ login apt password debian", yes, "apt:debian"},
		{"machine EXAMPLE.org login apt password debian", yes, "apt:debian"},
		{"machine example.org:443 login apt password debian", yes, no},
		{"machine example.org/deb/ login apt password debian", yes, no},
		{"machine example.org/ubuntu login apt password debian", yes, no},
		{"machine example.orga login apt password debian", yes, no},
		{"machine example.net login apt password debian", yes, no},
		{"machine http://example.org login apt password debian", yes, no},
		{"machine example.org login apt password debian", "http://example.org/debian", no},
		{"machine http://example.org login apt password debian", "http://example.org/debian", "apt:debian"},
		{"machine example.org:8443 login a password b", "https://example.org:8443/", "a:b"},
		{"machine example.org login a password b", "https://example.org:8443/", "a:b"},
		{"machine example.org login a password b", "https://sub.example.org/", no},
		{"machine [2001:db8::1]:8443 login a password b", "https://[2001:db8::1]:8443/", "a:b"},
		{"machine example.org/a login a password 1 machine example.org login b password 2", yes, "b:2"},
		{"machine example.org login a password 1 machine example.org login b password 2", yes, "a:1"},
		{"default login evil password x", yes, no},
		{"machine example.org login a password b default login evil password x", yes, "a:b"},
		{"# machine example.org login x password y\nmachine example.org unknown login a password b account c", yes, "a:b"},
		{"macdef init\nmachine example.org login x password y\n\nmachine example.org login a password b", yes, "a:b"},
		{"machine example.org login machine password login", yes, "machine:login"},
		{"machine example.org", yes, no},
		{"machine", yes, no},
		{"login a password b", yes, no},
		{"machine u:p@example.org login a password b", yes, no},
	} {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if e := (&credentials{parseAuth(tt.file)}).find(u); e != nil {
			got = e.login + ":" + e.password
		}
		if got != tt.want {
			t.Errorf("%q for %s: %q, want %q", tt.file, tt.url, got, tt.want)
		}
	}
}

func TestAuthFiles(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".netrc"), []byte("machine a.example.org login a password b"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(k string) string { return map[string]string{"HOME": home}[k] }
	c, err := readCredentials("", env)
	if err != nil {
		t.Fatal(err)
	}
	if e := c.find(&url.URL{Scheme: "https", Host: "a.example.org"}); e == nil || e.login != "a" {
		t.Errorf("~/.netrc: %v", e)
	}
	c, err = readCredentials("", func(k string) string {
		return map[string]string{"HOME": home, "NETRC": filepath.Join(home, "absent")}[k]
	})
	if err != nil || c.find(&url.URL{Scheme: "https", Host: "a.example.org"}) != nil {
		t.Errorf("NETRC did not take the place of ~/.netrc: %v", err)
	}
	big := write(t, "big", strings.Repeat("x", maxAuth+1))
	if _, err := readCredentials(big, env); err == nil {
		t.Error("no limit")
	}
}

// FuzzAuth holds that no file with credentials brings the parser down, and that what it finds is for one host.
func FuzzAuth(f *testing.F) {
	for _, s := range []string{
		"machine example.org login a password b", "machine http://h:80/p\nlogin x\npassword y\n", "default login a", "macdef x\n\nmachine h", "machine [::1 login", "#", "machine",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, e := range parseAuth(s) {
			if e.host == "" || strings.ContainsAny(e.host, "/@ ") {
				t.Errorf("host %q", e.host)
			}
		}
	})
}
