package resolve

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.org/mmoci/pkg/resolve/query"
)

// stanzas writes an index from short lines: "name version [arch]; Field: value; ...".
func stanzas(lines ...string) []byte {
	return records(lines, func(name, version, arch, _ string) string {
		return fmt.Sprintf("Filename: pool/%s_%s_%s.deb\nSize: 1\nSHA256: %x\n",
			name, strings.ReplaceAll(version, ":", "%3a"), arch, sha256.Sum256([]byte(name+version+arch)))
	})
}

// status writes a dpkg status in the same way.
func status(t testing.TB, lines ...string) *Host {
	t.Helper()
	h, err := ParseStatus(records(lines, func(_, _, _, fields string) string {
		if strings.Contains(fields, "Status:") {
			return ""
		}
		return "Status: install ok installed\n"
	}))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// records writes short lines as stanzas, each with what more gives at its end.
func records(lines []string, more func(name, version, arch, fields string) string) []byte {
	var b strings.Builder
	for _, line := range lines {
		head, fields, _ := strings.Cut(line, ";")
		words := append(strings.Fields(head), "amd64")
		name, version, arch := words[0], words[1], words[2]
		fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\n", name, version, arch)
		for f := range strings.SplitSeq(fields, ";") {
			if f = strings.TrimSpace(f); f != "" {
				b.WriteString(f + "\n")
			}
		}
		b.WriteString(more(name, version, arch, fields) + "\n")
	}
	return []byte(b.String())
}

// answers holds an answer against what is wanted of it, a list of packages or,
// behind "!", what the error says. False if there are no packages to look at.
func answers(t *testing.T, res *Result, err error, want string) bool {
	t.Helper()
	if message, ok := strings.CutPrefix(want, "!"); ok {
		if err == nil {
			t.Fatalf("got %s, want an error with %q", list(packages(res)), message)
		}
		if !errors.Is(err, ErrUnsatisfied) || !strings.Contains(err.Error(), message) {
			t.Fatalf("error %v, want one with %q", err, message)
		}
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := list(packages(res)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	return true
}

// asked are roots between semicolons.
func asked(t testing.TB, queries string) []Root {
	t.Helper()
	var all []string
	for q := range strings.SplitSeq(queries, ";") {
		all = append(all, strings.TrimSpace(q))
	}
	return roots(t, all...)
}

// index is one of archive "a", suite "s".
func index(lines ...string) Index {
	return Index{Archive: "a", Suite: "s", Component: "main", Path: "dists/s/main/binary-amd64/Packages", Data: stanzas(lines...)}
}

func newUniverse(t testing.TB, indices ...Index) *Universe {
	t.Helper()
	u, err := NewUniverse(indices)
	if err != nil {
		t.Fatal(err)
	}
	if len(u.Skipped()) > 0 {
		t.Fatalf("skipped: %s", u.Skipped())
	}
	return u
}

func parse(t testing.TB, s string) *query.Query {
	t.Helper()
	q, err := query.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// roots are queries; "archive/query" is restricted to an archive.
func roots(t testing.TB, queries ...string) []Root {
	t.Helper()
	var all []Root
	for _, s := range queries {
		archive := ""
		if a, rest, ok := strings.Cut(s, "/"); ok && !strings.ContainsAny(a, " (") {
			archive, s = a, rest
		}
		all = append(all, Root{Query: parse(t, s), Archive: archive})
	}
	return all
}

// list writes "name" for version 1, else "name=version"; other architectures
// than amd64 and all are appended with a colon.
func list(pkgs []*Package) string {
	var out []string
	for _, p := range pkgs {
		s := p.Name
		if p.Architecture != "amd64" && p.Architecture != "all" {
			s += ":" + p.Architecture
		}
		if p.Version != "1" {
			s += "=" + p.Version
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func packages(r *Result) []*Package {
	var all []*Package
	for _, c := range r.Packages {
		all = append(all, c.Package)
	}
	return all
}
