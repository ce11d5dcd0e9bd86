package prove

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// view says through which signature an archive is read: the one that it is served
// with, or upstream's own, which a curated archive carries as provenance.
type view uint8

const (
	Served view = iota
	Upstreams
)

// Chain walks statement -> InRelease -> index -> stanza of one snapshot. It takes no
// digest from the table, which only says which files are here.
type Chain struct {
	Snapshot *snapshot.Snapshot
	Trust    Trust
	// AsApt reads InRelease alone where there is one, as apt does. It is for those who take
	// packages and pass on no Release. Otherwise InRelease, Release and Release.gpg must all verify.
	AsApt bool
}

// Suite is a suite whose Release was verified by what Trust has for it.
type Suite struct {
	archive snapshot.Archive
	Name    string // as under dists/; flat: with final "/"
	Base    string // directory of its Release in the snapshot, with final slash
	Release *archive.Release
	text    []byte               // the Release as such, without signature; nil if there is InRelease alone
	files   []snapshot.SuiteFile // its signature files
}

// suite opens and verifies the signature files of a suite: by the site's key or upstream's, or
// by their digests in a statement that is believed.
func (c *Chain) suite(ctx context.Context, a snapshot.Archive, s snapshot.Suite, v view) (*Suite, error) {
	files := pickFiles(a, s, v)
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: archive %s, suite %s has no signature file of upstream", outcome.ErrIntegrity, a.Prefix, s.Name)
	}
	p := &Suite{archive: a, files: files, Base: path.Dir(files[0].Path) + "/"}
	p.Name = suiteName(p.Base, a.Prefix, v)
	if err := c.release(ctx, p, v); err != nil {
		return nil, fmt.Errorf("archive %s, suite %s: %w", a.Prefix, s.Name, err)
	}
	return p, nil
}

// pickFiles returns the signature files of a suite in a view. A verbatim archive has
// upstream's own in both.
func pickFiles(a snapshot.Archive, s snapshot.Suite, v view) []snapshot.SuiteFile {
	var out []snapshot.SuiteFile
	for _, f := range s.Files {
		own := strings.HasPrefix(string(f.Role), "upstream-")
		if own == (v == Upstreams && a.Mode == snapshot.Curated) {
			out = append(out, f)
		}
	}
	return out
}

// suiteName is the name of the suite whose files are in a directory.
func suiteName(base, prefix string, v view) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(base, "upstream/"), prefix+"/")
	if name, ok := strings.CutPrefix(rest, "dists/"); ok {
		return strings.TrimSuffix(name, "/")
	}
	if rest == "" {
		return "./"
	}
	return rest
}

// release reads InRelease, Release and Release.gpg. Each that is read must verify, and all
// must have the same text.
func (c *Chain) release(ctx context.Context, p *Suite, v view) error {
	files := p.files
	if i := slices.IndexFunc(files, isInRelease); i >= 0 && c.AsApt {
		files = files[i : i+1]
	}
	read, err := parallel.InOrder(files, func(f snapshot.SuiteFile) ([]byte, error) {
		b, err := c.Snapshot.ReadBlob(ctx, f.Blob, snapshot.MaxRelease)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		return b, nil
	})
	if err != nil {
		return err
	}
	data := map[string][]byte{}
	for i, f := range files {
		data[strings.TrimPrefix(string(f.Role), "upstream-")] = read[i]
	}
	in, text, sig := data["inrelease"], data["release"], data["release-gpg"]
	if in != nil {
		if p.Release, err = archive.OpenInRelease(in, c.applied(p.archive, v, in)); err != nil {
			return fmt.Errorf("InRelease: %w", err)
		}
	}
	if p.text = text; text != nil {
		// A key that must have signed InRelease must have signed Release too, by Release.gpg. A
		// verbatim archive may lack it if upstream does: InRelease has the same text.
		trust := c.applied(p.archive, v, text)
		if in != nil && sig == nil && p.archive.Mode == snapshot.Verbatim {
			trust = pgp.Trust{}
		}
		rel, err := archive.OpenRelease(text, sig, trust)
		if err != nil {
			return fmt.Errorf("Release: %w", err)
		}
		if in != nil {
			if err := archive.SameRelease(in, text); err != nil {
				return err
			}
		} else {
			p.Release = rel
		}
	}
	if p.Release == nil {
		return fmt.Errorf("%w: neither InRelease nor Release", outcome.ErrIntegrity)
	}
	return c.releaseHolds(p, v)
}

func isInRelease(f snapshot.SuiteFile) bool {
	return f.Role == snapshot.InRelease || f.Role == snapshot.UpstreamInRelease
}

// applied is the trust by which one signature file is verified.
func (c *Chain) applied(a snapshot.Archive, v view, data []byte) pgp.Trust {
	byUpstream := v == Upstreams || a.Mode == snapshot.Verbatim
	pin := pgp.Trust{Digest: snapshot.Sum(data).String()}
	switch {
	case byUpstream && c.Trust.Upstream[a.Prefix] != nil:
		return pgp.Trust{Keyring: c.Trust.Upstream[a.Prefix]}
	case !c.Trust.Believed(c.Snapshot):
		return pgp.Trust{}
	case !byUpstream && c.Trust.Site != nil && c.Snapshot.Statement.How.Kind == pgp.Signed:
		return pgp.Trust{Keyring: c.Trust.Site}
	}
	return pin
}

// releaseHolds compares a Release with what the statement and the path say of it.
func (c *Chain) releaseHolds(p *Suite, v view) error {
	// If the statement is believed, it says which suite the file belongs to.
	if err := CheckSuite(p.Release, p.Name, !c.relies(p) || c.Trust.UnnamedOK[p.archive.Prefix]); err != nil {
		return err
	}
	for _, f := range p.files {
		if !f.Date.Equal(p.Release.Date) {
			return fmt.Errorf("%w: %s is of %s, the statement says %s", outcome.ErrIntegrity, f.Path, snapshot.FormatDate(p.Release.Date), snapshot.FormatDate(f.Date))
		}
	}
	if !c.relies(p) {
		return nil // the date of the statement counts
	}
	if err := p.Release.CheckDate(c.Trust.Now, !c.Trust.ExpiredOK[p.archive.Prefix]); err != nil {
		return fmt.Errorf("%w (check-valid-until: no for this archive, or a reference by digest, accepts it)", err)
	}
	return nil
}

// relies tells whether a suite is believed by upstream's signature alone.
func (c *Chain) relies(p *Suite) bool {
	return p.Release.How.Kind == pgp.Signed && !c.Trust.Believed(c.Snapshot)
}

// suiteIndex is a Packages or Sources index whose digest the Release lists.
type suiteIndex struct {
	suite           *Suite
	component, arch string // arch "source" for Sources
	path            string // relative to the suite, with ending
	blob            snapshot.Blob
}

// indices lists the indices of a suite that the snapshot has, in the compression that it
// has. The table says which are here, the Release what they must be.
func (c *Chain) indices(p *Suite) ([]suiteIndex, error) {
	var out []suiteIndex
	for _, f := range p.Release.Files {
		component, arch, ok := archive.IndexName(f.Path)
		if !ok {
			continue
		}
		row, ok := c.Snapshot.Table.Find(p.Base + f.Path)
		if !ok || f.Size == 0 {
			continue
		}
		ix := suiteIndex{suite: p, component: component, arch: arch, path: f.Path}
		var err error
		if ix.blob, err = snapshot.ListedBlob(f); err != nil {
			return nil, err
		}
		if row.Digest != ix.blob.Digest || row.Size != f.Size {
			return nil, fmt.Errorf("%w: %s is %s (%d bytes) in the table, its Release lists %s (%d bytes)",
				outcome.ErrIntegrity, row.Path, row.Digest, row.Size, ix.blob.Digest, f.Size)
		}
		out = append(out, ix)
	}
	return out, nil
}

// read reads an index, verified and decompressed.
func (c *Chain) read(ctx context.Context, ix suiteIndex) ([]byte, error) {
	name := ix.suite.Base + ix.path
	limit := int64(archive.MaxIndex)
	if _, err := c.BestView(ix.suite.archive); err != nil { // nobody vouches for its size
		limit = maxUnproven
	}
	stored, err := c.Snapshot.ReadBlob(ctx, ix.blob, limit)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", name, err)
	}
	f, _ := ix.suite.Release.File(ix.path)
	if err := f.Matches(stored); err != nil {
		return nil, fmt.Errorf("%w: index %s: %w", outcome.ErrIntegrity, name, err)
	}
	data, err := ix.suite.Release.Unpack(f, stored, limit)
	if err != nil {
		return nil, fmt.Errorf("%w: index %s: %w", outcome.ErrIntegrity, name, err)
	}
	return data, nil
}

// Suites opens all suites of an archive in one view. Where only upstream's key is
// relied on, the newest Date of its Releases is the age of the archive.
func (c *Chain) Suites(ctx context.Context, a snapshot.Archive, v view) ([]*Suite, error) {
	out, err := parallel.InOrder(a.Suites, func(s snapshot.Suite) (*Suite, error) { return c.suite(ctx, a, s, v) })
	if err != nil {
		return nil, err
	}
	var newest time.Time
	for _, p := range out {
		if c.relies(p) && p.Release.Date.After(newest) {
			newest = p.Release.Date
		}
	}
	if newest.IsZero() {
		return out, nil
	}
	if err := c.Trust.fresh(newest); err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.Prefix, err)
	}
	return out, nil
}

// BestView is the view in which an archive can be proved: as served if the statement
// is believed, or by upstream's key. The error is errNoKey if by neither.
func (c *Chain) BestView(a snapshot.Archive) (view, error) {
	if c.Trust.Believed(c.Snapshot) {
		return Served, nil
	}
	if a.Class == snapshot.Upstream && c.Trust.Upstream[a.Prefix] != nil {
		return Upstreams, nil
	}
	return Served, errNoKey
}

// maxUnproven bounds, in bytes, what is read of indices that no given key can prove: of one
// index, and of all indices and Releases together, stored and unpacked, that are read
// only to name the missing key. A whole release has under 100 MB.
const maxUnproven = 256 << 20

// CheckSuite compares the suite that a Release names with the directory that it was
// found in. With unnamed, a Release that names none passes.
func CheckSuite(rel *archive.Release, name string, unnamed bool) error {
	if unnamed && rel.Unnamed() {
		return nil
	}
	err := rel.CheckSuite(name)
	if err != nil && rel.Unnamed() {
		return fmt.Errorf("%w (unnamed-release: yes for this archive takes it, as apt does with a warning)", err)
	}
	return err
}

// Visitor is called with what a walk down the chain proves. Either function may be nil.
type Visitor struct {
	// file is a file as the table should have it: under its name in the snapshot, with its
	// digest as signed, and the package that its stanza says it is.
	File func(p *Suite, row snapshot.Row)
	// stanza is one of an index that was read.
	stanza func(ix suiteIndex, st deb.Stanza)
}

// Walk visits everything that the chain of an archive proves in one view: signature
// files, files that a Release lists, stanzas, pool files.
func (c *Chain) Walk(ctx context.Context, a snapshot.Archive, v view, visit Visitor) error {
	if a.Format != snapshot.FormatDeb {
		return c.walkFormat(ctx, a, visit)
	}
	suites, err := c.Suites(ctx, a, v)
	if err != nil {
		return err
	}
	for _, p := range suites {
		if err := c.walkSuite(ctx, p, visit); err != nil {
			return err
		}
	}
	return nil
}

func (c *Chain) walkSuite(ctx context.Context, p *Suite, visit Visitor) error {
	for _, f := range p.files {
		visit.add(p, f.Path, f.Blob, snapshot.Package{})
	}
	if err := c.listedFiles(ctx, p, visit); err != nil {
		return err
	}
	ixs, err := c.indices(p)
	if err != nil {
		return err
	}
	for _, ix := range ixs {
		if err := c.poolFiles(ctx, ix, visit); err != nil {
			return err
		}
	}
	return nil
}

func (v Visitor) add(p *Suite, name string, b snapshot.Blob, pkg snapshot.Package) {
	if v.File != nil {
		v.File(p, snapshot.Row{Path: name, Size: b.Size, Digest: b.Digest, Package: pkg})
	}
}

// listedFiles visits every file that a Release lists and the snapshot has.
func (c *Chain) listedFiles(ctx context.Context, p *Suite, visit Visitor) error {
	for _, f := range p.Release.Files {
		row, ok := c.Snapshot.Table.Find(p.Base + f.Path)
		if !ok {
			continue
		}
		blob, err := snapshot.ListedBlob(f)
		if err != nil {
			return err
		}
		if row.Digest != blob.Digest || row.Size != blob.Size {
			return fmt.Errorf("%w: %s is %s (%d bytes) in the table, its Release lists %s (%d bytes)",
				outcome.ErrIntegrity, row.Path, row.Digest, row.Size, blob.Digest, blob.Size)
		}
		visit.add(p, row.Path, blob, snapshot.Package{})
	}
	return nil
}

// poolFiles visits the stanzas of an index and the pool files that they name. Upstream's
// indices of a curated archive name far more than is here: of those it visits the files
// that are here, and skips stanzas that cannot be read.
func (c *Chain) poolFiles(ctx context.Context, ix suiteIndex, visit Visitor) error {
	data, err := c.read(ctx, ix)
	if err != nil {
		return err
	}
	return c.poolFilesIn(ctx, ix, data, visit)
}

// poolFilesIn is poolFiles with the bytes of the index.
func (c *Chain) poolFilesIn(ctx context.Context, ix suiteIndex, data []byte, visit Visitor) error {
	name := ix.suite.Base + ix.path
	partial := ix.suite.partial()
	for st, err := range deb.Stanzas(data) {
		var rows []snapshot.Row
		if err == nil {
			rows, err = stanzaFiles(st, ix.arch == "source")
		}
		if err != nil && partial {
			continue
		}
		if err != nil {
			return fmt.Errorf("%w: index %s: %w", outcome.ErrIntegrity, name, err)
		}
		if visit.stanza != nil {
			visit.stanza(ix, st)
		}
		for _, r := range rows {
			if err := c.poolFile(ix.suite, r, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// partial tells that the indices of a suite name more than the snapshot holds.
func (p *Suite) partial() bool { return strings.HasPrefix(p.Base, "upstream/") }

func (c *Chain) poolFile(p *Suite, r snapshot.Row, visit Visitor) error {
	name := p.archive.Prefix + "/" + r.Path
	row, ok := c.Snapshot.Table.Find(name)
	switch {
	case !ok && p.partial():
		return nil
	case !ok:
		return fmt.Errorf("%w: %s is in the index, but not in the snapshot", outcome.ErrIntegrity, name)
	}
	switch {
	case row.Digest != r.Digest || row.Size != r.Size:
		return fmt.Errorf("%w: %s is %s (%d bytes) in the table, its stanza says %s (%d bytes)",
			outcome.ErrIntegrity, name, row.Digest, row.Size, r.Digest, r.Size)
	}
	if p.partial() {
		name = "upstream/" + name
	}
	visit.add(p, name, r.Blob(), r.Package)
	return nil
}

// stanzaFiles lists the pool files of a stanza, their paths relative to the archive.
func stanzaFiles(st deb.Stanza, source bool) ([]snapshot.Row, error) {
	if source {
		return snapshot.SourceRows(st)
	}
	f, err := archive.ParsePackageFile(st)
	if err != nil {
		return nil, err
	}
	d, err := snapshot.ListedDigest(f.SHA256)
	if err != nil {
		return nil, fmt.Errorf("package %s %s: %w", f.Name, f.Version, err)
	}
	pkg := snapshot.Package{Name: f.Name, Version: f.Version, Architecture: f.Architecture, Source: f.Source}
	return []snapshot.Row{{Path: f.Filename, Size: f.Size, Digest: d, Package: pkg}}, nil
}
