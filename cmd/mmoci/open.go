package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/state"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// open opens the snapshot that a reader works on and says how it is believed.
// While there is a progress line it hears of every byte.
func (a *app) open(cmd *cobra.Command, p *planFlags, places *placeFlags, args []string) (*snapshot.Snapshot, prove.Trust, error) {
	plan, err := p.plan()
	if err != nil {
		return nil, prove.Trust{}, err
	}
	ref, err := reference(args, plan)
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
		sealed, err := place.OpenAnywhere(cmd.Context(), ref, mirrors, a.options(), a.log)
		asked <- opening{sealed, err}
	}()
	trust, err := p.trust(plan)
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
	if a.bar != nil {
		sealed.Blobs = artifact.Watched(sealed.Blobs, a.bar.Event)
	}
	s, err := trust.Believe(ref, sealed)
	if err != nil {
		return nil, trust, err
	}
	date := s.Statement.Date
	a.detail("%s: %s, snapshot of %s, %s", ref, s.Root, date.Format(time.RFC3339), howVerified(s))
	if s.Statement.How.Kind == 0 {
		a.log("%s", setUnproved(s, trust))
	}
	if date.After(trust.Now) {
		a.log("the clock of this host is at %s, the snapshot is of %s: apt will refuse it until the clock is set", trust.Now.UTC().Format(time.RFC3339), date.Format(time.RFC3339))
	}
	return s, trust, nil
}

// memory returns where the statements seen are remembered; nil if there is no
// place for it. A place that others can write is an error, because they could change it.
func (a *app) memory() (*prove.Memory, error) {
	dir, err := state.HostDir("statements")
	if errors.Is(err, state.ErrForeign) {
		return nil, err
	}
	if err != nil {
		a.detail("statements seen are not remembered: %s", err)
		return nil, nil
	}
	return &prove.Memory{Dir: dir, Log: a.detail}, nil
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

// openUnverified opens a snapshot for what only looks; nothing of it is believed.
func (a *app) openUnverified(cmd *cobra.Command, p *planFlags, args []string) (*snapshot.Snapshot, error) {
	plan, err := p.plan()
	if err != nil {
		return nil, err
	}
	ref, err := reference(args, plan)
	if err != nil {
		return nil, err
	}
	return place.OpenUnverified(cmd.Context(), ref, a.options())
}
