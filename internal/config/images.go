package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/snapshot"
)

// Image is a container image that travels with the snapshots of a plan.
type Image struct {
	document.Position
	From      string   // the reference that it is read from, paths as they can be opened
	Name      string   // HOST/REPO:TAG, the name that it has on hosts
	Platforms []string // that are taken of an image index, OS/ARCHITECTURE[/VARIANT]; empty: all
}

// images reads the list images:, of references or mappings.
func (l *loader) images(n document.Node) error {
	items, err := n.Items()
	if err != nil {
		return err
	}
	for _, item := range items {
		item.Key = ""
		m := Image{Position: item.At()}
		if from, ok := item.Scalar(); ok {
			m.From = from
		} else {
			err := item.Mapping(document.Fields{
				"image":     document.SetText(&m.From),
				"as":        document.SetText(&m.Name),
				"platforms": document.SetTexts(&m.Platforms),
			})
			if err != nil {
				return err
			}
		}
		if m.From == "" {
			return item.Errorf("names no image; write a reference, or image: REFERENCE")
		}
		m.From = l.imageFile(m.From)
		l.plan.Images = append(l.plan.Images, m)
	}
	return nil
}

// imageFile makes the path of a layout or archive relative to the file that it was written in.
func (l *loader) imageFile(ref string) string {
	for _, kind := range []string{"oci:", "oci-archive:"} {
		if path, ok := strings.CutPrefix(ref, kind); ok && path != "" && !filepath.IsAbs(path) {
			return kind + filepath.Join(l.dir, path)
		}
	}
	return ref
}

// nameImages gives each image its name and platforms, and refuses two of one name.
func (p *Plan) nameImages() error {
	names := map[string]*Image{}
	for i := range p.Images {
		m := &p.Images[i]
		if err := m.complete(p.ImagePlatforms); err != nil {
			return document.Errorf(m.Position, "images: %w", err)
		}
		short := snapshot.Image{Name: m.Name}.Short()
		if first := names[short]; first != nil {
			return document.Errorf(m.Position, "images: %s and %s (line %d) would both be called %s in a place; give one of them another name with as:", m.Name, first.Name, first.Line, short)
		}
		names[short] = m
	}
	if p.ImagesTo != "" {
		if _, _, _, ok := snapshot.CutImageName(p.ImagesTo + ":tag"); !ok {
			return document.Errorf(document.Position{File: p.File}, "images-to: is %q, should be HOST/REPO, the repository below which the images are put", p.ImagesTo)
		}
	}
	return nil
}

func (m *Image) complete(platforms []string) error {
	if len(m.Platforms) == 0 {
		m.Platforms = platforms
	}
	m.Platforms = slices.Compact(slices.Sorted(slices.Values(m.Platforms)))
	for _, p := range m.Platforms {
		if n := strings.Count(p, "/"); n < 1 || n > 2 || slices.Contains(strings.Split(p, "/"), "") {
			return fmt.Errorf("%s: %q is no platform; write linux/amd64 or linux/arm/v7", m.From, p)
		}
	}
	if m.Name != "" {
		if name := imageName(m.Name); name == "" {
			return fmt.Errorf("%s: as: is %q, should be HOST/REPO:TAG", m.From, m.Name)
		} else {
			m.Name = name
		}
		return nil
	}
	if strings.HasPrefix(m.From, "oci:") || strings.HasPrefix(m.From, "oci-archive:") {
		return fmt.Errorf("%s: a file tells no name that hosts could call the image by; write {image: %s, as: HOST/REPO:TAG}", m.From, m.From)
	}
	name, digest, pinned := strings.Cut(m.From, "@")
	if pinned && !strings.Contains(name[strings.LastIndexByte(name, '/')+1:], ":") {
		return fmt.Errorf("%s: a digest alone is no name; write HOST/REPO:TAG@%s, or as: HOST/REPO:TAG", m.From, digest)
	}
	m.Name = imageName(name)
	if m.Name == "" && !strings.Contains(strings.Split(name, "/")[0], ".") {
		return fmt.Errorf("%q has no registry; write HOST/REPO:TAG, such as docker.io/library/%s", m.From, name)
	}
	if m.Name == "" {
		return fmt.Errorf("%q is no HOST/REPO:TAG", m.From)
	}
	return nil
}

// imageName is HOST/REPO:TAG as engines say it, of a reference that may leave out the tag, and Docker Hub's
// "library"; "" if it is nothing like that.
func imageName(s string) string {
	host, repo, ok := strings.Cut(s, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return ""
	}
	if !strings.Contains(repo[strings.LastIndexByte(repo, '/')+1:], ":") {
		repo += ":latest"
	}
	if host = strings.ToLower(host); host == "docker.io" && !strings.Contains(repo, "/") {
		repo = "library/" + repo
	}
	if name := host + "/" + repo; validImageName(name) == nil {
		return name
	}
	return ""
}

var errImageName = errors.New("not HOST/REPO:TAG")

func validImageName(name string) error {
	if _, _, _, ok := snapshot.CutImageName(name); !ok {
		return errImageName
	}
	return nil
}
