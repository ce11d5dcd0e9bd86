// Package foreign knows files of other programs whose wishes cannot be honoured as they stand. It tells
// all of them at once, with what to write instead, and writes the same wish in the words of mmoci.
package foreign

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
)

// Ending is that of the name of a rewritten file, behind that of the input.
const Ending = ".mmoci"

// Refusal is an error about a whole input: each thing in it that cannot be honoured, with its place.
type Refusal struct {
	Faults    error // wraps document.ErrUsage
	Rewritten []File
}

// File is the wish of an input as mmoci reads it.
type File struct {
	Name string // of the input, with Ending
	Use  string // what it is, for messages: "a list for packages-from:"
	Data []byte
}

func (r *Refusal) Error() string { return r.Faults.Error() }

// Unwrap returns the faults.
func (r *Refusal) Unwrap() error { return r.Faults }

// Rewritten are the files of all refusals in an error.
func Rewritten(err error) (files []File) {
	switch e := err.(type) {
	case *Refusal:
		return e.Rewritten
	case interface{ Unwrap() []error }:
		for _, each := range e.Unwrap() {
			files = append(files, Rewritten(each)...)
		}
	case interface{ Unwrap() error }:
		return Rewritten(e.Unwrap())
	}
	return files
}

// refusal is what is said of an input in the end: nil if there is no fault.
func refusal(faults *document.Faults, files ...File) error {
	err := faults.Err()
	if err == nil {
		return nil
	}
	return &Refusal{err, slices.DeleteFunc(files, func(f File) bool { return len(f.Data) == 0 })}
}

const listUse = "a list for packages-from:, or a packages.txt"

var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	exact       = regexp.MustCompile(`^([0-9]+:)?[0-9][A-Za-z0-9.+~:-]*$`)
	notDebian   = regexp.MustCompile(`^\S+\.(rpm|tar\.(gz|bz2|xz)|tgz|zip|iso|jar)(#\S*)?$`)
)

// List refuses a list of packages in the form of build trees, "NAME VERSION [URL]" a line, or of files with their URLs
// ("NAME.rpm#URL"). It is nil for any other text: lines of queries are read elsewhere.
func List(name string, data []byte) error {
	var faults document.Faults
	var out strings.Builder
	var bare []int // lines that are a name alone
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		at := document.At(name, n)
		text := strings.TrimSpace(line)
		wish, comment, _ := strings.Cut(text, " #")
		f := strings.Fields(wish)
		switch {
		case strings.HasPrefix(text, "#") || len(f) == 0:
			out.WriteString(text + "\n")
			continue
		case len(f) == 1 && notDebian.MatchString(f[0]):
			faults.Add(document.Errorf(at, "%s is no Debian package, and those alone are held; remove the line", fmt.Sprintf("%.80s", f[0])))
			fmt.Fprintf(&out, "# %s\n", text)
			continue
		case len(f) > 3 || len(f) < 2 || !packageName.MatchString(f[0]) || !exact.MatchString(f[1]) || len(f) == 3 && !strings.Contains(f[2], "://"):
			if len(f) == 1 && packageName.MatchString(f[0]) {
				bare = append(bare, n)
			}
			out.WriteString(text + "\n")
			continue
		}
		query := fmt.Sprintf("%s (= %s)", f[0], f[1])
		if len(f) == 2 {
			faults.Add(document.Errorf(at, "a name and a version without an operator; write %s, or list: stx beside packages-from: where all lines are such", query))
		} else {
			faults.Add(document.Errorf(at, "a file by its URL, but packages come from signed archives alone; write %s, and the archive that has it under archives:, or list: stx beside packages-from:, which takes the file itself", query))
			comment = strings.TrimSpace(f[2] + " " + comment)
		}
		out.WriteString(query)
		if comment = strings.TrimSpace(comment); comment != "" {
			out.WriteString(" # " + comment)
		}
		out.WriteString("\n")
	}
	if faults.Err() == nil {
		return nil
	}
	for _, n := range bare {
		faults.Add(document.Errorf(document.At(name, n), "a name without a version among exact ones; add one, for alone it takes the newest"))
	}
	return refusal(&faults, File{name + Ending, listUse, []byte(out.String())})
}

// Files of the package-centric container builds.
const (
	containerName = "container.yaml"
	packageFile   = "pkg.yaml"
)

// Dir refuses a directory that holds the container.yaml of a package-centric container build; it is nil for any other.
func Dir(dir string) error {
	name := filepath.Join(dir, containerName)
	if fi, err := os.Stat(name); err != nil || fi.IsDir() {
		return nil
	}
	data, err := document.ReadFile(name, document.MaxYAML)
	if err != nil {
		return err
	}
	return YAML(name, data)
}

// YAML refuses the documents of a package-centric container build: container.yaml with the pkg.yaml files that it
// names, pkg.yaml alone, and the configuration of its repository. It is nil for any other text.
func YAML(name string, data []byte) error {
	docs, err := document.Parse(name, data)
	if err != nil || len(docs) == 0 {
		return nil // said by whoever reads it as what it should be
	}
	b := &build{}
	switch {
	case isContainer(docs[0]):
		b.container(docs[0])
	case has(docs[0], "base") && (has(docs[0], "patches") || has(docs[0], "use") || has(docs[0], "author")):
		b.pkg(docs[0])
	case has(docs[0], "repository") && !has(docs[0], "archives"):
		return repository(docs[0])
	default:
		return nil
	}
	list := File{name + Ending, listUse, []byte(strings.Join(b.queries, ""))}
	return refusal(&b.faults, list)
}

// build is what is read of a container build.
type build struct {
	faults  document.Faults
	queries []string // lines
}

func has(n document.Node, key string) bool {
	_, ok := child(n, key)
	return ok
}

// child is the value of a key.
func child(n document.Node, key string) (document.Node, bool) {
	pairs, _ := n.Pairs()
	for _, p := range pairs {
		if p.Key == key {
			return p.Node, true
		}
	}
	return document.Node{}, false
}

// text is the scalar of a key, "" if it has none.
func text(n document.Node, key string) string {
	v, ok := child(n, key)
	if !ok {
		return ""
	}
	s, _ := v.Text()
	return s
}

// steps are those of a container.yaml.
var steps = []string{"vars", "package", "sync", "image"}

// isContainer tells a list of steps, each a mapping of one known key.
func isContainer(n document.Node) bool {
	items, err := n.Items()
	if err != nil {
		return false
	}
	known := 0
	for _, item := range items {
		pairs, _ := item.Pairs()
		if len(pairs) == 1 && slices.Contains(steps, pairs[0].Key) {
			known++
		}
	}
	return known > 0
}

// container refuses the steps of a container.yaml.
func (b *build) container(n document.Node) {
	items, _ := n.Items()
	for _, item := range items {
		item.Key = ""
		pairs, err := item.Pairs()
		b.faults.Add(err)
		for _, p := range pairs {
			b.step(p)
		}
	}
}

func (b *build) step(p document.Pair) {
	at := p.KeyAt()
	switch p.Key {
	case "vars":
		vars, err := p.Pairs()
		b.faults.Add(err)
		for _, v := range vars {
			b.faults.Add(document.Errorf(v.KeyAt(), "vars: %s: there are no variables; %s", document.OneLine(v.Key), instead(v.Key)))
		}
	case "package":
		if kind := text(p.Node, "type"); kind != "embedded" {
			b.faults.Add(document.Errorf(at, "package: of type %q; packages come from signed archives: name it in packages:, and its archive under archives:", fmt.Sprintf("%.40s", kind)))
		}
		b.embedded(p.Node)
	case "sync":
		b.faults.Add(document.Errorf(at, "sync: %s: files of your own go into an image (\"mmoci image build\"), or into a package: build a .deb and give its directory as debs:", fmt.Sprintf("%.80s", cmp.Or(text(p.Node, "dest"), "without dest:"))))
	case "image":
		b.faults.Add(document.Errorf(at, "image: of type %q: a snapshot has no such step; \"mmoci image build -f FILE\" reads this file and makes an image of a snapshot's packages", fmt.Sprintf("%.40s", text(p.Node, "type"))))
	default:
		b.faults.Add(document.Errorf(at, "unknown step %q; known are %s", fmt.Sprintf("%.40s", p.Key), strings.Join(steps, ", ")))
	}
}

// instead says where the value of a variable stands in mmoci.yaml.
func instead(name string) string {
	switch name {
	case "arch":
		return "write architectures: in each archive"
	case "name", "version":
		return "name and version of what is pushed are its reference, ref: HOST/NAME:VERSION"
	case "author":
		return "who vouches is told by the site's key, sign:"
	}
	return "remove it, or write its value where it is used"
}

// embedded reads the pkg.yaml of a package step.
func (b *build) embedded(n document.Node) {
	where, ok := child(n, "path")
	if !ok {
		b.faults.Add(n.Errorf("no path:"))
		return
	}
	rel, err := where.Text()
	if err != nil {
		b.faults.Add(err)
		return
	}
	name := filepath.Join(filepath.Dir(n.File), rel, packageFile)
	if filepath.IsAbs(rel) {
		name = filepath.Join(rel, packageFile)
	}
	data, err := document.ReadFile(name, document.MaxYAML)
	if err != nil {
		b.faults.Add(where.Errorf("%w", err))
		return
	}
	docs, err := document.Parse(name, data)
	b.faults.Add(err)
	if len(docs) > 0 {
		b.pkg(docs[0])
	}
}

// based is CATEGORY/NAME-VERSION.
var based = regexp.MustCompile(`^(?:[a-z0-9+.-]+/)?([a-z0-9][a-z0-9+.-]*?)-([0-9][A-Za-z0-9.+~]*)$`)

// pkg refuses a pkg.yaml.
func (b *build) pkg(n document.Node) {
	n.Key = ""
	pairs, err := n.Pairs()
	b.faults.Add(err)
	for _, p := range pairs {
		switch p.Key {
		case "base":
			base, err := p.Text()
			m := based.FindStringSubmatch(base)
			switch {
			case err != nil:
				b.faults.Add(err)
			case m == nil:
				b.faults.Add(p.Errorf("%q is not CATEGORY/NAME-VERSION; name the package in packages:", fmt.Sprintf("%.80s", base)))
			default:
				// The Debian revision is not said.
				query := fmt.Sprintf("%s (%% %s*)", m[1], m[2])
				b.queries = append(b.queries, fmt.Sprintf("%s # %s\n", query, base))
				b.faults.Add(p.Errorf("%s is a source to be built, as mmoci source build DIR does; write %s in packages: for Debian's build of it", base, query))
			}
		case "patches":
			patches, err := p.Pairs()
			b.faults.Add(err)
			for _, patch := range patches {
				word := "patch"
				if strings.Contains(patch.Key, "://") {
					word = "patch from the network, without a digest"
				}
				b.faults.Add(document.Errorf(patch.KeyAt(), "%s: %s: init patches no source: mmoci source build DIR -o OUT does; give OUT as debs: of an archive", word, fmt.Sprintf("%.120s", document.OneLine(patch.Key))))
			}
		case "use":
			b.faults.Add(document.Errorf(p.KeyAt(), "use: init builds no source with options: mmoci source build DIR -o OUT does; give OUT as debs: of an archive"))
		case "author":
			b.faults.Add(document.Errorf(p.KeyAt(), "author: who vouches is told by the site's key, sign:"))
		default:
			b.faults.Add(document.Errorf(p.KeyAt(), "unknown key %q; a pkg.yaml has base, author, patches, use", fmt.Sprintf("%.40s", p.Key)))
		}
	}
}

// host is a host with a path, as a registry's repository is called.
var host = regexp.MustCompile(`^(?:[^@/]+@)?([a-z0-9][a-z0-9.-]*(?::[0-9]+)?/[a-z0-9][a-z0-9._/-]*)$`)

// repository refuses the configuration of where a container build puts what it makes.
func repository(n document.Node) error {
	var faults document.Faults
	var ref string
	r, _ := child(n, "repository")
	pairs, err := r.Pairs()
	faults.Add(err)
	for _, p := range pairs {
		switch p.Key {
		case "upload-path", "download-path":
			s, err := p.Text()
			faults.Add(err)
			if m := host.FindStringSubmatch(s); m != nil {
				ref = "ref: " + m[1] + ":latest\n"
				faults.Add(document.Errorf(p.KeyAt(), "%s: a registry is both where one puts and where one gets; write ref: %s:TAG in mmoci.yaml", p.Key, m[1]))
			} else if err == nil {
				faults.Add(document.Errorf(p.KeyAt(), "%s: write ref: HOST/REPO:TAG of a registry in mmoci.yaml", p.Key))
			}
		case "upload-type", "download-type":
			faults.Add(document.Errorf(p.KeyAt(), "%s: registries are reached by https, directories as oci:DIR; remove it", p.Key))
		default:
			faults.Add(document.Errorf(p.KeyAt(), "%s: has no meaning; remove it", fmt.Sprintf("%.40s", document.OneLine(p.Key))))
		}
	}
	if ref != "" {
		ref = "# a registry in the place of the repository\n" + ref
	}
	return refusal(&faults, File{n.File + Ending, "an mmoci.yaml, as far as it goes", []byte(ref)})
}
