package prove

import (
	"context"
	"fmt"
	"strings"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Bundle is what a snapshot carries for hosts that have nothing, and whether it may run there.
type Bundle struct {
	Files  int             // that it carries
	Root   snapshot.Digest // of the snapshot, if its statement is believed: see [artifact.Options.Vouched]
	Reason error           // why it is not
}

// ReadBundle looks at the snapshot at ref, and at what it carries. Nothing but its
// statement vouches for that, so trust must believe the statement itself: an
// upstream's key is not enough.
func ReadBundle(ctx context.Context, ref artifact.Reference, t Trust, o artifact.Options) (Bundle, error) {
	sealed, err := artifact.Open(ctx, ref, o)
	if err != nil {
		return Bundle{}, err
	}
	looked, err := sealed.Unseal(nil)
	if err != nil {
		return Bundle{}, fmt.Errorf("%s: %w", ref, err)
	}
	var c Bundle
	for range looked.Table.Under(snapshot.CarriedDir) {
		c.Files++
	}
	s, err := t.Believe(ref, sealed)
	switch {
	case err != nil:
		c.Reason = err
	case !t.Believed(s):
		c.Reason = fmt.Errorf("%s: nothing to verify its statement by", ref)
	default:
		c.Root = sealed.Root
	}
	return c, nil
}

// carries reports what is carried: programs, for which only the statement
// vouches. Where it is not believed they are nobody's.
func (v *verifier) carries() {
	r := ArchiveReport{Prefix: strings.TrimSuffix(snapshot.CarriedDir, "/"), Mode: "bundled", Class: string(snapshot.Site), State: SiteOwn}
	if !v.Trust.Believed(v.Snapshot) {
		r.State, r.Reason = NotProved, "programs that the site vouches for, and the statement is not verified: do not run them"
	}
	for row := range v.Snapshot.Table.Under(snapshot.CarriedDir) {
		v.want[row.Path] = &wanted{Blob: row.Blob()}
		r.Packages++
	}
	if r.Packages > 0 {
		v.report.Archives = append(v.report.Archives, r)
	}
}
