package imageproof

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Change is a package that two images differ in.
type Change struct {
	Architecture string // of the image
	Name         string
	Old, New     string // versions; "": it is not there
	Rebuilt      bool   // the version is the same, the .deb another
}

// String is "+ NAME VERSION", "- NAME VERSION" or "NAME OLD -> NEW".
func (c Change) String() string {
	switch {
	case c.Old == "":
		return "+ " + c.Name + " " + c.New
	case c.New == "":
		return "- " + c.Name + " " + c.Old
	case c.Rebuilt:
		return c.Name + " " + c.New + " (another .deb)"
	}
	return c.Name + " " + c.Old + " -> " + c.New
}

// Changes are the packages that two images differ in, by architecture and name. An architecture that one of them lacks counts as
// one without packages.
func Changes(old, now *imagelock.Lock) []Change {
	type key struct{ arch, name string }
	was := map[key]imagelock.Package{}
	for _, a := range old.Architectures {
		for _, p := range a.Packages {
			was[key{a.Name, p.Name}] = p
		}
	}
	var out []Change
	for _, a := range now.Architectures {
		for _, p := range a.Packages {
			o, there := was[key{a.Name, p.Name}]
			delete(was, key{a.Name, p.Name})
			if !there || o.Version != p.Version || o.Deb != p.Deb {
				out = append(out, Change{a.Name, p.Name, o.Version, p.Version, there && o.Version == p.Version})
			}
		}
	}
	for k, p := range was {
		out = append(out, Change{Architecture: k.arch, Name: k.name, Old: p.Version})
	}
	slices.SortFunc(out, func(a, b Change) int {
		return strings.Compare(a.Architecture+" "+a.Name, b.Architecture+" "+b.Name)
	})
	return out
}

// Has are the packages of that name that an image has, below a version of Debian's if one is given, by architecture of the image.
func (im *Image) Has(name, below string) map[string]imagelock.Package {
	out := map[string]imagelock.Package{}
	for _, a := range im.Lock.Architectures {
		for _, p := range a.Packages {
			if p.Name == name && (below == "" || deb.Compare(p.Version, below) < 0) {
				out[a.Name] = p
			}
		}
	}
	return out
}

// Follows refuses a snapshot that is older than the one that the image was made from: somebody may offer an old one, which the
// site signed, to bring packages back that were mended since. Errors wrap outcome.ErrRefused.
func (im *Image) Follows(s *snapshot.Snapshot) error {
	if date := s.Statement.Date; date.Before(im.Lock.Date) {
		return outcome.AllowOlder.For(fmt.Errorf("%w: %s was made from the snapshot of %s, and this one is older, of %s",
			outcome.ErrRefused, im.Reference, snapshot.FormatDate(im.Lock.Date), snapshot.FormatDate(date)))
	}
	return nil
}

// Again makes the image of the same plan from another snapshot: o has that, who is trusted, and how; its plan, architectures and scripts follow
// from the image. The caller closes what it returns.
func (im *Image) Again(ctx context.Context, o imagebuild.Options) (*imagebuild.Image, error) {
	dir, err := os.MkdirTemp("", "mmoci-update-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if o.Plan, err = im.PlanIn(ctx, dir); err != nil {
		return nil, err
	}
	return imagebuild.Build(ctx, im.optionsAgain(o))
}

// optionsAgain has the architectures of the image's plan, and does with the scripts of each what its lock says.
func (im *Image) optionsAgain(o imagebuild.Options) imagebuild.Options {
	o.Architectures, o.Lock, o.Scripts, o.ScriptsOf = nil, nil, "", map[string]string{}
	for _, a := range im.Lock.Architectures {
		o.ScriptsOf[a.Name] = a.Scripts
	}
	return o
}
