package freeze

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/bundle"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// content is all that a snapshot holds but what follows from its date.
type content struct {
	images   []snapshot.Image
	archives []snapshot.Archive // suites that the site signs have no files but provenance
	releases []undatedRelease   // of these suites
	files    files
	origins  *origins
	lock     *config.Lock // its date is undated
	lockText []byte       // canonical
	dropped  []string     // optional targets left out, by prefix and name
	notes    []string     // remarks for people
}

// files are files of a snapshot, the small ones with their bytes.
type files struct {
	rows  []snapshot.Row
	small [][]byte
}

// undatedRelease is the Release of a curated suite, of the date [undated].
type undatedRelease struct {
	archive, suite int    // among those of the content
	base           string // its directory in the snapshot, with final slash
	text           []byte
}

// undated is the date of a lock and a curated Release before their own is known.
var undated = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// builtSuite is what [archive.Build] makes of a curated suite.
type builtSuite struct {
	files   []archive.BuiltFile
	release []byte
}

// collect makes the content of the archives and of what was chosen from them,
// in order of prefix. The indices of curated suites are compressed while pool
// files and lock are listed.
func collect(f Options, archives []*suites.Archive, ready []ReadyArchive, sel *selection) (*content, error) {
	plan := f.Plan
	var curated []archive.Curated // of all curated suites in order
	for _, a := range archives {
		for _, s := range a.ReadSuites {
			if a.Verbatim {
				continue
			}
			in, err := curatedSuite(plan, a, s, sel)
			if err != nil {
				return nil, fmt.Errorf("archive %s: suite %s: %w", a.Prefix, s.Name, err)
			}
			curated = append(curated, in)
		}
	}
	var built []builtSuite
	var building errgroup.Group
	building.Go(func() (err error) {
		built, err = parallel.InOrder(curated, func(in archive.Curated) (builtSuite, error) {
			files, release, err := archive.Build(in)
			if err != nil {
				return builtSuite{}, fmt.Errorf("archive %s: suite %s: %w", in.Prefix, in.Suite, err)
			}
			return builtSuite{files, release}, nil
		})
		return err
	})
	c := &content{origins: &origins{previous: f.Previous, m: map[snapshot.Digest]origin{}}, lock: &config.Lock{Date: undated}}
	if err := c.carry(f.Images); err != nil {
		return nil, err
	}
	var poolErr error
	for _, a := range archives {
		if err := c.pool(a, sel); err != nil {
			poolErr = cmp.Or(poolErr, fmt.Errorf("archive %s: %w", a.Prefix, err))
		}
		c.lock.Archives = append(c.lock.Archives, lockArchive(a, sel))
	}
	if err := cmp.Or(c.ready(ready), c.merged(f, archives, ready, sel), poolErr, building.Wait()); err != nil {
		return nil, err
	}
	c.lockText = c.lock.Encode()
	for _, a := range archives {
		mode, class := a.ModeAndClass()
		out := snapshot.Archive{Prefix: a.Prefix, Mode: mode, Class: class, Format: "deb"}
		if a.Keyring != nil {
			out.UpstreamKeys = a.Keyring.Fingerprints()
		}
		for _, s := range a.ReadSuites {
			if a.Verbatim {
				out.Suites = append(out.Suites, c.verbatim(s))
			} else {
				c.releases = append(c.releases, undatedRelease{len(c.archives), len(out.Suites), s.Base(a.Prefix), built[0].release})
				out.Suites = append(out.Suites, c.curated(s, built[0].files, sel))
				built = built[1:]
			}
		}
		c.archives = append(c.archives, out)
	}
	return c, c.bundled(plan.Bundled)
}

// carry adds the images that travel with the snapshot.
func (c *content) carry(images *Images) error {
	if images == nil {
		return nil
	}
	c.lock.Images = images.Locked
	c.files.rows = append(c.files.rows, images.Rows...)
	c.origins.images = images.Blobs
	for _, l := range images.Locked {
		m := snapshot.Image{Name: l.Name}
		var err error
		if m.Blob, err = lockedBlob(l.Digest, l.Size); err != nil {
			return fmt.Errorf("image %s: %w", l.Name, err)
		}
		for _, r := range l.Referrers {
			b, err := lockedBlob(r.Digest, r.Size)
			if err != nil {
				return fmt.Errorf("image %s: referrer: %w", l.Name, err)
			}
			m.Referrers = append(m.Referrers, b)
		}
		c.images = append(c.images, m)
	}
	return nil
}

func lockedBlob(digest string, size int64) (snapshot.Blob, error) {
	d, err := snapshot.ParseDigest(digest)
	return snapshot.Blob{Digest: d, Size: size}, err
}

// curatedSuite is what a curated suite is built from: stanzas of the selection.
func curatedSuite(plan *config.Plan, a *suites.Archive, s *suites.Suite, sel *selection) (archive.Curated, error) {
	in := archive.Curated{
		Upstream: s.Release, Prefix: a.Prefix, Suite: s.Name, Date: undated, Flat: snapshot.IsFlat(s.Name),
		Components: slices.Sorted(slices.Values(a.Components)), Architectures: curatedArchitectures(a, sel),
		Origin: a.Origin, Label: a.Label, Stanzas: map[archive.ComponentArch][]deb.Stanza{},
	}
	if a.Debs != "" {
		in.Components = []string{debdir.SiteComponent}
	}
	if plan.ValidFor > 0 {
		in.ValidUntil = undated.Add(plan.ValidFor)
	}
	if a.Codename != "" && s.Release != nil {
		renamed := *s.Release
		renamed.Codename = a.Codename
		if err := renamed.CheckSuite(s.Name); err != nil {
			return in, fmt.Errorf("%w: codename: %s: apt finds neither it nor the Suite %s under dists/%s", outcome.ErrUsage, a.Codename, s.Release.Suite, s.Name)
		}
		in.Upstream = &renamed
	}
	add := func(component, arch string, st ...deb.Stanza) {
		key := archive.ComponentArch{Component: component, Architecture: arch}
		in.Stanzas[key] = append(in.Stanzas[key], st...)
	}
	for _, c := range sel.packages[a.Prefix] {
		switch {
		case c.Suite != s.Name:
		case in.Flat:
			add(c.Component, "", c.Stanza)
		case c.Architecture == "all":
			for _, arch := range in.Architectures {
				if arch != "source" {
					add(c.Component, arch, c.Stanza)
				}
			}
		case c.Architecture != "source":
			add(c.Component, c.Architecture, c.Stanza)
		}
	}
	for _, src := range sel.own[a.Prefix] {
		add(debdir.SiteComponent, "source", src.Stanza)
	}
	for component, stanzas := range sel.sources[s] {
		add(component, "source", stanzas...)
	}
	return in, nil
}

// curatedArchitectures are those that a curated archive has indices of, sorted; "source" among them if it has sources.
func curatedArchitectures(a *suites.Archive, sel *selection) []string {
	out := a.AllArchitectures()
	if len(out) == 0 {
		out = []string{unnamed}
	}
	if a.TakesSources() || len(sel.own[a.Prefix]) > 0 {
		out = append(out, "source")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// verbatim adds a suite byte for byte: signatures, indices, optional targets.
func (c *content) verbatim(s *suites.Suite) snapshot.Suite {
	base := s.Base(s.Source.Prefix)
	out := snapshot.Suite{Name: s.Name, Files: c.files.signatures(s.Files, base, s.Release.Date, false)}
	for _, ix := range s.Indices {
		c.keepIndex(base, ix)
	}
	rel := s.Head // a copy: the indices are not kept
	for _, x := range s.Extra {
		c.files.rows = append(c.files.rows, snapshot.Row{Path: base + x.Path, Size: x.Blob.Size, Digest: x.Blob.Digest})
		if f, ok := s.Release.File(x.Path); ok && x.Blob.Size > 0 {
			c.origins.addOf(x.Blob.Digest, origin{
				name: base + x.Path, open: func(ctx context.Context) (io.ReadCloser, error) { return rel.Open(ctx, f) }, src: rel.Source, at: rel.Paths(f),
			})
		}
	}
	for _, d := range s.Dropped {
		c.dropped = append(c.dropped, s.Source.Prefix+" "+s.Name+" "+d)
	}
	return out
}

// curated adds a suite of chosen packages: its indices and, as provenance,
// upstream's signature files and the indices that the chosen stanzas came from,
// so that anyone can prove them with upstream's key. Its Release waits for the date.
func (c *content) curated(s *suites.Suite, built []archive.BuiltFile, sel *selection) snapshot.Suite {
	base := s.Base(s.Source.Prefix)
	for _, f := range built {
		c.files.keep(base+f.Path, f.Data)
	}
	out := snapshot.Suite{Name: s.Name}
	if s.Release == nil {
		return out
	}
	base = s.Base("upstream/" + s.Source.Prefix)
	for _, ix := range s.Indices {
		if sel.used[ix] {
			c.keepIndex(base, ix)
		}
	}
	out.Files = c.files.signatures(s.Files, base, s.Release.Date, true)
	return out
}

// signatures adds signature files as rows and returns their lines of the statement.
func (f *files) signatures(signed []suites.SignedFile, base string, date time.Time, upstream bool) []snapshot.SuiteFile {
	var out []snapshot.SuiteFile
	for _, s := range signed {
		role := s.Role
		if upstream {
			role = "upstream-" + role
		}
		f.keep(base+s.Name, s.Data)
		out = append(out, snapshot.SuiteFile{
			Role: role, Blob: snapshot.Blob{Digest: snapshot.Sum(s.Data), Size: int64(len(s.Data))}, Date: date, Path: base + s.Name,
		})
	}
	slices.SortFunc(out, func(x, y snapshot.SuiteFile) int { return strings.Compare(x.Path, y.Path) })
	return out
}

// keep adds a file whose bytes are at hand.
func (f *files) keep(p string, data []byte) {
	f.rows = append(f.rows, snapshot.Row{Path: p, Size: int64(len(data)), Digest: snapshot.Sum(data)})
	f.small = append(f.small, data)
}

// keepIndex adds an index as upstream has it. One that was not read is of no suite that has its file.
func (c *content) keepIndex(base string, ix *suites.Index) {
	row := snapshot.Row{Path: base + ix.Path, Size: ix.Stored.Size(), Digest: ix.Digest}
	c.files.rows = append(c.files.rows, row)
	stored := ix.Stored // without the text, which is not needed so long
	c.origins.add(row.Digest, row.Path, func(context.Context) (io.ReadCloser, error) { return io.NopCloser(stored.Open()), nil })
}

// pool adds the pool files of an archive: of a verbatim one all that its
// indices name, else those of the chosen packages and sources.
func (c *content) pool(a *suites.Archive, sel *selection) error {
	if a.Verbatim {
		for _, s := range a.ReadSuites {
			for _, ix := range s.Indices {
				if err := c.verbatimPool(a, ix); err != nil {
					return fmt.Errorf("suite %s: %w", s.Name, err)
				}
			}
		}
		return nil
	}
	c.files.rows = slices.Grow(c.files.rows, len(sel.packages[a.Prefix]))
	for _, p := range sel.packages[a.Prefix] {
		if err := c.poolFile(a, p.PackageFile); err != nil {
			return err
		}
	}
	for _, s := range a.ReadSuites {
		for _, stanzas := range sel.sources[s] {
			for _, st := range stanzas {
				if err := c.sourceFiles(a.Source, st); err != nil {
					return err
				}
			}
		}
	}
	for _, src := range sel.own[a.Prefix] {
		for i, r := range src.Rows {
			r.Path = a.Prefix + "/" + r.Path
			c.files.rows = append(c.files.rows, r)
			c.origins.addOf(r.Digest, origin{name: r.Path, open: localFile(src.Files[i]), src: a.Source})
		}
	}
	return nil
}

// verbatimPool adds every pool file that an index of a verbatim suite names.
func (c *content) verbatimPool(a *suites.Archive, ix *suites.Index) error {
	in := deb.NewIndexReader(ix.Text.Open())
	for {
		st, err := in.Next()
		var f archive.PackageFile
		switch {
		case err == io.EOF:
			return nil
		case err == nil && ix.Arch == "source":
			err = c.sourceFiles(a.Source, st)
		case err == nil:
			if f, err = archive.ParsePackageFile(st); err == nil {
				err = c.poolFile(a, f)
			}
		}
		if err != nil {
			return fmt.Errorf("index %s: %w (a verbatim archive cannot leave a stanza out)", ix.Path, err)
		}
	}
}

// poolFile adds one pool file; where it is read from is only remembered.
func (c *content) poolFile(a *suites.Archive, f archive.PackageFile) error {
	d, err := snapshot.ListedDigest(f.SHA256)
	if err != nil {
		return fmt.Errorf("package %s %s: %w", f.Name, f.Version, err)
	}
	row := snapshot.Row{Path: a.Prefix + "/" + f.Filename, Size: f.Size, Digest: d}
	row.Package = ownPackage(f)
	c.files.rows = append(c.files.rows, row)
	if a.Debs != "" {
		c.origins.addOf(d, origin{name: row.Path, open: localFile(a.Own.File(f.SHA256)), src: a.Source})
	} else { // by the name in row.Path: f is a view of a stanza, which is not kept
		c.origins.addOf(d, upstreamFile(a.Source, row.Path, f.Size))
	}
	return nil
}

// ownPackage is the package of a file, in a string of its own.
func ownPackage(f archive.PackageFile) (p snapshot.Package) {
	all := f.Name + f.Version + f.Architecture + f.Source
	for _, part := range []struct {
		to *string
		n  int
	}{{&p.Name, len(f.Name)}, {&p.Version, len(f.Version)}, {&p.Architecture, len(f.Architecture)}, {&p.Source, len(f.Source)}} {
		*part.to, all = all[:part.n], all[part.n:]
	}
	return p
}

// sourceFiles adds the files of one source package of upstream's.
func (c *content) sourceFiles(src *suites.Source, st deb.Stanza) error {
	rows, err := snapshot.SourceRows(st)
	if err != nil {
		return fmt.Errorf("source %s: %w", st.Get("Package"), err)
	}
	for _, r := range rows {
		r.Path = src.Prefix + "/" + r.Path
		c.files.rows = append(c.files.rows, r)
		c.origins.addOf(r.Digest, upstreamFile(src, r.Path, r.Size))
	}
	return nil
}

// bundled adds the programs for hosts that have nothing, and their script.
func (c *content) bundled(programs []config.Bundled) error {
	for _, p := range programs {
		d, err := snapshot.ParseDigest(p.Digest)
		if err != nil {
			return err
		}
		row := snapshot.Row{Path: snapshot.CarriedDir + p.Name, Size: p.Size, Digest: d}
		c.files.rows = append(c.files.rows, row)
		if p.File == "" {
			c.files.small = append(c.files.small, bundle.Script(programs))
		} else {
			c.origins.add(d, row.Path, localFile(p.File))
		}
	}
	return nil
}

// lockArchive is an archive's share of the lock.
func lockArchive(a *suites.Archive, sel *selection) config.LockArchive {
	mode, class := a.ModeAndClass()
	l := config.LockArchive{Prefix: a.Prefix, Mode: string(mode), Class: string(class), KeyURLs: a.URLKeys}
	for _, s := range a.ReadSuites {
		if s.Release == nil {
			continue
		}
		l.Releases = append(l.Releases, config.LockRelease{Suite: s.Name, Digest: s.Digest(), Date: s.Release.Date})
		for _, ix := range s.Indices {
			l.Indices = append(l.Indices, config.LockIndex{Suite: s.Name, Path: ix.Path, Digest: ix.Digest.String()})
		}
	}
	l.Packages = make([]config.LockPackage, 0, len(sel.packages[a.Prefix]))
	for _, c := range sel.packages[a.Prefix] {
		l.Packages = append(l.Packages, config.LockPackage{
			Suite: c.Suite, Component: c.Component, Name: c.Name, Version: c.Version, Architecture: c.Architecture,
			Digest: "sha256:" + c.SHA256, Size: c.Size, Reason: sel.reason(a, c),
		})
	}
	for _, src := range sel.own[a.Prefix] {
		l.Files = append(l.Files, lockDsc(src))
	}
	return l
}
