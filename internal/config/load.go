package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/foreign"
)

// Name is how the file of a plan is called; SystemDir is where it is looked
// for when the working directory has none.
const (
	Name      = "mmoci.yaml"
	SystemDir = "/etc/mmoci"
)

// Find returns the mmoci.yaml to use when none is named: of the working
// directory, else of /etc/mmoci; "" if there is none.
func Find() string {
	for _, name := range []string{Name, filepath.Join(SystemDir, Name)} {
		if fi, err := os.Stat(name); err == nil && !fi.IsDir() {
			return name
		}
	}
	return ""
}

// Load reads mmoci.yaml. Unknown keys, missing keys, nulls and empty lists are
// errors (ErrUsage) with file, line and what to write instead. Lists that it names are read;
// keys, directories and upstreams are not looked at.
func Load(path string) (*Plan, error) {
	data, err := document.ReadFile(path, document.MaxYAML)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, document.Errorf(document.Position{File: path}, "%w; \"mmoci init\" makes one", fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if err := foreign.YAML(path, data); err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads and validates the text of an mmoci.yaml.
func Parse(path string, data []byte) (*Plan, error) {
	docs, err := document.Parse(path, data)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, document.Errorf(document.At(path, 1), "empty; it needs at least ref: and archives:")
	}
	if len(docs) > 1 {
		return nil, docs[1].Errorf("a second document begins here; one file is one plan")
	}
	l := &loader{dir: filepath.Dir(path), plan: &Plan{File: path, CommonList: "`packages:` at the top"}}
	if err := l.top(docs[0]); err != nil {
		return nil, err
	}
	if err := l.drawExact(); err != nil {
		return nil, err
	}
	l.plan.DrawTheRest(len(l.common.lines) > 0)
	if err := l.arrange(); err != nil {
		return nil, err
	}
	if err := l.plan.Validate(); err != nil {
		return nil, err
	}
	return l.plan, nil
}

// loader turns nodes into a plan.
type loader struct {
	dir  string // of the file: relative paths are relative to it
	plan *Plan

	common   packageLists // at the top
	archived []archiveDoc // in order of plan.Archives
	rewrites []rewrite    // mirrors:
	strategy string       // of archives that name none
}

func (l *loader) top(n document.Node) error {
	p := l.plan
	l.common.peek(n)
	return n.Mapping(document.Fields{
		"ref":             document.SetText(&p.Ref),
		"lock":            l.setFile(&p.Lock),
		"sign":            l.sign,
		"trust":           l.trust,
		"sources":         document.SetTexts(&p.Sources),
		"archives":        l.archives,
		"packages":        l.packages,
		"packages-from":   func(n document.Node) error { return l.common.read(l, n, &p.Packages) },
		"list":            l.common.kind,
		"mirrors":         l.mirrors,
		"strategy":        setStrategy(&l.strategy),
		"images":          l.images,
		"images-to":       document.SetText(&p.ImagesTo),
		"image-platforms": document.SetTexts(&p.ImagePlatforms),
		"serve":           l.serve,
		"bundle":          document.SetTexts(&p.Bundle),
		"recommends":      document.SetFlag(&p.Recommends),
		"valid-for":       document.SetDuration(&p.ValidFor),
	})
}

func (l *loader) sign(n document.Node) error {
	s := &Sign{}
	l.plan.Sign = s
	if v, ok := n.Scalar(); ok {
		return n.Errorf("is a single value; write sign: {key: %s}", document.OneLine(v))
	}
	err := n.Mapping(document.Fields{
		"key":                l.setFile(&s.Key),
		"passphrase-file":    l.setFile(&s.PassphraseFile),
		"passphrase-command": l.setCommand(&s.PassphraseCmd),
		"command":            l.setCommand(&s.Command),
	})
	if err != nil {
		return err
	}
	if err := s.validate(); err != nil {
		return n.Errorf("%w", err)
	}
	return nil
}

func (s *Sign) validate() error {
	switch {
	case s.Key == "" && s.Command == nil:
		return errors.New("neither key: nor command:; give the file of the secret key (mmoci key new makes one) or the command that signs")
	case s.Key != "" && s.Command != nil:
		return errors.New("both key: and command:; keep one of them")
	case s.PassphraseFile != "" && s.PassphraseCmd != nil:
		return errors.New("both passphrase-file: and passphrase-command:; keep one of them")
	case s.Command != nil && (s.PassphraseFile != "" || s.PassphraseCmd != nil):
		return errors.New("a passphrase beside command:; only key: has one")
	}
	return nil
}

func (l *loader) serve(n document.Node) error {
	s := &l.plan.Serve
	return n.Mapping(document.Fields{
		"listen":  document.SetOneOrMore(&s.Listen),
		"policy":  l.setFile(&s.Policy),
		"mirrors": l.setFile(&s.Mirrors),
		"state":   l.setFile(&s.State),

		"registry": document.SetFlag(&s.Registry),

		"fresh-for":   document.SetDuration(&s.FreshFor),
		"stale-after": document.SetDuration(&s.StaleAfter),
	})
}

func (l *loader) archives(n document.Node) error {
	return n.Each(func(item document.Node) error {
		item.Key = ""
		if o, err := l.other(item); err != nil || o != nil {
			if err == nil {
				l.plan.Others = append(l.plan.Others, *o)
			}
			return err
		}
		d, err := l.archive(item)
		if err != nil {
			return err
		}
		l.plan.Archives = append(l.plan.Archives, *d.a)
		l.archived = append(l.archived, *d)
		return nil
	})
}

// file makes a path relative to the file it was written in.
func (l *loader) file(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(l.dir, p)
}

func (l *loader) setFile(dst *string) func(document.Node) error {
	return func(n document.Node) error {
		s, err := n.Text()
		if err != nil {
			return err
		}
		if IsURL(s) {
			return n.Errorf("is a URL, should be a file: %s", s)
		}
		*dst = l.file(s)
		return nil
	}
}

func (l *loader) setFiles(dst *[]string) func(document.Node) error {
	return func(n document.Node) error {
		list, err := document.OneOrMore(n)
		if err != nil {
			return err
		}
		for _, s := range list {
			if IsURL(s) {
				return n.Errorf("is a URL, should be a file: %s", s)
			}
			*dst = append(*dst, l.file(s))
		}
		return nil
	}
}

// setCommand reads a command: a list of program and arguments. No shell runs it. A
// program with a slash in its name is a path like all others in the file.
func (l *loader) setCommand(dst *[]string) func(document.Node) error {
	read := readCommand(dst)
	return func(n document.Node) error {
		err := read(n)
		if c := *dst; len(c) > 0 && strings.Contains(c[0], "/") {
			c[0] = l.file(c[0])
			if !strings.Contains(c[0], "/") { // beside a file of this directory; without a slash it would be looked for in PATH
				c[0] = "./" + c[0]
			}
		}
		return err
	}
}

func readCommand(dst *[]string) func(document.Node) error {
	return func(n document.Node) error {
		if s, ok := n.Scalar(); ok {
			if strings.ContainsAny(strings.TrimSpace(s), " \t\n") {
				return n.Errorf("is one text; write program and arguments as a list: [PROGRAM, ARGUMENT, ...]; no shell reads it")
			}
			s, err := n.Text()
			*dst = []string{s}
			return err
		}
		items, err := n.Items()
		if err != nil {
			return err
		}
		for _, item := range items {
			s, err := item.Text()
			if err != nil {
				return err
			}
			*dst = append(*dst, s)
		}
		return nil
	}
}

// IsURL tells a value that is read over the network.
func IsURL(s string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	scheme = strings.ToLower(scheme)
	return ok && (scheme == "http" || scheme == "https")
}
