package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Image is a container image that travels with a snapshot (SPEC section 4). Its bytes are
// files of the snapshot: every manifest, image index, config and layer at [ImageBlobPath] of its digest.
type Image struct {
	Name      string // HOST/REPO:TAG, as engines and pod manifests say it
	Blob             // its manifest or image index
	Referrers []Blob // manifests about it, such as signatures; sorted by digest
}

// Limits of SPEC section 11 for images.
const (
	MaxImageDocument = 4 << 20 // bytes of a manifest or image index
	maxReferrers     = 64      // of one image
)

// imageBlobs begins the paths of the bytes of images.
const imageBlobs = "v2/blobs/sha256/"

// ImageBlobPath is the path of a manifest, config or layer of an image.
func ImageBlobPath(d Digest) string { return imageBlobs + d.Hex() }

// ImageDir begins the paths of what belongs to images, for [Table.Under].
const ImageDir = "v2/"

// IsImageBlob tells the files of images from those of archives.
func IsImageBlob(path string) bool { return strings.HasPrefix(path, ImageDir) }

var errNotImageBlob = errors.New(`below "v2/" are the blobs of images only, each at v2/blobs/sha256/ and its digest`)

// validImageBlob tells why a path below ImageDir may not be listed with that digest.
func validImageBlob[T string | []byte](path T, d Digest) error {
	const n = len(imageBlobs)
	if len(path) != n+2*len(d) || string(path[:n]) != imageBlobs || string(path[n:]) != d.Hex() {
		return errNotImageBlob
	}
	return nil
}

// imageName is HOST/REPO:TAG: a host with an optional port, a repository and a tag of the distribution-spec.
var imageName = regexp.MustCompile(`^((?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?)/` +
	`([a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*):([A-Za-z0-9_][A-Za-z0-9._-]{0,127})$`)

// maxImageName bounds host and repository together, as many clients do; a tag has up to 128 more.
const maxImageName = 255

// CutImageName divides HOST/REPO:TAG; ok is false if name is nothing like that.
func CutImageName(name string) (host, repository, tag string, ok bool) {
	if len(name) > maxImageName+1+128 {
		return "", "", "", false
	}
	m := imageName.FindStringSubmatch(name)
	if m == nil || len(m[1])+1+len(m[2]) > maxImageName {
		return "", "", "", false
	}
	return m[1], m[2], m[3], true
}

// Short is REPO:TAG, by which the image is called in a place: within a statement no two images share it.
func (i Image) Short() string {
	_, repository, tag, _ := CutImageName(i.Name)
	return repository + ":" + tag
}

// checkImages applies the rules of SPEC section 4; it returns the number of the wrong line with the error.
func (st *Statement) checkImages(line int) (int, error) {
	short := map[string]string{}
	for i, m := range st.Images {
		line++
		if _, _, _, ok := CutImageName(m.Name); !ok {
			return line, fmt.Errorf("image %.200q: not HOST/REPO:TAG", m.Name)
		}
		if i > 0 && st.Images[i-1].Name >= m.Name {
			return line, fmt.Errorf("image %s: twice or not in order", m.Name)
		}
		if other, taken := short[m.Short()]; taken {
			return line, fmt.Errorf("image %s: %s has the same repository and tag", m.Name, other)
		}
		short[m.Short()] = m.Name
		if err := checkSize("image "+m.Name, m.Blob, MaxImageDocument); err != nil {
			return line, err
		}
		if len(m.Referrers) > maxReferrers {
			return line, fmt.Errorf("image %s: %d referrers, the limit is %d", m.Name, len(m.Referrers), maxReferrers)
		}
		for j, r := range m.Referrers {
			line++
			if err := checkSize("referrer", r, MaxImageDocument); err != nil {
				return line, err
			}
			if j > 0 && bytes.Compare(m.Referrers[j-1].Digest[:], r.Digest[:]) >= 0 {
				return line, fmt.Errorf("referrer %s: twice or not in order", r.Digest)
			}
		}
	}
	return line, nil
}

// checkImageRows tells whether the table has the documents that the statement names, and no blob of an image where
// it names no image. Which other blobs belong to the images follows from the documents; verify compares.
func (st *Statement) checkImageRows(t *Table) error {
	if len(st.Images) == 0 {
		for r := range t.Under(ImageDir) {
			return fmt.Errorf("file %s: in the table, and no image in the statement", r.Path)
		}
	}
	for _, m := range st.Images {
		for _, b := range append([]Blob{m.Blob}, m.Referrers...) {
			r, ok := t.Find(ImageBlobPath(b.Digest))
			if !ok {
				return fmt.Errorf("image %s: %s is in the statement, not in the table", m.Name, b.Digest)
			}
			if r.Blob() != b {
				return fmt.Errorf("image %s: %s in the statement, %s in the table", m.Name, b, r.Blob())
			}
		}
	}
	return nil
}
