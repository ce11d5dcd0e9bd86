// Package minimirror reads the inputs of the mini-mirror, a sources/ tree and its YAML form, to one [config.Plan].
package minimirror

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/aptlyconf"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/foreign"
)

// Load reads a mini-mirror's sources/ tree:
// PREFIX/NAME/{source.txt,packages.txt}. source.txt is one line, URL KEY SUITE
// COMPONENT..., where KEY is a URL or a file (relative to source.txt); packages.txt is one package
// query a line. An empty packages.txt is an error; the line "all", alone, asks for
// the whole of the components. Sources of one prefix become one archive: they must have the same
// URL and key, and their packages may come from any of their suites.
//
// A packages.txt of dir itself is asked for over all of them, as apt would
// choose; a source beside it that has no packages.txt gives what is taken from it.
//
// A file in place of the directory is read by [LoadYAML].
//
// The architecture is amd64, as in the mini-mirror's own aptly.conf, unless an
// aptly.conf beside source.txt says otherwise, or else that of the options. Nothing else of the environment is read.
//
// All that is wrong with the tree is told in one error.
func Load(dir string, o Options) (*config.Plan, error) {
	if fi, err := os.Stat(dir); err == nil && !fi.IsDir() {
		return LoadYAML(dir, o)
	}
	if err := foreign.Dir(dir); err != nil {
		return nil, err
	}
	prefixes, err := subdirs(dir)
	if err != nil {
		return nil, err
	}
	t := tree{}
	t.conf, err = o.aptlyDefault()
	t.faults.Add(err)
	common, err := commonList(filepath.Join(dir, packagesName))
	t.faults.Add(err)
	t.common, t.commonUnread = len(common) > 0 || err != nil, err != nil
	for _, prefix := range prefixes {
		t.prefix(filepath.Join(dir, prefix), prefix)
	}
	if len(t.found) == 0 {
		if t.faults.Err() == nil {
			t.faults.Add(document.Errorf(document.Position{File: dir}, "no sources; lay it out as PREFIX/NAME/source.txt and PREFIX/NAME/packages.txt"))
		}
		return nil, t.faults.Err()
	}
	return planOf(&config.Plan{File: dir, CommonList: filepath.Join(dir, packagesName), Packages: common}, t.found, &t.faults)
}

// tree is what is read of a sources/ tree.
type tree struct {
	conf   aptlyconf.Conf // of sources without their own
	common bool           // there is a list for all sources
	// commonUnread: it could not be read, which is told already.
	commonUnread bool
	found        []source
	faults       document.Faults
}

// packagesName is the list of packages of a source, and of a whole tree.
const packagesName = "packages.txt"

// commonList reads the list of the tree itself, if it has one.
func commonList(name string) ([]config.Query, error) {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	qs, err := config.ReadList(name)
	if err == nil && len(qs) == 0 {
		err = document.Errorf(document.At(name, 1), "no package in the list; name at least one, or remove it")
	}
	return withoutRepeats(qs), err
}

// prefix reads the sources of a prefix.
func (t *tree) prefix(dir, prefix string) {
	if _, err := os.Stat(filepath.Join(dir, "source.txt")); err == nil {
		t.faults.Add(document.Errorf(document.Position{File: filepath.Join(dir, "source.txt")}, "one directory too high; move it to %s", filepath.Join(dir, "NAME", "source.txt")))
		return
	}
	names, err := subdirs(dir)
	if err == nil && len(names) == 0 {
		err = document.Errorf(document.Position{File: dir}, "no source below it; make %s, or remove the directory", filepath.Join(dir, "NAME", "source.txt"))
	}
	t.faults.Add(err)
	for _, name := range names {
		t.source(filepath.Join(dir, name), prefix)
	}
}

// subdirs are the directories in dir by name, hidden ones left out.
func subdirs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, document.Errorf(document.Position{File: dir}, "%w", err)
	}
	var out []string
	for _, e := range entries {
		if fi, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && fi.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// source is one PREFIX/NAME of a tree, or one subrepo of the YAML form.
type source struct {
	at              document.Position
	prefix          string
	url, key        string
	suite           string
	components      []string
	architectures   []string
	withSources     bool
	recommends      document.Position // where it asks for Recommends
	whole           bool
	packages        []config.Query
	unread          bool // its list could not be read, which is told already
	label, codename string
}

// source reads one source. Where the tree has a common list it needs none of its own.
func (t *tree) source(dir, prefix string) {
	s, err := readSourceLine(filepath.Join(dir, "source.txt"))
	t.faults.Add(err)
	if s == nil {
		s = &source{}
	}
	s.prefix = prefix
	list := filepath.Join(dir, packagesName)
	qs, listErr := config.ReadList(list)
	s.packages = qs
	if listErr == nil {
		listErr = s.choose(list)
	} else if t.common && errors.Is(listErr, fs.ErrNotExist) {
		listErr = nil
		s.unread = t.commonUnread
	}
	s.unread = s.unread || listErr != nil
	t.faults.Add(listErr)
	conf, there, confErr := readAptly(filepath.Join(dir, "aptly.conf"))
	t.faults.Add(confErr)
	if !there {
		conf = t.conf
	}
	s.obey(conf)
	if err == nil {
		t.found = append(t.found, *s)
	} else {
		t.faults.Add(config.ValidQueries(s.packages))
	}
}

// choose tells the list from the wish for everything.
func (s *source) choose(list string) (err error) {
	if s.whole, err = config.WholeOrList(list, s.packages); s.whole {
		s.packages = nil
	}
	return err
}

// readSourceLine reads source.txt; blank lines and comments do not count.
func readSourceLine(name string) (*source, error) {
	data, err := document.ReadFile(name, document.MaxYAML)
	if err != nil {
		return nil, err
	}
	return parseSourceLine(name, data)
}

func parseSourceLine(name string, data []byte) (*source, error) {
	const form = "URL KEY SUITE COMPONENT..."
	text, err := config.ParseList(name, data)
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, document.Errorf(document.At(name, 1), "empty; write one line: %s", form)
	}
	var faults document.Faults
	at, f := text[0].Position, strings.Fields(text[0].Text)
	if len(f) < 3 || len(f) < 4 && !config.IsFlat(f[2]) {
		faults.Add(document.Errorf(at, "%d fields, should be %s", len(f), form))
	}
	if len(f) > 0 && strings.HasPrefix(f[0], "ppa:") {
		faults.Add(document.Errorf(at, "%s is aptly's short form of an archive; write its address, http://HOST/OWNER/NAME/ubuntu", f[0]))
	}
	if len(text) > 1 {
		faults.Add(document.Errorf(text[1].Position, "a second line; one source.txt is one line, %s: make another NAME directory", form))
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	s := &source{at: at, url: f[0], key: relativeTo(name, f[1]), suite: f[2]}
	if len(f) > 3 {
		s.components = f[3:]
	}
	return s, nil
}

// relativeTo resolves a key's file beside the file that names it; a URL stays.
func relativeTo(name, key string) string {
	switch {
	case config.IsURL(key):
		return key
	case strings.HasPrefix(key, "file:"):
		key = strings.TrimPrefix(strings.TrimPrefix(key, "file:"), "//")
	}
	if filepath.IsAbs(key) {
		return filepath.Clean(key)
	}
	return filepath.Join(filepath.Dir(name), key)
}

// planOf joins the sources of each prefix to one archive of p. The order of the
// input does not matter: two spellings of one wish give one plan. Faults are those of the sources so far.
func planOf(p *config.Plan, sources []source, faults *document.Faults) (*config.Plan, error) {
	slices.SortStableFunc(sources, func(a, b source) int {
		return cmpStrings(a.prefix, b.prefix, a.suite, b.suite)
	})
	unread := map[string]bool{} // prefixes
	for i := range sources {
		s := &sources[i]
		if s.unread {
			unread[s.prefix] = true
		}
		if n := len(p.Archives); n > 0 && p.Archives[n-1].Prefix == s.prefix {
			faults.Add(s.join(&p.Archives[n-1], unread[s.prefix]))
			continue
		}
		p.Archives = append(p.Archives, s.archive())
	}
	var err error
	p.Recommends, err = recommended(sources)
	faults.Add(err)
	faults.Add(config.ValidQueries(p.Packages))
	for i := range p.Archives {
		a := &p.Archives[i]
		slices.Sort(a.Components)
		slices.Sort(a.Architectures)
		faults.Add(config.ValidQueries(a.Packages))
		if unread[a.Prefix] {
			// What it asks for is unknown; the rest of it is looked at.
			a.Packages, a.None, a.All = nil, true, false
		}
	}
	p.DrawTheRest(false)
	faults.Add(p.Validate())
	if err := faults.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

func cmpStrings(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}

func (s *source) archive() config.Archive {
	a := config.Archive{
		Position: s.at, Prefix: s.prefix, URLs: []string{strings.TrimRight(s.url, "/")},
		Suites: []string{s.suite}, Components: slices.Clone(s.components), Architectures: slices.Clone(s.architectures),
		All: s.whole, Packages: withoutRepeats(s.packages), CheckValidUntil: true, WithSources: s.withSources,
		Label: s.label, Codename: s.codename,
	}
	if config.IsURL(s.key) {
		a.SignedByURL = s.key
	} else {
		a.SignedBy = s.key
	}
	if !config.HasScheme(s.url) {
		a.URLs[0] = relativeTo(s.at.File, s.url)
	}
	return a
}

// join adds a source to the archive of its prefix. What cannot be one archive
// is refused with both places: nothing is served under a prefix by the luck of an order. What is
// asked for is not compared where a list is unread.
func (s *source) join(a *config.Archive, unread bool) error {
	b := s.archive()
	var faults document.Faults
	for _, x := range []struct{ what, was, is string }{
		{"URL", a.URLs[0], b.URLs[0]},
		{"key", a.SignedBy + a.SignedByURL, b.SignedBy + b.SignedByURL},
		{"label", a.Label, b.Label}, {"codename", a.Codename, b.Codename},
		{"architectures", strings.Join(a.Architectures, " "), strings.Join(b.Architectures, " ")},
	} {
		if x.was != x.is {
			faults.Add(document.Errorf(s.at, "%s %q, but under the same prefix %s has %q; give one of them another prefix", x.what, x.is, a.Position, x.was))
		}
	}
	if a.All != b.All && !unread {
		faults.Add(document.Errorf(s.at, "of the sources of prefix %s this one and %s differ in whether everything is asked for; give one of them another prefix", a.Prefix, a.Position))
	}
	if err := faults.Err(); err != nil {
		return err
	}
	config.AddMissing(&a.Suites, b.Suites)
	config.AddMissing(&a.Components, b.Components)
	a.Packages = withoutRepeats(append(a.Packages, b.Packages...))
	a.WithSources = a.WithSources || b.WithSources
	return nil
}

func withoutRepeats(qs []config.Query) []config.Query {
	var out []config.Query
	for _, q := range qs {
		if !slices.ContainsFunc(out, func(o config.Query) bool { return o.Text == q.Text }) {
			out = append(out, q)
		}
	}
	return out
}
