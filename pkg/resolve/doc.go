// Package resolve computes the closure of a selection over several archives,
// with a reason for every package in it. It is pure: indices and questions go
// in, packages come out, the same for the same input.
package resolve
