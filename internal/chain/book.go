// Package chain follows single packages of a snapshot from upstream's key to
// the digest of their blob, and says of each step who verified it and by which
// command a person checks it by hand. What it reads on the way, the stanzas,
// it keeps off the heap and finds again: by name, by word and by dependency.
package chain

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/spool"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// maxKept bounds the stanzas that a book keeps; those of a whole release have 70 MB.
	maxKept = 1 << 30
	// maxStored bounds an index as it is stored, in bytes. Debian's largest has 10 MB.
	maxStored = 256 << 20
	// maxWords is how much of a description is searched, in bytes.
	maxWords = 200
)

// Options say which packages Read reads, and by which keys their archives are proved.
type Options struct {
	Snapshot *snapshot.Snapshot
	Upstream map[string]*pgp.Keyring // upstream's keys by prefix; none: that archive is not proved
	Site     *pgp.Keyring            // proves archives of class site
	// Want says which packages; nil: all. Archives without one of them are not read.
	Want func(row snapshot.Row) bool
}

// Book is what the indices of a snapshot say of its packages. The stanzas are
// those under upstream's signature where an archive has that, else the site's.
// Immutable; safe for concurrent use.
type Book struct {
	snapshot *snapshot.Snapshot
	keys     Options
	suites   []*suite
	indices  []index
	entries  []entry // in order of name, then the highest version first
	words    []byte  // of each entry a line: name, source, description, in lower case, with NUL between
	needs    []edge  // whom an entry depends on, by the hash of the name
	provides []edge
	sections []string
	text     *spool.Bytes // the stanzas
	how      pgp.How      // the statement was verified
	Lost     []error      // archives whose stanzas could not be read
}

// suite is a suite whose Release was read.
type suite struct {
	archive  *snapshot.Archive
	name     string
	base     string // directory of its Release, with final slash
	signed   snapshot.SuiteFile
	detached *snapshot.SuiteFile // Release.gpg, where signed is a Release
	release  *archive.Release
	wrong    error // its signature is not one of the key's
}

// index is a Packages index that a Release lists.
type index struct {
	suite *suite
	file  archive.ReleaseFile
	blob  snapshot.Blob
}

type entry struct {
	at, size uint32 // of its stanza in text
	words    uint32
	index    uint16
	section  uint16
}

// edge leads from the hash of a name to an entry that names it.
type edge struct{ name, entry uint32 }

// none is the index of a package that no index names.
const none = 1<<16 - 1

// Read reads the indices of a snapshot. What cannot be read is among Lost and no
// error: every package of the snapshot is in the book, with its stanza or without. The error is ctx's.
func Read(ctx context.Context, o Options) (*Book, error) {
	r := &reader{Book: &Book{snapshot: o.Snapshot, keys: o}, seen: map[seen]struct{}{}, sections: map[string]uint16{}}
	st := o.Snapshot.Statement
	for i := range st.Archives {
		a := &st.Archives[i]
		if !r.wants(a.Prefix) {
			continue
		}
		if err := r.archive(ctx, a); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			r.Lost = append(r.Lost, fmt.Errorf("archive %s: %w", a.Prefix, err))
		}
	}
	r.rest()
	r.how = Believed(o.Snapshot, o.Site)
	return r.done(), nil
}

// Believed says how the statement of a snapshot is verified by keys of the site's, or was when it was opened.
func Believed(s *snapshot.Snapshot, site *pgp.Keyring) pgp.How {
	if how := s.Statement.How; how.Kind != pgp.Unverified || site == nil || !s.Signed {
		return how
	}
	_, how, err := pgp.VerifyClearsigned(s.StatementBytes, pgp.Trust{Keyring: site})
	if err != nil {
		return pgp.How{Detail: err.Error()}
	}
	return how
}

// rest adds the packages that no index names, as the table has them.
func (r *reader) rest() {
	i := -1
	for row := range r.snapshot.Table.Rows() {
		i++
		if !row.IsPackage() || r.keys.Want != nil && !r.keys.Want(row) {
			continue
		}
		if _, ok := r.seen[seen{row.Archive(), row.Digest}]; ok {
			continue
		}
		r.made = append(r.made, made{entry: entry{at: uint32(i), index: none, section: r.section("")}, name: row.Name, version: row.Version, line: line(row.Name, row.Source, "")})
	}
}

// line is what is searched of a package.
func line(name, source, short string) string {
	text := strings.ToLower(strings.Join([]string{clean(name), clean(source), clean(short[:min(len(short), maxWords)])}, "\x00"))
	return text + "\n"
}

// clean takes out what divides lines and their parts.
func clean(s string) string { return strings.NewReplacer("\x00", " ", "\n", " ").Replace(s) }

// seen is a file of an archive.
type seen struct {
	prefix string
	digest snapshot.Digest
}

// reader is a Book that is being made.
type reader struct {
	*Book
	out      spool.Writer
	size     int64
	seen     map[seen]struct{} // packages for all architectures stand in several indices
	sections map[string]uint16
	made     []made
}

// made is an entry before its place in the order is known.
type made struct {
	entry
	name, version   string
	key             seen
	line            string
	needs, provides []uint32
}

func (r *reader) wants(prefix string) bool {
	if r.keys.Want == nil {
		return true
	}
	for row := range r.snapshot.Table.Under(prefix + "/") {
		if row.IsPackage() && r.keys.Want(row) {
			return true
		}
	}
	return false
}

// archive reads the suites of an archive: upstream's own where it carries them.
func (r *reader) archive(ctx context.Context, a *snapshot.Archive) error {
	theirs := a.Mode == snapshot.Curated && a.Class == snapshot.Upstream
	var errs []error
	for i := range a.Suites {
		s, err := r.suite(ctx, a, &a.Suites[i], theirs)
		if err == nil {
			err = r.stanzas(ctx, s)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("suite %s: %w", a.Suites[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

func (r *reader) suite(ctx context.Context, a *snapshot.Archive, of *snapshot.Suite, theirs bool) (*suite, error) {
	s := &suite{archive: a, name: of.Name}
	roles := [3]snapshot.Role{snapshot.InRelease, snapshot.Release, snapshot.ReleaseGPG}
	if theirs {
		roles = [3]snapshot.Role{snapshot.UpstreamInRelease, snapshot.UpstreamRelease, snapshot.UpstreamReleaseGPG}
	}
	in, plain := of.File(roles[0]), of.File(roles[1])
	var sig []byte
	switch {
	case in != nil:
		s.signed = *in
	case plain != nil:
		s.signed = *plain
		if s.detached = of.File(roles[2]); s.detached != nil {
			var err error
			if sig, err = r.snapshot.ReadBlob(ctx, s.detached.Blob, snapshot.MaxRelease); err != nil {
				return nil, err
			}
		}
	default:
		return nil, errors.New("the snapshot has no Release of it")
	}
	s.base = path.Dir(s.signed.Path) + "/"
	data, err := r.snapshot.ReadBlob(ctx, s.signed.Blob, snapshot.MaxRelease)
	if err != nil {
		return nil, err
	}
	open := func(t pgp.Trust) (*archive.Release, error) {
		if in != nil {
			return archive.OpenInRelease(data, t)
		}
		return archive.OpenRelease(data, sig, t)
	}
	if ring := r.keys.ring(a); ring != nil && (in != nil || sig != nil) {
		if s.release, s.wrong = open(pgp.Trust{Keyring: ring}); s.wrong == nil {
			s.wrong = s.release.CheckSuite(s.name)
			if s.release.Unnamed() {
				s.wrong = nil
			}
		}
	}
	if s.release == nil {
		if s.release, err = open(pgp.Trust{}); err != nil {
			return nil, err
		}
	}
	r.suites = append(r.suites, s)
	return s, nil
}

// ring is the keyring that proves an archive; nil if there is none.
func (o Options) ring(a *snapshot.Archive) *pgp.Keyring {
	if a.Class == snapshot.Site {
		return o.Site
	}
	return o.Upstream[a.Prefix]
}

// stanzas reads the indices of a suite that are here, each in one compression.
func (r *reader) stanzas(ctx context.Context, s *suite) error {
	seen := map[string]bool{}
	for _, f := range s.release.Files {
		_, arch, ok := archive.IndexName(f.Path)
		row, here := r.snapshot.Table.Find(s.base + f.Path)
		if !ok || arch == "source" || !here || f.Size == 0 || seen[archive.PlainName(f.Path)] {
			continue
		}
		blob, err := snapshot.ListedBlob(f)
		if err != nil {
			return err
		}
		if row.Blob() != blob {
			return fmt.Errorf("%w: index %s is %s in the table, its Release lists %s", snapshot.ErrIntegrity, row.Path, row.Digest, blob.Digest)
		}
		seen[archive.PlainName(f.Path)] = true
		if len(r.indices) == none {
			return errors.New("more indices than 65,535")
		}
		r.indices = append(r.indices, index{s, f, blob})
		if err := r.read(ctx, len(r.indices)-1); err != nil {
			return fmt.Errorf("index %s: %w", row.Path, err)
		}
	}
	return nil
}

// read keeps the stanzas of one index whose files the snapshot has. What it kept of an index that turns out to be
// wrong at its end is dropped.
func (r *reader) read(ctx context.Context, i int) error {
	ix := r.indices[i]
	stored, err := r.snapshot.ReadBlob(ctx, ix.blob, maxStored)
	if err != nil {
		return err
	}
	if err := ix.file.Matches(stored); err != nil {
		return err
	}
	from, to := io.Pipe()
	go func() { to.CloseWithError(ix.suite.release.UnpackTo(to, ix.file, stored, archive.MaxIndex)) }()
	defer from.Close()
	was := len(r.made)
	stanzas := deb.NewIndexReader(from)
	for ctx.Err() == nil {
		st, err := stanzas.Next()
		var malformed *deb.StanzaError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &malformed):
			continue // one that no client could read either
		case err == nil:
			err = r.keep(st, i)
		}
		if err != nil {
			for _, m := range r.made[was:] {
				delete(r.seen, m.key)
			}
			r.made = r.made[:was]
			return err
		}
	}
	return ctx.Err()
}

// keep notes a stanza if the snapshot has the file that it names.
func (r *reader) keep(st deb.Stanza, i int) error {
	f, err := archive.ParsePackageFile(st)
	if err != nil {
		return nil
	}
	row, ok := r.snapshot.Table.Find(r.indices[i].suite.archive.Prefix + "/" + f.Filename)
	if !ok || row.Digest.Hex() != f.SHA256 || row.Size != f.Size || r.keys.Want != nil && !r.keys.Want(row) {
		return nil
	}
	key := seen{r.indices[i].suite.archive.Prefix, row.Digest}
	if _, ok := r.seen[key]; ok {
		return nil
	}
	if r.size+int64(len(st)) > maxKept {
		return fmt.Errorf("the stanzas have more than %d bytes", maxKept)
	}
	m := made{entry: entry{at: uint32(r.size), size: uint32(len(st)), index: uint16(i)}, key: key, name: strings.Clone(f.Name), version: strings.Clone(f.Version)}
	if _, err := r.out.Write(st); err != nil {
		return err
	}
	r.size += int64(len(st))
	r.seen[key] = struct{}{}
	var v [6]string
	st.Values(v[:], "Depends", "Pre-Depends", "Recommends", "Provides", "Section", "Description")
	for _, value := range v[:3] {
		m.needs = append(m.needs, namesIn(value)...)
	}
	m.provides = namesIn(v[3])
	m.section = r.section(v[4])
	short, _, _ := strings.Cut(v[5], "\n")
	m.line = line(f.Name, f.Source, short)
	r.made = append(r.made, m)
	return nil
}

func (r *reader) section(name string) uint16 {
	id, ok := r.sections[name]
	if !ok && len(r.Book.sections) < 1<<16-1 {
		id = uint16(len(r.Book.sections))
		r.sections[strings.Clone(name)] = id
		r.Book.sections = append(r.Book.sections, strings.Clone(name))
	}
	return id
}

// namesIn are the hashes of the names in a relation.
func namesIn(value string) (names []uint32) {
	relations, err := deb.ParseRelations(value, "")
	if err != nil {
		return nil
	}
	for _, alternatives := range relations {
		for _, one := range alternatives {
			if h := hash(one.Name); !slices.Contains(names, h) {
				names = append(names, h)
			}
		}
	}
	return names
}

func hash(name string) uint32 {
	h := fnv.New32a()
	_, _ = io.WriteString(h, name)
	return h.Sum32()
}

// done puts the entries in order.
func (r *reader) done() *Book {
	slices.SortStableFunc(r.made, func(a, b made) int {
		return cmp.Or(strings.Compare(a.line[:strings.IndexByte(a.line, 0)], b.line[:strings.IndexByte(b.line, 0)]), -deb.Compare(a.version, b.version))
	})
	b, size, needs, provides := r.Book, 0, 0, 0
	for _, m := range r.made {
		size, needs, provides = size+len(m.line), needs+len(m.needs), provides+len(m.provides)
	}
	b.entries, b.words = make([]entry, 0, len(r.made)), make([]byte, 0, size)
	b.needs, b.provides = make([]edge, 0, needs), make([]edge, 0, provides)
	for i, m := range r.made {
		m.words = uint32(len(b.words))
		b.words = append(b.words, m.line...)
		b.entries = append(b.entries, m.entry)
		for _, name := range m.needs {
			b.needs = append(b.needs, edge{name, uint32(i)})
		}
		for _, name := range m.provides {
			b.provides = append(b.provides, edge{name, uint32(i)})
		}
	}
	for _, edges := range [][]edge{b.needs, b.provides} {
		slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.entry, b.entry)) })
	}
	b.text = r.out.Done()
	return b
}

// Size is the memory that a book takes, about, in bytes.
func (b *Book) Size() int64 {
	return int64(20*len(b.entries)+len(b.words)+8*(len(b.needs)+len(b.provides))) + b.text.Memory()
}

// Len is the number of packages.
func (b *Book) Len() int { return len(b.entries) }

// Package is a package with its stanza; without, if no index that could be read names it.
type Package struct {
	snapshot.Row
	Stanza deb.Stanza
	entry  int
}

// Get reads the i-th package in order of name, the highest version of one name first.
func (b *Book) Get(i int) (Package, error) {
	e := b.entries[i]
	if e.index == none {
		return Package{b.snapshot.Table.Row(int(e.at)), nil, i}, nil
	}
	st := make([]byte, e.size)
	if _, err := b.text.ReadAt(st, int64(e.at)); err != nil && err != io.EOF {
		return Package{}, err
	}
	f, err := archive.ParsePackageFile(st)
	if err != nil {
		return Package{}, err
	}
	row, ok := b.snapshot.Table.Find(b.indices[e.index].suite.archive.Prefix + "/" + f.Filename)
	if !ok {
		return Package{}, snapshot.ErrNotExist
	}
	return Package{row, st, i}, nil
}

// line is the words of the i-th entry, without line end.
func (b *Book) line(i int) []byte {
	end := len(b.words)
	if i+1 < len(b.entries) {
		end = int(b.entries[i+1].words)
	}
	return b.words[b.entries[i].words : end-1]
}

// name is the name of the i-th package in lower case.
func (b *Book) name(i int) string {
	name, _, _ := bytes.Cut(b.line(i), []byte{0})
	return string(name)
}

// Named are the packages of a name, the highest version first.
func (b *Book) Named(name string) (out []Package, err error) {
	for i := range b.at(name) {
		p, err := b.Get(i)
		if err != nil {
			return nil, err
		}
		if p.Name == name {
			out = append(out, p)
		}
	}
	return out, nil
}

// Has tells whether there is a package of a name, but for the case of letters.
func (b *Book) Has(name string) bool {
	for range b.at(name) {
		return true
	}
	return false
}

// at yields the entries whose name is name, but for the case of letters.
func (b *Book) at(name string) func(yield func(int) bool) {
	name = strings.ToLower(clean(name))
	return func(yield func(int) bool) {
		i, _ := slices.BinarySearchFunc(b.entries, name, func(e entry, name string) int {
			j := bytes.IndexByte(b.words[e.words:], 0)
			return strings.Compare(string(b.words[e.words:int(e.words)+j]), name)
		})
		for ; i < len(b.entries) && b.name(i) == name; i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// Dependents are the packages that depend on a name or recommend it, in order of name, each name once. most bounds them.
func (b *Book) Dependents(name string, most int) (out []string, more bool) {
	return b.naming(b.needs, name, most, "Depends", "Pre-Depends", "Recommends")
}

// Providers are the packages that provide a name, as Dependents.
func (b *Book) Providers(name string, most int) (out []string, more bool) {
	return b.naming(b.provides, name, most, "Provides")
}

func (b *Book) naming(edges []edge, name string, most int, fields ...string) (out []string, more bool) {
	h := hash(name)
	i, _ := slices.BinarySearchFunc(edges, h, func(e edge, h uint32) int { return cmp.Compare(e.name, h) })
	for ; i < len(edges) && edges[i].name == h; i++ {
		p, err := b.Get(int(edges[i].entry))
		if err != nil || len(out) > 0 && out[len(out)-1] == p.Name || !p.names(name, fields) {
			continue
		}
		if len(out) == most {
			return out, true
		}
		out = append(out, p.Name)
	}
	return out, false
}

// names tells whether a field of the package names another one: a hash alone does not prove it.
func (p Package) names(name string, fields []string) bool {
	for _, field := range fields {
		relations, _ := deb.ParseRelations(p.Stanza.Get(field), "")
		for _, alternatives := range relations {
			if slices.ContainsFunc(alternatives, func(r deb.Relation) bool { return r.Name == name }) {
				return true
			}
		}
	}
	return false
}

// Sections are the sections of the packages, in order.
func (b *Book) Sections() []string { return slices.Sorted(slices.Values(b.sections)) }

// SuiteDates are when upstream made the Releases of an archive, as far as they were read, by suite.
func (b *Book) SuiteDates(prefix string) map[string]time.Time {
	out := map[string]time.Time{}
	for _, s := range b.suites {
		if s.archive.Prefix == prefix {
			out[s.name] = s.release.Date
		}
	}
	return out
}

// Suite is the suite whose index a package was found in; "": in none.
func (b *Book) Suite(p Package) string {
	if e := b.entries[p.entry]; e.index != none {
		return b.indices[e.index].suite.name
	}
	return ""
}

// prefix is the archive of an entry.
func (b *Book) prefix(e entry) string {
	if e.index != none {
		return b.indices[e.index].suite.archive.Prefix
	}
	return b.snapshot.Table.Row(int(e.at)).Archive()
}
