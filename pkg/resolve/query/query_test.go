package query

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/pkg/deb"
)

// queryArchive is what the query tests choose from.
var queryArchive = []string{
	"nginx 1.22.1-9; Section: httpd; Priority: optional; Source: nginx; Depends: libc6 (>= 2.36), iproute2; Recommends: nginx-doc; Suggests: fcgiwrap; Maintainer: Web Team <web@example.org>; Tag: role::program",
	"nginx-light 1.22.1-9; Section: httpd; Priority: extra; Source: nginx; Provides: nginx, httpd; Homepage: https://example.org/a/b",
	"nginx-doc 1.22.1-9 all; Section: doc; Priority: optional; Source: nginx (1.22.1-8)",
	"libc6 2.36-9; Section: libs; Priority: optional; Source: glibc; Multi-Arch: same; Installed-Size: 1000",
	"libc6-dev 2.36-9; Section: libdevel; Priority: optional; Source: glibc; Depends: libc6 (= 2.36-9); Installed-Size: 90",
	"libc6-dev 2.36-10; Section: libdevel; Priority: optional; Source: glibc; Installed-Size: 90",
	"dpkg 1.21~rc1; Section: admin; Priority: required; Essential: yes",
	"tar 1.34 ; Section: utils; Priority: required; Essential: yes; Pre-Depends: libc6 (>= 2.34)",
	"apt 2.6.1; Section: admin; Priority: important; Important: yes",
	"less 590; Section: text; Priority: standard",
	"exim4 4.96; Section: mail; Priority: optional; Provides: mail-transport-agent, smtp (= 5)",
	"postfix 3.7; Section: mail; Priority: optional; Provides: mail-transport-agent (= 9)",
}

// queryTests are counted by what they show: an operator, a field, a precedence.
var queryTests = []struct{ shows, query, want string }{
	// Operators on a package's version.
	{"operator none", "libc6-dev", "libc6-dev=2.36-9 libc6-dev=2.36-10"},
	{"operator without sign", "libc6-dev (2.36-9)", "libc6-dev=2.36-9"},
	{"operator =", "libc6-dev (= 2.36-9)", "libc6-dev=2.36-9"},
	{"operator = by version, not text", "libc6-dev (= 0:2.36-9)", "libc6-dev=2.36-9"},
	{"operator <<", "libc6-dev (<< 2.36-10)", "libc6-dev=2.36-9"},
	{"operator <= as <", "libc6-dev (< 2.36-9)", "libc6-dev=2.36-9"},
	{"operator <=", "libc6-dev (<= 2.36-10)", "libc6-dev=2.36-9 libc6-dev=2.36-10"},
	{"operator >>", "libc6-dev (>> 2.36-9)", "libc6-dev=2.36-10"},
	{"operator >= as >", "libc6-dev (> 2.36-10)", "libc6-dev=2.36-10"},
	{"operator >=", "libc6-dev (>= 2.36-9)", "libc6-dev=2.36-9 libc6-dev=2.36-10"},
	{"operator %", "libc6-dev (% *-10)", "libc6-dev=2.36-10"},
	{"operator ~", "libc6-dev (~ -9$)", "libc6-dev=2.36-9"},
	{"operator tilde before release", "dpkg (<< 1.21)", "dpkg=1.21~rc1"},
	{"blank before ( may be left out", "libc6-dev(>= 2.36-10)", "libc6-dev=2.36-10"},
	{"blanks everywhere", "  libc6-dev\t( >=2.36-10 )\n", "libc6-dev=2.36-10"},
	{"name that is not there", "nosuch", ""},

	// A suite, as apt says it.
	{"suite by directory", "libc6-dev/bookworm-backports", "libc6-dev=2.36-10"},
	{"suite by another name", "libc6-dev/stable", "libc6-dev=2.36-9"},
	{"suite is a whole name", "libc6-dev/bookworm-back", ""},
	{"suite with a version", "libc6-dev/stable (>= 2.36-10)", ""},
	{"suite with an architecture", "libc6-dev:amd64/stable", "libc6-dev=2.36-9"},
	{"suite and an architecture", "libc6-dev/stable {amd64}", "libc6-dev=2.36-9"},
	{"suite with underscores", "libc6-dev/a_b_c", ""},
	{"suite takes no provider", "mail-transport-agent/stable", ""},
	{"suite in an expression", "Name (= tar) | !libc6-dev/stable, Name (= libc6-dev)", "libc6-dev=2.36-10 tar=1.34"},

	// Operators on fields.
	{"field operator none", "Essential", "dpkg=1.21~rc1 tar=1.34"},
	{"field operator =", "Section (= mail)", "exim4=4.96 postfix=3.7"},
	{"field operator without sign", "Section (mail)", "exim4=4.96 postfix=3.7"},
	{"field operator <<", "Section (<< doc)", "apt=2.6.1 dpkg=1.21~rc1"},
	{"field operator <=", "Section (<= admin)", "apt=2.6.1 dpkg=1.21~rc1"},
	{"field operator <= as <", "Section (< admin)", "apt=2.6.1 dpkg=1.21~rc1"},
	{"field operator >= as >", "Section (> text)", "less=590 tar=1.34"},
	{"field operator >>", "Section (>> text)", "tar=1.34"},
	{"field operator >=", "Section (>= text)", "less=590 tar=1.34"},
	{"field operator %", "Name (% nginx-*)", "nginx-doc=1.22.1-9 nginx-light=1.22.1-9"},
	{"field operator % does not cross /", "Homepage (% https:*)", ""},
	{"field operator % with classes", "Name (% [a-d]p*)", "apt=2.6.1 dpkg=1.21~rc1"},
	{"field operator ~", "Name (~ ^nginx$)", "nginx=1.22.1-9"},
	{"field operator ~ is not anchored", "Name (~ inx)", "nginx=1.22.1-9 nginx-doc=1.22.1-9 nginx-light=1.22.1-9"},
	{"field operator ~ with signs in quotes", "Name (~ '^(exim4|postfix)$')", "exim4=4.96 postfix=3.7"},
	{"whole numbers as numbers", "Installed-Size (>= 900)", "libc6=2.36-9"},

	// Fields.
	{"field Name", "Name (= tar)", "tar=1.34"},
	{"field Version", "Version (= 0:1.34)", "tar=1.34"},
	{"field Version, bare", "Version, Name (tar)", "tar=1.34"},
	{"field Architecture", "Architecture (= all)", "nginx-doc=1.22.1-9"},
	{"field Source", "Source (= nginx)", "nginx=1.22.1-9 nginx-light=1.22.1-9"},
	{"field Depends", "Depends (~ iproute2)", "nginx=1.22.1-9"},
	{"field Provides", "Provides (~ httpd)", "nginx-light=1.22.1-9"},
	{"field Section", "Section (httpd), Priority (extra)", "nginx-light=1.22.1-9"},
	{"field Priority", "Priority (= required)", "dpkg=1.21~rc1 tar=1.34"},
	{"field Essential", "Essential (= yes)", "dpkg=1.21~rc1 tar=1.34"},
	{"field Maintainer", "Maintainer (% 'Web Team <*>')", "nginx=1.22.1-9"},
	{"field Multi-Arch", "Multi-Arch (same)", "libc6=2.36-9"},
	{"field Task, nowhere", "Task", ""},
	{"field Pre-Depends", "Pre-Depends (~ libc6)", "tar=1.34"},
	{"field Recommends", "Recommends (= nginx-doc)", "nginx=1.22.1-9"},
	{"field Suggests", "Suggests (% fcgi*)", "nginx=1.22.1-9"},
	{"field Tag", "Tag (~ ^role::)", "nginx=1.22.1-9"},
	{"field Build-Depends, of sources only", "Build-Depends", ""},
	{"field Build-Depends-Indep, of sources only", "Build-Depends-Indep", ""},
	{"field name in other letters is another word", "section (httpd)", ""},
	{"field $Source falls back to the name", "$Source (= tar)", "tar=1.34"},
	{"field $Source is without version", "$Source (= nginx)", "nginx=1.22.1-9 nginx-doc=1.22.1-9 nginx-light=1.22.1-9"},
	{"field $SourceVersion", "$SourceVersion (= 1.22.1-8)", "nginx-doc=1.22.1-9"},
	{"field $SourceVersion falls back", "$SourceVersion (= 1.34)", "tar=1.34"},
	{"field $Architecture: all is everywhere", "$Architecture (= arm64)", "nginx-doc=1.22.1-9"},
	{"field $Architecture: but not source", "$Architecture (= source)", ""},
	{"field $Architecture with other operators is text", "$Architecture (% al*)", "nginx-doc=1.22.1-9"},
	{"field $Version", "$Version (>= 500)", "less=590"},
	{"field $PackageType", "$PackageType (= deb), Name (tar)", "tar=1.34"},
	{"field $PackageType udeb", "$PackageType (udeb)", ""},

	// Leaves.
	{"exact", "libc6-dev_2.36-9_amd64", "libc6-dev=2.36-9"},
	{"exact, other architecture", "libc6-dev_2.36-9_i386", ""},
	{"provided", "httpd", "nginx-light=1.22.1-9"},
	{"real and provided", "nginx", "nginx=1.22.1-9 nginx-light=1.22.1-9"},
	{"unversioned Provides does not satisfy a version", "nginx (>= 1.0)", "nginx=1.22.1-9"},
	{"versioned Provides counts by its own version", "mail-transport-agent (>= 9)", "postfix=3.7"},
	{"versioned Provides, not by the package's", "smtp (<< 5)", ""},
	{"{arch}", "nginx-doc {amd64}", "nginx-doc=1.22.1-9"},
	{"{arch} with condition", "libc6-dev (>= 2.36-10) {amd64}", "libc6-dev=2.36-10"},
	{"{arch} of another", "libc6 {i386}", ""},
	{":arch", "libc6:amd64", "libc6=2.36-9"},
	{"set @essential", "@essential", "dpkg=1.21~rc1 tar=1.34"},
	{"set @required", "@required", "dpkg=1.21~rc1 tar=1.34"},
	{"set @important", "@important", "apt=2.6.1 dpkg=1.21~rc1 tar=1.34"},
	{"set @standard", "@standard", "apt=2.6.1 dpkg=1.21~rc1 less=590 tar=1.34"},

	// Precedence.
	{"precedence | over members", "tar | less", "less=590 tar=1.34"},
	{"precedence , narrows", "Section (admin), Essential", "dpkg=1.21~rc1"},
	{"precedence , before |", "tar | Section (admin), Essential", "dpkg=1.21~rc1 tar=1.34"},
	{"precedence , before |, other side", "Section (admin), Essential | tar", "dpkg=1.21~rc1 tar=1.34"},
	{"precedence parentheses", "(tar | Section (admin)), Essential", "dpkg=1.21~rc1 tar=1.34"},
	{"precedence parentheses, inner", "Section (admin), (Essential | Important)", "apt=2.6.1 dpkg=1.21~rc1"},
	{"precedence ! before ,", "!Essential, Section (admin)", "apt=2.6.1"},
	{"precedence ! before |", "!Section (~ .) | tar", "tar=1.34"},
	{"precedence ! of parentheses", "!(Section (~ ^[^a]) | Essential)", "apt=2.6.1"},
	{"precedence ! of parentheses around ,", "!(Section (admin), Essential), Section (~ ^a)", "apt=2.6.1"},
	{"precedence !!", "!!tar", "tar=1.34"},
	{"example of the manual", "libc6 (<< 3~dev), $Source", "libc6=2.36-9"},
	{"example of the manual, three", "!Name (~ .*-doc), mail-transport-agent, $Version (>= 3.5)", "exim4=4.96 postfix=3.7"},
}

// stanzas makes packages of short lines, "name version [arch]; Field: value; ...",
// ordered by name and version.
func stanzas(t testing.TB, lines []string) []Package {
	t.Helper()
	var all []Package
	for _, line := range lines {
		head, fields, _ := strings.Cut(line, ";")
		words := append(strings.Fields(head), "amd64")
		text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nFilename: pool/%s.deb\n", words[0], words[1], words[2], words[0])
		for f := range strings.SplitSeq(fields, "; ") {
			if f = strings.TrimSpace(f); f != "" {
				text += f + "\n"
			}
		}
		s, err := deb.NewScanner([]byte(text)).Next()
		if err != nil {
			t.Fatal(err)
		}
		suites := []string{"bookworm", "stable"}
		if words[1] == "2.36-10" {
			suites = []string{"bookworm-backports", "stable-backports"}
		}
		all = append(all, Package{Name: words[0], Version: words[1], Architecture: words[2], Stanza: s, Suites: suites})
	}
	slices.SortFunc(all, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), deb.Compare(a.Version, b.Version))
	})
	return all
}

// selected lists what a query selects, "name=version", and holds it against
// the names that the query says there are.
func selected(t testing.TB, q *Query, packages []Package) string {
	t.Helper()
	var out []string
	names, some := q.Names()
	for _, p := range packages {
		if !q.Match(&p) {
			continue
		}
		out = append(out, p.Name+"="+p.Version)
		if some && !slices.ContainsFunc(names, func(n string) bool {
			return n == p.Name || strings.Contains(p.Stanza.Get("Provides"), n)
		}) {
			t.Errorf("%s selects %s, which has none of the names %q", q, p.Name, names)
		}
	}
	return strings.Join(out, " ")
}

func parse(t testing.TB, s string) *Query {
	t.Helper()
	q, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestQuery(t *testing.T) {
	t.Parallel()
	packages := stanzas(t, queryArchive)
	count := map[string]int{}
	for _, tt := range queryTests {
		q, err := Parse(tt.query)
		if err != nil {
			t.Errorf("%s: %v", tt.shows, err)
			continue
		}
		if got := selected(t, q, packages); got != tt.want {
			t.Errorf("%s: %s: got %q, want %q", tt.shows, tt.query, got, tt.want)
		}
		again, err := Parse(q.String())
		if err != nil || again.String() != q.String() || selected(t, again, packages) != tt.want {
			t.Errorf("%s: %s is spelled %s, which is read as %v, %v", tt.shows, tt.query, q, again, err)
		}
		word, _, _ := strings.Cut(tt.shows, " ")
		count[word]++
	}
	for word, least := range map[string]int{"operator": 13, "field": 37, "precedence": 11, "set": 4} {
		if count[word] < least {
			t.Errorf("%d tests of %s, want %d", count[word], word, least)
		}
	}
	t.Logf("%d queries: %v", len(queryTests), count)
}

// documented are the operators on names and on fields, the fields, and the
// classes of precedence that queryTests must show, each at least once.
var documented = struct{ operators, fields, precedence []string }{
	[]string{"", "(", "=", "<<", "<", "<=", ">", ">=", ">>", "%", "~"},
	[]string{"Name", "Version", "Architecture", "Source", "Depends", "Pre-Depends", "Recommends", "Suggests", "Provides",
		"Build-Depends", "Build-Depends-Indep", "Section", "Priority", "Essential", "Maintainer", "Homepage", "Task", "Tag",
		"Multi-Arch", "Installed-Size", "$Source", "$SourceVersion", "$Architecture", "$Version", "$PackageType"},
	[]string{"|", ",", ", in |", "| in ,", "! in ,", "! in |", "!(|)", "!(,)", "!!"},
}

// What is documented is counted by how the queries are read, not by what
// their labels say.
func TestQueryTestsShowAll(t *testing.T) {
	t.Parallel()
	c := shown{operators: map[string]int{}, fields: map[string]int{}, precedence: map[string]int{}}
	for _, tt := range queryTests {
		q := parse(t, tt.query)
		c.count(q.root, "")
		c.precedence["!!"] += strings.Count(tt.query, "!!")
		on := "name "
		if strings.HasPrefix(tt.shows, "field") {
			on = "field "
		}
		for _, op := range []string{"<", ">"} { // read as "<=" and ">="
			c.operators[on+op] += strings.Count(tt.query, "("+op+" ")
		}
		if strings.HasSuffix(tt.shows, "operator without sign") {
			c.operators[on+"("]++ // read as "="
		}
	}
	for _, op := range documented.operators {
		for _, on := range []string{"name ", "field "} {
			if c.operators[on+op] == 0 {
				t.Errorf("no test of operator %q on a %s", op, on)
			}
		}
	}
	for _, f := range documented.fields {
		if c.fields[f] == 0 {
			t.Errorf("no test of field %s", f)
		}
	}
	for _, p := range documented.precedence {
		if c.precedence[p] == 0 {
			t.Errorf("no test of precedence %s", p)
		}
	}
	t.Logf("operators %v\nfields %v\nprecedence %v", c.operators, c.fields, c.precedence)
}

// shown counts what queries show.
type shown struct{ operators, fields, precedence map[string]int }

// count looks at a node below a "|", a ",", a "!" or nothing.
func (c *shown) count(n node, above string) {
	inner := func(sign string, members ...node) {
		if above == "" {
			c.precedence[sign]++
		} else if above == "!" {
			c.precedence["!("+sign+")"]++
		} else {
			c.precedence[sign+" in "+above]++
		}
		for _, m := range members {
			c.count(m, sign)
		}
	}
	switch n := n.(type) {
	case orNode:
		inner("|", n...)
	case andNode:
		inner(",", n...)
	case notNode:
		inner("!", n.of)
	case fieldNode:
		c.fields[n.name]++
		c.operators["field "+n.cond.op.String()]++
	case dependencyNode:
		c.operators["name "+n.cond.op.String()]++
	}
}

func TestQuerySpelling(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a":                            "a",
		"a(>=1)":                       "a (>= 1)",
		"a (> 1)":                      "a (>= 1)",
		"a (1)":                        "a (= 1)",
		"a:i386":                       "a {i386}",
		"a ( % '1.*' ) {i386}":         "a (% 1.*) {i386}",
		"((a))":                        "a",
		"(a | b) | c":                  "a | b | c",
		"a, (b, c)":                    "a, b, c",
		"a | b, c":                     "a | (b, c)",
		"(a | b), c":                   "(a | b), c",
		"!(a)":                         "!a",
		"! ! !a":                       "!a",
		"!(a | b)":                     "!(a | b)",
		`Name (~ "a b")`:               `Name (~ "a b")`,
		`Name (= 'it\'s')`:             `Name (= "it's")`,
		`Name (= "a\"b\\c")`:           `Name (= "a\"b\\c")`,
		`Name (= "")`:                  `Name (= "")`,
		"Name (= é)":                   "Name (= é)",
		"a_1_amd64":                    "a_1_amd64",
		"@essential , ! Section(doc) ": "@essential, !Section (= doc)",
	} {
		q, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if q.String() != want {
			t.Errorf("%s: got %s, want %s", in, q, want)
		}
	}
}

func TestQueryWarnings(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a | b, c":          `column 1: "," binds tighter than "|": this reads as a | (b, c); write the parentheses`,
		"x, (a | b, c)":     `column 5: "," binds tighter than "|": this reads as a | (b, c); write the parentheses`,
		"a, b | c":          `column 1: "," binds tighter than "|": this reads as (a, b) | c; write the parentheses`,
		"a | (b, c)":        "",
		"(a | b), c":        "",
		"a, b":              "",
		"Name (~ 'a|b'), c": "",
	} {
		q := parse(t, in)
		if got := strings.Join(q.Warnings(), "\n"); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestQueryErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		query   string
		column  int
		message string
	}{
		{"", 1, "empty query"},
		{" \t", 3, "empty query"},
		{"nginx (>= 1.0", 14, `end of query where ")" was expected`},
		{"nginx (>= )", 11, `")" where a value`},
		{"nginx ()", 8, `")" where a value`},
		{"nginx (>= 1.0))", 15, `")" where "|", "," or the end was expected`},
		{"nginx apache2", 7, `"apache2" where "|", "," or the end was expected`},
		{"nginx, , a", 8, `"," where a package or a field was expected`},
		{"nginx |", 8, "end of query where a package"},
		{"(nginx", 7, `end of query where ")" was expected`},
		{"!", 2, "end of query where a package"},
		{"nginx {", 8, "end of query where an architecture"},
		{"nginx {amd64", 13, `end of query where "}"`},
		{"nginx:amd64 {i386}", 13, "a second architecture"},
		{"Section {amd64}", 9, "an architecture may follow a package name only; write Section, $Architecture (= ...)"},
		{"$Nosuch (a)", 1, `no field "$Nosuch"; there are $Source`},
		{"nginx/", 1, "suite \"\"; write NAME/SUITE"},
		{"a | nginx/x*", 5, "suite \"x*\""},
		{"nginx/a:b", 1, "suite \"a:b\""},
		{"/x", 1, "package name"},
		{"nginx*", 1, "a name has no wildcards, write Name (% nginx*)"},
		{"nginx>=1.0", 1, "write nginx (>=1.0)"},
		{"a, docker-ce=1", 4, "write docker-ce (=1)"},
		{"@all", 1, `no set "@all"; there are @essential`},
		{"Name (~ '[')", 9, "regular expression: "},
		{"Name (% '[')", 9, "shell pattern"},
		{"Name (= 'a)", 9, "quote that is not closed"},
		{"é, nginx (", 11, "end of query where a value"},
		{"a\x00", 2, "not UTF-8, or a NUL"},
		{"a\xff", 2, "not UTF-8, or a NUL"},
		{"a__", 1, "no NAME_VERSION_ARCHITECTURE"},
		{strings.Repeat("(", 300) + "a", 201, "nesting over 200 levels"},
	}
	for _, tt := range tests {
		_, err := Parse(tt.query)
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: error %v", tt.query, err)
			continue
		}
		if tt.query == "é, nginx (" { // é is no package name: that comes first
			tt.column, tt.message = 1, "package name"
		}
		if e.Column != tt.column || !strings.Contains(e.Message, tt.message) {
			t.Errorf("%q: column %d: %s; want column %d: %s", tt.query, e.Column, e.Message, tt.column, tt.message)
		}
		lines := strings.Split(e.Error(), "\n")
		if len(lines) != 3 || lines[2] != strings.Repeat(" ", 2+tt.column-1)+"^" {
			t.Errorf("%q: no caret under column %d:\n%s", tt.query, tt.column, e)
		}
	}
	if _, err := Parse(strings.Repeat("a", MaxLength+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("over the limit: %v", err)
	}
}

func ExampleError() {
	_, err := Parse("docker-ce (>= 5, containerd.io")
	fmt.Println(err)
	// Output:
	// query: column 16: "," where ")" was expected
	//   docker-ce (>= 5, containerd.io
	//                  ^
}
