// Package rootfs lays a package out as a layer of a container image: a .deb becomes
// a tar, and a note of all that is known of it without the .deb. What several
// packages make together is package stack's.
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
