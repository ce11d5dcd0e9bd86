package imageplan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/resolve/query"
)

// Load reads a plan: an image.yaml or container.yaml, or the one of a directory. Files that it wants in the image are
// not read. Errors are of document.ErrUsage, each with its place.
func Load(name string) (*Plan, error) {
	if fi, err := os.Stat(name); err == nil && fi.IsDir() {
		found, err := find(name)
		if err != nil {
			return nil, err
		}
		name = found
	}
	data, err := document.ReadFile(name, document.MaxYAML)
	if err != nil {
		return nil, err
	}
	return parse(name, filepath.Dir(name), data, os.ReadFile)
}

// Parse reads the text of an image.yaml that lies in no file; dir is where the files lie that it wants in the image. name is for messages.
func Parse(name, dir string, data []byte) (*Plan, error) {
	return parse(name, dir, data, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
}

func find(dir string) (string, error) {
	for _, base := range []string{Name, ListName} {
		name := filepath.Join(dir, base)
		if fi, err := os.Stat(name); err == nil && !fi.IsDir() {
			return name, nil
		}
	}
	return "", document.Errorf(document.Position{File: dir}, "neither %s nor %s is there: %w", Name, ListName, fs.ErrNotExist)
}

// parse reads the text of a plan. read opens files beside it, which only say better what is refused.
func parse(name, dir string, data []byte, read func(string) ([]byte, error)) (*Plan, error) {
	docs, err := document.Parse(name, document.Normalise(data))
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, document.Errorf(document.At(name, 1), "empty; it needs at least packages:")
	}
	if len(docs) > 1 {
		return nil, docs[1].Errorf("a second document begins here; one file is one image")
	}
	l := &loader{plan: &Plan{File: name, Dir: dir, Layers: Layers{Max: DefaultLayers, Compression: Gzip}}, read: read}
	switch {
	case isList(docs[0]):
		l.list(docs[0])
	case !docs[0].IsMapping():
		return nil, docs[0].WrongType("keys with values (packages:, config:, ..), or the list of a container.yaml")
	default:
		l.faults.Add(l.top(docs[0]))
	}
	l.finish(docs[0])
	if err := l.faults.Err(); err != nil {
		return nil, err
	}
	return l.plan, nil
}

// loader turns nodes into a plan.
type loader struct {
	plan   *Plan
	faults document.Faults
	read   func(string) ([]byte, error)
	vars   map[string]string // of the list form
	owners []owner           // whose numbers follow from users:, which may stand below
}

type owner struct {
	sync int
	text string
	at   document.Node
}

func (l *loader) top(n document.Node) error {
	p := l.plan
	known := document.Fields{
		"name":        l.name(&p.Name),
		"version":     l.text(&p.Version),
		"author":      l.text(&p.Author),
		"ref":         l.ref,
		"tags":        l.tags,
		"from":        l.text(&p.From),
		"arch":        l.architectures,
		"packages":    l.packages,
		"essential":   l.flag(&p.Essential),
		"exclude":     l.exclude,
		"scripts":     l.oneOf(&p.Scripts, Run, None),
		"scripts-for": l.scriptsFor,
		"users":       l.users,
		"sync":        l.syncs,
		"config":      l.config,
		"layers":      l.layers,
	}
	return n.Mapping(known)
}

// finish looks at what more than one key decides.
func (l *loader) finish(n document.Node) {
	p := l.plan
	if len(p.Packages)+len(p.Embedded) == 0 && l.faults.Err() == nil {
		l.faults.Add(n.Errorf("no packages; name at least one: packages: [nginx-light]"))
	}
	byName := map[string]User{"root": {Name: "root"}}
	for _, u := range p.Users {
		byName[u.Name] = u
	}
	for _, o := range l.owners {
		uid, gid, err := resolveOwner(o.text, byName)
		if err != nil {
			l.faults.Add(o.at.Errorf("%w", err))
			continue
		}
		p.Sync[o.sync].UID, p.Sync[o.sync].GID = uid, gid
	}
	slices.SortFunc(p.ScriptsFor, func(a, b ScriptsFor) int { return strings.Compare(a.Package, b.Package) })
	if p.Scripts == None {
		for _, s := range p.ScriptsFor {
			if s.What == Run {
				l.faults.Add(document.Errorf(s.At, "scripts-for: %s: run, beside scripts: none; scripts are run with all packages configured together, so write scripts: run and skip for those that are not to", s.Package))
			}
		}
	}
	slices.Sort(p.Exclude)
	slices.Sort(p.Config.Ports)
	slices.Sort(p.Config.Volumes)
}

func (l *loader) text(dst *string) func(document.Node) error {
	return func(n document.Node) (err error) {
		*dst, err = n.Text()
		return err
	}
}

func (l *loader) flag(dst *bool) func(document.Node) error {
	return func(n document.Node) (err error) {
		*dst, err = n.Flag()
		return err
	}
}

func (l *loader) oneOf(dst *string, words ...string) func(document.Node) error {
	return func(n document.Node) error {
		s, err := n.Text()
		if err == nil && !slices.Contains(words, s) {
			err = n.Errorf("is %q, should be %s", s, strings.Join(words, " or "))
		}
		*dst = s
		return err
	}
}

var (
	imageName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$`)
	tagName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`) // distribution-spec, "Pulling manifests"
	debianArch  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	userName    = regexp.MustCompile(`^[a-z_][a-z0-9_.-]{0,31}$`)
	portName    = regexp.MustCompile(`^([0-9]{1,5})(/(tcp|udp|sctp))?$`)
	signalName  = regexp.MustCompile(`^(SIG[A-Z0-9+-]{2,12}|[0-9]{1,2})$`)
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
)

func (l *loader) name(dst *string) func(document.Node) error {
	return func(n document.Node) (err error) {
		if *dst, err = n.Text(); err == nil && !imageName.MatchString(*dst) {
			err = n.Errorf("%.80q is no name of an image; letters, digits and . _ + - are", *dst)
		}
		return err
	}
}

func (l *loader) ref(n document.Node) (err error) {
	if l.plan.Ref, err = n.Text(); err != nil {
		return err
	}
	last := path.Base(l.plan.Ref)
	if strings.ContainsAny(last, ":@") && !strings.HasPrefix(l.plan.Ref, "oci:") && !strings.HasPrefix(l.plan.Ref, "oci-archive:") {
		return n.Errorf("%.200q has a tag; write the repository alone, and tags: [%s]", l.plan.Ref, last[strings.IndexAny(last, ":@")+1:])
	}
	return nil
}

func (l *loader) tags(n document.Node) (err error) {
	if l.plan.Tags, err = n.Texts(); err != nil {
		return err
	}
	for _, t := range l.plan.Tags {
		if !tagName.MatchString(t) {
			return n.Errorf("%.80q is no tag; letters, digits and . _ - are", t)
		}
	}
	return nil
}

func (l *loader) architectures(n document.Node) error {
	list := []string{}
	if _, ok := n.Scalar(); ok {
		s, err := n.Text()
		if err != nil {
			return err
		}
		list = append(list, s)
	} else {
		var err error
		if list, err = n.Texts(); err != nil {
			return err
		}
	}
	for _, a := range list {
		if err := checkArchitecture(a); err != nil {
			return n.Errorf("%w", err)
		}
	}
	l.plan.Architectures = list
	return nil
}

// spelled are names that other systems have for Debian's architectures.
var spelled = map[string]string{"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "386": "i386", "arm": "armhf", "armv7l": "armhf", "ppc64le": "ppc64el"}

func checkArchitecture(a string) error {
	switch {
	case spelled[a] != "":
		return fmt.Errorf("%q is not how Debian calls it; write %s", a, spelled[a])
	case a == "all" || a == "any" || a == "source":
		return fmt.Errorf("%q is no machine; write amd64", a)
	case !debianArch.MatchString(a):
		return fmt.Errorf("%.40q is no architecture of Debian's; write amd64", a)
	}
	return nil
}

func (l *loader) packages(n document.Node) error {
	return n.Each(func(item document.Node) error {
		item.Key = "packages"
		if item.IsMapping() {
			return l.embedded(item)
		}
		s, err := item.Text()
		if err != nil {
			return err
		}
		return l.addQuery(item, s)
	})
}

func (l *loader) addQuery(n document.Node, s string) error {
	if n.Key = ""; s == "all" {
		return n.Errorf("an image of all packages cannot be; name those that it is for")
	}
	if m := gentooAtom.FindStringSubmatch(s); m != nil {
		return n.Errorf("%s", atomInstead(s, m))
	}
	if name, version, ok := strings.Cut(s, "="); ok && packageName.MatchString(name) && version != "" && !strings.ContainsAny(version, " =") {
		return n.Errorf("%.100q is how apt is asked on a command line; write %s (= %s)", s, name, version)
	}
	if _, err := query.Parse(s); err != nil {
		return n.Errorf("%w", err)
	}
	if slices.ContainsFunc(l.plan.Packages, func(q config.Query) bool { return q.Text == s }) {
		return n.Errorf("packages: %s stands twice", s)
	}
	l.plan.Packages = append(l.plan.Packages, config.Query{Text: s, Position: n.At()})
	return nil
}

// embedded reads an entry of packages: that is built of a source: {path: DIR, name: [..]}.
func (l *loader) embedded(item document.Node) error {
	if pairs, err := item.Pairs(); err == nil && !slices.ContainsFunc(pairs, func(p document.Pair) bool { return p.Key == "path" }) {
		return item.Errorf("is keys with values, should be a package query, nginx-light or \"nginx (= 1.22.1-9)\", or {path: DIR} with a pkg.yaml")
	}
	var e embeddedStep
	if err := item.Mapping(document.Fields{"path": e.path(l), "name": e.name(l)}); err != nil {
		return err
	}
	return l.addEmbedded(&e)
}

// embeddedStep is an entry while it is read.
type embeddedStep struct {
	Embedded
	at document.Node
}

func (e *embeddedStep) path(l *loader) func(document.Node) error {
	return func(n document.Node) (err error) {
		e.at, e.At = n, n.At()
		e.Path, err = l.scalar(n)
		return err
	}
}

func (e *embeddedStep) name(l *loader) func(document.Node) error {
	return func(n document.Node) error {
		e.at = n
		if _, ok := n.Scalar(); ok {
			s, err := l.scalar(n)
			e.Names = []string{s}
			return err
		}
		items, err := n.Items()
		if err != nil {
			return err
		}
		for _, item := range items {
			s, err := l.scalar(item)
			if err != nil {
				return err
			}
			e.Names = append(e.Names, s)
		}
		return nil
	}
}

// addEmbedded takes an entry, and tells what is wrong with its pkg.yaml along with the rest.
func (l *loader) addEmbedded(e *embeddedStep) error {
	e.Path = path.Clean(e.Path)
	if !filepath.IsLocal(e.Path) || e.Path == "." || strings.ContainsFunc(e.Path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return document.Errorf(e.At, "path: %s is no directory below the one of the plan; what an image is built of lies beside it: write ./pkgs/nginx", printable(e.Path))
	}
	for i, name := range e.Names {
		if !packageName.MatchString(name) || slices.Contains(e.Names[:i], name) {
			return e.at.Errorf("%s is no name of a package, or stands twice; write the packages of the source that are wanted, without versions", printable(name))
		}
	}
	if slices.ContainsFunc(l.plan.Embedded, func(o Embedded) bool { return o.Path == e.Path }) {
		return document.Errorf(e.At, "path: %s stands twice; name all packages that are wanted of it in one name: [..]", printable(e.Path))
	}
	l.plan.Embedded = append(l.plan.Embedded, e.Embedded)
	name := filepath.Join(l.plan.Dir, filepath.FromSlash(e.Path), buildsource.Name)
	data, err := l.read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // whoever builds it says so
	case err != nil || len(data) > document.MaxYAML:
		return document.Errorf(e.At, "%s of %s cannot be read", buildsource.Name, printable(e.Path))
	}
	_, err = buildsource.Parse(name, filepath.Dir(name), data)
	return err
}

func (l *loader) exclude(n document.Node) error {
	words, err := n.Texts()
	if err != nil {
		return err
	}
	if _, err := rootfs.ParseExclude(words); err != nil {
		return n.Errorf("%w", err)
	}
	l.plan.Exclude = words
	return nil
}

func (l *loader) scriptsFor(n document.Node) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	var faults document.Faults
	for _, p := range pairs {
		s := ScriptsFor{Package: p.Key, At: p.KeyAt()}
		switch err := l.oneOf(&s.What, Run, Skip)(p.Node); {
		case err != nil:
			faults.Add(err)
		case !packageName.MatchString(p.Key):
			faults.Add(document.Errorf(p.KeyAt(), "scripts-for: %.80q is no name of a package", p.Key))
		default:
			l.plan.ScriptsFor = append(l.plan.ScriptsFor, s)
		}
	}
	return faults.Err()
}

func (l *loader) users(n document.Node) error {
	return n.Each(func(item document.Node) error {
		item.Key = ""
		return l.user(item)
	})
}

func (l *loader) user(n document.Node) error {
	u := User{UID: -1, GID: -1, Home: "/nonexistent", Shell: "/usr/sbin/nologin", At: n.At()}
	known := document.Fields{
		"name": func(n document.Node) (err error) {
			if u.Name, err = n.Text(); err == nil && !userName.MatchString(u.Name) {
				err = n.Errorf("%.40q is no name of a user; small letters, digits and _ . - are", u.Name)
			}
			return err
		},
		"uid":   number(&u.UID),
		"gid":   number(&u.GID),
		"home":  absolute(&u.Home),
		"shell": absolute(&u.Shell),
	}
	if err := n.Mapping(known); err != nil {
		return err
	}
	for _, key := range n.Lacks(known, "name", "uid") {
		return n.Errorf("a user without %s:; write {name: web, uid: 10001}", key)
	}
	if u.GID < 0 {
		u.GID = u.UID
	}
	for _, v := range l.plan.Users {
		if v.Name == u.Name || v.UID == u.UID {
			return n.Errorf("user %s: %s has this name or number already, in line %d", u.Name, v.Name, v.At.Line)
		}
	}
	if u.Name == "root" || u.UID == 0 {
		return n.Errorf("user %s: root is there already; give a number from 1 on", u.Name)
	}
	l.plan.Users = append(l.plan.Users, u)
	return nil
}

// maxID is the largest number of a user that everything takes: 2^32-1 and 2^32-2 say that there is none.
const maxID = 1<<32 - 3

func number(dst *int) func(document.Node) error {
	return func(n document.Node) error {
		s, err := n.Text()
		if err != nil {
			return err
		}
		v, err := strconv.ParseUint(s, 10, 32)
		if err != nil || v > maxID {
			return n.Errorf("%.40q is no number of a user; 10001 is one", s)
		}
		*dst = int(v)
		return nil
	}
}

func absolute(dst *string) func(document.Node) error {
	return func(n document.Node) error {
		s, err := n.Text()
		if err == nil && (!isAbsolute(s) || strings.Contains(s, ":")) {
			err = n.Errorf("%.200q is no absolute path", s)
		}
		*dst = s
		return err
	}
}

// isAbsolute tells a path in an image.
func isAbsolute(s string) bool { return path.IsAbs(s) && path.Clean(s) == s && isLine(s) }

// isLine tells a text that is read as it is written ([document.Node.Text]).
func isLine(s string) bool {
	return s != "" && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, unicode.IsControl)
}

func (l *loader) syncs(n document.Node) error {
	return n.Each(func(item document.Node) error {
		item.Key = "sync"
		return l.sync(item)
	})
}

// sync reads one entry of sync:. chmod and chown are the words of the list form.
func (l *loader) sync(n document.Node) error {
	s := Sync{Mode: -1, At: n.At()}
	var who *owner
	mode := func(n document.Node) error {
		text, err := n.Text()
		if err != nil {
			return err
		}
		v, err := strconv.ParseInt(strings.TrimPrefix(text, "0o"), 8, 64)
		if err != nil || v < 0 || v > 0o7777 {
			return n.Errorf("%.40q is no mode; write it in octal: \"0644\"", text)
		}
		s.Mode = v
		return nil
	}
	own := func(n document.Node) error {
		text, err := n.Text()
		who = &owner{len(l.plan.Sync), text, n}
		return err
	}
	known := document.Fields{
		"src": func(n document.Node) (err error) {
			s.At = n.At()
			if s.Src, err = l.scalar(n); err == nil && (filepath.IsAbs(s.Src) || !filepath.IsLocal(s.Src)) {
				err = n.Errorf("%.200q lies outside of the directory of this file; put it beside, so that the image is made of the same everywhere", s.Src)
			}
			return err
		},
		"dest": func(n document.Node) error {
			text, err := l.scalar(n)
			if err != nil {
				return err
			}
			s.Into = strings.HasSuffix(text, "/")
			if s.Dest = path.Clean(text); !path.IsAbs(text) || slices.Contains(strings.Split(text, "/"), "..") {
				return n.Errorf("%.200q is no absolute path in the image", text)
			}
			return nil
		},
		"recursive": l.flag(&s.Recursive),
		"mode":      mode,
		"chmod":     mode,
		"owner":     own,
		"chown":     own,
	}
	if err := n.Mapping(known); err != nil {
		return err
	}
	for _, key := range n.Lacks(known, "src", "dest") {
		return n.Errorf("without %s:; write {src: ./files/nginx.conf, dest: /etc/nginx/nginx.conf}", key)
	}
	if who != nil {
		l.owners = append(l.owners, *who)
	}
	l.plan.Sync = append(l.plan.Sync, s)
	return nil
}

// resolveOwner reads USER[:GROUP], numbers or names of users; a user alone has its own group.
func resolveOwner(text string, users map[string]User) (uid, gid int, err error) {
	user, group, both := strings.Cut(text, ":")
	of := func(s string, number func(User) int) (int, error) {
		if v, err := strconv.ParseUint(s, 10, 32); err == nil && v <= maxID {
			return int(v), nil
		}
		u, ok := users[s]
		if !ok {
			return 0, fmt.Errorf("%.40q is neither root nor a name of users:; write its number, such as 33:33", s)
		}
		return number(u), nil
	}
	if uid, err = of(user, func(u User) int { return u.UID }); err != nil {
		return 0, 0, err
	}
	if !both {
		group = user
	}
	gid, err = of(group, func(u User) int { return u.GID })
	return uid, gid, err
}

func (l *loader) config(n document.Node) error {
	c := &l.plan.Config
	return n.Mapping(document.Fields{
		"entrypoint":  words(&c.Entrypoint),
		"command":     words(&c.Command),
		"user":        configUser(&c.User),
		"workdir":     absolute(&c.WorkDir),
		"env":         l.env,
		"expose":      l.expose,
		"volumes":     l.volumes,
		"stop-signal": l.stopSignal,
		"labels":      l.labels,
	})
}

// words reads a command: program and arguments. No shell reads it.
func words(dst *[]string) func(document.Node) error {
	return func(n document.Node) error {
		if s, ok := n.Scalar(); ok {
			return n.Errorf("is one text; write program and arguments as a list: [%s]; no shell reads it", strings.Join(strings.Fields(printable(s)), ", "))
		}
		items, err := n.Items()
		if err != nil {
			return err
		}
		*dst = nil
		for _, item := range items {
			s, ok := item.Scalar()
			if !ok {
				return item.WrongType("a single value")
			}
			if strings.ContainsRune(s, 0) {
				return item.Errorf("holds a NUL byte")
			}
			*dst = append(*dst, s)
		}
		return nil
	}
}

func configUser(dst *string) func(document.Node) error {
	return func(n document.Node) error {
		s, err := n.Text()
		if err != nil {
			return err
		}
		if err := checkUser(s); err != nil {
			return n.Errorf("%w", err)
		}
		*dst = s
		return nil
	}
}

func checkUser(s string) error {
	for _, part := range strings.SplitN(s, ":", 2) {
		if v, err := strconv.ParseUint(part, 10, 32); (err != nil || v > maxID) && !userName.MatchString(part) {
			return fmt.Errorf("%.80q is not USER or USER:GROUP, each a name or a number", s)
		}
	}
	return nil
}

func (l *loader) env(n document.Node) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	for _, p := range pairs {
		s, ok := p.Scalar()
		if !ok {
			return p.WrongType("a single value")
		}
		if err := l.addEnv(p.Key, s); err != nil {
			return document.Errorf(p.KeyAt(), "env: %w", err)
		}
	}
	return nil
}

func (l *loader) addEnv(name, value string) error {
	if !envName.MatchString(name) || strings.ContainsRune(value, 0) {
		return fmt.Errorf("%.80q is no variable of an environment", name)
	}
	c := &l.plan.Config
	if slices.ContainsFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
		return fmt.Errorf("%.80q stands twice; keep one", name)
	}
	c.Env = append(c.Env, name+"="+value)
	slices.Sort(c.Env)
	return nil
}

func (l *loader) expose(n document.Node) error {
	items, err := n.Texts()
	if err != nil {
		return err
	}
	for _, s := range items {
		if err := l.addPort(s); err != nil {
			return n.Errorf("%w", err)
		}
	}
	return nil
}

func (l *loader) addPort(s string) error {
	m := portName.FindStringSubmatch(s)
	if m == nil {
		return fmt.Errorf("%.40q is no port; write 80/tcp", s)
	}
	if v, err := strconv.Atoi(m[1]); err != nil || v < 1 || v > 65535 {
		return fmt.Errorf("%.40q is no port; they go from 1 to 65535", s)
	}
	if m[2] == "" {
		s += "/tcp"
	}
	if !slices.Contains(l.plan.Config.Ports, s) {
		l.plan.Config.Ports = append(l.plan.Config.Ports, s)
	}
	return nil
}

func (l *loader) volumes(n document.Node) error {
	items, err := n.Texts()
	if err != nil {
		return err
	}
	for _, s := range items {
		if !isAbsolute(s) {
			return n.Errorf("%.200q is no absolute path", s)
		}
	}
	l.plan.Config.Volumes = items
	return nil
}

func (l *loader) stopSignal(n document.Node) error {
	s, err := n.Text()
	if err == nil && !signalName.MatchString(s) {
		err = n.Errorf("%.40q is no signal; write SIGQUIT", s)
	}
	l.plan.Config.StopSignal = s
	return err
}

func (l *loader) labels(n document.Node) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	for _, p := range pairs {
		s, ok := p.Scalar()
		if !ok {
			return p.WrongType("a single value")
		}
		l.addLabel(p.Key, s)
	}
	return nil
}

func (l *loader) addLabel(key, value string) {
	if l.plan.Config.Labels == nil {
		l.plan.Config.Labels = map[string]string{}
	}
	l.plan.Config.Labels[key] = value
}

func (l *loader) layers(n document.Node) error {
	y := &l.plan.Layers
	return n.Mapping(document.Fields{
		"max": func(n document.Node) error {
			s, err := n.Text()
			if err != nil {
				return err
			}
			v, err := strconv.Atoi(s)
			if err != nil || v < MinLayers || v > MaxLayers {
				return n.Errorf("%.40q, but it goes from %d to %d: engines stop at 125 layers, and a Dockerfile that begins with the image needs some", s, MinLayers, MaxLayers)
			}
			y.Max = v
			return nil
		},
		"compression": l.oneOf(&y.Compression, Gzip, Zstd, Uncompressed),
	})
}

// printable is text of a file for a message.
func printable(s string) string { return fmt.Sprintf("%.120s", document.OneLine(s)) }
