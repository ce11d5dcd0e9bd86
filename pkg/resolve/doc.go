// Package resolve computes the closure of a selection over several archives,
// with a reason for every package in it. It is pure: indices and questions go
// in, packages come out, the same for the same input.
//
// A Universe holds the candidates, scanned but not parsed. A query selects
// among them (package query). Resolve closes over what is selected, choosing as
// apt's classic solver does from an empty machine without Recommends: of each
// name the version with the best pin, then the newest; of alternatives the one
// that is there already, else the first that can be had; of providers the
// essential, then the one with the highest priority. Unlike apt it goes back
// on a choice that turns out to be wrong, and it never removes anything from a
// host or leaves it broken. Order tells in which calls of dpkg to install.
package resolve
