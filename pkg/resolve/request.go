package resolve

import "example.org/mmoci/pkg/resolve/query"

// Root is one thing asked for.
type Root struct {
	Query   *query.Query
	Archive string // only in this archive; "": in any
	Origin  string // where it was asked for, for messages: "mmoci.yaml:12", "--package"
}

// Request is the question.
//
// Without Host it is the question of a mirror: each architecture is closed by
// itself, as the native one of machines of its own, and roots that cannot be
// installed together (two mail servers, two versions) are closed in groups that
// can, and all of it is taken. With a Host, be it an empty one, it is the question
// of one machine: the first architecture is native, the others foreign, and
// everything must be installable together with what is there.
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
	// Whole takes every package of these archives (packages: all), all versions,
	// and what they depend on where it can be had; what cannot is in the Notes.
	Whole []string
	// NoClosure takes the roots alone.
	NoClosure bool
}

// Result is the answer, ordered by name, version, architecture.
type Result struct {
	Packages []Chosen
	// Notes are remarks for people: roots that were closed in groups, a
	// dependency of a whole archive that nothing satisfies. Deterministic.
	Notes []string
}

// Chosen is a package of the closure with its reason.
type Chosen struct {
	*Package
	Reason Reason
}
