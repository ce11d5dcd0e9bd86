package imagebuild

import (
	"bytes"
	"context"
	"strings"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/distribution"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/provenance"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/internal/sbom"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// bills are what is said of an image for other programs.
type bills struct{ spdx, cyclonedx, provenance []byte }

func billsOf(o *Options, im *Image, plan []byte) (*bills, error) {
	d := &sbom.Document{Name: o.Plan.Name, Version: o.Plan.Version, Date: o.date(), Root: im.Digest()}
	made := &provenance.Build{Name: o.Plan.Name, Image: im.Digest(), Plan: plan}
	if o.Signer != nil {
		made.Signer = o.Signer.Public().Fingerprints()[0]
	}
	made.Inputs = append(made.Inputs, provenance.Input{Name: "snapshot", URI: "urn:mmoci:snapshot:" + im.Lock.Snapshot.String(), Digest: im.Lock.Snapshot, Notes: map[string]string{"date": snapshot.FormatDate(o.date())}})
	var packages []sbom.Package
	seen := map[snapshot.Digest]bool{} // "all", in the images of two architectures
	scripts := map[string]string{}
	for _, a := range im.Architectures {
		scripts[a.Name] = a.Scripts
		packages = append(packages, a.bill...)
		for _, p := range a.bill {
			if !seen[p.Deb] {
				seen[p.Deb] = true
				role := ""
				if !p.Identity.IsZero() {
					role = "built"
				}
				made.Inputs = append(made.Inputs, inputOf(&p, role))
			}
		}
	}
	for _, a := range im.Architectures {
		for _, p := range a.helpers {
			if !seen[p.Deb] {
				seen[p.Deb] = true
				made.Inputs = append(made.Inputs, inputOf(&p, "helper"))
			}
		}
	}
	made.Details = map[string]any{"encoder": image.EncoderGeneration, "recipe": rootfs.RecipeNumber, "scripts": scripts}
	d.Packages = sbom.Listed(packages)
	var spdx, cyclonedx bytes.Buffer
	var g errgroup.Group
	g.Go(func() error { return sbom.SPDX(&spdx, d) })
	g.Go(func() error { return sbom.CycloneDX(&cyclonedx, d) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	statement, err := provenance.Statement(made)
	return &bills{spdx.Bytes(), cyclonedx.Bytes(), statement}, err
}

func inputOf(p *sbom.Package, role string) provenance.Input {
	name, version, arch := p.Stanza.Get("Package"), p.Stanza.Get("Version"), p.Stanza.Get("Architecture")
	in := provenance.Input{Name: strings.Join([]string{name, version, arch}, " "), URI: p.PURL(name, version, arch), Digest: p.Deb}
	if role != "" {
		in.Notes = map[string]string{"role": role}
	}
	if !p.Identity.IsZero() {
		in.Notes["identity"] = p.Identity.String()
	}
	return in
}

// tell notes the packages of one architecture for its bills of materials, and what it was made with beside.
func (b *built) tell(ctx context.Context, o *Options, c chosen, t *stack.Tree) error {
	kept := map[string][]byte{}
	for _, n := range b.Notes {
		for _, k := range n.Kept {
			kept[k.Path] = k.Data
		}
	}
	names := distributions{o: o, known: map[[2]string]distribution.Name{}}
	// What the image calls itself, else the distribution that its packages are of.
	release := ""
	if id, version := osRelease(kept["usr/lib/os-release"], "ID"), osRelease(kept["usr/lib/os-release"], "VERSION_ID"); id != "" && version != "" {
		release = id + "-" + version
	}
	for _, p := range c.packages {
		n, err := names.of(ctx, p)
		if err != nil {
			return err
		}
		if release == "" {
			release = n.Release
		}
	}
	vendor, _, _ := strings.Cut(release, "-") // of what is built: a package of the distribution's, patched
	notes := map[snapshot.Digest]*rootfs.Note{}
	for _, n := range b.Notes {
		notes[n.Deb.Digest] = n
	}
	for _, p := range c.packages {
		d, err := blobOf(p)
		if err != nil {
			return err
		}
		n := notes[d.Digest]
		name, err := names.of(ctx, p)
		if err != nil {
			return err
		}
		one := sbom.Package{Stanza: n.Stanza, Deb: d.Digest, Layer: b.layerOf[n], Licence: sbom.LicenceOf(copyrightOf(n, t, kept)), Vendor: name.Vendor, Distro: release}
		if built := o.builtOf(p); built != nil {
			one.Identity, one.Vendor = built.Identity, vendor
		}
		b.bill = append(b.bill, one)
	}
	for _, p := range c.helpers {
		d, err := blobOf(p)
		if err != nil {
			return err
		}
		name, err := names.of(ctx, p)
		if err != nil {
			return err
		}
		b.helpers = append(b.helpers, sbom.Package{Stanza: p.Stanza, Deb: d.Digest, Vendor: name.Vendor, Distro: release})
	}
	return nil
}

// distributions are those of the snapshot, each read once.
type distributions struct {
	o     *Options
	known map[[2]string]distribution.Name
}

func (d distributions) of(ctx context.Context, p *resolve.Package) (distribution.Name, error) {
	key := [2]string{p.Archive, p.Suite}
	n, ok := d.known[key]
	if ok {
		return n, nil
	}
	n, err := distribution.Of(ctx, d.o.Snapshot, p.Archive, p.Suite)
	d.known[key] = n
	return n, err
}

// docsDir is where packages have their copyright files.
const docsDir = "usr/share/doc"

// docsOf is what the layers of packages have there.
func docsOf(groups []stack.Group) *stack.Tree {
	t := stack.NewTree()
	for _, g := range groups {
		for _, n := range g.Notes {
			for _, e := range n.Entries {
				if strings.HasPrefix(e.Path, docsDir+"/") {
					t.Put(e)
				}
			}
		}
	}
	return t
}

// copyrightOf is a package's copyright file. Many packages have a symbolic link to the directory of another one of their source.
func copyrightOf(n *rootfs.Note, t *stack.Tree, kept map[string][]byte) []byte {
	p, err := t.Resolve(docsDir + "/" + n.Name() + "/copyright")
	if err != nil {
		return nil
	}
	return kept[p]
}

// osRelease is the value of a key (os-release(5)); "" if it has none, or one with more than letters, digits and dots.
func osRelease(text []byte, key string) string {
	for line := range strings.Lines(string(text)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		v = strings.Trim(v, `"'`)
		if k == key && strings.Trim(v, "abcdefghijklmnopqrstuvwxyz0123456789.") == "" {
			return v
		}
	}
	return ""
}
