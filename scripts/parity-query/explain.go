package main

import (
	"cmp"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
)

// answers are what both say to one query.
type answers struct {
	asked
	ours, theirs        []string // NAME_VERSION_ARCH, sorted
	refused, theyRefuse error
	all                 []*resolve.Package
}

func (a *answers) equal() bool {
	return (a.refused != nil) == (a.theyRefuse != nil) && slices.Equal(a.ours, a.theirs)
}

// kind is a sort of difference that is meant, and how it is recognised: by
// what aptly must answer if that, and nothing else, is the reason.
type kind struct {
	name     string
	explains func(a *answers) bool
}

var kinds = []kind{
	{"a Provides with a version: aptly does not see it", func(a *answers) bool {
		return a.leaf != nil && !a.leaf.field && a.theyAnswer(func(p *resolve.Package) bool { return literally(p, a.leaf) })
	}},
	{"fields that are no versions: aptly orders them as versions, we as text", func(a *answers) bool {
		return a.leaf != nil && a.leaf.field && !strings.Contains(a.leaf.subject, "Version") && strings.ContainsAny(a.leaf.op, "<>") &&
			a.theyAnswer(func(p *resolve.Package) bool {
				return ordered(a.leaf.op, compareParts(p.Stanza.Get(a.leaf.subject), unquoted(a.leaf.value)))
			})
	}},
	{"no blank before the parenthesis: aptly's lexer takes it for a part of the word", func(a *answers) bool {
		i := strings.Index(a.query, "(")
		return i > 0 && a.query[i-1] != ' ' && a.refused == nil && a.theyRefuse != nil
	}},
	{"a value that begins with an operator: aptly's lexer wants it in quotes", func(a *answers) bool {
		return a.leaf != nil && a.leaf.value != "" && strings.Contains("<>=%~", a.leaf.value[:1]) && a.refused == nil && a.theyRefuse != nil
	}},
	{"what can select nothing: we refuse the query, aptly finds nothing", func(a *answers) bool {
		return a.class == "refused" && a.refused != nil && a.theyRefuse == nil && len(a.theirs) == 0
	}},
}

// theyAnswer tells whether aptly answers what match selects.
func (a *answers) theyAnswer(match func(*resolve.Package) bool) bool {
	var want []string
	for _, p := range a.all {
		if match(p) {
			want = append(want, key(p))
		}
	}
	slices.Sort(want)
	return a.theyRefuse == nil && slices.Equal(want, a.theirs)
}

// literally matches a name as aptly does: what stands in Provides is compared as it stands.
func literally(p *resolve.Package, l *leaf) bool {
	if l.arch != "" && p.Architecture != l.arch && (p.Architecture != "all" || l.arch == "source") {
		return false
	}
	if l.value == "" && slices.Contains(strings.Split(p.Stanza.Get("Provides"), ", "), l.subject) {
		return true
	}
	return p.Name == l.subject && (l.value == "" || ordered(l.op, deb.Compare(p.Version, l.value)))
}

// compareParts compares as aptly does, which cuts any text into epoch, version
// and revision.
func compareParts(a, b string) int {
	cut := func(s string) (parts [3]string) {
		if i := strings.LastIndex(s, "-"); i >= 0 {
			s, parts[2] = s[:i], s[i+1:]
		}
		if epoch, rest, ok := strings.Cut(s, ":"); ok {
			s, parts[0] = rest, epoch
		}
		parts[1] = s
		return parts
	}
	x, y := cut(a), cut(b)
	return cmp.Or(deb.Compare(x[0], y[0]), deb.Compare(x[1], y[1]), deb.Compare(x[2], y[2]))
}

// ordered tells whether an operator holds for the sign of a comparison.
func ordered(op string, c int) bool {
	switch op {
	case "<<":
		return c < 0
	case "<", "<=":
		return c <= 0
	case ">", ">=":
		return c >= 0
	case ">>":
		return c > 0
	case "", "=":
		return c == 0
	}
	return false // no pattern matches a version by chance in these queries
}

func unquoted(s string) string { return strings.Trim(s, "'") }

func key(p *resolve.Package) string { return p.Name + "_" + p.Version + "_" + p.Architecture }
