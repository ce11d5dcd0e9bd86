// Package serve hands snapshots over HTTP to apt. It verifies nothing that it
// cannot and says so: its clients verify. What it sends is at least what its
// digest says.
package serve
