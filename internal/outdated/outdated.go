// Package outdated tells which packages of a lock, or of lists of exact versions, have newer versions upstream: security
// updates first, with the CVE numbers of their changelogs, and the same lists with the newer versions.
package outdated

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/changes"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/deb"
)

// Package is one that has a newer version. Its JSON form is what lock --outdated --json prints.
type Package struct {
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
	Source       string `json:"source"`
	Old          string `json:"old"`
	New          string `json:"new"`
	Archive      string `json:"archive"` // that has the new one
	Suite        string `json:"suite"`
	Security     bool   `json:"security"`
	// CVEs are the numbers in the changelog between the two; null where nobody could read it, or it was not asked for.
	CVEs []string `json:"cves"`

	of freeze.Candidate
}

// Options say what is looked at.
type Options struct {
	Freeze freeze.Options // Plan, Keys, Now, Log
	// Lock has the versions that are there; nil: the lists of exact versions in the plan have them.
	Lock *config.Lock
	// Changelogs reads those of all new versions, and not of security updates alone. One .deb of each source is read.
	Changelogs bool
}

// have is a version that is there.
type have struct{ name, architecture, version, suite string }

// Find asks the upstreams which of the packages have newer versions: of a suite that apt takes updates from by itself, or of
// the one that the version is from. Security updates come first, then it goes by name.
func Find(ctx context.Context, o Options) ([]Package, error) {
	there := o.there()
	if len(there) == 0 {
		return nil, fmt.Errorf("%w: neither a lock nor a list of exact versions says what there is", outcome.ErrUsage)
	}
	var names []string
	for _, h := range there {
		names = append(names, h.name)
	}
	slices.Sort(names)
	candidates, err := freeze.Candidates(ctx, o.Freeze, slices.Compact(names))
	if err != nil {
		return nil, err
	}
	byName := map[string][]freeze.Candidate{}
	for _, c := range candidates {
		byName[c.Name] = append(byName[c.Name], c)
	}
	out := []Package{}
	for _, h := range there {
		if p, ok := newest(h, byName[h.name]); ok && !slices.ContainsFunc(out, func(q Package) bool {
			return q.Name == p.Name && q.Architecture == p.Architecture && q.Old == p.Old
		}) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Package) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture), deb.Compare(a.Old, b.Old))
	})
	o.readChangelogs(ctx, out)
	return out, context.Cause(ctx)
}

func rank(p Package) int {
	if p.Security {
		return 0
	}
	return 1
}

// there is what the lock has, or what the lists say.
func (o Options) there() (out []have) {
	if o.Lock != nil {
		for _, a := range o.Lock.Archives {
			for _, p := range a.Packages {
				out = append(out, have{p.Name, p.Architecture, p.Version, p.Suite})
			}
		}
		return out
	}
	for _, q := range exactQueries(o.Freeze.Plan) {
		out = append(out, have{q.Exact.Name, "", q.Exact.Version, ""})
	}
	return out
}

// exactQueries are the lines of all lists of exact versions.
func exactQueries(plan *config.Plan) (out []config.Query) {
	all := plan.Packages
	for _, a := range plan.Archives {
		all = append(slices.Clip(all), a.Packages...)
	}
	for _, q := range all {
		if q.Exact != nil {
			out = append(out, q)
		}
	}
	return out
}

// newest is the highest version that is newer. An update is one of security if the security archive has it, whoever else does,
// or has one between.
func newest(h have, candidates []freeze.Candidate) (Package, bool) {
	var best *freeze.Candidate
	security := false
	for i := range candidates {
		c := &candidates[i]
		switch {
		case h.architecture != "" && c.Architecture != h.architecture && c.Architecture != "all" && h.architecture != "all":
			continue
		case c.Pin < 500 && c.Suite != h.suite, deb.Compare(c.Version, h.version) <= 0:
			continue
		}
		security = security || c.Security
		if best == nil || deb.Compare(c.Version, best.Version) > 0 || deb.Compare(c.Version, best.Version) == 0 && c.Security && !best.Security {
			best = c
		}
	}
	if best == nil {
		return Package{}, false
	}
	return Package{
		Name: h.name, Architecture: best.Architecture, Source: best.Source, Old: h.version, New: best.Version,
		Archive: best.Archive, Suite: best.Suite, Security: security, of: *best,
	}, true
}

// readChangelogs fills in CVEs, from one .deb of each source. One that cannot be read leaves them open.
func (o Options) readChangelogs(ctx context.Context, list []Package) {
	type step struct{ source, old, now string }
	steps := map[step][]int{}
	var order []step
	for i, p := range list {
		if !p.Security && !o.Changelogs {
			continue
		}
		k := step{p.Source, p.Old, p.New}
		if steps[k] == nil {
			order = append(order, k)
		}
		steps[k] = append(steps[k], i)
	}
	var g errgroup.Group
	g.SetLimit(parallel.Workers)
	for _, k := range order {
		of := steps[k]
		// The smallest of a source has the same changelog, or a link to it; then the next is read.
		slices.SortStableFunc(of, func(a, b int) int { return cmp.Compare(list[a].of.Size, list[b].of.Size) })
		g.Go(func() error {
			for _, i := range of {
				text, err := changelog(ctx, list[i])
				if err != nil {
					o.Freeze.Log.Printf("changelog of %s %s: %v", list[i].Name, list[i].New, err)
					continue
				}
				if text == "" {
					continue
				}
				cves := append([]string{}, changes.CVEs(text)...)
				for _, other := range of {
					list[other].CVEs = cves
				}
				return nil
			}
			return nil
		})
	}
	_ = g.Wait() // what cannot be read was said
}

// changelog reads the entries of the new version down to the old one; an error if its bytes are not those that were signed.
func changelog(ctx context.Context, p Package) (string, error) {
	r, err := p.of.Open(ctx)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	text, err := changes.ReadChangelog(io.TeeReader(r, h), p.Name, p.Old)
	if err != nil {
		return "", err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != p.of.SHA256 {
		return "", fmt.Errorf("%w: its digest is %s, signed is %s", outcome.ErrIntegrity, got, p.of.SHA256)
	}
	return text, nil
}

// Text is the list for people, a line a package.
func Text(list []Package) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, p := range list {
		kind := "update"
		if p.Security {
			kind = "security"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s ->\t%s\t%s\t%s\n", kind, p.Name, p.Architecture, p.Old, p.New, p.Archive, strings.Join(p.CVEs, " "))
	}
	w.Flush()
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// List is a list of exact versions with the newer ones: the lines of the plan's lists in their order, those that change
// without their URL; where it has none, what was asked for by name in the lock.
func List(plan *config.Plan, lock *config.Lock, list []Package) []byte {
	newer := map[string]Package{}
	for _, p := range list {
		if was, ok := newer[p.Name+" "+p.Old]; !ok || deb.Compare(was.New, p.New) < 0 {
			newer[p.Name+" "+p.Old] = p
		}
	}
	var b bytes.Buffer
	seen := map[string]bool{}
	line := func(name, version, url string) {
		note := ""
		if p, ok := newer[name+" "+version]; ok {
			note = "  # was " + version
			if len(p.CVEs) > 0 {
				note += "; " + strings.Join(p.CVEs, " ")
			}
			version, url = p.New, ""
		}
		if url != "" {
			url = "  " + url
		}
		if key := name + " " + version; !seen[key] {
			seen[key] = true
			fmt.Fprintf(&b, "%s  %s%s%s\n", name, version, url, note)
		}
	}
	for _, q := range exactQueries(plan) {
		line(q.Exact.Name, q.Exact.Version, q.Exact.URL)
	}
	for _, a := range plan.Archives {
		for _, f := range a.Files {
			line(f.Name, f.Version, f.URL)
		}
	}
	if len(seen) == 0 && lock != nil {
		for _, a := range lock.Archives {
			for _, p := range a.Packages {
				if strings.HasPrefix(p.Reason, "asked for: ") {
					line(p.Name, p.Version, "")
				}
			}
		}
	}
	return b.Bytes()
}
