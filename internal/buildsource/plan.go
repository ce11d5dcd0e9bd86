// Package buildsource reads a pkg.yaml, which says how a source package of a snapshot is changed, and gives the result an identity:
// the digest of a text that has all that decides the bytes of a build, and nothing else (artifacts/SPEC.md, "The source").
//
// It resolves and builds nothing, and asks no network.
package buildsource

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Name is the file of a directory that says how its source is built.
const Name = "pkg.yaml"

// Limits of what a pkg.yaml names.
const (
	MaxPatch   = 16 << 20 // bytes of one patch
	maxPatches = 512
)

// What is built of a source package.
const (
	Any       = "any"     // what depends on the architecture
	All       = "all"     // what does not
	AnyAndAll = "any+all" // both
)

// Plan is what a pkg.yaml says. Immutable.
type Plan struct {
	File string // the pkg.yaml, for messages
	Dir  string // that paths are relative to

	Source, Version string // of the base; Version "" is the newest that the snapshot has
	BaseAt          document.Position
	Author          string // who vouches for the change; of no build
	Suffix          string // of the version, "+p1"; "" only if nothing is changed
	Build           string // Any, All or AnyAndAll
	Patches         []Patch
	With, Without   []Word // flags of use:
	Profiles        []Word
	Options         []string // words of DEB_BUILD_OPTIONS, sorted
	Env             []string // NAME=VALUE, sorted
}

// Word is a word of a list where it stands.
type Word struct {
	Text string
	document.Position
}

// Patch is a patch where it stands, in the order of application.
type Patch struct {
	document.Position
	Path   string          // relative to the plan's directory, slash-separated; "" of one by URL
	URL    string          // "" of a file
	Digest snapshot.Digest // that its bytes must have; zero of a file for which none is given
	Why    string
}

// Title is what people call the patch.
func (p *Patch) Title() string {
	if p.Why != "" {
		return p.Why
	}
	return p.String()
}

// String is the path, or the URL without user, password and query, which may be a token: what it says is read by everybody.
func (p *Patch) String() string {
	u, err := url.Parse(p.URL)
	if p.URL == "" || err != nil {
		return p.Path
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment = nil, "", false, ""
	return u.String()
}

// Changed tells whether anything differs from what the archive built.
func (p *Plan) Changed() bool {
	return len(p.Patches)+len(p.With)+len(p.Without)+len(p.Profiles)+len(p.Options)+len(p.Env) > 0
}

// BuildProfiles are the profiles that the plan asks for, sorted, each once. A flag of use.with is a profile pkg.SOURCE.FLAG, one of
// use.without pkg.SOURCE.noFLAG; declared are those that the source has.
//
// Errors are of outcome.ErrUsage: each flag that the source does not declare, with those that it does.
func (p *Plan) BuildProfiles(declared []string) ([]string, error) {
	have := "the source declares no profiles"
	if len(declared) > 0 {
		have = "the source has " + strings.Join(declared, ", ")
	}
	var faults document.Faults
	return p.profiles(func(w Word, name string) {
		if !slices.Contains(declared, name) {
			faults.Add(document.Errorf(w.Position, "%s: %s has no build profile %s; %s", w.Text, p.Source, name, have))
		}
	}), faults.Err()
}

// profiles are the names of the profiles that the plan asks for, sorted, each once; see is told of each word.
func (p *Plan) profiles(see func(w Word, name string)) []string {
	out := make([]string, 0, len(p.Profiles)+len(p.With)+len(p.Without))
	take := func(prefix string, words []Word) {
		for _, w := range words {
			out = append(out, prefix+w.Text)
			see(w, prefix+w.Text)
		}
	}
	take("pkg."+p.Source+".", p.With)
	take("pkg."+p.Source+".no", p.Without)
	take("", p.Profiles)
	slices.Sort(out)
	return slices.Compact(out)
}

// Load reads the pkg.yaml of a directory, or a file that is named.
//
// Errors are of document.ErrUsage, all at once with their lines; outcome.ErrNotFound if there is none.
func Load(name string) (*Plan, error) {
	if fi, err := os.Stat(name); err == nil && fi.IsDir() {
		name = filepath.Join(name, Name)
	}
	data, err := document.ReadFile(name, document.MaxYAML)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w; a directory with a %s says how a source is built", name, outcome.ErrNotFound, Name)
	}
	if err != nil {
		return nil, err
	}
	return Parse(name, filepath.Dir(name), data)
}

// Parse reads the text of a pkg.yaml; dir is what its paths are relative to. Errors are those of [Load].
func Parse(file, dir string, data []byte) (*Plan, error) {
	docs, err := document.Parse(file, document.Normalise(data))
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, document.Errorf(document.At(file, 1), "%d documents; a %s has one, with base: NAME (= VERSION)", len(docs), Name)
	}
	p := &Plan{File: file, Dir: dir, Build: AnyAndAll}
	known := p.fields()
	top := docs[0]
	top.Key = ""
	var faults document.Faults
	faults.Add(top.Mapping(known))
	for _, key := range top.Lacks(known, "base") {
		faults.Add(document.Errorf(top.At(), "no %s:; write base: nginx (= 1.22.1-9) with a source package of the snapshot", key))
	}
	if len(top.Lacks(known, "suffix")) > 0 && p.Changed() {
		faults.Add(document.Errorf(cmp.Or(p.BaseAt, top.At()), "no suffix:, though the build differs from the archive's own; write suffix: +p1, so that two packages of one version never differ"))
	}
	return p, faults.Err()
}

// fields read the values of the keys.
func (p *Plan) fields() document.Fields {
	return document.Fields{
		"base":     p.base,
		"author":   func(n document.Node) (err error) { p.Author, err = n.Text(); return err },
		"suffix":   p.suffix,
		"build":    p.build,
		"patches":  p.patches,
		"use":      p.use,
		"profiles": func(n document.Node) (err error) { p.Profiles, err = words(n, profile, "a build profile"); return err },
		"options":  p.options,
		"env":      p.env,
	}
}

// Check tells what is wrong with the value of a key; nil: nothing, or it is none of a pkg.yaml. Errors are those of [Load].
func Check(pair document.Pair) error {
	read := (&Plan{}).fields()[pair.Key]
	if read == nil {
		return nil
	}
	return read(pair.Node)
}

var (
	based      = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]+)(?:\s*\(\s*=\s*([^\s()]+)\s*\))?$`)
	gentooAtom = regexp.MustCompile(`^[a-z0-9+._-]+/([A-Za-z0-9+_-]+?)(?:-([0-9][A-Za-z0-9.+_~-]*))?$`)
	endingOf   = regexp.MustCompile(`^\+[A-Za-z0-9][A-Za-z0-9.+~]{0,30}$`)
	flag       = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	profile    = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]*$`)
	option     = regexp.MustCompile(`^[a-z][a-z0-9_-]*(=[A-Za-z0-9._,+-]+)?$`)
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	sha256Text = regexp.MustCompile(`^(?:sha256:)?([0-9a-f]{64})$`)
)

func (p *Plan) base(n document.Node) error {
	s, err := n.Text()
	if err != nil {
		return err
	}
	p.BaseAt = n.At()
	if name, version, ok := ParseAtom(s); ok {
		if version += "-.."; version == "-.." {
			version = "VERSION"
		}
		return n.Errorf("%.80q is a Gentoo atom; write %s (= %s) with a version of Debian's that the snapshot has", document.OneLine(s), name, version)
	}
	name, version, ok := ParseBase(s)
	if !ok {
		return n.Errorf("%.80q is no source package; write nginx (= 1.22.1-9), or a name alone for the newest that the snapshot has", document.OneLine(s))
	}
	if version != "" {
		if err := deb.ValidVersion(version); err != nil {
			return n.Errorf("version %.80q: %w", version, err)
		}
	}
	p.Source, p.Version = name, version
	return nil
}

// ParseBase reads NAME (= VERSION), or NAME alone, of a source package.
func ParseBase(s string) (name, version string, ok bool) { return parts(based, s) }

// ParseAtom reads a Gentoo atom, CATEGORY/NAME-VERSION or without the version: the name in lower case, as Debian's are.
func ParseAtom(s string) (name, version string, ok bool) {
	name, version, ok = parts(gentooAtom, s)
	return strings.ToLower(name), version, ok
}

func parts(r *regexp.Regexp, s string) (name, version string, ok bool) {
	if m := r.FindStringSubmatch(s); m != nil {
		return m[1], m[2], true
	}
	return "", "", false
}

func (p *Plan) suffix(n document.Node) error {
	s, err := n.Text()
	if err != nil {
		return err
	}
	if !endingOf.MatchString(s) {
		return n.Errorf("%.40q cannot end a version; write one as +p1, which makes it higher than the archive's: +, then letters, digits, dots", document.OneLine(s))
	}
	p.Suffix = s
	return nil
}

func (p *Plan) build(n document.Node) error {
	s, err := n.Text()
	if err == nil && s != Any && s != All && s != AnyAndAll {
		err = n.Errorf("%.40q; it is any, all or any+all (the default): which of the source's packages are built", document.OneLine(s))
	}
	p.Build = s
	return err
}

// patches are a mapping of path or URL to the reason, or to {why, sha256}; a file may stand in a list, too.
func (p *Plan) patches(n document.Node) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	if len(pairs) > maxPatches {
		return n.Errorf("%d patches; at most %d are taken", len(pairs), maxPatches)
	}
	var faults document.Faults
	for _, pair := range pairs {
		patch, err := readPatch(pair)
		faults.Add(err)
		p.Patches = append(p.Patches, patch)
	}
	return faults.Err()
}

func readPatch(pair document.Pair) (Patch, error) {
	out := Patch{Position: pair.KeyAt()}
	if _, ok := pair.Scalar(); ok {
		why, err := pair.Text()
		if err != nil {
			return out, err
		}
		out.Why = why
	} else if err := pair.Mapping(document.Fields{
		"why": func(n document.Node) (err error) { out.Why, err = n.Text(); return err },
		"sha256": func(n document.Node) error {
			s, err := n.Text()
			if err != nil {
				return err
			}
			m := sha256Text.FindStringSubmatch(s)
			if m == nil {
				return n.Errorf("%.80q is no digest: 64 hexadecimal digits in lower case", document.OneLine(s))
			}
			out.Digest, err = snapshot.ParseDigest("sha256:" + m[1])
			return err
		},
	}); err != nil {
		return out, err
	}
	if !strings.Contains(pair.Key, "://") {
		out.Path = filepath.ToSlash(filepath.Clean(pair.Key))
		if !filepath.IsLocal(out.Path) {
			return out, document.Errorf(out.Position, "patch %.120q lies outside of the directory of the %s", document.OneLine(pair.Key), Name)
		}
		return out, nil
	}
	u, err := url.Parse(pair.Key)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return out, document.Errorf(out.Position, "patch %.120q is no URL of http or https", document.OneLine(pair.Key))
	}
	out.URL = pair.Key
	switch {
	case u.User != nil:
		return out, document.Errorf(out.Position, "patch %s has a password in its URL; put it into ~/.netrc", &out)
	case out.Digest.IsZero():
		return out, document.Errorf(out.Position, "patch %.120s comes from the network without a digest; write {why: .., sha256: ..}", &out)
	}
	return out, nil
}

func (p *Plan) use(n document.Node) error {
	return n.Mapping(document.Fields{
		"with":    func(n document.Node) (err error) { p.With, err = words(n, flag, "a flag"); return err },
		"without": func(n document.Node) (err error) { p.Without, err = words(n, flag, "a flag"); return err },
	})
}

// words are the texts of a list of which each matches.
func words(n document.Node, valid *regexp.Regexp, what string) (out []Word, err error) {
	err = n.Each(func(item document.Node) error {
		s, err := item.Text()
		if err == nil && !valid.MatchString(s) {
			err = item.Errorf("%.80q is not %s", document.OneLine(s), what)
		}
		out = append(out, Word{s, item.At()})
		return err
	})
	return out, err
}

func (p *Plan) options(n document.Node) error {
	list, err := words(n, option, "a word of DEB_BUILD_OPTIONS")
	var faults document.Faults
	faults.Add(err)
	for _, w := range list {
		if name, _, _ := strings.Cut(w.Text, "="); name == "parallel" {
			faults.Add(document.Errorf(w.Position, "options: %s: how many jobs run at once is the builder's choice, and no part of what is built", w.Text))
		}
		p.Options = append(p.Options, w.Text)
	}
	slices.Sort(p.Options)
	p.Options = slices.Compact(p.Options)
	return faults.Err()
}

// fixed are variables that each build has from the identity, or from nobody.
var fixed = map[string]string{
	"SOURCE_DATE_EPOCH": "the date is that of the changelog", "DEB_BUILD_OPTIONS": "write options:", "DEB_BUILD_PROFILES": "write profiles:",
	"PATH": "", "HOME": "", "USER": "", "LOGNAME": "", "SHELL": "", "PWD": "", "TMPDIR": "", "TZ": "", "LANG": "", "LANGUAGE": "", "LC_ALL": "",
	"LD_PRELOAD": "", "LD_LIBRARY_PATH": "", "IFS": "", "ENV": "", "BASH_ENV": "",
}

func (p *Plan) env(n document.Node) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	var faults document.Faults
	for _, v := range pairs {
		value, err := v.Text()
		faults.Add(err)
		instead, taken := fixed[v.Key]
		switch {
		case !envName.MatchString(v.Key):
			faults.Add(document.Errorf(v.KeyAt(), "env: %.80q is no name of a variable", document.OneLine(v.Key)))
		case taken && instead != "":
			faults.Add(document.Errorf(v.KeyAt(), "env: %s is set by every build; %s", v.Key, instead))
		case taken || strings.HasPrefix(v.Key, "MMOCI_") || strings.HasPrefix(v.Key, "LC_"):
			faults.Add(document.Errorf(v.KeyAt(), "env: %s is the same in every build; remove it", v.Key))
		}
		p.Env = append(p.Env, v.Key+"="+value)
	}
	slices.Sort(p.Env)
	return faults.Err()
}

// ReadText reads the pkg.yaml as it lies there.
func (p *Plan) ReadText() ([]byte, error) { return document.ReadFile(p.File, document.MaxYAML) }

// ReadPatch reads a patch that is a file, through the directory of the plan: a link out of it is an error, as a digest that is given and
// is another one is (outcome.ErrIntegrity).
func (p *Plan) ReadPatch(patch *Patch) ([]byte, error) {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	data, err := readFile(root, filepath.FromSlash(patch.Path))
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if err != nil {
		return nil, document.Errorf(patch.Position, "patch %s: %w", patch.Path, err)
	}
	return data, patch.Check(data)
}

func readFile(root *os.Root, name string) ([]byte, error) {
	fi, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > MaxPatch {
		return nil, fmt.Errorf("it is no file of at most %d bytes", MaxPatch)
	}
	return root.ReadFile(name)
}

// Check compares the bytes of a patch with the digest that is given for it.
func (p *Patch) Check(data []byte) error {
	if got := snapshot.Sum(data); !p.Digest.IsZero() && got != p.Digest {
		return fmt.Errorf("%w: %s: patch %s has %s, want %s", outcome.ErrIntegrity, p.Position, p, got, p.Digest)
	}
	return nil
}

// Answers tells by an outcome.ErrUsage what the plan says otherwise than an identity: what it says by itself, whichever snapshot it is
// resolved in. The bytes of its files are read.
func (p *Plan) Answers(id *Identity) error {
	differs := func(what string, at document.Position) error {
		return fmt.Errorf("%w: %s: %s is another than that of the build with identity %s", outcome.ErrUsage, at, what, id.Digest())
	}
	switch {
	case p.Source != id.Source || p.Version != "" && p.Version != id.Base:
		return differs("base:", p.BaseAt)
	case id.Version != id.Base+p.Suffix:
		return differs("suffix:", p.BaseAt)
	case p.Build != id.What:
		return differs("build:", p.BaseAt)
	case !slices.Equal(p.profiles(func(Word, string) {}), id.Profiles):
		return differs("use: or profiles:", p.BaseAt)
	case !slices.Equal(p.Options, id.Options):
		return differs("options:", p.BaseAt)
	case !slices.Equal(p.Env, id.Env):
		return differs("env:", p.BaseAt)
	case len(p.Patches) != len(id.Patches):
		return differs("the number of patches:", p.BaseAt)
	}
	for i := range p.Patches {
		patch := &p.Patches[i]
		got := patch.Digest
		if patch.Path != "" {
			data, err := p.ReadPatch(patch)
			if err != nil {
				return err
			}
			got = snapshot.Sum(data)
		}
		if got != id.Patches[i].Digest {
			return differs("patch "+patch.String(), patch.Position)
		}
	}
	return nil
}
