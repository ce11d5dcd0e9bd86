// Package extract writes what a snapshot proves to a disk: the .debs that queries
// need (Run), or the whole tree of its archives (Tree).
//
// Both ways are the same five steps: choose the files through the chain, survey the
// directory before anything changes, write what is missing under temporary names,
// sync, give the final names. A final name exists only after its bytes were verified
// and are on the disk, and a run that was interrupted is gone on with by the next one.
package extract

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/order"
	"example.org/mmoci/pkg/resolve/query"
	"example.org/mmoci/pkg/snapshot"
)

// Options says which packages Run writes, and for which machine.
type Options struct {
	Snapshot *snapshot.Snapshot
	Trust    prove.Trust
	Queries  []string // package queries: docker-ce, docker-ce=VERSION
	Dir      string   // output directory
	// Architecture of the machine that the packages are for.
	Architecture string
	Recommends   bool
	// Own are packages beside those of the snapshot: stanzas with Filename, Size and SHA256, for which the caller vouches. They are
	// chosen before others, as a higher pin has it. Only a [Chooser] has them; what is chosen of them has no Archive.
	Own  []deb.Stanza
	Host *resolve.Host // nil: an empty one
	Log  outcome.Log
	// Progress, if not nil, is called for every file, concurrently. [artifact.Watched] reports the bytes on the way.
	Progress func(artifact.Event)
}

// Result is what Run wrote.
type Result struct {
	// Groups are files in the order in which dpkg -i takes them, a group a call.
	Groups [][]string
	Chosen *resolve.Result
	Bytes  int64 // of all files
	Reused int64 // of those that were there and verified
}

// Selection is the packages that the queries need, before any is fetched.
type Selection struct {
	Chosen *resolve.Result
	Bytes  int64 // of all files
	o      Options
	pkgs   []*resolve.Package
	files  map[string]snapshot.Blob
}

// Run writes exactly the .debs that the queries need, verified through the
// chain, into a directory. A rerun resumes. Files that an earlier run did not write
// are refused and stay untouched.
func Run(ctx context.Context, o Options) (*Result, error) {
	s, err := Choose(ctx, o)
	if err != nil {
		return nil, err
	}
	return s.Fetch(ctx, o.Dir)
}

// Choose resolves the queries over the proven indices of the snapshot. It fetches no package.
func Choose(ctx context.Context, o Options) (*Selection, error) {
	o.Log = o.Log.During(ctx)
	res, err := parallel.Until(ctx, func() (*resolve.Result, error) { return choosePackages(ctx, o) })
	if err != nil {
		return nil, err
	}
	return selectionOf(res, o)
}

func selectionOf(res *resolve.Result, o Options) (_ *Selection, err error) {
	s := &Selection{Chosen: res, o: o}
	for _, c := range res.Packages {
		s.pkgs = append(s.pkgs, c.Package)
	}
	if s.files, err = debFiles(s.pkgs); err != nil {
		return nil, err
	}
	for _, b := range s.files {
		s.Bytes += b.Size
	}
	return s, nil
}

// ID is a digest of the set of files, for who wants to know whether two selections are the same.
func (s *Selection) ID() snapshot.Digest {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		fmt.Fprintf(h, "%s %s\n", s.files[name].Digest, name)
	}
	return snapshot.Digest(h.Sum(nil))
}

// Groups are the packages in the order in which dpkg takes them, dependencies
// first, a loop in one group.
func (s *Selection) Groups() [][]*resolve.Package { return order.Groups(s.pkgs) }

// Fetch writes the selected .debs into dir.
func (s *Selection) Fetch(ctx context.Context, dir string) (*Result, error) {
	out, err := openDir(ctx, dir, s.files)
	if err != nil {
		return nil, err
	}
	defer out.close()
	out.events = s.o.Progress
	if err := out.fetch(ctx, s.o.Snapshot, checkControl(s.pkgs)); err != nil {
		return nil, err
	}
	res := &Result{Chosen: s.Chosen, Bytes: out.total, Reused: out.reused}
	for _, group := range s.Groups() {
		var names []string
		for _, p := range group {
			names = append(names, out.path(debName(p.Name, p.Version, p.Architecture)))
		}
		res.Groups = append(res.Groups, names)
	}
	return res, nil
}

// choosePackages reads the indices that can be proved and resolves the queries.
func choosePackages(ctx context.Context, o Options) (*resolve.Result, error) {
	c, err := newChooser(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.resolve(ctx, o.Queries)
}

// Chooser resolves queries over the proven indices of a snapshot, which it has read once. Safe for concurrent use.
type Chooser struct {
	o        Options
	chain    *prove.Chain
	foreign  []snapshot.Archive // no key proves them
	archs    []string
	indices  []resolve.Index
	universe *resolve.Universe
}

// NewChooser reads the indices that can be proved. Queries and Dir of the options do not count.
func NewChooser(ctx context.Context, o Options) (*Chooser, error) {
	o.Log = o.Log.During(ctx)
	return parallel.Until(ctx, func() (*Chooser, error) { return newChooser(ctx, o) })
}

// Choose is [Choose].
func (c *Chooser) Choose(ctx context.Context, queries []string) (*Selection, error) {
	res, err := parallel.Until(ctx, func() (*resolve.Result, error) { return c.resolve(ctx, queries) })
	if err != nil {
		return nil, err
	}
	return selectionOf(res, c.o)
}

// ownPin is above that of every archive (apt_preferences(5)): also an older version is taken.
const ownPin = 1001

func newChooser(ctx context.Context, o Options) (*Chooser, error) {
	c := &Chooser{o: o, chain: &prove.Chain{Snapshot: o.Snapshot, Trust: o.Trust, AsApt: true}, archs: []string{o.Architecture}}
	if o.Host != nil {
		c.archs = append(c.archs, o.Host.Foreign(o.Architecture)...) // partners of Multi-Arch: same go up together
	}
	proven, foreign := c.chain.Provable()
	c.foreign = foreign
	var err error
	if c.indices, err = c.chain.Universe(ctx, proven, c.archs); err != nil {
		return nil, err
	}
	if len(o.Own) > 0 {
		var text []byte
		for _, st := range o.Own {
			text = append(append(text, bytes.TrimRight(st, "\n")...), "\n\n"...)
		}
		c.indices = append(c.indices, resolve.Index{Path: "what was built", Component: "main", Data: text, Pin: ownPin})
	}
	if c.universe, err = resolve.NewUniverse(c.indices); err != nil {
		return nil, err
	}
	for _, s := range c.universe.Skipped() {
		o.Log.Printf("skipped: %s", s)
	}
	return c, nil
}

// resolve closes the queries. Where that fails for want of a package, the error says whether a
// missing key or architecture is why.
func (c *Chooser) resolve(ctx context.Context, queries []string) (*resolve.Result, error) {
	req := resolve.Request{Architectures: []string{c.o.Architecture}, Recommends: c.o.Recommends, Host: c.o.Host}
	if req.Host == nil {
		// Without a host the resolver would choose for a mirror. This is one machine, with nothing installed.
		req.Host = &resolve.Host{}
	}
	for _, q := range queries {
		parsed, err := query.Parse(pinnedQuery(q))
		if err != nil {
			return nil, err
		}
		req.Roots = append(req.Roots, resolve.Root{Query: parsed, Origin: "asked for"})
	}
	res, err := c.universe.Resolve(req)
	if errors.Is(err, resolve.ErrUnsatisfied) {
		err = cmp.Or(c.chain.Crosses(ctx, c.foreign, c.archs, c.indices, req), c.chain.Lacks(ctx, c.o.Architecture, c.indices), leftOut(err, c.foreign))
		err = isRPM(err, c.chain.Snapshot, queries)
	}
	return res, err
}

// isRPM adds to an error which of the packages that were asked for are in an RPM repository of the snapshot, which this program
// holds and does not unpack.
func isRPM(err error, s *snapshot.Snapshot, queries []string) error {
	for _, a := range s.Statement.Archives {
		if a.Format != snapshot.FormatRPM {
			continue
		}
		for row := range s.Table.Under(a.Prefix + "/") {
			asked := func(q string) bool {
				name, _, _ := strings.Cut(q, "=")
				return strings.Fields(name + " ")[0] == row.Name
			}
			if row.IsPackage() && slices.ContainsFunc(queries, func(q string) bool { return strings.TrimSpace(q) != "" && asked(q) }) {
				return fmt.Errorf("%w; archive %s has %s %s as an RPM: dnf installs it, as /setup/%[2]s.repo of a server tells it; only .debs are unpacked here", err, a.Prefix, row.Name, row.Version)
			}
		}
	}
	return err
}

// leftOut adds to an error the archives that were not looked at because no key proves them.
func leftOut(err error, foreign []snapshot.Archive) error {
	var names []string
	for _, a := range foreign {
		names = append(names, a.Prefix)
	}
	if len(names) == 0 {
		return err
	}
	return outcome.GiveUpstreamKey.For(fmt.Errorf("%w (no key is given for prefix %s: what it has was left out)", err, strings.Join(names, ", ")), "PREFIX")
}

// pinnedQuery turns apt's NAME=VERSION into a query. Other queries hold a blank or
// a parenthesis, which no version does, and pass unchanged.
func pinnedQuery(q string) string {
	name, version, ok := strings.Cut(q, "=")
	if !ok || strings.ContainsAny(q, "()|,! ") {
		return q
	}
	return name + " (= " + version + ")"
}

// debFiles names the output file of each package with the digest that the stanza says.
func debFiles(pkgs []*resolve.Package) (map[string]snapshot.Blob, error) {
	files := map[string]snapshot.Blob{}
	for _, p := range pkgs {
		d, err := snapshot.ListedDigest(p.SHA256)
		if err != nil {
			return nil, fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
		}
		name := debName(p.Name, p.Version, p.Architecture)
		if was, ok := files[name]; ok && was.Digest != d {
			return nil, fmt.Errorf("%w: %s has two digests: %s and %s", outcome.ErrIntegrity, name, was.Digest, d)
		}
		files[name] = snapshot.Blob{Digest: d, Size: p.Size}
	}
	return files, nil
}

// debName is the file name of a package as apt-get download writes it: the
// epoch's colon escaped, so that names are unique over versions.
func debName(name, version, arch string) string {
	return name + "_" + strings.ReplaceAll(version, ":", "%3a") + "_" + arch + ".deb"
}

// Batches joins [Selection.Groups] to as few calls of dpkg as Pre-Depends allow: what
// a package Pre-Depends on must have been configured by an earlier call. Each call unpacks
// its packages in order and then configures them, so plain dependencies may share one.
func (s *Selection) Batches() [][]*resolve.Package {
	var out [][]*resolve.Package
	fresh := map[string]bool{} // names that the batch under construction gives
	for _, group := range s.Groups() {
		for _, p := range group {
			if len(out) == 0 || preDependsOn(p, fresh) {
				out, fresh = append(out, nil), map[string]bool{}
			}
			out[len(out)-1] = append(out[len(out)-1], p)
			for _, name := range gives(p) {
				fresh[name] = true
			}
		}
	}
	return out
}

// preDependsOn tells whether one of the names may meet a Pre-Depends of p. A wrong yes
// costs one more call of dpkg; a wrong no would make a call fail.
func preDependsOn(p *resolve.Package, names map[string]bool) bool {
	for _, name := range related(p, "Pre-Depends") {
		if names[name] {
			return true
		}
	}
	return false
}

// gives are the names that a package can meet a relation by.
func gives(p *resolve.Package) []string { return append(related(p, "Provides"), p.Name) }

// related returns the names in a relation field. The resolver chooses no package
// with a field that cannot be read.
func related(p *resolve.Package, field string) []string {
	clauses, err := deb.ParseRelations(p.Stanza.Get(field), p.Architecture)
	if err != nil {
		return nil
	}
	var out []string
	for _, alternatives := range clauses {
		for _, r := range alternatives {
			out = append(out, r.Name)
		}
	}
	return out
}

// vetting examines a verified file before it gets its final name.
type vetting func(name string, open func() (io.ReadCloser, error)) error

// checkControl compares the control file of a fetched .deb with its stanza. Its bytes are
// those that the index lists, but the index may list them for another package, or they are no .deb.
func checkControl(pkgs []*resolve.Package) vetting {
	byName := map[string]*resolve.Package{}
	for _, p := range pkgs {
		byName[debName(p.Name, p.Version, p.Architecture)] = p
	}
	return func(name string, open func() (io.ReadCloser, error)) error {
		f, err := open()
		if err != nil {
			return err
		}
		defer f.Close()
		p := byName[name]
		what := strings.Join([]string{p.Name, p.Version, p.Architecture}, " ")
		d, err := deb.ReadDeb(f)
		if errors.Is(err, deb.ErrMalformed) {
			err = fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
		}
		if err != nil {
			return fmt.Errorf("package %s: %w", what, err)
		}
		got := []string{d.Control.Get("Package"), d.Control.Get("Version"), d.Control.Get("Architecture")}
		if want := []string{p.Name, p.Version, p.Architecture}; !slices.Equal(got, want) {
			return fmt.Errorf("%w: package %s: its control file names %s", outcome.ErrIntegrity, what, strings.Join(got, " "))
		}
		return nil
	}
}
