package prove

import (
	"context"
	"fmt"
	"slices"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// ImageReport is what was found of a container image that travels with a snapshot.
type ImageReport struct {
	Name      string   `json:"name"`
	Digest    string   `json:"digest"`
	State     State    `json:"state"` // site, not proved or failed: no upstream of ours signs images
	Reason    string   `json:"reason,omitempty"`
	Platforms []string `json:"platforms,omitempty"` // of an image index
	Files     int      `json:"files"`               // distinct documents, configs and layers, referrers' included
	Bytes     int64    `json:"bytes"`
	Referrers int      `json:"referrers,omitempty"` // manifests about it, such as signatures; what they say is not verified
}

// images walks each image that the statement names, and each manifest about it, down to its last blob. What it names
// is wanted in the table, with its size, and nothing else is.
func (v *verifier) images(ctx context.Context) {
	believed := v.Trust.Believed(v.Snapshot)
	for _, m := range v.Snapshot.Statement.Images {
		r := ImageReport{Name: m.Name, Digest: m.Digest.String(), State: SiteOwn, Referrers: len(m.Referrers)}
		if !believed {
			r.State, r.Reason = NotProved, "chosen by the site, and the statement is not verified"
		}
		if err := v.image(ctx, m, &r); err != nil {
			r.State, r.Reason = Failed, err.Error()
			v.fail("image %s: %s", m.Name, err)
		}
		v.report.Images = append(v.report.Images, r)
	}
}

func (v *verifier) image(ctx context.Context, m snapshot.Image, r *ImageReport) error {
	seen := map[snapshot.Digest]bool{}
	for i, root := range append([]snapshot.Blob{m.Blob}, m.Referrers...) {
		g, err := oci.ImageIn(ctx, v.Snapshot, root)
		if err != nil {
			return err
		}
		if i == 0 {
			for _, c := range g.Root().Document.Manifests {
				if c.Platform != (oci.Platform{}) && c.Describes.IsZero() {
					r.Platforms = append(r.Platforms, c.Platform.String())
				}
			}
		}
		for _, d := range g.All() {
			path := snapshot.ImageBlobPath(d.Digest)
			if w := v.want[path]; w != nil && w.Blob != d.Blob {
				return fmt.Errorf("%s has %d bytes in it, and %d in another image", d.Digest, d.Size, w.Size)
			}
			v.want[path] = &wanted{Blob: d.Blob}
			if row, ok := v.Snapshot.Table.Find(path); !ok {
				return fmt.Errorf("%s is not in the snapshot", d.Digest)
			} else if row.Size != d.Size {
				return fmt.Errorf("%s has %d bytes in it, and %d in the table", d.Digest, d.Size, row.Size)
			}
			if !seen[d.Digest] {
				seen[d.Digest] = true
				r.Files, r.Bytes = r.Files+1, r.Bytes+d.Size
			}
		}
	}
	return nil
}

// lockImages compares the images of the lock with those of the statement. What a place called them by (source) is its word.
func (v *verifier) lockImages(l *config.Lock) {
	var want []config.LockImage
	for _, m := range v.Snapshot.Statement.Images {
		locked := config.LockImage{Name: m.Name, Digest: m.Digest.String(), Size: m.Size}
		for _, r := range m.Referrers {
			locked.Referrers = append(locked.Referrers, config.LockReferrer{Digest: r.Digest.String(), Size: r.Size})
		}
		want = append(want, locked)
	}
	same := slices.EqualFunc(want, l.Images, func(a, b config.LockImage) bool {
		return a.Name == b.Name && a.Digest == b.Digest && a.Size == b.Size && slices.Equal(a.Referrers, b.Referrers)
	})
	if !same {
		v.fail("lock: its images are not those of the statement")
	}
}
