package config

import (
	"errors"
	"example.org/mmoci/internal/config/document"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// LoadSources reads a mini-mirror sources/ tree:
// PREFIX/NAME/{source.txt,packages.txt}. source.txt is one line, URL KEY SUITE
// COMPONENT..., where KEY is a URL or a file (relative to source.txt); packages.txt is one package
// query a line. An empty packages.txt is an error; the line "all", alone, asks for
// the whole of the components. Sources of one prefix become one archive: they must have the same
// URL and key, and their packages may come from any of their suites.
//
// A packages.txt of dir itself is asked for over all of them, as apt would
// choose; a source beside it that has no packages.txt gives what is taken from it.
//
// A file in place of the directory is read by [LoadMiniMirrorYAML].
//
// The architecture is amd64, as in the mini-mirror's own aptly.conf, unless an
// aptly.conf beside source.txt says otherwise. Nothing else of the environment is read.
func LoadSources(dir string) (*Plan, error) {
	if fi, err := os.Stat(dir); err == nil && !fi.IsDir() {
		return LoadMiniMirrorYAML(dir)
	}
	prefixes, err := subdirs(dir)
	if err != nil {
		return nil, err
	}
	common, err := commonList(filepath.Join(dir, packagesName))
	if err != nil {
		return nil, err
	}
	var found []source
	for _, prefix := range prefixes {
		sources, err := loadPrefix(filepath.Join(dir, prefix), prefix, len(common) > 0)
		if err != nil {
			return nil, err
		}
		found = append(found, sources...)
	}
	if len(found) == 0 {
		return nil, document.Errorf(document.Position{File: dir}, "no sources; lay it out as PREFIX/NAME/source.txt and PREFIX/NAME/packages.txt")
	}
	p, err := planOf(dir, found, common)
	if err == nil {
		p.CommonList = filepath.Join(dir, packagesName)
	}
	return p, err
}

// packagesName is the list of packages of a source, and of a whole tree.
const packagesName = "packages.txt"

// commonList reads the list of the tree itself, if it has one.
func commonList(name string) ([]Query, error) {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	qs, err := readList(name)
	if err == nil && len(qs) == 0 {
		err = document.Errorf(document.At(name, 1), "no package in the list; name at least one, or remove it")
	}
	return withoutRepeats(qs), err
}

func loadPrefix(dir, prefix string, common bool) ([]source, error) {
	if _, err := os.Stat(filepath.Join(dir, "source.txt")); err == nil {
		return nil, document.Errorf(document.Position{File: filepath.Join(dir, "source.txt")}, "one directory too high; move it to %s", filepath.Join(dir, "NAME", "source.txt"))
	}
	names, err := subdirs(dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, document.Errorf(document.Position{File: dir}, "no source below it; make %s, or remove the directory", filepath.Join(dir, "NAME", "source.txt"))
	}
	var out []source
	for _, name := range names {
		s, err := loadSource(filepath.Join(dir, name), common)
		if err != nil {
			return nil, err
		}
		s.prefix = prefix
		out = append(out, *s)
	}
	return out, nil
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
	whole           bool
	packages        []Query
	label, codename string
}

// loadSource reads one source. Where the tree has a common list it needs none of its own.
func loadSource(dir string, common bool) (*source, error) {
	s, err := readSourceLine(filepath.Join(dir, "source.txt"))
	if err != nil {
		return nil, err
	}
	list := filepath.Join(dir, packagesName)
	s.packages, err = readList(list)
	switch {
	case common && errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := s.choose(list); err != nil {
			return nil, err
		}
	}
	conf := filepath.Join(dir, "aptly.conf")
	data, err := document.ReadFile(conf, document.MaxYAML)
	if errors.Is(err, fs.ErrNotExist) {
		return s, s.aptly(document.Position{File: conf}, nil)
	}
	if err != nil {
		return nil, err
	}
	return s, s.aptly(document.At(conf, 1), data)
}

// choose tells the list from the wish for everything.
func (s *source) choose(list string) (err error) {
	if s.whole, err = wholeOrList(list, s.packages); s.whole {
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
	text, err := parseList(name, data)
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, document.Errorf(document.At(name, 1), "empty; write one line: %s", form)
	}
	if len(text) > 1 {
		return nil, document.Errorf(text[1].Position, "a second line; one source.txt is one line, %s: make another NAME directory", form)
	}
	at, f := text[0].Position, strings.Fields(text[0].Text)
	if len(f) < 3 || len(f) < 4 && !IsFlat(f[2]) {
		return nil, document.Errorf(at, "%d fields, should be %s", len(f), form)
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
	case isURL(key):
		return key
	case strings.HasPrefix(key, "file:"):
		key = strings.TrimPrefix(strings.TrimPrefix(key, "file:"), "//")
	}
	if filepath.IsAbs(key) {
		return filepath.Clean(key)
	}
	return filepath.Join(filepath.Dir(name), key)
}

// planOf joins the sources of each prefix to one archive. The order of the
// input does not matter: two spellings of one wish give one plan.
func planOf(file string, sources []source, common []Query) (*Plan, error) {
	slices.SortStableFunc(sources, func(a, b source) int {
		return cmpStrings(a.prefix, b.prefix, a.suite, b.suite)
	})
	p := &Plan{File: file, Packages: common}
	for i := range sources {
		s := &sources[i]
		if n := len(p.Archives); n > 0 && p.Archives[n-1].Prefix == s.prefix {
			if err := s.join(&p.Archives[n-1]); err != nil {
				return nil, err
			}
			continue
		}
		p.Archives = append(p.Archives, s.archive())
	}
	for i := range p.Archives {
		a := &p.Archives[i]
		slices.Sort(a.Components)
		slices.Sort(a.Architectures)
	}
	p.drawTheRest()
	return p, p.Validate()
}

func cmpStrings(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}

func (s *source) archive() Archive {
	a := Archive{
		Position: s.at, Prefix: s.prefix, URLs: []string{strings.TrimRight(s.url, "/")},
		Suites: []string{s.suite}, Components: slices.Clone(s.components), Architectures: slices.Clone(s.architectures),
		All: s.whole, Packages: withoutRepeats(s.packages), CheckValidUntil: true, WithSources: s.withSources,
		Label: s.label, Codename: s.codename,
	}
	if isURL(s.key) {
		a.SignedByURL = s.key
	} else {
		a.SignedBy = s.key
	}
	if !hasScheme(s.url) {
		a.URLs[0] = relativeTo(s.at.File, s.url)
	}
	return a
}

// join adds a source to the archive of its prefix. What cannot be one archive
// is refused with both places: nothing is served under a prefix by the luck of an order.
func (s *source) join(a *Archive) error {
	b := s.archive()
	for _, x := range []struct{ what, was, is string }{
		{"URL", a.URLs[0], b.URLs[0]},
		{"key", a.SignedBy + a.SignedByURL, b.SignedBy + b.SignedByURL},
		{"label", a.Label, b.Label}, {"codename", a.Codename, b.Codename},
		{"architectures", strings.Join(a.Architectures, " "), strings.Join(b.Architectures, " ")},
	} {
		if x.was != x.is {
			return document.Errorf(s.at, "%s %q, but under the same prefix %s has %q; give one of them another prefix", x.what, x.is, a.Position, x.was)
		}
	}
	if a.All != b.All {
		return document.Errorf(s.at, "of the sources of prefix %s this one and %s differ in whether everything is asked for; give one of them another prefix", a.Prefix, a.Position)
	}
	add(&a.Suites, b.Suites)
	add(&a.Components, b.Components)
	a.Packages = withoutRepeats(append(a.Packages, b.Packages...))
	a.WithSources = a.WithSources || b.WithSources
	return nil
}

func add(list *[]string, more []string) {
	for _, s := range more {
		if !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
}

func withoutRepeats(qs []Query) []Query {
	var out []Query
	for _, q := range qs {
		if !slices.ContainsFunc(out, func(o Query) bool { return o.Text == q.Text }) {
			out = append(out, q)
		}
	}
	return out
}
