package rpmrepo

import (
	"context"
	"fmt"
	"os/exec"

	"example.org/mmoci/internal/config/rpmplan"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/snapshot"
)

// Probe reads and verifies the repomd.xml of a repository, and no other file of it; of own RPMs it looks whether they are there, and what makes
// their metadata. It tells in words what was found; places are those of the plan, without those of a metalink.
func Probe(ctx context.Context, a *rpmplan.Archive, o Options) (text string, places []*upstream.Upstream, err error) {
	if a.RPMs != "" {
		text, err = probeOwn(ctx, a.RPMs)
		return text, nil, err
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	r := &repository{Options: o, cfg: a, source: sourceOf(a)}
	if err := r.open(ctx); err != nil {
		return "", nil, err
	}
	places = r.places[:len(a.URLs)] // they stand before those of a metalink
	h, err := r.present(ctx)
	switch {
	case err != nil:
		return "", places, err
	case r.keyring == nil:
		return "of " + snapshot.FormatDate(h.date) + "; without signed-by: the site vouches for it", places, nil
	}
	return "of " + snapshot.FormatDate(h.date) + ", signature good", places, nil
}

func probeOwn(ctx context.Context, dir string) (string, error) {
	n := 0
	err := eachOwn(ctx, dir, func(at, _ string) error {
		if at != groups {
			n++
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("rpms: %s: %w", dir, err)
	}
	if _, err := exec.LookPath(program); err != nil {
		return "", errNoProgram
	}
	return terminal.Count(n, "RPM") + ", and " + program + " is here", nil
}
