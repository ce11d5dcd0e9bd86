// Package archive reads, verifies and builds the metadata of Debian
// archives: Release, indices, pool files, .sources; signatures are those of package pgp. Bytes go in,
// values come out; it opens no file and no connection.
//
// Nothing parsed from a signed file exists without [pgp.How] it was verified.
package archive
