package resolve

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestGroups holds what a mirror takes of roots that contradict each other:
// all of them, in groups that can be installed, whatever their order.
func TestGroups(t *testing.T) {
	for _, c := range []struct {
		about      string
		index      []string
		ask, want  string
		groupsSaid string
	}{
		{"two that conflict", []string{"a 1; Conflicts: b", "b 1"}, "a;b", "a b", "2 groups"},
		{"two versions", []string{"a 1", "a 2"}, "a (= 1);a (= 2)", "a a=2", "2 groups"},
		{"each with what it needs", []string{"a 1; Depends: x (= 1)", "b 1; Depends: x (= 2)", "x 1", "x 2"}, "a;b", "a b x x=2", "2 groups"},
		{"three of a kind", []string{"a 1; Provides: v; Conflicts: v", "b 1; Provides: v; Conflicts: v", "c 1; Provides: v; Conflicts: v"}, "a;b;c", "a b c", "3 groups"},
		// d and e go together only with y: taken one by one, d would come with x.
		{"the rest stays together", []string{"a 1; Conflicts: b", "b 1", "d 1; Depends: x | y", "e 1; Conflicts: x", "x 1", "y 1"}, "a;b;d;e", "a b d e y", "2 groups"},
	} {
		t.Run(c.about, func(t *testing.T) {
			u := newUniverse(t, index(c.index...))
			ask := strings.Split(c.ask, ";")
			for range len(ask) {
				ask = append(ask[1:], ask[0])
				res, err := u.Resolve(Request{Roots: roots(t, ask...), Architectures: []string{"amd64"}})
				if err != nil {
					t.Fatal(err)
				}
				if got := list(packages(res)); got != c.want {
					t.Errorf("%v: got %s, want %s", ask, got, c.want)
				}
				if len(res.Notes) != 1 || !strings.Contains(res.Notes[0], c.groupsSaid) {
					t.Errorf("%v: notes %q, want one with %q", ask, res.Notes, c.groupsSaid)
				}
				host := Request{Roots: roots(t, ask...), Architectures: []string{"amd64"}, Host: &Host{}}
				if _, err := u.Resolve(host); !errors.Is(err, ErrUnsatisfied) {
					t.Errorf("%v on one machine: %v", ask, err)
				}
			}
		})
	}
}

// TestGroupsFailAlone holds that what fails by itself fails among others that contradict.
func TestGroupsFailAlone(t *testing.T) {
	u := newUniverse(t, index("a 1; Conflicts: b", "b 1", "c 1; Depends: nowhere", "d 1"))
	_, err := u.Resolve(Request{Roots: roots(t, "a", "b", "c", "d"), Architectures: []string{"amd64"}})
	var e *Unsatisfied
	if !errors.As(err, &e) || len(e.Roots) != 1 || e.Roots[0].Root.Query.String() != "c" {
		t.Errorf("got %v", err)
	}
}

// TestGroupsAreBounded closes hundreds of roots that all conflict.
func TestGroupsAreBounded(t *testing.T) {
	var lines, ask, want []string
	for i := range 300 {
		name := fmt.Sprintf("p%03d", i)
		lines = append(lines, name+" 1; Provides: v; Conflicts: v")
		ask, want = append(ask, name), append(want, name)
	}
	slices.Reverse(ask)
	u := newUniverse(t, index(lines...))
	res, err := u.Resolve(Request{Roots: roots(t, ask...), Architectures: []string{"amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := list(packages(res)); got != strings.Join(want, " ") {
		t.Errorf("got %s", got)
	}
}
