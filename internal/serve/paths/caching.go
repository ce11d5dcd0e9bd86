package paths

import (
	"path"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// Life is how long the answer for a path may be kept by who asked.
type Life int

const (
	// Asked is an answer that another snapshot, or the policy, may have otherwise: who keeps it asks before each use.
	Asked Life = iota
	// Forever is an answer that is a function of a digest or a snapshot's ID, and of nothing else.
	Forever
	// UntilRules is such an answer, about a package: the policy may come to deny it. While it denies
	// nothing, caches need not ask; rules that are loaded later reach all of them within a day.
	UntilRules
)

// Access is what restricts who gets what.
type Access struct {
	Rules       bool // the policy denies something, or would
	Credentials bool // clients show them
}

// CacheControl is the header field of an answer.
func (a Access) CacheControl(life Life) string {
	switch {
	case life == Forever && a.Credentials: // no cache that others use may keep it
		return "private, max-age=31536000, immutable"
	case life == Forever:
		return "public, max-age=31536000, immutable"
	case life == UntilRules && !a.Rules && !a.Credentials:
		return "public, max-age=86400, immutable"
	}
	return "no-cache"
}

// IsPoolFile tells whether a file is one that the policy is asked about.
func IsPoolFile(a *snapshot.Archive, row snapshot.Row) bool {
	_, is := PackageOf(a, row)
	return is
}

// Versioned tells whether a package's file has the version in its name. Another version of one that
// has not, as flat archives may have them, lies at the same path.
func Versioned(a *snapshot.Archive, row snapshot.Row) bool {
	pkg, is := PackageOf(a, row)
	version := pkg.Version
	if _, rest, ok := strings.Cut(version, ":"); ok { // names leave the epoch out
		version = rest
	}
	return is && version != "" && strings.Contains(path.Base(row.Path), version)
}
