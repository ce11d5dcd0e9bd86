package freeze

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
	"example.org/mmoci/pkg/snapshot"
)

// selection is what was chosen of the curated archives.
type selection struct {
	packages []resolve.Chosen
	skipped  []string // malformed stanzas, named
	notes    []string
	newer    []Newer
	// reasons of the packages by lockKey, where a lock gives them: a closure
	// that is taken from a lock must not depend on how it is found again.
	reasons map[string]string
}

// choose computes the closure of what the curated archives ask for, over all
// archives; nil if none is curated. A lock takes the place of the closure as far as it goes.
func choose(f Options, fas []*upstreamArchive) (*selection, error) {
	req, err := question(f, fas)
	if req == nil || err != nil {
		return nil, err
	}
	if f.Lock != nil {
		return chooseLocked(f, fas, *req)
	}
	u, err := universe(f, resolveIndices(fas))
	if err != nil {
		return nil, err
	}
	res, err := u.Resolve(*req)
	if err != nil {
		return nil, unsatisfied(err, u)
	}
	return &selection{packages: res.Packages, skipped: u.Skipped(), notes: res.Notes, newer: newer(u, *req, res.Packages)}, nil
}

// CheckPlan refuses what cannot be asked for, before the network is asked anything.
func CheckPlan(plan *config.Plan, add []config.Query) error {
	if len(plan.Archives) == 0 {
		return fmt.Errorf("%w: no archives: there is nothing to read", outcome.ErrUsage)
	}
	queries := append(slices.Clip(add), plan.Packages...)
	for _, a := range plan.Archives {
		queries = append(slices.Clip(queries), a.Packages...)
	}
	for _, q := range queries {
		if _, err := query.Parse(q.Text); err != nil {
			return fmt.Errorf("%s: %w", q.Position, err)
		}
	}
	return nil
}

// question puts the wishes of all archives together; nil if nothing is curated.
func question(f Options, fas []*upstreamArchive) (*resolve.Request, error) {
	req := resolve.Request{Recommends: f.Plan.Recommends}
	curated := false
	for _, fa := range fas {
		curated = curated || !fa.Verbatim
		addArchitectures(&req, fa)
		switch {
		case fa.Verbatim, fa.None:
		case fa.All, fa.Debs != "" && len(fa.Packages) == 0 && len(fa.own.Packages) > 0:
			req.AllOf = append(req.AllOf, fa.Prefix)
		}
		if err := addRoots(f, &req, fa.Prefix, fa.Packages); err != nil {
			return nil, err
		}
	}
	if !curated {
		return nil, nil
	}
	if len(req.Architectures) == 0 {
		req.Architectures = []string{unnamed}
	}
	for _, anywhere := range [][]config.Query{f.Plan.Packages, f.Add} {
		if err := addRoots(f, &req, "", anywhere); err != nil {
			return nil, err
		}
	}
	return &req, nil
}

// universe says on the log which stanzas are malformed: one of them may be what somebody misses.
func universe(f Options, indices []resolve.Index) (*resolve.Universe, error) {
	u, err := resolve.NewUniverse(indices)
	if err != nil {
		return nil, err
	}
	for i, s := range u.Skipped() {
		if i == maxSkippedSaid {
			f.Log.Printf("malformed, left out: %d more", len(u.Skipped())-i)
			break
		}
		f.Log.Printf("malformed, left out: %s", s)
	}
	return u, nil
}

// maxSkippedSaid bounds how many malformed stanzas are named one by one.
const maxSkippedSaid = 20

// unsatisfied adds to a failed question that the answer may have been left out as malformed.
func unsatisfied(err error, u *resolve.Universe) error {
	if n := len(u.Skipped()); n > 0 && errors.Is(err, resolve.ErrUnsatisfied) {
		return fmt.Errorf("%w\n%d malformed stanzas were left out, the first: %s", err, n, u.Skipped()[0])
	}
	return err
}

// unnamed is the architecture whose index lists own .debs that are all for any:
// apt asks for the index of its own.
const unnamed = "amd64"

// addArchitectures collects the architectures over all archives; the first
// named one is native.
func addArchitectures(req *resolve.Request, fa *upstreamArchive) {
	archs := fa.Architectures
	for _, sf := range fa.own.Packages {
		if sf.Architecture != "all" {
			archs = append(slices.Clone(archs), sf.Architecture)
		}
	}
	for _, a := range archs {
		if !slices.Contains(req.Architectures, a) {
			req.Architectures = append(req.Architectures, a)
		}
	}
}

// addRoots adds what is asked of one archive or, archive being "", of any.
func addRoots(f Options, req *resolve.Request, archive string, queries []config.Query) error {
	for _, q := range queries {
		parsed, err := query.Parse(q.Text)
		if err != nil {
			return fmt.Errorf("%s: %w", q.Position, err)
		}
		for _, w := range parsed.Warnings() {
			f.Log.Printf("%s: %s", q.Position, w)
		}
		req.Roots = append(req.Roots, resolve.Root{Query: parsed, Archive: archive, Origin: q.Position.String()})
	}
	return nil
}

func pins(l *config.Lock) map[string]string {
	m := map[string]string{}
	for _, a := range l.Archives {
		for _, p := range a.Packages {
			key := p.Name + ":" + p.Architecture
			m[key] = strings.TrimSpace(m[key] + " " + p.Version)
		}
	}
	return m
}

// resolveIndices hands the Packages indices to the resolver.
func resolveIndices(fas []*upstreamArchive) []resolve.Index {
	var out []resolve.Index
	for _, fa := range fas {
		for _, s := range fa.suites {
			for _, ix := range s.indices {
				if ix.number = -1; ix.arch == "source" || ix.data == nil {
					continue
				}
				ix.number = len(out)
				out = append(out, resolve.Index{
					Archive: fa.Prefix, Suite: s.name, Component: ix.component, Architecture: ix.arch,
					Path: s.dir + "/" + ix.path, Data: candidates(fa, ix), Pin: s.release.Pin(),
				})
			}
		}
		if len(fa.own.Packages) > 0 {
			out = append(out, resolve.Index{
				Archive: fa.Prefix, Suite: fa.Prefix, Component: "main", Path: fa.Debs, Data: joinStanzas(fa.own.Packages), Pin: 500,
			})
		}
	}
	return out
}

// candidates is an index without what the archive's configuration leaves out:
// with "phased: no" the versions that upstream holds back from some hosts.
func candidates(fa *upstreamArchive, ix *upstreamIndex) []byte {
	const field = "Phased-Update-Percentage"
	if !fa.SkipPhased || !bytes.Contains(ix.data, []byte(field)) {
		return ix.data
	}
	var out []byte
	sc := deb.NewScanner(ix.data)
	for {
		st, err := sc.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			continue
		}
		if p := st.Get(field); p == "" || p == "100" {
			out = st.Append(out)
		}
	}
}

func joinStanzas(files []debdir.OwnPackage) []byte {
	var b bytes.Buffer
	for _, f := range files {
		b.Write(bytes.TrimRight(f.Stanza, "\n"))
		b.WriteString("\n\n")
	}
	return b.Bytes()
}

// stanzasOf collects the chosen stanzas of one suite by component and
// architecture, in the order of a curated index.
func stanzasOf(fa *upstreamArchive, suite string, chosen []*resolve.Package) map[archive.ComponentArch][]deb.Stanza {
	out := map[archive.ComponentArch][]deb.Stanza{}
	every := curatedArchitectures(fa)
	for _, p := range chosen {
		if p.Archive != fa.Prefix || p.Suite != suite {
			continue
		}
		archs := []string{p.Architecture}
		switch {
		case snapshot.IsFlat(suite):
			archs = []string{""}
		case p.Architecture == "all":
			archs = every
		}
		for _, a := range archs {
			if a == "source" {
				continue
			}
			key := archive.ComponentArch{Component: p.Component, Architecture: a}
			out[key] = append(out[key], p.Stanza)
		}
	}
	return out
}

// curatedArchitectures are those that a curated archive has indices of, sorted; "source" among them if it has sources.
func curatedArchitectures(fa *upstreamArchive) []string {
	out := slices.Clone(fa.Architectures)
	for _, sf := range fa.own.Packages {
		if sf.Architecture != "all" {
			out = append(out, sf.Architecture)
		}
	}
	if len(out) == 0 {
		out = []string{unnamed}
	}
	if fa.WithSources || len(fa.own.Sources) > 0 {
		out = append(out, "source")
	}
	slices.Sort(out)
	return slices.Compact(out)
}
