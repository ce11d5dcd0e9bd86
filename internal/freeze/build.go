package freeze

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// builder collects what becomes the snapshot, archive by archive in order of
// prefix. Of curated suites the files that the site signs are left out: they
// follow from the date, which is chosen last.
type builder struct {
	f        Options
	chosen   *selection
	archives []snapshot.Archive
	unsigned []unsignedRelease
	collected
	origins  *origins
	lock     *config.Lock
	lockText []byte
	dropped  []string
	notes    []string
}

// collected are files of a snapshot, the small ones with their bytes.
type collected struct {
	rows  []snapshot.Row
	small [][]byte
}

// undatedRelease is the date that the Release of a curated suite is built with
// before its own is known.
var undatedRelease = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// begunArchive is an archive whose curated suites are being built.
type begunArchive struct {
	*upstreamArchive
	picked []resolve.Chosen
	suites []*upstreamSuite
	built  []*builtSuite // of suites; none if they are verbatim
}

// collect adds all archives. The indices of curated ones are compressed while pool files and lock are listed.
func (b *builder) collect(fas []*upstreamArchive) error {
	var begun []*begunArchive
	for _, fa := range fas {
		begun = append(begun, b.begin(fa))
	}
	var err error
	for _, x := range begun {
		if e := b.poolFiles(x.upstreamArchive, x.picked); e != nil {
			err = cmp.Or(err, fmt.Errorf("archive %s: %w", x.Prefix, e))
		}
		b.lockArchive(x)
	}
	b.lockText = b.lock.Encode()
	for _, x := range begun { // whatever went wrong: they are being built
		if e := b.finish(x); e != nil {
			err = cmp.Or(err, fmt.Errorf("archive %s: %w", x.Prefix, e))
		}
	}
	return err
}

// begin picks what an archive is of, and begins to build its suites.
func (b *builder) begin(fa *upstreamArchive) *begunArchive {
	x := &begunArchive{upstreamArchive: fa, suites: b.suitesOf(fa)}
	if fa.Verbatim {
		return x
	}
	mine := func(c resolve.Chosen) bool { return c.Archive == fa.Prefix }
	n := 0
	for _, c := range b.chosen.packages {
		if mine(c) {
			n++
		}
	}
	x.picked = slices.Grow(x.picked, n)
	for _, c := range b.chosen.packages {
		if mine(c) {
			x.picked = append(x.picked, c)
		}
	}
	b.chooseSources(fa, x.picked)
	for _, s := range x.suites {
		x.built = append(x.built, b.build(fa, s, x.picked))
	}
	return x
}

// finish adds an archive with its suites.
func (b *builder) finish(x *begunArchive) error {
	mode, class := x.modeAndClass()
	a := snapshot.Archive{Prefix: x.Prefix, Mode: mode, Class: class, Format: "deb"}
	if x.Keyring != nil {
		a.UpstreamKeys = x.Keyring.Fingerprints()
	}
	var err error
	for i, s := range x.suites {
		var suite snapshot.Suite
		var e error
		if x.Verbatim {
			suite, e = b.verbatim(x.upstreamArchive, s)
		} else {
			suite, e = b.curated(x.upstreamArchive, s, x.built[i], x.picked)
		}
		if e != nil {
			err = cmp.Or(err, fmt.Errorf("suite %s: %w", s.name, e))
		}
		a.Suites = append(a.Suites, suite)
	}
	b.archives = append(b.archives, a)
	return err
}

func (fa *upstreamArchive) modeAndClass() (snapshot.Mode, snapshot.Class) {
	switch {
	case fa.Verbatim:
		return snapshot.Verbatim, snapshot.Upstream
	case fa.Debs != "":
		return snapshot.Curated, snapshot.Site
	}
	return snapshot.Curated, snapshot.Upstream
}

// suitesOf gives an archive of own .debs its one suite, which no upstream has.
func (b *builder) suitesOf(fa *upstreamArchive) []*upstreamSuite {
	if fa.Debs != "" {
		return []*upstreamSuite{{name: fa.Prefix, dir: suiteDir(fa.Prefix)}}
	}
	return fa.suites
}

// verbatim adds a suite byte for byte: signatures, indices, optional targets.
// Its pool files follow from its indices.
func (b *builder) verbatim(fa *upstreamArchive, s *upstreamSuite) (snapshot.Suite, error) {
	base := s.base(fa.Prefix)
	out := snapshot.Suite{Name: s.name, Files: b.signatures(s.signed, base, s.release.Date, false)}
	for _, ix := range s.indices {
		b.keep(base+ix.path, ix.stored)
		if err := b.verbatimPool(fa, ix); err != nil {
			return out, err
		}
	}
	for _, x := range s.extra {
		b.extra(fa, s, base, x)
	}
	for _, d := range s.dropped {
		b.dropped = append(b.dropped, fa.Prefix+" "+s.name+" "+d)
	}
	return out, nil
}

func (b *builder) extra(fa *upstreamArchive, s *upstreamSuite, base string, x extraFile) {
	b.rows = append(b.rows, snapshot.Row{Path: base + x.path, Size: x.blob.Size, Digest: x.blob.Digest})
	if f, ok := s.release.File(x.path); ok && x.blob.Size > 0 {
		b.origins.add(x.blob.Digest, origin{base + x.path, func(ctx context.Context) (io.ReadCloser, error) {
			return openListed(ctx, fa, s, f)
		}})
	}
}

// verbatimPool adds every pool file that an index of a verbatim suite names.
func (b *builder) verbatimPool(fa *upstreamArchive, ix *upstreamIndex) error {
	if ix.arch == "source" {
		return b.sourceFiles(fa, ix.data)
	}
	for st, err := range deb.Stanzas(ix.data) {
		var f archive.PackageFile
		if err == nil {
			f, err = archive.ParsePackageFile(st)
		}
		if err != nil {
			return fmt.Errorf("index %s: %w (a verbatim archive cannot leave a stanza out)", ix.path, err)
		}
		if err := b.pool(fa, f); err != nil {
			return err
		}
	}
	return nil
}

// builtSuite is what [archive.Build] makes, some time.
type builtSuite struct {
	files   []archive.BuiltFile
	release []byte
	err     error
	done    chan struct{} // closed when the others are there
}

// build begins to build a curated suite: indices of upstream's stanzas.
func (b *builder) build(fa *upstreamArchive, s *upstreamSuite, picked []resolve.Chosen) *builtSuite {
	out := &builtSuite{done: make(chan struct{})}
	in, err := b.curatedInput(fa, s, picked)
	if err != nil {
		out.err = err
		close(out.done)
		return out
	}
	go func() {
		defer close(out.done)
		out.files, out.release, out.err = archive.Build(in)
	}()
	return out
}

func (b *builder) curatedInput(fa *upstreamArchive, s *upstreamSuite, picked []resolve.Chosen) (archive.Curated, error) {
	pkgs := make([]*resolve.Package, len(picked))
	for i := range picked {
		pkgs[i] = picked[i].Package
	}
	in := archive.Curated{
		Upstream: s.release, Prefix: fa.Prefix, Suite: s.name, Date: undatedRelease, Flat: snapshot.IsFlat(s.name),
		Components: curatedComponents(fa), Architectures: curatedArchitectures(fa),
		Origin: fa.Origin, Label: fa.Label, Stanzas: stanzasOf(fa, s.name, pkgs),
	}
	b.addSources(fa, s, &in)
	if b.f.Plan.ValidFor > 0 {
		in.ValidUntil = undatedRelease.Add(b.f.Plan.ValidFor)
	}
	if fa.Codename != "" && s.release != nil {
		renamed := *s.release
		renamed.Codename = fa.Codename
		if err := renamed.CheckSuite(s.name); err != nil {
			return in, fmt.Errorf("%w: codename: %s: apt finds neither it nor the Suite %s under dists/%s", outcome.ErrUsage, fa.Codename, s.release.Suite, s.name)
		}
		in.Upstream = &renamed
	}
	return in, nil
}

// curated adds a suite of chosen packages: its indices, and upstream's own as
// provenance. Its Release waits for the date.
func (b *builder) curated(fa *upstreamArchive, s *upstreamSuite, built *builtSuite, picked []resolve.Chosen) (snapshot.Suite, error) {
	<-built.done
	if built.err != nil {
		return snapshot.Suite{}, built.err
	}
	base := s.base(fa.Prefix)
	for _, f := range built.files {
		b.keep(base+f.Path, f.Data)
	}
	b.unsigned = append(b.unsigned, unsignedRelease{prefix: fa.Prefix, suite: s.name, base: base, text: built.release})
	out := snapshot.Suite{Name: s.name}
	if s.release != nil {
		out.Files = append(out.Files, b.provenance(fa, s, picked)...)
	}
	return out, nil
}

func curatedComponents(fa *upstreamArchive) []string {
	if fa.Debs != "" {
		return []string{debdir.SiteComponent}
	}
	return slices.Sorted(slices.Values(fa.Components))
}

// signRelease makes the signature files of a curated suite. All of them date from
// the date input, so that equal input gives equal bytes.
func signRelease(signer pgp.Signer, release []byte, date time.Time) ([]signedFile, error) {
	out := []signedFile{{"Release", snapshot.Release, release}}
	if signer == nil {
		return out, nil
	}
	in, err := signer.Clearsign(release, date)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	sig, err := signer.Detach(release, date)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return append(out, signedFile{"InRelease", snapshot.InRelease, in}, signedFile{"Release.gpg", snapshot.ReleaseGPG, sig}), nil
}

// provenance carries upstream's signature files and the indices that the
// chosen stanzas came from, so that anyone can prove them with upstream's key.
func (b *builder) provenance(fa *upstreamArchive, s *upstreamSuite, picked []resolve.Chosen) []snapshot.SuiteFile {
	base := s.base("upstream/" + fa.Prefix)
	for _, ix := range s.indices {
		used := ix.used || slices.ContainsFunc(picked, func(c resolve.Chosen) bool { return c.Index == ix.number })
		if used {
			b.keep(base+ix.path, ix.stored)
		}
	}
	return b.signatures(s.signed, base, s.release.Date, true)
}

// signatures adds signature files as rows and returns their lines of the statement.
func (b *collected) signatures(files []signedFile, base string, date time.Time, upstream bool) []snapshot.SuiteFile {
	var out []snapshot.SuiteFile
	for _, f := range files {
		role := f.role
		if upstream {
			role = "upstream-" + role
		}
		b.keep(base+f.name, f.data)
		out = append(out, snapshot.SuiteFile{
			Role: role, Blob: snapshot.Blob{Digest: snapshot.Sum(f.data), Size: int64(len(f.data))}, Date: date, Path: base + f.name,
		})
	}
	slices.SortFunc(out, func(x, y snapshot.SuiteFile) int { return strings.Compare(x.Path, y.Path) })
	return out
}

// keep adds a file whose bytes are at hand.
func (b *collected) keep(p string, data []byte) {
	b.rows = append(b.rows, snapshot.Row{Path: p, Size: int64(len(data)), Digest: snapshot.Sum(data)})
	b.small = append(b.small, data)
}

// poolFiles adds the pool files of a curated archive's chosen packages.
func (b *builder) poolFiles(fa *upstreamArchive, picked []resolve.Chosen) error {
	b.rows = slices.Grow(b.rows, len(picked))
	for _, c := range picked {
		if err := b.pool(fa, c.PackageFile); err != nil {
			return err
		}
	}
	return b.sourcePools(fa)
}

// pool adds one pool file; where it is read from is only remembered.
func (b *builder) pool(fa *upstreamArchive, f archive.PackageFile) error {
	d, err := snapshot.ListedDigest(f.SHA256)
	if err != nil {
		return fmt.Errorf("package %s %s: %w", f.Name, f.Version, err)
	}
	row := snapshot.Row{Path: fa.Prefix + "/" + f.Filename, Size: f.Size, Digest: d}
	row.Package = snapshot.Package{Name: f.Name, Version: f.Version, Architecture: f.Architecture, Source: f.Source}
	b.rows = append(b.rows, row)
	b.origins.add(d, origin{row.Path, b.opener(fa, f, row.Path)})
	return nil
}

// opener opens a pool file. It does not hold f, which is a view of an index that need not stay.
func (b *builder) opener(fa *upstreamArchive, f archive.PackageFile, served string) func(context.Context) (io.ReadCloser, error) {
	if fa.Debs != "" {
		return openLocal(fa.own.File(f.SHA256))
	}
	size := f.Size
	return func(ctx context.Context) (io.ReadCloser, error) {
		return fa.up.Open(ctx, served[len(fa.Prefix)+1:], size)
	}
}

func (b *builder) lockArchive(x *begunArchive) {
	mode, class := x.modeAndClass()
	l := config.LockArchive{Prefix: x.Prefix, Mode: string(mode), Class: string(class), KeyURLs: x.urlKeys}
	for _, s := range x.suites {
		b.lockSuite(&l, s)
	}
	b.lockPackages(&l, x.picked)
	b.lock.Archives = append(b.lock.Archives, l)
}

func (b *builder) lockSuite(l *config.LockArchive, s *upstreamSuite) {
	if s.release == nil {
		return
	}
	l.Releases = append(l.Releases, config.LockRelease{Suite: s.name, Digest: digestOf(s), Date: s.release.Date})
	for _, ix := range s.indices {
		l.Indices = append(l.Indices, config.LockIndex{Suite: s.name, Path: ix.path, Digest: ix.digest.String()})
	}
}

func (b *builder) lockPackages(l *config.LockArchive, picked []resolve.Chosen) {
	l.Packages = slices.Grow(l.Packages, len(picked))
	for _, c := range picked {
		l.Packages = append(l.Packages, config.LockPackage{
			Suite: c.Suite, Component: c.Component, Name: c.Name, Version: c.Version, Architecture: c.Architecture,
			Digest: "sha256:" + c.SHA256, Size: c.Size, Reason: b.reason(c),
		})
	}
}

// reason is the lock's for a package that the lock names, else the one that was found.
func (b *builder) reason(c resolve.Chosen) string {
	if len(b.chosen.reasons) == 0 {
		return c.Reason.String()
	}
	if r, ok := b.chosen.reasons[lockKey(c.Archive, c.Name, c.Version, c.Architecture, c.SHA256)]; ok {
		return r
	}
	return c.Reason.String()
}

// openLocal opens a file on disk when it is pushed. If it is another by then,
// its digest tells.
func openLocal(file string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s went away while it was pushed: %w", file, err)
		}
		return f, err
	}
}
