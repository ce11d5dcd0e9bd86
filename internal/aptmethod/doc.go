// Package aptmethod lets apt read snapshots straight from a registry: it is a method of apt's, for sources such as
//
//	deb [signed-by=/etc/apt/keyrings/site.asc] oci://registry.example.org/site/mirror:noble/debian bookworm main
//
// apt starts the program as a child, under the name of the URI's scheme, and speaks to it over standard input and output:
// doc/method.dbk in apt's source describes the messages. Nothing is served and nothing is kept between runs.
//
// What apt knows the SHA256 of, which is everything but signature files, is read as the blob of that digest: no tag and no
// table is asked for, so a tag that moves between "apt-get update" and "apt-get install" does no harm. A signature file
// is found by way of tag, root, core and statement, once for all that one run of apt asks for.
//
// Nobody is trusted here: apt verifies signatures by its own keys. The method still verifies each file against its
// digest before it says that it is there, so that wrong bytes are named where they come in.
package aptmethod
