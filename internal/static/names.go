package static

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/registry"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// tagName is a name in the tree: a repository and a tag.
type tagName struct{ repository, tag string }

func (p tagName) String() string { return p.repository + ":" + p.tag }

const (
	namesDir     = "repositories"
	tagsPart     = "_tags" // no part of a repository begins so
	listPart     = "_list"
	catalogFile  = namesDir + "/_catalog"
	dockerHub    = "docker.io"
	imagesBelow  = "images/"
	validHost    = "h/" // any host, to ask CutImageName for the rest
	validSuffix  = ":t"
	libraryBelow = "library/"
)

func (p tagName) path() string { return namesDir + "/" + p.repository + "/" + tagsPart + "/" + p.tag }

// valid tells whether registry clients can say the name. What is valid cannot leave the tree, and
// is no name of the tree's own.
func (p tagName) valid() bool {
	_, _, tag, ok := snapshot.CutImageName(validHost + p.repository + ":" + p.tag)
	return ok && tag == p.tag
}

// naming is what the tags of a tree are to name.
type naming struct {
	tags      map[tagName]snapshot.Digest
	ambiguous map[tagName]bool // by no reference, and with two meanings: there is no such tag
}

// nameAll finds the tags of the tree. A name that the references give two meanings is an error; one to which images of snapshots
// give another meaning than somebody else is not given to them, as serve does.
func nameAll(contents []*content, log outcome.Log) (*naming, error) {
	n := &naming{tags: map[tagName]snapshot.Digest{}, ambiguous: map[tagName]bool{}}
	of := map[tagName]*content{}
	for _, c := range contents {
		for _, p := range c.own() {
			if was, ok := n.tags[p]; ok && was != c.root {
				return nil, fmt.Errorf("%w: %s and %s are both %s in the tree; give one of them another tag, or export it to another directory",
					outcome.ErrUsage, of[p].ref, c.ref, p)
			}
			if p.valid() {
				n.tags[p], of[p] = c.root, c
			}
		}
	}
	carried, twice := map[tagName]snapshot.Digest{}, map[tagName]bool{}
	for _, c := range contents {
		for p, d := range c.carried() {
			if was, ok := carried[p]; d.IsZero() || ok && was != d {
				twice[p] = true
			}
			carried[p] = d
		}
	}
	for p, d := range carried {
		own, named := n.tags[p]
		switch {
		case twice[p] || named && own != d:
			log.Printf("%s may be two images: left out, they are there by digest", p)
			n.ambiguous[p] = !named
		case p.valid():
			n.tags[p] = d
		}
	}
	return n, nil
}

// sorted are the tags in order.
func (n *naming) sorted() []Tag {
	all := make([]Tag, 0, len(n.tags))
	for p, d := range n.tags {
		all = append(all, Tag{p.repository, p.tag, d})
	}
	slices.SortFunc(all, func(a, b Tag) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// home is the repository and tag of a content; tag is "" for one that is named by its digest alone.
func (c *content) home() tagName {
	if repository, tag, ok := cutName(c.ref.Tag); ok { // an image in a layout
		return tagName{repository, tag}
	}
	h := registry.HomeOf(c.ref.String())
	return tagName{h.Repository, h.Tag}
}

func cutName(name string) (repository, tag string, ok bool) {
	if !oci.ValidImageName(name) {
		return "", "", false
	}
	i := strings.LastIndexByte(name, ':')
	return name[:i], name[i+1:], true
}

// own are the names of what the reference names: its tag, and of a snapshot the immutable one.
func (c *content) own() []tagName {
	p := c.home()
	if p.tag == "" {
		return nil
	}
	all := []tagName{p}
	if c.snapshot != nil && len(p.tag) <= oci.MaxAlias && oci.ImmutableStem(p.tag) == "" {
		all = append(all, tagName{p.repository, oci.ImmutableTag(p.tag, c.snapshot.Statement.Date, c.root)})
	}
	return all
}

// carried are the names of the images of a snapshot, and of what cosign attached to images. The zero digest is for a name with
// two meanings.
func (c *content) carried() map[tagName]snapshot.Digest {
	all := map[tagName]snapshot.Digest{}
	give := func(p tagName, d snapshot.Digest) {
		if was, ok := all[p]; ok && was != d {
			d = snapshot.Digest{}
		}
		if p.valid() { // a host with a port is in no path
			all[p] = d
		}
	}
	attach := func(repository string, image snapshot.Digest) {
		for tag, d := range c.attached[image] {
			give(tagName{repository, tag}, d)
		}
	}
	home := c.home().repository
	if c.snapshot == nil {
		attach(home, c.root)
		return all
	}
	for _, image := range c.snapshot.Statement.Images {
		host, repository, tag, ok := snapshot.CutImageName(image.Name)
		if !ok {
			continue
		}
		names := []string{repository, host + "/" + repository, home + "/" + imagesBelow + repository}
		if host == dockerHub && !strings.Contains(repository, "/") {
			names = append(names, libraryBelow+repository, host+"/"+libraryBelow+repository)
		}
		for _, name := range names {
			give(tagName{name, tag}, image.Digest)
			attach(name, image.Digest)
		}
	}
	return all
}

// publish moves the tags. All that they lead to is on the disk.
func (e *export) publish(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, t := range e.result.Tags {
		p := tagName{t.Repository, t.Name}
		moved, err := e.point(p.path(), documentDir(t.Digest))
		if err != nil {
			return fmt.Errorf("tag %s: %w", p, err)
		}
		if moved {
			e.result.Moved++
		}
	}
	return e.publishApt()
}

// point makes name a relative link to a directory of the tree, in one step. It tells whether it was none before.
func (t *tree) point(name, to string) (bool, error) {
	dir := path.Dir(name)
	target := strings.Repeat("../", strings.Count(dir, "/")+1) + to
	if was, err := t.root.Readlink(name); err == nil && was == target {
		return false, nil
	}
	if err := t.root.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	temp := durable.TempPrefix + strings.ToLower(rand.Text())
	if err := t.root.Symlink(target, temp); err != nil {
		return false, err
	}
	if err := t.root.Rename(temp, name); err != nil {
		return false, errors.Join(err, t.root.Remove(temp))
	}
	return true, nil
}

// repositories calls f for every directory of tags, with the repository and the names in it, sorted.
func (t *tree) repositories(f func(repository string, tags []string) error) error {
	err := fs.WalkDir(t.root.FS(), namesDir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == namesDir {
			return fs.SkipAll
		}
		if err != nil || !d.IsDir() || path.Base(name) != tagsPart {
			return err
		}
		entries, err := fs.ReadDir(t.root.FS(), name)
		if err != nil {
			return err
		}
		var tags []string
		for _, entry := range entries {
			tags = append(tags, entry.Name())
		}
		if err := f(strings.TrimPrefix(path.Dir(name), namesDir+"/"), tags); err != nil {
			return err
		}
		return fs.SkipDir
	})
	return err
}

// tidy removes tags: at once those that are ambiguous, or that name a document which is not kept, and others that no reference names when they were
// left long enough ago. It writes what /v2/ lists.
func (e *export) tidy(named *naming, documents map[snapshot.Digest]bool, marks *marks) error {
	names := []string{}
	err := e.repositories(func(repository string, tags []string) error {
		left := []string{}
		for _, tag := range tags {
			p := tagName{repository, tag}
			to, err := e.root.Readlink(p.path())
			if err != nil { // nobody but an export writes here
				return fmt.Errorf("%s is no tag, and nothing of an export's; take it out of the tree: %w", path.Join(e.dir, p.path()), err)
			}
			d, err := snapshot.ParseDigest("sha256:" + path.Base(to))
			stays := p.valid() && err == nil && documents[d] && !named.ambiguous[p]
			if _, now := named.tags[p]; stays && !now {
				stays = marks.young(tagMark, p)
			}
			if stays {
				left = append(left, tag)
			} else if err := e.remove(p.path()); err != nil {
				return err
			}
		}
		dir := namesDir + "/" + repository
		if len(left) == 0 {
			e.root.Remove(dir + "/" + listPart)
			e.removeEmpty(dir + "/" + tagsPart)
			return nil
		}
		names = append(names, repository)
		return e.writeJSON(dir+"/"+listPart, struct {
			Name string   `json:"name"`
			Tags []string `json:"tags"`
		}{repository, left})
	})
	if err != nil {
		return err
	}
	slices.Sort(names)
	return e.writeJSON(catalogFile, struct {
		Repositories []string `json:"repositories"`
	}{names})
}

// removeEmpty removes a directory and those around it up to one that holds something.
func (t *tree) removeEmpty(dir string) {
	for ; dir != "."; dir = path.Dir(dir) {
		if t.root.Remove(dir) != nil {
			return
		}
	}
}

func (e *export) writeJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := e.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return e.write(name, append(data, '\n'))
}

// remove removes a file of the tree and counts it.
func (e *export) remove(name string) error {
	err := e.root.Remove(name)
	if err == nil {
		e.result.Removed++
	} else if os.IsNotExist(err) {
		err = nil
	}
	return err
}
