// Package fixup makes what an image needs and no .deb holds, in place of the
// maintainer scripts that would make it: the dynamic linker's cache, the users of
// base-passwd, the bundle of certificates. Each fix-up has a name, and an image's
// account has a line for each that was made.
//
// Everything is a function of its arguments: bytes in, bytes out.
package fixup
