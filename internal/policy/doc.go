// Package policy decides which packages a site hands out: rules in, a decision
// with its reason out; and the same decisions as pins for apt, so that
// hosts route around what is denied. It never changes a byte of a snapshot.
package policy
