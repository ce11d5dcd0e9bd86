package command

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/state"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Open opens the snapshot that a reader works on and says how it is believed.
// While there is a progress line it hears of every byte.
func (a *App) Open(cmd *cobra.Command, p *PlanFlags, places *PlaceFlags, args []string) (*snapshot.Snapshot, prove.Trust, error) {
	plan, err := p.Plan()
	if err != nil {
		return nil, prove.Trust{}, err
	}
	ref, err := Reference(args, plan)
	if errors.Is(err, errNoReference) && cmd.Flags().Lookup("from") != nil { // references that are given are of something else
		err = fmt.Errorf("%w: no snapshot: give it by --from REF, or by ref: in mmoci.yaml", outcome.ErrUsage)
	}
	if err != nil {
		return nil, prove.Trust{}, err
	}
	mirrors, err := places.references()
	if err != nil {
		return nil, prove.Trust{}, err
	}
	// The place is asked while the keyrings are read. An error of these is returned without waiting for the place.
	type opening struct {
		*snapshot.Sealed
		err error
	}
	asked := make(chan opening, 1)
	go func() {
		sealed, err := place.OpenAnywhere(cmd.Context(), ref, mirrors, a.Options(), a.Log)
		asked <- opening{sealed, err}
	}()
	trust, err := p.Trust(plan)
	if err != nil {
		return nil, trust, err
	}
	opened := <-asked
	if opened.err != nil {
		return nil, trust, opened.err
	}
	sealed := opened.Sealed
	if trust.Memory, err = a.memory(); err != nil {
		return nil, trust, err
	}
	if a.Bar != nil {
		sealed.Blobs = artifact.Watched(sealed.Blobs, a.Bar.Event)
	}
	s, err := trust.Believe(ref, sealed)
	if err != nil {
		return nil, trust, err
	}
	date := s.Statement.Date
	a.Detail("%s: %s, snapshot of %s, %s", ref, s.Root, date.Format(time.RFC3339), howVerified(s))
	if s.Statement.How.Kind == 0 {
		a.Log("%s", setUnproved(s, trust))
	}
	if date.After(trust.Now) {
		a.Log("the clock of this host is at %s, the snapshot is of %s: apt will refuse it until the clock is set", trust.Now.UTC().Format(time.RFC3339), date.Format(time.RFC3339))
	}
	return s, trust, nil
}

// memory returns where the statements seen are remembered; nil if there is no
// place for it. A place that others can write is an error, because they could change it.
func (a *App) memory() (*prove.Memory, error) {
	dir, err := state.HostDir("statements")
	if errors.Is(err, state.ErrForeign) {
		return nil, err
	}
	if err != nil {
		a.Detail("statements seen are not remembered: %s", err)
		return nil, nil
	}
	return &prove.Memory{Dir: dir, Log: a.Detail}, nil
}

// setUnproved says what is not proved of a snapshot that neither the site's key nor a digest vouches for.
func setUnproved(s *snapshot.Snapshot, trust prove.Trust) string {
	text := "the set is not proved: neither the site's key (trust: in mmoci.yaml, or --keyring FILE) nor a digest vouches for it, so the place may leave packages or archives out, or give older ones"
	var keys []string
	for _, ar := range s.Statement.Archives {
		if trust.Upstream[ar.Prefix] != nil {
			keys = append(keys, ar.Prefix)
		}
	}
	if len(keys) == 0 {
		return text + "; nor is anything in it"
	}
	return text + "; each file of " + strings.Join(keys, ", ") + " is proved by upstream's key"
}

func howVerified(s *snapshot.Snapshot) string {
	how := s.Statement.How
	switch {
	case how.Signer != "":
		return "signed by " + how.Signer
	case how.Kind != 0:
		return "pinned by digest"
	}
	return "not signed by a key that is given"
}

// OpenUnverified opens a snapshot for what only looks; nothing of it is believed.
func (a *App) OpenUnverified(cmd *cobra.Command, p *PlanFlags, args []string) (*snapshot.Snapshot, error) {
	plan, err := p.Plan()
	if err != nil {
		return nil, err
	}
	ref, err := Reference(args, plan)
	if err != nil {
		return nil, err
	}
	return place.OpenUnverified(cmd.Context(), ref, a.Options())
}
