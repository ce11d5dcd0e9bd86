// Package pgp makes and verifies the OpenPGP signatures of Debian archives:
// clear-signed text, detached signatures, keyrings and signing keys (RFC 9580,
// RFC 4880, as gpgv and apt read them). Bytes go in, values come out; it opens
// no file and no connection.
//
// Nothing is taken from a signed text without [How] it was verified.
package pgp
