package stack

import (
	"archive/tar"
	"io"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/snapshot"
)

// skeletonTime is the time of the skeleton's entries, 2000-01-01: that of no
// snapshot, so that the layer is the same everywhere.
const skeletonTime = 946684800

// WriteSkeleton writes the first layer of an image whose /usr is merged: the
// symlinks bin, lib, lib32, lib64, libx32 and sbin and the directories below usr
// that they lead to, and nothing else. A symlink that led nowhere dpkg would
// replace by a directory, as soon as a package is installed into the image. The
// layer's bytes are always the same. An image whose /usr is not merged has no such layer.
func WriteSkeleton(w io.Writer) (snapshot.Blob, error) {
	t := rootfs.NewTarWriter(w)
	for _, e := range skeleton() {
		if err := t.Entry(&e); err != nil {
			return snapshot.Blob{}, err
		}
	}
	return t.Close()
}

func skeleton() []rootfs.Entry {
	out := []rootfs.Entry{{Path: "usr", Type: tar.TypeDir, Mode: 0o755, ModTime: skeletonTime, Made: true}}
	for _, m := range rootfs.UsrLinks() {
		out = append(out, rootfs.Entry{Path: "usr/" + m, Type: tar.TypeDir, Mode: 0o755, ModTime: skeletonTime, Made: true})
	}
	for _, m := range rootfs.UsrLinks() {
		out = append(out, rootfs.Entry{Path: m, Type: tar.TypeSymlink, Mode: 0o777, Link: "usr/" + m, ModTime: skeletonTime, Made: true})
	}
	return out
}
