// Package deb holds the values of Debian packaging: versions, relations,
// stanzas and the reader of .deb files.
//
// Every reader here takes bytes from someone who may be hostile. A limit is a
// named constant, a limit exceeded is an error, and nothing that an input
// declares (a size, a count) is ever allocated before it was seen.
package deb
