// Package rootfs lays packages out as layers of a container image: a .deb
// becomes a tar, the order and grouping of the tars follow from what they hold,
// and a last layer makes of their union what dpkg would have made.
//
// Everything here is a function of its arguments: bytes in, bytes out, no clock,
// no files, no programs. Same input, same bytes, on every machine.
//
// A .deb is read as hostile. What dpkg would refuse is refused, and so is what
// could reach outside of the package's own paths. Such errors wrap
// [deb.ErrMalformed] and name the path.
package rootfs

// RecipeNumber rises when the bytes of a package layer change for the same
// .deb, [Recipe] and limits.
const RecipeNumber = 1

// Limits of a package. What is beyond them is refused.
const (
	MaxEntries   = 1 << 18  // entries of data.tar; icon themes have some 100 thousand
	MaxPath      = 4095     // bytes of a path or link target, as Linux has it
	MaxPathBytes = 64 << 20 // bytes of all paths and link targets of a package
)
