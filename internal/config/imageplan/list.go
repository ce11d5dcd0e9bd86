package imageplan

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
)

// repositoryFile is a file of package-centric container builds beside container.yaml.
const repositoryFile = ".buildit-config.yaml"

var steps = []string{"vars", "package", "sync", "image"}

// isList tells the list form: steps, each a mapping of one key.
func isList(n document.Node) bool {
	items, err := n.Items()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(items, func(item document.Node) bool {
		pairs, _ := item.Pairs()
		return len(pairs) == 1 && slices.Contains(steps, pairs[0].Key)
	})
}

// list reads a container.yaml. Its variables come first, wherever they stand.
func (l *loader) list(n document.Node) {
	items, _ := n.Items()
	var rest []document.Pair
	l.vars = map[string]string{}
	for _, item := range items {
		item.Key = ""
		pairs, err := item.Pairs()
		l.faults.Add(err)
		for _, p := range pairs {
			if p.Key == "vars" {
				l.readVars(p)
			} else {
				rest = append(rest, p)
			}
		}
	}
	images := 0
	for _, p := range rest {
		switch p.Key {
		case "package":
			l.faults.Add(l.packageStep(p))
		case "sync":
			l.faults.Add(l.sync(p.Node))
		case "image":
			if images++; images > 1 {
				l.faults.Add(document.Errorf(p.KeyAt(), "a second image:; one file is one image"))
				continue
			}
			l.faults.Add(l.imageStep(p))
		default:
			l.faults.Add(document.Errorf(p.KeyAt(), "unknown step %.40q; known are %s", document.OneLine(p.Key), strings.Join(steps, ", ")))
		}
	}
	l.repository(filepath.Join(l.plan.Dir, repositoryFile))
}

// readVars takes the variables. Those with a meaning of their own are the plan's, too.
func (l *loader) readVars(p document.Pair) {
	vars, err := p.Pairs()
	l.faults.Add(err)
	for _, v := range vars {
		value, err := v.Text()
		l.faults.Add(err)
		if _, twice := l.vars[v.Key]; twice {
			l.faults.Add(document.Errorf(v.KeyAt(), "vars: %.60s stands twice", document.OneLine(v.Key)))
		}
		l.vars[v.Key] = value
		switch v.Key {
		case "name":
			l.faults.Add(l.name(&l.plan.Name)(v.Node))
		case "version":
			l.plan.Version = value
			if tagName.MatchString(value) {
				l.plan.Tags = []string{value}
			}
		case "author":
			l.plan.Author = value
		case "os":
			l.faults.Add(onlyLinux(v.Node, value))
		case "arch":
			l.faults.Add(l.architectures(v.Node))
		}
	}
}

func onlyLinux(n document.Node, value string) error {
	if value != "linux" {
		return n.Errorf("%.40q, but Debian's packages make images of linux; write linux", value)
	}
	return nil
}

var variable = regexp.MustCompile(`\{\{[^{}]*\}\}`)

// scalar is the text of a scalar with its variables in it; without vars: braces are text like any other.
func (l *loader) scalar(n document.Node) (string, error) {
	s, err := n.Text()
	if err != nil || l.vars == nil {
		return s, err
	}
	return l.substitute(n, s)
}

// substitute writes the values of variables in the place of {{ name }}, and nothing more of a template's language.
func (l *loader) substitute(n document.Node, s string) (string, error) {
	var faults document.Faults
	out := variable.ReplaceAllStringFunc(s, func(v string) string {
		name := strings.TrimSpace(v[2 : len(v)-2])
		value, ok := l.vars[name]
		if !ok {
			faults.Add(n.Errorf("%s: vars: has no %.60q; a name of it is all that braces may hold", printable(v), name))
		}
		return value
	})
	return out, faults.Err()
}

// packageStep reads "- package: QUERY", "- package: {type: mirror, name: QUERY}" and "- package: {type: embedded, path: DIR}".
func (l *loader) packageStep(p document.Pair) error {
	if _, ok := p.Scalar(); ok {
		s, err := l.scalar(p.Node)
		if err != nil {
			return err
		}
		return l.addQuery(p.Node, s)
	}
	var kind string
	var e embeddedStep
	if err := p.Mapping(document.Fields{"type": l.text(&kind), "name": e.name(l), "path": e.path(l)}); err != nil {
		return err
	}
	switch {
	case e.Path != "" && (kind == "" || kind == "embedded"):
		return l.addEmbedded(&e)
	case e.Path != "":
		return document.Errorf(p.KeyAt(), "package: of type %.40q with path:; what is built of %s is {type: embedded, path: ..}", kind, printable(e.Path))
	case kind == "embedded":
		return document.Errorf(p.KeyAt(), "package: embedded without path:; write {type: embedded, path: ./pkgs/nginx}")
	case len(e.Names) != 1:
		return document.Errorf(p.KeyAt(), "package: without name:; write - package: nginx-light")
	case kind != "" && kind != "mirror":
		return document.Errorf(p.KeyAt(), "package: of type %.40q; packages come from a snapshot: write - package: %s", kind, printable(e.Names[0]))
	}
	return l.addQuery(e.at, e.Names[0])
}

// gentooAtom is CATEGORY/NAME-VERSION.
var gentooAtom = regexp.MustCompile(`^[a-z0-9+._-]+/([A-Za-z0-9+_-]+?)(-[0-9][A-Za-z0-9.+_~-]*)?$`)

func atomInstead(atom string, m []string) string {
	name := strings.ToLower(m[1])
	if m[2] == "" {
		return fmt.Sprintf("%s is a Gentoo atom; write %s", printable(atom), name)
	}
	return fmt.Sprintf("%s is a Gentoo atom; write %s (= VERSION) with a version of Debian's, or %s (%% %s*)", printable(atom), name, name, m[2][1:])
}

// repository reads the configuration beside a container.yaml: where builds are asked for, and where they are put.
func (l *loader) repository(name string) {
	data, err := l.read(name)
	if err != nil || len(data) > document.MaxYAML {
		return
	}
	docs, err := document.Parse(name, document.Normalise(data))
	l.faults.Add(err)
	if len(docs) == 0 {
		return
	}
	top, _ := docs[0].Pairs()
	for _, t := range top {
		if t.Key != "repository" {
			continue
		}
		values := map[string]string{}
		pairs, err := t.Pairs()
		l.faults.Add(err)
		for _, p := range pairs {
			value, err := p.Text()
			if values[p.Key] = value; err == nil && value == "ssh" {
				l.faults.Add(p.Errorf("ssh: an image goes to a registry by https, or into a directory; remove it, and write ref: HOST/REPO in %s, or name REF or oci:DIR in the command", Name))
			}
		}
		if at := values["download-path"]; at != "" {
			l.plan.Discover = append(l.plan.Discover, at)
		}
		if values["upload-type"] != "ssh" {
			l.plan.PushTo = values["upload-path"]
		}
	}
}

// imageStep reads "- image: {type: aci|oci, content: JSON}".
func (l *loader) imageStep(p document.Pair) error {
	var kind string
	var content *document.Node
	known := document.Fields{
		"type":    l.oneOf(&kind, "aci", "oci"),
		"content": func(n document.Node) error { content = &n; return nil },
	}
	if err := p.Mapping(known); err != nil {
		return err
	}
	for _, key := range p.Lacks(known, "type", "content") {
		return document.Errorf(p.KeyAt(), "image: without %s:; write {type: oci, content: '{\"config\": {\"Entrypoint\": [\"/usr/sbin/nginx\"]}}'}", key)
	}
	text, ok := content.Scalar()
	if !ok {
		return content.WrongType("the text of a JSON document (content: |)")
	}
	text, err := l.substitute(*content, text)
	if err != nil {
		return err
	}
	if kind == "aci" {
		return l.aci(*content, text)
	}
	return l.oci(*content, text)
}

// aci is what is read of an image manifest of the App Container specification (spec/aci.md, "Image Manifest Schema").
type aci struct {
	Kind          string    `json:"acKind"`
	Version       string    `json:"acVersion"`
	Name          string    `json:"name"`
	Labels        []aciPair `json:"labels"`
	Annotations   []aciPair `json:"annotations"`
	App           *aciApp   `json:"app"`
	Dependencies  []any     `json:"dependencies"`
	PathWhitelist []any     `json:"pathWhitelist"`
}

type aciPair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type aciApp struct {
	Exec        []string  `json:"exec"`
	User        string    `json:"user"`
	Group       string    `json:"group"`
	WorkDir     string    `json:"workingDirectory"`
	Environment []aciPair `json:"environment"`
	Ports       []struct {
		Name     string `json:"name"`
		Protocol string `json:"protocol"`
		Port     int    `json:"port"`
		Count    int    `json:"count"`
		Socket   bool   `json:"socketActivated"`
	} `json:"ports"`
	Mounts []struct {
		Name     string `json:"name"`
		Path     string `json:"path"`
		ReadOnly bool   `json:"readOnly"`
	} `json:"mountPoints"`
	Handlers   []any `json:"eventHandlers"`
	Isolators  []any `json:"isolators"`
	Groups     []int `json:"supplementaryGIDs"`
	Supplement []any `json:"userAnnotations"`
}

func (l *loader) aci(n document.Node, text string) error {
	var a aci
	if err := strictJSON(n, text, &a); err != nil {
		return err
	}
	var faults document.Faults
	fault := func(format string, args ...any) { faults.Add(document.Errorf(n.TextAt(), "content: "+format, args...)) }
	if a.Kind != "ImageManifest" {
		fault("acKind is %.40q; an image is an ImageManifest", a.Kind)
	}
	if len(a.Dependencies) > 0 {
		fault("dependencies: an image is made of packages, not of other images; name their packages")
	}
	if len(a.PathWhitelist) > 0 {
		fault("pathWhitelist: write exclude: in an %s", Name)
	}
	for _, pair := range a.Labels {
		switch pair.Name {
		case "os":
			faults.Add(onlyLinux(n, pair.Value))
		case "arch":
			l.machine("label arch", pair.Value, fault)
		case "version":
			line(&l.plan.Version, "label version", pair.Value, fault)
		default:
			l.addLabel(pair.Name, pair.Value)
		}
	}
	for _, pair := range a.Annotations {
		l.addLabel(pair.Name, pair.Value)
	}
	if a.Name != "" {
		l.addLabel("org.opencontainers.image.title", a.Name)
	}
	if a.App != nil {
		l.aciApp(a.App, fault)
	}
	return faults.Err()
}

// machine takes the architecture that a document names, as Debian or as others call it.
func (l *loader) machine(what, name string, fault func(string, ...any)) {
	arch := cmp.Or(spelled[name], name)
	if err := checkArchitecture(arch); err != nil {
		fault(what+": %w", err)
	} else if len(l.plan.Architectures) == 0 {
		l.plan.Architectures = []string{arch}
	} else if !slices.Contains(l.plan.Architectures, arch) {
		fault(what+" is %s, but vars: says %s", arch, strings.Join(l.plan.Architectures, ", "))
	}
}

// line takes a text of a document, if there is one.
func line(dst *string, what, text string, fault func(string, ...any)) {
	if text != "" && !isLine(text) {
		fault("%s %.80q is not one line of text", what, text)
	}
	*dst = cmp.Or(text, *dst)
}

// command takes program and arguments of a document.
func command(dst *[]string, what string, words []string, fault func(string, ...any)) {
	if slices.ContainsFunc(words, func(s string) bool { return strings.ContainsRune(s, 0) }) {
		fault("%s holds a NUL byte", what)
	}
	*dst = words
}

// workDir takes the working directory of a document, if it names one.
func (l *loader) workDir(what, dir string, fault func(string, ...any)) {
	if dir != "" && (!isAbsolute(dir) || strings.Contains(dir, ":")) {
		fault("%s %.200q is no absolute path", what, dir)
	}
	l.plan.Config.WorkDir = dir
}

func (l *loader) aciApp(app *aciApp, fault func(string, ...any)) {
	c := &l.plan.Config
	command(&c.Entrypoint, "app.exec", app.Exec, fault)
	l.workDir("app.workingDirectory", app.WorkDir, fault)
	if app.User != "" {
		if c.User = app.User; app.Group != "" {
			c.User += ":" + app.Group
		}
		if err := checkUser(c.User); err != nil {
			fault("app.user: %w", err)
		}
	}
	for _, pair := range app.Environment {
		if err := l.addEnv(pair.Name, pair.Value); err != nil {
			fault("app.environment: %w", err)
		}
	}
	for _, p := range app.Ports {
		if err := l.addPort(fmt.Sprintf("%d/%s", p.Port, p.Protocol)); err != nil || p.Count > 1 || p.Socket {
			fault("app.ports: %.40q: one port of tcp or udp each, without socketActivated; write each out", p.Name)
		}
	}
	for _, m := range app.Mounts {
		if !isAbsolute(m.Path) || m.ReadOnly {
			fault("app.mountPoints: %.40q: an absolute path, and readOnly is said by who runs the image", m.Name)
		} else {
			c.Volumes = append(c.Volumes, m.Path)
		}
	}
	switch {
	case len(app.Handlers) > 0:
		fault("app.eventHandlers: OCI has none; let the entrypoint run them")
	case len(app.Isolators) > 0:
		fault("app.isolators: limits are said by who runs the image; remove them")
	case len(app.Groups) > 0 || len(app.Supplement) > 0:
		fault("app.supplementaryGIDs and userAnnotations have no place in an OCI config; remove them")
	}
}

// ociConfig is what is read of an OCI config (image-spec, config.md); what follows from the packages is not said.
type ociConfig struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Author       string `json:"author"`
	Config       struct {
		User         string
		ExposedPorts map[string]struct{}
		Env          []string
		Entrypoint   []string
		Cmd          []string
		Volumes      map[string]struct{}
		WorkingDir   string
		Labels       map[string]string
		StopSignal   string
	} `json:"config"`
}

func (l *loader) oci(n document.Node, text string) error {
	var o ociConfig
	if err := strictJSON(n, text, &o); err != nil {
		return err
	}
	var faults document.Faults
	fault := func(format string, args ...any) { faults.Add(document.Errorf(n.TextAt(), "content: "+format, args...)) }
	c, from := &l.plan.Config, o.Config
	c.User, c.StopSignal = from.User, from.StopSignal
	command(&c.Entrypoint, "Entrypoint", from.Entrypoint, fault)
	command(&c.Command, "Cmd", from.Cmd, fault)
	l.workDir("WorkingDir", from.WorkingDir, fault)
	if o.OS != "" {
		faults.Add(onlyLinux(n, o.OS))
	}
	if o.Architecture != "" {
		l.machine("architecture", o.Architecture, fault)
	}
	line(&l.plan.Author, "author", o.Author, fault)
	for _, e := range from.Env {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			fault("Env: %.80q is not NAME=VALUE", e)
		} else if err := l.addEnv(name, value); err != nil {
			fault("Env: %w", err)
		}
	}
	for _, p := range document.SortedKeys(from.ExposedPorts) {
		if err := l.addPort(p); err != nil {
			fault("ExposedPorts: %w", err)
		}
	}
	for _, v := range document.SortedKeys(from.Volumes) {
		if !isAbsolute(v) {
			fault("Volumes: %.200q is no absolute path", v)
		}
		c.Volumes = append(c.Volumes, v)
	}
	for _, k := range document.SortedKeys(from.Labels) {
		l.addLabel(k, from.Labels[k])
	}
	if err := checkUser(from.User); from.User != "" && err != nil {
		fault("User: %w", err)
	}
	if from.StopSignal != "" && !signalName.MatchString(from.StopSignal) {
		fault("StopSignal: %.40q is no signal; write SIGQUIT", from.StopSignal)
	}
	return faults.Err()
}

// strictJSON reads one document; a key that has no meaning here is an error with its line.
func strictJSON(n document.Node, text string, v any) error {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil && dec.More() {
		err = errors.New("text after the document")
	}
	if err == nil {
		return nil
	}
	at := n.TextAt()
	offset := dec.InputOffset()
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &wrong):
		offset = wrong.Offset
	default:
		if key, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			offset = max(0, int64(strings.Index(text, key)))
			err = fmt.Errorf("%.80s: this key has no meaning here; remove it", key)
		}
	}
	if offset = min(offset, int64(len(text))); offset > 0 {
		at.Line += bytes.Count([]byte(text[:offset]), []byte("\n"))
	}
	return document.Errorf(at, "content: %s", printable(strings.TrimPrefix(err.Error(), "json: ")))
}
