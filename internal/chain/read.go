package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"path"
	"slices"
	"strings"

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

// errTooMuch says that not all can be kept.
var errTooMuch = fmt.Errorf("the stanzas have more than %d bytes", maxKept)

// Read reads the indices of a snapshot. What cannot be read is among Lost and no
// error: every package of the snapshot is in the book, with its stanza or without. The error is ctx's.
func Read(ctx context.Context, o Options) (*Book, error) {
	r := &reader{
		Book: &Book{snapshot: o.Snapshot, keys: o, seed: maphash.MakeSeed()}, dict: newDictionary(), seen: map[seen]uint32{}, sets: map[string]uint16{}, sections: map[string]uint16{},
	}
	st := o.Snapshot.Statement
	for i := range st.Archives {
		a := &st.Archives[i]
		if !r.wants(a.Prefix) || a.Format != snapshot.FormatDeb {
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
	r.how = Believed(o.Snapshot, o.Site, o.Pinned)
	if o.Want == nil {
		r.WhyNot = r.readLock(ctx)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return r.done(), nil
}

// Believed says how the statement of a snapshot is verified: by the site's keys, or else by its digest, where that is pinned. That it was
// opened by its digest is no pin: a server asks by digest for what a tag names.
func Believed(s *snapshot.Snapshot, site *pgp.Keyring, pinned bool) pgp.How {
	how := s.Statement.How
	if how.Kind == pgp.Pinned && !pinned {
		how = pgp.How{}
	}
	if how.Kind == pgp.Signed || site == nil || !s.Signed {
		return how
	}
	_, signed, err := pgp.VerifyClearsigned(s.StatementBytes, pgp.Trust{Keyring: site})
	switch {
	case err == nil:
		return signed
	case how.Kind == pgp.Pinned:
		return how
	}
	return pgp.How{Detail: err.Error()}
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
		r.add(made{entry: entry{at: uint32(i), index: none, section: r.section("")}, version: row.Version}, row.Name, row.Source, "", nil, nil)
	}
}

// clean takes out what divides words.
func clean(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// seen is a file of an archive.
type seen struct {
	prefix string
	digest snapshot.Digest
}

// reader is a Book that is being made.
type reader struct {
	*Book
	dict     dictionary
	used     []use // words and how they are used: in place of an entry they have the word
	out      spool.Writer
	size     int64
	seen     map[seen]uint32 // where each is in made; packages for all architectures stand in several indices
	sections map[string]uint16
	sets     map[string]uint16 // of suites, as in Book
	made     []made
	joined   []joined // by the index that is being read
}

// joined is an entry that another suite has, too, and the set of suites that it had before.
type joined struct {
	made uint32
	was  uint16
}

// made is an entry before its place in the order is known.
type made struct {
	entry
	version  string
	key      seen
	from, to uint32 // in used
}

// add adds an entry with the words of it.
func (r *reader) add(m made, name, source, description string, needs, provides []string) {
	m.from = uint32(len(r.used))
	word := func(text string, as int) uint32 {
		id := r.dict.number(strings.ToLower(clean(text)))
		r.used = append(r.used, use(id)<<fieldBits|use(as))
		return id
	}
	m.name, m.source, m.capital = word(name, asName), word(source, asSource), strings.ToLower(name) != name
	for part := range strings.FieldsSeq(description[:min(len(description), maxWords)]) {
		word(part, inDescription)
	}
	for _, name := range needs {
		word(name, asNeed)
	}
	for _, name := range provides {
		word(name, asProvided)
	}
	slices.Sort(r.used[m.from:])
	r.used = r.used[:int(m.from)+len(slices.Compact(r.used[m.from:]))]
	m.to = uint32(len(r.used))
	r.made = append(r.made, m)
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
	r.joined = r.joined[:0]
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
			if len(r.made) > was {
				r.used = r.used[:r.made[was].from]
			}
			for _, j := range slices.Backward(r.joined) {
				r.made[j.made].suites = j.was
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
	suite := r.indices[i].suite.name
	if at, ok := r.seen[key]; ok {
		m := &r.made[at]
		if set := r.Book.sets[m.suites]; !slices.Contains(strings.Split(set, ", "), suite) {
			r.joined = append(r.joined, joined{at, m.suites})
			m.suites = r.set(set + ", " + suite)
		}
		return nil
	}
	if r.size+int64(len(st)) > maxKept {
		return errTooMuch
	}
	m := made{entry: entry{at: uint32(r.size), size: uint32(len(st)), sum: maphash.Bytes(r.seed, st), index: uint16(i), suites: r.set(suite)}, key: key, version: strings.Clone(f.Version)}
	if _, err := r.out.Write(st); err != nil {
		return err
	}
	r.size += int64(len(st))
	r.seen[key] = uint32(len(r.made))
	var v [6]string
	st.Values(v[:], "Depends", "Pre-Depends", "Recommends", "Provides", "Section", "Description")
	var needs []string
	for _, value := range v[:3] {
		needs = append(needs, namesIn(value)...)
	}
	m.section = r.section(v[4])
	short, _, _ := strings.Cut(v[5], "\n")
	r.add(m, f.Name, f.Source, short, needs, namesIn(v[3]))
	return nil
}

// set is the number of a set of suites, by their names.
func (r *reader) set(names string) uint16 {
	id, ok := r.sets[names]
	if !ok && len(r.Book.sets) < 1<<16-1 {
		id = uint16(len(r.Book.sets))
		r.sets[names] = id
		r.Book.sets = append(r.Book.sets, names)
	}
	return id
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

// namesIn are the names in a relation.
func namesIn(value string) (names []string) {
	relations, err := deb.ParseRelations(value, "")
	if err != nil {
		return nil
	}
	for _, alternatives := range relations {
		for _, one := range alternatives {
			names = append(names, one.Name)
		}
	}
	return names
}

// renumber gives words new numbers: names first, in order, so that those with one beginning lie together.
func (r *reader) renumber(order []uint32) {
	old, dict := r.dict, newDictionary()
	for _, i := range order {
		dict.number(string(old.word(r.made[i].name)))
	}
	number := make([]uint32, len(old.at)) // new ones by the old
	for id := range old.at {
		number[id] = dict.number(string(old.word(uint32(id))))
	}
	for i := range r.made {
		m := &r.made[i]
		m.name, m.source = number[m.name], number[m.source]
	}
	for i, u := range r.used {
		r.used[i] = use(number[u.entry()])<<fieldBits | use(u.as())
	}
	for i := range r.reasons {
		r.reasons[i].name = number[r.reasons[i].name]
	}
	r.dict = dict
}

// done puts the entries in order.
func (r *reader) done() *Book {
	order := make([]uint32, len(r.made))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(i, j uint32) int {
		a, b := &r.made[i], &r.made[j]
		if a.name != b.name {
			return bytes.Compare(r.dict.word(a.name), r.dict.word(b.name))
		}
		return -deb.Compare(a.version, b.version)
	})
	r.renumber(order)
	b := r.Book
	b.entries = make([]entry, len(order))
	for i, j := range order {
		b.entries[i] = r.made[j].entry
	}
	b.words = words{dictionary: r.dict}
	b.words.text, b.words.at = slices.Clone(r.dict.text), slices.Clone(r.dict.at) // without room to grow
	b.words.blocks = blocksOf(&b.words.dictionary)
	b.sketches = make([]sketch, len(order))
	for i := range b.entries {
		b.sketches[i] = sketchOf(b.name(i))
	}
	n := len(r.dict.at)
	b.words.texts = usesBy(n, order, r.made, r.used, func(as int) bool { return as <= inDescription })
	b.words.relations = usesBy(n, order, r.made, r.used, func(as int) bool { return as > inDescription })
	slices.SortStableFunc(b.reasons, func(x, y reason) int { return bytes.Compare(b.words.word(x.name), b.words.word(y.name)) })
	b.text = r.out.Done()
	return b
}
