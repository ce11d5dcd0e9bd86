package lock

import (
	"fmt"
	"slices"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
)

// lockDiff lists what stands in one lock only: "-" in want, "+" in got.
// Reasons are left aside; they say why, not what.
func lockDiff(want, got *config.Lock) []string {
	a, b := lockLines(want), lockLines(got)
	var out []string
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			out, a = append(out, "- "+a[0]), a[1:]
		case len(a) == 0 || b[0] < a[0]:
			out, b = append(out, "+ "+b[0]), b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return out
}

// lockLines is what a lock pins, a sorted line each: packages of curated
// archives, Releases and indices of verbatim ones (a curated archive's indices
// may change daily without changing a chosen package).
func lockLines(l *config.Lock) []string {
	var out []string
	for _, a := range l.Archives {
		for _, p := range a.Packages {
			out = append(out, fmt.Sprintf("%s %s %s %s %s %s", a.Prefix, p.Suite, p.Name, p.Version, p.Architecture, p.Digest))
		}
		if a.Mode != "verbatim" {
			continue
		}
		for _, r := range a.Releases {
			out = append(out, fmt.Sprintf("%s %s Release %s", a.Prefix, r.Suite, r.Digest))
		}
		for _, ix := range a.Indices {
			out = append(out, fmt.Sprintf("%s %s %s %s", a.Prefix, ix.Suite, ix.Path, ix.Digest))
		}
	}
	slices.Sort(out)
	return out
}

// Drift names the first difference between a lock and what came out.
func Drift(want, got *config.Lock) error {
	diff := lockDiff(want, got)
	if len(diff) == 0 {
		return nil
	}
	return outcome.UpdateLock.For(fmt.Errorf("%w: the lock and the upstreams differ in %d lines; first: %s", outcome.ErrRefused, len(diff), diff[0]))
}
