package mirror

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
	"example.org/mmoci/pkg/snapshot"
)

// Extracting is the question to Extract.
type Extracting struct {
	Snapshot *snapshot.Snapshot
	Trust    Trust
	Queries  []string // package queries: docker-ce, docker-ce=VERSION
	Dir      string   // output directory
	// Architecture of the machine that the packages are for.
	Architecture string
	Recommends   bool
	Host         *resolve.Host // nil: an empty one
	Log          Log
	// Progress, if not nil, is told of every file ([artifact.Watched] tells of the bytes on the way); called concurrently.
	Progress func(artifact.Event)
}

// Extracted is the answer.
type Extracted struct {
	// Groups are files in the order in which dpkg -i takes them, a group a call.
	Groups [][]string
	Chosen *resolve.Result
	Bytes  int64 // of all files
	Reused int64 // of those that were there and verified
}

// Selection is what the queries need, resolved and not yet fetched.
type Selection struct {
	Chosen *resolve.Result
	Bytes  int64 // of all files
	e      Extracting
	pkgs   []*resolve.Package
	files  map[string]snapshot.Blob
}

// Extract writes exactly the .debs that the queries need, verified through the
// chain, into a directory. A rerun resumes; what is not ours there is refused.
func Extract(ctx context.Context, e Extracting) (*Extracted, error) {
	s, err := Choose(ctx, e)
	if err != nil {
		return nil, err
	}
	return s.Fetch(ctx, e.Dir)
}

// Choose is the first half of [Extract]: no package is fetched.
func Choose(ctx context.Context, e Extracting) (*Selection, error) {
	res, err := Select(ctx, e)
	if err != nil {
		return nil, err
	}
	s := &Selection{Chosen: res, e: e}
	for _, c := range res.Packages {
		s.pkgs = append(s.pkgs, c.Package)
	}
	if s.files, err = debFiles(e.Snapshot, s.pkgs); err != nil {
		return nil, err
	}
	for _, b := range s.files {
		s.Bytes += b.Size
	}
	return s, nil
}

// ID names the set of files: the same for the same set only.
func (s *Selection) ID() snapshot.Digest {
	h := sha256.New()
	for _, name := range sortedKeys(s.files) {
		fmt.Fprintf(h, "%s %s\n", s.files[name].Digest, name)
	}
	return snapshot.Digest(h.Sum(nil))
}

// Groups are the packages in the order in which dpkg takes them, dependencies
// first, a loop in one group.
func (s *Selection) Groups() [][]*resolve.Package { return resolve.Order(s.pkgs) }

// Fetch is the second half of [Extract], into a directory of choice.
func (s *Selection) Fetch(ctx context.Context, dir string) (*Extracted, error) {
	out, err := openDir(ctx, dir, s.files)
	if err != nil {
		return nil, err
	}
	defer out.close()
	out.events = s.e.Progress
	if err := out.fetch(ctx, s.e.Snapshot, checkControl(s.pkgs)); err != nil {
		return nil, err
	}
	x := &Extracted{Chosen: s.Chosen, Bytes: out.total, Reused: out.reused}
	for _, group := range s.Groups() {
		var names []string
		for _, p := range group {
			names = append(names, out.path(debName(p.Name, p.Version, p.Architecture)))
		}
		x.Groups = append(x.Groups, names)
	}
	return x, nil
}

// Select resolves the queries over the proven indices of a snapshot, without
// fetching any package.
func Select(ctx context.Context, e Extracting) (*resolve.Result, error) {
	e.Log = e.Log.during(ctx)
	return while(ctx, func() (*resolve.Result, error) { return choosePackages(ctx, e) })
}

func choosePackages(ctx context.Context, e Extracting) (*resolve.Result, error) {
	c := &chain{s: e.Snapshot, trust: e.Trust, asApt: true}
	archs := []string{e.Architecture}
	if e.Host != nil {
		archs = append(archs, e.Host.Foreign(e.Architecture)...) // partners of Multi-Arch: same go up together
	}
	proven, foreign := c.provable()
	indices, err := c.universe(ctx, proven, archs)
	if err != nil {
		return nil, err
	}
	u, err := resolve.NewUniverse(indices)
	if err != nil {
		return nil, err
	}
	for _, s := range u.Skipped() {
		e.Log.printf("skipped: %s", s)
	}
	req := resolve.Request{Architectures: []string{e.Architecture}, Recommends: e.Recommends, Host: e.Host}
	if req.Host == nil {
		// No host at all would be a mirror's question; this is one machine, and it has nothing.
		req.Host = &resolve.Host{}
	}
	for _, q := range e.Queries {
		parsed, err := query.Parse(pinnedQuery(q))
		if err != nil {
			return nil, err
		}
		req.Roots = append(req.Roots, resolve.Root{Query: parsed, Origin: "--extract"})
	}
	res, err := u.Resolve(req)
	if errors.Is(err, resolve.ErrUnsatisfied) {
		err = cmp.Or(c.crosses(ctx, foreign, archs, indices, req), c.lacks(ctx, e.Architecture, indices), leftOut(err, foreign))
	}
	return res, err
}

// provable parts the archives into those that a given key, or the statement,
// can prove, and those that nothing can.
func (c *chain) provable() (proven, foreign []snapshot.Archive) {
	for _, a := range c.s.Statement.Archives {
		if _, err := c.bestView(a); err != nil {
			foreign = append(foreign, a)
		} else {
			proven = append(proven, a)
		}
	}
	return proven, foreign
}

// crosses tells, of a closure that the proven indices alone do not meet,
// whether it needs packages of an archive that nothing given can prove, and
// which key is missing; nil if that is not what is wrong. Only now, and within
// maxUnproven, are the indices of such an archive read; nothing is taken from them but a name for the message.
func (c *chain) crosses(ctx context.Context, foreign []snapshot.Archive, archs []string, proven []resolve.Index, req resolve.Request) error {
	unproven := map[string]bool{}
	indices := slices.Clone(proven)
	left := int64(maxUnproven)
	for _, a := range foreign {
		size, err := c.declared(ctx, a, archs, left)
		if err != nil || size > left {
			continue // it is not for us to say what is wrong with it
		}
		left -= size
		read, err := c.archive(ctx, a, archs)
		if err != nil {
			continue
		}
		unproven[a.Prefix] = true
		indices = append(indices, read...)
	}
	if len(unproven) == 0 {
		return nil
	}
	u, err := resolve.NewUniverse(indices)
	if err != nil {
		return nil
	}
	res, err := u.Resolve(req)
	if err != nil {
		return nil
	}
	for _, p := range res.Packages {
		if unproven[p.Archive] {
			return fmt.Errorf("%w: %s %s is needed (%s) and comes from prefix %s, for which no key is given: --keyring %s=FILE",
				ErrIntegrity, p.Name, p.Version, p.Reason, p.Archive, p.Archive)
		}
	}
	return nil
}

// declared is how many bytes the Releases and indices of an archive are said to
// have, stored and unpacked; more than most where it is more, or an unpacked size is not said.
func (c *chain) declared(ctx context.Context, a snapshot.Archive, archs []string, most int64) (size int64, err error) {
	for _, s := range a.Suites {
		for _, f := range s.Files {
			size += f.Size
		}
	}
	if size > most {
		return size, nil // its Releases are not even read
	}
	ixs, err := c.indicesOf(ctx, a, archs)
	for _, ix := range ixs {
		plain, ok := ix.suite.release.File(plainName(ix.path))
		if !ok || ix.blob.Size > most || plain.Size > most {
			return most + 1, nil
		}
		size += ix.blob.Size + plain.Size
	}
	return size, err
}

// leftOut adds to a failed question which archives had no say in it.
func leftOut(err error, foreign []snapshot.Archive) error {
	var names []string
	for _, a := range foreign {
		names = append(names, a.Prefix)
	}
	if len(names) == 0 {
		return err
	}
	return fmt.Errorf("%w (no key is given for prefix %s: what it has was left out; --keyring PREFIX=FILE)", err, strings.Join(names, ", "))
}

// pinnedQuery reads apt's NAME=VERSION as a query; a version never holds a
// blank or parenthesis, so that other queries pass unchanged.
func pinnedQuery(q string) string {
	name, version, ok := strings.Cut(q, "=")
	if !ok || strings.ContainsAny(q, "()|,! ") {
		return q
	}
	return name + " (= " + version + ")"
}

// universe reads the indices of architectures in the best view of each archive.
func (c *chain) universe(ctx context.Context, of []snapshot.Archive, archs []string) ([]resolve.Index, error) {
	read, err := inOrder(of, func(a snapshot.Archive) ([]resolve.Index, error) { return c.archive(ctx, a, archs) })
	return slices.Concat(read...), err
}

// archive reads the indices of architectures in the best view of one archive.
func (c *chain) archive(ctx context.Context, a snapshot.Archive, archs []string) ([]resolve.Index, error) {
	ixs, err := c.indicesOf(ctx, a, archs)
	if err != nil {
		return nil, err
	}
	return inOrder(ixs, func(ix provenIndex) (resolve.Index, error) { return c.resolveIndex(ctx, ix) })
}

// indicesOf are the indices of architectures in the best view of one archive that name anything.
func (c *chain) indicesOf(ctx context.Context, a snapshot.Archive, archs []string) ([]provenIndex, error) {
	v, _ := c.bestView(a) // without a key it is looked at all the same, by who knows that
	suites, err := c.suites(ctx, a, v)
	if err != nil {
		return nil, err
	}
	var ixs []provenIndex
	for _, p := range suites {
		found, err := c.indices(p)
		if err != nil {
			return nil, err
		}
		for _, ix := range found {
			if c.namesNothing(ix) {
				continue // need not be fetched to know that
			}
			if slices.Contains(archs, ix.arch) || ix.arch == "all" || ix.arch == "" {
				ixs = append(ixs, ix)
			}
		}
	}
	return ixs, nil
}

// resolveIndex reads an index for the resolver. Upstream's indices of a curated
// archive name far more than is here: of them, the packages whose files are. Only
// there the table is asked; what it leaves out, a registry could leave out anyway.
func (c *chain) resolveIndex(ctx context.Context, ix provenIndex) (resolve.Index, error) {
	data, err := c.read(ctx, ix)
	if err != nil {
		return resolve.Index{}, err
	}
	prefix := ix.suite.archive.Prefix
	out := resolve.Index{
		Archive: prefix, Suite: ix.suite.name, Component: ix.component, Architecture: ix.arch,
		Path: ix.suite.base + ix.path, Data: data, Pin: pin(ix.suite.release),
	}
	if ix.suite.partial() {
		out.Keep = func(f archive.PackageFile) bool {
			row, ok := c.s.Table.Find(prefix + "/" + f.Filename)
			return ok && (f.SHA256 == "" || row.Digest.Hex() == f.SHA256)
		}
	}
	return out, nil
}

// debFiles names the output file of each package with the digest that the
// stanza says. Where that says SHA512 only, the table's digest finds the
// bytes, and checkControl holds them against the stanza.
func debFiles(s *snapshot.Snapshot, pkgs []*resolve.Package) (map[string]snapshot.Blob, error) {
	files := map[string]snapshot.Blob{}
	for _, p := range pkgs {
		d, err := debDigest(s, p)
		if err != nil {
			return nil, fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
		}
		name := debName(p.Name, p.Version, p.Architecture)
		if was, ok := files[name]; ok && was.Digest != d {
			return nil, fmt.Errorf("%w: %s has two digests: %s and %s", ErrIntegrity, name, was.Digest, d)
		}
		files[name] = snapshot.Blob{Digest: d, Size: p.Size}
	}
	return files, nil
}

func debDigest(s *snapshot.Snapshot, p *resolve.Package) (snapshot.Digest, error) {
	if p.SHA256 != "" {
		return listedDigest(p.SHA256)
	}
	name := p.Archive + "/" + p.Filename
	row, ok := s.Table.Find(name)
	if !ok || row.Size != p.Size {
		return snapshot.Digest{}, fmt.Errorf("%w: %s, of %d bytes, is in the index, but not in the snapshot", ErrIntegrity, name, p.Size)
	}
	return row.Digest, nil
}
