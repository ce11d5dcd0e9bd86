// Package imageinit rewrites the tree of a package-centric container build, a container.yaml with the sources and files beside it, into one
// that image build takes: image.yaml, and pkg.yaml files of Debian's sources with every digest filled in.
//
// What stays as it was is not spoken of. Each thing that is written otherwise, or left out, is told with file, line and what stands there
// now; what cannot be rewritten is refused, all of it at once, and then nothing is written.
package imageinit

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/durable"
)

// Limits of a tree.
const (
	maxFiles = 10_000
	maxBytes = 256 << 20
)

// repositoryFile stands beside a container.yaml, and says where images and packages come from and go to.
const repositoryFile = ".buildit-config.yaml"

// Options say what is rewritten.
type Options struct {
	Dir string // the tree, with a container.yaml or image.yaml
	// Source tells of a source package of the snapshot its newest version, and the build profiles that it declares; nil: there is no
	// snapshot to look at. outcome.ErrNotFound: it has none of that name.
	Source func(ctx context.Context, name, version string) (*Source, error)
	// Fetch reads a patch from the network.
	Fetch func(ctx context.Context, url string) ([]byte, error)
}

// Source is a source package of a snapshot.
type Source struct {
	Version  string
	Profiles []string
}

// Note tells what is written otherwise than it was.
type Note struct {
	document.Position
	Text string
}

// String is FILE:LINE: TEXT.
func (n Note) String() string { return n.Position.String() + ": " + n.Text }

// Tree is a rewritten tree. It is in memory.
type Tree struct {
	Notes []Note
	files map[string]file // by slash-separated path
}

type file struct {
	data []byte
	mode fs.FileMode
	link string
}

// rewriter reads a tree.
type rewriter struct {
	o      *Options
	root   *os.Root
	tree   *Tree
	faults document.Faults
	bytes  int64
}

// Rewrite reads a tree and rewrites it. The notes of the tree that it returns count also if there is an error.
//
// Errors are of document.ErrUsage, all at once.
func Rewrite(ctx context.Context, o Options) (*Tree, error) {
	w := &rewriter{o: &o, tree: &Tree{files: map[string]file{}}}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return w.tree, document.Errorf(document.Position{File: o.Dir}, "%w", err)
	}
	defer root.Close()
	w.root = root
	plan, err := w.plan()
	if err != nil {
		w.faults.Add(err)
	}
	dirs := w.packages(plan)
	for _, dir := range dirs {
		if err := w.source(ctx, dir); err != nil {
			return w.tree, err
		}
	}
	w.repository()
	if plan != nil {
		for _, s := range plan.Sync {
			if err := w.copy(path.Clean(filepath.ToSlash(s.Src))); err != nil {
				w.faults.Add(document.Errorf(s.At, "sync: %s: %w%s", s.Src, bare(err), remedy(err)))
			}
		}
	}
	if err := cmp.Or(context.Cause(ctx), w.faults.Err()); err != nil {
		return w.tree, err
	}
	w.put(imageplan.Name, plan.Format())
	return w.tree, w.faults.Err()
}

// remedy is what helps where a file is missing that the tree names.
func remedy(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "; put the file there, or take the entry out"
	}
	return ""
}

func (w *rewriter) note(at document.Position, text string) {
	w.tree.Notes = append(w.tree.Notes, Note{at, text})
}

func (w *rewriter) put(name string, data []byte) { w.tree.files[name] = file{data: data, mode: 0o644} }

// plan reads the plan without what lies beside it, which is looked at here.
func (w *rewriter) plan() (*imageplan.Plan, error) {
	for _, base := range []string{imageplan.Name, imageplan.ListName} {
		name := filepath.Join(w.o.Dir, base)
		data, err := document.ReadFile(name, document.MaxYAML)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := imageplan.Parse(name, w.o.Dir, data)
		if err == nil && base == imageplan.ListName {
			w.note(document.Position{File: name}, "the list form is written as "+imageplan.Name)
		}
		return p, err
	}
	return nil, document.Errorf(document.Position{File: w.o.Dir}, "neither %s nor %s is there; DIR is the directory of one", imageplan.Name, imageplan.ListName)
}

// packages are the directories of sources: those of the plan or, where that cannot be read, those that there are.
func (w *rewriter) packages(p *imageplan.Plan) (out []string) {
	if p != nil {
		for _, e := range p.Embedded {
			if !slices.Contains(out, e.Path) { // an image may want packages of one source in two entries
				out = append(out, e.Path)
			}
		}
		return out
	}
	found, _ := fs.Glob(w.root.FS(), "pkgs/*/"+buildsource.Name) // the pattern is a good one
	for _, name := range found {
		out = append(out, path.Dir(name))
	}
	return out
}

// repository tells what becomes of the places that stand beside a container.yaml.
func (w *rewriter) repository() {
	name := filepath.Join(w.o.Dir, repositoryFile)
	data, err := document.ReadFile(name, document.MaxYAML)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		w.faults.Add(err)
		return
	}
	docs, err := document.Parse(name, data)
	w.faults.Add(err)
	for _, d := range docs {
		top, err := d.Pairs()
		w.faults.Add(err)
		for _, t := range top {
			pairs, err := t.Pairs()
			w.faults.Add(err)
			for _, p := range pairs {
				value, _ := p.Text()
				switch p.Key {
				case "download-path":
					w.note(p.KeyAt(), "left out: write sources: ["+value+"] in mmoci.yaml, where image build then looks for packages")
				case "upload-path":
					w.note(p.KeyAt(), "left out: HOST/REPO of packages that are built is told to image build, and that of the image stands in ref: of "+imageplan.Name)
				case "upload-type", "download-type":
					if value != "https" {
						w.note(p.KeyAt(), "left out: "+p.Key+" "+value+": images and packages go to a registry by https, or into a directory")
					}
				}
			}
		}
	}
}

// copy takes a file or a tree as it is.
func (w *rewriter) copy(name string) error {
	if !filepath.IsLocal(name) {
		return errors.New("it lies outside of the directory")
	}
	return fs.WalkDir(w.root.FS(), name, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case info.Mode().Type() == fs.ModeSymlink:
			to, err := w.root.Readlink(p)
			w.tree.files[p] = file{link: to}
			return err
		case !info.Mode().IsRegular():
			return errors.New(p + " is no file")
		}
		if w.bytes += info.Size(); w.bytes > maxBytes || len(w.tree.files) > maxFiles {
			return errors.New("the tree is too large to be rewritten: copy its files by hand")
		}
		data, err := w.root.ReadFile(p)
		w.tree.files[p] = file{data: data, mode: 0o644 | info.Mode()&0o111}
		return err
	})
}

// Write writes the tree into a directory whose name is [durable.Vacant]: it has it when all of it is there, and image build takes it.
func (t *Tree) Write(dir string) error {
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".mmoci-init-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // it is no secret
		return err
	}
	var names []string
	for name := range t.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := t.write(filepath.Join(tmp, filepath.FromSlash(name)), t.files[name]); err != nil {
			return err
		}
	}
	if _, err := imageplan.Load(tmp); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), tmp, dir))
	}
	return durable.PutDir(tmp, dir)
}

func (t *Tree) write(name string, f file) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if f.link != "" {
		return os.Symlink(f.link, name)
	}
	return durable.WriteFile(name, f.data, f.mode)
}
