// Package archive reads, verifies, builds and signs the metadata of Debian
// archives: Release and its signatures, indices, keys, .sources. Bytes go in,
// values come out; it opens no file and no connection.
//
// Nothing parsed from a signed file exists without [How] it was verified.
package archive
