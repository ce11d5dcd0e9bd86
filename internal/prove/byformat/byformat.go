// Package byformat says what proves an archive of a format that is not deb: what is asked, and what is answered.
//
// A format has a room of its own with a function that is a [Prover]; internal/prove chooses it.
package byformat

import (
	"context"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Input is one archive, and the keys that its signed texts must verify under.
type Input struct {
	Snapshot *snapshot.Snapshot
	Archive  snapshot.Archive
	// Believed says that the statement can be relied on. It pins every file of a role, so these need no signature then.
	Believed bool
	// Site is the site's key: what the site signed in the archive must verify under it. Nil: no key is given, or
	// nobody signed the statement.
	Site *pgp.Keyring
	// Upstream is upstream's key: what upstream signed in the archive must verify under it. Nil: none is given; then
	// upstream's texts are as good as the statement that pins them.
	Upstream *pgp.Keyring
	Now      time.Time
}

// Result is what the signed texts of an archive say.
type Result struct {
	// Files is every file of the archive, those of roles and other signatures included, under its listed path, with the
	// digest, size and package that the signed texts give it. The table must have them all, and no others.
	Files []snapshot.Row
	// Packages are how many packages, or files that are none, the archive has for its users.
	Packages int
	Signed   []Signed
	// Read are files that were read to their verified end on the way.
	Read []snapshot.Digest
}

// Signed is a signed text and how it was verified.
type Signed struct {
	Suite    string
	Path     string
	Date     time.Time
	How      pgp.How
	Upstream bool // by upstream, not by the site
}

// Prover proves an archive. Its errors wrap outcome.ErrIntegrity for what contradicts itself or a key.
type Prover func(context.Context, Input) (Result, error)
