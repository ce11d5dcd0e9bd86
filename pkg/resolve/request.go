package resolve

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/pkg/resolve/query"
)

// ErrUnsatisfied marks a package or dependency that the archives cannot give.
var ErrUnsatisfied = errors.New("unsatisfied")

// Root is one thing asked for.
type Root struct {
	Query   *query.Query
	Archive string // only in this archive; "": in any
	Origin  string // where it was asked for, for messages: "mmoci.yaml:12", "--package"
}

// Request says what to compute.
//
// Without Host the closure is for a mirror: each architecture is closed by
// itself, as the native one of machines of its own, and roots that cannot be
// installed together (two mail servers, two versions) are closed in groups that
// can. With a Host, be it an empty one, the closure is for one machine: the
// first architecture is native, the others foreign, and everything must be
// installable together with what is there.
//
// Phased-Update-Percentage is ignored, as apt does for a package that is not
// installed yet.
type Request struct {
	Roots         []Root
	Architectures []string // in order; the first is native
	Recommends    bool
	// Host, if not nil, is what is installed already: it is kept, satisfies dependencies and is not part of the result.
	Host *Host
	// Pins fixes name:arch to a version (a lock), or to several with blanks between them.
	Pins map[string]string
	// AllOf takes every package of these archives (packages: all), all versions,
	// and what they depend on where it can be had; what cannot is in the Notes.
	AllOf []string
	// NoClosure takes the roots alone.
	NoClosure bool
}

// Result is a closure, ordered by name, version, architecture.
type Result struct {
	Packages []Chosen
	// Notes are remarks for people: roots that were closed in groups, a
	// dependency of AllOf that nothing satisfies. Deterministic.
	Notes []string
}

// Chosen is a package of the closure with its reason.
type Chosen struct {
	*Package
	Reason Reason
}

// Reason tells why a package was chosen.
type Reason struct {
	Root   *Root    // asked for directly, or
	Parent *Package // because this one
	Field  string   // "Depends", "Pre-Depends", "Recommends"
	Clause string   // needs this: "libc6 (>= 2.36)"
	AllOf  string   // or all of this archive was asked for
}

// String is "asked for: docker-ce" or "docker.io Depends: containerd (>= 1.4~)".
// It holds no file positions.
func (r Reason) String() string {
	switch {
	case r.Root != nil:
		return "asked for: " + r.Root.Query.String()
	case r.AllOf != "":
		return "asked for: all of " + r.AllOf
	case r.Parent == nil:
		return ""
	}
	return r.Parent.Name + " " + r.Field + ": " + r.Clause
}

// Unsatisfied lists the roots that have no closure. It wraps ErrUnsatisfied. A
// root that selects several packages is in it once for each that cannot be had.
type Unsatisfied struct {
	Roots []RootFailure
}

// RootFailure is one root that cannot be had, and why.
type RootFailure struct {
	Root  *Root
	Chain []string // from what was asked for to what is missing, one sentence each
}

// Error has a summary in its first line, and below it for each root the chain
// from what was asked for to what is missing.
func (e *Unsatisfied) Error() string {
	var b strings.Builder
	if len(e.Roots) == 1 && len(e.Roots[0].Chain) == 1 {
		fmt.Fprintf(&b, "%v: %s%s", ErrUnsatisfied, e.Roots[0].Chain[0], e.Roots[0].origin())
		return b.String()
	}
	if len(e.Roots) == 1 {
		chain := e.Roots[0].Chain
		fmt.Fprintf(&b, "%v: %s%s: %s", ErrUnsatisfied, e.Roots[0].name(), e.Roots[0].origin(), chain[len(chain)-1])
	} else {
		var names []string
		for i := range e.Roots {
			if n := e.Roots[i].name(); !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
		fmt.Fprintf(&b, "%v: %d of what was asked for: %s", ErrUnsatisfied, len(e.Roots), strings.Join(names, "; "))
	}
	for i := range e.Roots {
		r := &e.Roots[i]
		if len(e.Roots) > 1 {
			fmt.Fprintf(&b, "\n  %s%s", r.name(), r.origin())
		}
		for _, line := range r.Chain {
			fmt.Fprintf(&b, "\n    %s", line)
		}
	}
	return b.String()
}

// Unwrap gives ErrUnsatisfied.
func (e *Unsatisfied) Unwrap() error { return ErrUnsatisfied }

func (r *RootFailure) name() string {
	if r.Root == nil {
		return "all of it together"
	}
	return r.Root.Query.String()
}

func (r *RootFailure) origin() string {
	if r.Root == nil || r.Root.Origin == "" {
		return ""
	}
	return " (" + r.Root.Origin + ")"
}
